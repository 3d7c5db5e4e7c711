"""Docstrings in Google style, taken apart for `mbo-gym show` and for the documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Docstring", "Section", "entries", "items", "parse", "plain"]

_TITLES = (
    "Algorithm",
    "Args",
    "Attributes",
    "Differs from the paper",
    "Example",
    "Examples",
    "Note",
    "Notes",
    "Raises",
    "References",
    "Returns",
)
_HEADER = re.compile(
    rf"(?P<title>{'|'.join(sorted(_TITLES, key=len, reverse=True))})(?P<note>[^:]*):(?P<rest>.*)"
)
_ENTRY = re.compile(r"(?P<name>\*{0,2}[\w.]+)(?: \([^)]*\))?: (?P<text>.*)")


@dataclass(frozen=True)
class Section:
    """One section of a docstring.

    Args:
        title: Title without the colon.
        note: Text between title and colon, e.g. a reference in brackets.
        lines: Lines of the body, dedented.
    """

    title: str
    note: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The body as it stands."""
        return "\n".join(self.lines).strip("\n")


@dataclass(frozen=True)
class Docstring:
    """A docstring, taken apart.

    Args:
        summary: First paragraph, on one line.
        paragraphs: Further text outside of sections; a paragraph keeps its line breaks.
        sections: Sections by title.
    """

    summary: str = ""
    paragraphs: tuple[str, ...] = ()
    sections: dict[str, Section] = field(default_factory=dict)


def parse(text: str | None) -> Docstring:
    """Take a docstring apart; None gives an empty one."""
    blocks: list[list[str]] = [[]]  # paragraphs outside of sections
    sections: dict[str, Section] = {}
    lines = inspect.cleandoc(text or "").splitlines()
    number = 0
    while number < len(lines):
        header = _HEADER.fullmatch(lines[number])
        if header is None:
            if lines[number].strip():
                blocks[-1].append(lines[number])
            elif blocks[-1]:
                blocks.append([])
            number += 1
            continue
        number, body = _body(lines, number, header["rest"].strip())
        sections[header["title"]] = Section(header["title"], header["note"].strip(" ()"), body)
    paragraphs = ["\n".join(block) for block in blocks if block]
    summary = " ".join(paragraphs[0].split()) if paragraphs else ""
    return Docstring(summary, tuple(paragraphs[1:]), sections)


def _body(lines: Sequence[str], start: int, rest: str) -> tuple[int, tuple[str, ...]]:
    """Return the number of the line after a section, and the section's lines.

    A section whose text begins on the header's line goes on to the next blank line. Any section
    goes on as long as lines are indented.
    """
    end = start + 1
    while end < len(lines):
        line = lines[end]
        indented = line.startswith(" ") or not line.strip()
        inline = bool(rest) and all(before.strip() for before in lines[start:end])
        if not indented and (not inline or _HEADER.fullmatch(line)):
            break
        end += 1
    body = inspect.cleandoc("\n" + "\n".join(lines[start + 1 : end])).splitlines()
    return end, tuple([rest, *body] if rest else body)


def entries(section: Section | None) -> dict[str, str]:
    """Return the ``name: text`` entries of a section such as Args, each text on one line."""
    found: dict[str, str] = {}
    name = ""
    for line in section.lines if section else ():
        match = _ENTRY.fullmatch(line)
        if match and not line.startswith(" "):
            name = match["name"].lstrip("*")
            found[name] = match["text"]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def items(section: Section | None) -> list[str]:
    """Return the items of a section such as References; indented lines belong to the one before."""
    found: list[str] = []
    for line in section.lines if section else ():
        text = re.sub(r"^[-*] ", "", line)
        if line.startswith(" ") and found:
            found[-1] += " " + text.strip()
        elif text.strip():
            found.append(text.strip())
    return found


def plain(text: str) -> str:
    """Return text without the backticks around code."""
    return text.replace("`", "")
