"""Searches as generators: they yield designs, are sent their scores, and know nothing else.

All start points of a search are searched at once, each on its own. The same searches climb a
surrogate's features in a method, and a simulator's designs under a budget in an experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

__all__ = [
    "Adam",
    "Box",
    "Found",
    "Normals",
    "Search",
    "adam_on_differences",
    "adam_on_gradient",
    "cross_entropy",
    "follow",
    "smoothed_gradient",
]

Search: TypeAlias = Generator[np.ndarray, np.ndarray, None]
"""Yields designs (S, n, d) of S searches, and is sent their scores (S, n); higher is better."""

Box: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Lowest and highest values (d,), (d,) of designs."""


class Normals(Protocol):
    """Source of normal deviates: numpy's Generator, or its RandomState."""

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        """Draw standard normal deviates."""
        ...


@dataclass(frozen=True, eq=False)
class Found:
    """Best designs of searches, and what they cost.

    Args:
        designs: (S, m, d) best designs of each search, best first.
        scores: (S, m) their scores; -inf for a design that repeats another.
        curve: (S, n) best score of each search after each of its n evaluations.
    """

    designs: np.ndarray
    scores: np.ndarray
    curve: np.ndarray


def cross_entropy(
    starts: np.ndarray,
    random: Normals,
    *,
    population: int = 20,
    n_elite: int = 5,
    std: float = 0.47,
    least_std: float = 0.03,
    box: Box | None = None,
) -> Search:
    """Cross-entropy method: fit a diagonal Gaussian to the best designs of the last one; endless.

    Args:
        starts: (S, d) means of the first Gaussians.
        random: Source of normal deviates.
        population: Designs of a step.
        n_elite: Designs that the next Gaussian is fitted to.
        std: Standard deviation of the first step.
        least_std: Smallest standard deviation later.
        box: Box that designs are clipped to, or None.

    Raises:
        ValueError: There are not 1 to `population` elite designs.
    """
    if not 1 <= n_elite <= population:
        raise ValueError(f"n_elite must lie in 1 .. population={population}, got {n_elite}")
    s, d = starts.shape
    mean = starts.astype(np.float64)[:, None]  # (S, 1, d)
    spread = np.full((s, 1, d), std)
    while True:
        designs = _clipped(mean + spread * random.standard_normal((s, population, d)), box)
        scores = yield designs
        best = np.argsort(-scores, axis=1, kind="stable")[:, :n_elite]
        elite = np.take_along_axis(designs, best[:, :, None], axis=1)
        mean = elite.mean(axis=1, keepdims=True)
        spread = np.maximum(elite.std(axis=1, keepdims=True), least_std)


class Adam:
    """Adam (Kingma and Ba, 2015): steps down gradients, each number on its own.

    Args:
        start: Designs (S, d).
        rate: Learning rate.
        box: Box that designs are clipped to, or None.
        new1: Share of a new gradient in the mean gradient, 1 - beta1 of the paper.
        new2: Share of a new square in the mean squared gradient, 1 - beta2 of the paper.

    Attributes:
        design: Designs (S, d) after the steps so far.
    """

    def __init__(
        self,
        start: np.ndarray,
        rate: float,
        box: Box | None = None,
        *,
        new1: float = 0.1,
        new2: float = 0.01,
    ) -> None:
        self.design = _clipped(start.astype(np.float64), box)
        self._rate = rate
        self._box = box
        self._new = new1, new2
        self._first = np.zeros_like(self.design)
        self._second = np.zeros_like(self.design)
        self._step = 0

    def step(self, gradient: np.ndarray) -> None:
        """Move down a gradient (S, d)."""
        new1, new2 = self._new
        self._step += 1
        self._first = (1 - new1) * self._first + new1 * gradient
        self._second = (1 - new2) * self._second + new2 * gradient * gradient
        size = np.sqrt(self._second / (1 - (1 - new2) ** self._step)) + 1e-8
        move = self._rate * self._first / (1 - (1 - new1) ** self._step) / size
        self.design = _clipped(self.design - move, self._box)


def adam_on_differences(
    starts: np.ndarray,
    random: Normals,
    *,
    n_pairs: int = 4,
    reach: float = 0.1,
    rate: float = 0.05,
    box: Box | None = None,
    energy: Callable[[np.ndarray], np.ndarray] | None = None,
    itself: bool = False,
) -> Search:
    """Adam on the smoothed differences of antithetic pairs (evolution strategies); endless.

    Each step asks for 2 `n_pairs` designs around the present one.

    Args:
        starts: (S, d) designs to begin with.
        random: Source of normal deviates.
        n_pairs: Pairs whose differences a step averages.
        reach: Standard deviation of a pair's distance from the design, before it is clipped.
        rate: Learning rate.
        box: Box that designs are clipped to, or None.
        energy: Function from scores to what is lowered; None for minus the score.
        itself: Whether a step asks for the present design too, before the pairs.
    """
    adam = Adam(starts, rate, box)
    while True:
        directions = random.standard_normal((len(starts), n_pairs, starts.shape[1]))
        designs = _clipped(_pairs(adam.design, directions, reach), box)
        if itself:
            scores = (yield np.concatenate([adam.design[:, None], designs], axis=1))[:, 1:]
        else:
            scores = yield designs
        values = -scores if energy is None else energy(scores)
        adam.step(_difference_gradient(values, directions, reach))


