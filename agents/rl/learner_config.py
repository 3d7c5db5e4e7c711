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
            (behaviour cloning: no reward at all) or ``sac`` (soft actor-critic: no conservatism, an
            ablation).
        train_steps: Updates.
        batch_size: Transitions an update.
        learning_rate: Of policy and critics.
        discount: gamma.
        n_step: Rewards that are added up before the critic's value takes over.
        conservative_weight: CQL's alpha, weight of the gap between sampled and data actions.
        n_action_samples: Actions that CQL samples from each of its three sources to estimate that
            gap; the paper uses 10, 4 trains about twice as fast.
        greed: TD3+BC's alpha, weight of the critic's value against cloning.
        hidden: Width of the two hidden layers of policy and critics.
        average_rewards: Each transition is given the mini-batch's mean reward and mean end flag,
            which is what a broadcast in PGS's released program comes to.
        checkpoints: Folder where training is saved ten times on its way, and taken up again from
            the last one that was saved with the same settings; None for none.
        tensorboard: Folder for the losses, through d3rlpy's own adapter; None for none.
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
