"""Score the designs that a method passed on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mbo_gym.problem.task import Task
from mbo_gym.progress.protocol import SearchPoint

__all__ = ["score_search", "stability"]


N_SEARCH = 64
"""Designs scored at each recorded step of a search."""

_LEAST_GAIN = 0.01


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


def stability(scores: Sequence[float], d_best: float) -> tuple[float, float]:
    """Return how steadily a search stays above the data (Qian et al., SOO-Bench, ICLR 2025).

    The curve of scores begins at D(best) and is shifted so that D(best) lies as far above 0 as the
    best score lies above D(best), at least 0.01. The stability SI is its area over that of its
    highest point, 1 for a search that is at its best all along. The optimality OI is its area over
    that of D(best): above 1 for a search that is better than the data on the whole.

    Differs from SOO-Bench's program: the scores are means over designs, and so is the best one.

    Args:
        scores: (T,) normalised scores along the search, one a recorded step, at least one.
        d_best: Best visible score, normalised.

    Returns:
        SI, at most 1, and OI.
    """
    curve = np.array([d_best, *scores], dtype=np.float64)
    gain = max(float(curve.max()) - d_best, _LEAST_GAIN)
    curve = curve - (d_best - gain)
    area = float(((curve[1:] + curve[:-1]) / 2).sum())
    steps = len(curve) - 1
    return area / (float(curve.max()) * steps), area / (float(curve[0]) * steps)
