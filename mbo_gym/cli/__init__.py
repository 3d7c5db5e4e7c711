"""The command line, `mbo-gym`."""

from mbo_gym.cli.app import main

__all__ = ["main"]
