"""How far designs lie from each other and from the visible ones.

Categorical designs: the share of their L sites that differ (Hamming / L), in [0, 1]. Continuous
designs: the Euclidean distance of their z-scores divided by sqrt(d), so that it does not grow with
the number of features. Mixed designs: the same over parameters, where a word or a sequence counts
as 1 if it differs (a sequence by the share of its letters). As everywhere
(`mbo_gym.encoders.scaling.ZScore`), z-scores have mean 0 and standard deviation 1 over the visible
designs, and a feature that never varies there keeps its own unit.
"""

from __future__ import annotations

import numpy as np

from mbo_gym.errors import InvalidDesign
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace

__all__ = ["diversity", "nearest_distances", "novelty"]

N_BLOCK_NUMBERS = 1 << 18
"""Numbers in one array that is made along the way: 2 MiB at most, however many visible designs
there are."""
N_TOGETHER = 256
"""Proposals that are compared with the visible designs at once."""


def diversity(space: DesignSpace, dataset: OfflineDataset, x: np.ndarray) -> float:
    """Return the mean distance over all pairs of proposals; equal proposals count as pairs at
    distance 0.

    Args:
        space: Where the designs live.
        dataset: The visible designs, the unit of continuous distances.
        x: (K, *shape) proposals inside the space. One has diversity 0, none NaN.

    Raises:
        InvalidDesign: A proposal lies outside the space.
    """
    x, k = _inside(space, x), len(x)
    if k < 2:
        return 0.0 if k else float("nan")
    if isinstance(space, CategoricalSpace):
        counts = np.stack(
            [(x == letter).sum(axis=0) for letter in range(space.n_categories)]
        )  # (A, L)
        return float(
            (k * k - (counts**2).sum(axis=0)).mean() / (k * (k - 1))
        )  # pairs whose letters differ, by site
    _, x, shift, scale, n = _in_numbers(space, dataset.x, x)
    z = (x - shift) / scale
    total = sum(np.sqrt(((z[i + 1 :] - z[i]) ** 2).sum(axis=1) / n).sum() for i in range(k - 1))
    return float(total / (k * (k - 1) / 2))


def novelty(space: DesignSpace, dataset: OfflineDataset, x: np.ndarray) -> float:
    """Return the mean distance of proposals (K, *shape) to their nearest visible design; NaN for
    none.

    Raises:
        InvalidDesign: A proposal lies outside the space.
    """
    distances = nearest_distances(space, dataset, x)
    return float(distances.mean()) if len(distances) else float("nan")


def nearest_distances(space: DesignSpace, dataset: OfflineDataset, x: np.ndarray) -> np.ndarray:
    """Return the distance of each proposal to its nearest visible design, (K,) float64.

    Args:
        space: Where the designs live.
        dataset: The visible designs.
        x: (K, *shape) proposals inside the space.

    Raises:
        InvalidDesign: A proposal lies outside the space.
    """
    x = _inside(space, x)
    parts = [x[start : start + N_TOGETHER] for start in range(0, len(x), N_TOGETHER)]
    if isinstance(space, CategoricalSpace):
        return np.concatenate(
            [np.zeros(0), *(_nearest_hamming(space, dataset.x, part) for part in parts)]
        )
    data, x, shift, scale, n = _in_numbers(space, dataset.x, x)
    parts = [x[start : start + N_TOGETHER] for start in range(0, len(x), N_TOGETHER)]
    return np.concatenate(
        [np.zeros(0), *(_nearest_euclid(data, part, shift, scale, n) for part in parts)]
    )


def _inside(space: DesignSpace, x: np.ndarray) -> np.ndarray:
    inside = space.contains(x)
    if not inside.all():
        row = int(np.argmin(inside))
        raise InvalidDesign(f"row {row}: {space.why_not(np.asarray(x)[row])}. Leave such rows out.")
    return np.asarray(x, dtype=np.float64 if space.dtype == np.float32 else space.dtype)


def _nearest_hamming(space: CategoricalSpace, data: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the least share of sites that differ, (K,); indicators' products count the sites that
    agree."""
    letters, width = np.eye(space.n_categories, dtype=np.float32), space.length * space.n_categories
    proposals = letters[x].reshape(len(x), width)
    most = np.zeros(len(x), dtype=np.float32)  # whole numbers: exact in float32
    rows = max(1, N_BLOCK_NUMBERS // max(width, len(x)))
    for start in range(0, len(data), rows):
        block = letters.take(data[start : start + rows], axis=0).reshape(-1, width)
        np.maximum(most, (proposals @ block.T).max(axis=1), out=most)
    return np.asarray((space.length - most.astype(np.float64)) / space.length)


def _nearest_euclid(
    data: np.ndarray, x: np.ndarray, shift: np.ndarray, scale: np.ndarray, n: int
) -> np.ndarray:
    """Return the least distance of z-scores, (K,).

    |z|^2 - 2 z.z' finds the nearest row; the distance itself is taken from the difference, which
    does not cancel.
    """
    z = (x - shift) / scale
    nearest, least = np.zeros(len(x), dtype=np.int64), np.full(len(x), np.inf)
    rows = max(1, N_BLOCK_NUMBERS // max(x.shape[1], len(x)))
    for start in range(0, len(data), rows):
        block = (data[start : start + rows] - shift) / scale
        square = (block**2).sum(axis=1) - 2 * (z @ block.T)  # (K, rows)
        column = square.argmin(axis=1)
        value = square[np.arange(len(x)), column]
        nearest = np.where(value < least, start + column, nearest)
        least = np.minimum(value, least)
    difference = z - (data[nearest] - shift) / scale
    return np.asarray(np.sqrt((difference**2).sum(axis=1) / n))


def _in_numbers(
    space: DesignSpace, data: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return visible designs and proposals as numbers, their unit, and by what squares are divided.

    Returns:
        data: (N, d) visible designs.
        x: (K, d) float64 proposals.
        shift: (d,) of each number.
        scale: (d,) of each number.
        n: Number of parameters.
    """
    if not isinstance(space, MixedSpace):
        return data, x, *_z_scale(data), x.shape[1]
    data = space.features(data)
    shift, scale = _z_scale(data)
    # Two indicators differ where a word or a letter does: together they count as 1.
    indicators = space.indicators()
    shift = np.where(indicators > 0, 0.0, shift)
    scale = np.where(indicators > 0, np.sqrt(2.0 * indicators), scale)
    return data, space.features(x).astype(np.float64), shift, scale, len(space.parameters)


def _z_scale(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature, (d,) float64; the constant and 1 where it
    never varies."""
    mean = data.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    rows = max(1, N_BLOCK_NUMBERS // data.shape[1])
    for start in range(0, len(data), rows):
        square += ((data[start : start + rows] - mean) ** 2).sum(axis=0)
    varies = data.max(axis=0) > data.min(axis=0)
    return np.where(varies, mean, data[0]), np.where(varies, np.sqrt(square / len(data)), 1.0)
