"""What the generative methods share around their models: features, what they show, how candidates become proposals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoding import Encoder, make_encoder
from mbo_gym.progress import Progress
from mbo_gym.search import best_distinct
from mbo_gym.space import CategoricalSpace
from mbo_gym.surrogates import Surrogate, fit_surrogate, make_surrogate, predict_in_pieces
from mbo_gym.task import OfflineProblem

__all__ = ["EstimateWatch", "Filter", "design_encoder", "order_candidates"]

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


class Filter:
    """A surrogate fitted on the visible designs, by whose predictions designs are ordered.

    Args:
        problem: What a method may know.
        name: Of the surrogate; it sees z-scored features, whatever the model does.
        seed: Of the fit.
        device: Where it computes.
        progress: Shows how far the fit is.
    """

    def __init__(self, problem: OfflineProblem, name: str, *, seed: int, device: str, progress: Progress) -> None:
        self._encoder, self._device = make_encoder(problem), device
        surrogate = make_surrogate(name)
        self.surrogate: Surrogate = fit_surrogate(
            problem, self._encoder, surrogate, seed=seed, device=device, progress=progress
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Predict the standardised scores of designs (N, *shape); (N,)."""
        z = torch.from_numpy(self._encoder.encode(x)).to(self._device)
        return np.asarray(predict_in_pieces(self.surrogate.predict, z).cpu().numpy())


def order_candidates(
    x: np.ndarray, predict: Callable[[np.ndarray], np.ndarray] | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` best distinct designs of `x` (N, *shape) by their predictions, best first, and these (k,).

    With no `predict`: the first `k` as they stand, and zeros.
    """
    return (x[:k], np.zeros(k)) if predict is None else best_distinct(x, predict(x), k)
