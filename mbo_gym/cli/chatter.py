"""What a user can do without, and what --quiet turns off: advice, estimates, signs of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mbo_gym.progress.quiet import is_quiet

__all__ = ["say", "working"]


def say(message: str, *, err: bool = False) -> None:
    """Print a message, or nothing under --quiet.

    Args:
        message: What to print.
        err: Whether it goes to the error stream.
    """
    if not is_quiet():
        typer.echo(message, err=err)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal, for the time of a block, what is being done; nothing under --quiet."""
    from rich.console import Console

    if is_quiet():
        yield
        return
    with Console(stderr=True).status(what):
        yield
