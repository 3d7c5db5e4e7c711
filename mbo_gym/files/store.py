"""The data store: look-up, checksums, atomic writes and the cache.

Files are looked for in ``$MBO_GYM_DATA`` first, then in the user's cache folder. New files
(downloads, fitted forests and surrogates) go to ``$MBO_GYM_DATA`` where it is set and writable,
else to the user's cache folder. Every write goes to a temporary file in the same folder and is
moved into place at the end, so that a reader sees the whole file or none, also with several
processes at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock

from mbo_gym.errors import DamagedFile, MissingData

__all__ = [
    "ARRAY_DAMAGE",
    "building",
    "cached_arrays",
    "cached_file",
    "check_sealed",
    "find",
    "folders",
    "load_npz",
    "lock",
    "read_checked",
    "seal",
    "sha256",
    "write_atomic",
    "write_folder",
]

ENVIRONMENT_VARIABLE = "MBO_GYM_DATA"
SEAL = "checksums.json"
"""Checksums of the other files of a folder."""
ARRAY_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    SyntaxError,
    TypeError,
    LookupError,
    RuntimeError,
    MemoryError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that numpy and zipfile raise for a damaged .npy or .npz file."""
_FOREIGN = (".d3", ".pt")
"""d3rlpy's pickles and TorchScript."""


def folders() -> list[Path]:
    """Return the data folders in order of look-up; they need not exist."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return ([Path(named).expanduser()] if named else []) + [
        Path(platformdirs.user_cache_dir("mbo_gym"))
    ]


def write_folder() -> Path:
    """Return the folder for new files, created if need be.

    It is ``$MBO_GYM_DATA``, or the user's cache folder where that is unset or read-only.
    """
    for folder in folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        writable_by_mode = folder.stat().st_mode & (
            stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
        )  # holds root back too
        if writable_by_mode and os.access(folder, os.W_OK):
            return folder
    raise MissingData(
        f"None of {[str(f) for f in folders()]} can be written to; set {ENVIRONMENT_VARIABLE} to "
        "a folder that can."
    )


def find(name: str) -> Path | None:
    """Return the first file or folder called `name` in the data folders, or None."""
    return next((folder / name for folder in folders() if (folder / name).exists()), None)


def sha256(content: bytes | Path) -> str:
    """Return the sha256 of bytes or of a file, read in pieces."""
    digest = hashlib.sha256()
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def read_checked(path: Path, expected_sha256: str, *, remedy: str) -> bytes:
    """Read a file whose content is known in advance.

    Args:
        path: The file.
        expected_sha256: Checksum of the whole content.
        remedy: Advice where it is another file, e.g. how to fetch it again.

    Raises:
        MissingData: The content differs: truncated, or another file under this name. Nothing of it
            is used.
    """
    content = path.read_bytes()
    if (got := sha256(content)) != expected_sha256:
        raise MissingData(
            f"{path} is not the expected file (truncated, or another one under this name): "
            f"{len(content)} bytes with "
            f"sha256 {got[:16]}..., expected {expected_sha256[:16]}... {remedy}"
        )
    return content


def write_atomic(path: Path, content: bytes | Callable[[Path], None]) -> Path:
    """Write a file whole or not at all.

    Args:
        path: The file; its folder is created.
        content: The bytes, or a function that writes the path it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            content(partial)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def seal(folder: Path) -> None:
    """Write the checksums of a folder's files into it, for `check_sealed`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_atomic(folder / SEAL, json.dumps(sums, indent=1).encode())


def check_sealed(
    folder: Path,
    only: Collection[str] | None = None,
    *,
    remedy: str = "Take an undamaged copy of the whole folder, or save it again.",
) -> None:
    """Compare a folder's files with the checksums that `seal` wrote; others are not looked at.

    A folder of an older mbo_gym has none, and is not checked. Files that only other programs read
    (`_FOREIGN`) may be taken away.

    Args:
        folder: The folder.
        only: Names of the files that are checked; None for all.
        remedy: What to do about a damaged file, for the message.

    Raises:
        DamagedFile: A file is missing or was changed.
    """
    path = folder / SEAL
    if not path.exists():
        return
    try:
        sums = {str(name): str(known) for name, known in json.loads(path.read_bytes()).items()}
    except (ValueError, AttributeError) as error:
        raise DamagedFile(f"{path} is damaged: {error}. {remedy}") from error
    for name, known in sums.items():
        if only is not None and name not in only:
            continue
        file = folder / name
        if not file.is_file():
            if file.suffix in _FOREIGN:
                continue
            raise DamagedFile(f"{folder} is damaged: {name} is missing. {remedy}")
        if sha256(file) != known:
            raise DamagedFile(
                f"{file} is damaged: its content differs from its checksum in {SEAL}. {remedy}"
            )


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a machine-wide lock, so that no two processes fetch or fit the same thing."""
    folder = write_folder() / "locks"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def load_npz(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file's bytes; pickled objects are refused."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


_building: ContextVar[str] = ContextVar("building", default="")


def building() -> str:
    """Return the name of the cached file that is being built; empty where none is."""
    return _building.get()


def cached_file(name: str, build: Callable[[Path], None]) -> Path:
    """Return a fitted thing's file from the cache, building it the first time.

    The name must hold a hash of all that the content depends on. A cached file is checked against
    the sha256 stored beside it; one that does not match is built anew, with a warning.

    Args:
        name: File name below ``fitted/``.
        build: Writes the path it is given; called at most once across processes.
    """
    path = write_folder() / "fitted" / name
    checksum = path.with_name(f"{name}.sha256")
    with lock(name):
        if path.exists() and checksum.exists():
            if sha256(path) == checksum.read_text().strip():
                return path
            warnings.warn(f"{path} is damaged (its sha256 changed); it is built anew", stacklevel=2)
        before = _building.set(name)
        try:
            write_atomic(path, build)
        finally:
            _building.reset(before)
        write_atomic(checksum, sha256(path).encode())
    return path


def cached_arrays(
    name: str, build: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from the cache, built and stored the first time.

    Args:
        name: File name below ``fitted/``, without suffix.
        build: Makes the arrays.
    """

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **{key: np.asarray(value) for key, value in build().items()})  # type: ignore[arg-type]

    return load_npz(cached_file(f"{name}.npz", write).read_bytes())
