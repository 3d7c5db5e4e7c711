"""Chance of a design to work, learned from designs whose measurement failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mbo_gym.batch.models import plain_features
from mbo_gym.problem.space import DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Feasibility", "fit_feasibility"]

N_TREES = 100
FEWEST = 5
"""Failed and working designs each, below which nothing is learned about failures."""
MOST_ROWS = 5_000


@dataclass(frozen=True, eq=False)
class Feasibility:
    """Chance of designs to work.

    Args:
        space: Design space.
        share: Share of the designs that worked.
        n_failed: Failed designs.
        auc: Area under the ROC curve of held-out chances; NaN where nothing was fitted.
        model: Fitted classifier, or None: every design then has the chance `share`.
    """

    space: DesignSpace
    share: float
    n_failed: int
    auc: float
    model: Any

    def chance(self, x: np.ndarray) -> np.ndarray:
        """Return the chance of designs (N, *shape) to work; (N,) float64."""
        if self.model is None:
            return np.full(len(x), self.share)
        return np.asarray(self.model.predict_proba(plain_features(self.space, x))[:, 1])

    @property
    def finding(self) -> str:
        """What was learned about failures, in a sentence or two."""
        failed = f"{self.n_failed:,} designs failed ({1 - self.share:.0%} of all)"
        if np.isnan(self.auc):
            return f"{failed}: too few to learn from, so every design has the same chance to work."
        if self.model is None:
            return (
                f"{failed}. Failures are not predicted (held-out AUC {self.auc:.3f}), so every "
                "design has the same chance to work."
            )
        return (
            f"{failed}. A forest predicts held-out failures with AUC {self.auc:.3f}. Designs are "
            "ranked by their expected score, where a failure counts as the lowest measured score."
        )


def fit_feasibility(problem: OfflineProblem, seed: int = 0) -> Feasibility | None:
    """Fit a forest that tells failed designs from measured ones; None where none failed.

    Args:
        problem: Space and visible data; `dataset.failed` holds the failed designs.
        seed: Seed of the sample, the folds and the forest.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    failed = problem.dataset.failed
    if failed is None:
        return None
    rng = np.random.default_rng([seed, 14])
    worked = problem.dataset.x
    share = len(worked) / (len(worked) + len(failed))
    n_failed = len(failed)
    if min(len(worked), n_failed) < FEWEST:
        return Feasibility(problem.space, share, n_failed, float("nan"), None)
    parts = [_sample(part, round(MOST_ROWS * s), rng) for part, s in
             ((worked, share), (failed, 1 - share))]  # fmt: skip
    z = plain_features(problem.space, np.concatenate(parts))
    works = np.repeat([1, 0], [len(part) for part in parts])
    model = RandomForestClassifier(N_TREES, min_samples_leaf=2, random_state=seed, n_jobs=1)
    folds = StratifiedKFold(min(5, int(np.bincount(works).min())), shuffle=True, random_state=seed)
    held_out = cross_val_predict(model, z, works, cv=folds, method="predict_proba")[:, 1]
    auc = float(roc_auc_score(works, held_out))
    if auc <= 0.5:
        return Feasibility(problem.space, share, n_failed, auc, None)
    return Feasibility(problem.space, share, n_failed, auc, model.fit(z, works))


def _sample(x: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    most = max(most, FEWEST)
    return x if len(x) <= most else x[rng.choice(len(x), size=most, replace=False)]
