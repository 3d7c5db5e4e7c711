"""Settings of the online agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mbo_gym.envs.dynamics import ActionMode, check_action_mode
from mbo_gym.envs.process import Reward
from mbo_gym.settings import require_at_least

__all__ = ["OffPolicyConfig", "OnlineConfig", "PPOConfig", "SACConfig", "TD3Config"]


@dataclass(frozen=True)
class OnlineConfig:
    """Settings that all online agents have.

    Args:
        train_steps: Environment steps, over all environments together; rounded up to whole rounds
            of the agent.
        n_envs: Environments stepped at once.
        batch_size: Transitions an update.
        learning_rate: Of policy and critics.
        discount: gamma.
        hidden: Width of the two hidden layers of policy and critics.
        horizon: T, steps of an episode.
        n_starts: Episodes start at one of this many best visible designs.
        action_mode: ``step_vector``: step sizes on the surrogate's gradient; ``displacement``:
            steps.
        action_scale: Unit of an action in training and search; None for the environment's default.
        reward: ``surrogate``, or ``oracle``: an upper bound that asks the oracle, no offline
            method.
        search_steps: Steps of the search; None for `horizon`.
        bounds: ``data``: the search stays in the box of the visible features, as training always
            does; ``none``.
        surrogate: Name of the surrogate.
        encoder: Name of the encoder.
    """

    train_steps: int = 300_000
    n_envs: int = 64
    batch_size: int = 640
    learning_rate: float = 3e-4
    discount: float = 0.99
    hidden: int = 64
    horizon: int = 50
    n_starts: int = 128
    action_mode: ActionMode = "step_vector"
    action_scale: float | None = None
    reward: Reward = "surrogate"
    search_steps: int | None = None
    bounds: Literal["data", "none"] = "data"
    surrogate: str = "mlp"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        check_action_mode(self.action_mode)
        require_at_least(self, 1, "n_envs", "batch_size", "hidden", "horizon", "n_starts")
        require_at_least(
            self, 0, "train_steps", "learning_rate", "discount", "search_steps", "action_scale"
        )


@dataclass(frozen=True)
class PPOConfig(OnlineConfig):
    """Settings of PPO. A round is one episode of every environment, cut into mini-batches of
    `batch_size`.

    Args:
        epochs: Passes over a round.
        clip_range: How far an update may change the probability of an action, as a share.
        entropy_weight: Weight of the policy's entropy.
    """

    epochs: int = 10
    clip_range: float = 0.2
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "epochs")
        require_at_least(self, 2, "batch_size")
        require_at_least(self, 0, "clip_range", "entropy_weight")
        if self.n_envs * self.horizon < 2:
            raise ValueError(
                f"PPO needs rounds of 2 steps or more, got {self.n_envs=} and {self.horizon=}"
            )


@dataclass(frozen=True)
class OffPolicyConfig(OnlineConfig):
    """Settings that SAC and TD3 share. A round is one step of every environment.

    The first `batch_size` steps are random actions.

    Args:
        updates: Updates a round.
        tau: Share of the critics that their targets take over in each update.
    """

    train_steps: int = 20_000
    n_envs: int = 16
    batch_size: int = 256
    hidden: int = 256
    updates: int = 1
    tau: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "updates")
        require_at_least(self, 0, "tau")


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Settings of SAC.

    Args:
        entropy_weight: Weight of the policy's entropy, in the unit of a step's reward.
    """

    entropy_weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "entropy_weight")


@dataclass(frozen=True)
class TD3Config(OffPolicyConfig):
    """Settings of TD3.

    Args:
        exploration_noise: Standard deviation of the Gaussian noise on its actions in training.
    """

    exploration_noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "exploration_noise")
