"""Offline-RL agents of d3rlpy, trained on random steps in the environment of a surrogate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from agents.rl.data import Episodes
from agents.rl.learner import load_policy, policy_actions, save_policy, train_offline
from agents.rl.learner_config import Algorithm, OfflineConfig
from agents.rl.search import (
    AgentEnvConfig,
    See,
    fit_surrogate_of,
    learning_curve,
    search_ends,
)
from agents.rl.transformer import TransformerPolicy, most_return
from mbo_gym.envs.process import Process
from mbo_gym.envs.rollout import Policy
from mbo_gym.files import store
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories.rollouts import random_rollouts

__all__ = ["AWAC", "BC", "CQL", "IQL", "AgentConfig", "DecisionTransformer", "ReBRAC", "TD3PlusBC"]

TARGET_FILE = "target.json"


@dataclass(frozen=True)
class AgentEpisodes:
    """Settings of the episodes: random steps from the best visible designs.

    Args:
        n_trajectories: Number of episodes.
        p: Percent of the visible designs, the best ones, that episodes start at.
        standardise_rewards: Whether rewards are divided by their standard deviation.
    """

    n_trajectories: int = 1000
    p: float = 20.0
    standardise_rewards: bool = True

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_trajectories")
        if not 0 < self.p <= 100:
            raise ValueError(f"p is a percentage in (0, 100], got {self.p}")


@dataclass(frozen=True)
class AgentConfig:
    """Settings of an agent of d3rlpy.

    Args:
        learner: Settings of the learner.
        env: Settings of the environment.
        episodes: Settings of the episodes.
    """

    learner: OfflineConfig
    env: AgentEnvConfig = AgentEnvConfig()
    episodes: AgentEpisodes = AgentEpisodes()


_SHARED: Mapping[str, Any] = {"train_steps": 500, "discount": 0.5}
TUNED: Mapping[Algorithm, OfflineConfig] = {
    "cql": OfflineConfig("cql", **_SHARED),
    "iql": OfflineConfig("iql", **_SHARED),
    "td3bc": OfflineConfig("td3bc", **_SHARED),
    "rebrac": OfflineConfig("rebrac", **_SHARED),
    "bc": OfflineConfig("bc", **_SHARED),
    "awac": OfflineConfig("awac", **_SHARED),
    "dt": OfflineConfig("dt", 1000, batch_size=64, learning_rate=1e-3, hidden=128),
}
"""Settings for random steps in the environment, see the study `agents`."""

PUBLISHED: Mapping[Algorithm, OfflineConfig] = {
    "cql": OfflineConfig("cql", 1_000_000, n_action_samples=10),
    "iql": OfflineConfig("iql", 1_000_000),
    "td3bc": OfflineConfig("td3bc", 1_000_000),
    "rebrac": OfflineConfig("rebrac", 1_000_000, batch_size=1024, learning_rate=1e-3),
    "bc": OfflineConfig("bc", 1_000_000, learning_rate=1e-3),
    "awac": OfflineConfig("awac", 500_000, batch_size=1024),
    "dt": OfflineConfig("dt", 100_000, batch_size=64, learning_rate=1e-4, hidden=128),
}
"""Settings of the papers, for data of other behaviours on robots."""


def _presets(kind: type[AgentConfig], algorithm: Algorithm) -> dict[str, AgentConfig]:
    """Return the presets of an agent: the paper's settings, whole and short, and a light one."""
    paper = PUBLISHED[algorithm]
    raw = AgentEpisodes(standardise_rewards=False)
    light = replace(TUNED[algorithm], train_steps=20, batch_size=32, hidden=16, context=3)
    return {
        "paper": kind(paper, episodes=raw),
        "paper_short": kind(replace(paper, train_steps=5000), episodes=raw),
        "light": kind(
            light,
            AgentEnvConfig(surrogate=LIGHT_SURROGATE, horizon=5),
            AgentEpisodes(n_trajectories=30, p=50.0),
        ),
    }


