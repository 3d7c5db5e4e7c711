"""Recipes: what trajectories with actions are made from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import default_action_scale
from mbo_gym.errors import UnknownId
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.recipe import TrajectoryRecipe, make_trajectories
from mbo_gym.trajectories.samplers import local_improving, sorted_top

TINY = "surrogate_of_the_recipe_tests"


@pytest.fixture(autouse=True)
def tiny():
    with SURROGATES.temporarily(
        TINY, lambda: MLPSurrogate(MLPConfig(hidden=8, train_steps=20))
    ) as spec:
        yield spec


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=400).problem()


def test_a_recipe_is_the_same_as_the_steps_by_hand(problem):
    recipe = TrajectoryRecipe(
        "sorted_top", 6, 4, 30.0, "step_vector", "surrogate_difference", surrogate=TINY, seed=3
    )
    batch = make_trajectories(problem, recipe)
    encoder = make_encoder(problem)
    drawn = sorted_top(problem, encoder, 30.0, 6, 4, torch.Generator().manual_seed(3))
    scale = default_action_scale(problem, encoder, "step_vector", "unit")
    surrogate = fitted_surrogate(problem, encoder, TINY)
    expected = with_actions(
        drawn,
        surrogate,
        "step_vector",
        scale,
        reward="surrogate_difference",
        outside="clip",
        gradient="unit",
    )
    for name in ("z", "y", "rows", "actions", "rewards"):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name
    assert batch.meta == {**expected.meta, "recipe": asdict(recipe)}


def test_displacements_between_designs_need_no_surrogate(problem, monkeypatch):
    monkeypatch.setattr("mbo_gym.envs.process.fit_guide_and_judge", None)
    batch = make_trajectories(problem, TrajectoryRecipe("random_top", n=3, horizon=5))
    assert batch.actions.shape == (3, 5, 2)
    assert batch.meta["surrogate"] is None
    assert batch.meta["recipe"]["reward"] == "difference"


def test_the_defaults_are_random_steps_that_lead_where_they_say(problem):
    recipe = TrajectoryRecipe(n=40, horizon=5, surrogate=TINY, p=10.0)
    batch = make_trajectories(problem, recipe)
    assert (recipe.action_mode, recipe.reward) == ("step_vector", "surrogate_difference")
    actions, rewards = batch.require_actions()
    assert actions.shape == (40, 5, 2)
    assert 0 <= float(actions.min()) < float(actions.max()) <= 1
    assert float(actions.amax(dim=(1, 2)).min()) < 0.3  # some trajectories have small steps
    envs = gym.make_vec(
        "mbo_gym/Branin-Exact-v0",
        num_envs=40,
        device="cpu",
        task_options={"max_rows": 400},
        **recipe.env_arguments(),
    )
    process = envs.unwrapped.process
    state = process.at(batch.z[:, 0])
    for t in range(5):
        state, reward = process.step(state, actions[:, t])
        torch.testing.assert_close(state.z, batch.z[:, t + 1])
        torch.testing.assert_close(reward, rewards[:, t])
    starts = problem.dataset.x[problem.dataset.y >= np.percentile(problem.dataset.y, 90)]
    best = process.encoder.features(starts)
    assert all((best - z).abs().amax(dim=1).min() < 1e-6 for z in batch.z[:, 0])


def test_displacements_of_a_rollout_go_both_ways(problem):
    recipe = TrajectoryRecipe(n=8, horizon=3, surrogate=TINY, action_mode="displacement")
    actions, _ = make_trajectories(problem, recipe).require_actions()
    assert -1 <= float(actions.min()) < 0 < float(actions.max()) <= 1


def test_a_preset_has_the_papers_trajectories():
    recipe = TrajectoryRecipe.of("paper", n=7)
    assert (recipe.sampler, recipe.n, recipe.gradient) == ("random_top", 7, "raw")
    assert (recipe.action_mode, recipe.reward) == ("step_vector", "difference")
    with pytest.raises(UnknownId, match=r"no preset of trajectories 'papers'. Did you mean paper"):
        TrajectoryRecipe.of("papers")


def test_encoder_scale_and_outside_are_used(problem):
    recipe = TrajectoryRecipe(
        "local_improving", 3, 4, encoder="min_max", action_scale=0.1, outside="zero"
    )
    batch = make_trajectories(problem, recipe)
    encoder = make_encoder(problem, "min_max")
    drawn = local_improving(problem, encoder, 20.0, 3, 4, torch.Generator().manual_seed(0))
    assert torch.equal(batch.z, drawn.z)
    assert batch.meta["encoder"] == "min_max"
    assert batch.meta["action_scale"] == 0.1
    moved = (drawn.z[:, 1:] - drawn.z[:, :-1]) / 0.1
    assert torch.allclose(batch.actions, moved.where(moved.abs() <= 1, torch.zeros(())), atol=1e-6)


def test_a_recipe_cannot_be_changed_but_varied():
    recipe = TrajectoryRecipe()
    with pytest.raises(FrozenInstanceError):
        recipe.n = 3
    assert replace(recipe, n=3).n == 3


WRONG = [
    ({"sampler": "random_tops"}, UnknownId, "no sampler 'random_tops'"),
    ({"surrogate": "mpl"}, UnknownId, "no surrogate 'mpl'"),
    ({"encoder": "zscore"}, UnknownId, "no encoder 'zscore'. Did you mean z_score"),
    ({"action_mode": "jump"}, ValueError, "action_mode must be one of"),
    ({"reward": "oracle"}, ValueError, "reward must be one of"),
    ({"outside": "wrap"}, ValueError, "outside must be one of"),
    ({"reward": "difference"}, ValueError, "rollout do not have"),
    ({"gradient": "long"}, ValueError, "gradient must be one of"),
    ({"n": 0}, ValueError, "must be positive"),
    ({"horizon": 0}, ValueError, "must be positive"),
    ({"action_scale": 0.0}, ValueError, "must be positive"),
    ({"action_scale": float("nan")}, ValueError, "must be positive"),
]


@pytest.mark.parametrize(("fields", "error", "message"), WRONG)
def test_a_wrong_recipe_is_refused_before_any_work(fields, error, message):
    with pytest.raises(error, match=message):
        TrajectoryRecipe(**fields)
