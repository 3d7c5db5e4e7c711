"""DGID against CEM and Adam on a fluid task, by evaluations of the simulator.

python -m experiments.studies dgid --task FluidContain-MPM-v0 --seeds 0-7

Optimisers start from the flat tool, as the searches of the data did, or from random tools, and ask
the simulator (`MeteredOracle`) for every design. DGID learns from the visible rows, and asks it for
samples only; two of its forms also ask it while they sample. The evaluations behind the visible
rows were spent before: the best visible row stands beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import mbo_gym
from diffusion.dgid import DGID, Energy
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.optimisers.searches import (
    Search,
    adam_on_differences,
    cross_entropy,
    follow,
    smoothed_gradient,
)
from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.problem.oracle import MeteredOracle
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Task
from mbo_gym.settings import parse_seeds, with_settings
from mbo_gym.simulators.fluid.rollout import fastest_engine, rollout
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, energy, goal_scores

AT = (4, 16, 32, 64, 128, 160, 320)
"""Numbers of evaluations at which the best score so far is shown."""
RANDOM_SHARE = 0.6
"""Random tools are uniform in this share of the range: beyond it most of them curl up."""
REACH_RAD = 0.1
GUIDED = {"n": 8, "steps": 12}
"""Samples and steps of guidance by the simulator, which costs 8 evaluations a step and sample."""

FORMS: dict[str, tuple[str, str]] = {
    "unguided": ("mixed", "none"),
    "conditional, mixed rows": ("mixed", "conditional"),
    "conditional, matching rows": ("matching", "conditional"),
    "conditional, non-matching rows": ("non_matching", "conditional"),
    "energy of the surrogate": ("mixed", "energy"),
    "energy of the simulator": ("mixed", "energy"),
    "particles, energy of the simulator": ("mixed", "none"),
}
"""Forms of DGID: rows of the prior, and guidance. Forms with the same rows share their prior."""


class FastOracle(FluidOracle):
    """The oracle on the fastest engine at hand; its scores agree with the reference."""

    def _score(self, x: np.ndarray) -> np.ndarray:
        frames_m = rollout(self.scene, x, self.physics, last=SCORED_FRAMES, engine=fastest_engine())
        return goal_scores(frames_m, self.scene.goal_m, self.scene.sigma_m)


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Args:
        name: Optimiser or form.
        curve: (n,) expected best score after 1 .. n scored designs.
        spent: Evaluations before the first of these.
        mean: Mean score of samples; NaN for an optimiser.
    """

    name: str
    curve: np.ndarray
    spent: int = 0
    mean: float = float("nan")


def simulator(task: Task, budget: int | None = None) -> MeteredOracle:
    """Return the simulator of a fluid task behind a counter."""
    oracle = task.hidden_oracle
    assert isinstance(oracle, FluidOracle)
    return MeteredOracle(FastOracle(oracle.space, oracle.scene, oracle.physics), budget)


def search(task: Task, optimiser: str, start: str, seed: int) -> Search:
    """Return the search of an optimiser (``CEM``, ``Adam``) from a start (``flat``, ``random``)."""
    space = task.space
    assert isinstance(space, ContinuousSpace)
    rng = np.random.default_rng(seed)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    first = np.zeros_like(low)
    if start == "random":
        first = RANDOM_SHARE * np.random.default_rng([seed, 1]).uniform(low, high)
    if optimiser == "CEM":
        return cross_entropy(first[None], rng, box=(low, high))
    return adam_on_differences(first[None], rng, reach=REACH_RAD, box=(low, high), energy=energy)


def searched(task: Task, optimiser: str, start: str, seed: int, budget: int) -> Row:
    """Spend a budget on the simulator."""
    ask = simulator(task, budget)

    def score(x: np.ndarray) -> np.ndarray:
        return ask(x.astype(np.float32))

    found = follow(search(task, optimiser, start, seed), score, budget)
    assert ask.calls == budget
    return Row(f"{optimiser}, {start} tool", found.curve[0])


