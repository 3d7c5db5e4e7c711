"""What may stand before a table in a text: encodings, comments, titles and Excel's `sep=` line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from mbo_gym.errors import InvalidData
from mbo_gym.files.delimited import DELIMITERS
from mbo_gym.files.numbers import parse_number

__all__ = ["Preamble", "decoded", "skip_preamble"]

_LONGEST = 1 << 16
"""Bytes in which the lines before a table are looked for."""
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|$)")
MOST_TITLES = 5
_SEP = re.compile(rb'^"?sep=(.)"?\s*$', re.IGNORECASE)
_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""First bytes of text in another encoding than UTF-8."""


class Preamble(NamedTuple):
    """A text without what stood before its table.

    Args:
        content: The text; lines that were skipped are blank, so that lines keep their numbers.
        delimiter: The delimiter that the file names, or None.
        notes: Sentences about what was skipped.
    """

    content: bytes
    delimiter: str | None
    notes: list[str]


def decoded(path: Path, content: bytes, encoding: str | None) -> tuple[bytes, list[str]]:
    """Return text as UTF-8, and sentences about what it was.

    Args:
        path: The file, for messages.
        content: The text.
        encoding: Its encoding; None for UTF-8, or the one that its first bytes name.

    Raises:
        InvalidData: No encoding has that name, or the text is not of it.
    """
    named = encoding or next(
        (name for mark, name in _MARKS.items() if content.startswith(mark)), None
    )
    if named is None:
        return content, []
    try:
        text = content.decode(named)
    except LookupError:
        raise InvalidData(
            f"encoding={encoding!r} is no encoding that Python knows. Pass 'latin-1', 'cp1252', "
            "'utf-16', .., or leave it out for UTF-8."
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{path} is not {named} text ({error}). Pass another encoding=, or save it again as "
            "'CSV UTF-8'."
        ) from error
    notes = [] if encoding else [f"The text is {named.upper()}."]
    return text.lstrip("\ufeff").encode(), notes


def skip_preamble(content: bytes) -> Preamble:
    """Blank the lines before the table: comments (#, //), a JSON object, a title, ``sep=``.

    A line that starts with # and is followed by numbers in as many cells is the header.
    """
    lines = [[m[1], m[2]] for m in _LINE.finditer(content[:_LONGEST]) if m[0]]
    start = sum(len(text) + len(end) for text, end in lines)
    delimiter = None
    skipped: list[int] = []
    kinds: list[str] = []
    named_by_comment = False
    emptied = False
    for i, (text, _) in enumerate(lines):
        bare = text.strip()
        kind = _skipped_kind(bare)
        if kind is None and _has_content(bare):
            break
        if kind is None and bare:  # an empty row of a sheet
            lines[i][0] = b""
            emptied = True
        if kind == "sep":
            found = _SEP.match(bare)
            delimiter = found[1].decode() if found else None
        if kind is not None:
            skipped.append(i)
            kinds.append(kind)
    if skipped and kinds[-1] == "comment" and _is_header(lines, skipped[-1]):
        text = lines[skipped[-1]][0].lstrip()
        named = text.lstrip(b"#").lstrip()
        lines[skipped[-1]][0] = text if named[:1] in DELIMITERS.encode() else named
        skipped.pop()
        kinds.pop()
        named_by_comment = True
    else:
        titles, header = _titles(lines, delimiter)
        skipped += titles
        kinds += ["title" if _skipped_kind(lines[i][0]) is None else "comment" for i in titles]
        for row in lines[:header]:  # empty rows of a sheet
            row[0] = row[0] if _has_content(row[0]) else b""
    if not (skipped or named_by_comment or emptied):
        return Preamble(content, delimiter, [])
    for i in skipped:
        lines[i][0] = b""
    words = {"sep": "Excel's sep= line", "json": "a JSON line"}
    named_kinds = ", ".join(dict.fromkeys(words.get(kind, f"a {kind} line") for kind in kinds))
    changed = b"".join(text + end for text, end in lines)
    note = f"Skipped before the table: {named_kinds} ({len(skipped)} in all)."
    return Preamble(changed + content[start:], delimiter, [note] if skipped else [])


def _skipped_kind(bare: bytes) -> str | None:
    if _SEP.match(bare):
        return "sep"
    if bare.startswith((b"#", b"//")):
        return "comment"
    if bare.startswith(b"{") and bare.endswith(b"}"):
        try:
            json.loads(bare)
        except ValueError:
            return None
        return "json"
    return None


def _is_header(lines: list[list[bytes]], row: int) -> bool:
    """Whether a comment line has as many cells as the lines behind it, which hold numbers."""
    behind = [text for text, _ in lines[row + 1 :] if text.strip()][:3]
    if not behind:
        return False
    for delimiter in DELIMITERS:
        mark = delimiter.encode()
        count = lines[row][0].count(mark)
        if count and all(text.count(mark) == count for text in behind):
            return _has_number(behind[0], mark)
    return False


def _has_number(text: bytes, mark: bytes) -> bool:
    cells = text.decode("utf-8", "replace").split(mark.decode())
    return any(cell.strip() and parse_number(cell) is not None for cell in cells)


def _titles(lines: list[list[bytes]], delimiter: str | None) -> tuple[list[int], int]:
    """Return the lines of titles and of comments below one, and the header's; none and 0 without.

    Titles are lines of one cell, or of a name and its value, above a header of more cells. The
    header holds no number, and the line below has as many cells. No cell is quoted over a line end.
    """
    full = [i for i, (text, _) in enumerate(lines) if _has_content(text)]
    comments = [i for i in full if _skipped_kind(lines[i][0].strip())]
    full = [i for i in full if i not in comments][: MOST_TITLES + 2]
    if any(lines[i][0].count(b'"') % 2 for i in full):
        return [], 0
    for mark in [delimiter.encode()] if delimiter else [d.encode() for d in DELIMITERS]:
        for k in range(1, len(full) - 1):
            header, data = (lines[i][0] for i in full[k : k + 2])
            count = header.count(mark)
            named = _filled(header, mark)
            if not count or data.count(mark) != count or len(named) < 2:
                continue
            pairs = list(zip(header.split(mark), data.split(mark), strict=True))
            if any(cell.strip() and not name.strip() for name, cell in pairs[1:]):
                continue  # a value without a name: this is no header yet
            above = [_filled(lines[i][0], mark) for i in full[:k]]
            most = min(2, len(named) - 1) if _has_number(data, mark) else 1
            if _has_number(header, mark) or max(map(len, above)) > most:
                break
            if any(lines[i][0].count(mark) > count for i in full[:k]):
                break
            return sorted([*full[:k], *(i for i in comments if full[0] < i < full[k])]), full[k]
    return [], 0


def _filled(text: bytes, mark: bytes) -> list[bytes]:
    """Return the cells of a line that hold something."""
    return [cell for cell in text.split(mark) if cell.strip()]


def _has_content(text: bytes) -> bool:
    """Whether a line holds more than blanks and delimiters."""
    return bool(text.strip(b" \t;,|"))
