"""Constraints between the parameters of a design space."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from mbo_gym.errors import UnknownId
from mbo_gym.problem.parameter import Cell, Parameter

__all__ = [
    "AllowedDesigns",
    "AtMostNonZero",
    "Constraint",
    "FixedSum",
    "Forbidden",
    "LinearLimit",
    "Slots",
]

ROUNDING = 4e-6
"""Excess of a sum, relative to its largest possible terms, that float32 numbers may have."""

Condition: TypeAlias = Cell | Sequence[Cell] | Mapping[str, float]
"""A value, one of several values, or numbers from ``low`` to ``high`` (one of them may be left
out)."""


@dataclass(frozen=True, eq=False)
class Slots:
    """The parameters of a space and the slots of each.

    Args:
        parameters: Every parameter by name, in order.
    """

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        first = 0
        start = {}
        for name, parameter in self.parameters.items():
            start[name] = first
            first += parameter.size
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "total", first)

    start: Mapping[str, int] = dataclasses.field(init=False)
    total: int = dataclasses.field(init=False)

    def of(self, name: str) -> slice:
        """Return the slots of a parameter."""
        return slice(self.start[name], self.start[name] + self.parameters[name].size)

    def numeric(self, name: str) -> int:
        """Return the slot of a parameter that holds a number.

        Raises:
            UnknownId: There is no such parameter.
            ValueError: It holds no numbers.
        """
        if name not in self.parameters:
            raise UnknownId("parameter in a constraint", name, tuple(self.parameters))
        if not self.parameters[name].as_number:
            raise ValueError(
                f"{name!r} holds no numbers, so it cannot stand in a sum or a range; leave it out "
                "of the constraint"
            )
        return self.start[name]


class Constraint(ABC):
    """A relation that allowed designs satisfy."""

    kind: ClassVar[str]

    @abstractmethod
    def check(self, slots: Slots) -> None:
        """Raise UnknownId or ValueError unless the constraint fits the parameters."""

    @abstractmethod
    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""

    @abstractmethod
    def in_words(self) -> str:
        """Return the constraint as a short formula."""

    def slack(self, slots: Slots, x: np.ndarray) -> np.ndarray | None:
        """Return how far each row is from breaking it, (N,); None where that is no number."""
        return None

    def linear(self, slots: Slots) -> list[tuple[np.ndarray, float, bool]]:
        """Return rows (weights (slots,), limit, whether equal) of ``weights x <= limit``."""
        return []


@dataclass(frozen=True)
class LinearLimit(Constraint):
    """A weighted sum between two limits: low <= w1 x1 + w2 x2 + .. <= high.

    Args:
        weights: Weight of each named parameter.
        low: Smallest value of the sum; -inf for none.
        high: Largest value of the sum; inf for none.

    Example:
        >>> LinearLimit({"acid": 1.0, "base": 2.0}, high=0.5).in_words()
        'acid + 2 base <= 0.5'
    """

    kind: ClassVar[str] = "linear"
    weights: Mapping[str, float]
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _require_limits(self, self.low, self.high)
        if not self.weights or not all(math.isfinite(w) for w in self.weights.values()):
            raise ValueError(f"needs a finite weight of at least one name, got {self.weights}")

    def check(self, slots: Slots) -> None:
        """Raise UnknownId or ValueError unless the constraint fits the parameters."""
        for name in self.weights:
            slots.numeric(name)

    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""
        value, size = self._sum(slots, x)
        room = ROUNDING * size
        return np.asarray((value >= self.low - room) & (value <= self.high + room))

    def slack(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return how far each row is from breaking it, (N,)."""
        value, _ = self._sum(slots, x)
        return np.asarray(np.minimum(value - self.low, self.high - value))

    def _sum(self, slots: Slots, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = self._vector(slots)
        x = np.asarray(x, dtype=np.float64)
        return x @ weights, np.abs(x) @ np.abs(weights)

    def _vector(self, slots: Slots) -> np.ndarray:
        weights = np.zeros(slots.total)
        for name, weight in self.weights.items():
            weights[slots.numeric(name)] = weight
        return weights

    def linear(self, slots: Slots) -> list[tuple[np.ndarray, float, bool]]:
        """Return rows (weights (slots,), limit, whether equal) of ``weights x <= limit``."""
        weights = self._vector(slots)
        if self.low == self.high:
            return [(weights, self.high, True)]
        rows = []
        if math.isfinite(self.high):
            rows.append((weights, self.high, False))
        if math.isfinite(self.low):
            rows.append((-weights, -self.low, False))
        return rows

    def in_words(self) -> str:
        """Return the constraint as a short formula."""
        terms = " + ".join(
            name if weight == 1 else f"{weight:g} {name}" for name, weight in self.weights.items()
        )
        if self.low == self.high:
            return f"{terms} = {self.high:g}"
        left = f"{self.low:g} <= " if math.isfinite(self.low) else ""
        right = f" <= {self.high:g}" if math.isfinite(self.high) else ""
        return f"{left}{terms}{right}"


@dataclass(frozen=True)
class FixedSum(Constraint):
    """Numbers that add up to a constant, as the parts of a mixture do.

    Args:
        names: Parameters of the sum.
        total: The constant.
        tolerance: Largest difference at which measured designs still count; proposals reach the
            total itself.

    Example:
        >>> FixedSum(("Cs", "FA", "MA"), 1.0).in_words()
        'Cs + FA + MA = 1'
    """

    kind: ClassVar[str] = "sum"
    names: tuple[str, ...]
    total: float
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self, self.names))
        if not math.isfinite(self.total) or not 0 <= self.tolerance < math.inf:
            raise ValueError(
                "a fixed sum needs a finite total and a tolerance of at least 0, got "
                f"{self.total} and {self.tolerance}"
            )

    def check(self, slots: Slots) -> None:
        """Raise UnknownId or ValueError unless the constraint fits the parameters."""
        for name in self.names:
            slots.numeric(name)

    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""
        parts = np.asarray(x, dtype=np.float64)[:, [slots.numeric(name) for name in self.names]]
        off = np.abs(parts.sum(axis=1) - self.total)
        return np.asarray(off <= self.tolerance + ROUNDING * np.abs(parts).sum(axis=1))

    def linear(self, slots: Slots) -> list[tuple[np.ndarray, float, bool]]:
        """Return rows (weights (slots,), limit, whether equal) of ``weights x <= limit``."""
        weights = np.zeros(slots.total)
        weights[[slots.numeric(name) for name in self.names]] = 1.0
        return [(weights, self.total, True)]

    def in_words(self) -> str:
        """Return the constraint as a short formula."""
        return f"{' + '.join(self.names)} = {self.total:g}"


