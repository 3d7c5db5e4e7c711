"""Filters: a fitted surrogate that chooses among candidate designs."""

from __future__ import annotations

import numpy as np

from mbo_gym.methods.base import Context, Proposals
from mbo_gym.methods.distinct import as_they_come
from mbo_gym.methods.fitted import Fitted
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["filtered", "fit_filter"]


def fit_filter(
    problem: OfflineProblem, surrogate: Choice | None, context: Context, encoder: str = "z_score"
) -> Fitted | None:
    """Fit a surrogate that filters; None for None.

    Args:
        problem: Problem of the fit.
        surrogate: Surrogate by name.
        context: Seed, device and progress.
        encoder: Name of the encoder of its features.
    """
    if surrogate is None:
        return None
    return Fitted.fit(problem, make_surrogate(surrogate), encoder, context)


def filtered(
    problem: OfflineProblem, x: np.ndarray, by: Fitted | None, k: int, seed: int
) -> Proposals:
    """Return the `k` best distinct designs of candidates, best first.

    Args:
        problem: Problem of the fit.
        x: (N, *shape) candidates.
        by: Fitted surrogate whose predictions order them; None for the first `k` as they come,
            with a criterion of 0.
        k: Number of designs.
        seed: Seed of the fit.
    """
    if by is None:
        return as_they_come(problem, x, np.zeros(len(x)), k, seed)
    return by.distinct(x, k)
