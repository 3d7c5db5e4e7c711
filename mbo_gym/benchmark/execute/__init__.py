"""Executing a benchmark: executors, workers, records and the live display."""
