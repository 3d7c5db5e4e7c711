"""Shards of a grid on one folder, killed at random: what is lost, doubled or different after it."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.benchmarks.common import show, where
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_grid
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.files.partial import whole_name
from mbo_gym.runs.apart import fork_nursery
from mbo_gym.runs.nursery import preload

TASK = "Branin-Exact-v0"
_MEASURED = {"finished", "seconds", "environment", "sha256"}
_MEASURED_RESULT = {"fit_seconds", "propose_seconds", "peak_memory_mb"}


def grid_of(seeds: int) -> Grid:
    """Return a grid of controls, and of a method whose training is kept in checkpoints."""
    names = ("random", "top_k", "top_k_noise")
    methods = [MethodChoice(name) for name in names] + [MethodChoice("grad", "light")]
    return Grid(methods, [TaskChoice(TASK)], seeds=range(seeds), ks=(64,))


def start(grid: Grid, folder: Path, shard: tuple[int, int] | None) -> int:
    """Run a shard in a fork of this process, which must not have run torch; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        fork_nursery()
        run_grid(grid, folder, executor="serial", shard=shard)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_and_kill(
    grid: Grid, folder: Path, shards: int, kills: int, draw: random.Random
) -> Counter[str]:
    """Run all shards at once, kill one after the other with SIGKILL, and start each anew.

    A shard that has ended is started again until the last kill.

    Returns:
        Number of kills in the middle of a cell (``cell``) and elsewhere (``elsewhere``), and of
        shards that ended by an error (``failed``).
    """
    found: Counter[str] = Counter()
    running = {start(grid, folder, (i, shards)): i for i in range(1, shards + 1)}
    next_kill = time.monotonic() + draw.uniform(0, 2)
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        kills_left = kills - found["cell"] - found["elsewhere"]
        if pid in running:
            shard = running.pop(pid)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                found["failed"] += 1
            if os.WIFSIGNALED(status) or kills_left:
                running[start(grid, folder, (shard, shards))] = shard
        elif kills_left and time.monotonic() >= next_kill:
            pid = draw.choice(list(running))
            os.kill(pid, signal.SIGKILL)
            held = [path for path in (folder / "cells").glob(f".*.{pid}-*") if whole_name(path)]
            found["cell" if held else "elsewhere"] += 1
            next_kill = time.monotonic() + draw.uniform(0, 0.6)
        else:
            time.sleep(0.001)
    return found


def comparable(record: CellRecord) -> dict[str, Any]:
    """Return a record without times, memory and machine."""
    kept = {key: value for key, value in record.to_json().items() if key not in _MEASURED}
    if kept["result"] is not None:
        result = kept["result"].items()
        kept["result"] = {key: value for key, value in result if key not in _MEASURED_RESULT}
    return kept


def main() -> None:
    """Kill shards, and compare their records with those of a serial run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=20, help="shards (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="kills (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=40, help="seeds, 4 cells each")
    args = parser.parse_args()
    grid = grid_of(args.seeds)
    preload(training=True)  # once, before any fork
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MBO_GYM_DATA"] = str(Path(scratch) / "data")
        os.environ["MBO_GYM_CHECKPOINT_SECONDS"] = "0"
        whole, parts = Path(scratch) / "whole", Path(scratch) / "parts"
        found = run_and_kill(grid, parts, args.shards, args.kills, random.Random(0))
        os.environ["MBO_GYM_DATA"] = str(Path(scratch) / "other")  # trains every surrogate anew
        os.waitpid(start(grid, whole, None), 0)
        expected = {r.key: comparable(r) for r in ResultStore(whole).records()}
        records = {r.key: comparable(r) for r in ResultStore(parts).records()}
        lines = [
            line for path in parts.glob("results*.jsonl") for line in path.read_text().splitlines()
        ]
        rows = [
            ("shards", str(args.shards)),
            ("shards that ended by an error", str(found["failed"])),
            ("kills", str(found["cell"] + found["elsewhere"])),
            ("kills in the middle of a cell", str(found["cell"])),
            ("cells", str(len(expected))),
            ("cells lost", str(len(expected.keys() - records.keys()))),
            ("lines doubled", str(len(lines) - len(records))),
            ("records that differ", str(sum(expected[k] != r for k, r in records.items()))),
            ("half-written folders left", str(len(list((parts / "cells").glob(".*"))))),
        ]
    title = f"Shards killed at random on {TASK}, against a serial run"
    show(title, ("what", "number"), rows, f"SIGKILL, each shard started anew at once; {where()}")


if __name__ == "__main__":
    main()
