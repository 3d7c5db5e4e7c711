"""Agents of d3rlpy as methods, and the steps without a policy that they are compared with."""

from __future__ import annotations

from dataclasses import asdict

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from agents.rl.agents import PUBLISHED, TUNED
from agents.rl.learner import policy_actions
from helpers import d3rlpy_or_skip
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import method_class
from mbo_gym.progress.bars import RichProgress
from mbo_gym.runs.one_run import RunRequest, run

NAMES = sorted(name for name in mbo_gym.list_methods() if name.startswith("d3rlpy_"))
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def task():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=300)


def fitted(name, task, progress=None, **settings):
    method = mbo_gym.make_method(name, preset="light", **settings)
    context = Context(0) if progress is None else Context(0, progress=progress)
    method.fit(task.problem(), context)
    return method


def in_the_environment(method, task, policy, horizon=5):
    """Return the designs where a policy leads from the best visible ones."""
    envs = gym.make_vec(
        "mbo_gym/Branin-Exact-v0",
        num_envs=10,
        task_options={"max_rows": 300},
        surrogate=method.fitted.surrogate,
        horizon=horizon,
    )
    envs.rollout(policy, options={"design": task.dataset.top(10).x})
    return envs.designs()


def by_prediction(method, designs):
    order = np.argsort(-method.fitted.predict(designs), kind="stable")
    return designs[order]


def test_all_seven_are_there():
    assert [f"d3rlpy_{name}" for name in sorted(TUNED)] == NAMES


@EACH
def test_it_has_tuned_and_published_settings_of_its_own_algorithm(name):
    d3rlpy_or_skip()
    algorithm = name.removeprefix("d3rlpy_")
    kind = method_class(name)
    assert kind.Config().learner == TUNED[algorithm]
    assert kind.PRESETS["paper"].learner == PUBLISHED[algorithm]
    short = asdict(kind.PRESETS["paper_short"].learner)
    assert short == {**asdict(PUBLISHED[algorithm]), "train_steps": 5000}
    assert {config.learner.algorithm for config in kind.PRESETS.values()} == {algorithm}


def test_the_algorithm_of_another_agent_is_refused(task):
    d3rlpy_or_skip()
    method = mbo_gym.make_method("d3rlpy_iql", preset="light", **{"learner.algorithm": "cql"})
    with pytest.raises(ValueError, match="of this agent is 'iql', got 'cql'"):
        method.fit(task.problem())


def test_it_searches_the_environment_that_gym_makes(task):
    d3rlpy_or_skip()
    method = fitted("d3rlpy_iql", task)
    proposals = method.propose(10)
    designs = in_the_environment(method, task, lambda z: policy_actions(method.algo, z))
    np.testing.assert_allclose(proposals.x, by_prediction(method, designs), rtol=1e-4, atol=1e-4)
    assert (np.diff(proposals.criterion) <= 0).all()


def test_a_constant_step_is_the_largest_action(task):
    method = fitted("constant_step", task)
    designs = in_the_environment(method, task, lambda z: torch.ones_like(z))
    found = method.propose(10).x
    np.testing.assert_allclose(found, by_prediction(method, designs), rtol=1e-4, atol=1e-4)


def test_random_steps_depend_on_the_seed_and_stay_shorter(task):
    constant = fitted("constant_step", task)
    first = fitted("random_step", task)
    assert np.array_equal(first.propose(10).x, first.propose(10).x)
    assert not np.array_equal(first.propose(10).x, constant.propose(10).x)


@EACH
def test_its_learning_curve_is_recorded_from_the_untrained_policy_on(task, name):
    d3rlpy_or_skip()
    progress = RichProgress(quiet=True)
    fitted(name, task, progress)
    points = [point for point in progress.trace if point.stage == "learning"]
    assert [point.step for point in points] == list(range(0, 21, 2))
    assert all(point.x.shape == (64, 2) for point in points)
    assert not np.array_equal(points[0].x, points[-1].x)


def test_a_run_scores_the_curve_after_the_proposals(task, tmp_path):
    d3rlpy_or_skip()
    request = RunRequest("d3rlpy_bc", "Branin-Exact-v0", 0, 16, "light", {}, {"max_rows": 300})
    result = run(request, tmp_path / "run", quiet=True)
    assert [row["step"] for row in result.learning] == list(range(0, 21, 2))
    assert all(np.isfinite(row["score"]) for row in result.learning)
    assert [row["step"] for row in result.search] == list(range(6))
    assert result.search_oracle_calls == 0
    assert result.trace_oracle_calls == 11 * 64 + 6 * 16
    assert result.touched == ()


def test_pgs_records_its_learning_curve_too(task):
    d3rlpy_or_skip()
    progress = RichProgress(quiet=True)
    fitted("pgs", task, progress)
    points = [point for point in progress.trace if point.stage == "learning"]
    assert [point.step for point in points] == list(range(0, 21, 2))
