"""Filters: order candidate designs by a surrogate's prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch

from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import best_distinct
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["Predict", "fitted_filter", "order_candidates", "predictor"]


Predict: TypeAlias = Callable[[np.ndarray], np.ndarray]


def predictor(surrogate: Surrogate, encoder: Encoder, device: str) -> Predict:
    """Return the function from designs (N, *shape) to the standardised scores (N,) that a fitted
    surrogate predicts."""

    def predict(x: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(encoder.encode(x)).to(device)
        return np.asarray(predict_in_pieces(surrogate.predict, z).cpu().numpy())

    return predict


def fitted_filter(
    problem: OfflineProblem, name: str | None, *, seed: int, device: str, progress: Progress
) -> Predict | None:
    """Fit the named surrogate on the visible designs' z-scored features, and return its
    `predictor`; None for None."""
    if name is None:
        return None
    encoder, surrogate = make_encoder(problem), make_surrogate(name)
    fit_surrogate(problem, encoder, surrogate, seed=seed, device=device, progress=progress)
    return predictor(surrogate, encoder, device)


def order_candidates(
    x: np.ndarray, predict: Predict | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` best distinct designs of `x` (N, *shape) by their predictions, best first, and
    these (k,).

    With no `predict`: the first `k` as they stand, and zeros.
    """
    return (x[:k], np.zeros(k)) if predict is None else best_distinct(x, predict(x), k)
