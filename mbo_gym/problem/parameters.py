"""Parameters of a design: reals, whole numbers, categories, levels, sequences and constants.

A design is a row of numbers, one or several per parameter (its slots). Numbers stand for
themselves; categories, levels of words and letters are numbered from 0 in the order given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mbo_gym.problem.parameter import (
    Cell,
    Parameter,
    is_number,
    listed_values,
    number_of,
    require_distinct,
)

__all__ = ["Category", "Constant", "Integer", "Levels", "Real"]


OFF_STEP = 1e-3
"""Distance from a step, in steps, up to which a number counts as that step."""


@dataclass(frozen=True)
class Real(Parameter):
    """A real number within bounds, perhaps in steps.

    Args:
        name: Name of the column.
        low: Smallest value; -inf for none.
        high: Largest value; inf for none.
        step: Distance of neighbouring values, counted from `low` (from 0 where that is infinite);
            None for any number.
        log: Whether it varies by factors: it is sampled and encoded by its logarithm.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: The bounds, the step or the logarithm make no sense.

    Example:
        >>> temperature = Real("temperature", 20, 100, step=5, unit="°C")
        >>> temperature.nearest(np.array([[33.0]])).item()
        35.0
    """

    kind: ClassVar[str] = "real"
    name: str
    low: float = -math.inf
    high: float = math.inf
    step: float | None = None
    log: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        _require_order(self)
        if self.step is not None and not 0 < self.step < math.inf:
            raise ValueError(f"{self.name}: step must be above 0, got {self.step}")
        if self.log and self.low <= 0:
            raise ValueError(
                f"{self.name}: log needs a lowest value above 0, got {self.low}. Set low, or leave "
                "log out."
            )

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number that linear constraints can use."""
        return True

    @property
    def grid_step(self) -> float | None:
        """Distance of neighbouring values, None without steps."""
        return self.step

    @property
    def origin(self) -> float:
        """Value from which steps are counted."""
        return self.low if math.isfinite(self.low) else 0.0

    @property
    def n_values(self) -> float:
        """Number of values; infinite for real numbers without steps."""
        if self.step is None or not math.isfinite(self.high - self.low):
            return math.inf if self.high > self.low else 1
        width = (self.high - self.low) / self.step
        return math.floor(width + OFF_STEP) + 1 if math.isfinite(width) else math.inf

    def every_value(self) -> np.ndarray:
        """Return all values, (n_values, 1) float64; only where `n_values` is finite."""
        return self.origin + np.arange(self.n_values)[:, None] * (self.step or 0.0)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest values (N, 1) float64 of numbers (N, 1)."""
        x = np.clip(x, self.low, self.high).astype(np.float64)
        if self.step is None:
            return x
        steps = np.rint((x - self.origin) / self.step)
        last = (self.high - self.origin) / self.step
        if math.isfinite(last):
            steps = np.minimum(steps, math.floor(last + OFF_STEP))
        return self.origin + steps * self.step

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of float32 numbers (N, 1) are values; (N,) bool."""
        value = x[:, 0]
        with np.errstate(invalid="ignore"):
            inside = (value >= np.float32(self.low)) & (value <= np.float32(self.high))
            inside &= np.isfinite(value)
            if self.step is not None:
                off = np.abs(value - self.nearest(x)[:, 0])
                inside &= off <= OFF_STEP * self.step + np.spacing(np.abs(value), dtype=np.float32)
        return np.asarray(inside)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` values uniformly (by their logarithm where `log`), (n, 1) float64."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(
                f"{self.name} has no finite bounds, so no uniform distribution; narrow it with "
                "within(low, high) first"
            )
        if self.log:
            u = rng.uniform(math.log(self.low), math.log(self.high), size=(n, 1))
            return self.nearest(np.exp(u))
        if self.step is None:
            return rng.uniform(self.low, self.high, size=(n, 1))
        return self.low + rng.integers(0, int(self.n_values), size=(n, 1)) * self.step

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, 1) as numbers that read as short as they can."""
        values = self.nearest(x)[:, 0] if self.step is not None else x[:, 0]
        return [_short(value) for value in values]

    def text(self, x: np.ndarray) -> list[str]:
        """Return values (N, 1) as texts."""
        return [_plain(cell) for cell in self.cells(x)]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a value."""
        return [_number_among(self, cell)]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        low, high = (_plain(_short(v)) for v in (self.low, self.high))
        steps = "" if self.step is None else f" in steps of {self.step:g}"
        return f"the numbers from {low} to {high}{steps}"


@dataclass(frozen=True)
class Integer(Parameter):
    """A whole number within bounds.

    Args:
        name: Name of the column.
        low: Smallest value.
        high: Largest value, below 2^24.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: A bound is no whole number, or the bounds are in the wrong order.

    Example:
        >>> Integer("struts", 6, 12).nearest(np.array([[9.8]])).item()
        10.0
    """

    kind: ClassVar[str] = "integer"
    name: str
    low: int
    high: int
    unit: str = ""

    def __post_init__(self) -> None:
        _require_order(self)
        for value in (self.low, self.high):
            if value != int(value) or abs(value) > 1 << 24:
                raise ValueError(
                    f"{self.name}: a bound is a whole number within +-2^24, got {value}. Make it "
                    "Real(step=1) with an offset, or correct it."
                )

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number that linear constraints can use."""
        return True

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, 1) as whole numbers."""
        return [int(value) for value in np.rint(x[:, 0])]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a value."""
        value = number_of(self, cell)
        if value != np.rint(value) or not self.low <= value <= self.high:
            raise self.refuse(cell)
        return [value]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return f"the whole numbers from {self.low} to {self.high}"


@dataclass(frozen=True)
class Category(Parameter):
    """One of several words without an order, e.g. a solvent; also a flag with two words.

    Args:
        name: Name of the column.
        values: The words.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: There is no word, or one stands twice.

    Example:
        >>> Category("solvent", ("DMF", "water")).number("water")
        [1.0]
    """

    kind: ClassVar[str] = "category"
    name: str
    values: tuple[str, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(str, self.values)))
        require_distinct(self, self.values)

    @property
    def low(self) -> float:  # type: ignore[override]
        """Smallest value of the slot."""
        return 0

    @property
    def high(self) -> float:  # type: ignore[override]
        """Largest value of the slot."""
        return len(self.values) - 1

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, 1) as words."""
        return [self.values[int(a)] for a in x[:, 0]]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a word."""
        return [_place_of_word(self, cell)]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return listed_values(self.values)


@dataclass(frozen=True)
class Levels(Parameter):
    """One of several values in an order: numbers (2, 4, 8, 16) or words (low, medium, high).

    Args:
        name: Name of the column.
        values: All numbers, in increasing order, or all words.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: There is no value, one stands twice, or numbers are in no increasing order.

    Example:
        >>> Levels("order", (2, 4, 8, 16)).nearest(np.array([[7.0]])).item()
        8.0
    """

    kind: ClassVar[str] = "levels"
    name: str
    values: tuple[float, ...] | tuple[str, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        values = tuple(v.item() if isinstance(v, np.generic) else v for v in self.values)
        if not all(is_number(v) for v in values):
            values = tuple(map(str, values))
        object.__setattr__(self, "values", values)
        require_distinct(self, values)
        if self.numeric and not all(math.isfinite(v) for v in values):  # type: ignore[arg-type]
            raise ValueError(f"{self.name}: numbers must be finite, got {values}")
        if self.numeric and list(values) != sorted(values):
            raise ValueError(f"{self.name}: numbers must increase, got {values}")
        if self.numeric and (np.diff(np.array(values, dtype=np.float32)) == 0).any():
            raise ValueError(
                f"{self.name}: two numbers are the same as float32, got {values}. Use words, or "
                "subtract an offset."
            )

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number that linear constraints can use."""
        return is_number(self.values[0])

    @property
    def low(self) -> float:  # type: ignore[override]
        """Smallest value of the slot."""
        return float(self.values[0]) if self.numeric else 0

    @property
    def high(self) -> float:  # type: ignore[override]
        """Largest value of the slot."""
        return float(self.values[-1]) if self.numeric else len(self.values) - 1

    @property
    def n_values(self) -> float:
        """Number of values."""
        return len(self.values)

    @property
    def grid(self) -> np.ndarray:
        """(n_values,) values of the slot, increasing."""
        if self.numeric:
            return np.array(self.values, dtype=np.float64)
        return np.arange(len(self.values), dtype=np.float64)

    def every_value(self) -> np.ndarray:
        """Return all values, (n_values, 1) float64."""
        return self.grid[:, None]

    def index(self, x: np.ndarray) -> np.ndarray:
        """Return the number (N,) of the level nearest to each slot (N, 1)."""
        between = (self.grid[1:] + self.grid[:-1]) / 2
        return np.searchsorted(between, x[:, 0], side="right")

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest values (N, 1) float64 of numbers (N, 1)."""
        value = self.grid[self.index(x)][:, None]
        return np.where(np.isnan(x), x, value)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` values uniformly, (n, 1) float64."""
        return self.grid[rng.integers(0, len(self.values), size=(n, 1))]

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return values (N, 1) as the given numbers or words."""
        return [self.values[a] for a in self.index(x)]

    def text(self, x: np.ndarray) -> list[str]:
        """Return values (N, 1) as texts."""
        return [_plain(cell) for cell in self.cells(x)]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a value."""
        return [_number_among(self, cell) if self.numeric else _place_of_word(self, cell)]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return listed_values(self.values)


@dataclass(frozen=True)
class Constant(Parameter):
    """A value that is the same in all designs; methods do not see it.

    Args:
        name: Name of the column.
        value: Number or word.
        unit: Unit, for tables and plots.

    Example:
        >>> Constant("batch", "B7").text(np.zeros((1, 1)))
        ['B7']
    """

    kind: ClassVar[str] = "constant"
    name: str
    value: float | str
    unit: str = ""

    @property
    def numeric(self) -> bool:
        """Whether its slot is a number that linear constraints can use."""
        return is_number(self.value)

    @property
    def low(self) -> float:  # type: ignore[override]
        """Value of the slot."""
        return float(self.value) if self.numeric else 0

    @property
    def high(self) -> float:  # type: ignore[override]
        """Value of the slot."""
        return self.low

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the value for each row, (N, 1) float64."""
        return np.full(x.shape, self.low)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the value `n` times, (n, 1) float64."""
        return np.full((n, 1), self.low)

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return the value for each row."""
        return [self.value] * len(x)

    def text(self, x: np.ndarray) -> list[str]:
        """Return the value for each row as a text."""
        return [_plain(self.value)] * len(x)

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of the value."""
        same = str(cell) == str(self.value)
        if not same and self.numeric:
            same = np.float32(number_of(self, cell)) == np.float32(self.low)
        if not same:
            raise self.refuse(cell)
        return [self.low]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return f"only {self.value!r}"


def _require_order(parameter: Real | Integer) -> None:
    if not parameter.low <= parameter.high:
        raise ValueError(
            f"{parameter.name}: low must not exceed high, got {parameter.low} and {parameter.high}"
        )


def _number_among(parameter: Real | Levels, cell: Cell) -> float:
    """Return the number of a cell, or raise InvalidDesign unless it is one of the values."""
    value = number_of(parameter, cell)
    if not parameter.contains(np.array([[value]], dtype=np.float32))[0]:
        raise parameter.refuse(cell)
    return value


def _place_of_word(parameter: Category | Levels, cell: Cell) -> float:
    """Return the place of a word among the values, or raise InvalidDesign for another word."""
    if str(cell) not in parameter.values:
        raise parameter.refuse(cell)
    return float(parameter.values.index(str(cell)))


def _plain(cell: Cell) -> str:
    """Return a value as a text, a whole number without decimals."""
    return str(cell).removesuffix(".0") if is_number(cell) else str(cell)


def _short(value: float) -> float:
    """Return the number with the fewest digits that is the same as float32."""
    return float(str(np.float32(value)))
