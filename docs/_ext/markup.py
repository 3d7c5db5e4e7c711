"""Plain text made safe for Markdown, and tables of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["code", "prose", "table"]

_CODE = re.compile(r"``(?P<two>.+?)``|`(?P<one>[^`]+)`")
_LINK = re.compile(
    r"(?P<url>https?://[^\s,;)]+[^\s,;).])"
    r"|(?P<arxiv>arXiv[: ](?P<id>\d{4}\.\d{4,5}(?:v\d+)?))"
    r"|(?P<doi>doi:(?P<doi_id>10\.[^\s,;)]+[^\s,;).]))"
)
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~{}])")


def prose(text: str) -> str:
    """Return plain text as a line of Markdown: code stays code, links are made, others escaped."""
    text = " ".join(str(text).split())
    parts: list[str] = []
    position = 0
    for match in _CODE.finditer(text):
        parts += [_linked(text[position : match.start()]), code(match["two"] or match["one"])]
        position = match.end()
    made = "".join([*parts, _linked(text[position:])])
    return re.sub(r"^([#+=-]|\d+(?=[.)]))", r"\\\1" if not made[:1].isdigit() else r"\1\\", made)


def _linked(text: str) -> str:
    made = ""
    position = 0
    for match in _LINK.finditer(text):
        made += _escaped(text[position : match.start()])
        if match["url"]:
            made += f"<{match['url']}>"
        elif match["arxiv"]:
            made += f"[{match['arxiv']}](https://arxiv.org/abs/{match['id']})"
        else:
            made += f"[{_escaped(match['doi'])}](https://doi.org/{match['doi_id']})"
        position = match.end()
    return made + _escaped(text[position:])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def code(text: object) -> str:
    """Return text as a code span that a table cell can hold."""
    words = str(text).replace("|", "\\|")
    ticks = "``" if "`" in words else "`"
    return f"{ticks}{words}{ticks}" if words else ""


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already; empty without rows."""
    lines = [list(headers), *([*row] for row in rows)]
    if len(lines) == 1:
        return ""
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines)
