"""Candidates of a batch: what a method proposes, the neighbours of that, and random designs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mbo_gym.batch.writing import Writing
from mbo_gym.methods.base import Context, Method
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Pool", "Taken", "draw_pool", "spread_pool"]

FEWEST_ASKED = 256
MOST_ASKED = 4_096
"""Designs that a method is asked for: four times the batch, within these limits."""
N_CHILDREN = 2_000
ROUNDS = 2
"""Rounds of neighbours, and neighbours drawn in each."""
N_PARENTS = 256
MOST_CHANGED = 3
"""Numbers, words or letters of a neighbour that are changed."""
NEAR = 0.1
"""Standard deviation of a changed number, as a share of the measured range."""
MOST_LISTED = 50_000
"""Designs of a space up to which all of them are candidates."""
ATTEMPTS = 12
"""Draws of random designs where candidates are few."""

Value = Callable[[np.ndarray], np.ndarray]
"""Function from designs (N, *shape) to what they are ranked by (N,), higher is better."""


class Taken:
    """Designs that must not be proposed: measured, failed, excluded or pending ones.

    Args:
        writing: Grid on which designs count as the same.
        measured: Measured designs (N, *shape) and further arrays like it.
    """

    def __init__(self, writing: Writing, *measured: np.ndarray) -> None:
        self.writing = writing
        keys = [writing.keys(x) for x in measured if len(x)]
        self._keys = np.unique(np.concatenate(keys))

    def free(self, x: np.ndarray) -> np.ndarray:
        """Return the designs of x (N, *shape) that are distinct and not taken."""
        if len(x) == 0:
            return x
        keys = self.writing.keys(x)
        first = np.zeros(len(x), dtype=bool)
        first[np.unique(keys, return_index=True)[1]] = True
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.asarray(x[first & (self._keys[at] != keys)])


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates and what they are ranked by.

    Args:
        x: (N, *shape) distinct designs on the grid that are not taken, best first.
        value: (N,) what they are ranked by.
        n_asked: Designs that the method was asked for; 0 where it was not.
        n_from_method: Distinct free designs among them.
        listed: Whether these are all free designs of the space.
    """

    x: np.ndarray
    value: np.ndarray
    n_asked: int
    n_from_method: int
    listed: bool = False


def draw_pool(
    problem: OfflineProblem,
    method: Method,
    context: Context,
    taken: Taken,
    value: Value,
    k: int,
) -> Pool:
    """Fit a method, ask it for more designs than needed, and add neighbours and random designs.

    Where the space has at most `MOST_LISTED` designs, all of them are candidates and the method is
    not needed: in our study of complete tables, ranking the list beat every method's search.

    A neighbour is a cross of two good designs in which up to three parameters change. Random
    designs are added only where fewer than four times `k` candidates are found.

    Args:
        problem: Space and visible data.
        method: Unfitted method.
        context: Seed, device and progress.
        taken: Designs to leave out.
        value: What designs are ranked by.
        k: Size of the batch.
    """
    listed = taken.writing.every_design(MOST_LISTED)
    if listed is not None:
        return _best_first(taken.free(listed), value, listed=True)
    asked = min(max(4 * k, FEWEST_ASKED), MOST_ASKED)
    method.fit(problem, context)
    proposed = taken.writing.write(method.propose(asked).x)
    x = taken.free(proposed)
    n_from_method = len(x)
    rng = np.random.default_rng([context.seed, 15])
    parents = proposed[first_of_each_design(proposed)]
    partners = taken.writing.write(problem.dataset.top(N_PARENTS).x)
    for _ in range(ROUNDS):
        order = np.argsort(-value(parents), kind="stable")[:N_PARENTS]
        parents = parents[order]
        children = _neighbours(problem, taken.writing, parents, partners, rng)
        x = taken.free(np.concatenate([x, children]))
        parents = np.concatenate([parents, children])
        parents = parents[first_of_each_design(parents)]
    for _ in range(ATTEMPTS):
        if len(x) >= 4 * k:
            break
        x = taken.free(np.concatenate([x, taken.writing.sample(max(N_CHILDREN, 4 * k), rng)]))
    return _best_first(x, value, n_asked=asked, n_from_method=n_from_method)


def _best_first(
    x: np.ndarray, value: Value, *, n_asked: int = 0, n_from_method: int = 0, listed: bool = False
) -> Pool:
    worth = value(x) if len(x) else np.zeros(0)
    order = np.argsort(-worth, kind="stable")
    return Pool(x[order], worth[order], n_asked, n_from_method, listed)


def spread_pool(taken: Taken, k: int, seed: int) -> Pool:
    """Return random designs of the space, all of the same value, to spread a batch over."""
    rng = np.random.default_rng([seed, 16])
    n = max(N_CHILDREN, 20 * k)
    x = taken.free(taken.writing.sample(n, rng))
    for _ in range(ATTEMPTS):
        if len(x) >= 4 * k:
            break
        x = taken.free(np.concatenate([x, taken.writing.sample(n, rng)]))
    return Pool(x, np.zeros(len(x)), 0, 0)


def _neighbours(
    problem: OfflineProblem,
    writing: Writing,
    parents: np.ndarray,
    partners: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return neighbours (N, *shape) of designs (P, *shape) on the grid."""
    space = problem.space
    x = problem.dataset.x
    n, slots = N_CHILDREN, x.shape[1]
    child = np.asarray(parents[rng.integers(len(parents), size=n)], dtype=np.float64)
    pool = np.concatenate([parents, partners])
    other = pool[rng.integers(len(pool), size=n)]
    crossed = (rng.random((n, slots)) < 0.5) & (rng.random((n, 1)) < 0.5)
    child = np.where(crossed, other, child)
    random = writing.sample(n, rng)
    random = random[rng.integers(len(random), size=n)]
    n_changed = rng.integers(1, min(MOST_CHANGED, slots) + 1, size=(n, 1))
    changed = rng.random((n, slots)).argsort(axis=1) < n_changed
    numeric = _numeric_slots(space, slots)
    near = child + rng.normal(0, NEAR, size=(n, slots)) * np.ptp(x, axis=0)
    near = np.where(numeric & (rng.random((n, 1)) < 0.7), near, random)
    return writing.write(np.where(changed, near, child))


def _numeric_slots(space: DesignSpace, slots: int) -> np.ndarray:
    """Return which slots of a design are numbers, (slots,) bool."""
    if not isinstance(space, MixedSpace):
        return np.full(slots, not isinstance(space, CategoricalSpace))
    numeric = np.zeros(slots, dtype=bool)
    for name, parameter in space.slots.parameters.items():
        numeric[space.slots.of(name)] = parameter.numeric
    return numeric
