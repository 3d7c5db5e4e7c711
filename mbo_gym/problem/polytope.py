"""Points of a box cut by linear constraints: nearest ones and random ones, for whole batches.

Rows of `matrix` (m, D) with `limits` (m,) mean: the first `n_equal` hold as matrix x = limits, the
others as matrix x <= limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        multipliers, quadratic in pieces: projected Newton steps (Bertsekas 1982), or projected
        gradient steps where these do not improve, end at the exact point after finitely many.

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
        rows = np.arange(n)
        dual = _Dual.of(a, b, self.n_equal, v, low, high)
        for _ in range(N_NEWTON):
            lam = multipliers[rows]
            point = x[rows]
            gradient = b - point @ a.T
            pinned = dual.pinned(lam, gradient)
            done = dual.solved(point, gradient, pinned)
            found[rows[done]] = True
            if done.all():
                break
            if done.any():
                keep = ~done
                rows, lam, point, pinned = rows[keep], lam[keep], point[keep], pinned[keep]
                gradient = gradient[keep]
                dual = dual.take(keep)
            step = dual.newton_step(point, gradient, pinned)
            moved, improved = dual.search(lam, step, gradient)
            stuck = np.flatnonzero(~improved)
            if len(stuck):  # a multiplier met 0 on the way: the plain gradient always improves
                slope = -gradient[stuck]
                moved[stuck], improved[stuck] = dual.take(stuck).search(
                    lam[stuck], slope, gradient[stuck]
                )
            multipliers[rows] = moved
            x[rows] = dual.point(moved)
            if not improved.all():
                rows = rows[improved]
                dual = dual.take(improved)
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

    Multipliers lam (N, m); those of inequalities are at least 0. `gradient` (N, m) is that of minus
    the dual function, b - a x.

    Args:
        a: (m, D) constraints, of length 1.
        b: (m,) their right-hand sides.
        n_equal: Number of equalities.
        v: (N, D) points.
        low: (N, D) lower sides.
        high: (N, D) upper sides.
        pairs: (D, m m) products of the constraints, a part of the Hessian for each free coordinate.
        full: (m, m) Hessian with all coordinates free, a little of which keeps others regular.
    """

    a: np.ndarray
    b: np.ndarray
    n_equal: int
    v: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pairs: np.ndarray
    full: np.ndarray

    @classmethod
    def of(
        cls,
        a: np.ndarray,
        b: np.ndarray,
        n_equal: int,
        v: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> _Dual:
        """Return the duals of the points v (N, D) in the boxes low to high."""
        m = len(a)
        pairs = (a.T[:, :, None] * a.T[:, None, :]).reshape(a.shape[1], m * m)
        full = a @ a.T + 1e-2 * np.eye(m)
        return cls(a, b, n_equal, v, low, high, pairs, full)

    def take(self, keep: np.ndarray) -> _Dual:
        """Return the problems of some rows."""
        return replace(self, v=self.v[keep], low=self.low[keep], high=self.high[keep])

    def pinned(self, lam: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return which multipliers (N, m) stay at 0: the dual function falls above it."""
        pinned = (lam <= 0) & (gradient >= 0)
        pinned[:, : self.n_equal] = False
        return pinned

    def solved(self, x: np.ndarray, gradient: np.ndarray, pinned: np.ndarray) -> np.ndarray:
        """Return which points (N, D) satisfy every constraint that is not pinned; (N,) bool."""
        residual = np.where(pinned, 0.0, np.abs(gradient))
        tolerance = EXACT * (1 + np.abs(self.b) + np.abs(x) @ np.abs(self.a).T)
        return np.asarray((residual <= tolerance).all(axis=1))

    def newton_step(self, x: np.ndarray, gradient: np.ndarray, pinned: np.ndarray) -> np.ndarray:
        """Return Newton's steps (N, m) of the multipliers that are not pinned."""
        m = len(self.a)
        free = ((x > self.low) & (x < self.high)).astype(np.float64)
        hessian = (free @ self.pairs).reshape(-1, m, m) + 1e-9 * self.full
        either = pinned[:, :, None] | pinned[:, None, :]
        hessian = np.where(either, np.eye(m), hessian)
        step = np.linalg.solve(hessian, np.where(pinned, 0.0, -gradient)[:, :, None])
        return np.asarray(step[:, :, 0])

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
            part = self if len(rows) == len(lam) else self.take(rows)
            value = part.value(new)
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
