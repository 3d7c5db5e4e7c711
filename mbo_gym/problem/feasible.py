"""Nearest allowed designs under constraints, for whole batches.

All arrays are (N, slots) float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import product

import numpy as np

from mbo_gym.problem import random_designs
from mbo_gym.problem.constraints import Forbidden
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.region import Region
from mbo_gym.problem.steps import free_ranges

__all__ = ["Feasible"]

N_POOL = 4096
"""Random designs among which the nearest is taken where nothing nearer was found."""
N_BLOCK = 1 << 22
"""Numbers in one array that is made along the way."""


class Feasible(Region):
    """A region with its random designs and the nearest ones under all constraints.

    Args:
        slots: Parameters of the space.
        constraints: Constraints between them.

    Raises:
        ValueError: The linear constraints leave no design, or steps never add up to a sum.
    """

    def nearest(self, v: np.ndarray) -> np.ndarray:
        """Return the nearest allowed designs of points (N, slots).

        Exact with linear constraints on numbers without steps, with one fixed sum of equal steps,
        and with a list. Otherwise rows are rounded and moved by steps until they are allowed: near,
        but not always the nearest.
        """
        if self.listed is not None:
            return self._nearest_listed(v)
        low, high = self.sides(len(v))
        y = self.solve(v, low, high)
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
        return random_designs.sample(self, n, rng)

    @cached_property
    def pool(self) -> np.ndarray:
        """Random allowed designs."""
        return self.sample(N_POOL, np.random.default_rng(0))

    # Listed designs

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
            new = self.solve(v[rows], new_low[rows], new_high[rows])
            broken = ~rule.holds(self.slots, new) | self.breaks(new)
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
