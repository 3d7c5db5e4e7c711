"""Stand-in oracles for tasks that have none of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from mbo_gym.errors import UnknownId
from mbo_gym.oracles.forest import ForestConfig, fit_forest
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import DesignSpace

__all__ = ["ScoreFunction", "stand_in_oracle"]


ScoreFunction: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A function of native designs (N, *shape) that returns their scores (N,)."""


def stand_in_oracle(
    oracle: str | ScoreFunction | None,
    space: DesignSpace,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sign: int = 1,
) -> Oracle | None:
    """Make the oracle that a user chose for a task which has none of its own.

    Args:
        oracle: None, ``"random_forest"`` or a function.
        space: The designs it scores.
        x: (N, *shape) all designs, for the forest.
        y: (N,) their scores, higher is better.
        sign: -1 if the function's scores are to be minimised.

    Raises:
        UnknownId: `oracle` is another word.
    """
    if oracle is None:
        return None
    if oracle == "random_forest":
        return fit_forest(space, x, y, ForestConfig())
    if not callable(oracle):
        raise UnknownId("oracle", str(oracle), ["random_forest"])
    return FunctionOracle(
        space, lambda designs: sign * np.asarray(oracle(designs), dtype=np.float64)
    )
