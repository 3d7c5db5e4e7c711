"""Parameters of a design: reals, whole numbers, categories, levels, sequences and constants.

A design is a row of numbers, one or several per parameter (its slots). Numbers stand for
themselves; categories, levels of words and letters are numbered from 0 in the order given.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidDesign, UnknownId

__all__ = [
    "PARAMETER_KINDS",
    "Category",
    "Constant",
    "Integer",
    "Letters",
    "Levels",
    "Parameter",
    "Real",
    "parameter_from_dict",
    "parameter_to_dict",
]

Cell: TypeAlias = str | float | int | bool
"""A value of a parameter in the user's terms."""

N_SHOWN = 12
"""Values named in a message."""
OFF_STEP = 1e-3
"""Distance from a step, in steps, up to which a number counts as that step."""


class Parameter(ABC):
    """One named part of a design.

    Attributes:
        kind: Name of the kind in files.
        name: Name of the column.
        unit: Unit, for tables and plots.
        low: Smallest value of a slot.
        high: Largest value of a slot.
    """

    kind: ClassVar[str]
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
    def n_values(self) -> float:
        """Number of values; infinite for real numbers without steps."""
        return self.high - self.low + 1

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
        return [str(cell).removesuffix(".0") for cell in self.cells(x)]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a value."""
        value = _number(self, cell)
        if not self.contains(np.array([[value]], dtype=np.float32))[0]:
            raise self.refuse(cell)
        return [value]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        low, high = (str(_short(v)).removesuffix(".0") for v in (self.low, self.high))
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
        value = _number(self, cell)
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
        _require_distinct(self, self.values)

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
        if str(cell) not in self.values:
            raise self.refuse(cell)
        return [float(self.values.index(str(cell)))]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return _listed(self.values)


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
        if not all(_is_number(v) for v in values):
            values = tuple(map(str, values))
        object.__setattr__(self, "values", values)
        _require_distinct(self, values)
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
        return _is_number(self.values[0])

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
        return [str(cell).removesuffix(".0") for cell in self.cells(x)]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of a value."""
        if self.numeric:
            value = _number(self, cell)
            if not self.contains(np.array([[value]], dtype=np.float32))[0]:
                raise self.refuse(cell)
            return [value]
        if str(cell) not in self.values:
            raise self.refuse(cell)
        return [float(self.values.index(str(cell)))]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return _listed(self.values)


