"""Reads a user's table of designs and scores, and names the place of what is wrong with it.

Files: delimited text (comma, semicolon, tab or bar; UTF-8 with or without a byte order mark, any
line ends, quoted cells), the same compressed (.gz, .bz2, .xz, .zip, .zst), Parquet, and the first
sheet of an Excel workbook (.xlsx). Their first bytes tell them apart. Blank lines, comments and a
title before the table are skipped, spaces around cells and names are removed. The first line names
the columns unless the reader is told that it does not; a row of units may follow it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files.cells import Table, headless_hint, listed
from mbo_gym.files.delimited import (
    BYTE_ORDER_MARK,
    read_rows,
    require_utf8,
    sniff_delimiter,
)
from mbo_gym.files.frames import parquet_table
from mbo_gym.files.numbers import MISSING_WORDS, NumberStyle, find_style, parse_number
from mbo_gym.files.preamble import decoded, skip_preamble
from mbo_gym.files.unpack import is_parquet, is_workbook, refuse_other_kinds, unpack
from mbo_gym.files.workbook import read_sheet

__all__ = ["Table", "listed", "parse_number", "read_table"]

N_SEEN = 2000
"""Rows from which the style of numbers and the row of units are found out."""
MOST_UNIT_ROWS = 2


def read_table(
    path: str | os.PathLike[str],
    delimiter: str | None = None,
    *,
    header: bool = True,
    units: bool = True,
    encoding: str | None = None,
    decimal: Literal[".", ","] | None = None,
    missing_words: Iterable[str] = (),
) -> Table:
    """Read a file of columns.

    Args:
        path: The file; ``~`` is the home folder.
        delimiter: The character between cells of a text; None finds out whether it is a comma, a
            semicolon, a tab or a bar.
        header: Whether the first line names the columns; if not, it is data and the columns are
            called 1, 2, .. A Parquet file has names always.
        units: Whether rows of units or types may stand below the header.
        encoding: Encoding of a text; None for UTF-8, or what its first bytes say.
        decimal: The character before the fraction of a number; None finds out.
        missing_words: More words of a cell without a value.

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
    _check_dialect(delimiter, decimal)
    missing = MISSING_WORDS | {word.strip().casefold() for word in missing_words}
    content = unpack(path, _content(path))
    if is_parquet(content):
        return parquet_table(path, content, decimal, missing)
    if is_workbook(content):
        delimiter = None
        table = _table_of_rows(path, content, delimiter, header=header)
    else:
        refuse_other_kinds(path, content)
        table, delimiter = _table_of_text(path, content, delimiter, encoding, header=header)
    return _understood(table, delimiter, decimal, missing, units=header and units)


def _check_dialect(delimiter: str | None, decimal: str | None) -> None:
    """Raise InvalidData unless delimiter and decimal mark are ones that a file can have."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidData(
            f"a delimiter is one character and no quote or line end, got {delimiter!r}. Leave it "
            "out to find it."
        )
    if decimal not in (None, ".", ","):
        raise InvalidData(f"decimal is '.' or ',', got {decimal!r}. Leave it out to find it.")


def _content(path: Path) -> bytes:
    """Return the bytes of a file, or raise MissingData."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise MissingData(
            f"{path} (in {Path.cwd()}): {reason}. Pass path= of an existing CSV file."
        ) from error


def _table_of_text(
    path: Path, content: bytes, delimiter: str | None, encoding: str | None, *, header: bool
) -> tuple[Table, str]:
    """Make a table of delimited text, below what precedes it; also return its delimiter."""
    content, notes = decoded(path, content, encoding)
    require_utf8(path, content)
    while content.startswith(BYTE_ORDER_MARK):
        content = content[len(BYTE_ORDER_MARK) :]
    text = skip_preamble(content)
    delimiter = delimiter or text.delimiter or sniff_delimiter(text.content)
    table = _table_of_rows(path, text.content, delimiter, header=header)
    return replace(table, notes=(*notes, *text.notes)), delimiter


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
            f"Give each its own name.{headless_hint(names)}"
        )
    if len(rows.numbers) == 0:
        raise InvalidData(
            f"{path} holds only the header {listed(names)} and no rows. Designs and scores must "
            "follow it."
        )
    return Table(path, names, rows.cells, rows.values, rows.numbers, unit)


def _understood(
    table: Table,
    delimiter: str | None,
    decimal: Literal[".", ","] | None,
    missing: frozenset[str],
    *,
    units: bool,
) -> Table:
    """Return a table whose numbers are read as its file spells them, without a row of units."""
    import polars as pl

    seen = table.head(N_SEEN)
    style, notes = find_style(table.names, seen, delimiter, decimal, missing)
    table = replace(table, style=style, notes=(*table.notes, *notes))
    if not style.plain:
        spelled = [style.numbers(pl.col(str(j))).alias(str(j)) for j in range(len(table.names))]
        table = replace(table, values=table.cells.select(spelled))
    n_rows = _count_unit_rows(seen, style) if units else 0
    found = _percent_signs(table.names, [cells[n_rows:] for cells in seen])
    if n_rows:
        first = [cells[0] for cells in seen]
        found |= {
            name: unit
            for name, cells, unit in zip(table.names, seen, first, strict=True)
            if unit and _is_numeric(cells[n_rows:], style)
        }
        table = table.where(np.arange(len(table)) >= n_rows)
        lines = "line" if n_rows == 1 else f"{n_rows} lines"
        told = f"The {lines} below the header holds units or types: {listed(first)}."
        table = replace(table, notes=(*table.notes, told))
    mixed = _mixed_percent(table.names, [cells[n_rows:] for cells in seen], style)
    return replace(table, units=found, mixed=mixed)


def _count_unit_rows(seen: Sequence[Sequence[str]], style: NumberStyle) -> int:
    """Return how many rows below the header hold units or types instead of values.

    In such a row every column of numbers has a word or nothing, and at least one has a word.
    """
    n = 0
    while n < MOST_UNIT_ROWS and seen and len(seen[0]) > n + 2:
        numeric = [cells[n] for cells in seen if _is_numeric(cells[n + 1 :], style)]
        words = [cell for cell in numeric if cell]
        if not words or any(style.parse(cell) is not None for cell in words):
            break
        if all(style.is_missing(cell) for cell in words):
            break
        n += 1
    return n


def _is_numeric(cells: Sequence[str], style: NumberStyle) -> bool:
    """Whether most cells with a value hold numbers."""
    full = [cell for cell in cells if not style.is_missing(cell)]
    numbers = sum(style.parse(cell) is not None for cell in full)
    return numbers > len(full) / 2


def _mixed_percent(
    names: Sequence[str], seen: Sequence[Sequence[str]], style: NumberStyle
) -> frozenset[str]:
    """Return the columns in which only some numbers have a percent sign."""
    mixed = set()
    for name, cells in zip(names, seen, strict=True):
        if any(cell.endswith("%") for cell in cells):
            numbers = [cell for cell in cells if style.parse(cell) is not None]
            if any(not cell.endswith("%") and not style.is_missing(cell) for cell in numbers):
                mixed.add(name)
    return frozenset(mixed)


def _percent_signs(names: Sequence[str], seen: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the unit % for the columns whose numbers have a percent sign."""
    return {
        name: "%"
        for name, cells in zip(names, seen, strict=True)
        if any(cell.endswith("%") and cell[:1].isdigit() for cell in cells)
    }
