"""The command line, `mbo-gym`."""

from mbo_gym._moved import forwarded
from mbo_gym.cli.app import main

__all__ = ["main"]

__getattr__ = forwarded(__name__)  # names that have moved
