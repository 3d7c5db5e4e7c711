"""Studies beyond a grid: ``python -m experiments.studies NAME`` prints or writes one result."""
