"""What the environments are made from: an id, a task, or the problem that a method sees."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs import process
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.problem.task import Task
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate

ENV = "mbo_gym/Branin-Exact-v0"


@pytest.fixture(scope="module")
def task() -> Task:
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=300)


@pytest.fixture(scope="module")
def surrogate(task) -> Surrogate:
    problem = task.problem()
    return fit_surrogate(
        problem, make_encoder(problem), MLPSurrogate(MLPConfig(hidden=16, train_steps=40)), seed=0
    )


def walk(env: gym.Env) -> list[np.ndarray]:
    """Observations and rewards of five steps."""
    actions = (
        np.random.default_rng(0).uniform(-1, 1, (5, *env.action_space.shape)).astype(np.float32)
    )
    parts = [env.reset(seed=4)[0], *(part for action in actions for part in env.step(action)[:2])]
    return [np.asarray(part).copy() for part in parts]


@pytest.mark.parametrize("action_mode", ["step_vector", "displacement"])
def test_a_problem_is_enough_for_an_environment(task, surrogate, action_mode):
    settings = {"surrogate": surrogate, "action_mode": action_mode}
    for made in (
        lambda given: gym.make(ENV, task=given, **settings),
        lambda given: _batched(given, **settings),
    ):
        seen, whole = made(task.problem()), made(task)
        assert all(np.array_equal(a, b) for a, b in zip(walk(seen), walk(whole), strict=True))
        assert seen.unwrapped.oracle_calls == 0


def _batched(given, **settings) -> gym.vector.VectorEnv:
    return gym.make_vec(ENV, num_envs=3, task=given, **settings)


@pytest.mark.parametrize("wanted", [{"reward": "oracle"}, {"oracle_info": True}])
@pytest.mark.parametrize(
    "make", [lambda **given: gym.make(ENV, **given), lambda **given: gym.make_vec(ENV, **given)]
)
def test_a_problem_leads_to_no_oracle(task, surrogate, monkeypatch, wanted, make):
    monkeypatch.setattr(
        process, "make_task", lambda *a, **k: pytest.fail("made the task behind the problem")
    )
    with pytest.raises(
        ValueError, match=r"Branin-Exact-v0 .* was given an OfflineProblem.*reward='surrogate'"
    ):
        make(task=task.problem(), surrogate=surrogate, **wanted)


def test_a_problem_has_neither_the_facts_nor_options_of_its_task(task, surrogate):
    made = Process(EnvConfig(task=task.problem(), surrogate=surrogate))
    assert made.problem is task.problem()
    with pytest.raises(ValueError, match="OfflineProblem, which has neither"):
        made.task  # noqa: B018 (asking is the test)
    with pytest.raises(
        ValueError, match="task_options belong to a task id; this environment was given a Offl"
    ):
        Process(EnvConfig(task=task.problem(), task_options={"max_rows": 5}, surrogate=surrogate))


def test_steps_along_unit_gradients_are_in_standard_deviations(task, surrogate):
    envs = gym.make_vec(
        ENV, num_envs=5, device="cpu", task=task, gradient="unit", surrogate=surrogate
    )
    before, _ = envs.reset(seed=0)
    after, *_ = envs.step(torch.full((5, 2), 0.5))
    low, high = envs.process.bounds
    inside = ((after > low) & (after < high)).all(dim=1)
    assert inside.any()
    moved = (after - before)[inside].square().mean(dim=1).sqrt()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05))  # half of the unit, 0.1


def test_a_kind_of_gradient_that_is_not_known_is_refused():
    with pytest.raises(
        ValueError, match=r"gradient must be one of \('raw', 'unit'\), got 'normal'"
    ):
        EnvConfig("Branin-Exact-v0", gradient="normal")
