"""Remarks on scores below published ones; a report shows them next to the scores.

A results folder may hold ``remarks.toml``, written by hand::

    [[below]]
    methods = ["grad"]            # as the tables name them
    task = "Levy-Exact-v0"        # as the tables name it
    percentile = 50               # 100 or 50
    why = "what the cause is, or what was tried without finding it; a phrase without full stop"
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.analysis.published import Reproduction

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["FILE_NAME", "Remark", "add_remarks", "read_remarks"]

FILE_NAME = "remarks.toml"

_FORMAT = {"methods": list, "task": str, "percentile": int, "why": str}


@dataclass(frozen=True)
class Remark:
    """Cause of scores below published ones.

    Args:
        methods: Names of the methods in tables.
        task: Name of the task setting.
        percentile: 100 or 50.
        why: Cause as a phrase without full stop.
    """

    methods: tuple[str, ...]
    task: str
    percentile: int
    why: str

    def is_about(self, row: Reproduction) -> bool:
        """Return whether the remark is about the scores of a comparison, which are below."""
        of_scores = row.label in self.methods and row.task == self.task
        return of_scores and row.published.percentile == self.percentile and row.verdict == "below"


def read_remarks(folder: Path) -> tuple[Remark, ...]:
    """Return the remarks of a results folder; empty where it has none.

    Raises:
        ValueError: The file is not TOML, or a remark lacks a key, has an unknown one or a value of
            the wrong type.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return ()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    blocks = content.pop("below", [])
    if (
        content
        or not isinstance(blocks, list)
        or not all(isinstance(block, dict) for block in blocks)
    ):
        got = ", ".join(sorted(content)) or f"below = {blocks!r}"
        raise ValueError(f"{path} holds [[below]] blocks only, got {got}")
    return tuple(
        _remark(block, f"{path}, remark {number}") for number, block in enumerate(blocks, 1)
    )


def add_remarks(
    rows: Sequence[Reproduction], remarks: Sequence[Remark]
) -> tuple[Reproduction, ...]:
    """Return comparisons with the remarks on them before their other notes."""
    return tuple(replace(row, notes=(*_causes(row, remarks), *row.notes)) for row in rows)


def _causes(row: Reproduction, remarks: Sequence[Remark]) -> list[str]:
    return [f"why below: {remark.why}" for remark in remarks if remark.is_about(row)]


def _remark(block: Mapping[str, Any], where: str) -> Remark:
    wrong = [key for key in block if key not in _FORMAT]
    wrong += [key for key, kind in _FORMAT.items() if type(block.get(key)) is not kind]
    if wrong or block["percentile"] not in (50, 100):
        needed = "methods (a list), task, percentile (50 or 100) and why"
        raise ValueError(
            f"{where}: a remark has {needed}, and nothing else. "
            f"Fix {', '.join(wrong) or 'percentile'}."
        )
    return Remark(tuple(block["methods"]), block["task"], block["percentile"], block["why"])
