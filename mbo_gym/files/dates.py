"""Columns of dates as numbers of days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table

__all__ = ["days_since_first"]


def days_since_first(table: Table, name: str, cells: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return days since the first date (N,) float32, and that date.

    Args:
        table: The file, for messages; its rows are those of `cells`.
        name: The column.
        cells: (N,) dates such as 2024-03-31, 31.3.2024 or 2024-03-31 10:30.

    Raises:
        InvalidData: A cell can be read in two ways, or is no date.
    """
    made = [_date(table, row, name, cell) for row, cell in enumerate(cells)]
    first = min(made)
    days = [(date - first).total_seconds() / 86400 for date in made]
    return np.array(days, dtype=np.float32), first.isoformat(sep=" ").removesuffix(" 00:00:00")


def _date(table: Table, row: int, name: str, cell: str) -> datetime:
    text = cell.replace("/", "-") if re.match(r"^\d{4}/", cell) else cell
    text = re.sub(r"(Z|[+-]\d{2}:?\d{2})$", "", text) if ":" in text else text
    dotted = re.match(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)$", text)
    if dotted:
        day, month, year, rest = dotted.groups()
        text = f"{year}-{int(month):02}-{int(day):02}{rest}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidData(
            f"{table.place(row, name)}: {cell!r} is no date that can be read in one way only. "
            "Write dates as 2024-03-31, or leave the column out with ignore=."
        ) from None
