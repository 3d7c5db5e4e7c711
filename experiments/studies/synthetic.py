"""Synthetic tasks: what controls reach on versions 1 and 2.

python -m experiments.studies synthetic
python -m experiments.studies synthetic --summary
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import mbo_gym
from experiments.studies.common import append_rows, read_rows
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import METHODS
from mbo_gym.problem.task import Task
from mbo_gym.settings import parse_seeds

OUTPUT = Path("experiments/results/synthetic/controls.csv")
METHOD_NAMES = (
    *("random", "top_k", "mean_design", "random_filtered"),
    *("linear_corner", "trend", "matched"),
)
TASK_IDS = (
    *(f"{name}-Exact-v1" for name in ("Levy", "Rastrigin", "Rosenbrock")),
    *(f"{name}-Exact-v2" for name in ("Levy", "Rastrigin", "Rosenbrock", "Griewank", "Ackley")),
)
K = 256


def registered(names: Sequence[str]) -> list[str]:
    """Return the methods that are registered, and print the others.

    Args:
        names: Names of methods, each alone or as ``name:preset``.
    """
    found = []
    for name in names:
        if name.partition(":")[0] in METHODS:
            found.append(name)
        else:
            print(f"{name} is left out: no method has that name", flush=True)
    return found


def run_cell(name: str, task: Task, seed: int) -> dict[str, str]:
    """Return the record of a method on a task.

    Args:
        name: Name of the method, alone or as ``name:preset``.
        task: The task.
        seed: Seed of the method.
    """
    method, _, preset = name.partition(":")
    made = mbo_gym.make_method(method, preset=preset or None, task_id=task.info.task_id)
    made.fit(task.problem(), Context(seed))
    scores = mbo_gym.evaluate(task, made.propose(K).x).overall
    return {
        "method": name,
        "task": task.info.task_id,
        "seed": str(seed),
        "p50": f"{scores.p50:.6g}",
        "p100": f"{scores.p100:.6g}",
    }


def summary(records: Sequence[Mapping[str, str]]) -> str:
    """Return a table in Markdown: p50 of each method on each task, mean over seeds.

    The last rows are D(best), the best visible score, and the ceiling of each task.
    """
    ids = [task_id for task_id in TASK_IDS if any(r["task"] == task_id for r in records)]
    ids += sorted({r["task"] for r in records} - set(ids))
    lines = [
        f"| method | {' | '.join(task_id.replace('-Exact', '') for task_id in ids)} |",
        f"| --- {'| --- ' * len(ids)}|",
    ]
    names = {r["method"] for r in records}
    first = [name for name in METHOD_NAMES if name in names]
    for name in (*first, *sorted(names - set(first))):
        values = []
        for task_id in ids:
            own = [float(r["p50"]) for r in records if (r["method"], r["task"]) == (name, task_id)]
            values.append(float(np.mean(own)) if own else float("nan"))
        lines.append(_line(name, values))
    tasks = [mbo_gym.make_task(task_id) for task_id in ids]
    lines.append(_line("D(best)", [task.info.d_best for task in tasks]))
    ceilings = []
    for task in tasks:
        ceiling = np.nan if task.ceiling is None else task.normalise(task.ceiling.scores[:1])[0]
        ceilings.append(float(ceiling))
    lines.append(_line("ceiling", ceilings))
    return "\n".join(lines)


def _line(name: str, values: Sequence[float]) -> str:
    shown = " | ".join("-" if np.isnan(value) else f"{value:.3f}" for value in values)
    return f"| {name} | {shown} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", default=",".join(METHOD_NAMES), help="names, each alone or as name:preset"
    )
    parser.add_argument("--tasks", default=",".join(TASK_IDS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="finished cells are left")
    parser.add_argument("--summary", action="store_true", help="print the table and end")
    args = parser.parse_args()
    if not args.summary:
        done = {(r["method"], r["task"], r["seed"]) for r in read_rows(args.output)}
        methods = registered(args.methods.split(","))
        for task_id in args.tasks.split(","):
            task = mbo_gym.make_task(task_id)
            for name in methods:
                for seed in parse_seeds(args.seeds):
                    if (name, task_id, str(seed)) not in done:
                        append_rows(args.output, [run_cell(name, task, seed)])
    print(summary(read_rows(args.output)))


if __name__ == "__main__":
    main()
