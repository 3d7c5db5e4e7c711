"""The offline data: designs and their measured scores, frozen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.problem.space import readonly

__all__ = ["OfflineDataset", "ScoreScale", "first_of_each_design"]


@dataclass(frozen=True)
class ScoreScale:
    """Mean and standard deviation of the visible scores.

    They are the unit of surrogates, rewards and returns.

    A standardised score is (y - mean) / std. It uses the visible scores only, unlike the normalised
    score of a report.
    """

    mean: float
    std: float

    def standardise(self, y: np.ndarray) -> np.ndarray:
        """Return raw scores (N,) in standard deviations above the mean; (N,) float32."""
        return np.asarray(
            (np.asarray(y, dtype=np.float64) - self.mean) / self.std, dtype=np.float32
        )

    def restore(self, s: np.ndarray) -> np.ndarray:
        """Turn standardised scores (N,) back into raw ones, (N,) float64."""
        return np.asarray(np.asarray(s, dtype=np.float64) * self.std + self.mean)


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """N visible designs with their scores; the arrays cannot be written to.

    Args:
        x: (N, *shape) float32 or int32, native designs.
        y: (N,) float32, raw scores, higher is better.
        error: (N,) float32, standard error of each score in its unit, or None where it is not
            known; models give precise scores more weight.
        failed: (M, *shape) designs whose measurement failed, or None; they have no score.
        lines: (N,) int64, line of the file on which each row stands, or None where there is no
            file.
        context: (N, c) float32, specification of the task that each score was measured under, e.g.
            a goal, or None where all were measured under one and the same.

    Raises:
        InvalidData: No rows, unequal lengths, a score that is not finite, or a negative error.
    """

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None
    failed: np.ndarray | None = None
    lines: np.ndarray | None = None
    context: np.ndarray | None = None

    def __post_init__(self) -> None:
        x = np.asarray(self.x)
        x = readonly(x, np.float32 if x.dtype.kind == "f" else np.int32)
        y = readonly(np.asarray(self.y), np.float32)
        if y.ndim != 1 or len(x) != len(y) or len(y) == 0:
            raise InvalidData(
                f"need as many scores as designs and at least one, got {x.shape=} and {y.shape=}"
            )
        if not np.isfinite(y).all():
            raise InvalidData(f"scores must be finite, row {int(np.argmin(np.isfinite(y)))} is not")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        if self.error is not None:
            error = readonly(np.asarray(self.error), np.float32)
            if error.shape != y.shape or not (np.isfinite(error) & (error >= 0)).all():
                raise InvalidData(
                    f"need a standard error of at least 0 for each of {len(y)} scores, got "
                    f"{error.shape=}"
                )
            object.__setattr__(self, "error", error)
        if self.failed is not None:
            failed = readonly(np.asarray(self.failed), x.dtype)
            if failed.shape[1:] != x.shape[1:]:
                raise InvalidData(f"failed designs must have {x.shape[1:]=}, got {failed.shape=}")
            object.__setattr__(self, "failed", failed if len(failed) else None)
        if self.lines is not None:
            lines = readonly(np.asarray(self.lines), np.int64)
            if lines.shape != y.shape:
                raise InvalidData(f"need a line for each of {len(y)} rows, got {lines.shape=}")
            object.__setattr__(self, "lines", lines)
        if self.context is not None:
            context = readonly(np.asarray(self.context), np.float32)
            if context.ndim != 2 or len(context) != len(y) or not np.isfinite(context).all():
                raise InvalidData(
                    f"need a context of c finite numbers for each of {len(y)} rows, got "
                    f"{context.shape=}"
                )
            object.__setattr__(self, "context", context)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def score_scale(self) -> ScoreScale:
        """Mean and standard deviation of the scores; 1 where all scores are equal."""
        y = self.y.astype(np.float64)
        std = float(y.std())
        return ScoreScale(float(y.mean()), std if std > 0 else 1.0)

    def take(self, rows: np.ndarray) -> OfflineDataset:
        """Return the given rows, in the given order."""
        error = None if self.error is None else self.error[rows]
        lines = None if self.lines is None else self.lines[rows]
        context = None if self.context is None else self.context[rows]
        return OfflineDataset(self.x[rows], self.y[rows], error, self.failed, lines, context)

    def top_rows(self, k: int, *, distinct: bool = True) -> np.ndarray:
        """Return the rows of the `k` best scores, best first; (k,) int64.

        Ties are in file order.

        Args:
            k: Number of rows; fewer come back where the data hold fewer (distinct) designs.
            distinct: Count a design that stands several times once, with its best score.
        """
        order = np.argsort(-self.y, kind="stable")
        if not distinct:
            return np.asarray(order[:k])
        reach = min(len(order), 2 * k + 16)
        while (
            True
        ):  # usually one round: duplicates are few, and a sort of all designs would be wasteful
            taken = order[:reach][first_of_each_design(self.x[order[:reach]])]
            if len(taken) >= k or reach == len(order):
                return np.asarray(taken[:k])
            reach = min(len(order), 4 * reach)

    def top(self, k: int) -> OfflineDataset:
        """Return the `k` best distinct designs, best first."""
        return self.take(self.top_rows(k))

    def unseen(self, x: np.ndarray) -> np.ndarray:
        """Return the first of each design of `x` (N, *shape) that is not among the rows."""
        known = len(self)
        first = first_of_each_design(np.concatenate([self.x, x.astype(self.x.dtype)]))
        return np.asarray(x[first[first >= known] - known])

    def below_percentile(self, p: float, *, min_p: float = 0.0) -> OfflineDataset:
        """Keep the rows with scores between two percentiles, in file order.

        The rows kept have y <= the `p`-th percentile and y >= the `min_p`-th, by numpy's linear
        rule.
        """
        keep = self.y <= np.percentile(self.y, p)
        if min_p > 0:
            keep &= self.y >= np.percentile(self.y, min_p)
        return self.take(np.flatnonzero(keep))

    def every_nth_by_score(self, max_rows: int) -> OfflineDataset:
        """Keep `max_rows` rows spread evenly over the ranks.

        Rows are sorted by score (stable); every floor(N / max_rows)-th is kept.

        This is how the papers cut TFBind10 to 50,000 rows (every 83rd). The rows come back sorted
        by score. Unchanged where there are no more than `max_rows` rows.
        """
        if max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, got {max_rows}")
        if max_rows >= len(self):
            return self
        order = np.argsort(self.y, kind="stable")
        return self.take(order[:: len(self) // max_rows][:max_rows])

    def subsample(self, fraction: float, rng: np.random.Generator) -> OfflineDataset:
        """Keep int(N * fraction) rows, at least one, drawn without replacement.

        File order is kept.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
        n = max(1, int(len(self) * fraction))
        return self.take(np.sort(rng.choice(len(self), size=n, replace=False)))

    def with_noise(self, std: float, rng: np.random.Generator) -> OfflineDataset:
        """Add Gaussian noise of standard deviation `std` (raw score units) to every score."""
        if std < 0:
            raise ValueError(f"the noise's standard deviation must not be negative, got {std}")
        noise = rng.normal(0.0, std, size=len(self)).astype(np.float32)
        return replace(self, y=self.y + noise)

    def weights(self) -> np.ndarray | None:
        """Return the weight of each row in a fit, mean 1, (N,) float32; None where all are equal.

        A row counts by 1 / (s^2 + error^2). s^2 is the variance of the scores that a model has to
        explain, taken as a tenth of all: a perfectly measured row counts at most a few times more
        than a typical one.
        """
        if self.error is None:
            return None
        error = self.error.astype(np.float64)
        own = 0.1 * self.score_scale.std**2
        weight = 1.0 / (own + error**2)
        return np.asarray(weight / weight.mean(), dtype=np.float32)

    def content_hash(self) -> str:
        """Return a sha256 of designs and scores: part of the keys of cached fits."""
        digest = hashlib.sha256(repr((self.x.shape, str(self.x.dtype))).encode())
        digest.update(self.x.data)
        digest.update(self.y.data)
        more = (("error", self.error), ("failed", self.failed), ("context", self.context))
        for name, values in more:
            if values is not None:
                digest.update(name.encode())
                digest.update(values.data)
        return digest.hexdigest()


def first_of_each_design(x: np.ndarray) -> np.ndarray:
    """Return the first row of each distinct design in `x` (N, *shape), in file order.

    Rows are compared byte by byte through one view, so memory grows with N.
    """
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    if flat.dtype.kind == "f":
        flat = flat + flat.dtype.type(0)  # -0.0 and 0.0 are one design
    rows = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
    return np.sort(np.unique(rows, return_index=True)[1])
