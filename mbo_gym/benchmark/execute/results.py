"""The results of a benchmark on disk; a kill at any point loses nothing that was finished."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mbo_gym.benchmark.execute.summary import summary_csv
from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.files.partial import is_abandoned, whole_name

__all__ = ["RECORD", "ResultStore", "write_record"]

RECORD = "record.json"


class ResultStore:
    """A results folder: one line a finished cell, and one folder a cell.

    ``results.jsonl`` holds a record a line, appended; the last line of a key counts.
    ``results.jsonl.xz``, which `pack` writes, holds older records; a record of ``results.jsonl``
    counts before one of the same key in it. ``cells/<name>/`` has everything of a run and
    ``configs.json`` the resolved configs. A report needs one of the two files of records, and shows
    ``remarks.toml`` where there is one (`mbo_gym.benchmark.analysis.remarks`).

    Several processes may write to one folder, also from several machines, where each has a name of
    its own and cells of its own: its lines are in ``results-<writer>.jsonl``, and no lock is held,
    since shared file systems may have none.

    Args:
        folder: Results folder; `writing` creates it.
        writer: Name of this process among several; empty for one that writes alone.

    Example:
        >>> from pathlib import Path
        >>> len(ResultStore(Path("experiments/results/core")).records())
        224
    """

    def __init__(self, folder: Path, writer: str = "") -> None:
        self.folder = folder
        self.writer = writer
        self.cells = folder / "cells"
        self.lines = folder / (f"results-{writer}.jsonl" if writer else "results.jsonl")
        self.packed = folder / "results.jsonl.xz"
        self.summary = folder / "summary.csv"
        self.configs = ConfigIndex(folder / "configs.json")

    @property
    def exists(self) -> bool:
        """Whether the folder holds records."""
        return self.packed.exists() or bool(self._written())

    def _written(self) -> list[Path]:
        """Return the files of lines, those of other writers too."""
        return sorted(self.folder.glob("results*.jsonl"))

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes with every record: name, size and time of each file of records."""
        found = []
        for path in [self.packed, *self._written()]:
            with suppress(FileNotFoundError):
                about = path.stat()
                found.append((path.name, about.st_size, about.st_mtime_ns))
        return tuple(found)

    def records(self) -> list[CellRecord]:
        """Return the latest record of each key, in the order in which the keys came.

        A damaged line is left out, with a warning that names it.

        Raises:
            FileNotFoundError: The folder holds no file of records.
            DamagedFile: The compressed file cannot be read.
        """
        if not self.exists:
            raise FileNotFoundError(
                f"{self.folder} holds no results.jsonl and no results.jsonl.xz. "
                f"Run `mbo-gym benchmark .. --output {self.folder}` first."
            )
        found = {record.key: record for record in _read(self.packed)}
        unpacked: dict[str, CellRecord] = {}
        for path in self._written():
            for record in _read(path):
                known = unpacked.get(record.key)
                if known is None or path == self.lines or record.finished >= known.finished:
                    unpacked[record.key] = record
        return list((found | unpacked).values())

    def unlisted(self) -> list[str]:
        """Return the names of finished cells that no line tells of, as where lines were lost.

        `writing` adds them.
        """
        keys = {record.key for record in self.records()} if self.exists else set()
        found = sorted(path.parent.name for path in self.cells.glob(f"*/{RECORD}"))
        return [name for name in found if name[-16:] not in keys]

    @contextmanager
    def writing(self, own: Set[str] | None = None) -> Iterator[dict[str, CellRecord]]:
        """Lock the folder, repair what a kill left, and yield the latest records by key.

        Damaged lines and records are set aside, as ``*.damaged``; their cells run again.

        Args:
            own: Keys of the cells of this writer, where there are several; None for all.

        Raises:
            ValueError: Another process is writing to the folder.
        """
        self.cells.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.folder / ".lock", timeout=0)
            with nullcontext() if self.writer else lock:
                self._repair()
                records = {record.key: record for record in self.records()}
                # finished, but not yet a line; others of several writers may be at it right now
                for path in self.cells.glob(f"*/{RECORD}"):
                    if own is not None and path.parent.name[-16:] not in own:
                        continue
                    record = _read_record(path)
                    if record is None:
                        continue
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
            DamagedFile: The compressed file cannot be read.
            ValueError: Another process is writing to the folder.
        """
        if not self.exists:
            self.records()  # says what is missing, before anything is created
        with self.writing() as known:
            records = list(known.values())
            lines = "".join(f"{record.line()}\n" for record in records)
            packed = lzma.compress(lines.encode(), preset=9 | lzma.PRESET_EXTREME)
            store.write_atomic(self.packed, packed)
            store.write_atomic(self.summary, summary_csv(records).encode())
            for path in self._written():
                path.unlink()
        return [self.packed, self.summary]

    def _repair(self) -> None:
        """Cut off a torn last line, set damaged ones aside, remove half-written folders."""
        self.lines.touch()
        content = self.lines.read_bytes()
        if content and not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1]
            with self.lines.open("rb+") as file:
                file.truncate(len(content))
        damaged = [n for n, found in _parsed(content.split(b"\n")) if isinstance(found, ValueError)]
        if damaged:
            lines = content.split(b"\n")
            with self.lines.with_name(f"{self.lines.name}.damaged").open("ab") as file:
                file.writelines(lines[n - 1] + b"\n" for n in damaged)
            kept = [line for n, line in enumerate(lines, 1) if n not in damaged]
            store.write_atomic(self.lines, b"\n".join(kept))
            warnings.warn(
                f"{self.lines}: {_lines_in_words(damaged)} damaged and set aside in "
                f"{self.lines.name}.damaged. The cells run again where their folders are gone.",
                stacklevel=3,
            )
        if not self.writer:  # else others may be at work there; a run sweeps its own
            for path in self.cells.glob(".*"):
                if whole_name(path) is None or is_abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)

    def at_work(self) -> tuple[int, int]:
        """Return how many cells are running, and how many were left half-way by a process that is
        gone; see `mbo_gym.files.partial.is_abandoned`.
        """
        running: set[str] = set()
        lost: set[str] = set()
        for path in self.cells.glob(".*"):
            name = whole_name(path)
            if name is not None:
                (lost if is_abandoned(path) else running).add(name)
        ended = {name for name in lost if (self.cells / name / RECORD).exists()}
        return len(running), len(lost - running - ended)

    def take_over(self, others: Sequence[ResultStore]) -> list[int]:
        """Copy records and cells of other folders that are missing here.

        Returns:
            Number of records that each of them brought.

        Raises:
            FileNotFoundError: A folder holds no file of records.
            ValueError: Another process is writing to this folder.
        """
        brought = []
        with self.writing() as known:
            for other in others:
                new = [record for record in other.records() if record.key not in known]
                for record in new:
                    source = other.cells / record.folder_name
                    if source.is_dir():
                        target = self.cells / record.folder_name
                        shutil.copytree(source, target, dirs_exist_ok=True)
                    self.add(record)
                    known[record.key] = record
                brought.append(len(new))
        return brought

    def join(self) -> int:
        """Put the lines of all writers into ``results.jsonl``; return how many files there were.

        Raises:
            ValueError: Another process is writing to the folder, or a cell is running.
        """
        running, _ = self.at_work()
        if running:
            raise ValueError(
                f"{running} cells are running in {self.folder}. Merge when they have ended; those "
                "of a machine that is gone count as lost after five minutes."
            )
        others = [path for path in self._written() if path != self.lines]
        with self.writing() as known:
            lines = "".join(f"{record.line()}\n" for record in known.values())
            store.write_atomic(self.lines, lines.encode())
            for path in others:
                path.unlink()
        return len(others)


def write_record(folder: Path, record: CellRecord) -> None:
    """Write a cell's record into its folder, whole or not at all."""
    text = json.dumps(record.to_json(), default=str, indent=1, allow_nan=False)
    store.write_atomic(folder / RECORD, text.encode())


