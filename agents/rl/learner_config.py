"""Settings of the offline-RL learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mbo_gym.settings import require_at_least

__all__ = ["Algorithm", "OfflineConfig"]


Algorithm: TypeAlias = Literal["cql", "iql", "td3bc", "rebrac", "bc", "awac", "dt", "sac"]


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of the offline-RL learner.

    Args:
        algorithm: ``cql`` (conservative Q-learning), ``iql`` (implicit Q-learning), ``td3bc`` (TD3
            with behaviour cloning), ``rebrac`` (the same with a penalty in the critic too), ``bc``
            (behaviour cloning: uses no reward), ``awac`` (advantage-weighted actor-critic), ``dt``
            (decision transformer) or ``sac`` (soft actor-critic: not conservative, an ablation).
        train_steps: Number of updates.
        batch_size: Transitions in an update.
        learning_rate: Learning rate of policy and critics.
        discount: Discount gamma.
        n_step: Rewards that are added up before the critic's value takes over.
        conservative_weight: Weight alpha of CQL's gap between sampled actions and data actions.
        n_action_samples: Actions that CQL samples from each of three sources to estimate that gap;
            the paper uses 10, 4 trains about twice as fast.
        greed: Weight alpha of the critic's value against cloning in TD3+BC.
        expectile: Expectile of the actions' values that IQL's state value fits, in (0, 1).
        inverse_temperature: Weight beta of the advantage in IQL's policy; 0 clones the data.
        temperature: Temperature lambda of the advantage in AWAC's policy.
        actor_penalty: Weight of cloning in ReBRAC's policy.
        critic_penalty: Weight of the distance to the data's next action in ReBRAC's critics.
        context: Steps that the decision transformer sees.
        target: Return that the decision transformer is asked for, in units of the best return of
            an episode in the data.
        hidden: Width of the two hidden layers of policy and critics; of the decision transformer's
            embeddings.
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
    expectile: float = 0.7
    inverse_temperature: float = 3.0
    temperature: float = 1.0
    actor_penalty: float = 0.001
    critic_penalty: float = 0.01
    context: int = 20
    target: float = 1.0
    hidden: int = 256
    average_rewards: bool = False
    checkpoints: str | None = None
    tensorboard: str | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "n_action_samples", "hidden", "n_step", "context")
        require_at_least(
            self,
            0,
            "train_steps",
            "learning_rate",
            "discount",
            "conservative_weight",
            "greed",
            "inverse_temperature",
            "actor_penalty",
            "critic_penalty",
        )
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile must lie in (0, 1), got {self.expectile}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
