"""Choice of a batch among candidates: value against diversity, by greedy maximum determinant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mbo_gym.batch.geometry import Geometry

__all__ = ["SHARPNESS", "Chooser", "Same", "Trade", "best_apart", "determinant", "spread"]

BREADTH = 10
"""The batch is chosen among the best 10 k candidates."""
FEWEST = 200
SHARPNESS: Mapping[str, float] = {"best predicted": np.inf, "default": 2.0, "diverse": 0.5}
"""Weight of a candidate's value against diversity, by the name of the way; infinite takes the best
k.

Measured on the hidden rows of seven tables of Olympus (30 % of the rows visible, all or without the
best tenth; forest; 16 of the candidates; 4 seeds): share of the score's range reached by the best
and by the mean design, and mean distance within the batch.

=====================  =================  =================
way                    random 30 %        best tenth hidden
=====================  =================  =================
best k                 .915 .778 .321     .848 .736 .274
k-centre on best 2 k   .916 .745 .551     .867 .715 .521
k-centre on best 3 k   .934 .726 .639     .843 .699 .597
determinant, 2.0       .941 .766 .525     .853 .719 .492
determinant, 0.5       .939 .726 .686     .848 .680 .663
=====================  =================  =================

At one distance the determinant loses less score than k-centre, so it is used.
"""
JITTER = 1e-6
N_UNIT = 500
"""Candidates whose median distance is the unit of the kernel."""

Same: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function of designs (N, *shape) and one design that says which differ by less than a step."""


@dataclass(frozen=True)
class Trade:
    """One way to choose the batch, for the trade of score against diversity.

    Args:
        name: Name of the way.
        predicted: Mean predicted score of its designs, in the file's unit and sign.
        distance: Mean distance of a design to the nearest other one of the batch.
        chosen: Whether this is the batch.
    """

    name: str
    predicted: float
    distance: float
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class Chooser:
    """Chooses designs among candidates.

    Args:
        geometry: Distances.
        same: Says which designs differ by less than a step.
        sharpness: Weight of the value against diversity; infinite takes the best ones.
        measured: (N, *shape) designs to keep away from where all candidates have one value.
    """

    geometry: Geometry
    same: Same
    sharpness: float
    measured: np.ndarray

    def __call__(
        self, x: np.ndarray, value: np.ndarray, k: int, given: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the rows of `k` candidates, in the order of their choice; fewer if there are.

        Args:
            x: (N, *shape) candidates, best first.
            value: (N,) what they are ranked by.
            k: Number of designs.
            given: (G, *shape) designs that are in the batch already.
        """
        given = x[:0] if given is None else given
        if len(value) == 0 or np.ptp(value) == 0:
            away = np.concatenate([self.measured, given])
            return spread(x, k, self.geometry, self.same, away)
        if np.isinf(self.sharpness):
            return best_apart(x, k, self.same, given)
        return determinant(x, value, k, self.geometry, self.same, given, self.sharpness)


def determinant(
    x: np.ndarray,
    value: np.ndarray,
    k: int,
    geometry: Geometry,
    same: Same,
    given: np.ndarray,
    sharpness: float,
) -> np.ndarray:
    """Return the rows of a greedy maximum determinant of L = q_i S_ij q_j (Chen et al. 2018).

    S is a Gaussian kernel of the points, with the median distance of the candidates as unit. The
    quality q is exp(sharpness * z), z the standardised value. Only the best 10 k candidates enter.

    Args:
        x: (N, *shape) candidates, best first.
        value: (N,) what they are ranked by.
        k: Number of designs.
        geometry: Distances.
        same: Says which designs differ by less than a step.
        given: (G, *shape) designs that are in the batch already.
        sharpness: Weight of the value against diversity.

    References:
        Chen et al. 2018, Fast greedy MAP inference for determinantal point process to improve
        recommendation diversity, arXiv 1709.05135.
    """
    reach = min(len(x), max(FEWEST, BREADTH * k))
    x, value = x[:reach], np.asarray(value[:reach], dtype=np.float64)
    points = geometry.points(x).astype(np.float64)
    some = points[np.linspace(0, reach - 1, min(reach, N_UNIT)).astype(int)]
    between = _squares(some, some)
    positive = between[between > 1e-9]
    unit = float(np.median(positive)) if len(positive) else 1.0
    std = float(value.std()) or 1.0
    quality = np.exp(sharpness * (value - value.mean()) / std)
    quality /= quality.max()

    def kernel(a: np.ndarray) -> np.ndarray:
        """Return the kernel (N,) of a point (1, d) and the candidates."""
        return np.asarray(np.exp(-_squares(a, points) / unit)[0])

    left = quality**2 * (1 + JITTER)
    least = JITTER * quality**2
    rows = np.zeros((len(given) + k, reach))
    free = np.ones(reach, dtype=bool)
    n = 0
    chosen: list[int] = []
    given_points = geometry.points(given).astype(np.float64)
    basis = np.zeros((len(given) + k, len(given)))
    for g in range(len(given)):  # condition on what is in the batch
        free &= ~same(x, given[g])
        point = given_points[g][None]
        root = np.sqrt(max(1 + JITTER - float((basis[:n, g] ** 2).sum()), JITTER))
        others = np.exp(-_squares(point, given_points)[0] / unit)
        line = kernel(point) * quality
        rows[n] = (line - basis[:n, g] @ rows[:n]) / root
        basis[n] = (others - basis[:n, g] @ basis[:n]) / root
        left = np.maximum(left - rows[n] ** 2, least)
        n += 1
    while len(chosen) < k and free.any():
        row = int(np.argmax(np.where(free, left, -np.inf)))
        chosen.append(row)
        line = quality[row] * kernel(points[row][None]) * quality
        rows[n] = (line - rows[:n, row] @ rows[:n]) / np.sqrt(left[row])
        left = np.maximum(left - rows[n] ** 2, least)
        free &= ~same(x, x[row])
        free[row] = False
        n += 1
    return np.array(chosen, dtype=np.int64)


def spread(x: np.ndarray, k: int, geometry: Geometry, same: Same, given: np.ndarray) -> np.ndarray:
    """Return the rows of `k` candidates, each the farthest from all chosen before (k-centre).

    Args:
        x: (N, *shape) candidates.
        k: Number of designs.
        geometry: Distances.
        same: Says which designs differ by less than a step.
        given: (G, *shape) designs to keep away from.

    References:
        Gonzalez 1985, Clustering to minimize the maximum intercluster distance.
    """
    points = geometry.points(x)
    least = np.full(len(x), np.inf)
    free = np.ones(len(x), dtype=bool)
    for start in range(0, len(given), 256):
        part = geometry.points(given[start : start + 256])
        least = np.minimum(least, geometry.distances(points, part).min(axis=1))
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        row = int(np.argmax(np.where(free, least, -1.0)))
        chosen.append(row)
        free &= ~same(x, x[row])
        free[row] = False
        least = np.minimum(least, geometry.distances(points, points[row][None])[:, 0])
    return np.array(chosen, dtype=np.int64)


def best_apart(x: np.ndarray, k: int, same: Same, given: np.ndarray) -> np.ndarray:
    """Return the rows of the first `k` candidates that differ by a step or more."""
    free = np.ones(len(x), dtype=bool)
    for design in given:
        free &= ~same(x, design)
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        row = int(np.argmax(free))
        chosen.append(row)
        free &= ~same(x, x[row])
        free[row] = False
    return np.array(chosen, dtype=np.int64)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances (A, B) of points (A, d) and (B, d)."""
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.clip(square, 0.0, None))
