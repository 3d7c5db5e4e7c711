"""Reads delimited text (CSV, TSV): polars where every line is regular, Python's csv elsewhere.

polars fills short rows silently, takes a blank line for a row and names no line in its errors. So
the shape of the text is checked first. Text with quoted cells, blank lines or old Mac line ends,
and text with an error, goes through `csv`, which tells rows from lines; polars parses what it cut.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mbo_gym.errors import InvalidData

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Row",
    "Rows",
    "count_regular",
    "csv_rows",
    "read_rows",
    "require_utf8",
    "sniff_delimiter",
    "table_of_rows",
]

DELIMITERS = ",;\t|"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
N_SNIFFED_ROWS = 50
N_ROWS_AT_ONCE = 20_000
UNIT_SEPARATOR = "\x1f"  # ASCII's own characters between the cells and the rows of a table
RECORD_SEPARATOR = "\x1e"


class Row(NamedTuple):
    """One row of cells.

    Args:
        number: Line on which it starts (rows of a workbook: its row), counted from 1.
        cells: The texts.
        end: The last line of it; more than `number` where a quoted cell holds line ends.
    """

    number: int
    cells: Sequence[str]
    end: int


class Rows(NamedTuple):
    """The rows of a file as a table of texts.

    Args:
        first: The first row: the header, or data; None for an empty file.
        cells: The rows (without `first` if it is the header) as texts; column j is called str(j).
        values: The same as float64, null where a cell is not plainly a number.
        numbers: (N,) line or row number of each row.
    """

    first: Row | None
    cells: pl.LazyFrame
    values: pl.LazyFrame
    numbers: np.ndarray


def require_utf8(path: Path, content: bytes) -> None:
    """Raise InvalidData, with the line, unless the content is UTF-8 text."""
    try:
        if not content.isascii():
            content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        byte = content[error.start]
        raise InvalidData(
            f"{path}, line {line}: the byte 0x{byte:02x} is not UTF-8 (Latin-1 or Windows text?). "
            "Pass encoding= ('latin-1', 'cp1252', ..). Save it again as 'CSV UTF-8' if in doubt."
        ) from error
    if b"\0" in content:
        raise InvalidData(
            f"{path} holds NUL bytes, so it is no text file (or UTF-16 without its mark). Pass "
            "encoding='utf-16-le', or save it again as 'CSV UTF-8'."
        )


def sniff_delimiter(content: bytes) -> str:
    """Return the delimiter that cuts most of the first rows into as many cells as the header.

    csv.Sniffer is not used: it gives up on short files and on letters without digits.
    """
    return max(DELIMITERS, key=lambda delimiter: _agreement(content, delimiter))


def read_rows(path: Path, content: bytes, delimiter: str, *, header: bool) -> Rows:
    """Read UTF-8 text.

    Args:
        path: The file, for messages.
        content: The text.
        delimiter: The character between cells.
        header: Whether the first row that is not blank is a header.

    Raises:
        InvalidData: A row is shorter or longer than the first, or a quote is not closed.
    """
    spare = header and _has_spare_delimiters(content, delimiter)
    rows = csv_rows(path, content, delimiter, spare=spare)
    first = next(rows, None)
    if first is None:
        return table_of_rows(path, None, [], "line")
    width = len(first.cells) + int(spare)
    n_skipped = first.end if header else first.number - 1
    n_rows = count_regular(content, delimiter, n_skipped, width)
    if n_rows is not None:
        numbers = np.arange(n_skipped + 1, n_skipped + 1 + n_rows)
        cells, values = _scan(content, delimiter, "\n", n_skipped, n_rows, width)
        if not spare or _is_blank(cells, width - 1):
            return Rows(first, cells, values, numbers)
    body = rows if header else csv_rows(path, content, delimiter)
    return table_of_rows(path, first, body, "line")


def table_of_rows(path: Path, first: Row | None, rows: Iterable[Row], unit: str) -> Rows:
    """Make a table of rows that are as wide as the first.

    Raises:
        InvalidData: A cell holds one of the two control characters used between cells and rows.
    """
    content = io.BytesIO()
    numbers: list[int] = []
    width = 1 if first is None else len(first.cells)
    left = iter(rows)
    while block := list(islice(left, N_ROWS_AT_ONCE)):
        text = "".join([UNIT_SEPARATOR.join(row.cells) + RECORD_SEPARATOR for row in block])
        ends = text.count(RECORD_SEPARATOR)
        if (ends, text.count(UNIT_SEPARATOR)) != (len(block), len(block) * (width - 1)):
            raise InvalidData(_control_character(path, block, unit))
        content.write(text.encode())
        numbers += [row.number for row in block]
    cells, values = _scan(
        content.getvalue(), UNIT_SEPARATOR, RECORD_SEPARATOR, 0, len(numbers), width
    )
    return Rows(first, cells, values, np.array(numbers, dtype=np.int64))


def _control_character(path: Path, rows: Sequence[Row], unit: str) -> str:
    characters = {UNIT_SEPARATOR, RECORD_SEPARATOR}
    number = next(row.number for row in rows if characters.intersection("".join(row.cells)))
    return f"{path}, {unit} {number} holds a control character (0x1e or 0x1f). Remove it."


def _scan(
    content: bytes, separator: str, line_end: str, n_skipped: int, n_rows: int, width: int
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return regular text as lazy frames of texts and of float64."""
    import polars as pl

    def scan(dtype: type[pl.DataType]) -> pl.LazyFrame:
        schema = {str(j): dtype for j in range(width)}
        if n_rows == 0:
            return pl.LazyFrame(schema=schema)
        return pl.scan_csv(
            content,
            separator=separator,
            eol_char=line_end,
            quote_char=None,
            has_header=False,
            skip_lines=n_skipped,
            n_rows=n_rows,
            schema=schema,
            ignore_errors=True,  # null in place of what is no number
        )

    return scan(pl.String), scan(pl.Float64)


