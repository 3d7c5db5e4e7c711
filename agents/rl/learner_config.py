"""Settings of the offline-RL learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mbo_gym.settings import require_at_least

__all__ = ["Algorithm", "OfflineConfig"]


Algorithm: TypeAlias = Literal["cql", "iql", "td3bc", "rebrac", "bc", "sac"]


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of the offline-RL learner.

    Args:
        algorithm: ``cql`` (conservative Q-learning), ``iql`` (implicit Q-learning), ``td3bc`` (TD3
            with behaviour cloning), ``rebrac`` (the same with a penalty in the critic too), ``bc``
            (behaviour cloning: uses no reward) or ``sac`` (soft actor-critic: not conservative, an
            ablation).
        train_steps: Number of updates.
        batch_size: Transitions in an update.
        learning_rate: Learning rate of policy and critics.
        discount: Discount gamma.
        n_step: Rewards that are added up before the critic's value takes over.
        conservative_weight: Weight alpha of CQL's gap between sampled actions and data actions.
        n_action_samples: Actions that CQL samples from each of three sources to estimate that gap;
            the paper uses 10, 4 trains about twice as fast.
        greed: Weight alpha of the critic's value against cloning in TD3+BC.
        hidden: Width of the two hidden layers of policy and critics.
        average_rewards: Give each transition the mini-batch's mean reward and mean terminal flag,
            which is the effect of a broadcast in PGS's released program.
        checkpoints: Folder for ten checkpoints of the training, which resumes from the last one of
            the same settings; None for no checkpoints.
        tensorboard: Folder for the losses, written by d3rlpy's adapter; None for no files.
    """

    algorithm: Algorithm = "cql"
    train_steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 3e-4
    discount: float = 0.99
    n_step: int = 1
    conservative_weight: float = 5.0
    n_action_samples: int = 4
    greed: float = 2.5
    hidden: int = 256
    average_rewards: bool = False
    checkpoints: str | None = None
    tensorboard: str | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "n_action_samples", "hidden", "n_step")
        require_at_least(
            self, 0, "train_steps", "learning_rate", "discount", "conservative_weight", "greed"
        )
