"""The problem: design spaces, data sets, tasks and the oracle base."""