def adam_on_gradient(
    starts: np.ndarray,
    gradient: Callable[[np.ndarray], np.ndarray],
    *,
    rate: float = 0.05,
    box: Box | None = None,
) -> Search:
    """Adam on a gradient that can be computed; endless. A step asks for the present design alone.

    Args:
        starts: (S, d) designs to begin with.
        gradient: Function from designs (S, d) to gradients (S, d) of what is lowered.
        rate: Learning rate.
        box: Box that designs are clipped to, or None.
    """
    adam = Adam(starts, rate, box)
    while True:
        yield adam.design[:, None]
        adam.step(gradient(adam.design))


def smoothed_gradient(
    function: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    random: Normals,
    *,
    n_pairs: int = 4,
    reach: float = 0.1,
    box: Box | None = None,
) -> np.ndarray:
    """Return the gradient (B, d) of a function, smoothed by a normal, from antithetic pairs.

    It costs 2 B `n_pairs` evaluations, and its mean is the gradient of the function averaged over
    normal deviates of `reach`.

    Args:
        function: Function from designs (n, d) to values (n,).
        x: (B, d) designs.
        random: Source of normal deviates.
        n_pairs: Pairs for each design.
        reach: Standard deviation of a pair's distance from the design.
        box: Box that designs are clipped to, or None.
    """
    b, d = x.shape
    directions = random.standard_normal((b, n_pairs, d))
    around = _clipped(_pairs(x.astype(np.float64), directions, reach), box)
    values = np.asarray(function(around.reshape(-1, d)), dtype=np.float64)
    return _difference_gradient(values.reshape(b, -1), directions, reach)


def follow(
    search: Search,
    score: Callable[[np.ndarray], np.ndarray],
    budget: int,
    keep: int = 1,
    watch: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
) -> Found:
    """Score a search's designs until each start has used up its budget.

    The last step is cut where the budget ends within it.

    Args:
        search: Search of S starts.
        score: Function from designs (n, d) to scores (n,); NaN counts as the worst.
        budget: Evaluations of each start, at least 1.
        keep: Best designs m of each start that are returned, distinct ones first; fewer where the
            budget is smaller.
        watch: Called after each step with the evaluations used so far, the best designs (S, d) and
            their scores (S,).

    Raises:
        ValueError: The budget is below 1.
    """
    if budget < 1:
        raise ValueError(f"a search needs a budget of at least 1 evaluation, got {budget}")
    best: np.ndarray | None = None
    values: np.ndarray = np.empty(0)
    seen: list[np.ndarray] = []
    used = 0
    designs = next(search)
    while True:
        designs = designs[:, : budget - used]  # (S, n, d)
        s, n, d = designs.shape
        scores = np.asarray(score(designs.reshape(-1, d)), dtype=np.float64).reshape(s, n)
        scores = np.where(np.isnan(scores), -np.inf, scores)
        used += n
        seen.append(scores)
        if best is None:
            best = designs
            values = scores
        else:
            best = np.concatenate([best, designs], axis=1)
            values = np.concatenate([values, scores], axis=1)
        if keep > 1:
            values = _repeats_last(best, values)
        order = np.argsort(-values, axis=1, kind="stable")[:, :keep]
        best = np.take_along_axis(best, order[:, :, None], axis=1)
        values = np.take_along_axis(values, order, axis=1)
        if watch is not None:
            watch(used, best[:, 0], values[:, 0])
        if used == budget:
            search.close()
            curve = np.maximum.accumulate(np.concatenate(seen, axis=1), axis=1)
            return Found(best, values, curve)
        designs = search.send(scores)


def _pairs(x: np.ndarray, directions: np.ndarray, reach: float) -> np.ndarray:
    """Return designs (S, 2n, d) on both sides of designs (S, d) along directions (S, n, d)."""
    centre = x[:, None]
    return np.concatenate([centre + reach * directions, centre - reach * directions], axis=1)


def _difference_gradient(values: np.ndarray, directions: np.ndarray, reach: float) -> np.ndarray:
    """Return the mean of slope times direction, (S, d), of values (S, 2n) of `_pairs`."""
    n = directions.shape[1]
    with np.errstate(invalid="ignore"):
        slopes = (values[:, :n] - values[:, n:]) / (2 * reach)
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)  # a pair without scores does not count
    return np.asarray((slopes[:, :, None] * directions).mean(axis=1))


def _repeats_last(designs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values (S, n) with -inf for each design (S, n, d) that an earlier one equals."""
    firsts = np.full(values.shape, -np.inf)
    for i, own in enumerate(designs):
        first = np.unique(own, axis=0, return_index=True)[1]
        firsts[i, first] = values[i, first]
    return firsts


def _clipped(x: np.ndarray, box: Box | None) -> np.ndarray:
    return x if box is None else np.clip(x, *box)
