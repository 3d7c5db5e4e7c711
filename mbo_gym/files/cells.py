"""Named columns of cells: what every table file and frame becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mbo_gym.errors import InvalidData, nearest
from mbo_gym.files.numbers import NumberStyle, parse_number

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Table", "headless_hint", "listed"]

N_NAMES_SHOWN = 20
N_COMPARED = 20_000
"""Rows in which numbers are compared that are far apart on average."""


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of a file; what is not asked for is not parsed.

    Args:
        path: The file.
        names: Column names; a name may be empty.
        cells: The cells as texts, a lazy polars frame; the j-th column is called str(j).
        values: The cells as float64, null where a cell is not plainly a number; lazy, named alike.
        lines: (N,) number of the line (or row) on which each row starts, counted from 1.
        unit: What `lines` counts: lines of a text, or rows of a sheet or Parquet file.
        kept: (N of `cells`,) bool, the rows that `where` has left; None for all.
        style: How the file writes numbers.
        units: Unit of each column that has a unit in a row of its own or a percent sign.
        notes: Sentences about how the file was read.
        named: Whether the names are the file's own; otherwise they are numbers of columns.
        mixed: Columns in which only some numbers have a percent sign; they are not read.
        categories: Words in their order, by column that a frame declares as such; without words
            where they have no order.
    """

    path: Path
    names: tuple[str, ...]
    cells: pl.LazyFrame
    values: pl.LazyFrame
    lines: np.ndarray
    unit: Literal["line", "row"] = "line"
    kept: np.ndarray | None = None
    style: NumberStyle = field(default_factory=NumberStyle)
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    named: bool = True
    mixed: frozenset[str] = frozenset()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def require(self, name: str) -> int:
        """Return the index of the column `name`.

        Raises:
            InvalidData: There is no such column; the message names the nearest.
        """
        if name in self.names:
            return self.names.index(name)
        close = nearest(str(name), self.names)
        hint = f"It has {listed(self.names)}."
        if close:
            hint = f"Did you mean {' or '.join(map(repr, close))}?"
        raise InvalidData(f"{self.path} has no column {name!r}. {hint}{headless_hint(self.names)}")

    def column(self, name: str) -> list[str]:
        """Return the cells of the column `name` as texts without spaces around them.

        Raises:
            InvalidData: There is no such column.
        """
        return self._texts([self.require(name)])[0].to_list()

    def columns(self) -> list[list[str]]:
        """Return the cells of all columns as texts without spaces around them."""
        return [column.to_list() for column in self._texts(range(len(self.names)))]

    def head(self, n: int) -> list[list[str]]:
        """Return the first `n` cells of all columns as texts without spaces around them."""
        if self.kept is not None:
            return [cells[:n] for cells in self.columns()]
        return replace(self, cells=self.cells.head(n), lines=self.lines[:n]).columns()

    def first_row(self) -> list[str]:
        """Return the cells of the first row as texts without spaces around them."""
        top = replace(self, cells=self.cells.head(1), lines=self.lines[:1], kept=None)
        return [cells[0] for cells in top.columns()]

    def line(self, row: int) -> str:
        """Return the place of a row in the file, e.g. ``"line 3"``."""
        return f"{self.unit} {self.lines[row]}"

    def place(self, row: int, name: str) -> str:
        """Return the place of a cell: file, line and column."""
        return f"{self.path}, {self.line(row)}, column {name!r}"

    def numbers(
        self, names: Sequence[str], advice: Callable[[str], str] | None = None
    ) -> np.ndarray:
        """Read columns as numbers; a cell without a value (empty, NA, N/A, NaN, null, ..) is NaN.

        Args:
            names: The columns.
            advice: Takes the name of a column with a cell that is no number, returns a sentence
                for the message.

        Returns:
            (N, columns) float64, each the double nearest to the text.

        Raises:
            InvalidData: There is no such column, or a cell holds something else than a number.
        """
        values = np.empty((len(self), len(names)))
        for k, column in enumerate(self._columns(names, advice)):
            values[:, k] = column
        return values

    def float32(
        self,
        names: Sequence[str],
        advice: Callable[[str], str] | None = None,
        merged: list[str] | None = None,
    ) -> np.ndarray:
        """Read columns as `numbers` does, in less memory.

        Args:
            names: The columns.
            advice: As for `numbers`.
            merged: Gets the columns in which float32 makes many different numbers equal.

        Returns:
            (N, columns) float32; NaN where a cell has no finite value, infinite where its number
            is too large for float32.

        Raises:
            InvalidData: As by `numbers`.
        """
        values = np.empty((len(self), len(names)), dtype=np.float32)
        for k, column in enumerate(self._columns(names, advice)):
            with np.errstate(over="ignore"):
                values[:, k] = column
            values[np.isinf(column), k] = np.nan
            if merged is not None and _merges(column):
                merged.append(names[k])
        return values

    def refuse_too_large(self, names: Sequence[str], x: np.ndarray) -> None:
        """Raise InvalidData with the place if a number in x (N, columns) is infinite as float32."""
        if np.isfinite(x).all():
            return
        i, j = (int(k[0]) for k in np.nonzero(~np.isfinite(x)))
        raise InvalidData(
            f"{self.place(i, names[j])}: {float(self.column(names[j])[i]):g} is too large for "
            "float32 (3.4e38 at most). Write this column in another unit."
        )

    def complete_rows(self, names: Sequence[str], missing: np.ndarray, *, drop: bool) -> np.ndarray:
        """Return for each row, (N,) bool, whether no value is missing.

        Args:
            names: The columns meant.
            missing: (N, columns) bool, the cells without a finite value.
            drop: Whether incomplete rows are left out (otherwise they are an error).

        Raises:
            InvalidData: A row is incomplete and `drop` is off, or all are; the message names the
                first.
        """
        complete = np.logical_not(missing.any(axis=1))
        if complete.all() or (drop and complete.any()):
            return complete
        i, j = (int(k[0]) for k in np.nonzero(missing))
        advice = "Fill them in."
        if not drop:
            advice = "Fill them in, or pass on_missing='drop' to leave these rows out."
        raise InvalidData(
            f"{self.place(i, names[j])}: {self.column(names[j])[i]!r} is not a finite value; "
            f"{int((~complete).sum())} of {len(complete)} rows lack one. {advice}"
        )

    def where(self, keep: np.ndarray) -> Table:
        """Return the rows for which `keep` (N,) bool is true."""
        if keep.all():
            return self
        kept = keep if self.kept is None else self.kept.copy()
        if self.kept is not None:
            kept[self.kept] = keep
        return replace(self, lines=self.lines[keep], kept=kept)

    def _columns(
        self, names: Sequence[str], advice: Callable[[str], str] | None
    ) -> Iterator[np.ndarray]:
        """Yield the numbers of each column, (N,) float64."""
        import polars as pl

        indices = [self.require(name) for name in names]
        if both := self.mixed.intersection(names):
            raise InvalidData(
                f"{self.path}: some numbers of the column {min(both)!r} have a percent sign, "
                "others have none. Write all in one way."
            )
        columns = self._collect(self.values, [pl.col(str(j)) for j in indices])
        odd = [k for k, column in enumerate(columns) if column.null_count()]
        stripped = [self.style.numbers(_stripped(indices[k])) for k in odd]
        for k, column in zip(odd, self._collect(self.cells, stripped), strict=True):
            columns[k] = column
        for name, column in zip(names, columns, strict=True):
            numbers = column.to_numpy(writable=column.null_count() > 0)
            if column.null_count():
                rows = np.flatnonzero(column.is_null().to_numpy())
                numbers[rows] = self._look_again(name, rows, advice)
            yield numbers

    def _collect(self, frame: pl.LazyFrame, columns: Sequence[pl.Expr]) -> list[pl.Series]:
        """Return columns of a frame in the order of the file."""
        import polars as pl

        if not columns:
            return []
        named = [column.alias(str(k)) for k, column in enumerate(columns)]
        found = frame.select(named).collect(engine="streaming")
        if self.kept is not None:
            found = found.filter(pl.Series(self.kept))
        return found.get_columns()

    def _texts(self, indices: Iterable[int]) -> list[pl.Series]:
        return self._collect(self.cells, [_stripped(j).fill_null("") for j in indices])

    def _look_again(
        self, name: str, rows: np.ndarray, advice: Callable[[str], str] | None
    ) -> list[float]:
        """Read the cells in which polars saw no number: no value, or an error to be named."""
        cells = self._texts([self.require(name)])[0].gather(rows)
        return [
            self._number(int(row), name, cell, advice)
            for row, cell in zip(rows, cells, strict=True)
        ]

    def _number(self, row: int, name: str, cell: str, advice: Callable[[str], str] | None) -> float:
        if self.style.is_missing(cell):
            return float("nan")
        value = self.style.parse(cell)
        if value is None:
            remedy = self.style.remedy(cell)
            if advice is not None:
                remedy = f"{remedy} {advice(name)}".rstrip()
            raise InvalidData(f"{self.place(row, name)}: {cell[:60]!r} is not a number. {remedy}")
        return value


