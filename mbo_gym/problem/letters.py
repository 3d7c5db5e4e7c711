"""The parameter that holds a sequence of letters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mbo_gym.problem.parameter import Cell, Parameter, listed_values, require_distinct

__all__ = ["Letters"]


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
        require_distinct(self, self.letters)
        if any(len(letter) != 1 for letter in (*self.letters, self.gap)):
            raise ValueError(
                f"{self.name}: a letter and the gap are one character each, got "
                f"{listed_values(self.letters)} and {self.gap!r}"
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

    def every_value(self) -> np.ndarray:
        """Return all sequences, (n_values, length) float64."""
        places = [
            [self.letters.index(self.fixed[place])]
            if place in self.fixed
            else range(int(self.high) + 1)
            for place in range(self.length)
        ]
        x = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, self.length)
        return np.asarray(x[self.contains(x.astype(np.float32))], dtype=np.float64)

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
