"""What the shell completes: names and results folders. Nothing here loads torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from mbo_gym.encoders.registry import ENCODERS
from mbo_gym.methods.registry import METHODS
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.tasks.registry import TASKS

__all__ = ["encoder", "method", "name_of", "results_folder", "several", "surrogate", "task"]

Completer: TypeAlias = Callable[[str], list[str]]
"""Maps the beginning of a word to the words that begin so."""


def name_of(*names: Iterable[str]) -> Completer:
    """Return a completer of one name.

    Args:
        *names: Names, read when they are asked for, such as registries.
    """

    def complete(incomplete: str) -> list[str]:
        return [name for some in names for name in some if name.startswith(incomplete)]

    return complete


def several(*names: Iterable[str]) -> Completer:
    """Return a completer of names with commas between them; one that is there is not offered again.

    Args:
        *names: Names, read when they are asked for, such as registries.
    """
    complete_one = name_of(*names)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        there = [name.strip() for name in before.split(",")]
        return [f"{before}{comma}{n}" for n in complete_one(last.strip()) if n not in there]

    return complete


def results_folder(incomplete: str) -> list[str]:
    """Return the folders with results of a benchmark; without one, the shell offers all files."""
    start, _, name = incomplete.rpartition("/")
    parent = Path(start + "/" if incomplete.startswith("/") else start or ".").expanduser()
    try:
        folders = [entry.name for entry in os.scandir(parent) if _has_results(entry)]
    except OSError:  # nothing to offer is no error
        return []
    prefix = incomplete.removesuffix(name)
    # A name with a space is left to the shell, which knows how to quote it.
    return sorted(prefix + f for f in folders if f.startswith(name) and len(f.split()) == 1)


def _has_results(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and any(
        os.path.exists(os.path.join(entry, file))
        for file in ("results.jsonl", "results.jsonl.xz", "cells")
    )


task = name_of(TASKS)
method = name_of(METHODS)
surrogate = name_of(SURROGATES)
encoder = name_of(ENCODERS)