def _merges(double: np.ndarray) -> bool:
    """Whether at least a tenth of the different numbers (N,) became equal as float32."""
    finite = double[np.isfinite(double)]
    if len(finite) < 2:
        return False
    span = float(np.ptp(finite))
    largest = float(np.abs(finite).max())
    if span == 0 or largest > float(np.finfo(np.float32).max):
        return False
    with np.errstate(over="ignore"):  # next to the largest float
        gap = float(np.spacing(np.float32(largest)))
    if len(finite) * gap < 0.1 * span:  # too few to meet
        finite = finite[:N_COMPARED]
    kept = len(np.unique(finite.astype(np.float32)))
    return kept < 0.9 * len(np.unique(finite))


def _stripped(index: int) -> pl.Expr:
    """Return a column as texts without spaces around them."""
    import polars as pl

    return pl.col(str(index)).str.strip_chars()


def listed(names: Iterable[str]) -> str:
    """Return column names for a message, cut short where there are many."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:N_NAMES_SHOWN])
    if len(names) <= N_NAMES_SHOWN:
        return text
    return f"{text} and {len(names) - N_NAMES_SHOWN} more"


def headless_hint(names: Sequence[str]) -> str:
    """Return a sentence about a file whose first line seems to be data, or nothing."""
    if not names or any(parse_number(name) is None for name in names):
        return ""
    return (
        " The first line must hold column names; this file's seems to be data. "
        "Pass header=False if it is."
    )
