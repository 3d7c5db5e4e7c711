"""Designs under parameters and constraints, and the nearest ones under linear constraints.

All arrays are (N, slots) float64. A row may be pinned: its own sides `low`, `high` are then
narrower than those of the parameters, and lie on their steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mbo_gym.problem.constraints import (
    ROUNDING,
    AllowedDesigns,
    AtMostNonZero,
    Constraint,
    Slots,
)
from mbo_gym.problem.parameters import Levels, Real
from mbo_gym.problem.polytope import Polytope
from mbo_gym.problem.reachable import require_reachable
from mbo_gym.problem.steps import next_value

__all__ = ["Region"]


class Region:
    """The region of the designs that satisfy parameters and constraints.

    Args:
        slots: Parameters of the space.
        constraints: Constraints between them.

    Attributes:
        low: (slots,) smallest values.
        high: (slots,) largest values.
        scale: (slots,) units of distances, the widths of the ranges.
        unordered: (slots,) bool, whether two values are alike or different, nothing between.
        listed: (n, slots) the allowed designs where they are listed, else None.
        polytope: Linear constraints.
        involved: Slots that a linear constraint uses.
        stepped: Those of them whose numbers have steps.
        smooth: Those of them whose numbers have none.

    Raises:
        ValueError: The linear constraints leave no design, or steps never add up to a sum.
    """

    def __init__(self, slots: Slots, constraints: Sequence[Constraint]) -> None:
        self.slots = slots
        self.constraints = tuple(constraints)
        parameters = slots.parameters.values()
        sizes = [parameter.size for parameter in parameters]
        self.low = np.repeat([float(p.low) for p in parameters], sizes)
        self.high = np.repeat([float(p.high) for p in parameters], sizes)
        numeric = np.repeat([p.numeric for p in parameters], sizes)
        width = self.high - self.low
        self.scale = np.where(numeric & np.isfinite(width) & (width > 0), width, 1.0)
        self.unordered = ~numeric & np.repeat(
            [not isinstance(p, Levels) for p in parameters], sizes
        )
        words = np.repeat([isinstance(p, Levels) and not p.numeric for p in parameters], sizes)
        self.scale = np.where(words & (width > 0), width, self.scale)
        self.listed = self._list()
        listed = np.zeros((0, slots.total)) if self.listed is None else self.listed
        self._known = {row.tobytes() for row in listed.astype(np.float32) + np.float32(0)}
        if self.listed is None:
            require_reachable(slots, self.constraints)
        self.polytope = self._polytope()
        involved = (self.polytope.matrix != 0).any(axis=0) & (width > 0)
        stepless = np.repeat([isinstance(p, Real) and p.step is None for p in parameters], sizes)
        self.stepped: list[int] = np.flatnonzero(involved & ~stepless).tolist()
        self.smooth: list[int] = np.flatnonzero(involved & stepless).tolist()
        self.involved: list[int] = np.flatnonzero(involved).tolist()
        self._require_some()

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Return which rows satisfy all constraints; (N,) bool."""
        if self.listed is not None:  # these satisfy the other constraints too
            rows = np.ascontiguousarray(x, dtype=np.float32) + np.float32(0)
            return np.array([row.tobytes() in self._known for row in rows], dtype=bool)
        good = np.ones(len(x), dtype=bool)
        for constraint in self.constraints:
            good &= constraint.holds(self.slots, x)
        return good

    def nearest_values(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest value of each parameter on its own."""
        y = np.empty_like(x)
        for name, parameter in self.slots.parameters.items():
            place = self.slots.of(name)
            y[:, place] = parameter.nearest(x[:, place])
        return y

    def distance(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return squared distances: of numbers in widths of their range, of words 1 if they differ.

        Args:
            x: (.., slots) designs.
            v: (.., slots) points.
        """
        off = (x - v) / self.scale
        other = (np.rint(v) != x).astype(np.float64)
        return np.asarray(np.where(self.unordered, other, off**2).sum(axis=-1))

    def sides(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sides `low` and `high` of `n` rows that are not pinned, (n, slots) each."""
        return np.tile(self.low, (n, 1)), np.tile(self.high, (n, 1))

    def solve(self, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the nearest values that satisfy the linear constraints, where steps allow it.

        Args:
            v: (N, slots) points.
            low: (N, slots) lower sides; where a row may differ from 0 in few numbers only, the
                sides of the others are set to 0 in place.
            high: (N, slots) upper sides, likewise.
        """
        for constraint in self.constraints:
            if isinstance(constraint, AtMostNonZero):
                self.pin_to_zero(constraint, v, low, high)
        y = self.nearest_values(np.clip(v, low, high))
        bad = np.flatnonzero(self.breaks(y, ROUNDING))
        if not len(bad):
            return y
        point = v[bad]
        sides = low[bad], high[bad]
        relaxed, _ = self.polytope.project(point, *sides, self.scale)
        y[np.ix_(bad, np.array(self.involved))] = relaxed[:, self.involved]
        if len(self.stepped):
            y[bad] = self._on_steps(y[bad], point, *sides)
        return y

    def breaks(self, x: np.ndarray, rounding: float = 1e-9) -> np.ndarray:
        """Return which rows break a linear constraint, but for rounding; (N,) bool."""
        size = np.abs(x) @ np.abs(self.polytope.matrix).T
        return np.asarray((self.polytope.excess(x) > rounding * (1 + size)).any(axis=1))

    def pin_to_zero(
        self, constraint: AtMostNonZero, v: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> None:
        """Set the sides of all but a few numbers to 0, in place.

        Those stay for which 0 would be farthest from the point; of equal ones, the largest. This is
        the nearest choice on its own and with a fixed sum of parts of one range (Kyrillidis et al.
        2013, Sparse projections onto the simplex, arXiv 1206.1529).
        """
        slots = constraint.choosable(self.slots)
        point = v[:, slots] / self.scale[slots]
        inside = np.clip(v[:, slots], low[:, slots], high[:, slots]) / self.scale[slots]
        gain = point**2 - (point - inside) ** 2
        order = np.lexsort((-point, -gain), axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(len(slots))[None], axis=1)
        rows, column = np.nonzero(rank >= constraint.room(self.slots))
        low[rows, slots[column]] = 0.0
        high[rows, slots[column]] = 0.0

    # Parts of the constructor

    def _list(self) -> np.ndarray | None:
        lists = [c for c in self.constraints if isinstance(c, AllowedDesigns)]
        if not lists:
            return None
        rows = lists[0].rows(self.slots).astype(np.float64)
        for constraint in self.constraints:
            rows = rows[constraint.holds(self.slots, rows)]
        if not len(rows):
            raise ValueError("none of the listed designs satisfies the other constraints")
        return np.unique(rows, axis=0)

    def _polytope(self) -> Polytope:
        rows = [row for constraint in self.constraints for row in constraint.linear(self.slots)]
        rows.sort(key=lambda row: not row[2])
        matrix = np.array([row[0] for row in rows]).reshape(len(rows), self.slots.total)
        limits = np.array([row[1] for row in rows])
        return Polytope(matrix, limits, sum(row[2] for row in rows))

    def _require_some(self) -> None:
        from scipy.optimize import linprog

        polytope = self.polytope
        if not len(polytope.matrix):
            return
        m = polytope.n_equal
        bounds = [
            (low if math.isfinite(low) else None, high if math.isfinite(high) else None)
            for low, high in zip(self.low, self.high, strict=True)
        ]
        result = linprog(
            np.zeros(self.slots.total),
            A_ub=polytope.matrix[m:] if len(polytope.matrix) > m else None,
            b_ub=polytope.limits[m:] if len(polytope.matrix) > m else None,
            A_eq=polytope.matrix[:m] if m else None,
            b_eq=polytope.limits[:m] if m else None,
            bounds=bounds,
        )
        if result.status == 2:
            words = "; ".join(c.in_words() for c in self.constraints if c.linear(self.slots))
            raise ValueError(
                f"no design within the bounds satisfies the constraints {words}. Widen the bounds, "
                "or correct a constraint."
            )

    # Numbers with steps

    def _on_steps(
        self, y: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Round the stepped numbers of relaxed solutions, and keep the linear constraints."""
        y = y.copy()
        y[:, self.stepped] = np.clip(self.nearest_values(y), low, high)[:, self.stepped]
        y = self._fill(y, v, low, high)
        bad = np.flatnonzero(self.breaks(y))
        if len(bad):
            moved = self._move(y[bad], v[bad], low[bad], high[bad])
            y[bad] = self._fill(moved, v[bad], low[bad], high[bad])
        return y

    def _fill(self, y: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Let the numbers without steps make up for what rounding the others has broken."""
        bad = np.flatnonzero(self.breaks(y))
        if not len(self.smooth) or not len(bad):
            return y
        low, high = low[bad].copy(), high[bad].copy()
        low[:, self.stepped] = high[:, self.stepped] = y[np.ix_(bad, np.array(self.stepped))]
        point = v[bad].copy()
        point[:, self.stepped] = y[np.ix_(bad, np.array(self.stepped))]
        filled, _ = self.polytope.project(point, low, high, self.scale)
        y = y.copy()
        y[np.ix_(bad, np.array(self.smooth))] = filled[:, self.smooth]
        return y

    def _move(self, y: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Move stepped numbers up and down, the best move at a time, until nothing is broken.

        With one fixed sum of equal steps this ends at the nearest design: the start is the best
        for its own sum, and each move is the cheapest.
        """
        y = y.copy()
        done = np.zeros(len(y), dtype=bool)
        for with_pairs in (False, True):
            rows = np.flatnonzero(~done)
            while len(rows):
                better, broken = self._best_move(
                    y[rows], v[rows], low[rows], high[rows], with_pairs=with_pairs
                )
                y[rows] = better
                still = self.breaks(y[rows])
                done[rows[~still]] = True
                rows = rows[still & broken]
        return y

    def _best_move(
        self,
        y: np.ndarray,
        v: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        *,
        with_pairs: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make the move that breaks the constraints least, then the nearest one.

        Returns:
            y: (N, slots) rows after the move.
            improved: (N,) bool, whether the constraints are broken less than before.
        """
        up = self._neighbours(y, 1) - y
        down = self._neighbours(y, -1) - y
        up[y + up > high + 1e-12] = 0.0
        down[y + down < low - 1e-12] = 0.0
        moves: list[tuple[int, np.ndarray, int | None, np.ndarray | None]] = []
        moves += [(j, up, None, None) for j in self.stepped]
        moves += [(j, down, None, None) for j in self.stepped]
        if with_pairs:
            moves += [(j, up, k, down) for j in self.stepped for k in self.stepped if j != k]
        size = np.maximum(np.abs(self.polytope.matrix).max(axis=1), 1e-300)
        start = (self.polytope.excess(y) / size).sum(axis=1)
        best = start.copy()
        score = np.full(len(y), np.inf)
        result = y.copy()
        for j, first, k, second in moves:
            new = y.copy()
            new[:, j] += first[:, j]
            useful = first[:, j] != 0
            if k is not None and second is not None:
                new[:, k] += second[:, k]
                useful &= second[:, k] != 0
            broken = (self.polytope.excess(new) / size).sum(axis=1)
            far = ((new - v) / self.scale) ** 2
            cost = far[:, j] - (((y - v) / self.scale) ** 2)[:, j]
            if k is not None:
                cost = cost + far[:, k] - (((y - v) / self.scale) ** 2)[:, k]
            less = broken < best - 1e-9
            alike = (broken <= best + 1e-9) & (broken < start - 1e-9) & (cost < score)
            take = useful & (less | alike)
            result[take] = new[take]
            best[take] = broken[take]
            score[take] = cost[take]
        return result, best < start - 1e-9

    def _neighbours(self, y: np.ndarray, direction: int) -> np.ndarray:
        """Return the next value up (1) or down (-1) of every number, or itself at the end."""
        other = y.copy()
        for name, parameter in self.slots.parameters.items():
            if parameter.numeric and parameter.n_values > 1:
                place = self.slots.of(name)
                other[:, place] = next_value(parameter, y[:, place], direction)
        return other
