"""Nearest and random designs under constraints, for whole batches.

All arrays are (N, slots) float64. A row may be pinned: its own sides `low`, `high` are then
narrower than those of the parameters, and lie on their steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product

import numpy as np

from mbo_gym.problem.constraints import (
    ROUNDING,
    AllowedDesigns,
    AtMostNonZero,
    Constraint,
    FixedSum,
    Forbidden,
    Slots,
)
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.parameters import Levels, Real
from mbo_gym.problem.polytope import Polytope
from mbo_gym.problem.reachable import require_reachable
from mbo_gym.problem.steps import free_ranges, next_value

__all__ = ["Feasible"]

N_POOL = 4096
"""Random designs among which the nearest is taken where nothing nearer was found."""
N_DRAWN = 1 << 16
"""Random rows drawn at once."""
LOWEST_SHARE = 0.01
"""Share of random rows that must be allowed for sampling by rejection; else they walk."""
N_TRIES = 60
N_HOPELESS = 10
"""Tries without any allowed row after which there seems to be none."""
N_BLOCK = 1 << 22
"""Numbers in one array that is made along the way."""


class Feasible:
    """The designs that satisfy parameters and constraints.

    Args:
        slots: Parameters of the space.
        constraints: Constraints between them.

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

    def nearest(self, v: np.ndarray) -> np.ndarray:
        """Return the nearest allowed designs of points (N, slots).

        Exact with linear constraints on numbers without steps, with one fixed sum of equal steps,
        and with a list. Otherwise rows are rounded and moved by steps until they are allowed: near,
        but not always the nearest.
        """
        if self.listed is not None:
            return self._nearest_listed(v)
        low, high = np.tile(self.low, (len(v), 1)), np.tile(self.high, (len(v), 1))
        y = self._solve(v, low, high)
        bad = np.flatnonzero(~self.holds(y))
        if len(bad):
            y[bad] = self._repair(v[bad], y[bad], low[bad], high[bad])
        return y

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` random allowed designs.

        Uniform by rejection where at least one row in a hundred is allowed, else the ends of random
        walks. Numbers with steps in a linear constraint are rounded from uniform reals.

        Raises:
            ValueError: No allowed design was found.
        """
        if self.listed is not None:
            return self.listed[rng.integers(0, len(self.listed), size=n)].astype(np.float64)
        parts = [np.zeros((0, len(self.low)))]
        have = drawn = 0
        while have < n:
            share = have / drawn if drawn else 1.0
            if drawn >= N_DRAWN // 4 and share < LOWEST_SHARE:
                parts.append(self._walked(n - have, rng))
                break
            m = min(N_DRAWN, int((n - have) / max(share, LOWEST_SHARE) * 1.1) + 64)
            x = self._draw(m, rng)
            x = x[self.holds(x)]
            parts.append(x)
            have += len(x)
            drawn += m
        return np.concatenate(parts)[:n]

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

    # Nearest designs

    def _nearest_listed(self, v: np.ndarray) -> np.ndarray:
        assert self.listed is not None
        y = v.astype(np.float32).astype(np.float64)  # designs of the list stay as they are
        others = np.flatnonzero(~self.holds(v))
        y[others] = self._nearest_of(self.listed, v[others])
        return y

    def _nearest_of(self, rows: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the nearest of some designs (n, slots) to each point."""
        designs = self._embedded(rows, rows)
        size = (designs**2).sum(axis=1)
        chosen = np.empty(len(v), dtype=np.int64)
        block = max(1, N_BLOCK // len(rows))
        for start in range(0, len(v), block):
            part = self._embedded(v[start : start + block], rows)
            # |p - d|^2 without |p|^2, which changes no order
            chosen[start : start + block] = (size - 2 * (part @ designs.T)).argmin(axis=1)
        return rows[chosen]

    def _embedded(self, v: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return points (N, slots) as points between which `distance` is Euclidean, (N, e).

        Numbers are counted from the middle of some designs (n, slots), and end at ten times their
        range, so that differences do not cancel.
        """
        ordered = ~self.unordered
        middle = (rows.max(axis=0) + rows.min(axis=0)) / 2
        reach = 10 * np.maximum(rows.max(axis=0) - rows.min(axis=0), self.scale)
        numbers = np.clip(v - middle, -reach, reach) / self.scale
        columns = [numbers[:, ordered]]
        for slot in np.flatnonzero(self.unordered):
            values = np.arange(self.low[slot], self.high[slot] + 1)
            columns.append((np.rint(v[:, slot, None]) == values) * math.sqrt(0.5))
        return np.concatenate(columns, axis=1)

    def _solve(self, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the nearest values that satisfy the linear constraints, where steps allow it."""
        for constraint in self.constraints:
            if isinstance(constraint, AtMostNonZero):
                self._pin_to_zero(constraint, v, low, high)
        y = self.nearest_values(np.clip(v, low, high))
        bad = np.flatnonzero(self._breaks(y, ROUNDING))
        if not len(bad):
            return y
        point = v[bad]
        sides = low[bad], high[bad]
        relaxed, _ = self.polytope.project(point, *sides, self.scale)
        y[np.ix_(bad, np.array(self.involved))] = relaxed[:, self.involved]
        if len(self.stepped):
            y[bad] = self._on_steps(y[bad], point, *sides)
        return y

    def _breaks(self, x: np.ndarray, rounding: float = 1e-9) -> np.ndarray:
        """Return which rows break a linear constraint, but for rounding; (N,) bool."""
        size = np.abs(x) @ np.abs(self.polytope.matrix).T
        return np.asarray((self.polytope.excess(x) > rounding * (1 + size)).any(axis=1))

    def _on_steps(
        self, y: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Round the stepped numbers of relaxed solutions, and keep the linear constraints."""
        y = y.copy()
        y[:, self.stepped] = np.clip(self.nearest_values(y), low, high)[:, self.stepped]
        y = self._fill(y, v, low, high)
        bad = np.flatnonzero(self._breaks(y))
        if len(bad):
            moved = self._move(y[bad], v[bad], low[bad], high[bad])
            y[bad] = self._fill(moved, v[bad], low[bad], high[bad])
        return y

    def _fill(self, y: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Let the numbers without steps make up for what rounding the others has broken."""
        bad = np.flatnonzero(self._breaks(y))
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
                still = self._breaks(y[rows])
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

    def _pin_to_zero(
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

    # Forbidden combinations, and what nothing else mends

    def _repair(
        self, v: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        forbidden = [c for c in self.constraints if isinstance(c, Forbidden)]
        for _ in range(2 * len(forbidden)):
            for rule in forbidden:
                rows = np.flatnonzero(~rule.holds(self.slots, y))
                if len(rows):
                    new, sides = self._avoid(rule, v[rows], low[rows], high[rows])
                    y[rows] = new
                    low[rows], high[rows] = sides
        bad = np.flatnonzero(~self.holds(y))
        if len(bad):
            y[bad] = self._nearest_of(self.pool, v[bad])
        return y

    def _avoid(
        self, rule: Forbidden, v: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the nearest designs in which one parameter no longer meets a rule, and sides."""
        best = np.full(len(v), np.inf)
        y = v.copy()
        sides = low.copy(), high.copy()
        for place, least, most in self._ways(rule):
            new_low, new_high = low.copy(), high.copy()
            new_low[:, place] = np.maximum(low[:, place], least)
            new_high[:, place] = np.minimum(high[:, place], most)
            open_ = (new_low <= new_high).all(axis=1)
            if not open_.any():
                continue
            rows = np.flatnonzero(open_)
            new = self._solve(v[rows], new_low[rows], new_high[rows])
            broken = ~rule.holds(self.slots, new) | self._breaks(new)
            others = ~self.holds(new)
            cost = self.distance(new, v[rows]) + 1e3 * others + 1e9 * broken
            take = cost < best[rows]
            chosen = rows[take]
            best[chosen] = cost[take]
            y[chosen] = new[take]
            sides[0][chosen] = new_low[chosen]
            sides[1][chosen] = new_high[chosen]
        return y, sides

    def _ways(self, rule: Forbidden) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield sides of one parameter's slots at which it does not meet its condition."""
        for name in rule.when:
            parameter = self.slots.parameters[name]
            place = self.slots.of(name)
            if isinstance(parameter, Letters):
                for site, letter in product(range(parameter.size), range(len(parameter.letters))):
                    slot = place.start + site
                    yield slice(slot, slot + 1), np.array([letter]), np.array([letter])
                continue
            for least, most in free_ranges(rule, self.slots, name, parameter):
                yield place, np.array([least]), np.array([most])

    @cached_property
    def pool(self) -> np.ndarray:
        """Random allowed designs."""
        return self.sample(N_POOL, np.random.default_rng(0))

    # Random designs

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw rows that satisfy fixed sums and zeros, but not always bounds or other limits."""
        x = np.concatenate([p.sample(n, rng) for p in self.slots.parameters.values()], axis=1)
        low, high = np.tile(self.low, (n, 1)), np.tile(self.high, (n, 1))
        for constraint in self.constraints:
            if isinstance(constraint, AtMostNonZero):
                self._pin_to_zero(constraint, self._shuffled(constraint, low, rng), low, high)
        x = np.clip(x, low, high)
        for constraint in self.constraints:
            if isinstance(constraint, FixedSum):
                slots = [self.slots.numeric(name) for name in constraint.names]
                x[:, slots] = _slice(low[:, slots], high[:, slots], constraint.total, rng)
        inside = ((x >= low - 1e-12) & (x <= high + 1e-12)).all(axis=1)
        x, low, high = x[inside], low[inside], high[inside]
        if len(self.stepped):
            kept = self.polytope.excess(x)[:, self.polytope.n_equal :].max(axis=1, initial=0) <= 0
            x = self._solve(x[kept], low[kept], high[kept])
        return x

    def _shuffled(
        self, constraint: AtMostNonZero, low: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return rows whose largest numbers are a random choice."""
        v = np.zeros_like(low)
        slots = constraint.choosable(self.slots)
        share = 1 - rng.random((len(low), len(slots)))
        v[:, slots] = np.where(self.high[slots] > 0, self.high[slots], self.low[slots]) * share
        return v

    def _walked(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` allowed ends of random walks.

        Raises:
            ValueError: None was found.
        """
        parts: list[np.ndarray] = []
        have = 0
        for attempt in range(N_TRIES):
            if attempt >= N_HOPELESS and not have:
                break
            m = n - have + 64
            x = np.concatenate([p.sample(m, rng) for p in self.slots.parameters.values()], axis=1)
            low, high = np.tile(self.low, (m, 1)), np.tile(self.high, (m, 1))
            for constraint in self.constraints:
                if isinstance(constraint, AtMostNonZero):
                    self._pin_to_zero(constraint, self._shuffled(constraint, low, rng), low, high)
            start, found = self.polytope.project(x, low, high, self.scale)
            walked = self.polytope.walk(start, low, high, self.scale, rng)
            x[:, self.involved] = walked[:, self.involved]
            x = self._solve(x[found], low[found], high[found])
            x = x[self.holds(x)]
            parts.append(x)
            have += len(x)
            if have >= n:
                return np.concatenate(parts)[:n]
        words = "; ".join(constraint.in_words() for constraint in self.constraints)
        raise ValueError(
            f"found {have} of {n} random designs that satisfy {words}. Check the constraints, or "
            "list the allowed designs."
        )


def _slice(low: np.ndarray, high: np.ndarray, total: float, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers (N, D) uniformly among those with a sum and one-sided bounds.

    Where the total is nearer to the sum of the highest values, they count down from these; the
    other sides may be broken.
    """
    wide = high > low
    mass = total - low.sum(axis=1, keepdims=True)
    rest = high.sum(axis=1, keepdims=True) - total
    share = rng.standard_exponential(low.shape) * wide
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(np.where(mass <= rest, low + share * mass, high - share * rest))
