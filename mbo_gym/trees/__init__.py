"""Regression trees as arrays, for oracles and surrogates."""
