"""What the generative methods share around their models: features, what they show, how candidates
become proposals."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress

__all__ = ["EstimateWatch", "design_encoder"]

__getattr__ = forwarded(__name__)  # names that have moved


_SHOWN = 256


def design_encoder(problem: OfflineProblem, name: str | None) -> Encoder:
    """Return the named encoder; None stands for z-scored features, of categorical designs for
    z-scored indicators."""
    if name is None:
        name = "z_score_one_hot" if isinstance(problem.space, CategoricalSpace) else "z_score"
    return make_encoder(problem, name)


class EstimateWatch:
    """Shows designs on their way out of the noise to the progress, with the score they are asked to
    have.

    Args:
        problem: What is searched.
        encoder: Turns features into designs.
        stage: Name of the work.
        target: Standardised score that is asked for; it stands in the place of a prediction.
        progress: Gets the designs, at most 256 of them.
    """

    def __init__(
        self,
        problem: OfflineProblem,
        encoder: Encoder,
        stage: str,
        target: float,
        progress: Progress,
    ) -> None:
        self._encoder, self._stage, self._progress, self._last = encoder, stage, progress, -1
        self._asked = float(
            problem.dataset.score_scale.restore(np.array([target], dtype=np.float32))[0]
        )

    def __call__(self, step: int, z: Tensor) -> None:
        """See the estimates (n, d) at a step."""
        x = self._encoder.decode(z[:_SHOWN].cpu().numpy())
        self._progress.designs(self._stage, step, x, np.full(len(x), self._asked))
        self._last = step

    def end(self, z: Tensor) -> None:
        """See what came out (n, d)."""
        self(self._last + 1, z)
