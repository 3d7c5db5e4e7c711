"""Reads a user's table of designs and scores (CSV and its relatives) and names the place of what is
wrong with it.

Accepted: UTF-8 with or without a byte order mark, any line ends, quoted cells, blank lines
(skipped), spaces around cells and names (removed), comma, semicolon or tab between cells. The first
line names the columns unless the reader is told that it does not.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mbo_gym.errors import InvalidData, MissingData, nearest

__all__ = ["Table", "listed", "parse_number", "read_sequences", "read_table"]

DELIMITERS = ",;\t"
NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
N_SNIFFED_ROWS = 50
N_NAMES_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of a file as text.

    Args:
        path: The file.
        names: Column names; a name may be empty.
        columns: The cells of each column, N texts.
        lines: (N,) line of the file on which each row starts, counted from 1 as an editor does.
    """

    path: Path
    names: tuple[str, ...]
    columns: tuple[Sequence[str], ...]
    lines: np.ndarray

    def column(self, name: str) -> Sequence[str]:
        """Return the cells of the column `name`.

        Raises:
            InvalidData: There is no such column; the message names the nearest.
        """
        if name in self.names:
            return self.columns[self.names.index(name)]
        close = nearest(str(name), self.names)
        hint = (
            f"Did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"It has {listed(self.names)}."
        )
        raise InvalidData(f"{self.path} has no column {name!r}. {hint}{_headless_hint(self.names)}")

    def place(self, row: int, name: str) -> str:
        """Say in words where a cell is: file, line and column."""
        return f"{self.path}, line {self.lines[row]}, column {name!r}"

    def numbers(self, name: str) -> np.ndarray:
        """Read a column as numbers, (N,) float64; a cell without a value (empty, NA, N/A, NaN,
        null, None, -) is NaN.

        Raises:
            InvalidData: There is no such column, or a cell holds something else than a number.
        """
        cells = self.column(name)
        try:
            if "_" in "".join(cells):
                raise ValueError("only Python reads 1_000 as a number")
            return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
        except ValueError:
            return np.array([self._number(row, name, cell) for row, cell in enumerate(cells)])

    def float32(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return values (N,) of the column `name` as float32.

        Raises:
            InvalidData: One is too large for float32.
        """
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        if not np.isfinite(small).all():
            i = int(np.argmin(np.isfinite(small)))
            raise InvalidData(
                f"{self.place(i, name)}: {values[i]:g} is too large for float32 (3.4e38 at most). "
                "Write this column in another unit."
            )
        return small

    def complete_rows(self, names: Sequence[str], values: np.ndarray, *, drop: bool) -> np.ndarray:
        """Say for each row, (N,) bool, whether every value of it is finite.

        Args:
            names: The columns meant.
            values: (N, columns) what was read from them.
            drop: Whether rows that lack a value are left out, or an error.

        Raises:
            InvalidData: A row lacks a value and `drop` is off, or all do; the message names the
                first.
        """
        bad = ~np.isfinite(values)
        complete: np.ndarray = ~bad.any(axis=1)
        if complete.all() or (drop and complete.any()):
            return complete
        i, j = (int(k[0]) for k in np.nonzero(bad))
        advice = "Fill them in" + (
            "." if drop else ", or pass on_missing='drop' to leave these rows out."
        )
        raise InvalidData(
            f"{self.place(i, names[j])}: {self.column(names[j])[i]!r} is not a finite value; "
            f"{int((~complete).sum())} of {len(values)} rows lack one. {advice}"
        )

    def where(self, keep: np.ndarray) -> Table:
        """Return the rows for which `keep` (N,) bool is true."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep).tolist()
        return Table(
            self.path,
            self.names,
            tuple([cells[i] for i in rows] for cells in self.columns),
            self.lines[keep],
        )

    def _number(self, row: int, name: str, cell: str) -> float:
        if cell.strip().casefold() in NO_VALUE:
            return float("nan")
        value = parse_number(cell)
        if value is None:
            comma = bool(re.fullmatch(r"\s*[-+]?[\d.]*,\d+\s*", cell))
            advice = (
                "Write numbers with a decimal point, not a comma."
                if comma
                else "Mend the cell or leave the column out."
            )
            raise InvalidData(f"{self.place(row, name)}: {cell[:60]!r} is not a number. {advice}")
        return value


def parse_number(cell: str) -> float | None:
    """Return the number (or infinity, or NaN) that a cell spells, or None."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def listed(names: Iterable[str]) -> str:
    """Return column names for a message, cut short where there are many."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:N_NAMES_SHOWN])
    return text if len(names) <= N_NAMES_SHOWN else f"{text} and {len(names) - N_NAMES_SHOWN} more"


def read_table(
    path: str | os.PathLike[str], delimiter: str | None = None, *, header: bool = True
) -> Table:
    """Read a file of columns.

    Args:
        path: The file; ``~`` is the home folder.
        delimiter: The character between cells; None finds out whether it is a comma, a semicolon or
            a tab.
        header: Whether the first line names the columns; without, it is data and the columns are
            called 1, 2, ..

    Raises:
        MissingData: There is no such file, or it cannot be opened.
        InvalidData: The file is empty, holds only a header, is not UTF-8, has rows of unequal
            length or two columns of one name.
    """
    path = Path(path).expanduser()
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidData(
            f"a delimiter is one character and no quote or line end, got {delimiter!r}. Leave it out to find it."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise MissingData(
            f"{path} (in {Path.cwd()}): {reason}. Pass path= of an existing CSV file."
        ) from error
    _check_text(path, content)
    if delimiter is None:
        delimiter = max(DELIMITERS, key=lambda d: _agreement(content, d))
    rows, lines = _read_rows(path, content, delimiter)
    if not rows:
        raise InvalidData(
            f"{path} is empty. Its first line must name the columns; designs and scores follow."
        )
    if not header:
        names = tuple(str(j + 1) for j in range(len(rows[0])))
        return Table(path, names, tuple(zip(*rows, strict=True)), np.array(lines))
    names = tuple(name.strip() for name in rows[0])
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        hint = _headless_hint(names)
        raise InvalidData(
            f"{path}, line {lines[0]}: several columns are called {listed(doubled)}. Give each its own name.{hint}"
        )
    if len(rows) == 1:
        raise InvalidData(
            f"{path} holds only the header {listed(names)} and no rows. Designs and scores must follow it."
        )
    return Table(path, names, tuple(zip(*rows[1:], strict=True)), np.array(lines[1:]))


def read_sequences(
    table: Table, name: str, alphabet: str | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Read a column of sequences.

    Args:
        table: The file.
        name: The column.
        alphabet: The allowed letters in the order of their numbers; None takes the column's own,
            sorted.

    Returns:
        letters: The A letters.
        x: (N, L) int32, numbers 0 .. A-1.

    Raises:
        InvalidData: Unequal lengths, a letter outside the alphabet, or no alphabet of at least two
            letters.
    """
    cells = [cell.strip() for cell in table.column(name)]
    length = len(cells[0])
    for i, cell in enumerate(cells):
        if len(cell) != length:
            raise InvalidData(
                f"{table.place(i, name)}: {cell[:60]!r} has {len(cell)} letters, the first sequence (line "
                f"{table.lines[0]}) has {length}. Sequences must be equally long; pad them with a letter of their own."
            )
    points = (
        np.array(cells, dtype=f"<U{length}").view("<u4").reshape(-1, length)
    )  # (N, L) code points
    letters = tuple(map(chr, np.unique(points))) if alphabet is None else tuple(alphabet)
    if (
        len(letters) < 2
        or len(set(letters)) < len(letters)
        or any(len(a) != 1 or a.isspace() for a in letters)
    ):
        where = (
            f"the column {name!r} of {table.path} holds the letters"
            if alphabet is None
            else "alphabet= is"
        )
        raise InvalidData(
            f"{where} {''.join(letters)!r}; it takes two or more different ones, no spaces among them."
        )
    order = np.argsort([ord(letter) for letter in letters])
    known = np.array([ord(letters[a]) for a in order], dtype=np.uint32)
    index = np.minimum(np.searchsorted(known, points), len(known) - 1)
    unknown = known[index] != points
    if unknown.any():
        i, j = (int(k[0]) for k in np.nonzero(unknown))
        raise InvalidData(
            f"{table.place(i, name)}: letter {j + 1} of {cells[i][:60]!r} is {cells[i][j]!r}, allowed are "
            f"{''.join(letters)!r} (capital and small letters differ). Mend the cell or widen alphabet=."
        )
    return letters, order[index].astype(np.int32)


def _check_text(path: Path, content: bytes) -> None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidData(
            f"{path} is UTF-16 text, only UTF-8 is read. Save it again as 'CSV UTF-8'."
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        byte = content[error.start]
        raise InvalidData(
            f"{path}, line {line}: the byte 0x{byte:02x} is not UTF-8 (Latin-1 or Windows text?). "
            "Save it again as 'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise InvalidData(
            f"{path} holds NUL bytes, so it is no text file (or UTF-16). Save it again as 'CSV UTF-8'."
        )


def _open(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BytesIO(content), encoding="utf-8-sig", newline=""
    )  # csv itself minds the line ends


def _blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


def _agreement(content: bytes, delimiter: str) -> tuple[int, int]:
    """Return how many of the first rows are as wide as the header when cut at `delimiter`, and how
    wide.

    csv.Sniffer is not used: it gives up on short files and on letters without digits.
    """
    try:
        reader = csv.reader(_open(content), delimiter=delimiter, skipinitialspace=True)
        rows: Iterator[list[str]] = (row for row in reader if not _blank(row))
        widths = [len(row) for row in islice(rows, N_SNIFFED_ROWS)]
    except csv.Error:
        return 0, 0
    return (widths.count(widths[0]), widths[0]) if widths and widths[0] > 1 else (0, 0)


def _read_rows(path: Path, content: bytes, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Return the rows of cells, the header first, and the line on which each starts; blank lines
    are left out."""
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    reader = csv.reader(_open(content), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if not _blank(row):
                if rows and len(row) != len(rows[0]):
                    few = "too few" if len(row) < len(rows[0]) else "too many"
                    raise InvalidData(
                        f"{path}, line {line}: {len(row)} cells are {few}, the first line has or names "
                        f"{len(rows[0])} columns (delimiter {delimiter!r}). "
                        "Mend the line, or pass delimiter= if it is another one."
                    )
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidData(
            f"{path}, line {line}: {error}. Check the quotes of this line; inside a cell a quote is doubled."
        ) from error
    return rows, lines


def _headless_hint(names: Sequence[str]) -> str:
    headless = len(names) > 0 and all(parse_number(name) is not None for name in names)
    return (
        " The first line must hold column names; this file's seems to be data." if headless else ""
    )