def _read_record(path: Path) -> CellRecord | None:
    """Return the record of a cell's folder; None for a damaged one, which is set aside."""
    try:
        return CellRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # JSON and UTF-8 too
        path.rename(path.with_name(f"{path.name}.damaged"))
        warnings.warn(
            f"{path} is damaged ({error}) and set aside as {path.name}.damaged. The cell runs "
            "again unless results.jsonl has its record.",
            stacklevel=4,
        )
        return None


def _read(path: Path) -> Iterator[CellRecord]:
    """Yield the records of a file, which may be compressed and may be missing."""
    if not path.exists():
        return
    content = path.read_bytes()
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise DamagedFile(
                f"{path} is damaged: {error}. Take an undamaged copy of it, or delete it and run "
                "the benchmark again."
            ) from error
    lines = content.split(b"\n")
    damaged = []
    for number, found in _parsed(lines):
        if isinstance(found, CellRecord):
            yield found
        elif number < len(lines):  # else no line end: a kill cut it off
            damaged.append(number)
    if damaged:
        warnings.warn(
            f"{path}: {_lines_in_words(damaged)} damaged and left out. Run the benchmark again: it "
            "runs their cells anew.",
            stacklevel=4,
        )


def _parsed(lines: Sequence[bytes]) -> Iterator[tuple[int, CellRecord | ValueError]]:
    """Yield the number of each line that is not empty, from 1, and its record or what is wrong."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, CellRecord.from_json(json.loads(line))
            except ValueError as error:
                yield number, error


def _lines_in_words(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:5])) + (", .." if len(numbers) > 5 else "")
    return f"line {text} is" if len(numbers) == 1 else f"lines {text} are"
