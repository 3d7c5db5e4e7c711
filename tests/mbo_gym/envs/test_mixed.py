"""Environments of a mixed constrained space, in the user's terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidDesign

ID = "mbo_gym/Formulation-Exact-v0"
ARGUMENTS: Mapping[str, Any] = {
    "surrogate": "quadratic",
    "horizon": 4,
    "task_options": {"max_rows": 200},
}
DESIGN = {
    "solvent": "DMSO",
    "temperature": 45,
    "passes": 2,
    "mesh": 20,
    "resin": 0.25,
    "oil": 0.5,
    "wax": 0,
    "clay": 0.25,
    "initiator": 0.003,
    "peptide": "KLE",
    "reactor": "R2",
}


def parsed(designs) -> np.ndarray:
    space = mbo_gym.make_task("Formulation-Exact-v0").space
    x = space.parse(designs)
    assert space.contains(x).all()
    return x


def test_an_episode_starts_at_a_design_given_by_name_and_tells_designs_by_name():
    env = gym.make(ID, oracle_info=True, **ARGUMENTS)
    _, info = env.reset(seed=0, options={"design": DESIGN})
    np.testing.assert_allclose(parsed([info["design"]]), parsed([DESIGN]), rtol=1e-6)
    task = mbo_gym.make_task("Formulation-Exact-v0")
    assert info["oracle_score"] == pytest.approx(task.oracle()(parsed([DESIGN]))[0], rel=1e-4)
    for _ in range(4):
        *_, info = env.step(env.action_space.sample())
        parsed([info["design"]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solvent": "milk"}, "solvent='milk' is not allowed; allowed are water, ethanol"),
        ({"oil": 0.25}, "breaks the constraint resin + oil + wax + clay = 1"),
        ({"solvent": "ethanol", "temperature": 75}, "breaks the constraint not (solvent"),
        ({"wax": 0.005}, "wax=0.005 is not allowed"),
    ],
)
def test_a_start_outside_the_space_is_refused_with_the_reason(change, message):
    env = gym.make(ID, **ARGUMENTS)
    with pytest.raises(InvalidDesign, match=re.escape(message)):
        env.reset(options={"design": DESIGN | change})


def test_a_design_by_name_is_refused_where_designs_have_no_names():
    env = gym.make("mbo_gym/Branin-Exact-v0", surrogate="quadratic")
    with pytest.raises(InvalidDesign, match=r"continuous space, whose designs have no names"):
        env.reset(options={"design": {"x0": 1.0, "x1": 2.0}})


def test_a_batch_of_designs_is_native_and_in_the_users_terms():
    envs = gym.make_vec(ID, num_envs=3, **ARGUMENTS).unwrapped
    envs.reset(seed=0, options={"design": [DESIGN, DESIGN | {"passes": 3}, DESIGN]})
    assert [value["passes"] for value in envs.values()] == [2, 3, 2]
    envs.step(envs.action_space.sample())
    np.testing.assert_array_equal(parsed(envs.values()), envs.designs())
    envs.reset(options={"design": DESIGN})
    assert len({str(value) for value in envs.values()}) == 1
    pure = gym.make_vec("mbo_gym/Branin-Exact-v0", num_envs=2, surrogate="quadratic").unwrapped
    pure.reset(seed=0)
    np.testing.assert_array_equal(np.stack(pure.values()), pure.designs())


def test_gymnasiums_own_vector_environment_collects_the_designs():
    envs = gym.make_vec(ID, num_envs=3, vectorization_mode="sync", **ARGUMENTS)
    _, info = envs.reset(seed=0)
    for _ in range(6):  # past the end of the episodes
        *_, info = envs.step(envs.action_space.sample())
    assert list(info["design"]["reactor"]) == ["R2"] * 3


def test_an_episode_is_drawn_and_told():
    env = gym.make(ID, render_mode="ansi", **ARGUMENTS)
    env.reset(options={"design": DESIGN})
    assert re.search(r"DMSO 45 2 20 0\.25 0\.5 0 0\.25 \.\.$", env.render())
    pytest.importorskip("matplotlib")
    env = gym.make(ID, render_mode="rgb_array", **ARGUMENTS)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render().shape == (480, 640, 3)


def test_a_guided_policy_sees_and_is_judged_by_designs_of_the_space():
    envs = gym.make_vec(
        ID,
        num_envs=4,
        observation="guided",
        judge="same",
        gradient="unit",
        sign="positive",
        **ARGUMENTS,
    ).unwrapped
    observation, info = envs.reset(seed=0)
    assert observation.shape == (4, 2 * 32 + 3)
    process = envs.process
    x = envs.designs()
    again = process.value(process.encoder.features(x)).numpy()
    np.testing.assert_allclose(np.asarray(info["value"]), again, rtol=1e-4, atol=1e-5)
    rollout = envs.rollout(lambda seen: np.ones((4, 32), dtype=np.float32), 3)
    parsed(process.problem.space.values(process.designs(rollout.z[:, -1])))
