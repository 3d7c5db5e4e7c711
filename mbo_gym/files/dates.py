"""Columns of dates as numbers of days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table
from mbo_gym.problem.dates import DAY, Date, read_date

__all__ = ["date_column", "days_since_first"]

STEPS = (86400, 3600, 60, 1)
"""Seconds of a day, an hour, a minute and a second."""


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


def date_column(table: Table, name: str, cells: Sequence[str]) -> tuple[Date, np.ndarray]:
    """Return a column of dates as a parameter, and its slots (N, 1) float32.

    The steps are whole days, hours, minutes or seconds, the longest that the dates allow.

    Args:
        table: The file, for messages; its rows are those of `cells`.
        name: The column.
        cells: (N,) dates.

    Raises:
        InvalidData: A cell can be read in two ways, or is no date.
    """
    made = [_date(table, row, name, cell) for row, cell in enumerate(cells)]
    first = min(made)
    seconds = [round((moment - first).total_seconds()) for moment in made]
    step = next(unit for unit in STEPS if all(value % unit == 0 for value in seconds))
    parameter = Date(
        name, step=step / DAY, first=first.isoformat(" "), last=max(made).isoformat(" ")
    )
    days = np.array([[value / DAY] for value in seconds], dtype=np.float32)
    return parameter, days


def _date(table: Table, row: int, name: str, cell: str) -> datetime:
    try:
        return read_date(cell)
    except ValueError:
        raise InvalidData(
            f"{table.place(row, name)}: {cell!r} is no date that can be read in one way only. "
            "Write dates as 2024-03-31, or leave the column out with ignore=."
        ) from None
