"""Encoders: maps between designs and features in R^d, fitted once, then fixed."""