@dataclass(frozen=True)
class AtMostNonZero(Constraint):
    """At most `most` of several numbers differ from 0, as with ingredients of a recipe.

    Args:
        names: Parameters that count.
        most: Largest number of them that differ from 0.
    """

    kind: ClassVar[str] = "at_most_non_zero"
    names: tuple[str, ...]
    most: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self, self.names))
        if not 0 <= self.most < len(self.names):
            raise ValueError(
                f"most must lie in 0 .. {len(self.names) - 1} for {len(self.names)} parameters, "
                f"got {self.most}"
            )

    def check(self, slots: Slots) -> None:
        """Raise UnknownId or ValueError unless the constraint fits the parameters."""
        for name in self.names:
            slots.numeric(name)
        never = [name for name in self.names if not self._may_be_zero(slots.parameters[name])]
        if len(never) > self.most:
            raise ValueError(
                f"at most {self.most} of {_listed(self.names)} may differ from 0, but {never} are "
                "never 0. Set their lowest value to 0, or raise `most`."
            )

    def _may_be_zero(self, parameter: Parameter) -> bool:
        return bool(parameter.contains(np.zeros((1, 1), dtype=np.float32))[0])

    def choosable(self, slots: Slots) -> np.ndarray:
        """Return the slots of the parameters that can be 0."""
        chosen = [n for n in self.names if self._may_be_zero(slots.parameters[n])]
        return np.array([slots.start[n] for n in chosen], dtype=np.int64)

    def room(self, slots: Slots) -> int:
        """Return how many of the `choosable` may differ from 0."""
        return self.most - (len(self.names) - len(self.choosable(slots)))

    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""
        parts = np.asarray(x)[:, [slots.numeric(name) for name in self.names]]
        return np.asarray((parts != 0).sum(axis=1) <= self.most)

    def in_words(self) -> str:
        """Return the constraint as a short formula."""
        return f"at most {self.most} of {_listed(self.names)} differ from 0"


