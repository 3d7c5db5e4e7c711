"""Distances between designs, and which measured design is nearest to each."""

from __future__ import annotations

import numpy as np

from mbo_gym.batch.models import plain_features
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace

__all__ = ["SUPPORT_PERCENTILE", "Geometry"]

N_BLOCK = 1 << 22
"""Numbers in one array of distances."""
N_OWN = 500
"""Measured designs whose own nearest distances are taken."""
SUPPORT_PERCENTILE = 95


class Geometry:
    """Designs as points, with the distances of `mbo_gym.evaluation.distances`.

    Continuous designs: Euclidean distance of z-scores over sqrt(d). Categorical ones: share of
    sites that differ. Mixed ones: as continuous ones, where a word that differs counts as 1.

    Args:
        space: Design space.
        dataset: Visible data, the unit of the distances.
        seed: Seed of the sample of `reach`.
    """

    def __init__(self, space: DesignSpace, dataset: OfflineDataset, seed: int = 0) -> None:
        self.space = space
        self.dataset = dataset
        self._seed = seed
        data = plain_features(space, dataset.x[:100_000])
        mean = data.mean(axis=0, dtype=np.float64)
        std = data.std(axis=0, dtype=np.float64)
        unit = np.where(std > 0, std, 1.0)
        if isinstance(space, CategoricalSpace):
            mean, unit = np.zeros_like(mean), np.full_like(unit, np.sqrt(2.0))
            self._n = space.length
        elif isinstance(space, MixedSpace):
            indicators = space.indicators()
            mean = np.where(indicators > 0, 0.0, mean)
            unit = np.where(indicators > 0, np.sqrt(2.0 * indicators), unit)
            self._n = len(space.parameters)
        else:
            self._n = len(mean)
        self._mean = mean.astype(np.float32)
        self._unit = unit.astype(np.float32)

    def points(self, x: np.ndarray) -> np.ndarray:
        """Return designs (N, *shape) as points (N, d) float32."""
        return np.asarray((plain_features(self.space, x) - self._mean) / self._unit)

    def distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distances (A, B) of points (A, d) and (B, d)."""
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
        return self._of_squares(square)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distance and row (N,), (N,) of the measured design nearest to each of x."""
        return self._nearest(x, equal=True)

    def nearest_in(self, x: np.ndarray) -> np.ndarray:
        """Return the distance (N,) of each design to the nearest other one of x; 0 for one."""
        if len(x) < 2:
            return np.zeros(len(x))
        points = self.points(x)
        between = self.distances(points, points)
        np.fill_diagonal(between, np.inf)
        return np.asarray(between.min(axis=1))

    def reach(self) -> float:
        """Return the distance up to which a design is inside the data's support.

        The 95th percentile of the distances of up to 500 random measured designs to their nearest
        different one.
        """
        rng = np.random.default_rng([self._seed, 13])
        n = len(self.dataset)
        rows = rng.choice(n, size=min(n, N_OWN), replace=False)
        own, _ = self._nearest(self.dataset.x[rows], equal=False)
        own = own[np.isfinite(own)]
        return float(np.percentile(own, SUPPORT_PERCENTILE)) if len(own) else 0.0

    def _nearest(self, x: np.ndarray, *, equal: bool) -> tuple[np.ndarray, np.ndarray]:
        points = self.points(x)
        least = np.full(len(x), np.inf)
        row = np.zeros(len(x), dtype=np.int64)
        size = max(1, N_BLOCK // max(1, len(x), points.shape[1]))
        for start in range(0, len(self.dataset), size):
            between = self.distances(points, self.points(self.dataset.x[start : start + size]))
            if not equal:
                between[between < 1e-4] = np.inf
            column = between.argmin(axis=1)
            value = between[np.arange(len(x)), column]
            row = np.where(value < least, start + column, row)
            least = np.minimum(least, value)
        if equal and len(x):  # the difference does not cancel
            square = ((points - self.points(self.dataset.x[row])) ** 2).sum(axis=1)
            least = self._of_squares(square)
        return least, row

    def _of_squares(self, square: np.ndarray) -> np.ndarray:
        share = np.clip(np.asarray(square, dtype=np.float64), 0.0, None) / self._n
        return share if isinstance(self.space, CategoricalSpace) else np.sqrt(share)
