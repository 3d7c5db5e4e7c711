"""Dates as parameters of a design, and how a date is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import ClassVar

import numpy as np

from mbo_gym.problem.parameter import Cell, Parameter
from mbo_gym.problem.parameters import Real

__all__ = ["Date", "read_date", "written_date"]

DAY = 86400.0
"""Seconds of a day."""


def read_date(cell: object) -> datetime:
    """Return a date such as 2024-03-31, 31.3.2024 or 2024-03-31 10:30; time zones are dropped.

    Raises:
        ValueError: It is no date, or can be read in two ways.
    """
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None)
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    text = str(cell)
    text = text.replace("/", "-") if re.match(r"^\d{4}/", text) else text
    text = re.sub(r"(Z|[+-]\d{2}:?\d{2})$", "", text) if ":" in text else text
    dotted = re.match(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)$", text)
    if dotted:
        day, month, year, rest = dotted.groups()
        text = f"{year}-{int(month):02}-{int(day):02}{rest}"
    return datetime.fromisoformat(text)


def written_date(moment: datetime) -> str:
    """Return a date as 2024-03-31, with its time unless that is midnight."""
    text = moment.isoformat(sep=" ", timespec="seconds")
    return text.removesuffix(" 00:00:00").removesuffix(":00")


@dataclass(frozen=True)
class Date(Parameter):
    """A date within bounds, in steps of days; its slot counts the days since the first date.

    Args:
        name: Name of the column.
        first: Earliest date, as text or as a date; ``low`` in files.
        last: Latest date; ``high`` in files.
        step: Distance of neighbouring dates in days; 0.25 for every six hours.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: A bound is no date, the bounds are in the wrong order, or the step is not above
            0.

    Example:
        >>> sowing = Date("sowing", "2024-03-01", "2024-04-30", step=7)
        >>> sowing.cells(sowing.nearest(np.array([[10.0]])))
        ['2024-03-08']
    """

    kind: ClassVar[str] = "date"
    in_files: ClassVar[Mapping[str, str]] = {"first": "low", "last": "high"}
    name: str
    first: str
    last: str
    step: float = 1.0
    unit: str = ""

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, written_date(read_date(given)))
            except ValueError:
                raise ValueError(
                    f"{self.name}: {self.in_files[name]} must be a date such as 2024-03-31, got "
                    f"{given!r}"
                ) from None
        if self.high < 0:
            raise ValueError(
                f"{self.name}: low must not be after high, got {self.first} and {self.last}"
            )
        self._days  # noqa: B018 (refuses a step that makes no sense)

    @cached_property
    def _days(self) -> Real:
        """The same as days since the first date."""
        return Real(self.name, 0.0, self.high, step=self.step)

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number, which it is."""
        return True

    @property
    def as_number(self) -> bool:
        """Whether its cells are numbers, which dates are not."""
        return False

    @property
    def grid_step(self) -> float:
        """Distance of neighbouring dates in days."""
        return self.step

    @property
    def low(self) -> float:  # type: ignore[override]
        """Smallest value of the slot."""
        return 0.0

    @property
    def high(self) -> float:  # type: ignore[override]
        """Largest value of the slot, in days."""
        return (read_date(self.last) - read_date(self.first)).total_seconds() / DAY

    def every_value(self) -> np.ndarray:
        """Return all dates as days since the first, (n_values, 1) float64."""
        return self._days.every_value()

    @property
    def n_values(self) -> float:
        """Number of dates."""
        return self._days.n_values

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest values (N, 1) float64 of numbers of days (N, 1)."""
        return self._days.nearest(x)

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of float32 numbers of days (N, 1) are values; (N,) bool."""
        return self._days.contains(x)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` values uniformly, (n, 1) float64."""
        return self._days.sample(n, rng)

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, 1) as texts."""
        return [self._text(days) for days in self.nearest(x)[:, 0].tolist()]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a date."""
        try:
            days = (read_date(cell) - read_date(self.first)).total_seconds() / DAY
        except ValueError:
            raise self.refuse(cell) from None
        if not self.contains(np.array([[days]], dtype=np.float32))[0]:
            raise self.refuse(cell)
        return [days]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        days = "day" if self.step == 1 else "days"
        return f"the dates from {self.first} to {self.last} in steps of {self.step:g} {days}"

    def why_not(self, row: np.ndarray) -> str:
        """Say why a number of days (1,) is no value."""
        days = float(row[0])
        shown = self._text(days) if abs(days) < 1e6 else f"day {days:g}"
        return f"{self.name}={shown} is not allowed; allowed are {self.allowed()}"

    def _text(self, days: float) -> str:
        seconds = round(days * DAY)
        return written_date(read_date(self.first) + timedelta(seconds=seconds))
