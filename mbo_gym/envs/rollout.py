"""Whole trajectories: follow a policy from given designs, without starting anew at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.envs.process import Process, State

__all__ = ["Policy", "RandomSteps", "Rollout", "constant_steps", "roll_out"]

Policy: TypeAlias = Callable[[Tensor], "Tensor | np.ndarray"]
"""Function of observations (B, o) that returns actions (B, m)."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """B trajectories of T steps.

    Args:
        z: (B, T+1, d) features.
        observations: (B, T+1, o).
        actions: (B, T, m).
        values: (B, T+1) what rewards are differences of.
        rewards: (B, T).
    """

    z: Tensor
    observations: Tensor
    actions: Tensor
    values: Tensor
    rewards: Tensor


def roll_out(
    process: Process,
    state: State,
    policy: Policy,
    steps: int,
    watch: Callable[[State], None] | None = None,
) -> tuple[Rollout, State]:
    """Follow a policy; return the trajectories and the states at their ends.

    Args:
        process: Decision process of an environment.
        state: First states of B designs.
        policy: Policy.
        steps: T, at least 1.
        watch: Function that is called with each state, the first and the last too.
    """
    states = [state]
    actions = []
    for _ in range(steps):
        if watch:
            watch(state)
        action = torch.as_tensor(
            policy(state.observation), dtype=torch.float32, device=process.device
        )
        actions.append(action)
        state, _ = process.step(state, action)
        states.append(state)
    if watch:
        watch(state)
    values = torch.stack([s.value for s in states], dim=1)  # (B, T+1)
    trajectories = Rollout(
        torch.stack([s.z for s in states], dim=1),
        torch.stack([s.observation for s in states], dim=1),
        torch.stack(actions, dim=1),
        values,
        values.diff(dim=1),
    )
    return trajectories, state


class RandomSteps:
    """Policy of random step sizes, without a look at the design.

    A step is a uniform draw for each feature, in [0, 1] along a gradient and in [-1, 1] without
    one, times a size for each design, which is drawn once, in [0, 1]. Trajectories of large and of
    small steps therefore stand beside each other.

    Args:
        process: Decision process of an environment.
        n: B, number of designs.
        generator: Source of randomness, on the CPU.
    """

    def __init__(self, process: Process, n: int, generator: torch.Generator) -> None:
        self._process = process
        self._generator = generator
        self._low = 0.0 if process.config.action_mode == "step_vector" else -1.0
        self._size = torch.rand(n, 1, generator=generator)

    def __call__(self, observations: Tensor) -> Tensor:
        """Return actions (B, m) on the CPU."""
        n_actions = self._process.n_actions
        uniform = torch.rand(len(observations), n_actions, generator=self._generator)
        step = self._low + (1 - self._low) * uniform
        return self._process.dynamics.action(self._size * step)


def constant_steps(process: Process) -> Policy:
    """Return the policy that always takes the largest step."""
    largest = process.dynamics.action(torch.ones(process.n_actions))
    return lambda observations: largest.expand(len(observations), -1)
