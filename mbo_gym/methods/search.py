"""A search that fits the space: enumeration, ascent of a trend, or crossover of good designs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from mbo_gym.methods.ascent import SearchWatch, ascend
from mbo_gym.methods.base import Proposals
from mbo_gym.methods.distinct import mutated
from mbo_gym.methods.fitted import Fitted
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.settings import require_at_least

__all__ = ["SearchConfig", "search"]

_PIECE = 1 << 16
_DECIMALS = 4  # features that agree so far are one design to a person
_ROUNDS = 12  # of designs near the found ones, ever farther
_MOST_LOOKED_AT = 20_000  # candidates that a spread is chosen from


@dataclass(frozen=True)
class SearchConfig:
    """Settings of a search.

    Args:
        max_enumerated: Most designs of a space that is searched whole.
        max_scored: Most designs that a surrogate of several parts scores whole; of more, those that
            its leading part (`Surrogate.lead`) puts first.
        ascent_steps: Steps of Adam up a trend.
        ascent_rate: Length of a step in each feature, in standard deviations.
        population: Designs that the next generation comes from.
        children: Designs of a generation.
        generations: Generations of the crossover. More of them find the model's errors.
        noise: Standard deviation of changes of numbers, as a share of their visible range.
        spread: Least distance of proposals, root mean square over features in standard deviations;
            0 for distinct designs however near.
    """

    max_enumerated: int = 10_000_000
    max_scored: int = 200_000
    ascent_steps: int = 200
    ascent_rate: float = 0.05
    population: int = 512
    children: int = 2048
    generations: int = 10
    noise: float = 0.05
    spread: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(self, 2, "population", "children")
        require_at_least(self, 0, "max_enumerated", "ascent_steps", "ascent_rate")
        require_at_least(self, 1, "max_scored")
        require_at_least(self, 0, "generations", "noise", "spread")


def search(fitted: Fitted, k: int, config: SearchConfig, *, climb: bool) -> tuple[Proposals, str]:
    """Return the `k` best new designs by a fitted surrogate, best first, and how they were found.

    They are distinct, unmeasured, and inside the space with all its constraints. Where the space
    has fewer, the best measured ones follow, and then all again.

    Args:
        fitted: Encoder and surrogate, fitted on the problem.
        k: Number of designs.
        config: Settings.
        climb: Whether the surrogate's gradient may lead, see `AutoSurrogate.leads`.

    Returns:
        The designs with their predictions, and ``enumeration``, ``ascent`` or ``crossover``.
    """
    whole = fitted.problem.space.every_design(config.max_enumerated)
    if whole is not None:
        found, how = whole, "enumeration"
    elif climb and fitted.surrogate.differentiable:
        found, how = _climbed(fitted, k, config), "ascent"
    else:
        found, how = _crossed(fitted, k, config), "crossover"
    return _best_new(fitted, found, k, config), how


def _climbed(fitted: Fitted, k: int, config: SearchConfig) -> np.ndarray:
    """Climb from the `k` best visible designs inside the box of the data."""
    ends = ascend(
        fitted.surrogate,
        fitted.starts(k),
        "adam",
        config.ascent_steps,
        config.ascent_rate,
        box=fitted.box("data"),
        progress=fitted.context.progress,
        watch=fitted.watch("ascent", config.ascent_steps),
    )
    return fitted.encoder.designs(ends)


def _crossed(fitted: Fitted, k: int, config: SearchConfig) -> np.ndarray:
    """Cross and change the best visible designs, generation by generation."""
    breeder = _Breeder(fitted, config)
    data = fitted.problem.dataset
    size = max(config.population, k)
    population = np.asarray(data.x[data.top_rows(size)])
    value = fitted.predict(population)
    watch = fitted.watch("crossover", config.generations)
    seen = [population]
    bar = fitted.context.progress.track(range(config.generations), "crossover")
    for generation in bar:
        _show(fitted, watch, generation, population, value)
        seen.append(breeder.children(population, config.children))
        pool = np.concatenate([population, seen[-1]])
        pool = pool[first_of_each_design(pool)]
        value = fitted.predict(pool)
        order = np.argsort(-value, kind="stable")[:size]
        population, value = pool[order], value[order]
    _show(fitted, watch, config.generations, population, value)
    return np.concatenate(seen) if config.spread else population


def _show(fitted: Fitted, watch: SearchWatch, step: int, x: np.ndarray, value: np.ndarray) -> None:
    if watch.is_due(step):
        watch(step, fitted.encoder.features(x), torch.from_numpy(np.asarray(value)))


class _Breeder:
    """Makes new designs of good ones.

    Half of the children take each of their columns from one of two parents, the others are copies.
    One column in d, on average, is taken from another good visible design. Numbers get noise in
    about three columns, but not where a column sits at the value that most of its rows have: what
    is 0 in most compositions stays 0. Letters change in about one site.
    """

    def __init__(self, fitted: Fitted, config: SearchConfig) -> None:
        problem = fitted.problem
        x, y = problem.dataset.x, problem.dataset.y
        self._space = problem.space
        self._noise = config.noise
        self._rng = np.random.default_rng([fitted.context.seed, 2])
        best = np.argsort(-y, kind="stable")[: max(config.population, len(y) // 4)]
        self._donors = x[best]
        self._low, self._high = x.min(axis=0), x.max(axis=0)
        self._common = _common_values(x)

    def children(self, parents: np.ndarray, n: int) -> np.ndarray:
        """Return allowed designs (n, d) made of parents (m, d)."""
        rng, d = self._rng, parents.shape[1]
        first, second = (parents[rng.integers(0, len(parents), n)] for _ in range(2))
        crossed = (rng.random(n) < 0.5)[:, None] & (rng.random((n, d)) < 0.5)
        child = np.where(crossed, second, first)
        donors = self._donors[rng.integers(0, len(self._donors), n)]
        child = np.where(rng.random((n, d)) < 1 / d, donors, child)
        if isinstance(self._space, CategoricalSpace):
            drawn = self._space.sample(n, rng)
            return np.where(rng.random((n, d)) < 0.5 / d, drawn, child).astype(self._space.dtype)
        if isinstance(self._space, MixedSpace):
            changed = mutated(self._space, child, self._noise, rng)
            child = np.where((rng.random(n) < 0.5)[:, None], changed, child)
        else:
            moved = rng.random((n, d)) < min(1.0, 3 / d)
            moved &= child != self._common  # NaN, no common value, differs from every number
            step = self._noise * (self._high - self._low) * rng.standard_normal((n, d))
            child = np.where(moved, child + step, child)
        child = self._space.project(np.clip(child, self._low, self._high))
        return np.asarray(child[self._space.contains(child)])

    def near(self, x: np.ndarray, n: int, strength: float) -> np.ndarray:
        """Return `n` allowed designs (n, d) near designs (m, d); numbers move by a share."""
        rows = x[np.arange(n) % len(x)]
        rng, d = self._rng, x.shape[1]
        if isinstance(self._space, CategoricalSpace):
            drawn = self._space.sample(n, rng)
            return np.where(rng.random((n, d)) < 1 / d, drawn, rows).astype(self._space.dtype)
        if isinstance(self._space, MixedSpace):
            return mutated(self._space, rows, strength, rng)
        step = strength * (self._high - self._low) * rng.standard_normal((n, d))
        moved = rows + step * (rng.random((n, d)) < max(0.1, 1 / d))
        return self._space.project(np.clip(moved, self._low, self._high))


def _common_values(x: np.ndarray) -> np.ndarray:
    """Return the value that more than half of the rows of a column have, (d,); NaN for none."""
    if x.dtype.kind != "f":
        return np.full(x.shape[1], np.nan)
    rows = x[np.linspace(0, len(x) - 1, min(len(x), 2000)).astype(int)]
    middle = np.median(rows, axis=0)  # a value that more than half of the rows have
    share = (rows == middle).mean(axis=0)
    return np.where(share > 0.5, middle, np.nan)


def _best_new(fitted: Fitted, x: np.ndarray, k: int, config: SearchConfig) -> Proposals:
    """Return the `k` best of designs (N, d) that are distinct and not measured, more where there
    are fewer."""
    data = fitted.problem.dataset
    x = _promising(fitted, data.unseen(x), max(k, config.max_scored))
    value = _predicted(fitted, x)
    chosen = _chosen(fitted, x, value, k, config.spread)
    breeder, strength = _Breeder(fitted, config), 0.02
    for _ in range(_ROUNDS):
        if len(chosen) >= k or not np.isinf(fitted.problem.space.n_designs):
            break
        seeds = x[chosen] if len(chosen) else data.x[:k]
        x = data.unseen(np.concatenate([x, breeder.near(seeds, 6 * k, strength)]))
        value = _predicted(fitted, x)
        chosen = _chosen(fitted, x, value, k, config.spread)
        strength = min(0.5, 1.5 * strength)
    if len(chosen) < k and config.spread:  # no room for so many: nearer ones
        others = _chosen(fitted, x, value, len(x), 0.0)
        others = others[~np.isin(others, chosen)]
        chosen = np.concatenate([chosen, others])[:k]
    x, value = x[chosen], value[chosen]
    if len(x) < k:  # the space has no more new ones: the best of those measured, then all again
        known = np.asarray(data.x[first_of_each_design(data.x)])
        of_known = fitted.predict(known)
        best = np.argsort(-of_known, kind="stable")[: k - len(x)]
        x, value = np.concatenate([x, known[best]]), np.concatenate([value, of_known[best]])
    rows = np.sort(np.arange(k) % len(x))
    return Proposals(x[rows], value[rows], unit=fitted.unit)


def _promising(fitted: Fitted, x: np.ndarray, most: int) -> np.ndarray:
    """Return the designs of (N, d) that the leading part of the surrogate puts first, at most so
    many; all where there is no such part."""
    lead = fitted.surrogate.lead
    if lead is None or len(x) <= most:
        return x
    value = _predicted(replace(fitted, surrogate=lead), x)
    return np.asarray(x[np.sort(np.argsort(-value, kind="stable")[:most])])


def _predicted(fitted: Fitted, x: np.ndarray) -> np.ndarray:
    """Return the predictions (N,) of designs (N, d), in bounded memory."""
    parts = [fitted.predict(x[i : i + _PIECE]) for i in range(0, len(x), _PIECE)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _chosen(fitted: Fitted, x: np.ndarray, value: np.ndarray, k: int, spread: float) -> np.ndarray:
    """Return the places (k or fewer,) of the best designs (N, d) that differ, best first."""
    order = np.argsort(-value, kind="stable")
    if isinstance(fitted.problem.space, (CategoricalSpace, MixedSpace)) and not spread:
        return np.asarray(order[:k])
    order = order[:_MOST_LOOKED_AT]
    z = fitted.encoder.encode(x[order])
    if not spread:
        return np.asarray(order[first_of_each_design(np.round(z, _DECIMALS))][:k])
    kept: list[int] = []
    for place, row in enumerate(z):
        apart = np.sqrt(np.mean((z[kept] - row) ** 2, axis=1)) if kept else np.array([np.inf])
        if apart.min() >= spread:
            kept.append(place)
            if len(kept) == k:
                break
    return np.asarray(order[kept])