class _OfflineAgent:
    """Fit, search, save and load of the agents."""

    config: Any
    problem: OfflineProblem
    context: Context
    fitted: Fitted
    process: Process
    algo: Any = None
    target: float = 0.0
    unit: float = 1.0

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate, take random steps in its environment, learn a policy from them.

        Raises:
            MissingDependency: d3rlpy is not installed.
            ValueError: The learner is set to the algorithm of another agent.
        """
        self.start(problem, context)  # type: ignore[attr-defined]
        optional_import("d3rlpy", "rl")  # fail before minutes of fitting
        config = self.config
        own = type(config)().learner.algorithm
        if config.learner.algorithm != own:
            raise ValueError(
                f"learner.algorithm of this agent is {own!r}, got {config.learner.algorithm!r}. "
                "Take the agent of that algorithm."
            )
        self.learn(fit_surrogate_of(config.env, problem, context))

    def learn(self, fitted: Fitted) -> None:
        """Take random steps in the environment of a fitted surrogate, and learn a policy."""
        config = self.config
        context = self.context
        self.fitted = fitted
        self.process = config.env.process(fitted)
        episodes = self._episodes()
        self.target = config.learner.target * most_return(episodes)
        self.algo = train_offline(
            episodes,
            config.learner,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
            watch=learning_curve(fitted, self.process, self._policy),
        )

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        policy, see = self._policy(self.algo)
        return search_ends(self.fitted, self.process, policy, k, see)

    def write_state(self, folder: Path) -> None:
        """Write surrogate and policy, see `agents.rl.learner.save_policy`."""
        self.fitted.save(folder)
        save_policy(self.algo, folder)
        facts = {"target": self.target, "unit": self.unit}
        store.write_atomic(folder / TARGET_FILE, json.dumps(facts).encode())

    def read_state(self, folder: Path) -> None:
        """Read surrogate and policy."""
        env = self.config.env
        self.fitted = Fitted.load(folder, self.problem, env.encoder, self.context)
        self.process = env.process(self.fitted)
        facts = json.loads((folder / TARGET_FILE).read_text(encoding="utf-8"))
        self.target = facts["target"]
        self.unit = facts["unit"]
        self.algo = load_policy(
            folder,
            self.config.learner,
            len(self.process.observation_box()[0]),
            self.process.n_actions,
            self.context.device,
            env.horizon,
        )

    def _episodes(self) -> Episodes:
        """Return random steps in the environment, on the CPU."""
        config = self.config.episodes
        generator = torch.Generator().manual_seed(self.context.seed)
        horizon = self.config.env.horizon
        taken = random_rollouts(self.process, config.p, config.n_trajectories, horizon, generator)
        rewards = taken.rewards.cpu()
        if config.standardise_rewards:
            self.unit = float(rewards.std().clamp_min(1e-12))
        self.context.progress.metrics(
            "episodes", 0, reward=float(rewards.mean()), deviation=float(rewards.std())
        )
        return Episodes(taken.observations.cpu(), taken.actions.cpu(), rewards / self.unit)

    def _policy(self, algo: Any) -> tuple[Policy, See | None]:
        """Return the policy of a learner, and what is to be called with each state before it."""
        if self.config.learner.algorithm == "dt":
            policy = TransformerPolicy(algo, self.target, self.unit)
            return policy, policy.see
        return lambda observations: policy_actions(algo, observations), None


_METRICS = {
    "surrogate/loss": "training loss of the surrogate, where it has one",
    "episodes/reward": "mean reward of a random step, in standard deviations of the scores",
    "episodes/deviation": "standard deviation of these rewards",
    "offline_rl/...": "losses of d3rlpy by updates, e.g. `critic_loss` and `actor_loss`",
    "learning/prediction": "mean prediction of the designs that the policy reaches, by updates",
    "search/prediction": "mean prediction of the designs at a step of the search",
}
_DATA = Difference(
    "data of other behaviours on robots",
    "random steps on the gradient of a surrogate, rewarded by it; the search goes on in that "
    "environment from the best visible designs",
    "offline optimization as offline RL",
)


@dataclass(frozen=True)
class CQLConfig(AgentConfig):
    """Settings of `CQL`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["cql"]


class CQL(_OfflineAgent, Method):
    """CQL: conservative Q-learning (Kumar et al., NeurIPS 2020).

    Learns a critic that is pushed down on actions that the data do not have, and a policy that
    follows it.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. move two critics Q towards r + gamma (min Q(z', a') - c log pi(a' | z')), plus alpha
           times the gap between log-sum-exp of Q over sampled actions and Q of the data's
           action; move the policy up min Q - c log pi
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_cql", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Kumar, Zhou, Tucker and Levine 2020, Conservative Q-Learning for Offline
        Reinforcement Learning, NeurIPS, arXiv 2006.04779.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="CQL: conservative Q-learning",
        paper=(
            "Kumar, Zhou, Tucker and Levine 2020, Conservative Q-Learning for Offline "
            "Reinforcement Learning, NeurIPS, arXiv 2006.04779"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "1,000,000 updates, discount 0.99, 10 sampled actions",
                "500 updates, discount 0.5, 4 sampled actions; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(
            r"\min_Q \; \alpha \, \mathbb{E}\left[\log \sum_a e^{Q(z, a)} - Q(z, a_t)\right]",
            r"{} + \mathbb{E}\left[(Q(z, a) - r - \gamma Q(z', a'))^2\right]",
        ),
    )
    Config: ClassVar[type[Any]] = CQLConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(CQLConfig, "cql")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class IQLConfig(AgentConfig):
    """Settings of `IQL`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["iql"]


