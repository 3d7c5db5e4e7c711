"""Benchmarks: grids of methods x tasks x seeds, their records, statistics and reports."""
