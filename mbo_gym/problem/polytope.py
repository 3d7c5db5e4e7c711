"""Points of a box cut by linear constraints: nearest ones and random ones, for whole batches.

Rows of `matrix` (m, D) with `limits` (m,) mean: the first `n_equal` hold as matrix x = limits, the
others as matrix x <= limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Polytope"]

N_NEWTON = 200
N_HALVINGS = 60
EXACT = 1e-10
"""Residual of a constraint, relative to its size, at which a projection has converged."""
FAR = 1e6
"""Distance from the box, in widths, beyond which a point counts as this far away."""
N_WALK = 4
"""Steps of hit-and-run per dimension."""


@dataclass(frozen=True, eq=False)
class Polytope:
    """Linear constraints on D numbers.

    Args:
        matrix: (m, D) weights of the constraints.
        limits: (m,) their right-hand sides.
        n_equal: Number of equalities, which come first.
    """

    matrix: np.ndarray
    limits: np.ndarray
    n_equal: int

    def excess(self, x: np.ndarray) -> np.ndarray:
        """Return by how much x (N, D) breaks each constraint; (N, m), 0 where it does not."""
        over = x @ self.matrix.T - self.limits
        over[:, : self.n_equal] = np.abs(over[:, : self.n_equal])
        return np.asarray(np.maximum(over, 0.0))

    def project(
        self, v: np.ndarray, low: np.ndarray, high: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest points of the polytope inside boxes, in the unit `scale` of each side.

        Each row minimises sum ((x - v) / scale)^2. The dual is a concave function of the m
        multipliers, quadratic in pieces: projected Newton steps (Bertsekas 1982) end at the exact
        point after finitely many of them.

        Args:
            v: (N, D) points, finite.
            low: (N, D) lower sides, which may be -inf.
            high: (N, D) upper sides, which may be inf.
            scale: (D,) units.

        Returns:
            x: (N, D) nearest points.
            found: (N,) bool, whether each satisfies the constraints; not so for an empty polytope.
        """
        a = self.matrix * scale  # in units: plain Euclidean distances
        size = np.maximum(np.linalg.norm(a, axis=1), 1e-300)
        a = a / size[:, None]
        b = self.limits / size
        v, low, high = v / scale, low / scale, high / scale
        v = np.clip(v, np.maximum(low, -1e300) - FAR, np.minimum(high, 1e300) + FAR)
        n, m = len(v), len(a)
        multipliers = np.zeros((n, m))
        x = np.clip(v, low, high)
        found = np.zeros(n, dtype=bool)
        full = a @ a.T + 1e-2 * np.eye(m)
        pairs = (a.T[:, :, None] * a.T[:, None, :]).reshape(-1, m * m)
        rows = np.arange(n)
        for _ in range(N_NEWTON):
            part = _Dual(a, b, self.n_equal, v[rows], low[rows], high[rows])
            lam = multipliers[rows]
            point = part.point(lam)
            gradient = b - point @ a.T
            pinned = (lam <= 0) & (gradient >= 0)
            pinned[:, : self.n_equal] = False
            residual = np.where(pinned, 0.0, np.abs(gradient))
            tolerance = EXACT * (1 + np.abs(b) + np.abs(point) @ np.abs(a).T)
            done = (residual <= tolerance).all(axis=1)
            x[rows[done]] = point[done]
            found[rows[done]] = True
            if done.all():
                break
            keep = ~done
            rows, lam, point, pinned = rows[keep], lam[keep], point[keep], pinned[keep]
            gradient = gradient[keep]
            part = part.take(keep)
            free = ((point > part.low) & (point < part.high)).astype(np.float64)
            hessian = (free @ pairs).reshape(-1, m, m) + 1e-9 * full
            either = pinned[:, :, None] | pinned[:, None, :]
            hessian = np.where(either, np.eye(m), hessian)
            step = np.linalg.solve(hessian, np.where(pinned, 0.0, -gradient)[:, :, None])[:, :, 0]
            moved, improved = part.search(lam, step, gradient)
            multipliers[rows] = moved
            x[rows] = part.point(moved)
            rows = rows[improved]
            if not len(rows):
                break
        # A coordinate that ends within rounding of its side is on it.
        x = np.where(x - low < EXACT, low, np.where(high - x < EXACT, high, x))
        return x * scale, found

    def walk(
        self,
        x: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        scale: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return random points after hit-and-run walks from points x (N, D) of the polytope.

        Each step draws a direction along the equalities and a uniform point on the chord. The
        distribution tends to the uniform one.

        Args:
            x: (N, D) points inside.
            low: (N, D) lower sides, finite.
            high: (N, D) upper sides, finite.
            scale: (D,) units of the directions.
            rng: Random numbers.
        """
        fixed = self.matrix[: self.n_equal] * scale
        flat = np.eye(len(scale)) - np.linalg.pinv(fixed) @ fixed
        upper = self.matrix[self.n_equal :]
        limits = self.limits[self.n_equal :]
        width = np.where(high > low, 1.0, 0.0)
        x = x.copy()
        for _ in range(N_WALK * len(scale)):
            direction = rng.standard_normal(x.shape) * width
            if self.n_equal:
                direction = _along(fixed, flat, direction, width)
            direction = direction * scale
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = np.stack([(low - x) / direction, (high - x) / direction])
                still = np.abs(direction) < 1e-12 * scale
                ends[0][still], ends[1][still] = -np.inf, np.inf
                most = np.maximum(ends[0], ends[1]).min(axis=1)
                least = np.minimum(ends[0], ends[1]).max(axis=1)
                if len(upper):
                    slope = direction @ upper.T
                    reach = (limits - x @ upper.T) / slope
                    most = np.minimum(most, np.where(slope > 1e-12, reach, np.inf).min(axis=1))
                    least = np.maximum(least, np.where(slope < -1e-12, reach, -np.inf).max(axis=1))
            moves = np.isfinite(most) & np.isfinite(least) & (most > least)
            t = least + (most - least) * rng.random(len(x))
            x = x + np.where(moves, t, 0.0)[:, None] * direction
        return np.asarray(np.clip(x, low, high))


def _along(
    fixed: np.ndarray, flat: np.ndarray, direction: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Return the parts of directions (N, D) that leave the equalities as they are."""
    if (width == 1).all():
        return np.asarray(direction @ flat.T)
    # Rows whose sides have no width differ in their null space.
    own = fixed * width[:, None, :]  # (N, n_equal, D)
    gram = own @ own.transpose(0, 2, 1)
    weights = np.linalg.pinv(gram) @ (own @ direction[:, :, None])
    return np.asarray(direction - (own.transpose(0, 2, 1) @ weights)[:, :, 0])


@dataclass(frozen=True, eq=False)
class _Dual:
    """The dual of projections onto {a x = b (the first), a x <= b (the others), low <= x <= high}.

    Multipliers lam (N, m); those of inequalities are at least 0.
    """

    a: np.ndarray
    b: np.ndarray
    n_equal: int
    v: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def take(self, keep: np.ndarray) -> _Dual:
        """Return the problems of some rows."""
        return _Dual(self.a, self.b, self.n_equal, self.v[keep], self.low[keep], self.high[keep])

    def point(self, lam: np.ndarray) -> np.ndarray:
        """Return the point (N, D) that multipliers (N, m) lead to."""
        return np.asarray(np.clip(self.v - lam @ self.a, self.low, self.high))

    def value(self, lam: np.ndarray) -> np.ndarray:
        """Return minus the dual function (N,)."""
        x = self.point(lam)
        slack = x @ self.a.T - self.b
        return np.asarray(-(0.5 * ((x - self.v) ** 2).sum(axis=1) + (lam * slack).sum(axis=1)))

    def search(
        self, lam: np.ndarray, step: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Halve steps until the dual improves; return multipliers (N, m) and which rows moved."""
        start = self.value(lam)
        moved = lam.copy()
        improved = np.zeros(len(lam), dtype=bool)
        rows = np.arange(len(lam))
        size = 1.0
        for _ in range(N_HALVINGS):
            new = lam[rows] + size * step[rows]
            new[:, self.n_equal :] = np.maximum(new[:, self.n_equal :], 0.0)
            value = self.take(rows).value(new)
            gain = 1e-4 * (gradient[rows] * (lam[rows] - new)).sum(axis=1)
            noise = 1e-15 * np.abs(start[rows])
            good = value <= start[rows] - gain + noise
            good &= (new != lam[rows]).any(axis=1)
            moved[rows[good]] = new[good]
            improved[rows[good]] = True
            rows = rows[~good]
            size /= 2
            if not len(rows):
                break
        return moved, improved
