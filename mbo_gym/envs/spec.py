"""Specs of the environments, and Gymnasium's `max_episode_steps` as their horizon."""

from __future__ import annotations

import copy
from numbers import Integral
from types import FrameType
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from mbo_gym.envs.process import Process

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

__all__ = ["complete_spec", "limit_of_make", "require_steps"]


def limit_of_make(caller: FrameType) -> int | None:
    """Return the `max_episode_steps` of the `gym.make` that is making an environment.

    `gym.make` does not hand the number to the environment. It wraps the environment in a
    `TimeLimit`, which can shorten an episode and not lengthen it. Therefore the number is read
    from the call.

    Args:
        caller: Frame that gave the environment its spec.

    Returns:
        The number, also where it comes from the spec that is made; None where there is none, or
        where another function is the caller.

    Raises:
        ValueError: It is no whole number of at least 1.
    """
    if caller.f_code is not gym.make.__code__:
        return None
    steps = caller.f_locals["max_episode_steps"]
    if steps is None:
        steps = caller.f_locals["env_spec"].max_episode_steps
    if steps is None or steps == -1:  # -1 is Gymnasium's word for no TimeLimit
        return None
    return require_steps(steps)


def require_steps(steps: Any) -> int:
    """Return a `max_episode_steps` that may be a horizon.

    Raises:
        ValueError: It is no whole number of at least 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise ValueError(
            f"max_episode_steps must be a whole number of at least 1, got {steps!r}. Pass such a "
            "number, or leave it out for the horizon."
        )
    return int(steps)


def complete_spec(spec: EnvSpec | None, process: Process) -> EnvSpec | None:
    """Return a spec whose `max_episode_steps` is the horizon.

    Its paths are absolute, and it holds the sha256 of the files that the task is made of.
    """
    if spec is None:
        return None
    spec = copy.copy(spec)
    spec.max_episode_steps = process.config.horizon
    if spec.kwargs.get("task_options"):
        options = {**spec.kwargs["task_options"], **process.problem.recovery_options}
        spec.kwargs = {**spec.kwargs, "task_options": options}
    return spec
