"""Gymnasium environments over tasks: one design a time, or thousands as one tensor."""

from __future__ import annotations

import gymnasium as gym

__all__ = ["NAMESPACE", "register_env"]

NAMESPACE = "mbo_gym"


def register_env(task_id: str) -> None:
    """Register ``mbo_gym/<task_id>`` for `gym.make` and `gym.make_vec`; nothing is imported or loaded yet."""
    gym.register(
        id=f"{NAMESPACE}/{task_id}",
        entry_point="mbo_gym.envs.design_env:DesignEnv",
        vector_entry_point="mbo_gym.envs.vector_env:DesignVectorEnv",
        kwargs={"task": task_id},
    )
    if not task_id.endswith("-v0"):
        # Gymnasium tells users of v0 that it is out of date wherever its registry holds a higher version. Our v0 is
        # not: it is what the papers used, and v1 stands beside it. Environments that are made have their full version.
        gym.registry[f"{NAMESPACE}/{task_id}"].version = None
