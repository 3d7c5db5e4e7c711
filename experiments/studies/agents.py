"""Agents of d3rlpy in the environment: what a policy is worth over constant and random steps.

python -m experiments.studies agents
python -m experiments.studies agents --what settings
python -m experiments.studies agents --summary

The surrogate of a task and seed is fitted once, and all agents are trained and search in its
environment; so they differ by the policy alone. Scores are median normalised scores over the
distinct designs among 256, which the search from the 256 best visible designs ends at.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mbo_gym
from agents.rl.search import AgentEnvConfig, fit_surrogate_of
from agents.rl.steps import ConstantStep, RandomStep
from experiments.studies.common import append_rows, read_rows
from mbo_gym.methods.base import Context
from mbo_gym.settings import Choice

OUTPUT = Path("experiments/results/agents")
K = 256
AGENTS = {
    "constant step": ("constant_step", {}),
    "random steps": ("random_step", {}),
    **{
        name: (f"d3rlpy_{name}", {})
        for name in ("bc", "iql", "cql", "td3bc", "rebrac", "awac", "dt")
    },
}
SETTINGS = {
    "constant step": ("constant_step", {}),
    "random steps": ("random_step", {}),
    "iql": ("d3rlpy_iql", {}),
    "iql, rewards as they are": ("d3rlpy_iql", {"episodes.standardise_rewards": False}),
    "iql, discount 0.9": ("d3rlpy_iql", {"learner.discount": 0.9}),
    "iql, discount 0.99": ("d3rlpy_iql", {"learner.discount": 0.99}),
    "iql, 200 updates": ("d3rlpy_iql", {"learner.train_steps": 200}),
    "iql, 2000 updates": ("d3rlpy_iql", {"learner.train_steps": 2000}),
    "iql, expectile 0.9": ("d3rlpy_iql", {"learner.expectile": 0.9}),
    "iql, 200 episodes": ("d3rlpy_iql", {"episodes.n_trajectories": 200}),
    "iql, starts of the best 1 %": ("d3rlpy_iql", {"episodes.p": 1.0}),
    "iql, published": ("d3rlpy_iql", {"preset": "paper_short"}),
    "td3bc": ("d3rlpy_td3bc", {}),
    "td3bc, discount 0": ("d3rlpy_td3bc", {"learner.discount": 0.0}),
    "td3bc, published": ("d3rlpy_td3bc", {"preset": "paper_short"}),
    "cql, published": ("d3rlpy_cql", {"preset": "paper_short"}),
}
WHAT: Mapping[str, tuple[Mapping[str, tuple[str, dict[str, Any]]], tuple[str, ...], int]] = {
    "all": (
        AGENTS,
        (
            "TFBind8-Exact-v0",
            "Levy-Exact-v1",
            "Rastrigin-Exact-v1",
            "Superconductor-RandomForest-v1",
            "Rosenbrock-Exact-v1",
            "TFBind8-Exact-v1",
            "Ackley-Exact-v2",
            "Griewank-Exact-v2",
            "TFBind10-Exact-v0",
            "FluidContain-MPM-v0",
            "Formulation-Exact-v0",
        ),
        8,
    ),
    "settings": (SETTINGS, ("TFBind8-Exact-v0", "Levy-Exact-v1"), 1),
}
"""Agents, tasks and number of seeds, by the name of a part."""


def outcomes_of(
    task_id: str,
    seed: int,
    labels: Sequence[str],
    agents: Mapping[str, tuple[str, dict[str, Any]]],
    surrogate: str,
) -> Iterator[dict[str, Any]]:
    """Fit the surrogate of a task and seed, and train the agents in its environment."""
    task = mbo_gym.make_task(task_id)
    problem = task.problem()
    context = Context(seed)
    config = AgentEnvConfig(surrogate=Choice(surrogate))
    fitted = fit_surrogate_of(config, problem, context)
    for label in labels:
        name, settings = agents[label]
        method: Any = mbo_gym.make_method(name, **settings)
        started = time.perf_counter()
        method.start(problem, context)
        if isinstance(method, (ConstantStep, RandomStep)):
            method.take(fitted)
        else:
            method.learn(fitted)
        proposals = method.propose(K)
        seconds = time.perf_counter() - started
        before = mbo_gym.evaluate(task, task.dataset.top(K).x)
        after = mbo_gym.evaluate(task, proposals.x)
        assert before.distinct is not None
        assert after.distinct is not None
        yield {
            "task": task_id,
            "surrogate": surrogate,
            "agent": label,
            "seed": seed,
            "start": f"{before.distinct.p50:.4f}",
            "p50": f"{after.distinct.p50:.4f}",
            "p100": f"{after.distinct.p100:.4f}",
            "prediction": f"{proposals.criterion.mean():.3f}",
            "seconds": f"{seconds:.1f}",
        }


def summary(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield a Markdown table: mean and standard error over the seeds, a row an agent."""
    tasks = list(dict.fromkeys((row["task"], row["surrogate"]) for row in rows))
    names = [task.replace("-Exact", "").replace("-RandomForest", "") for task, _ in tasks]
    if len({surrogate for _, surrogate in tasks}) > 1:
        names = [f"{name}, {s}" for name, (_, s) in zip(names, tasks, strict=True)]
    yield f"| agent | {' | '.join(names)} | seconds |"
    yield "|---|" + "---|" * (len(tasks) + 1)
    starts = [next(r["start"] for r in rows if (r["task"], r["surrogate"]) == t) for t in tasks]
    yield f"| the designs it starts from | {' | '.join(s[:5] for s in starts)} | |"
    for agent in dict.fromkeys(row["agent"] for row in rows):
        own = [row for row in rows if row["agent"] == agent]
        cells = []
        for task in tasks:
            scores = [float(r["p50"]) for r in own if (r["task"], r["surrogate"]) == task]
            error = np.std(scores, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else None
            known = f"{np.mean(scores):.3f}" if scores else ""
            cells.append(known if error is None else f"{known} ± {error:.3f}")
        seconds = np.median([float(row["seconds"]) for row in own])
        yield f"| {agent} | {' | '.join(cells)} | {seconds:.0f} |"


def main() -> None:
    """Run what is not done yet, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=WHAT, default="all", help="part of the study")
    parser.add_argument("--tasks", default="", help="task ids with commas")
    parser.add_argument("--agents", default="", help="labels with semicolons")
    parser.add_argument("--seeds", type=int, default=0, help="number of seeds")
    parser.add_argument("--surrogate", default="auto", help="surrogate of the environment")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--summary", action="store_true", help="only show the table")
    args = parser.parse_args()
    agents, tasks, seeds = WHAT[args.what]
    output = args.output / f"{args.what}.csv"
    if not args.summary:
        torch.set_num_threads(1)
        for seed in range(args.seeds or seeds):
            for task_id in args.tasks.split(",") if args.tasks else tasks:
                done = {
                    row["agent"]
                    for row in read_rows(output)
                    if (row["task"], row["surrogate"], int(row["seed"]))
                    == (task_id, args.surrogate, seed)
                }
                chosen = args.agents.split(";") if args.agents else agents
                if left := [label for label in chosen if label not in done]:
                    for row in outcomes_of(task_id, seed, left, agents, args.surrogate):
                        append_rows(output, [row])
    print("\n".join(summary(read_rows(output))))


if __name__ == "__main__":
    main()
