"""The transition and its inverse, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import (
    action_between,
    check_action_mode,
    default_action_scale,
    feature_bounds,
    transition,
    unit_gradient,
)
from mbo_gym.problem.task import OfflineProblem

BOUNDS = (torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([1.0, 2.0, 1.0]))
Z = torch.tensor([[0.0, 0.5, -0.5]])


def test_a_displacement_is_the_action_in_units_of_the_scale():
    action = torch.tensor([[0.5, -0.25, 0.1]])
    moved = transition(Z, action, None, torch.tensor([1.0, 2.0, 0.5]), BOUNDS)
    torch.testing.assert_close(moved, torch.tensor([[0.5, 0.0, -0.45]]))


def test_a_step_vector_scales_the_gradient_feature_by_feature():
    action, gradient = torch.tensor([[1.0, -0.5, 0.2]]), torch.tensor([[0.3, 0.4, 5.0]])
    moved = transition(Z, action, gradient, torch.tensor(0.5), BOUNDS)
    torch.testing.assert_close(moved, torch.tensor([[0.15, 0.4, 0.0]]))  # -0.5 + .5 * .2 * 5 = 0


def test_actions_count_at_most_one_and_features_stay_in_the_box():
    action = torch.tensor([[3.0, 0.9, -7.0]])
    free = transition(Z, action, None, torch.tensor([0.5, 5.0, 1.0]), None)
    torch.testing.assert_close(free, torch.tensor([[0.5, 5.0, -1.5]]))
    clipped = transition(Z, action, None, torch.tensor([0.5, 5.0, 1.0]), BOUNDS)
    torch.testing.assert_close(clipped, torch.tensor([[0.5, 2.0, -1.0]]))


def test_the_state_itself_is_not_changed():
    before = Z.clone()
    transition(Z, torch.ones(1, 3), torch.ones(1, 3), torch.tensor(1.0), BOUNDS)
    action_between(Z, Z + 1, torch.ones(1, 3), 1.0, "clip")
    torch.testing.assert_close(Z, before, rtol=0, atol=0)


@pytest.mark.parametrize(("outside", "far"), [("clip", 1.0), ("zero", 0.0)])
def test_the_action_between_two_states_by_hand(outside, far):
    end = torch.tensor([[1.0, 0.0, -0.5]])
    step = action_between(Z, end, None, torch.tensor([4.0, 0.1, 1.0]), outside)
    torch.testing.assert_close(
        step, torch.tensor([[0.25, -far, 0.0]])
    )  # -0.5 / 0.1 = -5 lies outside
    gradient = torch.tensor([[2.0, 10.0, 0.0]])
    step = action_between(Z, end, gradient, 1.0, outside)
    torch.testing.assert_close(step, torch.tensor([[0.5, -0.05, 0.0]]))  # the last feature: 0 / 0
    step = action_between(Z, end + 1, gradient / 4, 1.0, outside)
    torch.testing.assert_close(step, torch.tensor([[far, 0.2, 0.0]]))  # 2 / .5 = 4, .5 / 2.5, 1 / 0


def test_the_two_functions_undo_each_other():
    generator = torch.Generator().manual_seed(0)
    z, action, gradient = (torch.rand(50, 3, generator=generator) * 2 - 1 for _ in range(3))
    scale = torch.tensor([0.3, 1.0, 7.0])
    for slope in (None, gradient):
        found = action_between(z, transition(z, action, slope, scale, None), slope, scale, "clip")
        torch.testing.assert_close(found, action, rtol=1e-3, atol=1e-3)


def test_an_unknown_action_mode_is_refused():
    with pytest.raises(ValueError, match="'displacement'"):
        check_action_mode("teleport")


@pytest.fixture(scope="module")
def branin() -> OfflineProblem:
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def test_the_box_is_what_the_visible_designs_span(branin):
    encoder = make_encoder(branin)
    low, high = feature_bounds(branin, encoder)
    z = encoder.encode(branin.dataset.x)
    assert np.array_equal(low, z.min(axis=0))
    assert np.array_equal(high, z.max(axis=0))
    torch.testing.assert_close(
        default_action_scale(branin, encoder, "displacement"), torch.from_numpy(high - low)
    )


def test_step_vectors_have_the_units_of_pgs(branin):
    # 0.05 sqrt(d) for continuous spaces (the paper's 60 features: .387), 2 sqrt(d) for categorical
    # ones
    torch.testing.assert_close(
        default_action_scale(branin, make_encoder(branin), "step_vector"),
        torch.full((2,), 0.05 * 2**0.5),
    )
    levy = mbo_gym.make_task("Levy-Exact-v0", max_rows=100).problem()
    scale = default_action_scale(levy, make_encoder(levy), "step_vector")
    torch.testing.assert_close(scale, torch.full((60,), 0.3873), rtol=1e-4, atol=0)
    tfbind = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=100).problem()
    scale = default_action_scale(tfbind, make_encoder(tfbind), "step_vector")
    torch.testing.assert_close(scale, torch.full((24,), 9.79796))


def test_a_feature_that_never_varies_still_has_room():
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=3)
    encoder = make_encoder(task.problem(), "one_hot")
    low, high = feature_bounds(task.problem(), encoder)
    z = encoder.encode(task.dataset.x)
    flat = z.min(axis=0) == z.max(axis=0)
    assert flat.any()
    assert np.array_equal((high - low)[flat], np.full(flat.sum(), 2.0))
    assert (low < high).all()


def test_a_unit_gradient_has_root_mean_square_one_and_zero_stays_zero():
    unit = unit_gradient(torch.tensor([[3.0, -4.0], [0.0, 0.0], [1e-3, 0.0]]))
    torch.testing.assert_close(unit[0], torch.tensor([3.0, -4.0]) / 12.5**0.5)
    torch.testing.assert_close(unit[1:], torch.tensor([[0.0, 0.0], [2**0.5, 0.0]]))
