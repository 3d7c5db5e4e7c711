"""How the shipped data were made: ``python -m experiments.data.build_tfbind8``."""
