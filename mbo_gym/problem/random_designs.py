"""Random designs of a region, uniform or nearly so.

All arrays are (N, slots) float64.
"""

from __future__ import annotations

import numpy as np

from mbo_gym.problem.constraints import AtMostNonZero, FixedSum
from mbo_gym.problem.region import Region

__all__ = ["sample"]

N_DRAWN = 1 << 16
"""Random rows drawn at once."""
LOWEST_SHARE = 0.01
"""Share of random rows that must be allowed for sampling by rejection; else they walk."""
N_TRIES = 60
N_HOPELESS = 10
"""Tries without any allowed row after which there seems to be none."""


def sample(region: Region, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `n` random allowed designs of a region, (n, slots).

    Listed designs are drawn uniformly, others by rejection where at least one row in a hundred is
    allowed. Else they are the ends of random walks.

    Args:
        region: Parameters and constraints.
        n: Number of designs.
        rng: Random numbers.

    Raises:
        ValueError: No allowed design was found.
    """
    if region.listed is not None:
        return region.listed[rng.integers(0, len(region.listed), size=n)].astype(np.float64)
    parts = [np.zeros((0, len(region.low)))]
    have = drawn = 0
    while have < n:
        share = have / drawn if drawn else 1.0
        if drawn >= N_DRAWN // 4 and share < LOWEST_SHARE:
            parts.append(_walked(region, n - have, rng))
            break
        m = min(N_DRAWN, int((n - have) / max(share, LOWEST_SHARE) * 1.1) + 64)
        x = _drawn(region, m, rng)
        x = x[region.holds(x)]
        parts.append(x)
        have += len(x)
        drawn += m
    return np.concatenate(parts)[:n]


def _drawn(region: Region, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows that satisfy fixed sums and zeros, but not always bounds or other limits."""
    x, low, high = _boxes(region, n, rng)
    x = np.clip(x, low, high)
    for constraint in region.constraints:
        if isinstance(constraint, FixedSum):
            slots = [region.slots.numeric(name) for name in constraint.names]
            x[:, slots] = _slice(low[:, slots], high[:, slots], constraint.total, rng)
    inside = ((x >= low - 1e-12) & (x <= high + 1e-12)).all(axis=1)
    x, low, high = x[inside], low[inside], high[inside]
    if len(region.stepped):
        polytope = region.polytope
        kept = polytope.excess(x)[:, polytope.n_equal :].max(axis=1, initial=0) <= 0
        x = region.solve(x[kept], low[kept], high[kept])
    return x


def _walked(region: Region, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` allowed ends of random walks.

    Raises:
        ValueError: None was found.
    """
    parts: list[np.ndarray] = []
    have = 0
    for attempt in range(N_TRIES):
        if attempt >= N_HOPELESS and not have:
            break
        x = _walk(region, n - have + 64, rng)
        parts.append(x)
        have += len(x)
        if have >= n:
            return np.concatenate(parts)[:n]
    words = "; ".join(constraint.in_words() for constraint in region.constraints)
    raise ValueError(
        f"found {have} of {n} random designs that satisfy {words}. Check the constraints, or "
        "list the allowed designs."
    )


def _walk(region: Region, n: int, rng: np.random.Generator) -> np.ndarray:
    """Walk from `n` random points, and return the ends that are allowed; at most `n` rows."""
    x, low, high = _boxes(region, n, rng)
    start, found = region.polytope.project(x, low, high, region.scale)
    ends = region.polytope.walk(start, low, high, region.scale, rng)
    x[:, region.involved] = ends[:, region.involved]
    x = region.solve(x[found], low[found], high[found])
    return np.asarray(x[region.holds(x)])


def _boxes(
    region: Region, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw each parameter on its own, and which numbers are 0 where only some may differ from it.

    Returns:
        x: (n, slots) rows of values.
        low: (n, slots) lower sides, 0 for the zeros of a row.
        high: (n, slots) upper sides, 0 for the zeros of a row.
    """
    x = np.concatenate([p.sample(n, rng) for p in region.slots.parameters.values()], axis=1)
    low, high = region.sides(n)
    for constraint in region.constraints:
        if isinstance(constraint, AtMostNonZero):
            region.pin_to_zero(constraint, _shuffled(region, constraint, n, rng), low, high)
    return x, low, high


def _shuffled(
    region: Region, constraint: AtMostNonZero, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Return rows whose largest numbers are a random choice, (n, slots)."""
    v = np.zeros((n, len(region.low)))
    slots = constraint.choosable(region.slots)
    share = 1 - rng.random((n, len(slots)))
    v[:, slots] = np.where(region.high[slots] > 0, region.high[slots], region.low[slots]) * share
    return v


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