class IQL(_OfflineAgent, Method):
    """IQL: implicit Q-learning (Kostrikov, Nair and Levine, ICLR 2022).

    Learns the value of the better actions in the data by expectile regression, without asking for
    the value of any other action, and clones the actions by their advantage.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. move V(z) towards an upper expectile of Q(z, a), Q towards r + gamma V(z'), and the
           policy towards the data's actions, weighted by exp(beta (Q - V))
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_iql", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Kostrikov, Nair and Levine 2022, Offline Reinforcement Learning with Implicit
        Q-Learning, ICLR, arXiv 2110.06169.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="IQL: implicit Q-learning",
        paper=(
            "Kostrikov, Nair and Levine 2022, Offline Reinforcement Learning with Implicit "
            "Q-Learning, ICLR, arXiv 2110.06169"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "1,000,000 updates, discount 0.99",
                "500 updates, discount 0.5; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(
            r"\max_\pi \; \mathbb{E}\left[e^{\beta (Q(z, a) - V(z))} \log \pi(a \mid z)\right]",
        ),
    )
    Config: ClassVar[type[Any]] = IQLConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(IQLConfig, "iql")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class TD3PlusBCConfig(AgentConfig):
    """Settings of `TD3PlusBC`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["td3bc"]


class TD3PlusBC(_OfflineAgent, Method):
    """TD3+BC: TD3 with behaviour cloning (Fujimoto and Gu, NeurIPS 2021).

    Learns critics as TD3 does, and a policy that follows them and stays near the data's actions.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. move two critics Q towards r + gamma min Q(z', pi(z') + clipped noise); in every
           second update, move the policy up lambda Q(z, pi(z)) - (pi(z) - a)^2, with lambda =
           alpha over the mean of |Q|
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_td3bc", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Fujimoto and Gu 2021, A Minimalist Approach to Offline Reinforcement Learning,
        NeurIPS, arXiv 2106.06860.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="TD3+BC: TD3 with behaviour cloning",
        paper=(
            "Fujimoto and Gu 2021, A Minimalist Approach to Offline Reinforcement Learning, "
            "NeurIPS, arXiv 2106.06860"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "1,000,000 updates, discount 0.99",
                "500 updates, discount 0.5; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(r"\max_\pi \; \mathbb{E}\left[\lambda Q(z, \pi(z)) - (\pi(z) - a)^2\right]",),
    )
    Config: ClassVar[type[Any]] = TD3PlusBCConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(TD3PlusBCConfig, "td3bc")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class ReBRACConfig(AgentConfig):
    """Settings of `ReBRAC`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["rebrac"]


class ReBRAC(_OfflineAgent, Method):
    """ReBRAC: behaviour-regularised actor-critic, revisited (Tarasov et al., NeurIPS 2023).

    Learns as TD3+BC does, with a penalty for leaving the data's actions in the critics too.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. move two critics Q towards r + gamma (min Q(z', a') - beta_2 (a' - a'_data)^2); in
           every second update, move the policy up lambda Q(z, pi(z)) - beta_1 (pi(z) - a)^2
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_rebrac", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Tarasov, Kurenkov, Nikulin and Kolesnikov 2023, Revisiting the Minimalist Approach
        to Offline Reinforcement Learning, NeurIPS, arXiv 2305.09836.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="ReBRAC: behaviour-regularised actor-critic, revisited",
        paper=(
            "Tarasov, Kurenkov, Nikulin and Kolesnikov 2023, Revisiting the Minimalist "
            "Approach to Offline Reinforcement Learning, NeurIPS, arXiv 2305.09836"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "1,000,000 updates of 1,024 transitions at 0.001, three layers",
                "500 updates of 256 at 0.0003, two layers; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(r"\max_\pi \; \mathbb{E}\left[Q(z, \pi(z)) - \beta_1 (\pi(z) - a)^2\right]",),
    )
    Config: ClassVar[type[Any]] = ReBRACConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(ReBRACConfig, "rebrac")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class BCConfig(AgentConfig):
    """Settings of `BC`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["bc"]


