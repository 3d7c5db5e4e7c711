"""Oracle of a function of designs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import DesignSpace

__all__ = ["FunctionOracle"]


class FunctionOracle(Oracle):
    """An oracle given by a function of a batch of designs.

    Args:
        space: The designs it can score.
        function: (N, *shape) native designs -> (N,) scores, higher is better.
    """

    def __init__(self, space: DesignSpace, function: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(space, batch_size=1 << 14)
        self.function = function

    def _score(self, x: np.ndarray) -> np.ndarray:
        y = np.asarray(self.function(x), dtype=np.float64)
        if y.shape != (len(x),):
            raise ValueError(
                f"the oracle function must return one score per design, shape ({len(x)},), "
                f"got {y.shape=}"
            )
        return y
