"""Gymnasium environments over tasks: one design at a time, or thousands as one tensor."""

from mbo_gym._moved import forwarded

__getattr__ = forwarded(__name__)  # names that have moved
