"""Time and memory of `mbo-gym propose` on a mixed table and on a large table of numbers.

Each run is a process of its own, on one thread, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.benchmarks.common import show, where

N_PARAMETERS = 20


def write_mixed(path: Path, n: int) -> None:
    """Write a table with words, counts, steps, levels and three fractions."""
    rng = np.random.default_rng(0)
    parts = rng.dirichlet(np.ones(3), n).round(2)
    parts[:, 2] = 1 - parts[:, 0] - parts[:, 1]
    metal = rng.choice(["Pd", "Ni", "Cu", "Fe"], n)
    heat, count = rng.choice(np.arange(20, 105, 5), n), rng.integers(1, 9, n)
    dose = rng.choice([1, 3, 10, 30], n)
    y = 50 - (heat - 70) ** 2 / 100 + 3 * count + 10 * parts[:, 0] + 5 * (metal == "Ni")
    y = y + rng.normal(0, 2, n)
    rows = zip(metal, heat, count, dose, *parts.T, y, strict=True)
    lines = [f"{m},{h},{c},{d},{a:.2f},{b:.2f},{e:.2f},{v:.2f}" for m, h, c, d, a, b, e, v in rows]
    path.write_text("\n".join(["metal,heat,count,dose,A,B,C,yield", *lines]))


def write_numbers(path: Path, n: int) -> None:
    """Write a table of `N_PARAMETERS` numbers with a smooth score."""
    rng = np.random.default_rng(0)
    x = rng.random((n, N_PARAMETERS)).round(4)
    y = -((x - 0.6) ** 2).sum(axis=1)
    header = ",".join([*(f"x{j}" for j in range(N_PARAMETERS)), "yield"])
    np.savetxt(path, np.column_stack([x, y]), fmt="%.4f", delimiter=",", header=header, comments="")


def run(path: Path, folder: Path) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and the peak memory in MB of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-m", "mbo_gym", "propose", str(path), "--score", "yield"]
    output = ["--batch", "96", "--output", str(folder / "batch.csv")]
    one_core = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    subprocess.run([*command, *output], check=True, capture_output=True, env=os.environ | one_core)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, after.ru_maxrss / 1024


def main(n_mixed: int, n_numbers: int) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, write, n in (
            ("8 mixed columns", write_mixed, n_mixed),
            (f"{N_PARAMETERS} numbers", write_numbers, n_numbers),
        ):
            path = folder / "table.csv"
            write(path, n)
            seconds, cpu, memory = run(path, folder)
            rows.append((title, f"{n:,}", f"{seconds:.1f}", f"{cpu:.1f}", f"{memory:,.0f}"))
    header = ("table", "rows", "seconds", "CPU seconds", "peak MB (so far)")
    show("mbo-gym propose, a batch of 96", header, rows, where())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixed", type=int, default=1_000)
    parser.add_argument("--numbers", type=int, default=1_000_000)
    args = parser.parse_args()
    main(args.mixed, args.numbers)
