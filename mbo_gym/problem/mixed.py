"""Design spaces of parameters of any kind, with constraints between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import gymnasium as gym
import numpy as np

from mbo_gym.errors import InvalidDesign, UnknownId
from mbo_gym.problem.constraints import Constraint, Slots
from mbo_gym.problem.feasible import Feasible
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.parameter import Cell, Parameter
from mbo_gym.problem.parameters import Category, Constant, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace

__all__ = ["MixedSpace", "make_space"]

N_IN_WORDS = 12
"""Parameters that a sentence names."""


@dataclass(frozen=True, eq=False)
class MixedSpace(DesignSpace):
    """Named parameters of any kind, and constraints between them.

    A design is a row of float32 numbers, see `mbo_gym.problem.parameters`; `parse` and `values`
    translate from and to the user's terms.

    Args:
        parameters: Parameters, in the order of the columns.
        constraints: Relations that allowed designs satisfy.

    Raises:
        ValueError: No parameter, two of one name, or constraints that leave no design.
        UnknownId: A constraint names a parameter that is not there.

    Example:
        >>> from mbo_gym import FixedSum, Real
        >>> space = MixedSpace(
        ...     (Real("acid", 0, 1), Real("base", 0, 1)), (FixedSum(("acid", "base"), 1.0),)
        ... )
        >>> space.project(np.array([0.5, 0.7])).tolist()
        [0.4000000059604645, 0.6000000238418579]
    """

    kind: ClassVar[str] = "mixed"
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()
    slots: Slots = field(init=False, repr=False)
    feasible: Feasible = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parameters = tuple(self.parameters)
        names = [parameter.name for parameter in parameters]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"needs at least one parameter and no name twice, got {names}")
        slots = Slots({parameter.name: parameter for parameter in parameters})
        for constraint in self.constraints:
            constraint.check(slots)
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "constraints", tuple(self.constraints))
        object.__setattr__(self, "slots", slots)
        object.__setattr__(self, "feasible", Feasible(slots, self.constraints))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one design, (slots,)."""
        return (self.slots.total,)

    @property
    def dtype(self) -> type[np.float32]:
        """Type of a design's numbers."""
        return np.float32

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite, so that uniform sampling makes sense."""
        return bool(np.isfinite(self.feasible.low).all() and np.isfinite(self.feasible.high).all())

    @property
    def n_designs(self) -> float:
        """Number of designs, constraints apart from a list not counted; inf with real numbers."""
        if self.feasible.listed is not None:
            return float(len(self.feasible.listed))
        return float(math.prod(float(parameter.n_values) for parameter in self.parameters))

    def every_design(self, most: int) -> np.ndarray | None:
        """Return all designs (n, slots), or None where `n_designs` is above `most`."""
        if self.n_designs > most:
            return None
        if self.feasible.listed is not None:
            return self.feasible.listed.astype(np.float32)
        values = [parameter.every_value() for parameter in self.parameters]
        chosen = np.indices([len(v) for v in values]).reshape(len(values), -1)
        x = np.concatenate([v[rows] for v, rows in zip(values, chosen, strict=True)], axis=1)
        x = x.astype(np.float32)
        return np.asarray(x[self.contains(x)])

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of `x` (N, slots) are allowed as float32; (N,) bool."""
        x = self._rows(x)
        good = np.isfinite(x).all(axis=1)
        for name, parameter in self.slots.parameters.items():
            good[good] = parameter.contains(x[good, self.slots.of(name)])
        good[good] = self.feasible.holds(x[good])
        return np.asarray(good)

    def why_not(self, row: np.ndarray) -> str:
        """Say in words why one design (slots,) is not allowed."""
        x = self._rows(np.asarray(row)[None])
        for name, parameter in self.slots.parameters.items():
            part = x[:, self.slots.of(name)]
            if not np.isfinite(part).all() or not parameter.contains(part)[0]:
                return parameter.why_not(part[0])
        for constraint in self.constraints:
            if not constraint.holds(self.slots, x)[0]:
                return f"{dict(self.values(x)[0])} breaks the constraint {constraint.in_words()}"
        return "it is allowed"

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` random designs, (n, slots) float32; see `Feasible.sample`.

        Raises:
            ValueError: A bound is infinite, or no allowed design was found.
        """
        if not self.bounded:
            raise ValueError(
                "An unbounded space has no uniform distribution; narrow it with within(low, high) "
                "first"
            )
        return self.feasible.sample(n, rng).astype(np.float32)

    def project(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest allowed design of one (slots,) or several (N, slots); float32.

        Distances count numbers in widths of their range, and 1 for a word or letter that differs.
        Exact for numbers without steps under linear constraints, for one fixed sum of equal steps
        and for a list; elsewhere near, and always allowed. A sequence of varying length closes its
        gaps first. Infinite numbers count as the bound, NaN as the middle.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.ndim == 1:
            return np.asarray(self.project(x[None])[0])
        low, high = self.feasible.low, self.feasible.high
        middle = np.clip(0.0, low, high)
        both = np.isfinite(low) & np.isfinite(high)
        middle[both] = (low[both] + high[both]) / 2
        x = np.where(np.isnan(x), middle, x)
        largest = float(np.finfo(np.float32).max)
        return self.feasible.nearest(np.clip(x, -largest, largest)).astype(np.float32)

    def within(self, low: np.ndarray, high: np.ndarray) -> MixedSpace:
        """Return the part of this space inside the box `low`, `high` (slots,).

        Only real numbers without a finite bound are narrowed; steps stay where they are.
        """
        parameters = []
        for parameter in self.parameters:
            j = self.slots.start[parameter.name]
            if isinstance(parameter, Real):
                ends = parameter.nearest(np.array([[low[j]], [high[j]]], dtype=np.float64))
                least = parameter.low if math.isfinite(parameter.low) else float(ends[0, 0])
                most = parameter.high if math.isfinite(parameter.high) else float(ends[1, 0])
                parameter = replace(parameter, low=least, high=most)
            parameters.append(parameter)
        return MixedSpace(tuple(parameters), self.constraints)

    def values(self, x: np.ndarray) -> list[dict[str, Cell]]:
        """Return designs (N, slots) in the user's terms, a mapping by name for each.

        Raises:
            InvalidDesign: A number stands for no value of its parameter. Constraints are not
                checked.
        """
        x = self._rows(x)
        for name, parameter in self.slots.parameters.items():
            part = x[:, self.slots.of(name)]
            known = np.isfinite(part).all(axis=1) & parameter.contains(part)
            if not known.all():
                row = int(np.argmin(known))
                raise InvalidDesign(f"row {row}: {parameter.why_not(part[row])}")
        columns = [p.cells(x[:, self.slots.of(name)]) for name, p in self.slots.parameters.items()]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def parse(self, designs: Sequence[Mapping[str, Cell]]) -> np.ndarray:
        """Return designs given in the user's terms as (N, slots) float32.

        Raises:
            InvalidDesign: A value is not allowed or missing; the message names the row. Constraints
                are not checked.
            UnknownId: A name is none of the parameters'.
        """
        x = np.zeros((len(designs), self.slots.total), dtype=np.float32)
        for i, design in enumerate(designs):
            for name in design:
                if name not in self.slots.parameters:
                    raise UnknownId("parameter", name, self.names)
            for name, parameter in self.slots.parameters.items():
                if name not in design:
                    raise InvalidDesign(f"row {i}: {name} is missing; needed are {self.names}")
                try:
                    x[i, self.slots.of(name)] = parameter.number(design[name])
                except InvalidDesign as error:
                    raise InvalidDesign(f"row {i}: {error}") from None
        return x

    def format(self, x: np.ndarray) -> list[list[str]]:
        """Return designs (N, slots) as text cells, one list per design.

        Numbers that stand for no value are written as they are.
        """
        x = self._rows(x)
        columns = [_text(p, x[:, self.slots.of(name)]) for name, p in self.slots.parameters.items()]
        return [list(row) for row in zip(*columns, strict=True)]

    def in_words(self) -> str:
        """Return parameters and constraints in a sentence or two."""
        words = [f"{p.name}: {p.allowed()}" for p in self.parameters[:N_IN_WORDS]]
        if len(self.parameters) > N_IN_WORDS:
            words.append(f"and {len(self.parameters) - N_IN_WORDS} more")
        noun = "parameter" if len(self.parameters) == 1 else "parameters"
        text = f"{len(self.parameters)} {noun} ({'; '.join(words)})"
        if self.constraints:
            text += f" with {'; '.join(c.in_words() for c in self.constraints)}"
        return f"{text}."

    def slack(self, x: np.ndarray) -> np.ndarray:
        """Return how far each design (N, slots) is from breaking a limit, the least; (N,).

        In the unit of the limit; inf where no constraint has one.
        """
        x = self._rows(x)
        least = np.full(len(x), np.inf)
        for constraint in self.constraints:
            room = constraint.slack(self.slots, x)
            if room is not None:
                least = np.minimum(least, room)
        return least

    @property
    def n_features(self) -> int:
        """Number of features: one per number, one per word or letter, none for a constant."""
        return sum(map(_n_features, self.parameters))

    def features(self, x: np.ndarray) -> np.ndarray:
        """Return designs (N, slots) as features (N, n_features) float32.

        Numbers, or their logarithms where `log`; the number of a level of words; one-hot
        indicators of words and letters.
        """
        x = self._rows(x).astype(np.float64)
        columns = [
            _to_features(p, x[:, self.slots.of(name)]) for name, p in self.slots.parameters.items()
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def indicators(self) -> np.ndarray:
        """Return the slots of the parameter that each feature is an indicator of, else 0."""
        counts = [p.size if isinstance(p, (Category, Letters)) else 0 for p in self.parameters]
        return np.repeat(counts, list(map(_n_features, self.parameters)))

    def from_features(self, z: np.ndarray) -> np.ndarray:
        """Return the nearest allowed designs (N, slots) float32 of features (N, n_features)."""
        z = np.asarray(z, dtype=np.float64)
        columns = []
        first = 0
        for parameter in self.parameters:
            width = _n_features(parameter)
            columns.append(_of_features(parameter, z[:, first : first + width]))
            first += width
        return self.project(np.concatenate(columns, axis=1))

    def to_gymnasium(self) -> gym.spaces.Box:
        """Return the Gymnasium space of one design, without the constraints."""
        return gym.spaces.Box(
            self.feasible.low.astype(np.float32),
            self.feasible.high.astype(np.float32),
            dtype=np.float32,
        )

    def _rows(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1:] != self.shape:
            raise InvalidDesign(f"designs must have shape (N, {self.shape[0]}), got {x.shape=}")
        if x.dtype.kind not in "fiu":
            raise InvalidDesign(f"designs must be numbers, got {x.dtype=}")
        with np.errstate(over="ignore"):
            return np.asarray(x, dtype=np.float32)


def make_space(
    parameters: Sequence[Parameter], constraints: Sequence[Constraint] = ()
) -> DesignSpace:
    """Return the space of some parameters: a pure one where they are all of one plain kind.

    Real numbers without steps and constraints make a `ContinuousSpace`, one sequence of fixed
    length without constraints a `CategoricalSpace`, all else a `MixedSpace`.
    """
    if not constraints:
        if all(isinstance(p, Real) and p.step is None and not p.log for p in parameters):
            return ContinuousSpace(
                np.array([p.low for p in parameters]),
                np.array([p.high for p in parameters]),
                tuple(p.name for p in parameters),
            )
        first = parameters[0]
        if len(parameters) == 1 and isinstance(first, Letters) and first.plain:
            return CategoricalSpace(first.length, len(first.letters), first.letters, first.name)
    return MixedSpace(tuple(parameters), tuple(constraints))


def _text(parameter: Parameter, x: np.ndarray) -> list[str]:
    """Return values (N, size) as texts, and others as their numbers."""
    known = np.isfinite(x).all(axis=1) & parameter.contains(x)
    texts = iter(parameter.text(x[known]))
    return [
        next(texts) if good else " ".join(f"{a:g}" for a in row)
        for row, good in zip(x, known, strict=True)
    ]


def _n_features(parameter: Parameter) -> int:
    if isinstance(parameter, Constant):
        return 0
    if isinstance(parameter, (Category, Letters)):
        return parameter.size * (int(parameter.high) + 1)
    return 1


def _to_features(parameter: Parameter, x: np.ndarray) -> np.ndarray:
    """Return the features (N, width) of a parameter's slots (N, size)."""
    if isinstance(parameter, Constant):
        return x[:, :0]
    if isinstance(parameter, (Category, Letters)):
        indicators = np.eye(int(parameter.high) + 1)[x.astype(np.int64)]
        return np.asarray(indicators.reshape(len(x), _n_features(parameter)))
    if isinstance(parameter, Real) and parameter.log:
        return np.asarray(np.log(x))
    return x


def _of_features(parameter: Parameter, z: np.ndarray) -> np.ndarray:
    """Return slots (N, size), not yet rounded, of the features (N, width) of a parameter."""
    if isinstance(parameter, Constant):
        return np.full((len(z), 1), float(parameter.low))
    if isinstance(parameter, (Category, Letters)):
        chosen = z.reshape(len(z), parameter.size, -1).argmax(axis=2)
        return np.asarray(chosen, dtype=np.float64)
    if isinstance(parameter, Real) and parameter.log:
        ends = math.log(parameter.low), math.log(min(parameter.high, 1e38))
        return np.asarray(np.exp(np.clip(z, *ends)))
    return z
