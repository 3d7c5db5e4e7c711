"""Cost of a grid: overhead a cell over the bare calls, by executor, and time of a resume."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mbo_gym
from experiments.benchmarks.common import show, where
from mbo_gym.benchmark.execute.runner import RunObserver, run_grid
from mbo_gym.benchmark.execute.worker import limit_threads
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.methods.base import Context

TASK = "TFBind8-Exact-v0"


class Clock(RunObserver):
    """Observer that keeps the time at which each cell ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def end(self, record: CellRecord) -> None:
        self.ends.append(time.perf_counter())


def bare(method: str, seeds: int) -> float:
    """Return the seconds that the method's own calls take, one thread, the task made already."""
    task = mbo_gym.make_task(TASK)
    started = time.perf_counter()
    with limit_threads(1):
        for seed in range(seeds):
            made = mbo_gym.make_method(method)
            made.fit(task.problem(), Context(seed))
            mbo_gym.evaluate(task, made.propose(256).x)
    return time.perf_counter() - started


def through_the_grid(grid: Grid, executor: str, folder: Path) -> float:
    """Return the seconds that a grid takes once its workers are there and have the task."""
    clock = Clock()
    run_grid(grid, folder, executor=executor, workers=2, show=clock)
    skip, ends = 4, clock.ends  # the first cells wait for imports and data
    return (ends[-1] - ends[skip - 1]) * len(ends) / (len(ends) - skip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cells", type=int, default=200, help="cells of the light method (default: %(default)s)"
    )
    parser.add_argument(
        "--long-cells", type=int, default=12, help="cells of gradient ascent (default: %(default)s)"
    )
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for method, n in (("random", args.cells), ("grad", args.long_cells)):
            grid = Grid([MethodChoice(method)], [TaskChoice(TASK)], range(n))
            base = bare(method, n)
            rows.append(
                (f"{method}, bare calls", str(n), f"{base:.2f}", f"{1000 * base / n:.1f}", "-", "-")
            )
            for executor in ("serial", "process", "ray"):
                took = through_the_grid(grid, executor, Path(scratch) / f"{method}-{executor}")
                overhead = 1000 * (took - base) / n
                extra = (
                    (f"{overhead:.1f}", f"{took / base - 1:+.1%}")
                    if executor == "serial"
                    else ("-", "-")
                )
                rows.append(
                    (
                        f"{method}, {executor}",
                        str(n),
                        f"{took:.2f}",
                        f"{1000 * took / n:.1f}",
                        *extra,
                    )
                )
        command = [
            sys.executable,
            "-m",
            "mbo_gym",
            "benchmark",
            "--methods",
            "random",
            "--tasks",
            TASK,
        ]
        command += [
            "--seeds",
            f"0-{args.cells - 1}",
            "--output",
            str(Path(scratch) / "random-serial"),
        ]
        resumes = []
        for _ in range(4):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            resumes.append(time.perf_counter() - started)
    rows.append(
        (
            "resume of the finished grid, whole command",
            "-",
            f"{np.median(resumes[1:]):.2f}",
            "-",
            "-",
            "-",
        )
    )
    columns = ("what", "cells", "s", "ms a cell", "overhead ms", "overhead")
    show("A grid", columns, rows, f"process and ray with 2 workers, one thread each; {where()}")


if __name__ == "__main__":
    main()