def count_regular(content: bytes, delimiter: str, n_skipped: int, width: int) -> int | None:
    """Return the number of rows if each line after `n_skipped` has `width` cells and no quote.

    None where a line is blank or of another width, a quote occurs, line ends are mixed, or there
    is no row.
    """
    if width < 2 or not delimiter.isascii():
        return None
    line_end = b"\r\n" if b"\r" in content else b"\n"
    if line_end == b"\r\n" and content.count(b"\r") != content.count(b"\r\n"):
        return None
    start = 0
    for _ in range(n_skipped):
        start = content.find(b"\n", start) + 1
        if start == 0:
            return None
    end = len(content)
    while end > start and content[end - 1] in b"\r\n":
        end -= 1
    kept = delimiter.encode() + b'\r\n"'
    others = bytes(byte for byte in range(256) if byte not in kept)
    marks = content.translate(None, others)  # delimiters, line ends and quotes in their order
    n_before = len(content[:start].translate(None, others))
    n_after = len(content) - end
    marks = marks[n_before : len(marks) - n_after] + line_end
    line = delimiter.encode() * (width - 1) + line_end
    n_rows = len(marks) // len(line)
    return n_rows if n_rows and marks == line * n_rows else None


def csv_rows(path: Path, content: bytes, delimiter: str, *, spare: bool = False) -> Iterator[Row]:
    """Yield the rows that are not blank, all as wide as the first.

    Args:
        path: The file, for messages.
        content: UTF-8 text.
        delimiter: The character between cells.
        spare: Whether rows may end with one more delimiter than the first.

    Raises:
        InvalidData: A row is shorter or longer, or a quote is not closed.
    """
    reader = csv.reader(_open(content), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    width = None
    try:
        for cells in reader:
            if not _blank(cells):
                width = len(cells) if width is None else width
                if spare and len(cells) == width + 1 and not cells[-1].strip():
                    cells = cells[:-1]
                if len(cells) != width:
                    raise InvalidData(_wrong_width(path, line, len(cells), width, delimiter))
                yield Row(line, cells, reader.line_num)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidData(
            f"{path}, line {line}: {error}. Check the quotes of this line; inside a cell a quote "
            "is doubled."
        ) from error


def _has_spare_delimiters(content: bytes, delimiter: str) -> bool:
    """Whether the first row of data ends with one delimiter more than the header."""
    reader = csv.reader(_open(content), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = list(islice((row for row in reader if not _blank(row)), 2))
    except csv.Error:
        return False
    return len(rows) == 2 and len(rows[1]) == len(rows[0]) + 1 and not rows[1][-1].strip()


def _is_blank(cells: pl.LazyFrame, column: int) -> bool:
    """Whether a column of texts is blank throughout."""
    import polars as pl

    text = pl.col(str(column)).str.strip_chars().fill_null("")
    return bool(cells.select((text == "").all()).collect(engine="streaming").item())


def _wrong_width(path: Path, line: int, got: int, width: int, delimiter: str) -> str:
    few = "too few" if got < width else "too many"
    return (
        f"{path}, line {line}: {got} cells are {few}, the first line has or names {width} columns "
        f"(delimiter {delimiter!r}). Fix the line, or pass delimiter= if it is another one."
    )


def _agreement(content: bytes, delimiter: str) -> tuple[int, int]:
    """Return how many of the first rows are as wide as the header, and how wide it is."""
    try:
        reader = csv.reader(_open(content), delimiter=delimiter, skipinitialspace=True)
        rows: Iterator[list[str]] = (row for row in reader if not _blank(row))
        widths = [len(row) for row in islice(rows, N_SNIFFED_ROWS)]
    except csv.Error:
        return 0, 0
    return (widths.count(widths[0]), widths[0]) if widths and widths[0] > 1 else (0, 0)


def _open(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")  # csv splits lines


def _blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())
