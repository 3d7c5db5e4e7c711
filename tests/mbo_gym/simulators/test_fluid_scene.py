"""Scenes of the fluid tasks: geometry, kinematics and score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mbo_gym.errors import InvalidData
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scene import Block, Chain, Paddles
from mbo_gym.simulators.fluid.scenes import CONTAIN, MAZE, RAMP, SCENES
from mbo_gym.simulators.fluid.score import energy, goal_scores, share_at_goal

EACH = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
FLAT_16 = np.zeros((1, 16))


def test_water_has_the_particles_of_the_definition():
    counts = {name: len(scene.particles(Physics())) for name, scene in SCENES.items()}
    assert counts == {"contain": 144, "ramp": 144, "maze": 81}
    assert [scene.n_frames(Physics()) for scene in SCENES.values()] == [80, 80, 160]


def test_particles_fill_a_block_evenly():
    places = Block((0.0, 0.5), (0.2, 0.6)).particles(0.05)
    assert places.dtype == np.float32
    np.testing.assert_allclose(np.unique(places[:, 0]), [0.025, 0.075, 0.125, 0.175], atol=1e-6)
    np.testing.assert_allclose(np.unique(places[:, 1]), [0.525, 0.575], atol=1e-6)


def test_a_flat_chain_is_a_horizontal_line():
    segments = CONTAIN.segments(FLAT_16)[0]
    np.testing.assert_allclose(segments[:, [1, 3]], 0.44)
    np.testing.assert_allclose(segments[:, 0], 0.26 + 0.03 * np.arange(16))
    np.testing.assert_allclose(segments[:, 2] - segments[:, 0], 0.03)


def test_angles_of_a_chain_add_up():
    (segments,) = Chain((0.0, 0.0), 1.0, 3).segments(np.full((1, 3), math.pi / 2))
    np.testing.assert_allclose(segments, [[0, 0, 0, 1], [0, 1, -1, 1], [-1, 1, -1, 0]], atol=1e-12)


def test_paddles_turn_about_their_centres():
    paddles = Paddles(((0.2, 0.3), (0.5, 0.6)), 0.1)
    (segments,) = paddles.segments(np.array([[0.0, math.pi / 2]]))
    np.testing.assert_allclose(segments, [[0.15, 0.3, 0.25, 0.3], [0.5, 0.55, 0.5, 0.65]])


@EACH
def test_numpy_and_torch_place_tools_alike(scene):
    angles = np.random.default_rng(0).uniform(-1, 1, (3, scene.tool.n_angles))
    tensor = torch.tensor(angles, requires_grad=True)
    segments = scene.segments(tensor)
    np.testing.assert_allclose(segments.detach().numpy(), scene.segments(angles), atol=1e-12)
    np.testing.assert_array_equal(
        segments.detach().numpy()[:, scene.tool.n_angles :],
        scene.segments(angles)[:, scene.tool.n_angles :],
    )
    (gradient,) = torch.autograd.grad(segments[:, :, 3].sum(), tensor)
    h = 1e-6
    for column in (0, scene.tool.n_angles - 1):
        step = np.zeros_like(angles)
        step[:, column] = h
        change = scene.segments(angles + step) - scene.segments(angles - step)
        np.testing.assert_allclose(gradient[:, column], change[:, :, 3].sum(1) / (2 * h), atol=1e-7)


def test_other_links_leave_the_length():
    longer = CONTAIN.with_links(32)
    ends = longer.segments(np.zeros((1, 32)))[0, -1, 2:]
    np.testing.assert_allclose(ends, CONTAIN.segments(FLAT_16)[0, -1, 2:])
    with pytest.raises(InvalidData, match="24 paddles at fixed places"):
        MAZE.with_links(12)


def test_a_wrong_number_of_angles_is_refused():
    with pytest.raises(InvalidData, match=r"contain takes \(B, 16\) angles, got \(1, 15\)"):
        CONTAIN.segments(np.zeros((1, 15)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"n_cells": 8}, "leave no room"), ({"time_step_s": 4e-3}, "unstable")],
)
def test_physics_that_cannot_work_is_refused(settings, words):
    with pytest.raises(InvalidData, match=words):
        Physics(**settings)


def test_the_score_by_hand():
    frames = np.full((1, 7, 2, 2), 0.9, dtype=np.float32)
    frames[0, -5:, 0] = (0.5, 0.42)  # at the goal
    frames[0, -5:, 1] = (0.6, 0.42)  # one sigma beside
    expected = (1 + math.exp(-0.5)) / 2
    scores = goal_scores(frames, (0.5, 0.42), 0.1)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(expected, abs=1e-6)
    tensor = share_at_goal(torch.from_numpy(frames), (0.5, 0.42), 0.1)
    assert float(tensor) == pytest.approx(expected, abs=1e-6)


def test_energy_falls_where_the_score_rises():
    assert energy(0.0) == pytest.approx(-math.log(1e-3))
    np.testing.assert_allclose(energy(np.array([0.0, 0.999])), [6.907755, 0], atol=1e-6)
    assert float(energy(torch.tensor(0.5))) == pytest.approx(energy(0.5))


def test_a_goal_can_be_moved():
    moved = RAMP.with_goal((0.3, 0.2), 0.05)
    assert (moved.goal_m, moved.sigma_m, moved.tool) == ((0.3, 0.2), 0.05, RAMP.tool)
