"""What the generative methods share around their models: features, what they show, how candidates become proposals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoding import Encoder, make_encoder
from mbo_gym.progress import Progress
from mbo_gym.search import best_distinct
from mbo_gym.space import CategoricalSpace
from mbo_gym.surrogates import Surrogate, fit_surrogate, make_surrogate, predict_in_pieces
from mbo_gym.task import OfflineProblem

__all__ = ["EstimateWatch", "Predict", "design_encoder", "fitted_filter", "order_candidates", "predictor"]

Predict: TypeAlias = Callable[[np.ndarray], np.ndarray]

_SHOWN = 256


def design_encoder(problem: OfflineProblem, name: str | None) -> Encoder:
    """Return the named encoder; None stands for z-scored features, of categorical designs for z-scored indicators."""
    if name is None:
        name = "z_score_one_hot" if isinstance(problem.space, CategoricalSpace) else "z_score"
    return make_encoder(problem, name)


class EstimateWatch:
    """Shows designs on their way out of the noise to the progress, with the score they are asked to have.

    Args:
        problem: What is searched.
        encoder: Turns features into designs.
        stage: Name of the work.
        target: Standardised score that is asked for; it stands in the place of a prediction.
        progress: Gets the designs, at most 256 of them.
    """

    def __init__(
        self, problem: OfflineProblem, encoder: Encoder, stage: str, target: float, progress: Progress
    ) -> None:
        self._encoder, self._stage, self._progress, self._last = encoder, stage, progress, -1
        self._asked = float(problem.dataset.score_scale.restore(np.array([target], dtype=np.float32))[0])

    def __call__(self, step: int, z: Tensor) -> None:
        """See the estimates (n, d) at a step."""
        x = self._encoder.decode(z[:_SHOWN].cpu().numpy())
        self._progress.designs(self._stage, step, x, np.full(len(x), self._asked))
        self._last = step

    def end(self, z: Tensor) -> None:
        """See what came out (n, d)."""
        self(self._last + 1, z)


def predictor(surrogate: Surrogate, encoder: Encoder, device: str) -> Predict:
    """Return the function from designs (N, *shape) to the standardised scores (N,) that a fitted surrogate predicts."""

    def predict(x: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(encoder.encode(x)).to(device)
        return np.asarray(predict_in_pieces(surrogate.predict, z).cpu().numpy())

    return predict


def fitted_filter(
    problem: OfflineProblem, name: str | None, *, seed: int, device: str, progress: Progress
) -> Predict | None:
    """Fit the named surrogate on the visible designs' z-scored features, and return its `predictor`; None for None."""
    if name is None:
        return None
    encoder, surrogate = make_encoder(problem), make_surrogate(name)
    fit_surrogate(problem, encoder, surrogate, seed=seed, device=device, progress=progress)
    return predictor(surrogate, encoder, device)


def order_candidates(x: np.ndarray, predict: Predict | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` best distinct designs of `x` (N, *shape) by their predictions, best first, and these (k,).

    With no `predict`: the first `k` as they stand, and zeros.
    """
    return (x[:k], np.zeros(k)) if predict is None else best_distinct(x, predict(x), k)
