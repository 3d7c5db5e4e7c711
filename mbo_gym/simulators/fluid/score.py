"""Score of an episode: the share of the water that rests at the goal, smooth in every position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mbo_gym.simulators.fluid.scene import Array, Point, library

__all__ = ["SCORED_FRAMES", "energy", "goal_scores", "share_at_goal"]

SCORED_FRAMES = 5
"""Frames at the end of an episode over which the score is a mean: 75 ms."""

_ENERGY_FLOOR = 1e-3


def share_at_goal(frames_m: Array, goal_m: Point, sigma_m: float) -> Array:
    """Return the smooth share of the water at the goal, in [0, 1].

    It is the mean over particles and over the last `SCORED_FRAMES` frames of
    exp(-|p - goal|^2 / (2 sigma^2)). Numpy and torch take the same formula.

    Args:
        frames_m: (.., F, N, 2) positions of the particles.
        goal_m: Centre of the goal.
        sigma_m: Standard deviation of the goal's Gaussian.

    Returns:
        (..,) shares, higher is better.
    """
    last = frames_m[..., -SCORED_FRAMES:, :, :]
    x_m = last[..., 0] - goal_m[0]
    y_m = last[..., 1] - goal_m[1]
    distance_m2 = x_m * x_m + y_m * y_m
    near = library(frames_m).exp(distance_m2 * (-0.5 / sigma_m**2))  # (.., F, N)
    return near.mean((-2, -1))  # type: ignore[no-any-return]


def goal_scores(frames_m: np.ndarray, goal_m: Point, sigma_m: float) -> np.ndarray:
    """Return the scores (B,) float32 of frames (B, F, N, 2), each computed on its own.

    In float64 and design by design, so that a score does not depend on its neighbours in a batch.
    """
    scores = [share_at_goal(one, goal_m, sigma_m) for one in frames_m.astype(np.float64)]
    return np.array(scores, dtype=np.float32)


def energy(scores: Any) -> Any:
    """Return -log(score + 0.001) of scores in [0, 1], of numpy or torch; lower is better."""
    if isinstance(scores, (int, float)):
        return -math.log(scores + _ENERGY_FLOOR)
    return -library(scores).log(scores + _ENERGY_FLOOR)
