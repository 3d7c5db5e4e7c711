"""Batches of trajectories as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["TrajectoryBatch"]


@dataclass(frozen=True, eq=False)
class TrajectoryBatch:
    """B trajectories of T steps.

    Args:
        z: (B, T+1, d) encoded designs.
        y: (B, T+1) their standardised scores.
        actions: (B, T, d) in [-1, 1], once an action mode has been applied.
        rewards: (B, T), with the actions.
        rows: (B, T+1) which visible row each design is, where the designs come from the data.
        meta: Origin as plain JSON values: task, options, sampler, action mode, scale.
    """

    z: Tensor
    y: Tensor
    actions: Tensor | None = None
    rewards: Tensor | None = None
    rows: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        b, steps = self.z.shape[0], self.z.shape[1]
        if self.z.ndim != 3 or self.y.shape != (b, steps):
            raise ValueError(
                f"need z (B, T+1, d) and y (B, T+1), got {self.z.shape=} and {self.y.shape=}"
            )
        if self.actions is not None and self.actions.shape != (b, steps - 1, self.z.shape[2]):
            raise ValueError(
                f"need actions (B, T, d), got {self.actions.shape=} for {self.z.shape=}"
            )
        if self.rewards is not None and self.rewards.shape != (b, steps - 1):
            raise ValueError(f"need rewards (B, T), got {self.rewards.shape=} for {self.z.shape=}")

    def __len__(self) -> int:
        return len(self.z)

    @property
    def horizon(self) -> int:
        """T, the number of steps of each trajectory."""
        return self.z.shape[1] - 1

    def require_actions(self) -> tuple[Tensor, Tensor]:
        """Return actions and rewards.

        Raises:
            ValueError: No action mode has been applied yet.
        """
        if self.actions is None or self.rewards is None:
            raise ValueError(
                "these trajectories have no actions yet; "
                "call with_actions(batch, surrogate, ...) first"
            )
        return self.actions, self.rewards

    def require_rows(self) -> Tensor:
        """Return the visible rows (B, T+1) of the designs.

        Raises:
            ValueError: The designs do not come from the data.
        """
        if self.rows is None:
            raise ValueError(
                "these trajectories do not say which visible rows their designs are; make them "
                "with "
                "a sampler of mbo_gym.trajectories"
            )
        return self.rows
