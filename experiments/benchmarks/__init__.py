"""Speed measurements: ``python -m experiments.benchmarks NAME`` prints one table of ratios."""
