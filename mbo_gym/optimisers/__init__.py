"""Searches of arrays that ask for scores: the cross-entropy method, and Adam on differences."""
