"""Cost of a process apart: whole runs with and without it, in turns."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import mbo_gym
from experiments.benchmarks.common import show, where
from mbo_gym.runs.apart import fork_nursery
from mbo_gym.runs.one_run import RunRequest, run

TASK = "TFBind8-Exact-v0"
METHODS = ("random", "grad")


def main() -> None:
    """Time runs, and what of them is neither fit nor proposal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind")
    args = parser.parse_args()
    fork_nursery()
    task = mbo_gym.make_task(TASK)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        run(RunRequest("random", TASK), Path(scratch) / "first", task=task, quiet=True)
        for method in METHODS:
            whole: dict[bool, list[float]] = {True: [], False: []}
            rest: dict[bool, list[float]] = {True: [], False: []}
            for seed in range(args.runs):
                for apart in (True, False):
                    folder = Path(scratch) / f"{method}-{seed}-{apart}"
                    request = RunRequest(method, TASK, seed)
                    started = time.perf_counter()
                    done = run(request, folder, task=task, quiet=True, isolated=apart)
                    took = time.perf_counter() - started
                    whole[apart].append(took)
                    rest[apart].append(took - done.fit_seconds - done.propose_seconds)
            more = statistics.median(rest[True]) - statistics.median(rest[False])
            bare = statistics.median(whole[False])
            rows.append(
                (
                    method,
                    f"{bare:.2f}",
                    f"{statistics.median(whole[True]):.2f}",
                    f"{statistics.median(whole[True]) / bare - 1:+.1%}",
                    f"{more:.2f}",
                    f"{more / bare:.1%}",
                )
            )
    show(
        f"Runs on {TASK} here and apart",
        ("method", "here, s", "apart, s", "whole", "rest, s", "of a run"),
        rows,
        f"Medians of {args.runs} runs in turns. Rest: more time outside fit and proposal. {where()}.",
    )


if __name__ == "__main__":
    main()
