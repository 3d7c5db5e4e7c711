"""Checksums of placed data files: taken when a file is first read, compared ever after.

For files whose authentic checksum nobody has: Design-Bench's arrays, UCI's unique_m.csv.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from mbo_gym.data import manifest
from mbo_gym.errors import DamagedFile, MissingData
from mbo_gym.files import store
from mbo_gym.files.changes import file_sum

__all__ = ["BOOK", "Placed", "check_placed", "hash_of", "placed_files", "review"]

BOOK = "placed.json"
"""File of the data folder that holds the checksums, by absolute path."""


@dataclass(frozen=True)
class Placed:
    """A placed file.

    Args:
        path: The file.
        sha256: Its checksum now.
        state: ``same`` as when it was first read, ``new`` (not read yet), or ``damaged``.
        since: Day on which it was first read, ISO 8601; empty for a new one.
    """

    path: Path
    sha256: str
    state: Literal["same", "new", "damaged"]
    since: str = ""


def check_placed(paths: Iterable[Path]) -> None:
    """Compare files with their first reading, and remember those that are read for the first time.

    Nothing is remembered where no data folder can be written to.

    Raises:
        DamagedFile: A file has another content than when it was first read.
    """
    found = _reviewed(paths)
    for one in found:
        if one.state == "damaged":
            raise DamagedFile(
                f"{one.path} is damaged: its sha256 is {one.sha256[:16]}.., and was "
                f"{_read_book()[str(one.path)]['sha256'][:16]}.. when it was first read, on "
                f"{one.since}. Put that file back. If you replaced it on purpose: mbo-gym data "
                f"check {one.path.parent} --accept."
            )
    _remember([one for one in found if one.state == "new"])


def review(name: str, *, accept: bool = False) -> list[Placed]:
    """Compare the files of a data source, or of a file or folder, with their first reading.

    Args:
        name: Name of a source in manifest.toml, or a path.
        accept: Whether to take the files as they are now.

    Raises:
        MissingData: There are no such files on this machine.
        UnknownId: No source has that name, and no file.
    """
    path = Path(name).expanduser()
    files = placed_files(path if path.exists() else _found(name))
    found = _reviewed(files)
    if accept:
        _remember(found)
        found = _reviewed(files)
    return found


def placed_files(path: Path) -> list[Path]:
    """Return the data files of a folder, or the file itself."""
    if path.is_file():
        return [path.absolute()]
    kinds = (".npy", ".npz", ".csv", ".xz", ".whl")
    return sorted(p.absolute() for p in path.rglob("*") if p.suffix in kinds and p.is_file())


def hash_of(path: Path) -> str:
    """Return 16 hex digits of the content of a file; of a folder, of the files read so far.

    A folder is not read as a whole: Design-Bench's holds gigabytes.
    """
    if path.is_file():
        return file_sum(path)[:16]
    start = f"{path.absolute()}/"
    known = {
        name: facts["sha256"] for name, facts in _read_book().items() if name.startswith(start)
    }
    if not known:
        return ""
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _found(name: str) -> Path:
    facts = manifest.entry(name)
    if facts.ships:
        raise MissingData(
            f"{name} ships with the package, which checks it each time. Leave it out."
        )
    path = manifest.find(name)
    if path is None or not path.exists():
        raise MissingData(f"{name} is not on this machine. `mbo-gym data list` says how to get it.")
    return path


def _reviewed(paths: Iterable[Path]) -> list[Placed]:
    book = _read_book()
    found = []
    for path in map(Path.absolute, paths):
        now = file_sum(path)
        known = book.get(str(path))
        if known is None:
            found.append(Placed(path, now, "new"))
        else:
            state: Literal["same", "damaged"] = "same" if known["sha256"] == now else "damaged"
            found.append(Placed(path, now, state, known["since"]))
    return found


def _remember(placed: Sequence[Placed]) -> None:
    if not placed:
        return
    try:
        folder = store.write_folder()
    except MissingData:
        return
    today = date.today().isoformat()
    with store.lock("placed"):
        book = _read_book()
        book |= {str(one.path): {"sha256": one.sha256, "since": today} for one in placed}
        store.write_atomic(folder / BOOK, json.dumps(book, indent=1, sort_keys=True).encode())


def _read_book() -> dict[str, dict[str, str]]:
    try:
        path = store.write_folder() / BOOK
    except MissingData:
        return {}
    if not path.exists():
        return {}
    try:
        book = json.loads(path.read_bytes())
        return {
            str(name): {key: str(facts[key]) for key in ("sha256", "since")}
            for name, facts in book.items()
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedFile(
            f"{path} is damaged: {error}. Remove it; the checksums of placed files are then taken "
            "anew when they are read."
        ) from error
