"""Finds the columns of a table that add up to 1 or 100 in every row: the parts of a mixture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mbo_gym.problem.constraints import ROUNDING, FixedSum

__all__ = ["find_sums"]

TOTALS = (1.0, 100.0)
LARGEST_OFF = 0.02
"""Largest difference from the total, as a share of it, that counts as rounding."""
FEWEST_ROWS = 4
N_SAMPLED = 2000


def find_sums(names: Sequence[str], x: np.ndarray) -> list[FixedSum]:
    """Return the sums of columns (N, d) that are 1 or 100 in every row, up to rounding.

    Neighbouring columns are tried, then the columns that one linear relation names. Columns that
    are negative, larger than the total or constant take no part.

    Args:
        names: Names of the columns.
        x: (N, d) float32 numbers.

    Example:
        >>> x = np.float32([[0.2, 5, 0.8], [0.5, 1, 0.5], [1, 3, 0], [0, 2, 1]])
        >>> find_sums(("Cs", "T", "FA"), x)[0].in_words()
        'Cs + FA = 1'
    """
    if len(x) < FEWEST_ROWS:
        return []
    found: list[FixedSum] = []
    taken: set[int] = set()
    sample = x[:: max(1, len(x) // N_SAMPLED)].astype(np.float64)
    low = x.min(axis=0)
    high = x.max(axis=0)
    for total in TOTALS:
        fits = (low >= 0) & (high <= total * (1 + LARGEST_OFF)) & (low < high)
        columns = [j for j in range(x.shape[1]) if fits[j]]
        sets = [[columns[k] for k in chosen] for chosen in _candidates(sample[:, columns], total)]
        offs = [_largest_off(x, members, total) for members in sets]
        for off, members in sorted(zip(offs, sets, strict=True)):
            if taken.intersection(members) or len(np.unique(sample[:, members], axis=0)) < 3:
                continue
            if off <= LARGEST_OFF * total:
                taken.update(members)
                tolerance = 0.0 if off <= ROUNDING * total else _rounded_up(off)
                found.append(FixedSum(tuple(names[j] for j in members), total, tolerance))
    return found


def _largest_off(x: np.ndarray, members: list[int], total: float) -> float:
    """Return the largest difference of the sum of some columns of (N, d) from the total."""
    return float(np.abs(x[:, members].sum(axis=1, dtype=np.float64) - total).max())


def _candidates(x: np.ndarray, total: float) -> Iterator[list[int]]:
    """Yield sets of columns (n, d) whose sums are near the total in the sample."""
    d = x.shape[1]
    running = np.concatenate([np.zeros((len(x), 1)), x.cumsum(axis=1)], axis=1)
    for first in range(d - 1):
        sums = running[:, first + 2 :] - running[:, first : first + 1]
        good = (np.abs(sums - total) <= LARGEST_OFF * total).all(axis=0)
        for k in np.flatnonzero(good):
            yield list(range(first, first + 2 + int(k)))
    if 2 <= d < len(x):
        weights = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][-1]
        weights = weights / weights[np.argmax(np.abs(weights))]
        chosen = np.flatnonzero(weights > 0.5)
        if len(chosen) > 1:
            yield chosen.tolist()


def _rounded_up(value: float) -> float:
    """Return a number of two digits that is a little larger."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / digit + 1e-6) * digit:.6g}")
