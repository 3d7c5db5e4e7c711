"""Intervals of predictions, from the residuals of the hidden best fifth of the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbo_gym.batch.health import Health, fit_committee
from mbo_gym.batch.models import Model
from mbo_gym.batch.study import SEEN, STUDY
from mbo_gym.problem.task import OfflineProblem

__all__ = ["LEVEL", "Intervals", "fit_intervals"]

HIDDEN_SHARE = 0.2
LEVEL = 0.9
"""Share of the hidden rows whose residual is inside the interval."""
FEWEST_HIDDEN = 3


@dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals and chances from absolute residuals.

    Args:
        residuals: (n,) sorted absolute residuals of hidden rows, in the score's unit; empty where
            there were too few rows.
        top_errors: (m,) errors (score minus held-out prediction) of the rows predicted best.
        best: Best measured score, raw, higher is better.
    """

    residuals: np.ndarray
    top_errors: np.ndarray
    best: float

    @property
    def half_width(self) -> float:
        """Distance from the prediction to either end; NaN without residuals.

        The smallest residual that at least a share of `LEVEL` of n + 1 do not exceed.
        """
        n = len(self.residuals)
        if n == 0:
            return math.nan
        return float(self.residuals[min(n, math.ceil(LEVEL * (n + 1))) - 1])

    def chance(self, prediction: np.ndarray) -> np.ndarray:
        """Return the chance of predictions (N,) to be above the best measured score; (N,).

        The mean of two estimates: the error is one of the residuals of the hidden rows, with either
        sign alike; and it is one of the held-out errors of the rows that are predicted best. NaN
        without residuals.

        Measured on seven tables of Olympus (16 of the unseen rows proposed, 2 seeds): a mean chance
        of 0.20 where 0.08 beat the best (random 30 % visible), 0.46 where 0.63 did (best tenth
        hidden), 0.50 where 0.93 did (best half hidden). The chance is low where better designs are
        many.
        """
        if len(self.residuals) == 0:
            return np.full(len(prediction), math.nan)
        gap = self.best - np.asarray(prediction, dtype=np.float64)[:, None]
        both = np.concatenate([self.residuals, -self.residuals])
        hidden = (both > gap).mean(axis=1)
        seen = (self.top_errors > gap).mean(axis=1)
        return np.asarray((hidden + seen) / 2)

    @property
    def in_words(self) -> str:
        """What the intervals are and what they do not cover, in two sentences."""
        if len(self.residuals) == 0:
            return "There are no intervals: too few rows to hide some of them."
        cases = "; ".join(f"{seen.covered} % where {seen.case}" for seen in SEEN)
        return (
            f"Interval: the error that {LEVEL:.0%} of the {len(self.residuals)} best rows kept "
            f"below when they were hidden and predicted from the rest. In {STUDY}, it covered the "
            f"true scores of the proposals in {cases}. If the truth goes beyond what any row "
            "shows, it is not covered."
        )


def fit_intervals(
    problem: OfflineProblem,
    health: Health,
    seed: int,
    kinds: Sequence[type[Model]] | None = None,
) -> Intervals:
    """Hide the best fifth of the rows, fit on the rest, take the absolute residuals there.

    Args:
        problem: Space and visible data.
        health: Rows to use, and shares of the models.
        seed: Seed of the models.
        kinds: As given to `check_health`.
    """
    dataset = problem.dataset
    best = float(dataset.y.max())
    order = health.rows[np.argsort(dataset.y[health.rows], kind="stable")]
    hidden = math.ceil(HIDDEN_SHARE * len(order))
    low, top = order[:-hidden], order[-hidden:]
    if not health.models or hidden < FEWEST_HIDDEN:
        return Intervals(np.zeros(0), np.zeros(0), best)
    committee = fit_committee(problem, health, low, seed, kinds)
    residuals = np.abs(dataset.y[top].astype(np.float64) - committee.predict(dataset.x[top]))
    predicted_best = np.argsort(-health.held_out, kind="stable")[:hidden]
    y = dataset.y[health.rows].astype(np.float64)
    errors = (y - health.held_out)[predicted_best]
    return Intervals(np.sort(residuals), errors, best)
