"""Oracles: the true score of designs, from a table, a function or a fitted forest."""
