"""Analysing records: statistics, standings, notes and published numbers."""

from mbo_gym._moved import forwarded

__getattr__ = forwarded(__name__)
