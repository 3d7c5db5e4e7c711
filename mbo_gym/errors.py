"""Errors: each says what was got, what is allowed and what to do."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BudgetExceeded",
    "DamagedFile",
    "InvalidData",
    "InvalidDesign",
    "MboGymError",
    "MissingData",
    "MissingDependency",
    "UnknownId",
    "UnsupportedSpace",
    "nearest",
]


class MboGymError(Exception):
    """Base of every error that mbo_gym raises on purpose."""


class UnknownId(MboGymError, KeyError):
    """A name that is not registered; the message names the nearest ones.

    Args:
        kind: Kind of the name, e.g. ``"task"``.
        name: The name that was got; any value that is no name at all.
        known: The names that exist.
        moved_to: New names of one that existed once.
    """

    def __init__(
        self, kind: str, name: Any, known: Iterable[str], moved_to: Iterable[str] = ()
    ) -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(map(str, known))
        self.moved_to = list(moved_to)
        super().__init__(name)

    def __str__(self) -> str:
        close = nearest(self.name, self.known)
        if self.moved_to:
            hint = f"It is now {' or '.join(self.moved_to)}."
        elif self.kind.startswith("task") and os.path.isfile(str(self.name)):
            own = shlex.quote(f"path={self.name}")
            hint = f"It is a file: the task is csv, and the file its option, `csv -o {own}`."
        elif close:
            hint = f"Did you mean {' or '.join(close)}?"
        elif not self.known:
            hint = "None exist."
        elif len(self.known) <= 30:
            hint = f"Known: {', '.join(self.known)}."
        else:
            hint = f"{len(self.known)} are known; `mbo-gym list` shows them."
        return f"There is no {self.kind} {self.name!r}. {hint}"

    def __reduce__(self) -> tuple[type[UnknownId], tuple[str, Any, list[str], list[str]]]:
        return (type(self), (self.kind, self.name, self.known, self.moved_to))


class DamagedFile(MboGymError, ValueError):
    """A file is not what was written: truncated, changed, or another one under its name."""


class MissingDependency(MboGymError, ImportError):
    """An optional library is not installed.

    Args:
        library: The import that failed.
        extra: The extra of mbo-gym that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"This needs {library}, which is not installed. Install it with: pip install "
            f"'mbo-gym[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingDependency], tuple[str, str]]:
        return (type(self), (self.library, self.extra))


class MissingData(MboGymError, FileNotFoundError):
    """A data file is missing or is another file; the message says how to get it."""


class InvalidData(MboGymError, ValueError):
    """Designs and scores cannot be used as they are; the message names place and fix."""


class InvalidDesign(MboGymError, ValueError):
    """A design lies outside its space; the message names the first bad row and why."""


class UnsupportedSpace(MboGymError, ValueError):
    """A method does not work on a kind of design space; the message says which it works on."""


class BudgetExceeded(MboGymError, RuntimeError):
    """An oracle was asked for more scores than its budget allows; nothing was scored."""


def nearest(name: Any, known: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` known names similar to `name`, the closest first.

    Case does not count. A name that is no text counts as it is written.
    """
    folded = {k.casefold(): k for k in known}
    wanted = str(name).casefold()
    return [folded[c] for c in difflib.get_close_matches(wanted, list(folded), n=n, cutoff=0.5)]
