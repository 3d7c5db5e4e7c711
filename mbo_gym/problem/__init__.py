"""The problem: design spaces, data sets, tasks and the oracle base; nothing here reads a file or
trains."""
