"""Memory of a run on a table, by its cells (rows x columns): the slope that a grid asks for.

Each run has a process of its own, reads a table of random numbers, learns and is scored. The line
is fitted to the peaks of `RunResult.peak_memory_mb`. ``DATA_BYTES_PER_CELL`` of
`mbo_gym.benchmark.execute.memory` is the steepest slope, rounded up.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mbo_gym.runs.one_run import RunRequest, run

METHODS = ("top_k", "grad", "pgs", "gtg", "matched")
SIZES = ((1_000, 20), (100_000, 20), (400_000, 20), (40_000, 200))


def measure(method: str, path: str, folder: str) -> None:
    """Run a method on a table and print the peak, MiB."""
    options = {"path": path, "score_column": "y"}
    preset = None if method in ("top_k", "matched") else "light"
    request = RunRequest(method, "table", k=64, preset=preset, options=options)
    done = run(request, Path(folder) / "run", quiet=True, overwrite=True)
    print(done.peak_memory_mb)


def main(methods: list[str], largest: int) -> None:
    """Measure methods on tables of several sizes."""
    from experiments.benchmarks.common import show, where

    sizes = [size for size in SIZES if size[0] * size[1] <= largest]
    peaks: dict[str, list[float]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        for n_rows, n_columns in sizes:
            path = f"{folder}/table.csv"
            numbers = np.random.default_rng(0).normal(size=(n_rows, n_columns))
            names = [f"x{j}" for j in range(n_columns - 1)]
            np.savetxt(path, numbers, "%.6f", ",", header=",".join([*names, "y"]), comments="")
            for method in methods:
                command = [sys.executable, "-m", __spec__.name, "--measure", method, path, folder]
                printed = subprocess.check_output(command, text=True)
                peaks[method].append(float(printed.split()[-1]))
    cells = [n * d for n, d in sizes]
    rows = []
    for method in methods:
        slope, base = np.polyfit(cells, np.array(peaks[method]) * 2**20, 1)
        figures = [f"{peak:.0f}" for peak in peaks[method]]
        rows.append((method, *figures, f"{base / 2**20:.0f}", f"{slope:.1f}"))
    columns = [f"{n:,} x {d}, MiB" for n, d in sizes]
    show(
        "Peak memory of a run on a table",
        ("method", *columns, "base, MiB", "bytes a cell"),
        rows,
        where(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--cells", type=int, default=8_000_000, help="most cells of a table")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
    else:
        main(arguments.methods.split(","), arguments.cells)
