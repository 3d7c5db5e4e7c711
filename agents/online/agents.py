"""PPO, SAC and TD3 of stable-baselines3, trained on the environment of a surrogate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from agents.online.configs import (
    EpisodeConfig,
    PPOConfig,
    SACConfig,
    SACLearner,
    TD3Config,
    TD3Learner,
    TrainingConfig,
)
from agents.rl.learner import third_party_seed
from agents.rl.search import learning_curve, search_ends
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.envs.rollout import Policy
from mbo_gym.envs.vector_env import DesignVectorEnv
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.tasks.registry import make_task

__all__ = ["PPO", "SAC", "TD3", "TrainedPolicy", "train_policy"]

POLICY_FILE = "policy.safetensors"

Config: TypeAlias = PPOConfig | SACConfig | TD3Config

_MORE_ENVS = Difference(
    "stable-baselines3 trains on one environment by default",
    "16 environments (PPO: 64) are stepped as one tensor",
    "steps of a batch cost about as much as those of one design",
)
_WIDTH = Difference(
    "stable-baselines3's default widths of the networks",
    "two hidden layers of `training.hidden` units",
    "one setting for all agents",
)
_BUFFER = Difference(
    "a replay buffer of 1,000,000 transitions",
    "a replay buffer that holds every transition of the training",
    "trainings are this short",
)
_METRICS = {
    "learning/prediction": "mean prediction of the designs that the policy reaches, by steps",
    "online_rl/...": "metrics of stable-baselines3 by environment steps, e.g. "
    "`rollout/ep_rew_mean`, without those of time",
    "search/prediction": "mean prediction of the designs at a step of the search, in standard "
    "deviations of the visible scores",
}
_LIGHT_TRAINING = TrainingConfig(20, n_envs=4, batch_size=32, hidden=16)
_LIGHT_EPISODES = EpisodeConfig(horizon=5)


class PPO(Method):
    """PPO: proximal policy optimisation on the environment of a surrogate (Schulman et al., 2017).

    The reward is the improvement of the prediction, so no design is measured: in the terms of
    reinforcement learning, the method is model-based. ``episodes.reward="oracle"`` trains on the
    true score instead, as an upper bound. Every design visited is then an oracle call, which the
    record and the report count; search and order of the proposals still use the surrogate.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. train a policy in episodes of T steps from the best visible designs: reward f(z') - f(z),
           transition as in `mbo_gym.envs.dynamics`
        3. take T steps of the deterministic policy from the K best visible designs
        4. propose the ends, the highest f(z) first

    Args:
        config: Settings of training, episodes and search; clipping, passes and entropy of PPO.

    Attributes:
        policy: Trained policy with the surrogate.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("sb3_ppo", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Schulman et al. 2017, Proximal Policy Optimization Algorithms, arXiv 1707.06347.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="PPO: proximal policy optimisation on the environment of a surrogate",
        paper="Schulman et al. 2017, Proximal Policy Optimization Algorithms, arXiv 1707.06347",
        kind="adaptation",
        differences=(_MORE_ENVS, _WIDTH),
        metrics=_METRICS,
        equations=(r"r_t = f(z_{t+1}) - f(z_t)",),
    )
    Config: ClassVar[type[Any]] = PPOConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "light": PPOConfig(
            training=_LIGHT_TRAINING, episodes=_LIGHT_EPISODES, surrogate=LIGHT_SURROGATE
        )
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)

    @property
    def asks_oracle(self) -> bool:
        """Whether the reward is the oracle's."""
        return bool(self.config.episodes.reward == "oracle")

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate and train the policy, see `train_policy`."""
        self.start(problem, context)
        learner = self.config.learner
        settings = {
            "n_steps": self.config.episodes.horizon,
            "n_epochs": learner.epochs,
            "clip_range": learner.clip_range,
            "ent_coef": learner.entropy_weight,
        }
        self.policy = train_policy("PPO", problem, self.config, settings, context)

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        return self.policy.search(k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate and the weights of the policy, see `TrainedPolicy.save`."""
        self.policy.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate and the policy."""
        self.policy = load_policy("PPO", folder, self.problem, self.config, self.context)


class SAC(Method):
    """SAC: soft actor-critic on the environment of a surrogate (Haarnoja et al., 2018).

    The reward is that of `PPO`, with its two choices; the learner keeps all transitions and reuses
    them.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. repeat for `train_steps` environment steps: step all environments by the policy, in
           episodes of T steps from the best visible designs; store each transition with its reward
           f(z') - f(z); transition as in `mbo_gym.envs.dynamics`
        3.     after each step of all environments, take a batch of the stored transitions; move
               two critics Q towards r + gamma (min Q'(z', a') - c log pi(a' | z')), and the policy
               pi up min Q(z, a) - c log pi(a | z); c is the weight of the entropy, and Q' are
               copies that follow Q slowly
        4. take T steps of the deterministic policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    Args:
        config: Settings of training, episodes and search; updates and entropy of SAC.

    Attributes:
        policy: Trained policy with the surrogate.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("sb3_sac", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Haarnoja et al. 2018, Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement
        Learning with a Stochastic Actor, arXiv 1801.01290.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="SAC: soft actor-critic on the environment of a surrogate",
        paper=(
            "Haarnoja et al. 2018, Soft Actor-Critic: Off-Policy Maximum Entropy Deep "
            "Reinforcement Learning with a Stochastic Actor, arXiv 1801.01290"
        ),
        kind="adaptation",
        differences=(
            _MORE_ENVS,
            _WIDTH,
            _BUFFER,
            Difference(
                "the weight of the entropy is learned",
                "the weight of the entropy is fixed at 0.01",
                "the learned one starts at 1, where a step earns about 0.1, and falls too slowly "
                "for a training this short",
            ),
        ),
        metrics=_METRICS,
        equations=(r"r_t = f(z_{t+1}) - f(z_t)",),
    )
    Config: ClassVar[type[Any]] = SACConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "light": SACConfig(
            training=_LIGHT_TRAINING, episodes=_LIGHT_EPISODES, surrogate=LIGHT_SURROGATE
        )
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)

    @property
    def asks_oracle(self) -> bool:
        """Whether the reward is the oracle's."""
        return bool(self.config.episodes.reward == "oracle")

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate and train the policy, see `train_policy`."""
        self.start(problem, context)
        settings = off_policy_settings(self.config.training, self.config.learner)
        settings["ent_coef"] = self.config.learner.entropy_weight
        self.policy = train_policy("SAC", problem, self.config, settings, context)

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        return self.policy.search(k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate and the weights of the policy, see `TrainedPolicy.save`."""
        self.policy.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate and the policy."""
        self.policy = load_policy("SAC", folder, self.problem, self.config, self.context)


class TD3(Method):
    """TD3: twin delayed deep deterministic policy gradient on the environment of a surrogate
    (Fujimoto et al., 2018).

    The reward is that of `PPO`, with its two choices; the learner keeps all transitions and reuses
    them.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. repeat for `train_steps` environment steps: step all environments by the policy with
           Gaussian noise on its actions, in episodes of T steps from the best visible designs;
           store each transition with its reward f(z') - f(z); transition as in
           `mbo_gym.envs.dynamics`
        3.     after each step of all environments, take a batch of the stored transitions; move
               two critics Q towards r + gamma min Q'(z', a'), with a' = pi'(z') + clipped noise;
               pi' and Q' are copies that follow policy and critics slowly
        4.     in every second update, move the policy up the first critic
        5. take T steps of the policy, without noise, from the K best visible designs
        6. propose the ends, the highest f(z) first

    Args:
        config: Settings of training, episodes and search; updates and noise of TD3.

    Attributes:
        policy: Trained policy with the surrogate.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("sb3_td3", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Fujimoto, van Hoof and Meger 2018, Addressing Function Approximation Error in Actor-Critic
        Methods, arXiv 1802.09477.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="TD3: twin delayed policy gradient on the environment of a surrogate",
        paper=(
            "Fujimoto, van Hoof and Meger 2018, Addressing Function Approximation Error in "
            "Actor-Critic Methods, arXiv 1802.09477"
        ),
        kind="adaptation",
        differences=(_MORE_ENVS, _WIDTH, _BUFFER),
        metrics=_METRICS,
        equations=(r"r_t = f(z_{t+1}) - f(z_t)",),
    )
    Config: ClassVar[type[Any]] = TD3Config
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "light": TD3Config(
            training=_LIGHT_TRAINING, episodes=_LIGHT_EPISODES, surrogate=LIGHT_SURROGATE
        )
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)

    @property
    def asks_oracle(self) -> bool:
        """Whether the reward is the oracle's."""
        return bool(self.config.episodes.reward == "oracle")

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate and train the policy, see `train_policy`."""
        self.start(problem, context)
        settings = off_policy_settings(self.config.training, self.config.learner)
        noise = self.config.learner.exploration_noise
        self.policy = train_policy(
            "TD3", problem, self.config, settings, context, action_noise=noise
        )

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        return self.policy.search(k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate and the weights of the policy, see `TrainedPolicy.save`."""
        self.policy.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate and the policy."""
        self.policy = load_policy("TD3", folder, self.problem, self.config, self.context)


def off_policy_settings(
    training: TrainingConfig, learner: SACLearner | TD3Learner
) -> dict[str, Any]:
    """Return the arguments that SAC and TD3 of stable-baselines3 share."""
    return {
        "buffer_size": max(training.train_steps, training.n_envs),
        "learning_starts": training.batch_size,
        "train_freq": 1,
        "gradient_steps": learner.updates,
        "tau": learner.tau,
    }


def train_policy(
    algorithm: str,
    problem: OfflineProblem,
    config: Config,
    settings: dict[str, Any],
    context: Context,
    *,
    action_noise: float | None = None,
) -> TrainedPolicy:
    """Fit a surrogate and train a policy of stable-baselines3 on its environment.

    Args:
        algorithm: Class of stable-baselines3: ``PPO``, ``SAC`` or ``TD3``.
        problem: Problem of the fit.
        config: Settings of the method.
        settings: Arguments of that class alone.
        context: Seed, device and progress; global random states are restored afterwards.
        action_noise: Standard deviation of Gaussian noise on actions, or None.

    Raises:
        MissingDependency: stable-baselines3 is not installed.
        MissingData: The reward is ``oracle``, and the task of that id and these options has no
            oracle.
    """
    sb3 = optional_import("stable_baselines3", "rl")  # missing: an error now, not after the fit
    training = config.training
    # A problem has no way to an oracle: the task is made again for the upper bound.
    task: Any = problem
    if config.episodes.reward == "oracle":
        task = make_task(problem.task_id, **problem.options)
    climbed = config.episodes.action_mode == "step_vector"
    fitted = Fitted.fit(
        problem, make_surrogate(config.surrogate), config.encoder, context, climbed=climbed
    )
    env = make_env(fitted, config, task, training.n_envs)
    trained = TrainedPolicy(algorithm, fitted, config)
    if action_noise is not None:
        settings["action_noise"] = _gaussian_noise(fitted.encoder.n_features, action_noise)
    from agents.online.env import DesignVecEnv, ProgressCallback, ProgressWriter

    progress = context.progress
    with third_party_seed(context.seed):
        agent = getattr(sb3, algorithm)(
            "MlpPolicy",
            sb3.common.vec_env.VecMonitor(DesignVecEnv(env)),
            learning_rate=training.learning_rate,
            batch_size=training.batch_size,
            gamma=training.discount,
            policy_kwargs={"net_arch": [training.hidden, training.hidden]},
            seed=context.seed % 2**32,
            device=str(env.device),
            **settings,
        )
        # With a logger of its own the library would make a folder.
        writers = [ProgressWriter(progress)]
        agent.set_logger(sb3.common.logger.Logger(folder=None, output_formats=writers))
        curve = learning_curve(fitted, trained.process, lambda policy: (policy_of(policy), None))
        callback = ProgressCallback(progress, f"training {algorithm}", training.train_steps, curve)
        # PPO counts rounds. The others count episodes, of which one ends in each environment.
        log_interval = 1 if algorithm == "PPO" else training.n_envs
        agent.learn(training.train_steps, callback=callback, log_interval=log_interval)
    trained.policy = agent.policy
    return trained


def load_policy(
    algorithm: str, folder: Path, problem: OfflineProblem, config: Config, context: Context
) -> TrainedPolicy:
    """Read what `TrainedPolicy.save` wrote."""
    sb3 = optional_import("stable_baselines3", "rl")
    fitted = Fitted.load(folder, problem, config.encoder, context)
    env = make_env(fitted, config, problem, 1)
    kind = getattr(sb3, algorithm).policy_aliases["MlpPolicy"]
    hidden = config.training.hidden
    with third_party_seed(context.seed):  # initial weights come from the global state
        policy = kind(
            env.single_observation_space,
            env.single_action_space,
            lambda _: config.training.learning_rate,
            net_arch=[hidden, hidden],
        ).to(context.device)
    policy.load_state_dict(load_weights(folder / POLICY_FILE, context.device))
    return TrainedPolicy(algorithm, fitted, config, policy)


def make_env(fitted: Fitted, config: Config, task: Any, n_envs: int) -> DesignVectorEnv:
    """Return the environment of a fitted surrogate.

    Args:
        fitted: Encoder and surrogate.
        config: Settings of the method.
        task: Task, where the reward is the oracle's; else the problem.
        n_envs: Number of designs stepped at once.
    """
    episodes = config.episodes
    return DesignVectorEnv(
        n_envs,
        fitted.context.device,
        task=task,
        surrogate=fitted.surrogate,
        encoder=config.encoder,
        reward="surrogate" if task is fitted.problem else episodes.reward,
        action_mode=episodes.action_mode,
        gradient=episodes.gradient,
        action_scale=episodes.action_scale,
        horizon=episodes.horizon,
        n_starts=episodes.n_starts,
    )


def policy_of(policy: Any) -> Policy:
    """Return the deterministic policy of stable-baselines3 as a function of tensors."""

    def act(observations: Tensor) -> Tensor:
        actions, _ = policy.predict(observations.cpu().numpy(), deterministic=True)
        return torch.from_numpy(actions).to(observations.device)

    return act


class TrainedPolicy:
    """A policy of stable-baselines3 and the surrogate that it was trained on.

    Args:
        algorithm: Its class in stable-baselines3.
        fitted: Encoder and surrogate.
        config: Settings of the method.
        policy: Policy; None until it is trained.

    Attributes:
        process: Decision process of the search.
    """

    def __init__(self, algorithm: str, fitted: Fitted, config: Config, policy: Any = None) -> None:
        self.algorithm = algorithm
        self.fitted = fitted
        self.policy = policy
        steps = config.search.search_steps
        self._steps = config.episodes.horizon if steps is None else steps
        self.process = Process(
            EnvConfig(
                task=fitted.problem,
                encoder=fitted.encoder,
                surrogate=fitted.surrogate,
                action_mode=config.episodes.action_mode,
                gradient=config.episodes.gradient,
                action_scale=config.episodes.action_scale,
                bounds=config.search.bounds,
                horizon=max(self._steps, 1),
            ),
            fitted.context.device,
        )

    def search(self, k: int) -> Proposals:
        """Take steps from the `k` best visible designs; return the ends, the highest prediction
        first."""
        if self._steps == 0:
            return self.fitted.best(self.fitted.starts(k), k)
        return search_ends(self.fitted, self.process, self.actions, k)

    def actions(self, z: Tensor) -> Tensor:
        """Return the deterministic actions (B, d) for features (B, d), on their device."""
        return torch.as_tensor(policy_of(self.policy)(z))

    def save(self, folder: Path) -> None:
        """Write the surrogate and the weights of the policy.

        ``policy.load_state_dict(safetensors.torch.load_file(path))`` reads the weights into the
        policy of a stable-baselines3 model of this kind with ``policy_kwargs={"net_arch": [hidden,
        hidden]}``.
        """
        self.fitted.save(folder)
        save_weights(folder / POLICY_FILE, self.policy.state_dict())


def _gaussian_noise(d: int, std: float) -> Any:
    noise = optional_import("stable_baselines3.common.noise", "rl")
    return noise.NormalActionNoise(np.zeros(d), np.full(d, std))
