"""Importance of parameters, by permutation on held-out rows of a forest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mbo_gym.batch.health import Health
from mbo_gym.batch.models import Forest, parameter_columns, plain_features
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Importance", "permutation_importance"]

REPEATS = 3
MOST_HELD_OUT = 500
HELD_OUT = 0.25


@dataclass(frozen=True)
class Importance:
    """Importance of one parameter.

    Args:
        name: Name of the parameter.
        value: Loss of R2 on held-out rows when the parameter's values are shuffled.
    """

    name: str
    value: float


def permutation_importance(
    problem: OfflineProblem, health: Health, seed: int = 0
) -> list[Importance]:
    """Return the importance of each parameter, the most important first.

    A forest is fitted on three quarters of the rows; on the others, the values of one parameter at
    a time are shuffled.

    Args:
        problem: Space and visible data.
        health: Rows to use; without models there is nothing to tell.
        seed: Seed of the split, the forest and the shuffles.
    """
    if not health.models:
        return []
    rng = np.random.default_rng([seed, 18])
    order = rng.permutation(health.rows)
    n_held = min(MOST_HELD_OUT, max(2, int(HELD_OUT * len(order))))
    held, rest = order[:n_held], order[n_held:]
    forest = Forest().fit(problem, rest, seed).model
    z = plain_features(problem.space, problem.dataset.x[held])
    y = problem.dataset.y[held].astype(np.float64)
    variance = float(y.var()) or 1.0
    error = float(((y - forest.predict(z)) ** 2).mean())
    found = []
    for name, columns in parameter_columns(problem.space).items():
        losses = []
        for _ in range(REPEATS):
            shuffled = z.copy()
            shuffled[:, columns] = z[rng.permutation(len(z))][:, columns]
            losses.append(float(((y - forest.predict(shuffled)) ** 2).mean()) - error)
        found.append(Importance(name, float(np.mean(losses)) / variance))
    return sorted(found, key=lambda item: -item.value)
