"""Joins the rows of a table that measure one design several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Joined", "groups_of_equal_designs", "join_replicates"]

FEWEST_OWN = 3
"""Measurements from which a design's own scatter gives its standard error."""


@dataclass(frozen=True, eq=False)
class Joined:
    """One row per design.

    Args:
        rows: (G,) first row of each design, in the order of the file.
        y: (G,) mean scores.
        error: (G,) standard errors of the means.
        n_rows: Rows that measure a design which has several.
        n_designs: Designs measured several times.
    """

    rows: np.ndarray
    y: np.ndarray
    error: np.ndarray
    n_rows: int
    n_designs: int


def groups_of_equal_designs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first row of each distinct design, the design of each row, and the counts.

    Args:
        x: (N, d) float32 or int32 designs.

    Returns:
        (G,) rows in the order of the file, (N,) numbers 0 .. G-1, (G,) counts.
    """
    x = x + x.dtype.type(0)  # -0.0 and 0.0 are one design
    words = np.ascontiguousarray(x).view(np.uint32)
    rng = np.random.default_rng(0)
    factors = np.asarray(rng.integers(1, 1 << 63, size=words.shape[1], dtype=np.uint64))
    factors = factors | np.uint64(1)
    code = np.zeros(len(words), dtype=np.uint64)
    for j in range(words.shape[1]):
        code ^= words[:, j].astype(np.uint64)
        code *= factors[j]
        code ^= code >> np.uint64(31)
    _, first, group, counts = np.unique(
        code, return_index=True, return_inverse=True, return_counts=True
    )
    rows = np.flatnonzero(counts[group.reshape(-1)] > 1)
    if not (x[rows] == x[first[group[rows]]]).all():  # two designs of one code
        _, first, group, counts = np.unique(
            x, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group.reshape(-1)], counts[order]


def join_replicates(x: np.ndarray, y: np.ndarray, error: np.ndarray | None = None) -> Joined | None:
    """Return one row per design where equal designs have different scores; else None.

    The standard error of a mean is that of its own measurements from three on; below, it is the
    scatter of all repeated measurements, pooled, over the root of their number. With errors of the
    single measurements, it is at least what these say.

    Args:
        x: (N, d) designs.
        y: (N,) scores.
        error: (N,) standard errors of the scores, or None.

    Example:
        >>> x = np.float32([[20], [20], [20], [40]])
        >>> join_replicates(x, np.float32([5, 9, 7, 6])).y.tolist()
        [7.0, 6.0]
    """
    first, group, counts = groups_of_equal_designs(x)
    if len(first) == len(x):
        return None
    y = y.astype(np.float64)
    if (y == y[first][group]).all():
        return None
    mean = np.bincount(group, weights=y) / counts
    squares = np.bincount(group, weights=(y - mean[group]) ** 2)
    freedom = counts - 1
    pooled = squares.sum() / freedom.sum()
    own = squares / np.maximum(freedom, 1)
    variance = np.where(counts >= FEWEST_OWN, own, pooled)
    errors = np.sqrt(variance / counts)
    if error is not None:
        told = np.bincount(group, weights=error.astype(np.float64) ** 2)
        told = np.sqrt(told) / counts
        errors = np.where(counts >= 2, np.maximum(errors, told), told)
    several = counts > 1
    return Joined(
        first,
        mean.astype(np.float32),
        errors.astype(np.float32),
        int(counts[several].sum()),
        int(several.sum()),
    )
