"""Tables that methods recorded, such as the race of model families, as the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbo_gym.benchmark.analysis.model import Entry

__all__ = ["RecordedCell", "RecordedTable", "recorded_tables"]

_TITLES = {"race": "Which model was chosen"}
_HEADERS = {
    "race": {
        "name": "Family",
        "kind": "Kind",
        "r2": "Held-out R2",
        "judged": "How judged",
        "n": "Rows",
        "weight": "Weight taken",
        "seconds": "Seconds",
        "obstacle": "Could not be fitted",
    }
}


@dataclass(frozen=True)
class RecordedCell:
    """A value as text, and its number to sort by, or None."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class RecordedTable:
    """A table that a method recorded in one run.

    Args:
        title: Title of the table.
        label: Name of the method.
        seed: Seed of the run.
        columns: Headers, and whether the column holds numbers.
        rows: Rows, each with a cell a column and whether the row was taken (weight above 0).
    """

    title: str
    label: str
    seed: int
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[tuple[RecordedCell, ...], bool], ...]


def recorded_tables(entries: Sequence[Entry]) -> list[list[RecordedTable]]:
    """Return the tables that methods recorded: a list a method and table, a table a seed.

    Args:
        entries: Methods on one task.
    """
    found: list[list[RecordedTable]] = []
    for entry in entries:
        names = dict.fromkeys(name for run in entry.runs for name in run.tables)
        for name in names:
            made = [
                _table(name, entry.label, run.seed, rows)
                for run in entry.runs
                if (rows := run.tables.get(name))
            ]
            found += [made] if made else []
    return found


def _table(name: str, label: str, seed: int, rows: Sequence[Mapping[str, Any]]) -> RecordedTable:
    headers = _HEADERS.get(name, {})
    present = dict.fromkeys(key for row in rows for key in row)
    keys = [key for key in headers if key in present]
    keys += [key for key in present if key not in headers]
    # A column in which no row says anything is left out.
    keys = [key for key in keys if any(row.get(key) not in (None, "") for row in rows)]
    made = [tuple(_cell(row.get(key)) for key in keys) for row in rows]
    taken = [name == "race" and bool(row.get("weight")) for row in rows]
    return RecordedTable(
        title=_TITLES.get(name, name.replace("_", " ").capitalize()),
        label=label,
        seed=seed,
        columns=tuple(
            (headers.get(key, key.replace("_", " ")), any(_is_number(row.get(key)) for row in rows))
            for key in keys
        ),
        rows=tuple(zip(made, taken, strict=True)),
    )


def _cell(value: Any) -> RecordedCell:
    if value is None or value == "":
        return RecordedCell("—")
    if isinstance(value, bool):
        return RecordedCell("yes" if value else "no")
    if isinstance(value, float):
        return RecordedCell(f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}", value)
    if isinstance(value, int):
        return RecordedCell(f"{value:,}", float(value))
    return RecordedCell(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
