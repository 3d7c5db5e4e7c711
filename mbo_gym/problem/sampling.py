"""The space that uniform designs of a problem are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import ContinuousSpace, DesignSpace

if TYPE_CHECKING:
    from mbo_gym.problem.task import OfflineProblem

__all__ = ["sampling_space"]


def sampling_space(problem: OfflineProblem) -> DesignSpace:
    """Return the space that uniform designs are drawn from.

    Infinite sides are cut at the range of the visible data.
    """
    space = problem.space
    x = problem.dataset.x
    if isinstance(space, MixedSpace) and not space.bounded:
        return space.within(x.min(axis=0), x.max(axis=0))
    if isinstance(space, ContinuousSpace) and not space.bounded:
        return space.within(
            np.where(np.isfinite(space.low), space.low, x.min(axis=0)),
            np.where(np.isfinite(space.high), space.high, x.max(axis=0)),
        )
    return space
