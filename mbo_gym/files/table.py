"""Reads a user's table of designs and scores, and names the place of what is wrong with it.

Files: delimited text (comma, semicolon or tab; UTF-8 with or without a byte order mark, any line
ends, quoted cells), the same compressed (.gz, .bz2, .xz, .zip, .zst), Parquet, and the first sheet
of an Excel workbook (.xlsx). Their first bytes tell them apart. Blank lines are skipped, spaces
around cells and names are removed. The first line names the columns unless the reader is told that
it does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mbo_gym.errors import InvalidData, MissingData, nearest
from mbo_gym.files.delimited import (
    BYTE_ORDER_MARK,
    read_rows,
    require_utf8,
    sniff_delimiter,
)
from mbo_gym.files.unpack import is_parquet, is_workbook, refuse_other_kinds, unpack
from mbo_gym.files.workbook import read_sheet

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Table", "listed", "parse_number", "read_table"]

NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
N_NAMES_SHOWN = 20


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
        named: Whether the names are the file's own; otherwise they are numbers of columns.
    """

    path: Path
    names: tuple[str, ...]
    cells: pl.LazyFrame
    values: pl.LazyFrame
    lines: np.ndarray
    unit: Literal["line", "row"] = "line"
    kept: np.ndarray | None = None
    named: bool = True

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
        raise InvalidData(f"{self.path} has no column {name!r}. {hint}{_headless_hint(self.names)}")

    def column(self, name: str) -> list[str]:
        """Return the cells of the column `name` as texts without spaces around them.

        Raises:
            InvalidData: There is no such column.
        """
        return self._texts([self.require(name)])[0].to_list()

    def columns(self) -> list[list[str]]:
        """Return the cells of all columns as texts without spaces around them."""
        return [column.to_list() for column in self._texts(range(len(self.names)))]

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
        self, names: Sequence[str], advice: Callable[[str], str] | None = None
    ) -> np.ndarray:
        """Read columns as `numbers` does, in less memory.

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
        columns = self._collect(self.values, [pl.col(str(j)) for j in indices])
        odd = [k for k, column in enumerate(columns) if column.null_count()]
        stripped = [_stripped(indices[k]).cast(pl.Float64, strict=False) for k in odd]
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
        if cell.casefold() in NO_VALUE:
            return float("nan")
        value = parse_number(cell)
        if value is None:
            remedy = "Fix the cell, or exclude the column."
            if re.fullmatch(r"[-+]?[\d.]*,\d+", cell):
                remedy = "Write numbers with a decimal point, not a comma."
            if advice is not None:
                remedy = f"{remedy} {advice(name)}".rstrip()
            raise InvalidData(f"{self.place(row, name)}: {cell[:60]!r} is not a number. {remedy}")
        return value


def _stripped(index: int) -> pl.Expr:
    """Return a column as texts without spaces around them."""
    import polars as pl

    return pl.col(str(index)).str.strip_chars()


def parse_number(cell: str) -> float | None:
    """Return the number (or infinity, or NaN) that a cell spells, or None."""
    try:
        return None if "_" in cell else float(cell)  # only Python reads 1_000 as a number
    except ValueError:
        return None


def listed(names: Iterable[str]) -> str:
    """Return column names for a message, cut short where there are many."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:N_NAMES_SHOWN])
    if len(names) <= N_NAMES_SHOWN:
        return text
    return f"{text} and {len(names) - N_NAMES_SHOWN} more"


