"""Gradient ascent on a surrogate and its variants."""
