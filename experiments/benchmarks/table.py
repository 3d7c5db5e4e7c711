"""Rows read per second and peak memory of the table reader, beside Python's csv and pandas.

"csv" keeps every cell as a Python string, as mbo_gym did before polars. Imports do not count.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from importlib import import_module

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
    started = time.perf_counter()
    print(len(read(reader, path)) / (time.perf_counter() - started), peak_memory_mb())


def main(n_rows: int) -> None:
    from experiments.benchmarks.common import rate, show, where  # imports torch

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/table.csv"
        numbers = np.random.default_rng(0).normal(size=(n_rows, 20))
        np.savetxt(path, numbers, "%.6f", ",", header=",".join(map(str, range(20))))
        for reader in LIBRARIES:
            command = [sys.executable, __file__, "--measure", reader, path]
            per_second, peak = map(float, subprocess.check_output(command, text=True).split())
            rows.append((reader, rate(per_second), f"{peak:.0f}"))
    show(f"{n_rows:,} rows x 20", ("reader", "rows/s", "peak MB"), rows, where())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    measure(*arguments.measure) if arguments.measure else main(arguments.rows)
