"""The files that a run's task is made of, and where a run goes when they have changed."""

from __future__ import annotations

import glob
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.files.changes import Change, file_sum, row_sums
from mbo_gym.settings import absolute_path

__all__ = ["ROWS", "Place", "check_folder", "files_of", "place_of", "write_rows"]

ROWS = "data_rows.npy"
"""File of a run's folder: a number for each row of its table, to tell a later run what is new."""
_TABLE = "path"
"""Option of a task that names its table."""
_DIGITS = 8
_REMEDY = "Choose another --output, or pass --overwrite to replace the run."


@dataclass(frozen=True)
class Place:
    """Where a run goes.

    Args:
        folder: Folder of the run.
        note: What has changed since the run before; empty where nothing has, or nothing ran.
    """

    folder: Path
    note: str = ""


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError where a run's folder exists and may not be replaced."""
    if folder.exists() and not overwrite:
        raise FileExistsError(
            f"{folder} exists already; choose another --output, or pass --overwrite to replace it"
        )


def files_of(options: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return path and sha256 of each file among the options of a task, by the option's name."""
    paths = {
        name: Path(absolute_path(value))
        for name, value in options.items()
        if isinstance(value, str) and value and Path(value).expanduser().is_file()
    }
    return {
        name: {"file": str(path), "sha256": file_sum(path)} for name, path in sorted(paths.items())
    }


def write_rows(folder: Path, options: Mapping[str, Any]) -> None:
    """Write the row sums of the table of a task, if it is made of one, for `place_of`."""
    files = files_of({_TABLE: options.get(_TABLE)})
    if files:
        content = io.BytesIO()
        np.save(content, row_sums(Path(files[_TABLE]["file"])))
        store.write_atomic(folder / ROWS, content.getvalue())


def place_of(folder: Path, options: Mapping[str, Any], *, overwrite: bool) -> Place:
    """Return the folder of a run, another one where its data have changed since the last run.

    An earlier run is kept. The run on changed data goes beside it, into a folder of the same name
    with eight digits of the content of its files.

    Args:
        folder: Folder that is asked for.
        options: Options of the task.
        overwrite: Whether a finished run in `folder` is replaced, whatever its data.

    Raises:
        FileExistsError: A run on these data is there.
        DamagedFile: The run before cannot be read.
    """
    if overwrite or not folder.exists():
        return Place(folder)
    files = files_of(options)
    before = _files_before(folder)
    if not files or before is None or _sums(before) == _sums(files):
        check_folder(folder, overwrite=False)
    digest = hashlib.sha256(json.dumps(_sums(files)).encode()).hexdigest()[:_DIGITS]
    place = folder.with_name(f"{folder.name}-{digest}")
    check_folder(place, overwrite=False)
    earlier = [folder, *folder.parent.glob(f"{glob.escape(folder.name)}-{'[0-9a-f]' * _DIGITS}")]
    last = max(earlier, key=lambda path: path.stat().st_mtime_ns)
    known = _files_before(last) or {}
    told = [
        f"{facts['file']} {_change(last, name, facts)} since the run in {last}."
        for name, facts in files.items()
        if known.get(name, {}).get("sha256") != facts["sha256"]
    ]
    return Place(place, f"{' '.join(told)} That run is kept; this one goes to {place}.")


def _change(last: Path, name: str, facts: Mapping[str, str]) -> str:
    rows = last / ROWS
    if name != _TABLE or not rows.exists():
        return "was changed"
    try:
        old = np.load(rows, allow_pickle=False)
        return Change.between(old, row_sums(Path(facts["file"]))).in_words
    except store.ARRAY_DAMAGE as error:
        raise DamagedFile(_damaged(rows, error)) from error


def _sums(files: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: facts["sha256"] for name, facts in files.items()}


def _files_before(folder: Path) -> dict[str, dict[str, str]] | None:
    """Return `files_of` of an earlier run; None where it did not write it down."""
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        store.check_sealed(folder, (path.name, ROWS), remedy=_REMEDY)
        files = json.loads(path.read_text(encoding="utf-8")).get("files")
        if files is not None:
            _sums(files)
    except DamagedFile:
        raise
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedFile(_damaged(path, error)) from error
    return files  # type: ignore[no-any-return]


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged: {error}. {_REMEDY}"
