"""Memory that a cell asks for: that of its method, and more for the data of its task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.record import CellRecord
from mbo_gym.files.table import read_table
from mbo_gym.files.unpack import is_parquet, is_workbook, unpack
from mbo_gym.runs.request import RunRequest

__all__ = ["DATA_BYTES_PER_CELL", "cells_of_data", "measured_mb", "memory_for"]

DATA_BYTES_PER_CELL = 100
"""Memory of a run for each cell (rows x columns) of its data, bytes. Measured by ``python -m
experiments.benchmarks memory``: 35 bytes for ``top_k``, 99.5 for ``matched``, the steepest slope of
five methods, rounded up; the output is in ``experiments/results/benchmarks/memory.txt``."""
_ROOM = 1.25
"""Memory asked for, as a multiple of the peak of earlier runs."""
_BYTES_PER_NUMBER = 4


def memory_for(
    request: RunRequest, base_gb: float, measured: Mapping[tuple[str, str, str], float]
) -> float:
    """Return the memory (GiB) that a run asks for.

    It is the method's, and `DATA_BYTES_PER_CELL` for each cell of the task's files; or what earlier
    runs needed, where that is more.

    Args:
        request: The run.
        base_gb: Memory of the method on small data, see `mbo_gym.methods.base.Resources`.
        measured: Peaks of earlier runs, see `measured_mb`.
    """
    of_data = cells_of_data(request.options) * DATA_BYTES_PER_CELL / 2**30
    return max(base_gb + of_data, _ROOM * measured.get(_key(request), 0.0) / 1024)


def measured_mb(records: Sequence[CellRecord]) -> dict[tuple[str, str, str], float]:
    """Return the highest peak (MiB) of earlier runs, by method, task and options."""
    peaks: dict[tuple[str, str, str], float] = defaultdict(float)
    for record in records:
        if record.result is not None and record.result.peak_memory_mb is not None:
            key = _key(record.request)
            peaks[key] = max(peaks[key], record.result.peak_memory_mb)
    return dict(peaks)


def cells_of_data(options: Mapping[str, Any]) -> int:
    """Return rows x columns of the files and folders among the options of a task."""
    n = 0
    for value in options.values():
        if not isinstance(value, str) or not value:
            continue
        path = Path(value).expanduser()
        if path.is_file():
            stat = path.stat()
            n += _cells_of_file(path, stat.st_size, stat.st_mtime_ns)
        elif path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*.np[yz]") if file.is_file())
            n += size // _BYTES_PER_NUMBER
    return n


@lru_cache(maxsize=64)
def _cells_of_file(path: Path, size: int, modified: int) -> int:
    """Return rows x columns of a table, by counting its line ends and delimiters."""
    content = unpack(path, path.read_bytes())
    if is_parquet(content) or is_workbook(content):
        table = read_table(path)
        return len(table) * len(table.names)
    first = content[: content.find(b"\n") + 1] or content
    columns = 1 + max(first.count(mark) for mark in (b",", b";", b"\t", b"|"))
    return (content.count(b"\n") + 1) * columns


def _key(request: RunRequest) -> tuple[str, str, str]:
    options = sorted((name, str(value)) for name, value in request.options.items())
    return request.method, request.task_id, repr(options)
