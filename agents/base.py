"""What several methods share: where they start, how they order their proposals, the box of the visible data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoding import Encoder
from mbo_gym.space import ContinuousSpace, DesignSpace
from mbo_gym.surrogates import Surrogate, predict_in_pieces
from mbo_gym.task import OfflineProblem

__all__ = ["best_first", "sampling_space", "start_features"]

EXTRA_START_NOISE = 0.1


def start_features(problem: OfflineProblem, encoder: Encoder, k: int, generator: torch.Generator) -> Tensor:
    """Return the features (k, d) of the `k` best distinct visible designs, best first.

    Where the data hold fewer than `k`, they are repeated with Gaussian noise of 0.1 standard deviations, so that
    searches from them part ways.
    """
    rows = problem.dataset.top_rows(k)
    z = torch.from_numpy(encoder.encode(problem.dataset.x[rows]))
    if len(z) < k:
        more = z[torch.arange(len(z), k) % len(z)]
        z = torch.cat([z, more + EXTRA_START_NOISE * torch.randn(more.shape, generator=generator)])
    return z


def best_first(surrogate: Surrogate, z: Tensor, k: int) -> tuple[Tensor, np.ndarray]:
    """Return the `k` rows of features (N, d) with the highest predictions, best first, and these (k,)."""
    prediction = predict_in_pieces(surrogate.predict, z)
    order = prediction.argsort(descending=True, stable=True)[:k]
    return z[order], prediction[order].cpu().numpy()


def sampling_space(problem: OfflineProblem) -> DesignSpace:
    """Return the space to draw uniform designs from: infinite sides are cut at the visible data's range."""
    space = problem.space
    if isinstance(space, ContinuousSpace) and not space.bounded:
        x = problem.dataset.x
        return space.within(
            np.where(np.isfinite(space.low), space.low, x.min(axis=0)),
            np.where(np.isfinite(space.high), space.high, x.max(axis=0)),
        )
    return space
