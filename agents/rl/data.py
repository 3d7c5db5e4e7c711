"""Episodes as the offline-RL learner reads them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["Episodes"]


@dataclass(frozen=True, eq=False)
class Episodes:
    """B episodes of T transitions, as the learner reads them.

    Args:
        observations: (B, T+1, o).
        actions: (B, T, m) in [-1, 1].
        rewards: (B, T).
        terminal: Whether the last transition ends the world; else a time limit ends the episode.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminal: bool = False

    @classmethod
    def of(cls, batch: TrajectoryBatch, *, terminal: bool = False) -> Episodes:
        """Return a trajectory batch with actions as episodes whose observations are its designs."""
        return cls(batch.z, *batch.require_actions(), terminal=terminal)
