"""How well the learned simulator of water tells the scores of designs, beside a plain network.

    python -m experiments.studies gns [--weights FILE] [--designs N] [--tasks ...] [--pictures FOLDER]

Three groups of designs of each fluid task: uniform in the space, near the flat tool (standard
deviation 0.3 rad), and drawn from the trajectories of three CEM searches under the task's goal, with
seeds that no shipped row has. The plain network (2 x 256) is fitted on the task's visible rows, of
designs and of the goals that they were searched for, and asked about the same designs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

import mbo_gym
from experiments.benchmarks.common import show
from mbo_gym.data.fluid_making import cem
from mbo_gym.progress.bars import RichProgress
from mbo_gym.simulators.fluid.draw import Episode, save_strip
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import fastest_engine, rollout
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.scenes import LIMIT_RAD, SCENES
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, goal_scores
from mbo_gym.surrogates.gns.network import SHIPPED, FluidNetwork, load_network
from mbo_gym.surrogates.gns.surrogate import learned_scores
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.tasks.fluid import task_id_of

SEED = 1000
N_SEARCHES = 3  # single searches differ much in how fast they converge
CEM_STEPS = {"contain": 20, "ramp": 20, "maze": 24}
NEAR_STD_RAD = 0.3
FLOORS = {"CEM": (0.9, 0.8), "all": (-1.0, 0.7)}
"""Least Pearson and Spearman correlation that shipped weights must reach."""


@dataclass(frozen=True)
class Agreement:
    """How well predictions of a group of designs agree with their scores.

    Args:
        pearson: Pearson's correlation.
        spearman: Spearman's rank correlation.
        upper: Spearman's among the better half of the designs.
        rmse: Root mean squared difference.
        score: Mean score.
        prediction: Mean prediction.
    """

    pearson: float
    spearman: float
    upper: float
    rmse: float
    score: float
    prediction: float


def agreement(y: np.ndarray, prediction: np.ndarray) -> Agreement:
    """Compare scores (N,) with predictions (N,)."""
    better = y >= np.median(y)
    return Agreement(
        float(pearsonr(y, prediction).statistic),
        float(spearmanr(y, prediction).statistic),
        float(spearmanr(y[better], prediction[better]).statistic),
        float(np.sqrt(np.mean((y - prediction) ** 2))),
        float(y.mean()),
        float(prediction.mean()),
    )


def true_scores(scene: Scene, angles_rad: np.ndarray) -> np.ndarray:
    """Return the simulator's scores (N,) of designs (N, D)."""
    frames_m = rollout(scene, angles_rad, Physics(), engine=fastest_engine(), last=SCORED_FRAMES)
    return goal_scores(frames_m, scene.goal_m, scene.sigma_m)


def trajectory(scene: Scene, steps: int, seed: int) -> np.ndarray:
    """Return all designs (40 * steps, D) of a CEM search, in their order."""
    search = cem(scene.tool.n_angles, steps, np.random.RandomState(seed))
    designs = [next(search)]
    while True:
        try:
            designs.append(search.send(true_scores(scene, designs[-1])))
        except StopIteration:
            return np.concatenate(designs)


