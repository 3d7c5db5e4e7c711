"""CEM and Adam on the simulator and on the learned one, from the flat tool or from random tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.optimisers.searches import (
    Search,
    adam_on_differences,
    adam_on_gradient,
    cross_entropy,
    follow,
)
from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.problem.oracle import MeteredOracle
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Task
from mbo_gym.simulators.fluid.rollout import fastest_engine, rollout
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, energy, goal_scores
from mbo_gym.surrogates.gns.network import FluidNetwork
from mbo_gym.surrogates.gns.surrogate import learned_scores

__all__ = ["FastOracle", "LearnedSimulator", "oracle_of", "search", "searched", "simulator"]

RANDOM_SHARE = 0.6
"""Random tools are uniform in this share of the range: beyond it most of them curl up."""
REACH_RAD = 0.1

Scores: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Function from designs (n, d) to scores (n,)."""


class FastOracle(FluidOracle):
    """The oracle on the fastest engine at hand; its scores agree with the reference."""

    def _score(self, x: np.ndarray) -> np.ndarray:
        frames_m = rollout(self.scene, x, self.physics, last=SCORED_FRAMES, engine=fastest_engine())
        return goal_scores(frames_m, self.scene.goal_m, self.scene.sigma_m)


class LearnedSimulator:
    """Scores and their gradients by the learned simulator; both are counted by `calls`.

    Args:
        network: Learned simulator.
        task: Fluid task whose scene and goal it scores.
    """

    def __init__(self, network: FluidNetwork, task: Task) -> None:
        self.network = network
        self.scene = oracle_of(task).scene

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return the learned scores (n,) of designs (n, d)."""
        with torch.no_grad():
            return self._scores(torch.from_numpy(x.astype(np.float32))).numpy()

    def energy_gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients (n, d) of the energy -log(score + 0.001) at designs (n, d)."""
        angles = torch.from_numpy(x.astype(np.float32)).requires_grad_()
        with torch.enable_grad():  # samplers switch it off
            lost = -(self._scores(angles) + 1e-3).log().sum()
            (gradient,) = torch.autograd.grad(lost, angles)
        return gradient.numpy()

    def _scores(self, angles: Tensor) -> Tensor:
        return learned_scores(self.network, self.scene, angles)


def oracle_of(task: Task) -> FluidOracle:
    """Return the oracle of a fluid task."""
    oracle = task.hidden_oracle
    assert isinstance(oracle, FluidOracle)
    return oracle


def simulator(task: Task, budget: int | None = None) -> MeteredOracle:
    """Return the simulator of a fluid task behind a counter."""
    oracle = oracle_of(task)
    return MeteredOracle(FastOracle(oracle.space, oracle.scene, oracle.physics), budget)


def search(
    task: Task,
    optimiser: str,
    start: str,
    seed: int,
    gradient: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Search:
    """Return the search of an optimiser from a start.

    Args:
        task: Fluid task.
        optimiser: ``CEM`` or ``Adam``.
        start: ``flat`` or ``random``.
        seed: Seed.
        gradient: Gradient of the energy that Adam goes down; None for smoothed differences.
    """
    space = task.space
    assert isinstance(space, ContinuousSpace)
    rng = np.random.default_rng(seed)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    first = np.zeros_like(low)
    if start == "random":
        first = RANDOM_SHARE * np.random.default_rng([seed, 1]).uniform(low, high)
    if optimiser == "CEM":
        return cross_entropy(first[None], rng, box=(low, high))
    if gradient is not None:
        return adam_on_gradient(first[None], gradient, box=(low, high))
    return adam_on_differences(first[None], rng, reach=REACH_RAD, box=(low, high), energy=energy)


def searched(task: Task, optimiser: str, start: str, seed: int, budget: int) -> np.ndarray:
    """Spend a budget on the simulator; return the best score after each evaluation, (budget,)."""
    ask = simulator(task, budget)

    def score(x: np.ndarray) -> np.ndarray:
        return ask(x.astype(np.float32))

    found = follow(search(task, optimiser, start, seed), score, budget)
    assert ask.calls == budget
    return found.curve[0]
