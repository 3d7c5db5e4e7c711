"""Health of the data: how well held-out rows are predicted, and what that means for a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbo_gym.batch.models import Committee, Model, default_models, shares
from mbo_gym.batch.study import GOOD_R2, SEEN, STUDY
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress

__all__ = [
    "FEWEST_ROWS",
    "MOST_ROWS",
    "N_BEST_KEPT",
    "Health",
    "ModelHealth",
    "check_health",
    "fit_committee",
    "judged_rows",
    "rows_to_fit",
]

MOST_ROWS = 3_000
"""Rows that models are judged by; more are sub-sampled, and `Health.n_used` says so."""
N_BEST_KEPT = 300
"""Best rows that are added to a sub-sample for the final fit."""
FOLDS = 5
FEWEST_ROWS = 6
"""Distinct designs below which nothing is fitted."""


@dataclass(frozen=True)
class ModelHealth:
    """How well one kind of model predicts held-out rows.

    Args:
        name: Short name of the model.
        title: Name for a table.
        rank_correlation: Spearman's, between predictions and scores; NaN where the predictions do
            not vary.
        r2: Share of the scores' variance that is explained; 0 for the mean of all rows.
        error: Root mean squared error, in the score's unit.
        share: Share of the model in the committee that ranks designs.
    """

    name: str
    title: str
    rank_correlation: float
    r2: float
    error: float
    share: float


@dataclass(frozen=True, eq=False)
class Health:
    """How well held-out rows are predicted, by cross-validation.

    Args:
        models: One entry per kind of model, the constant first.
        n_rows: Visible rows.
        n_used: Rows that were used.
        folds: Number of folds; 0 where there were too few rows to judge anything.
        rows: (n_used,) the rows used.
        held_out: (n_used,) held-out predictions of the committee, raw scores.
        unit: Name of the score, for sentences.
    """

    models: tuple[ModelHealth, ...]
    n_rows: int
    n_used: int
    folds: int
    rows: np.ndarray
    held_out: np.ndarray
    unit: str

    @property
    def best(self) -> ModelHealth | None:
        """Model with the highest R2 besides the constant; None where none was judged."""
        learned = self.models[1:]
        return max(learned, key=lambda m: m.r2) if learned else None

    @property
    def learned(self) -> bool:
        """Whether any model predicts held-out rows better than their mean."""
        return self.best is not None and self.best.r2 > 0

    @property
    def finding(self) -> str:
        """What the numbers are and what they mean for a batch, in two or three sentences."""
        return f"{self.measure} {self.meaning}"

    @property
    def measure(self) -> str:
        """How well held-out rows are predicted, in a sentence."""
        best = self.best
        if best is None:
            return (
                f"Nothing was learned: {self.n_rows} rows are too few to judge a model by (at "
                f"least {FEWEST_ROWS} distinct designs are needed)."
            )
        if not self.learned:
            return (
                "Nothing was learned: no model predicts held-out rows better than their mean "
                f"(best R2 {best.r2:.3f}, {best.title})."
            )
        return (
            f"Held-out rows are predicted with R2 {best.r2:.3f} ({best.title}; rank correlation "
            f"{best.rank_correlation:.3f}, typical error {best.error:.4g} in {self.unit})."
        )

    @property
    def meaning(self) -> str:
        """What that means for a batch, in a sentence."""
        if not self.learned or self.best is None:
            return "The batch is spread over the space."
        good = self.best.r2 >= GOOD_R2
        reach = f"of {GOOD_R2} and more" if good else f"below {GOOD_R2}"
        shares = [f"{s.above_good if good else s.above_other} % where {s.case}" for s in SEEN]
        return (
            f"With R2 {reach}, the share of proposals that beat the best measured row was "
            f"{', '.join(shares)} ({STUDY})."
        )

    @property
    def sample(self) -> str:
        """How the numbers were made, in a sentence."""
        if not self.folds:
            return f"{self.n_rows:,} rows; no cross-validation."
        if self.n_used < self.n_rows:
            return (
                f"{self.folds}-fold cross-validation on a random sample of {self.n_used:,} of the "
                f"{self.n_rows:,} rows."
            )
        return f"{self.folds}-fold cross-validation on all {self.n_rows:,} rows."


def judged_rows(dataset: OfflineDataset, seed: int, most: int = MOST_ROWS) -> np.ndarray:
    """Return the rows to judge models by, in file order; all where there are at most `most`."""
    n = len(dataset)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng([seed, 11])
    return np.sort(rng.choice(n, size=most, replace=False))


def check_health(
    problem: OfflineProblem,
    *,
    unit: str = "score",
    seed: int = 0,
    most_rows: int = MOST_ROWS,
    kinds: Sequence[type[Model]] | None = None,
    progress: Progress | None = None,
) -> Health:
    """Predict held-out rows by cross-validation; rows of one design are held out together.

    Args:
        problem: Space and visible data. Weights of rows are used where there are standard errors.
        unit: Name of the score, for sentences.
        seed: Seed of the sample, the folds and the models.
        most_rows: Rows that are used at most.
        kinds: Kinds of models, the constant first; None for `default_models` of the space.
        progress: Observer of the fits.

    Example:
        >>> import mbo_gym
        >>> problem = mbo_gym.make_task("Branin-Exact-v0", max_rows=60).problem()
        >>> check_health(problem, kinds=default_models(problem.space)[:3]).learned
        True
    """
    kinds = default_models(problem.space) if kinds is None else tuple(kinds)
    rows = judged_rows(problem.dataset, seed, most_rows)
    group = _design_numbers(problem.dataset.x[rows])
    n_designs = int(group.max()) + 1
    n_rows = len(problem.dataset)
    if n_designs < FEWEST_ROWS:
        return Health((), n_rows, len(rows), 0, rows, np.full(len(rows), math.nan), unit)
    folds = min(FOLDS, n_designs)
    order = np.random.default_rng([seed, 12]).permutation(n_designs)
    fold = (order % folds)[group]
    predicted = np.zeros((len(kinds), len(rows)))
    progress = NullProgress() if progress is None else progress
    jobs = [(f, i) for f in range(folds) for i in range(len(kinds))]
    for f, i in progress.track(jobs, "health of the data"):
        model = kinds[i]().fit(problem, rows[fold != f], seed)
        predicted[i, fold == f] = model.predict(problem.dataset.x[rows[fold == f]])
    y = problem.dataset.y[rows].astype(np.float64)
    weights = problem.dataset.weights()
    w = np.ones(len(rows)) if weights is None else weights[rows].astype(np.float64)
    r2 = np.array([_r2(y, p, w) for p in predicted])
    share = shares(np.concatenate([[0.0], r2[1:]]))
    judged = tuple(
        ModelHealth(
            kind.name,
            kind.title,
            _spearman(y, p),
            float(value),
            float(np.sqrt(np.average((y - p) ** 2, weights=w))),
            float(s),
        )
        for kind, p, value, s in zip(kinds, predicted, r2, share, strict=True)
    )
    together = share @ predicted if share.any() else predicted[0]
    return Health(judged, n_rows, len(rows), folds, rows, np.asarray(together), unit)


def fit_committee(
    problem: OfflineProblem,
    health: Health,
    rows: np.ndarray,
    seed: int,
    kinds: Sequence[type[Model]] | None = None,
) -> Committee:
    """Fit the models that health gives a share; the constant alone where nothing was learned.

    Args:
        problem: Space and visible data.
        health: Shares of the models.
        rows: (n,) rows to fit on.
        seed: Seed of the models.
        kinds: As given to `check_health`.
    """
    kinds = default_models(problem.space) if kinds is None else tuple(kinds)
    share = {model.name: model.share for model in health.models if model.share > 0}
    chosen = [kind for kind in kinds if kind.name in share] or [kinds[0]]
    weights = np.array([share.get(kind.name, 1.0) for kind in chosen])
    fitted = tuple(kind().fit(problem, rows, seed) for kind in chosen)
    return Committee(fitted, weights / weights.sum())


def rows_to_fit(problem: OfflineProblem, health: Health) -> np.ndarray:
    """Return the rows of the final fit: those judged, and the best rows of all."""
    best = problem.dataset.top_rows(N_BEST_KEPT, distinct=False)
    return np.union1d(health.rows, best)


def _design_numbers(x: np.ndarray) -> np.ndarray:
    """Return the number of the design of each row of x (N, *shape), from 0; (N,) int64."""
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    return np.asarray(np.unique(flat, axis=0, return_inverse=True)[1]).reshape(-1)


def _r2(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:
    mean = np.average(y, weights=weights)
    total = float(np.average((y - mean) ** 2, weights=weights))
    error = float(np.average((y - prediction) ** 2, weights=weights))
    return 1.0 - error / total if total > 0 else 0.0


def _spearman(y: np.ndarray, prediction: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(y) == 0 or np.ptp(prediction) == 0:
        return math.nan
    return float(spearmanr(prediction, y).statistic)
