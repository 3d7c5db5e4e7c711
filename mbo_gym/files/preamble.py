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
    for i, (text, _) in enumerate(lines):
        bare = text.strip()
        kind = _skipped_kind(bare)
        if kind is None and bare:
            break
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
    elif (title := _title(lines, delimiter)) is not None:
        skipped.append(title)
        kinds.append("title")
    if not skipped and not named_by_comment:
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


def _title(lines: list[list[bytes]], delimiter: str | None) -> int | None:
    """Return the line of a title above the header, or None.

    A title is one cell above lines of several cells, none of which is quoted over a line end.
    """
    full = [i for i, (text, _) in enumerate(lines) if text.strip() and not _skipped_kind(text)][:3]
    if len(full) < 3:
        return None
    first, header, data = (lines[i][0] for i in full)
    if any(text.count(b'"') % 2 for text in (first, header, data)):
        return None
    for mark in [delimiter.encode()] if delimiter else [d.encode() for d in DELIMITERS]:
        count = header.count(mark)
        if count and data.count(mark) == count and not _has_number(header, mark):
            cells = [cell for cell in first.split(mark) if cell.strip()]
            if len(cells) == 1 and first.count(mark) in (0, count):
                named = [cell for cell in header.split(mark) if cell.strip()]
                alone = not any(d.encode() in cells[0] for d in DELIMITERS)
                return full[0] if len(named) > 1 and alone else None
    return None