def read_table(
    path: str | os.PathLike[str], delimiter: str | None = None, *, header: bool = True
) -> Table:
    """Read a file of columns.

    Args:
        path: The file; ``~`` is the home folder.
        delimiter: The character between cells of a text; None finds out whether it is a comma, a
            semicolon or a tab.
        header: Whether the first line names the columns; if not, it is data and the columns are
            called 1, 2, .. A Parquet file has names always.

    Raises:
        MissingData: There is no such file, or it cannot be opened.
        MissingDependency: The library for this kind of file is not installed.
        InvalidData: The file is damaged or of another kind, empty, holds only a header, is not
            UTF-8, or has rows of unequal length or two columns of one name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "my.csv")
        >>> _ = path.write_text("temperature,yield\\n20,1.5\\n30,NA\\n")
        >>> read_table(path).numbers(["yield"]).tolist()
        [[1.5], [nan]]
    """
    path = Path(path).expanduser()
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidData(
            f"a delimiter is one character and no quote or line end, got {delimiter!r}. Leave it "
            "out to find it."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise MissingData(
            f"{path} (in {Path.cwd()}): {reason}. Pass path= of an existing CSV file."
        ) from error
    content = unpack(path, content)
    if is_parquet(content):
        return _parquet_table(path, content)
    if is_workbook(content):
        return _table_of_rows(path, content, None, header=header)
    refuse_other_kinds(path, content)
    require_utf8(path, content)
    while content.startswith(BYTE_ORDER_MARK):
        content = content[len(BYTE_ORDER_MARK) :]
    delimiter = sniff_delimiter(content) if delimiter is None else delimiter
    return _table_of_rows(path, content, delimiter, header=header)


def _table_of_rows(path: Path, content: bytes, delimiter: str | None, *, header: bool) -> Table:
    """Make a table of text, or of a workbook if there is no delimiter."""
    unit: Literal["line", "row"]
    if delimiter is None:
        unit = "row"
        rows = read_sheet(path, content, header=header)
    else:
        unit = "line"
        rows = read_rows(path, content, delimiter, header=header)
    if rows.first is None:
        raise InvalidData(
            f"{path} is empty. Its first {unit} must name the columns; designs and scores follow."
        )
    if not header:
        names = tuple(str(j + 1) for j in range(len(rows.first.cells)))
        return Table(path, names, rows.cells, rows.values, rows.numbers, unit, named=False)
    names = tuple(name.strip() for name in rows.first.cells)
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise InvalidData(
            f"{path}, {unit} {rows.first.number}: several columns are called {listed(doubled)}. "
            f"Give each its own name.{_headless_hint(names)}"
        )
    return _with_rows(Table(path, names, rows.cells, rows.values, rows.numbers, unit))


def _parquet_table(path: Path, content: bytes) -> Table:
    import polars as pl

    try:
        frame = pl.scan_parquet(content)
        schema = frame.collect_schema()
        n_rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidData(f"{path} is a damaged Parquet file ({error}). Save it again.") from error
    texts = [_text(pl.col(name), dtype) for name, dtype in schema.items()]
    numbers = [
        (pl.col(name) if dtype.is_numeric() else text).cast(pl.Float64, strict=False)
        for (name, dtype), text in zip(schema.items(), texts, strict=True)
    ]
    cells, values = (
        frame.select([column.alias(str(j)) for j, column in enumerate(columns)])
        for columns in (texts, numbers)
    )
    # pandas writes its row numbers as such a column; in its CSV files the name is empty.
    names = tuple("" if re.fullmatch(r"__index_level_\d+__", name) else name for name in schema)
    return _with_rows(Table(path, names, cells, values, np.arange(1, n_rows + 1), "row"))


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column as texts; lists and bytes are replaced by the name of their type."""
    import polars as pl

    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return pl.when(column.is_not_null()).then(pl.lit(f"<{dtype}>"))
    return column.cast(pl.String)


def _with_rows(table: Table) -> Table:
    if len(table) == 0:
        raise InvalidData(
            f"{table.path} holds only the header {listed(table.names)} and no rows. Designs and "
            "scores must follow it."
        )
    return table


def _headless_hint(names: Sequence[str]) -> str:
    if not names or any(parse_number(name) is None for name in names):
        return ""
    return " The first line must hold column names; this file's seems to be data."