def groups(scene: Scene, n: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the designs (n, D) of each group."""
    random = np.random.RandomState(SEED)
    shape = n, scene.tool.n_angles
    yield "uniform", random.uniform(-LIMIT_RAD, LIMIT_RAD, shape)
    near = NEAR_STD_RAD * random.normal(size=shape)
    yield "near flat", np.clip(near, -LIMIT_RAD, LIMIT_RAD)
    seeds = range(SEED, SEED + N_SEARCHES)
    searched = np.concatenate([trajectory(scene, CEM_STEPS[scene.name], seed) for seed in seeds])
    yield "CEM", searched[np.sort(random.permutation(len(searched))[:n])]


def plain_predictions(scene: Scene, angles_rad: np.ndarray) -> np.ndarray:
    """Fit a plain network on the task's visible designs and goals; predict scores (N,)."""
    task = mbo_gym.make_task(task_id_of(scene.name), relabel=False)
    data = task.dataset
    assert data.context is not None
    scale = data.context.std(axis=0) + 1e-6
    middle = data.context.mean(axis=0)
    goals = np.tile(np.asarray(scene.goal_m), (len(angles_rad), 1))

    def features(x: np.ndarray, context: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([x, (context - middle) / scale], 1)).float()

    network = make_surrogate("mlp")
    y = torch.from_numpy(data.score_scale.standardise(data.y))
    network.fit(features(data.x, data.context), y, seed=0)
    with torch.no_grad():
        standardised = network.predict(features(angles_rad, goals)).numpy()
    return data.score_scale.restore(standardised)


def gns_predictions(network: FluidNetwork, scene: Scene, angles_rad: np.ndarray) -> np.ndarray:
    """Return the learned simulator's scores (N,) of designs (N, D), not calibrated."""
    with torch.no_grad():
        angles = torch.from_numpy(angles_rad.astype(np.float32))
        return learned_scores(network, scene, angles).numpy()


def draw(network: FluidNetwork, scene: Scene, angles_rad: np.ndarray, path: Path) -> None:
    """Draw the simulator's and the learned episode of designs (n, D), one above the other."""
    physics = network.physics
    segments_m = scene.segments(angles_rad.astype(np.float32))
    true_m = rollout(scene, angles_rad, physics, engine=fastest_engine())
    start = torch.from_numpy(scene.particles(physics))
    with torch.no_grad():
        tools = torch.from_numpy(segments_m)
        learned_m = network.rollout(start, tools, scene.n_frames(physics)).numpy()
    episodes = []
    for segments, frames, guess in zip(segments_m, true_m, learned_m, strict=True):
        episodes += [Episode("simulator", segments, frames), Episode("learned", segments, guess)]
    save_strip(path, scene, physics, episodes)


def agreements(
    network: FluidNetwork, scene: Scene, designs: dict[str, np.ndarray], *, control: bool
) -> tuple[dict[tuple[str, str], Agreement], np.ndarray]:
    """Return the agreement by (group, model), and all scores (G, n) by the simulator."""
    score = np.stack([true_scores(scene, group) for group in designs.values()])
    predicted = {
        "gns": np.stack([gns_predictions(network, scene, group) for group in designs.values()])
    }
    if control:
        flat = plain_predictions(scene, np.concatenate(list(designs.values())))
        predicted["mlp"] = flat.reshape(score.shape)
    found = {}
    for model, values in predicted.items():
        for i, group in enumerate(designs):
            found[group, model] = agreement(score[i], values[i])
        found["all", model] = agreement(score.ravel(), values.ravel())
    return found, score


def floors_missed(found: dict[tuple[str, str], Agreement]) -> list[str]:
    """Say in a line for each floor of the learned simulator that is missed what was reached."""
    missed = []
    for group, (pearson, spearman) in FLOORS.items():
        got = found[group, "gns"]
        if got.pearson < pearson:
            missed.append(f"{group}: Pearson {got.pearson:.3f}, floor {pearson}")
        if got.spearman < spearman:
            missed.append(f"{group}: Spearman {got.spearman:.3f}, floor {spearman}")
    return missed


def study(args: argparse.Namespace, scene: Scene, network: FluidNetwork) -> list[str]:
    """Print the agreement of a task's groups, draw two designs; return the floors missed."""
    designs = dict(groups(scene, args.designs))
    started = time.process_time()
    found, score = agreements(network, scene, designs, control=not args.no_control)
    seconds = (time.process_time() - started) / score.size
    cells = [
        [f"{group}, {model}"]
        + [f"{x:.3f}" for x in (a.pearson, a.spearman, a.upper, a.rmse, a.score, a.prediction)]
        for (group, model), a in found.items()
    ]
    columns = ["designs, model", "Pearson", "Spearman", "best half", "rmse", "score", "predicted"]
    note = (
        f"{args.designs} designs a group, {N_SEARCHES} CEM searches; {seconds:.2f} CPU s a design, of which "
        "the simulator takes about 0.02. Best half: Spearman among the better half of the designs."
    )
    show(task_id_of(scene.name), columns, cells, note)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        order = np.argsort(-score[-1])  # of the CEM search
        drawn = designs["CEM"][order[[0, args.designs // 2]]]
        draw(network, scene, drawn, args.pictures / f"gns_{scene.name}.png")
    missed = floors_missed(found)
    return [f"{task_id_of(scene.name)}, {line}" for line in missed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--designs", type=int, default=40, help="designs of a group")
    parser.add_argument("--tasks", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--pictures", type=Path, help="folder of pictures; none without")
    parser.add_argument("--no-control", action="store_true", help="leave the plain network out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network, missed = load_network(args.weights), []
    with RichProgress() as progress:
        for name in progress.track(args.tasks, "tasks"):
            missed += study(args, SCENES[name], network)
    print("\n".join(["Floors missed:", *missed]) if missed else "All floors are reached.")


if __name__ == "__main__":
    main()
