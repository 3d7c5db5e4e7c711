"""Seconds and peak memory of reading a table of 20 columns, beside Python's csv and pandas.

"csv" keeps every cell as a Python string, as mbo_gym did before polars. Each reader has a process
of its own. Seconds leave imports out; the peak is that of the whole process. A reader whose library
is not installed is left out.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from mbo_gym.files.table import read_table
from mbo_gym.machine import peak_memory_mb

LIBRARIES = {"mbo_gym": "polars", "csv": "csv", "pandas": "pandas"}


def read(reader: str, path: str) -> np.ndarray:
    if reader == "csv":
        with open(path, newline="", encoding="utf-8") as file:
            columns = list(zip(*list(csv.reader(file))[1:], strict=True))
        return np.stack([np.fromiter(map(float, cells), np.float32) for cells in columns], axis=1)
    if reader == "pandas":
        return import_module("pandas").read_csv(path).to_numpy(np.float32)
    return (table := read_table(path)).float32(table.names)


def measure(reader: str, path: str) -> None:
    import_module(LIBRARIES[reader])
    started = time.perf_counter(), time.process_time()
    n_rows = len(read(reader, path))
    seconds = time.perf_counter() - started[0]
    print(n_rows / seconds, seconds, time.process_time() - started[1], peak_memory_mb())


def main(n_rows: int) -> None:
    from experiments.benchmarks.common import rate, show, where  # imports torch

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/table.csv"
        numbers = np.random.default_rng(0).normal(size=(n_rows, 20))
        np.savetxt(path, numbers, "%.6f", ",", header=",".join(map(str, range(20))))
        for reader, library in LIBRARIES.items():
            if find_spec(library) is None:
                continue
            command = [sys.executable, "-m", __spec__.name, "--measure", reader, path]
            printed = subprocess.check_output(command, text=True).split()
            per_second, seconds, cpu, peak = map(float, printed)
            cells = f"{seconds:.2f}", f"{cpu:.2f}", f"{peak:.0f}"
            rows.append((reader, rate(per_second), *cells))
    columns = ("reader", "rows/s", "s", "CPU s", "peak MiB")
    show(f"{n_rows:,} rows x 20", columns, rows, where())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    measure(*arguments.measure) if arguments.measure else main(arguments.rows)
