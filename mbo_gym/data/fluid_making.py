"""Make the rows of a fluid task: whole trajectories of CEM and Adam, for several goals."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mbo_gym.data.fluid import (
    CONTROLS,
    FluidRows,
    angles_from_steps,
    count_water,
    steps_from_angles,
)
from mbo_gym.errors import InvalidData
from mbo_gym.files import store
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import Engine, rollout
from mbo_gym.simulators.fluid.scene import Chain, Point, Scene
from mbo_gym.simulators.fluid.scenes import LIMIT_RAD
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, energy, goal_scores

__all__ = ["RECIPES", "Recipe", "adam", "cem", "make_rows", "n_designs"]

Search: TypeAlias = Generator[np.ndarray, np.ndarray, None]
"""Yields designs (n, D) in rad, and is sent their scores (n,)."""


@dataclass(frozen=True)
class Recipe:
    """What is searched for the rows of a task.

    Args:
        goals_m: Goals, the task's own first; one that stands twice is searched with two seeds.
        cem_steps: Steps of CEM for each goal, of 40 designs each.
        adam_steps: Steps of Adam for each goal, of 9 designs each.
    """

    goals_m: tuple[Point, ...]
    cem_steps: tuple[int, ...] = (25, 25, 14, 14, 14)
    adam_steps: tuple[int, ...] = (20, 20, 10, 10, 10)

    def __post_init__(self) -> None:
        if not len(self.goals_m) == len(self.cem_steps) == len(self.adam_steps):
            raise InvalidData(
                f"a recipe needs numbers of steps for each of {len(self.goals_m)} goals, got "
                f"{self.cem_steps=} and {self.adam_steps=}"
            )


RECIPES = {
    "contain": Recipe(((0.50, 0.42), (0.50, 0.42), (0.40, 0.38), (0.60, 0.38), (0.42, 0.48))),
    "ramp": Recipe(((0.71, 0.17), (0.71, 0.17), (0.66, 0.22), (0.76, 0.22), (0.45, 0.17))),
    "maze": Recipe(((0.22, 0.14), (0.22, 0.14), (0.50, 0.14), (0.75, 0.14), (0.75, 0.34))),
}
"""Goals and lengths of the searches of each scene."""


def cem(
    n_angles: int,
    n_steps: int,
    random: np.random.RandomState,
    *,
    population: int = 40,
    n_elite: int = 8,
    std_rad: float = 0.47,
    least_std_rad: float = 0.03,
) -> Search:
    """Cross-entropy method from the flat tool: fit a diagonal Gaussian to each step's best designs.

    Args:
        n_angles: D.
        n_steps: Number of steps.
        random: Source of random numbers.
        population: Designs of a step.
        n_elite: Designs that the next Gaussian is fitted to.
        std_rad: Standard deviation of the first step.
        least_std_rad: Smallest standard deviation later.
    """
    mean = np.zeros(n_angles)
    std = np.full(n_angles, std_rad)
    for _ in range(n_steps):
        designs = np.clip(
            mean + std * random.normal(size=(population, n_angles)), -LIMIT_RAD, LIMIT_RAD
        )
        scores = yield designs
        best = designs[np.argsort(-scores, kind="stable")[:n_elite]]
        mean = best.mean(axis=0)
        std = np.maximum(best.std(axis=0), least_std_rad)


def adam(
    n_angles: int,
    n_steps: int,
    random: np.random.RandomState,
    *,
    n_pairs: int = 4,
    reach_rad: float = 0.1,
    rate: float = 0.05,
) -> Search:
    """Adam from the flat tool on smoothed differences of the energy (evolution strategies).

    The simulator's own gradient is of no use over an episode, since splashing is chaotic. Each step
    yields the design, then `n_pairs` antithetic pairs around it.

    Args:
        n_angles: D.
        n_steps: Number of steps.
        random: Source of random numbers.
        n_pairs: Pairs of designs whose differences a step averages.
        reach_rad: Standard deviation of a pair's distance from the design.
        rate: Learning rate.
    """
    design = np.zeros(n_angles)
    first, second = np.zeros(n_angles), np.zeros(n_angles)
    for step in range(1, n_steps + 1):
        directions = random.normal(size=(n_pairs, n_angles))
        around = np.concatenate([design + reach_rad * directions, design - reach_rad * directions])
        designs = np.clip(np.concatenate([design[None], around]), -LIMIT_RAD, LIMIT_RAD)
        energies = energy((yield designs)[1:].astype(np.float64))
        slopes = (energies[:n_pairs] - energies[n_pairs:]) / (2 * reach_rad)
        gradient = (slopes[:, None] * directions).mean(axis=0)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient * gradient
        size = np.sqrt(second / (1 - 0.99**step)) + 1e-8
        design = np.clip(design - rate * first / (1 - 0.9**step) / size, -LIMIT_RAD, LIMIT_RAD)


def control_designs(scene: Scene, name: str) -> np.ndarray:
    """Return the designs (n, D) of a control: families that a person would try first.

    ``flat``: all angles 0. ``tilt``: a chain as one straight line, or all paddles alike. ``arc``: a
    chain of constant bend, tilted; or one angle for the paddles above the middle and one for those
    below.

    Args:
        scene: The scene.
        name: One of `CONTROLS`.
    """
    n_angles = scene.tool.n_angles
    if name == "flat":
        return np.zeros((1, n_angles))
    if name == "tilt":
        tilts = np.linspace(-LIMIT_RAD, LIMIT_RAD, 41)
        if isinstance(scene.tool, Chain):
            return np.where(np.arange(n_angles) == 0, tilts[:, None], 0.0)
        return np.repeat(tilts[:, None], n_angles, axis=1)
    tilts = np.linspace(-LIMIT_RAD, LIMIT_RAD, 13)
    if isinstance(scene.tool, Chain):
        # from straight to a full circle, in either direction
        bends = np.linspace(-1.0, 1.0, 13) * 2 * np.pi / n_angles
        pairs = np.stack(np.meshgrid(tilts, bends, indexing="ij"), axis=-1).reshape(-1, 2)
        return np.where(np.arange(n_angles) == 0, pairs[:, :1], pairs[:, 1:])
    above = np.array([y_m > 0.5 for _, y_m in scene.tool.centres_m])
    pairs = np.stack(np.meshgrid(tilts, tilts, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.where(above, pairs[:, :1], pairs[:, 1:])


def one_batch(designs: np.ndarray) -> Search:
    """Yield some designs once."""
    yield designs


def runs_of(scene: Scene, recipe: Recipe, seed: int) -> Iterator[tuple[str, Point, Search]]:
    """Yield name, goal and search of each run: the controls, then CEM and Adam for each goal."""
    for name in CONTROLS:
        yield name, recipe.goals_m[0], one_batch(control_designs(scene, name))
    n_angles = scene.tool.n_angles
    for i, goal_m in enumerate(recipe.goals_m):
        # numpy promises that the streams of RandomState never change
        random = np.random.RandomState([seed, i])
        yield "cem", goal_m, cem(n_angles, recipe.cem_steps[i], random)
        yield "adam", goal_m, adam(n_angles, recipe.adam_steps[i], random)


def n_designs(scene: Scene, recipe: Recipe) -> int:
    """Return how many designs `make_rows` simulates."""
    controls = sum(len(control_designs(scene, name)) for name in CONTROLS)
    return controls + 40 * sum(recipe.cem_steps) + 9 * sum(recipe.adam_steps)


def make_rows(
    scene: Scene,
    recipe: Recipe,
    *,
    seed: int = 0,
    physics: Physics | None = None,
    engine: Engine = "torch",
    partial: Path | None = None,
    progress: Progress | None = None,
) -> FluidRows:
    """Simulate the controls and the searches of a recipe.

    Both engines give the same rows: their scores agree to the last bit.

    Args:
        scene: The scene.
        recipe: Goals and lengths of the searches.
        seed: Seed of the searches.
        physics: Constants of the water; None for the tasks' own.
        engine: Engine that simulates.
        partial: File that keeps finished batches when the work is interrupted, and from which it
            goes on; None keeps nothing.
        progress: Progress reporter, or None.
    """
    physics = physics or Physics()
    ledger = _Ledger(scene, physics, engine, partial)
    bar = (progress or NullProgress()).bar(f"simulating {scene.name}", n_designs(scene, recipe))
    with ledger:
        for number, (name, goal_m, search) in enumerate(runs_of(scene, recipe, seed)):
            ledger.begin(number, name, goal_m)
            _follow(search, ledger.scores, lambda: bar(ledger.n_rows))
    return ledger.rows(recipe.goals_m[0])


def _follow(
    search: Search, score: Callable[[np.ndarray], np.ndarray], after_each: Callable[[], None]
) -> None:
    """Score a search's designs until it ends."""
    try:
        designs = next(search)
        while True:
            scores = score(designs)
            after_each()
            designs = search.send(scores)
    except StopIteration:
        return


