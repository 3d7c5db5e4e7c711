"""Trajectories of random steps in an environment, from the best visible designs."""

from __future__ import annotations

import torch

from mbo_gym.envs.process import Process
from mbo_gym.envs.rollout import RandomSteps, Rollout, roll_out
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import top_rows_of_percentile

__all__ = ["random_rollouts", "rollout_batch"]


def random_rollouts(
    process: Process, p: float, n: int, horizon: int, generator: torch.Generator
) -> Rollout:
    """Take random steps from designs that are drawn from the best `p` percent.

    Every recorded action leads to the recorded next design, and the environment's reward is what it
    would be in a search. Trajectories of visible designs (`mbo_gym.trajectories.SAMPLERS`) have
    true scores instead, but most of their steps are larger than an action can be. For the steps see
    `mbo_gym.envs.rollout.RandomSteps`.

    Args:
        process: Decision process of an environment.
        p: Rows with y at or above the (100 - p)-th percentile are starts, 0 < p <= 100.
        n: B, number of trajectories.
        horizon: T, steps of a trajectory.
        generator: Source of randomness, on the CPU.
    """
    top = top_rows_of_percentile(process.problem, p)
    drawn = torch.randint(len(top), (n,), generator=generator).numpy()
    z = process.encoder.features(process.problem.dataset.x[top[drawn]], str(process.device))
    state = process.at(z, horizon=horizon)
    trajectories, _ = roll_out(process, state, RandomSteps(process, n, generator), horizon)
    return trajectories


def rollout_batch(process: Process, rollout: Rollout, p: float) -> TrajectoryBatch:
    """Return rollouts as a batch; its `y` are the surrogate's values, not measured scores.

    Raises:
        ValueError: An action is not a number for each feature, or a policy sees more than features.
    """
    config = process.config
    problem = process.problem
    meta = {
        "task_id": problem.task_id,
        "task_options": dict(problem.recovery_options),
        "encoder": process.encoder.name,
        "sampler": "rollout",
        "p": p,
        "action_mode": config.action_mode,
        "action_scale": process.scale.tolist(),
        "reward": "surrogate_difference",
        "gradient": config.gradient if config.action_mode == "step_vector" else None,
        "surrogate": process.surrogate.name if process.surrogate else None,
    }
    return TrajectoryBatch(
        rollout.z.cpu(),
        rollout.values.cpu(),
        rollout.actions.cpu(),
        rollout.rewards.cpu(),
        meta=meta,
    )
