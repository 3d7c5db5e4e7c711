"""Reads the first sheet of an Excel workbook (.xlsx)."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mbo_gym.errors import InvalidData
from mbo_gym.files.delimited import Row, Rows, table_of_rows
from mbo_gym.optional import optional_import

__all__ = ["read_sheet"]

MOST_TITLES = 5


def read_sheet(path: Path, content: bytes, *, header: bool) -> Rows:
    """Read the first sheet without its empty rows.

    openpyxl is called directly, not through polars: only so are the row numbers those of the sheet.

    Raises:
        InvalidData: The workbook is damaged, or a cell stands right of the last column.
        MissingDependency: openpyxl is not installed.
    """
    openpyxl = optional_import("openpyxl", "tables")
    damage = (ArithmeticError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's notes on formats that hold no data
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            rows = _sheet_rows(path, book.worksheets[0], titles=header)
            first = next(rows, None)
            if first is None:
                return table_of_rows(path, None, [], "row")
            body = rows if header else chain([first], rows)
            return table_of_rows(path, first, body, "row")
    except InvalidData:
        raise
    except (*damage, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidData(f"{path} is a damaged workbook ({error}). Save it again.") from error


def _sheet_rows(path: Path, sheet: Any, *, titles: bool) -> Iterator[Row]:
    """Yield the rows that are not empty, without titles above the header."""
    width = None
    full = _full_rows(sheet)
    first = list(islice(full, MOST_TITLES + 2))
    if titles:
        first = first[_count_titles([values for _, values in first]) :]
    for number, values in chain(first, full):
        cells = [_text(value) for value in values]
        width = len(cells) if width is None else width
        if len(cells) > width:
            raise InvalidData(
                f"{path}, row {number}: {len(cells)} cells are too many, the first row has or "
                f"names {width} columns. Name the column, or clear the cell."
            )
        yield Row(number, cells + [""] * (width - len(cells)), number)


def _full_rows(sheet: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield number and values of each row with a value, without empty cells at its end."""
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        n = len(_without_empty_end([_text(value) for value in values]))
        if n:
            yield number, values[:n]


def _count_titles(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many rows of one cell stand above a header of several words."""
    for k, values in enumerate(rows):
        if sum(value is not None for value in values) > 1:
            named = all(isinstance(value, str) for value in values if value is not None)
            return k if named and k < len(rows) - 1 else 0
    return 0


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    n = next((n for n in range(len(cells), 0, -1) if cells[n - 1].strip()), 0)
    return list(cells[:n])


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # Excel has no whole numbers of its own
    return str(value)
