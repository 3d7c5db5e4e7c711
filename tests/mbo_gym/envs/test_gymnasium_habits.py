"""Gymnasium's habits: `max_episode_steps` is the horizon, and its vector wrappers work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import vector as wrappers

from mbo_gym.envs.design_env import DesignEnv
from mbo_gym.envs.vector_env import ArrayVectorEnv, DesignVectorEnv

ENV = "mbo_gym/Branin-Exact-v0"
KINDS: dict[str, Callable[..., Any]] = {
    "make": lambda **given: gym.make(ENV, surrogate="quadratic", **given),
    "make_vec": lambda **given: gym.make_vec(ENV, num_envs=2, surrogate="quadratic", **given),
    "tensors": lambda **given: gym.make_vec(
        ENV, num_envs=2, device="cpu", surrogate="quadratic", **given
    ),
    "sync": lambda **given: gym.make_vec(
        ENV, num_envs=2, vectorization_mode="sync", surrogate="quadratic", **given
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def length(env: Any) -> int:
    """Return the steps of an episode."""
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, dtype=np.float32)
    for step in range(1, 1000):
        *_, terminated, truncated, _ = env.step(action)
        assert not np.asarray(terminated).any()
        if np.asarray(truncated).all():
            return step
    raise AssertionError("the episode does not end")


def spec_of(env: Any) -> EnvSpec:
    return env.envs[0].spec if isinstance(env, gym.vector.SyncVectorEnv) else env.spec


@EACH
@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, 50),
        ({"max_episode_steps": 200}, 200),
        ({"max_episode_steps": 7}, 7),
        ({"horizon": 80}, 80),
        ({"horizon": 5, "max_episode_steps": 9}, 9),
        ({"horizon": 9, "max_episode_steps": 5}, 5),
        ({"horizon": 9, "max_episode_steps": -1}, 9),
    ],
    ids=str,
)
def test_max_episode_steps_is_the_horizon(kind: str, given: dict[str, int], steps: int) -> None:
    env = KINDS[kind](**given)
    assert length(env) == steps
    assert spec_of(env).max_episode_steps == steps


@EACH
@pytest.mark.parametrize("steps", [0, -3, True, 2.5, "20"])
def test_other_steps_are_refused(kind: str, steps: Any) -> None:
    with pytest.raises(ValueError, match="max_episode_steps must be a whole number of at least 1"):
        KINDS[kind](max_episode_steps=steps)


@pytest.mark.parametrize("given", [{"max_episode_steps": 9}, {"horizon": 9}])
def test_the_spec_makes_the_same_again(given: dict[str, int]) -> None:
    spec = EnvSpec.from_json(KINDS["make"](**given).spec.to_json())
    for env, steps in (
        (gym.make(spec), 9),
        (gym.make(spec, max_episode_steps=60), 60),
        (gym.make_vec(KINDS["make_vec"](**given).spec), 9),
        (gym.make_vec(KINDS["tensors"](**given).spec), 9),
    ):
        assert length(env) == steps == spec_of(env).max_episode_steps


def test_the_registered_spec_is_left_alone() -> None:
    KINDS["make"](max_episode_steps=9)
    KINDS["make_vec"](max_episode_steps=9)
    assert gym.spec(ENV).max_episode_steps is None
    by_hand = DesignEnv(task="Branin-Exact-v0", surrogate="quadratic", horizon=4)
    assert by_hand.spec is None
    assert length(by_hand) == 4


def test_a_guided_observation_counts_the_steps_of_the_call() -> None:
    env = KINDS["make"](max_episode_steps=4, observation="guided")
    left = [env.reset(seed=0)[0][-1]]
    left += [env.step(np.zeros(2, dtype=np.float32))[0][-1] for _ in range(4)]
    assert left == [1.0, 0.75, 0.5, 0.25, 0.0]


def walk(env: Any, steps: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Return what reset and steps give."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Any, ...]] = [env.reset(seed=seed)]
    for _ in range(steps):
        actions = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        found.append(env.step(actions))
    return found


def test_arrays_and_tensors_take_the_same_steps() -> None:
    arrays, tensors = KINDS["make_vec"](horizon=5), KINDS["tensors"](horizon=5)
    assert type(arrays) is ArrayVectorEnv
    assert type(tensors) is DesignVectorEnv
    one, two = walk(arrays, 5), walk(tensors, 5)
    for left, right in zip(one[:5], two[:5], strict=True):
        for a, b in zip(left[:-1], right[:-1], strict=True):
            assert isinstance(a, np.ndarray)
            assert isinstance(b, torch.Tensor)
            np.testing.assert_array_equal(a, b.numpy())
        np.testing.assert_array_equal(left[-1]["prediction"], right[-1]["prediction"].numpy())
        assert left[-1]["_prediction"].all()
    np.testing.assert_array_equal(one[5][0], two[5][-1]["final_obs"].numpy())


def test_arrays_start_anew_in_the_next_step() -> None:
    env = KINDS["make_vec"](horizon=3)
    found = walk(env, 8)
    truncated = [step[3].tolist() for step in found[1:]]
    assert truncated == [[t in (2, 6)] * 2 for t in range(8)]
    starts = {tuple(z) for z in env.process.starts.tolist()}
    for t, (observation, rewards, *_) in enumerate(found[1:]):
        assert all((tuple(z) in starts) for z in observation.tolist()) == (t == 3 or t == 7)
        assert (rewards == 0).all() == (t in (3, 7))


def test_arrays_belong_to_the_caller() -> None:
    env, twin = KINDS["make_vec"](), KINDS["make_vec"]()
    action = np.full((2, 2), 0.1, dtype=np.float32)
    for made in (env, twin):
        made.reset(seed=0)
    for _ in range(3):
        left, right = env.step(action), twin.step(action)
        np.testing.assert_array_equal(left[0], right[0])
        np.testing.assert_array_equal(left[1], right[1])
        for part in left[:4]:
            part[:] = 7


def test_arrays_agree_with_gymnasiums_own_vector_environment() -> None:
    ours, theirs = KINDS["make_vec"](horizon=4), KINDS["sync"](horizon=4)
    design = {"design": ours.process.problem.dataset.x[0]}
    np.testing.assert_allclose(
        ours.reset(options=design)[0], theirs.reset(options=design)[0], rtol=1e-5, atol=1e-6
    )
    for step in range(4):
        action = np.full((2, 2), 0.1 * step, dtype=np.float32)
        for a, b in zip(ours.step(action)[:4], theirs.step(action)[:4], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.step(action)[1:4], theirs.step(action)[1:4], strict=True):
        np.testing.assert_array_equal(a, b)


def test_episode_statistics_are_the_true_ones() -> None:
    env = wrappers.RecordEpisodeStatistics(KINDS["make_vec"](horizon=5))
    steps = walk(env, 11)
    for end in (5, 11):
        rewards = sum(step[1] for step in steps[end - 4 : end + 1])
        assert steps[end][-1]["episode"]["l"].tolist() == [5, 5]
        np.testing.assert_allclose(steps[end][-1]["episode"]["r"], rewards, rtol=1e-5, atol=1e-6)
    assert list(env.length_queue) == [5] * 4


def test_observations_and_rewards_are_normalised() -> None:
    env = wrappers.NormalizeReward(wrappers.NormalizeObservation(KINDS["make_vec"](horizon=50)))
    found = walk(env, 200)
    observations = np.concatenate([step[0] for step in found[50:]])
    assert np.isfinite(observations).all()
    assert np.abs(observations.mean(axis=0)).max() < 1
    assert np.isfinite([step[1] for step in found[1:]]).all()


@pytest.mark.parametrize(
    "wrap",
    [
        wrappers.DictInfoToList,
        wrappers.ClipAction,
        wrappers.FlattenObservation,
        lambda env: wrappers.ClipReward(env, -0.1, 0.1),
        lambda env: wrappers.TransformReward(env, lambda rewards: 2 * rewards),
        lambda env: wrappers.TransformObservation(env, lambda z: 2 * z),
        lambda env: wrappers.ReshapeObservation(env, (1, 2)),
        lambda env: wrappers.RescaleObservation(env, np.float32(0), np.float32(1)),
        lambda env: wrappers.RescaleAction(env, np.float32(0), np.float32(1)),
        lambda env: wrappers.VectorizeTransformReward(
            env, gym.wrappers.TransformReward, func=lambda reward: 2 * reward
        ),
        lambda env: wrappers.DictInfoToList(
            wrappers.ClipReward(wrappers.NormalizeObservation(env), -1, 1)
        ),
    ],
)
def test_a_vector_wrapper_leaves_the_episodes_as_they_are(wrap: Callable[[Any], Any]) -> None:
    env = wrap(KINDS["make_vec"](horizon=4))
    found = walk(env, 9)
    assert [step[3].tolist() for step in found[1:]] == [[t in (3, 8)] * 2 for t in range(9)]
    assert all(np.isfinite(step[0]).all() and np.isfinite(step[1]).all() for step in found[1:])


def test_numpy_to_torch_gives_tensors() -> None:
    try:
        env = wrappers.NumpyToTorch(KINDS["make_vec"]())
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        pytest.skip(f"Gymnasium's wrapper needs more: {error}")
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, torch.Tensor)
