"""Settings of the online agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mbo_gym.envs.dynamics import ActionMode, Gradient, check_action_mode
from mbo_gym.envs.process import Reward
from mbo_gym.settings import Choice, require_at_least

__all__ = [
    "EpisodeConfig",
    "PPOConfig",
    "PPOLearner",
    "SACConfig",
    "SACLearner",
    "SearchConfig",
    "TD3Config",
    "TD3Learner",
    "TrainingConfig",
]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training that all agents have.

    Args:
        train_steps: Environment steps, over all environments together; rounded up to whole rounds
            of the agent.
        n_envs: Environments stepped at once.
        batch_size: Transitions of an update.
        learning_rate: Learning rate of policy and critics.
        discount: Discount factor gamma.
        hidden: Width of the two hidden layers of policy and critics.
    """

    train_steps: int = 20_000
    n_envs: int = 16
    batch_size: int = 256
    learning_rate: float = 3e-4
    discount: float = 0.99
    hidden: int = 256

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_envs", "batch_size", "hidden")
        require_at_least(self, 0, "train_steps", "learning_rate", "discount")


@dataclass(frozen=True)
class EpisodeConfig:
    """Settings of the episodes.

    Args:
        horizon: T, steps of an episode.
        n_starts: Number of best visible designs among which an episode starts.
        action_mode: ``step_vector``: step sizes on the gradient of the surrogate;
            ``displacement``: steps.
        action_scale: Unit of an action in training and search; None for the default of the
            environment.
        gradient: ``unit``: divided by its root mean square over the features, or ``raw``.
        reward: ``surrogate``, or ``oracle``: an upper bound that calls the oracle; not an offline
            method.
    """

    horizon: int = 50
    n_starts: int = 128
    action_mode: ActionMode = "step_vector"
    action_scale: float | None = None
    reward: Reward = "surrogate"
    gradient: Gradient = "unit"

    def __post_init__(self) -> None:
        check_action_mode(self.action_mode)
        require_at_least(self, 1, "horizon", "n_starts")
        require_at_least(self, 0, "action_scale")


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the search with the trained policy.

    Args:
        search_steps: Steps of the search; None for the horizon of the episodes.
        bounds: ``data``: the search stays in the box of the visible features, as training always
            does; ``none``.
    """

    search_steps: int | None = None
    bounds: Literal["data", "none"] = "data"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "search_steps")


@dataclass(frozen=True)
class PPOLearner:
    """Settings of PPO. A round is one episode of every environment, cut into mini-batches.

    Args:
        epochs: Passes over a round.
        clip_range: Largest relative change of the probability of an action in an update.
        entropy_weight: Weight of the entropy of the policy.
    """

    epochs: int = 10
    clip_range: float = 0.2
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(self, 1, "epochs")
        require_at_least(self, 0, "clip_range", "entropy_weight")


@dataclass(frozen=True)
class SACLearner:
    """Settings of SAC. A round is one step of every environment; the first `batch_size` steps are
    random actions.

    Args:
        updates: Updates of a round.
        tau: Share of the critics that moves into their targets in each update.
        entropy_weight: Weight of the entropy of the policy, in the unit of a step's reward.
    """

    updates: int = 1
    tau: float = 0.005
    entropy_weight: float = 0.01

    def __post_init__(self) -> None:
        require_at_least(self, 1, "updates")
        require_at_least(self, 0, "tau", "entropy_weight")


@dataclass(frozen=True)
class TD3Learner:
    """Settings of TD3. A round is one step of every environment; the first `batch_size` steps are
    random actions.

    Args:
        updates: Updates of a round.
        tau: Share of the critics that moves into their targets in each update.
        exploration_noise: Standard deviation of the Gaussian noise on actions in training.
    """

    updates: int = 1
    tau: float = 0.005
    exploration_noise: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "updates")
        require_at_least(self, 0, "tau", "exploration_noise")


@dataclass(frozen=True)
class PPOConfig:
    """Settings of the method `PPO`.

    Args:
        training: Settings of the training.
        learner: Settings of the algorithm.
        episodes: Settings of the episodes.
        search: Settings of the search.
        surrogate: Surrogate whose improvement is the reward.
        encoder: Name of the encoder.
    """

    training: TrainingConfig = TrainingConfig(300_000, n_envs=64, batch_size=640, hidden=64)
    learner: PPOLearner = PPOLearner()
    episodes: EpisodeConfig = EpisodeConfig()
    search: SearchConfig = SearchConfig()
    surrogate: Choice = Choice("auto")
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self.training, 2, "batch_size")
        n_envs, horizon = self.training.n_envs, self.episodes.horizon
        if n_envs * horizon < 2:
            raise ValueError(
                f"PPO needs rounds of 2 steps or more, got n_envs={n_envs} and horizon={horizon}"
            )


@dataclass(frozen=True)
class SACConfig:
    """Settings of the method `SAC`.

    Args:
        training: Settings of the training.
        learner: Settings of the algorithm.
        episodes: Settings of the episodes.
        search: Settings of the search.
        surrogate: Surrogate whose improvement is the reward.
        encoder: Name of the encoder.
    """

    training: TrainingConfig = TrainingConfig()
    learner: SACLearner = SACLearner()
    episodes: EpisodeConfig = EpisodeConfig()
    search: SearchConfig = SearchConfig()
    surrogate: Choice = Choice("auto")
    encoder: str = "z_score"


@dataclass(frozen=True)
class TD3Config:
    """Settings of the method `TD3`.

    Args:
        training: Settings of the training.
        learner: Settings of the algorithm.
        episodes: Settings of the episodes.
        search: Settings of the search.
        surrogate: Surrogate whose improvement is the reward.
        encoder: Name of the encoder.
    """

    training: TrainingConfig = TrainingConfig()
    learner: TD3Learner = TD3Learner()
    episodes: EpisodeConfig = EpisodeConfig()
    search: SearchConfig = SearchConfig()
    surrogate: Choice = Choice("auto")
    encoder: str = "z_score"
