"""d3rlpy's own tools for environments, on ours: `fit_online` and `EnvironmentEvaluator`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from helpers import small_default_surrogate
from mbo_gym.envs.design_env import DesignEnv
from mbo_gym.envs.vector_env import DesignVectorEnv
from mbo_gym.optional import optional_import

pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
d3rlpy = optional_import("d3rlpy", "rl")
T, EPISODES = 7, 6
LIMIT = 3 * (T - 1)  # d3rlpy keeps T - 1 transitions of an episode that a timeout ends


@dataclass(frozen=True)
class Step:
    observation: np.ndarray
    action: np.ndarray
    reward: float
    following: np.ndarray
    terminated: bool
    truncated: bool


class Recorded(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps every step."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps: list[Step] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.observation, info = self.env.reset(**kwargs)
        return self.observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        following, reward, terminated, truncated, info = self.env.step(action)
        self.steps.append(
            Step(self.observation, action, float(reward), following, terminated, truncated)
        )
        self.observation = following
        return following, reward, terminated, truncated, info


def branin() -> gym.Env[Any, Any]:
    return gym.make("mbo_gym/Branin-Exact-v0", action_mode="displacement", horizon=T)


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with small_default_surrogate():
        yield


@dataclass(frozen=True)
class Trained:
    algo: Any
    buffer: Any
    steps: list[Step]
    oracle_calls: int


@pytest.fixture(scope="module", params=["SACConfig", "TD3Config"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An algorithm after EPISODES episodes, in a folder where it must leave nothing."""
    d3rlpy.seed(0)
    env = Recorded(branin())
    env.reset(seed=0)
    buffer = d3rlpy.dataset.create_fifo_replay_buffer(LIMIT, env=env)
    algo = getattr(d3rlpy.algos, request.param)(batch_size=8).create(device="cpu")
    folder = tmp_path_factory.mktemp("online")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        algo.fit_online(
            env,
            buffer,
            explorer=d3rlpy.algos.NormalNoise(std=0.3),
            n_steps=EPISODES * T,
            n_steps_per_epoch=EPISODES * T,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
        )
    assert not list(folder.iterdir())
    design_env = env.unwrapped
    assert isinstance(design_env, DesignEnv)
    return Trained(algo, buffer, env.steps, design_env.oracle_calls)


def test_fit_online_fills_the_buffer_with_the_last_steps_of_the_environment(
    trained: Trained,
) -> None:
    assert len(trained.steps) == EPISODES * T
    buffer = trained.buffer
    kept = [buffer.transition_picker(*buffer.buffer[i]) for i in range(buffer.transition_count)]
    steps = [
        step for step in trained.steps[-3 * T :] if not step.truncated
    ]  # d3rlpy leaves out the timed-out step
    assert len(kept) == len(steps) == LIMIT
    for transition, step in zip(kept, steps, strict=True):
        np.testing.assert_array_equal(transition.observation, step.observation)
        np.testing.assert_array_equal(transition.action, np.float32(step.action))
        np.testing.assert_array_equal(transition.next_observation, step.following)
        assert transition.reward[0] == np.float32(step.reward)
    assert buffer.dataset_info.action_space == d3rlpy.ActionSpace.CONTINUOUS


def test_time_limits_reach_d3rlpy_as_truncations(trained: Trained) -> None:
    assert [step.truncated for step in trained.steps] == [
        i % T == T - 1 for i in range(EPISODES * T)
    ]
    assert not any(step.terminated for step in trained.steps)
    assert [(len(episode), episode.terminated) for episode in trained.buffer.episodes] == [
        (T, False)
    ] * 3
    batch = trained.buffer.sample_transition_batch(64)
    assert not batch.terminals.any()  # so the value of what follows is bootstrapped


def test_training_moves_the_policy_and_asks_no_oracle(trained: Trained) -> None:
    d3rlpy.seed(0)
    untrained = trained.algo.config.create(device="cpu")
    untrained.build_with_env(branin())
    z = np.zeros((1, 2), dtype=np.float32)
    assert not np.array_equal(trained.algo.predict(z), untrained.predict(z))
    assert trained.algo.grad_step == EPISODES * T - (
        8 + 2
    )  # from step 11 on more than 8 transitions are there
    assert trained.oracle_calls == 0


def test_the_evaluator_returns_the_mean_return_of_the_greedy_policy(trained: Trained) -> None:
    env = branin()
    env.reset(seed=3)
    value = d3rlpy.metrics.EnvironmentEvaluator(env, n_trials=4)(trained.algo, trained.buffer)

    env = branin()
    env.reset(seed=3)
    starts, returns = [], []
    for _ in range(4):
        observation, info = env.reset()
        starts.append(info["design"])
        rewards, truncated = [], False
        while not truncated:
            observation, reward, _, truncated, _ = env.step(
                trained.algo.predict(observation[None])[0]
            )
            rewards.append(float(reward))
        assert len(rewards) == T
        returns.append(sum(rewards))
    assert value == np.mean(returns)

    # The same episodes in the batched environment: a return is what the surrogate gained over the
    # episode.
    envs = gym.make_vec(
        "mbo_gym/Branin-Exact-v0",
        num_envs=4,
        device="cpu",
        action_mode="displacement",
        horizon=T + 1,
    )
    assert isinstance(envs, DesignVectorEnv)
    z, first = envs.reset(options={"design": np.stack(starts)})
    for _ in range(T):
        z, _, _, _, last = envs.step(torch.from_numpy(trained.algo.predict(z.numpy())))
    gained = last["prediction"] - first["prediction"]
    np.testing.assert_allclose(returns, gained, rtol=1e-4, atol=1e-5)