@dataclass(frozen=True)
class Forbidden(Constraint):
    """A combination of values that must not occur together.

    Args:
        when: Condition on each of several parameters; a design that meets all is not allowed.

    Example:
        >>> Forbidden({"solvent": "water", "temperature": {"low": 100}}).in_words()
        "not (solvent = 'water' and temperature >= 100)"
    """

    kind: ClassVar[str] = "forbidden"
    when: Mapping[str, Condition]

    def __post_init__(self) -> None:
        if not self.when:
            raise ValueError("a forbidden combination names at least one parameter")

    def check(self, slots: Slots) -> None:
        """Raise UnknownId, InvalidDesign or ValueError unless it fits the parameters."""
        for name, condition in self.when.items():
            if name not in slots.parameters:
                raise UnknownId("parameter in a constraint", name, tuple(slots.parameters))
            parameter = slots.parameters[name]
            if isinstance(condition, Mapping):
                if not condition or not set(condition) <= {"low", "high"}:
                    raise ValueError(
                        f"{name}: a range is {{'low': .., 'high': ..}}, one of them may be left "
                        f"out, got {dict(condition)}"
                    )
                slots.numeric(name)
            else:
                for cell in _several(condition):
                    parameter.number(cell)

    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""
        met = np.ones(len(x), dtype=bool)
        for name in self.when:
            met &= self.meets(slots, name, np.asarray(x)[:, slots.of(name)])
        return ~met

    def meets(self, slots: Slots, name: str, x: np.ndarray) -> np.ndarray:
        """Return which values (N, size) of a parameter meet its condition; (N,) bool."""
        condition = self.when[name]
        if isinstance(condition, Mapping):
            value = x[:, 0]
            low = np.float32(condition.get("low", -math.inf))
            high = np.float32(condition.get("high", math.inf))
            return np.asarray((value >= low) & (value <= high))
        parameter = slots.parameters[name]
        met = np.zeros(len(x), dtype=bool)
        for cell in _several(condition):
            value = np.array(parameter.number(cell), dtype=np.float32)
            met |= (x.astype(np.float32) == value).all(axis=1)
        return met

    def ranges(self, slots: Slots, name: str) -> list[tuple[float, float]]:
        """Return the ranges of a numeric parameter that meet its condition."""
        condition = self.when[name]
        if isinstance(condition, Mapping):
            low = float(condition.get("low", -math.inf))
            return [(low, float(condition.get("high", math.inf)))]
        parameter = slots.parameters[name]
        values = [float(parameter.number(cell)[0]) for cell in _several(condition)]
        return [(value, value) for value in values]

    def in_words(self) -> str:
        """Return the constraint as a short formula."""
        return f"not ({' and '.join(map(self._term, self.when))})"

    def _term(self, name: str) -> str:
        condition = self.when[name]
        if isinstance(condition, Mapping):
            ends = [f"{name} >= {condition['low']:g}"] if "low" in condition else []
            ends += [f"{name} <= {condition['high']:g}"] if "high" in condition else []
            return " and ".join(ends)
        values = _several(condition)
        if len(values) == 1:
            return f"{name} = {values[0]!r}"
        return f"{name} in {list(values)}"


@dataclass(frozen=True, eq=False)
class AllowedDesigns(Constraint):
    """A finite list: only these designs are allowed.

    Args:
        designs: Each a mapping from the name of every parameter to its value.
    """

    kind: ClassVar[str] = "list"
    designs: tuple[Mapping[str, Cell], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "designs", tuple(dict(design) for design in self.designs))
        if not self.designs:
            raise ValueError("a list of allowed designs needs at least one")

    def check(self, slots: Slots) -> None:
        """Raise InvalidDesign or ValueError unless the designs fit the parameters."""
        self.rows(slots)

    def rows(self, slots: Slots) -> np.ndarray:
        """Return the designs as slots, (n, slots) float32."""
        rows = np.zeros((len(self.designs), slots.total), dtype=np.float32)
        names = list(slots.parameters)
        for i, design in enumerate(self.designs):
            if set(design) != set(names):
                raise ValueError(f"allowed design {i} needs a value of each of {names}: {design}")
        for name in names:
            parameter = slots.parameters[name]
            rows[:, slots.of(name)] = [parameter.number(d[name]) for d in self.designs]
        return rows

    def holds(self, slots: Slots, x: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) satisfy it; (N,) bool."""
        known = self._known(slots)
        rows = np.ascontiguousarray(x, dtype=np.float32) + np.float32(0)
        return np.array([row.tobytes() in known for row in rows], dtype=bool)

    def _known(self, slots: Slots) -> frozenset[bytes]:
        """Return the bytes of every listed design; kept for the slots of the last call."""
        kept: tuple[Slots, frozenset[bytes]] | None = getattr(self, "_kept", None)
        if kept is None or kept[0] is not slots:
            known = frozenset(row.tobytes() for row in self.rows(slots) + np.float32(0))
            kept = (slots, known)
            object.__setattr__(self, "_kept", kept)
        return kept[1]

    def in_words(self) -> str:
        """Return the constraint as a short formula."""
        return f"one of {len(self.designs):,} listed designs"


def _several(condition: Any) -> Sequence[Cell]:
    """Return the values of a condition that is a value or several."""
    if isinstance(condition, str) or not isinstance(condition, Sequence):
        return [condition]
    return condition


def _names(constraint: Constraint, names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(names)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"a constraint of kind {constraint.kind!r} needs at least two names and none twice, "
            f"got {names}"
        )
    return names


def _require_limits(constraint: LinearLimit, low: float, high: float) -> None:
    if not low <= high or (low == -math.inf and high == math.inf):
        raise ValueError(
            f"a linear limit needs low <= high and one of them finite, got {low} and {high}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
