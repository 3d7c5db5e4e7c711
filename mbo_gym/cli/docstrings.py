"""Docstrings in Google style, taken apart for the pages that `mbo-gym show` prints."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Docstring", "entries", "parse"]

_HEADER = re.compile(r"([A-Z][A-Za-z' ]+):")
_ENTRY = re.compile(r"\*{0,2}(\w+): (.*)")


@dataclass(frozen=True)
class Docstring:
    """A docstring, taken apart.

    Args:
        summary: First paragraph, on one line.
        text: Paragraphs between the summary and the first section.
        sections: Text of each section, such as Algorithm or Args, by its title.
    """

    summary: str = ""
    text: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)


def parse(docstring: str | None) -> Docstring:
    """Take a docstring apart; None gives an empty one."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    parts: dict[str, list[str]] = {"": []}
    title = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        header = _HEADER.fullmatch(line)
        if header and following.startswith(" "):
            title = header[1]
            parts[title] = []
        else:
            parts[title].append(line)
    summary, _, text = "\n".join(parts.pop("")).strip().partition("\n\n")
    sections = {name: inspect.cleandoc("\n" + "\n".join(part)) for name, part in parts.items()}
    return Docstring(" ".join(summary.split()), text.strip(), sections)


def entries(section: str) -> dict[str, str]:
    """Return the ``name: text`` entries of a section such as Args, as plain text on one line."""
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if match := _ENTRY.fullmatch(line):
            name = match[1]
            found[name] = match[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return {name: text.replace("`", "") for name, text in found.items()}
