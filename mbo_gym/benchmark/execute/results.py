"""The results of a benchmark on disk; a kill at any point loses nothing that was finished."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mbo_gym.benchmark.execute.summary import summary_csv
from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.files import store

__all__ = ["ResultStore", "write_record"]

RECORD = "record.json"


class ResultStore:
    """A results folder: one line a finished cell, and one folder a cell.

    ``results.jsonl`` holds a record a line, appended; the last line of a key counts.
    ``results.jsonl.xz``, which `pack` writes, holds older records; a record of ``results.jsonl``
    counts before one of the same key in it. ``cells/<name>/`` has everything of a run and
    ``configs.json`` the resolved configs. A report needs one of the two files of records, and shows
    ``remarks.toml`` where there is one (`mbo_gym.benchmark.analysis.remarks`).

    Args:
        folder: Results folder; `writing` creates it.

    Example:
        >>> from pathlib import Path
        >>> len(ResultStore(Path("experiments/results/core")).records())
        224
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "cells"
        self.lines = folder / "results.jsonl"
        self.packed = folder / "results.jsonl.xz"
        self.summary = folder / "summary.csv"
        self.configs = ConfigIndex(folder / "configs.json")

    @property
    def exists(self) -> bool:
        """Whether the folder holds records."""
        return self.lines.exists() or self.packed.exists()

    def records(self) -> list[CellRecord]:
        """Return the latest record of each key, in the order in which the keys came.

        Raises:
            FileNotFoundError: The folder holds no file of records.
            ValueError: A line other than a torn last one is no record.
        """
        if not self.exists:
            raise FileNotFoundError(
                f"{self.folder} holds no results.jsonl and no results.jsonl.xz. "
                f"Run `mbo-gym benchmark .. --output {self.folder}` first."
            )
        found: dict[str, CellRecord] = {}
        for path in (self.packed, self.lines):
            found |= {record.key: record for record in _read(path)}
        return list(found.values())

    @contextmanager
    def writing(self) -> Iterator[dict[str, CellRecord]]:
        """Lock the folder, repair what a kill left, and yield the latest records by key.

        Raises:
            ValueError: Another process is writing to the folder.
        """
        self.cells.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._repair()
                records = {record.key: record for record in self.records()}
                for path in self.cells.glob(f"*/{RECORD}"):  # finished, but not yet a line
                    record = CellRecord.from_json(json.loads(path.read_text()))
                    known = records.get(record.key)
                    if known is None or record.finished > known.finished:
                        self.add(record)
                        records[record.key] = record
                yield records
                self.configs.save()
        except Timeout:
            raise ValueError(
                f"another benchmark is writing to {self.folder}; "
                "wait for it, or choose another --output"
            ) from None

    def add(self, record: CellRecord) -> None:
        """Append a record to ``results.jsonl``; it is on the disk when this returns."""
        line = record.line() + "\n"
        with self.lines.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def pack(self) -> list[Path]:
        """Compress all records to ``results.jsonl.xz``, and write ``summary.csv``.

        ``results.jsonl`` is deleted; a benchmark that goes on in the folder starts a new one.

        Returns:
            The two files.

        Raises:
            FileNotFoundError: The folder holds no file of records.
            ValueError: A line is no record, or another process is writing to the folder.
        """
        if not self.exists:
            self.records()  # says what is missing, before anything is created
        with self.writing() as known:
            records = list(known.values())
            lines = "".join(f"{record.line()}\n" for record in records)
            packed = lzma.compress(lines.encode(), preset=9 | lzma.PRESET_EXTREME)
            store.write_atomic(self.packed, packed)
            store.write_atomic(self.summary, summary_csv(records).encode())
            self.lines.unlink()
        return [self.packed, self.summary]

    def _repair(self) -> None:
        """Cut off a torn last line and remove half-written folders."""
        self.lines.touch()
        content = self.lines.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.lines.open("rb+") as file:
                file.truncate(content.rfind(b"\n") + 1)
        for path in self.cells.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)


def write_record(folder: Path, record: CellRecord) -> None:
    """Write a cell's record into its folder, whole or not at all."""
    text = json.dumps(record.to_json(), default=str, indent=1, allow_nan=False)
    store.write_atomic(folder / RECORD, text.encode())


def _read(path: Path) -> Iterator[CellRecord]:
    """Yield the records of a file, which may be compressed and may be missing."""
    if not path.exists():
        return
    content = path.read_bytes()
    lines = (lzma.decompress(content) if path.suffix == ".xz" else content).split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield CellRecord.from_json(json.loads(line))
            except ValueError as error:
                if number == len(lines):  # no line end: a kill cut it off
                    continue
                raise ValueError(
                    f"{path}, line {number}, is no record: {line[:60]!r} ({error})"
                ) from error
