"""Quiet blocks, in which no progress is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_quiet", "quiet"]

_depth = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Show no progress of this process inside a block; blocks may be nested.

    Example:
        >>> with quiet():
        ...     is_quiet()
        True
        >>> is_quiet()
        False
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_quiet() -> bool:
    """Return whether a quiet block is open."""
    return _depth > 0