class _Ledger:
    """Batches simulated so far; those of an earlier, interrupted call are not simulated again.

    A search is a function of its seed and of the scores it got. It is therefore run from its
    beginning, and each batch that the file knows is answered from there.
    """

    def __init__(self, scene: Scene, physics: Physics, engine: Engine, partial: Path | None):
        self.scene, self.physics, self.engine, self.partial = scene, physics, engine, partial
        self.n_rows = 0
        self._batches: list[dict[str, np.ndarray]] = []
        self._known = _read_batches(partial) if partial and partial.exists() else []
        self._run = self._step = 0
        self._names: list[str] = []
        self._goals_m: list[Point] = []

    def __enter__(self) -> _Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.partial is not None and self._batches:
            store.write_atomic(self.partial, _batches_to_bytes(self._batches))

    def begin(self, run: int, name: str, goal_m: Point) -> None:
        """Begin a run."""
        self._run, self._step = run, 0
        self._names.append(name)
        self._goals_m.append(goal_m)

    def scores(self, designs_rad: np.ndarray) -> np.ndarray:
        """Return the scores (n,) of a batch of designs under the goal of the run."""
        angles = steps_from_angles(designs_rad, LIMIT_RAD)
        place = len(self._batches)
        known = self._known[place] if place < len(self._known) else None
        if known is None or not np.array_equal(known["angles"], angles):
            known = self._simulate(angles)
        self._batches.append(known)
        self._step += 1
        self.n_rows += len(angles)
        return known["own"]

    def _simulate(self, angles: np.ndarray) -> dict[str, np.ndarray]:
        frames_m = rollout(
            self.scene,
            angles_from_steps(angles),
            self.physics,
            engine=self.engine,
            last=SCORED_FRAMES,
        )
        occupied, square, count = count_water(frames_m)
        n, sigma_m = len(angles), self.scene.sigma_m
        return {
            "angles": angles,
            "run": np.full(n, self._run, dtype=np.uint8),
            "step": np.full(n, self._step, dtype=np.uint8),
            "own": goal_scores(frames_m, self._goals_m[-1], sigma_m),
            "wanted": goal_scores(frames_m, self._goals_m[0], sigma_m),
            "occupied": occupied,
            "square": square,
            "count": count,
        }

    def rows(self, goal_m: Point) -> FluidRows:
        """Return all batches as one table."""
        columns = {
            name: np.concatenate([batch[name] for batch in self._batches])
            for name in self._batches[0]
        }
        return FluidRows(
            **columns,
            names=np.array(self._names),
            goals_m=np.array(self._goals_m, dtype=np.float64),
            sigma_m=np.array(self.scene.sigma_m, dtype=np.float64),
        )


def _batches_to_bytes(batches: list[dict[str, np.ndarray]]) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{i}.{name}": values for i, batch in enumerate(batches) for name, values in batch.items()
    }
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _read_batches(path: Path) -> list[dict[str, np.ndarray]]:
    batches: list[dict[str, np.ndarray]] = []
    for key, values in store.load_npz(path.read_bytes()).items():
        place, _, name = key.partition(".")
        if int(place) == len(batches):
            batches.append({})
        batches[int(place)][name] = values
    return batches
