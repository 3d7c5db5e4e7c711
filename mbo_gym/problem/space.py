"""Design spaces: allowed designs, sampling, projection and their text form.

`ContinuousSpace` and `CategoricalSpace` are the two pure cases; `mbo_gym.problem.mixed.MixedSpace`
holds parameters of any kind and constraints between them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from mbo_gym.errors import InvalidDesign

__all__ = ["CategoricalSpace", "ContinuousSpace", "DesignSpace", "readonly"]


def readonly(values: Any, dtype: Any) -> np.ndarray:
    """Return values as a C-contiguous read-only array; a writable array is copied."""
    array = np.asarray(values, dtype=dtype, order="C")
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


class DesignSpace(ABC):
    """The allowed designs of a task, rows of numbers of one shape.

    Attributes:
        kind: ``continuous``, ``categorical`` or ``mixed``.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one design."""

    @property
    @abstractmethod
    def dtype(self) -> type[np.generic]:
        """Type of a design's numbers."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Column names for tables and files."""

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite, so that uniform sampling makes sense."""
        return True

    @property
    def n_designs(self) -> float:
        """Number of designs; infinite with real numbers."""
        return float("inf")

    def every_design(self, most: int) -> np.ndarray | None:
        """Return all designs (n, *shape), or None where `n_designs` is above `most`."""
        return None

    @abstractmethod
    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which designs of `x` (N, *shape) are allowed; (N,) bool.

        Numbers are compared as float32, so that a design in any float type is what it is as
        float32.
        """

    @abstractmethod
    def why_not(self, row: np.ndarray) -> str:
        """Say in words why one design, of the space's shape, is not allowed."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` random designs, (n, *shape)."""

    @abstractmethod
    def project(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest allowed design of each of (N, *shape), or of a single one."""

    def clip(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest allowed designs; another name of `project`."""
        return self.project(x)

    @abstractmethod
    def format(self, x: np.ndarray) -> list[list[str]]:
        """Return designs (N, *shape) as text cells, one list each, in the order of `names`."""

    @abstractmethod
    def to_gymnasium(self) -> gym.spaces.Space[Any]:
        """Return the Gymnasium space of one design."""


@dataclass(frozen=True, eq=False)
class ContinuousSpace(DesignSpace):
    """Designs of d real numbers, each within its own bounds (infinite bounds allowed).

    Args:
        low: (d,) smallest allowed value of each feature.
        high: (d,) largest allowed value of each feature.
        names: d column names for tables and files; ``x0 .. x{d-1}`` where none are given.
    """

    kind: ClassVar[str] = "continuous"
    low: np.ndarray
    high: np.ndarray
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = readonly(self.low, np.float32), readonly(self.high, np.float32)
        if low.ndim != 1 or low.shape != high.shape or low.size == 0:
            raise ValueError(
                f"low and high must be equally long vectors, got {low.shape=} and {high.shape=}"
            )
        if not (low <= high).all():
            raise ValueError(
                "low must not exceed high, got "
                f"low[{(j := int(np.argmin(low <= high)))}]={low[j]} > {high[j]}"
            )
        names = tuple(self.names) or tuple(f"x{j}" for j in range(low.size))
        if len(names) != low.size:
            raise ValueError(f"{low.size} features need as many names, got {len(names)}")
        for field, value in (("low", low), ("high", high), ("names", names)):
            object.__setattr__(self, field, value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one design, (d,)."""
        return self.low.shape

    @property
    def dtype(self) -> type[np.float32]:
        """Type of a design's numbers."""
        return np.float32

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite, so that uniform sampling makes sense."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of `x` (N, d) are finite and within bounds as float32; (N,) bool."""
        x = _as_float32(_check_shape(self, x))
        return np.asarray((np.isfinite(x) & (x >= self.low) & (x <= self.high)).all(axis=1))

    def why_not(self, row: np.ndarray) -> str:
        """Say in words why one design (d,) is not allowed."""
        row = _as_float32(row)
        bad = ~(np.isfinite(row) & (row >= self.low) & (row <= self.high))
        j = int(np.argmax(bad))
        return f"{self.names[j]}={row[j]} is outside [{self.low[j]}, {self.high[j]}]"

    def project(self, x: np.ndarray) -> np.ndarray:
        """Move each number of `x` (d,) or (N, d) to the nearest allowed one; NaN stays."""
        return np.asarray(np.clip(x, self.low, self.high), dtype=np.float32)

    def within(self, low: np.ndarray, high: np.ndarray) -> ContinuousSpace:
        """Return the part of this space inside the box `low`, `high` (d,).

        It is finite even where this space is not.
        """
        return ContinuousSpace(np.maximum(self.low, low), np.minimum(self.high, high), self.names)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` designs uniformly, (n, d) float32.

        Raises:
            ValueError: A bound is infinite; narrow the space with `within` first.
        """
        if not self.bounded:
            raise ValueError(
                "An unbounded space has no uniform distribution; narrow it with within(low, high) "
                "first"
            )
        u = rng.random((n, self.low.size))
        return self.clip(self.low + u * (self.high.astype(np.float64) - self.low))

    def format(self, x: np.ndarray) -> list[list[str]]:
        """Return designs (N, d) as text cells, one list per design.

        The shortest text that reads back as the same float32: a rounded one could lie outside the
            bounds.
        """
        return [[str(v).removesuffix(".0") for v in row] for row in np.asarray(x, dtype=np.float32)]

    def to_gymnasium(self) -> gym.spaces.Box:
        """Return the Gymnasium space of one design."""
        return gym.spaces.Box(self.low, self.high, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class CategoricalSpace(DesignSpace):
    """Designs of L sites, each one of A letters, as integers 0 .. A-1.

    Args:
        length: L, number of sites.
        n_categories: A, number of letters.
        letters: The A letters as a person writes them; ``"0" .. "A-1"`` where none are given.
        name: Name of the column that holds the sequence.
    """

    kind: ClassVar[str] = "categorical"
    length: int
    n_categories: int
    letters: tuple[str, ...] = ()
    name: str = "sequence"

    def __post_init__(self) -> None:
        if self.length < 1 or self.n_categories < 2:
            raise ValueError(
                f"need at least one site and two letters, got {self.length=}, {self.n_categories=}"
            )
        letters = tuple(self.letters) or tuple(str(a) for a in range(self.n_categories))
        if len(set(letters)) != self.n_categories or len(letters) != self.n_categories:
            raise ValueError(f"need {self.n_categories} different letters, got {letters}")
        object.__setattr__(self, "letters", letters)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one design, (L,)."""
        return (self.length,)

    @property
    def dtype(self) -> type[np.int32]:
        """Type of a design's numbers."""
        return np.int32

    @property
    def n_designs(self) -> float:
        """Number of sequences, A to the power of L."""
        return float(self.n_categories) ** self.length

    def every_design(self, most: int) -> np.ndarray | None:
        """Return all sequences (A^L, L), or None where there are more than `most`."""
        if self.n_designs > most:
            return None
        x = np.indices((self.n_categories,) * self.length, dtype=np.int32)
        return x.reshape(self.length, -1).T

    @property
    def names(self) -> tuple[str, ...]:
        """Column names for tables and files: one column, the sequence."""
        return (self.name,)

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Return which rows of `x` (N, L) are whole numbers in 0 .. A-1; (N,) bool."""
        x = _check_shape(self, x)
        inside = (x >= 0) & (x < self.n_categories)
        if x.dtype.kind == "f":
            inside &= x == np.floor(x)
        return np.asarray(inside.all(axis=1))

    def why_not(self, row: np.ndarray) -> str:
        """Say in words why one design (L,) is not allowed."""
        bad = ~((row >= 0) & (row < self.n_categories) & (row == np.floor(row)))
        j = int(np.argmax(bad))
        return (
            f"site {j} holds {row[j]}, allowed are the whole numbers 0 .. {self.n_categories - 1}"
        )

    def project(self, x: np.ndarray) -> np.ndarray:
        """Round numbers (L,) or (N, L) to the nearest letter's; NaN counts as 0. int32."""
        x = np.nan_to_num(np.asarray(x, dtype=np.float64))
        return np.asarray(np.clip(np.rint(x), 0, self.n_categories - 1).astype(np.int32))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` designs uniformly, (n, L) int32."""
        return rng.integers(0, self.n_categories, size=(n, self.length), dtype=np.int32)

    def parse(self, sequences: Sequence[str]) -> np.ndarray:
        """Parse sequences of one-character letters into designs (N, L) int32.

        Raises:
            InvalidDesign: A sequence has another length or an unknown letter; the message names the
                first one.
        """
        code = {letter: a for a, letter in enumerate(self.letters)}
        for i, s in enumerate(sequences):
            if len(s) != self.length:
                raise InvalidDesign(
                    f"row {i}: {s!r} has {len(s)} letters, this space has {self.length}"
                )
            if unknown := set(s) - code.keys():
                raise InvalidDesign(
                    f"row {i}: {s!r} holds {sorted(unknown)}, allowed are {''.join(self.letters)}"
                )
        return np.array([[code[c] for c in s] for s in sequences], dtype=np.int32).reshape(
            -1, self.length
        )

    def format(self, x: np.ndarray) -> list[list[str]]:
        """Return the designs (N, L) as text cells, one list with one sequence a design.

        Letters of several characters are joined with spaces. A number that stands for no letter is
        written as it is, and its design's sites are then joined with spaces too.
        """
        x = np.asarray(x)
        inside = self.contains(x)
        gap = "" if all(len(letter) == 1 for letter in self.letters) else " "
        return [
            [gap.join(self.letters[a] for a in row) if fits else " ".join(map(self._written, row))]
            for row, fits in zip(x, inside, strict=True)
        ]

    def _written(self, a: float) -> str:
        return self.letters[int(a)] if a in range(self.n_categories) else f"{a:g}"

    def to_gymnasium(self) -> gym.spaces.MultiDiscrete:
        """Return the Gymnasium space of one design."""
        return gym.spaces.MultiDiscrete(np.full(self.length, self.n_categories))


def _as_float32(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype=np.float32)


def _check_shape(space: DesignSpace, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1:] != space.shape:
        raise InvalidDesign(f"designs must have shape (N, {space.shape[0]}), got {x.shape=}")
    if x.dtype.kind not in "fiu":
        raise InvalidDesign(f"designs must be numbers, got {x.dtype=}")
    return x
