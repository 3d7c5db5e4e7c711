"""Cost of a process apart: whole processes that run a method, with and without it, in turns."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from experiments.benchmarks.common import show, where

TASK = "TFBind8-Exact-v0"
METHODS = ("random", "grad")
PROGRAM = """
import sys
from pathlib import Path
from mbo_gym.runs.apart import fork_nursery
method, task, apart, folder = sys.argv[1:]
if apart == "True":
    fork_nursery()  # as the command line does
from mbo_gym.runs.one_run import RunRequest, run
run(RunRequest(method, task), Path(folder), quiet=True, isolated=apart == "True")
"""


def took(method: str, *, apart: bool) -> tuple[float, float]:
    """Return the seconds of a process, and those of the processor in it and its children."""
    with tempfile.TemporaryDirectory() as scratch:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        command = [sys.executable, "-c", PROGRAM, method, TASK, str(apart), f"{scratch}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Time runs of each method here and apart; other work on the machine only adds to a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind")
    args = parser.parse_args()
    rows = []
    for method in METHODS:
        times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for _ in range(args.runs):
            for apart in (False, True):
                times[apart].append(took(method, apart=apart))
        for i, name in enumerate(("wall", "processor")):
            here, there = ([one[i] for one in times[apart]] for apart in (False, True))
            rows.append(
                (
                    *(method, name, f"{min(here):.2f}", f"{min(there):.2f}"),
                    f"{min(there) / min(here) - 1:+.1%}",
                    f"{statistics.median(there) / statistics.median(here) - 1:+.1%}",
                )
            )
    show(
        f"Whole processes that run on {TASK}",
        ("method", "seconds of", "here", "apart", "more", "more, medians"),
        rows,
        f"Fastest of {args.runs} in turns, and the medians' ratio. {where()}.",
    )


if __name__ == "__main__":
    main()
