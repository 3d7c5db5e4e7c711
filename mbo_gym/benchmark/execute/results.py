"""The results of a benchmark on disk: one line a finished cell, and one folder a cell; a kill at
any point loses nothing that was finished."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.files import store

__all__ = ["ResultStore", "write_record"]

RECORD = "record.json"


class ResultStore:
    """A results folder.

    It holds ``results.jsonl`` (a record a line, appended; the last line of a key counts),
    ``cells/<name>/`` with everything of a run, and ``configs.json``. A report needs
    ``results.jsonl`` alone, and shows ``remarks.toml`` where there is one
    (`mbo_gym.benchmark.analysis.remarks`).

    Args:
        folder: Created by `writing`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "cells"
        self.lines = folder / "results.jsonl"
        self.configs = ConfigIndex(folder / "configs.json")

    def records(self) -> list[dict[str, Any]]:
        """Return the latest record of each key, in the order in which the keys came.

        Raises:
            FileNotFoundError: There is no ``results.jsonl``.
            ValueError: A line other than a torn last one is no record.
        """
        if not self.lines.exists():
            raise FileNotFoundError(
                f"{self.folder} holds no results.jsonl; run `mbo-gym benchmark .. --output {self.folder}` first"
            )
        found: dict[str, dict[str, Any]] = {}
        lines = self.lines.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    record = json.loads(line)
                    found[record["key"]] = record
                except (ValueError, KeyError, TypeError) as error:
                    if number == len(lines):  # no line end: a kill cut it off
                        continue
                    raise ValueError(
                        f"{self.lines}, line {number}, is no record: {line[:60]!r}"
                    ) from error
        return list(found.values())

    @contextmanager
    def writing(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Hold the folder for writing, mend what a kill left, and give the latest records by key.

        Raises:
            ValueError: Another process is writing to it.
        """
        self.cells.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._mend()
                records = {record["key"]: record for record in self.records()}
                for path in self.cells.glob(f"*/{RECORD}"):  # finished, but not yet a line
                    record = json.loads(path.read_text())
                    if record["finished"] > records.get(record["key"], {}).get("finished", ""):
                        self.add(record)
                        records[record["key"]] = record
                yield records
                self.configs.save()
        except Timeout:
            raise ValueError(
                f"another benchmark is writing to {self.folder}; wait for it, or choose another --output"
            ) from None

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a record; it is on the disk when this returns."""
        line = json.dumps(record, default=str, allow_nan=False) + "\n"
        with self.lines.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def _mend(self) -> None:
        """Cut off a torn last line and remove half-written folders."""
        self.lines.touch()
        content = self.lines.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.lines.open("rb+") as file:
                file.truncate(content.rfind(b"\n") + 1)
        for path in self.cells.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Put a cell's record into its folder, whole or not at all."""
    text = json.dumps(record, default=str, indent=1, allow_nan=False)
    store.write_atomic(folder / RECORD, text.encode())