class BC(_OfflineAgent, Method):
    """BC: behaviour cloning (Pomerleau 1991).

    Learns the mean action of the data. It uses no reward, and shows what the others gain by theirs.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. minimise (pi(z) - a)^2 over the data
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_bc", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Pomerleau 1991, Efficient Training of Artificial Neural Networks for Autonomous
        Navigation, Neural Computation 3 (1).
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="BC: behaviour cloning",
        paper=(
            "Pomerleau 1991, Efficient Training of Artificial Neural Networks for Autonomous "
            "Navigation, Neural Computation 3 (1)"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "1,000,000 updates of d3rlpy's reproductions, at 0.001",
                "500 updates at 0.0003; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(r"\min_\pi \; \mathbb{E}\left[(\pi(z) - a)^2\right]",),
    )
    Config: ClassVar[type[Any]] = BCConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(BCConfig, "bc")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class AWACConfig(AgentConfig):
    """Settings of `AWAC`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["awac"]


class AWAC(_OfflineAgent, Method):
    """AWAC: advantage-weighted actor-critic (Nair et al. 2020).

    Learns critics as TD3 does, and clones the data's actions by their advantage over the policy's.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. move two critics Q towards r + gamma min Q(z', a'), with a' drawn from the policy;
           move the policy towards the data's actions, weighted by exp((Q(z, a) - Q(z, a')) /
           lambda)
        4. take T steps of the policy from the K best visible designs
        5. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_awac", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Nair, Gupta, Dalal and Levine 2020, AWAC: Accelerating Online Reinforcement Learning
        with Offline Datasets, arXiv 2006.09359.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="AWAC: advantage-weighted actor-critic",
        paper=(
            "Nair, Gupta, Dalal and Levine 2020, AWAC: Accelerating Online Reinforcement "
            "Learning with Offline Datasets, arXiv 2006.09359"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "500,000 updates of 1,024 transitions, four layers",
                "500 updates of 256, two layers; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(r"\max_\pi \; \mathbb{E}\left[e^{A(z, a) / \lambda} \log \pi(a \mid z)\right]",),
    )
    Config: ClassVar[type[Any]] = AWACConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(AWACConfig, "awac")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)


@dataclass(frozen=True)
class DecisionTransformerConfig(AgentConfig):
    """Settings of `DecisionTransformer`; those of `AgentConfig`, with its learner."""

    learner: OfflineConfig = TUNED["dt"]


class DecisionTransformer(_OfflineAgent, Method):
    """DT: decision transformer (Chen et al., NeurIPS 2021).

    Learns the data's actions as a sequence model of returns, designs and actions, and is asked for
    the best return of an episode in the data.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. take random steps in its environment, from the best visible designs: an action is a
           vector of step sizes on the gradient of f, the reward f(z') - f(z)
        3. minimise (a - pi(R_t, z_t, a_t-1, R_t-1, ..))^2 over pieces of `context` steps, R_t
           the sum of the rewards from step t on
        4. in the search, ask for `target` times the best return of an episode, less what was
           earned
        5. take T steps of the policy from the K best visible designs
        6. propose the ends, the highest f(z) first

    The presets `paper` and `paper_short` have the learner's published settings. The default is
    tuned for random steps in this environment.

    Args:
        config: Settings of learner, environment and episodes.

    Attributes:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        algo: Trained d3rlpy algorithm.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("d3rlpy_dt", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Chen et al. 2021, Decision Transformer: Reinforcement Learning via Sequence
        Modeling, NeurIPS, arXiv 2106.01345.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="DT: decision transformer",
        paper=(
            "Chen et al. 2021, Decision Transformer: Reinforcement Learning via Sequence "
            "Modeling, NeurIPS, arXiv 2106.01345"
        ),
        kind="adaptation",
        differences=(
            _DATA,
            Difference(
                "100,000 updates at 0.0001 with warm-up",
                "1,000 updates at 0.001 without warm-up; rewards at unit deviation",
                "a step earns at once what it is worth, and short training suffices",
            ),
        ),
        metrics=_METRICS,
        equations=(
            r"\min_\pi \; \mathbb{E}\left[(a_t - \pi(R_{\le t}, z_{\le t}, a_{<t}))^2\right]",
        ),
    )
    Config: ClassVar[type[Any]] = DecisionTransformerConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _presets(DecisionTransformerConfig, "dt")
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)
