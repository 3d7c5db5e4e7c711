"""What has changed in a table file since it was last seen: rows added, rows gone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.files.table import read_table
from mbo_gym.files.unpack import is_parquet, is_workbook, unpack

__all__ = ["Change", "file_sum", "row_sums"]


@dataclass(frozen=True)
class Change:
    """Difference between two states of a table.

    Args:
        before: Number of rows before, the header among them.
        added: Number of rows that are new.
        gone: Number of rows that are gone; a changed row counts as gone and new.
    """

    before: int
    added: int
    gone: int

    @classmethod
    def between(cls, old: np.ndarray, new: np.ndarray) -> Change:
        """Compare the row sums of two states, (N,) and (M,) uint64; their order does not count."""
        rows = np.concatenate([old, new])
        _, place = np.unique(rows, return_inverse=True)
        n = int(place.max()) + 1 if len(rows) else 0
        more = np.bincount(place[len(old) :], minlength=n) - np.bincount(
            place[: len(old)], minlength=n
        )
        return cls(len(old), int(more[more > 0].sum()), int(-more[more < 0].sum()))

    @property
    def in_words(self) -> str:
        """What happened, to follow the name of the file."""
        if self.gone:
            rows = "row is" if self.gone == 1 else "rows are"
            new = "is" if self.added == 1 else "are"
            return f"was changed: {self.gone:,} {rows} gone or changed, {self.added:,} {new} new"
        if self.added:
            return f"has grown by {self.added:,} {'row' if self.added == 1 else 'rows'}"
        return "was written anew with the same rows, in another order or form"


def row_sums(path: Path) -> np.ndarray:
    """Return a number for each row of a table file, (N,) uint64, in file order.

    A row of a text is a line that is not blank, the header among them. Compressed files count by
    their content, workbooks and Parquet files by their cells.

    Raises:
        MissingData: There is no such file.
        InvalidData: The file is damaged.
        MissingDependency: The library for this kind of file is not installed.
    """
    stat = _stat(path)
    return _row_sums(path, stat.st_size, stat.st_mtime_ns)


def file_sum(path: Path) -> str:
    """Return the sha256 of a file, which is read again only where size or time has changed.

    Raises:
        MissingData: There is no such file.
    """
    stat = _stat(path)
    return _file_sum(path, stat.st_size, stat.st_mtime_ns)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise MissingData(
            f"{path}: {error.strerror}. Put the file back, or name where it is now."
        ) from error


@lru_cache(maxsize=8)
def _row_sums(path: Path, size: int, modified: int) -> np.ndarray:
    content = unpack(path, path.read_bytes())
    if is_parquet(content) or is_workbook(content):
        cells = read_table(path, header=False, units=False).columns()
        rows = ["\x1f".join(row).encode() for row in zip(*cells, strict=True)]
    else:
        rows = [line for line in map(bytes.strip, content.split(b"\n")) if line]
    sums = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(sums, dtype="<u8")


@lru_cache(maxsize=64)
def _file_sum(path: Path, size: int, modified: int) -> str:
    return store.sha256(path)