@dataclass(frozen=True)
class Letters(Parameter):
    """A sequence of letters, of one length or up to a longest one.

    A shorter sequence fills the slots behind its end with the gap, which stands nowhere else.

    Args:
        name: Name of the column.
        letters: The letters, each one character, without the gap.
        length: Number of letters; the longest where `shortest` is given.
        shortest: Smallest number of letters; None for `length`.
        gap: Character of an empty slot; it is no letter and is not written.
        fixed: Letters that never change, by their place from 0.
        unit: Unit, for tables and plots.

    Raises:
        ValueError: Fewer than one letter, one twice, or lengths that make no sense.

    Example:
        >>> peptide = Letters("peptide", "ACDE", 4, shortest=2)
        >>> peptide.number("CA")
        [1.0, 0.0, 4.0, 4.0]
    """

    kind: ClassVar[str] = "letters"
    name: str
    letters: tuple[str, ...]
    length: int
    shortest: int | None = None
    gap: str = "-"
    fixed: Mapping[int, str] = dataclasses.field(default_factory=dict)
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "letters", tuple(self.letters))
        fixed = {int(place): letter for place, letter in self.fixed.items()}
        object.__setattr__(self, "fixed", fixed)
        _require_distinct(self, self.letters)
        if any(len(letter) != 1 for letter in (*self.letters, self.gap)):
            raise ValueError(
                f"{self.name}: a letter and the gap are one character each, got "
                f"{_listed(self.letters)} and {self.gap!r}"
            )
        shortest = self.length if self.shortest is None else self.shortest
        if not 1 <= shortest <= self.length:
            raise ValueError(
                f"{self.name}: needs 1 <= shortest <= length, got {self.shortest} and {self.length}"
            )
        if self.varies_in_length and self.gap in self.letters:
            raise ValueError(f"{self.name}: the gap {self.gap!r} is also a letter; name another")
        for place, letter in fixed.items():
            if letter not in self.letters or not 0 <= place < shortest:
                raise ValueError(
                    f"{self.name}: fixed={{{place}: {letter!r}}} needs a place from 0 to "
                    f"{shortest - 1} and one of the letters {''.join(self.letters)}"
                )

    @property
    def size(self) -> int:
        """Number of slots, the greatest length."""
        return self.length

    @property
    def plain(self) -> bool:
        """Whether any letters at all places make a sequence, and there are two or more letters."""
        return not self.varies_in_length and not self.fixed and len(self.letters) > 1

    @property
    def varies_in_length(self) -> bool:
        """Whether sequences may be shorter than `length`."""
        return self.shortest is not None and self.shortest < self.length

    @property
    def low(self) -> float:  # type: ignore[override]
        """Smallest value of a slot."""
        return 0

    @property
    def high(self) -> float:  # type: ignore[override]
        """Largest value of a slot: the gap, where there is one, else the last letter."""
        return len(self.letters) - 1 + int(self.varies_in_length)

    @property
    def n_values(self) -> float:
        """Number of sequences."""
        free = self.length - len(self.fixed)
        least = (self.shortest or self.length) - len(self.fixed)
        return float(sum(float(len(self.letters)) ** n for n in range(least, free + 1)))

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest sequences (N, length): letters in front, gaps behind."""
        x = super().nearest(x)
        if self.varies_in_length:
            gap = float(self.high)
            order = np.argsort(x == gap, axis=1, kind="stable")
            x = np.take_along_axis(x, order, axis=1)
            head = x[:, : self.shortest]
            head[head == gap] = 0.0
        for place, letter in self.fixed.items():
            x[:, place] = self.letters.index(letter)
        return x

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` sequences: a uniform length, then uniform letters; (n, length) float64."""
        x = rng.integers(0, len(self.letters), size=(n, self.length)).astype(np.float64)
        if self.varies_in_length:
            assert self.shortest is not None
            length = rng.integers(self.shortest, self.length + 1, size=(n, 1))
            x[np.arange(self.length) >= length] = self.high
        for place, letter in self.fixed.items():
            x[:, place] = self.letters.index(letter)
        return x

    def cells(self, x: np.ndarray) -> list[Cell]:
        """Return sequences (N, length) as texts without gaps."""
        alphabet = [*self.letters, ""]
        return ["".join(alphabet[int(a)] for a in row) for row in x]

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slots of a sequence; gaps at its end are skipped."""
        text = str(cell)
        if self.varies_in_length:
            text = text.rstrip(self.gap)
        least = self.length if self.shortest is None else self.shortest
        if not least <= len(text) <= self.length or not set(text) <= set(self.letters):
            raise self.refuse(cell)
        if any(text[place] != letter for place, letter in self.fixed.items()):
            raise self.refuse(cell)
        slots = [float(self.letters.index(letter)) for letter in text]
        return slots + [float(self.high)] * (self.length - len(text))

    def why_not(self, row: np.ndarray) -> str:
        """Say why slots (length,) are no sequence."""
        return f"{self.name}={row.tolist()} is not allowed; allowed are {self.allowed()}"

    def allowed(self) -> str:
        """Return the allowed values in words."""
        length = f"{self.length}"
        if self.varies_in_length:
            length = f"{self.shortest} to {self.length}"
        kept = ""
        if self.fixed:
            kept = f", {len(self.fixed)} of them fixed"
        return f"sequences of {length} letters out of {''.join(self.letters)}{kept}"


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
        return _is_number(self.value)

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
        return [str(self.value).removesuffix(".0")] * len(x)

    def number(self, cell: Cell) -> Sequence[float]:
        """Return the slot of the value."""
        same = str(cell) == str(self.value)
        if not same and self.numeric:
            same = np.float32(_number(self, cell)) == np.float32(self.low)
        if not same:
            raise self.refuse(cell)
        return [self.low]

    def allowed(self) -> str:
        """Return the allowed values in words."""
        return f"only {self.value!r}"


PARAMETER_KINDS: Mapping[str, type[Parameter]] = {
    kind.kind: kind for kind in (Real, Integer, Category, Levels, Letters, Constant)
}
"""Every kind of parameter by its name in files."""


def parameter_to_dict(parameter: Parameter) -> dict[str, Any]:
    """Return a parameter as plain values for JSON or TOML; defaults are left out."""
    facts: dict[str, Any] = {"kind": parameter.kind}
    for field in dataclasses.fields(parameter):  # type: ignore[arg-type]
        value = getattr(parameter, field.name)
        if field.default is not dataclasses.MISSING and value == field.default:
            continue
        if field.name == "fixed":
            if not value:
                continue
            value = {str(place): letter for place, letter in value.items()}
        if field.name == "letters":
            value = "".join(value)
        facts[field.name] = list(value) if isinstance(value, tuple) else value
    return facts


def parameter_from_dict(facts: Mapping[str, Any]) -> Parameter:
    """Return the parameter that `parameter_to_dict` wrote.

    Raises:
        UnknownId: The kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    facts = dict(facts)
    word = facts.pop("kind", None)
    if word not in PARAMETER_KINDS:
        raise UnknownId("kind of parameter", str(word), tuple(PARAMETER_KINDS))
    kind = PARAMETER_KINDS[word]
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    for name in facts:
        if name not in known:
            raise UnknownId(f"field of a {word} parameter", name, known)
    for field in fields:
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if needed and field.name not in facts:
            raise ValueError(f"a {word} parameter needs {field.name!r}, got {sorted(facts)}")
    return kind(**facts)


def _require_order(parameter: Real | Integer) -> None:
    if not parameter.low <= parameter.high:
        raise ValueError(
            f"{parameter.name}: low must not exceed high, got {parameter.low} and {parameter.high}"
        )


def _require_distinct(parameter: Parameter, values: Sequence[Any]) -> None:
    if not values or len(set(values)) < len(values):
        raise ValueError(
            f"{parameter.name}: needs at least one value and none twice, got {_listed(values)}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _number(parameter: Parameter, cell: Cell) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise parameter.refuse(cell) from None
    if not math.isfinite(value):
        raise parameter.refuse(cell)
    return value


def _short(value: float) -> float:
    """Return the number with the fewest digits that is the same as float32."""
    return float(str(np.float32(value)))


def _listed(values: Sequence[Any]) -> str:
    text = ", ".join(map(str, values[:N_SHOWN]))
    return text if len(values) <= N_SHOWN else f"{text} and {len(values) - N_SHOWN} more"
