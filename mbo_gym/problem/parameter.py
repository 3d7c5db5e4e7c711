"""The base class of the parameters of a design."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidDesign

__all__ = ["Cell", "Parameter", "is_number", "listed_values", "number_of", "require_distinct"]

Cell: TypeAlias = str | float | int | bool
"""A value of a parameter in the user's terms."""

N_SHOWN = 12
"""Values named in a message."""


class Parameter(ABC):
    """One named part of a design.

    Attributes:
        kind: Name of the kind in files.
        in_files: Names of its fields in files, where they have others.
        name: Name of the column.
        unit: Unit, for tables and plots.
        low: Smallest value of a slot.
        high: Largest value of a slot.
    """

    kind: ClassVar[str]
    in_files: ClassVar[Mapping[str, str]] = {}
    name: str
    unit: str
    low: float
    high: float

    @property
    def size(self) -> int:
        """Number of slots: 1, or the length of a sequence."""
        return 1

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number that linear constraints can use."""
        return False

    @property
    def as_number(self) -> bool:
        """Whether its cells are numbers; else they are words, letters or dates."""
        return self.numeric

    @property
    def grid_step(self) -> float | None:
        """Distance of neighbouring numbers of its slot; None where there is none."""
        return 1.0

    @property
    def n_values(self) -> float:
        """Number of values; infinite for real numbers without steps."""
        return self.high - self.low + 1

    def every_value(self) -> np.ndarray:
        """Return all values, (n_values, size) float64; only where `n_values` is finite."""
        return np.arange(self.low, self.high + 1, dtype=np.float64)[:, None]

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest values (N, size) float64 of numbers (N, size)."""
        return np.asarray(np.clip(np.rint(x), self.low, self.high))

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of float32 numbers (N, size) are values; (N,) bool."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.nearest(x).astype(np.float32) == x).all(axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` values uniformly, (n, size) float64."""
        values = rng.integers(int(self.low), int(self.high) + 1, size=(n, self.size))
        return values.astype(np.float64)

    @abstractmethod
    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, size) in the user's terms."""

    @abstractmethod
    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slots (size,) of a value in the user's terms.

        Raises:
            InvalidDesign: It is no value of this parameter.
        """

    @abstractmethod
    def allowed(self) -> str:
        """Return the allowed values in words."""

    def why_not(self, row: np.ndarray) -> str:
        """Say why slots (size,) are no value."""
        return f"{self.name}={row[0]:g} is not allowed; allowed are {self.allowed()}"

    def text(self, x: np.ndarray) -> list[str]:
        """Return values (N, size) as texts."""
        return [str(cell) for cell in self.cells(x)]

    def refuse(self, cell: Any) -> InvalidDesign:
        """Return the error for a value that is not allowed."""
        return InvalidDesign(f"{self.name}={cell!r} is not allowed; allowed are {self.allowed()}")


def require_distinct(parameter: Parameter, values: Sequence[Any]) -> None:
    """Raise ValueError unless there is at least one value and none stands twice."""
    if not values or len(set(values)) < len(values):
        raise ValueError(
            f"{parameter.name}: needs at least one value and none twice, got "
            f"{listed_values(values)}"
        )


def is_number(value: Any) -> bool:
    """Return whether a value is a number and no flag."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def number_of(parameter: Parameter, cell: Cell) -> float:
    """Return the finite number of a cell.

    Raises:
        InvalidDesign: It is none.
    """
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise parameter.refuse(cell) from None
    if not math.isfinite(value):
        raise parameter.refuse(cell)
    return value


def listed_values(values: Sequence[Any]) -> str:
    """Return values for a message, cut short where there are many."""
    text = ", ".join(map(str, values[:N_SHOWN]))
    return text if len(values) <= N_SHOWN else f"{text} and {len(values) - N_SHOWN} more"