def simulated_energy(
    method: DGID, ask: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> Energy:
    """Return the simulator's energy of features, with smoothed differences as its gradient."""

    def value(z: np.ndarray) -> np.ndarray:
        return energy(ask(method.encoder.decode(z)).astype(np.float64))

    def gradient(z: Tensor) -> Tensor:
        # features are in standard deviations of the visible angles, about 0.5 rad
        found = smoothed_gradient(value, z.numpy(), rng, reach=2 * REACH_RAD)
        return torch.from_numpy(found.astype(np.float32))

    return Energy(lambda z: torch.from_numpy(value(z.numpy())), gradient)


def sampled(method: DGID, task: Task, form: str, seed: int, n: int) -> Row:
    """Sample a fitted DGID in a form, and score the samples by the simulator."""
    ask = simulator(task)
    config = method.config
    settings: dict[str, object] = {"guidance": FORMS[form][1], "particles": False}
    own = None
    if form.endswith("of the simulator"):
        own = simulated_energy(method, ask, np.random.default_rng([seed, 2]))
        settings["sampling.sample_steps"] = GUIDED["steps"]
        n = GUIDED["n"]
        settings["energy.scale"] = 1.0
    if form.startswith("particles"):
        n = config.particle_search.n
        settings["particles"] = True
    method.config = with_settings(config, settings)
    x = method.encoder.designs(method.sample(n, own))
    method.config = config
    spent = ask.calls
    scores = ask(x)
    return Row(f"DGID, {form}", expected_best(scores), spent, float(scores.mean()))


def expected_best(scores: np.ndarray) -> np.ndarray:
    """Return the expected best of 1 .. n of n scores drawn without replacement, (n,)."""
    ascending = np.sort(scores.astype(np.float64))
    n = len(ascending)
    best = np.empty(n)
    for k in range(1, n + 1):
        # chance that rank j is the highest of k: C(j, k - 1) / C(n, k), by a recurrence
        chance = np.zeros(n)
        chance[n - 1] = k / n
        for j in range(n - 2, k - 2, -1):
            chance[j] = chance[j + 1] * (j + 2 - k) / (j + 1)
        best[k - 1] = ascending @ chance
    return best


def rows_of(task_id: str, seed: int, budget: int, n: int, forms: Sequence[str]) -> Iterator[Row]:
    """Yield all rows of a seed."""
    task = mbo_gym.make_task(task_id, relabel=False)
    for optimiser in ("CEM", "Adam"):
        for start in ("random", "flat"):
            yield searched(task, optimiser, start, seed, budget)
    fitted: dict[str, DGID] = {}
    for form in forms:
        rows = FORMS[form][0]
        if rows not in fitted:
            guidance = "both" if "energy of the surrogate" in forms and rows == "mixed" else "none"
            method = make_method("dgid", preset="conditional", rows=rows, guidance=guidance)
            assert isinstance(method, DGID)
            method.fit(task.problem(), Context(seed))
            fitted[rows] = method
        yield sampled(fitted[rows], task, form, seed, n)


def lines(rows: dict[str, list[Row]]) -> Iterator[str]:
    """Yield a Markdown table: means over seeds, and the least and highest last value."""
    heads = "".join(f" {at} |" for at in AT)
    yield f"| search | before |{heads} least to highest | mean of samples |"
    yield "| --- |" + " ---: |" * (len(AT) + 3)
    for name, own in rows.items():
        shown = ""
        for at in AT:
            reached = [row.curve[at - 1] for row in own if len(row.curve) >= at]
            shown += f" {np.mean(reached):.3f} |" if reached else " |"
        last = [row.curve[-1] for row in own]
        mean = "" if np.isnan(own[0].mean) else f"{np.mean([row.mean for row in own]):.3f}"
        spread = f"{min(last):.3f} to {max(last):.3f}"
        yield f"| {name} | {own[0].spent} |{shown} {spread} | {mean} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="FluidContain-MPM-v0")
    parser.add_argument("--seeds", default="0-7")
    parser.add_argument("--budget", type=int, default=320)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    args = parser.parse_args()
    seeds = parse_seeds(args.seeds)
    rows: dict[str, list[Row]] = {}
    for seed in seeds:
        for row in rows_of(args.task, seed, args.budget, args.samples, args.forms):
            rows.setdefault(row.name, []).append(row)
            print(f"seed {seed}: {row.name}, {row.curve[-1]:.3f}", flush=True)
    best = mbo_gym.make_task(args.task).dataset.y.max()
    print(f"\n{args.task}, seeds {args.seeds}; best visible row {best:.3f}. Best score after n")
    print("evaluations, and evaluations before the first:\n")
    print("\n".join(lines(rows)))


if __name__ == "__main__":
    main()
