"""Episodes: the data set of the offline-RL learner."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["Episodes"]


@dataclass(frozen=True, eq=False)
class Episodes:
    """B episodes of T transitions.

    Args:
        observations: (B, T+1, o).
        actions: (B, T, m) in [-1, 1].
        rewards: (B, T).
        terminal: Whether the last transition is terminal (otherwise it is a time-out).
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminal: bool = False

    @classmethod
    def of(cls, batch: TrajectoryBatch, *, terminal: bool = False) -> Episodes:
        """Return episodes of a trajectory batch with actions; observations are its features."""
        return cls(batch.z, *batch.require_actions(), terminal=terminal)
