"""The decision transformer: its pieces of episodes by hand, and its actions beside d3rlpy's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from agents.rl.data import Episodes
from agents.rl.learner import train_offline
from agents.rl.learner_config import OfflineConfig
from agents.rl.transformer import TransformerPolicy, episode_batch, most_return
from helpers import d3rlpy_or_skip
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.envs.rollout import roll_out
from mbo_gym.progress.protocol import NullProgress


@pytest.fixture(scope="module", autouse=True)
def d3rlpy():
    return d3rlpy_or_skip()


class Drawn:
    """Stands in for numpy's generator: hands out what it was given."""

    def __init__(self, *drawn: list[int]) -> None:
        self._drawn = list(drawn)

    def integers(self, limit: int, size: tuple[int, int]) -> np.ndarray:
        return np.asarray(self._drawn.pop(0)).reshape(size)


def test_a_piece_ends_at_a_step_and_is_masked_before_the_episode(d3rlpy):
    rewards = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    observations = torch.arange(8.0).view(2, 4, 1)
    episodes = Episodes(observations, -torch.arange(1.0, 7.0).view(2, 3, 1) / 10, rewards)
    config = OfflineConfig("dt", batch_size=2, context=2)
    batch = episode_batch(d3rlpy, episodes, config, Drawn([1, 0], [2, 0]))
    assert batch.observations[..., 0].tolist() == [[5.0, 6.0], [0.0, 0.0]]
    np.testing.assert_allclose(batch.actions[..., 0], [[-0.5, -0.6], [0.0, -0.1]])
    assert batch.returns_to_go[..., 0].tolist() == [[220.0, 200.0], [0.0, 111.0]]
    assert batch.timesteps.tolist() == [[2.0, 3.0], [0.0, 1.0]]
    assert batch.masks.tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert most_return(episodes) == 222.0


def test_its_actions_are_those_of_d3rlpys_wrapper():
    problem = mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()
    process = Process(EnvConfig(problem, surrogate="quadratic", horizon=6))
    z = process.starts[:3]
    rng = torch.Generator().manual_seed(0)
    episodes = Episodes(
        torch.randn(8, 7, 2, generator=rng),
        torch.rand(8, 6, 2, generator=rng),
        torch.randn(8, 6, generator=rng),
    )
    config = OfflineConfig("dt", train_steps=5, batch_size=8, hidden=16, context=3)
    algo = train_offline(episodes, config, seed=0, device="cpu", progress=NullProgress())
    policy = TransformerPolicy(algo, target=2.0)
    found, _ = roll_out(process, process.at(z), policy, 6, policy.see)
    for row in range(3):
        wrapper = algo.as_stateful_wrapper(target_return=2.0)
        reward = 0.0
        for step in range(6):
            action = wrapper.predict(found.observations[row, step].numpy(), reward)
            np.testing.assert_allclose(action, found.actions[row, step], atol=1e-5)
            reward = float(found.rewards[row, step])
    longer, _ = roll_out(process, process.at(z), p := TransformerPolicy(algo, 2.0), 9, p.see)
    assert longer.actions.shape == (3, 9, 2)  # later steps count as the last one


def test_another_target_leads_elsewhere():
    problem = mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()
    method = mbo_gym.make_method("d3rlpy_dt", preset="light")
    method.fit(problem)
    first = method.propose(8).x
    method.target += 100
    assert not np.array_equal(method.propose(8).x, first)
