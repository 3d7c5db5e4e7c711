"""Score the designs that a method passed on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mbo_gym.problem.task import Task
from mbo_gym.progress.protocol import SearchPoint

__all__ = ["score_search"]


N_SEARCH = 64
"""Designs scored at each recorded step of a search."""


def score_search(task: Task, trace: Sequence[SearchPoint]) -> tuple[list[dict[str, Any]], int]:
    """Score designs along a search after it is over, to show where the surrogate misled it.

    Args:
        task: The task.
        trace: Points that the method recorded, in order. `N_SEARCH` evenly spaced rows of each
            point are scored, the same rows of each, since a row is one search.

    Returns:
        One {"step", "prediction", "score"} a point: means over its designs, normalised; "score" is
        None without an oracle. And the number of oracle calls.
    """
    oracle = task.oracle() if task.has_oracle else None
    points: list[dict[str, Any]] = []
    for point in trace:
        rows = np.unique(np.linspace(0, len(point.x) - 1, N_SEARCH).round().astype(int))
        x, score = point.x[rows], None
        feasible = task.space.contains(x)
        if oracle is not None and feasible.any():
            scored = task.normalise(oracle(x[feasible]))
            score = float(scored[np.isfinite(scored)].mean()) if np.isfinite(scored).any() else None
        prediction = (
            float(task.normalise(point.prediction[rows][feasible]).mean())
            if feasible.any()
            else None
        )
        points.append({"step": point.step, "prediction": prediction, "score": score})
    return points, oracle.calls if oracle is not None else 0
