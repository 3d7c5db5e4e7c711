"""Encoders and progress of the diffusion methods."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress

__all__ = ["EstimateWatch", "best_visible", "design_encoder", "encoder_name"]

__getattr__ = forwarded(__name__)  # names that have moved

_SHOWN = 256


def encoder_name(problem: OfflineProblem, name: str | None) -> str:
    """Return the name of an encoder; for None ``z_score``, on categorical spaces
    ``z_score_one_hot``."""
    if name is not None:
        return name
    return "z_score_one_hot" if isinstance(problem.space, CategoricalSpace) else "z_score"


def design_encoder(problem: OfflineProblem, name: str | None) -> Encoder:
    """Return the encoder of a name, see `encoder_name`."""
    return make_encoder(problem, encoder_name(problem, name))


def best_visible(problem: OfflineProblem) -> float:
    """Return the best visible score, standardised."""
    dataset = problem.dataset
    return float(dataset.score_scale.standardise(dataset.y.max(keepdims=True))[0])


class EstimateWatch:
    """Shows the designs of a sampling to the progress, with the score that they are asked to have.

    Args:
        problem: Problem of the search.
        encoder: Encoder that decodes features.
        stage: Name of the sampling.
        target: Standardised score asked for; shown in place of a prediction.
        progress: Observer that gets the designs, at most 256 of them.
    """

    def __init__(
        self,
        problem: OfflineProblem,
        encoder: Encoder,
        stage: str,
        target: float,
        progress: Progress,
    ) -> None:
        self._encoder = encoder
        self._stage = stage
        self._progress = progress
        self._last = -1
        self._asked = float(
            problem.dataset.score_scale.restore(np.array([target], dtype=np.float32))[0]
        )

    def __call__(self, step: int, z: Tensor) -> None:
        """Show the estimates (n, d) at a step."""
        x = self._encoder.designs(z[:_SHOWN])
        self._progress.designs(self._stage, step, x, np.full(len(x), self._asked))
        self._last = step

    def end(self, z: Tensor) -> None:
        """Show the samples (n, d)."""
        self(self._last + 1, z)
