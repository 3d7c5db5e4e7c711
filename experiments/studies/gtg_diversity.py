"""How diverse GTG's trajectories, samples and proposals are: coverage of the designs, and distances
between them.

python -m experiments.studies gtg_diversity --tasks TFBind8-Exact-v0 --seeds 0-3
"""

from __future__ import annotations

import argparse

import numpy as np

import mbo_gym
from diffusion.gtg import GTG
from experiments.benchmarks.common import show
from mbo_gym.evaluation.distances import diversity
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.bars import RichProgress
from mbo_gym.settings import parse_options, parse_seeds

FORMULATIONS = {
    "default": [],
    "without scores": ["model.condition=none"],
    "the paper's trajectories": ["trajectories.eps=0.05", "trajectories.p=80.0"],
}
DRAWN = 2000


def facts(problem: OfflineProblem, walks: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Describe walks (N, H, *shape).

    Returns:
        Distinct designs over all of them, as a share of the designs there are in them; the mean
        distance between two of any walks (of 2,000 drawn), between two of one walk (of 50 drawn),
        and from one step to the next (of the same).
    """
    x = walks.reshape(-1, *walks.shape[2:])
    distinct = len(first_of_each_design(x)) / len(x)
    some = x[rng.choice(len(x), size=min(DRAWN, len(x)), replace=False)]
    drawn = walks[rng.choice(len(walks), size=min(50, len(walks)), replace=False)]
    hops = [
        diversity(problem.space, problem.dataset, walk[t : t + 2])
        for walk in drawn
        for t in range(len(walk) - 1)
    ]
    within = [diversity(problem.space, problem.dataset, walk) for walk in drawn]
    between = diversity(problem.space, problem.dataset, some)
    return [distinct, between, float(np.mean(within)), float(np.mean(hops))]


def measure(task_id: str, options: list[str], seeds: list[int]) -> list[tuple[str, list[float]]]:
    """Return the mean facts over seeds of the trajectories trained on, of those sampled, and of the
    proposals."""
    problem, found = mbo_gym.make_task(task_id).problem(), []
    for seed in seeds:
        method, rng = (
            make_method("gtg", task_id=task_id, **parse_options(options, "--set")),
            np.random.default_rng(seed),
        )
        assert isinstance(method, GTG)
        with RichProgress([], f"{task_id}, {options}, seed {seed}: ") as progress:
            method.fit(problem, Context(seed, progress=progress))
            encoder = method.encoder
            first = method.config.model.context_length
            new = method.sample(method.config.n_samples)[:, first:, : encoder.n_features]
            proposals = method.propose(256).x
        made = method.trajectories[:, :, : encoder.n_features]
        walks = [
            encoder.decode(z.flatten(0, 1).cpu().numpy()).reshape(*z.shape[:2], -1)
            for z in (made, new)
        ]
        covered = len(first_of_each_design(walks[0].reshape(-1, walks[0].shape[-1]))) / len(
            problem.dataset
        )
        among = diversity(problem.space, problem.dataset, proposals)
        distinct = len(first_of_each_design(proposals)) / len(proposals)
        rows = [[covered, *facts(problem, w, rng)] for w in walks]
        rows[1][0] = float("nan")
        found.append([*rows, [float("nan"), distinct, among, float("nan"), float("nan")]])
    names = ("trained on", "sampled", "proposed")
    return list(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="TFBind8-Exact-v0,Superconductor-RandomForest-v1")
    parser.add_argument("--seeds", default="0-1")
    args = parser.parse_args()
    rows = []
    for task_id in args.tasks.split(","):
        for name, options in FORMULATIONS.items():
            for stage, figures in measure(task_id, options, parse_seeds(args.seeds)):
                shown = ["-" if np.isnan(f) else f"{f:.3f}" for f in figures]
                rows.append([f"{task_id.split('-')[0]}, {name}: {stage}", *shown])
    columns = ["trajectories", "covered", "distinct", "distance", "in a walk", "of a step"]
    note = (
        "covered: share of the visible designs; distinct: share of the designs of all walks; "
        "distance: mean of two of them (as in mbo_gym.evaluation.distances), of two of one walk, "
        "and from one step to the next; proposed: 256 designs; "
        f"mean of seeds {args.seeds} on {args.tasks}"
    )
    show("Diversity of GTG", columns, rows, note)


if __name__ == "__main__":
    main()
