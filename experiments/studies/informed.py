"""TFBind10: what the readings themselves allow. Choosers that see readings no method may see.

python -m experiments.studies informed
python -m experiments.studies informed --summary

Each kind of ridge regression on letters is fitted on the task's visible rows (50,000, the worse half),
and on 50,000 and 250,000 readings of all designs, the best ones among them. Its best 256 designs that
the task does not show are scored. The last two show what no data set of the worse half can give.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mbo_gym
from experiments.studies.common import append_rows, read_rows
from mbo_gym.methods.base import Context
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, search
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.task import Task
from mbo_gym.surrogates.sequence import KINDS, SequenceRidgeConfig, SequenceRidgeSurrogate

OUTPUT = Path("experiments/results/informed/outcomes.csv")
TASKS = ("TFBind10-Exact-v0", "TFBind10-Exact-v1")
VISIBLE = 50_000
SHOWN: dict[str, int | None] = {
    "worse half, 50,000": None,
    "all, 50,000": 50_000,
    "all, 250,000": 250_000,
}
"""Readings that a chooser sees: the task's visible ones, or so many of all."""
K = 256


def readings(task: Task, n: int) -> OfflineDataset:
    """Ask the oracle for the scores of `n` random designs."""
    x = task.space.every_design(4**10)
    assert x is not None
    x = x[np.random.default_rng(0).permutation(len(x))[:n]]
    y = task.oracle()(x)
    known = np.isfinite(y)
    return OfflineDataset(x[known], y[known])


def outcomes_of(task_id: str, shown: str) -> Iterator[dict[str, Any]]:
    """Fit each kind on some readings, and score its best designs that the task does not show."""
    task = mbo_gym.make_task(task_id, max_rows=VISIBLE)
    seen = task.problem()
    if (n := SHOWN[shown]) is not None:
        seen = replace(seen, dataset=readings(task, n))
    for kind in KINDS:
        surrogate = SequenceRidgeSurrogate(SequenceRidgeConfig((kind,), held_out=0.0))
        fitted = Fitted.fit(seen, surrogate, "z_score", Context(0))
        fitted = replace(fitted, problem=task.problem())
        proposals, _ = search(fitted, K, SearchConfig(), climb=False)
        scores = mbo_gym.evaluate(task, proposals.x).overall
        assert scores is not None
        yield {
            "task": task_id,
            "shown": shown,
            "kind": kind,
            "r2": f"{surrogate.r2[kind]:.4f}",
            "p50": f"{scores.p50:.4f}",
            "p100": f"{scores.p100:.4f}",
        }


def summary(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield a Markdown table: leave-one-out R2 and median score of each kind."""
    yield f"| task | shown | {' | '.join(kind.replace('_', ' and ') for kind in KINDS)} | median |"
    yield "|---|---|" + "---|" * (len(KINDS) + 1)
    for task, shown in dict.fromkeys((row["task"], row["shown"]) for row in rows):
        own = {r["kind"]: r for r in rows if (r["task"], r["shown"]) == (task, shown)}
        cells = [f"{own[k]['p50'][:5]} (R2 {own[k]['r2'][:5]})" if k in own else "" for k in KINDS]
        middle = np.median([float(row["p50"]) for row in own.values()])
        yield f"| {task} | {shown} | {' | '.join(cells)} | {middle:.3f} |"


def main() -> None:
    """Run what is not done yet, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="task ids with commas")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--summary", action="store_true", help="only show the table")
    args = parser.parse_args()
    if not args.summary:
        done = {(row["task"], row["shown"]) for row in read_rows(args.output)}
        for task_id in args.tasks.split(","):
            for shown in SHOWN:
                if (task_id, shown) not in done:
                    append_rows(args.output, list(outcomes_of(task_id, shown)))
    print("\n".join(summary(read_rows(args.output))))


if __name__ == "__main__":
    main()
