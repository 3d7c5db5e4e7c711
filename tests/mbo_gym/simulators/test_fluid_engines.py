"""The water itself: laws of physics, no leaks, the same bits over batches, both engines alike."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mbo_gym.errors import MissingDependency, UnknownId
from mbo_gym.simulators.fluid import rollout as episodes
from mbo_gym.simulators.fluid.mpm import TorchEngine, WaterState
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import rollout
from mbo_gym.simulators.fluid.scene import Block, Chain, Scene
from mbo_gym.simulators.fluid.score import goal_scores

LIGHT = Physics(n_cells=16, time_step_s=3e-3, substeps_per_frame=5)
"""A coarse grid and half the substeps: a design takes milliseconds."""
BOWL = Scene(
    "bowl",
    water=Block((0.40, 0.60), (0.60, 0.75)),
    tool=Chain((0.30, 0.45), link_m=0.10, n_angles=4),
    goal_m=(0.5, 0.45),
    sigma_m=0.1,
    seconds=0.6,
)
NOWHERE = torch.tensor([[[9.0, 9.0, 9.1, 9.0]]])
"""A tool far outside of the domain."""

# Martin and Moyce 1952, columns twice as high as wide: front / width over t sqrt(2 g / width)
SURGE_FRONT = {1.43: 1.67, 1.82: 2.11, 2.20: 2.56, 2.50: 3.00, 2.82: 3.44, 2.96: 3.67}


def angles_of(n: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.6, 0.6, (n, 4))


def still(engine: TorchEngine, block: Block) -> WaterState:
    particles = torch.from_numpy(block.particles(engine.physics.spacing_m))
    return engine.at_rest(particles, 1)


def run(engine: TorchEngine, state: WaterState, segments: torch.Tensor, seconds: float):
    tool = engine.tool_field(segments.to(engine.dtype))
    states = []
    for _ in range(round(seconds / engine.physics.time_step_s)):
        state = engine.substep(state, tool)
        states.append(state)
    return states


def test_mass_and_momentum_are_kept():
    engine = TorchEngine(replace(LIGHT, gravity_m_s2=0.0))
    state = still(engine, Block((0.35, 0.4), (0.65, 0.6)))
    generator = torch.Generator().manual_seed(0)
    state = replace(
        state,
        velocity_m_s=0.3 * torch.randn(state.velocity_m_s.shape, generator=generator),
        affine_1_s=2.0 * torch.randn(state.affine_1_s.shape, generator=generator),
        volume=1 - 0.1 * torch.rand(state.volume.shape, generator=generator),
    )
    before = state.velocity_m_s.mean(-1)
    after = run(engine, state, NOWHERE, 10 * LIGHT.time_step_s)[-1]
    assert after.position_m.shape == state.position_m.shape
    assert (after.velocity_m_s - state.velocity_m_s).abs().max() > 0.1  # it did move
    torch.testing.assert_close(after.velocity_m_s.mean(-1), before, atol=2e-6, rtol=0)


def test_water_falls_freely():
    engine = TorchEngine(LIGHT)
    state = still(engine, Block((0.4, 0.5), (0.6, 0.7)))
    after = run(engine, state, NOWHERE, 0.12)[-1]
    fall = (after.position_m - state.position_m)[1]
    n = round(0.12 / LIGHT.time_step_s)
    expected = -LIGHT.gravity_m_s2 * LIGHT.time_step_s**2 * n * (n + 1) / 2
    torch.testing.assert_close(fall, torch.full_like(fall, expected), atol=2e-5, rtol=0)
    assert (after.velocity_m_s[0].abs() < 1e-4).all()


def test_water_at_rest_stays_at_rest():
    engine = TorchEngine(LIGHT)
    low, high = LIGHT.low_m, LIGHT.high_m
    state = still(engine, Block((low, low), (high, low + 0.25)))
    after = run(engine, state, NOWHERE, 0.6)
    height = [float(s.position_m[1].mean()) for s in after]
    assert abs(height[-1] - float(state.position_m[1].mean())) < 0.05 * 0.125
    assert float(after[-1].velocity_m_s.abs().max()) < 0.2  # free fall would have reached 5.9 m/s
    assert float(after[-1].position_m[1].max()) < low + 0.25


@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_nothing_leaks_at_the_largest_speed(slope):
    engine = TorchEngine(LIGHT)
    state = still(engine, Block((0.35, 0.6), (0.65, 0.8)))
    fastest = (2 * LIGHT.gravity_m_s2 * (LIGHT.high_m - LIGHT.low_m)) ** 0.5  # from top to bottom
    thrown = state.velocity_m_s.clone()
    thrown[1] = -fastest
    tool = torch.tensor([[[0.0, 0.5 - 0.5 * slope, 1.0, 0.5 + 0.5 * slope]]])
    for s in run(engine, replace(state, velocity_m_s=thrown), tool, 0.6)[::10]:
        x, y = s.position_m[:, 0]
        assert (y > 0.5 + slope * (x - 0.5)).all()


def test_water_never_leaves_the_container():
    engine = TorchEngine(LIGHT)
    state = still(engine, Block((0.3, 0.3), (0.6, 0.6)))
    thrown = state.velocity_m_s + torch.tensor([4.0, -4.0]).view(2, 1, 1)
    for s in run(engine, replace(state, velocity_m_s=thrown), NOWHERE, 0.3):
        assert float(s.position_m.min()) >= LIGHT.low_m - 1e-6
        assert float(s.position_m.max()) <= LIGHT.high_m + 1e-6
        assert bool(torch.isfinite(s.velocity_m_s).all())


def test_a_dam_breaks_as_in_the_experiment():
    physics, width = Physics(), 0.12
    engine = TorchEngine(physics)
    low = physics.low_m
    state = still(engine, Block((low, low), (low + width, low + 2 * width)))
    states = run(engine, state, NOWHERE, 0.24)
    unit_s = (width / (2 * physics.gravity_m_s2)) ** 0.5
    for time, front in SURGE_FRONT.items():
        at = round(time * unit_s / physics.time_step_s) - 1
        edge = float(states[at].position_m[0].max()) + physics.spacing_m / 2 - low
        assert edge / width == pytest.approx(front, rel=0.06)


def test_designs_do_not_see_their_neighbours():
    angles = angles_of(5)
    together = rollout(BOWL, angles, LIGHT)
    assert np.array_equal(together, rollout(BOWL, angles, LIGHT))
    assert np.array_equal(together[1:4], rollout(BOWL, angles[1:4], LIGHT))
    assert np.array_equal(together[4], rollout(BOWL, angles[[4]], LIGHT)[0])
    scores = goal_scores(together, BOWL.goal_m, BOWL.sigma_m)
    assert scores[2] == goal_scores(together[[2]], BOWL.goal_m, BOWL.sigma_m)
    assert np.ptp(scores) > 0.05  # the designs differ


def test_batches_beyond_the_engines_own_are_cut(monkeypatch):
    scene, angles = replace(BOWL, seconds=0.15), angles_of(5)
    whole = rollout(scene, angles, LIGHT, last=2)
    monkeypatch.setattr(episodes, "_BATCH", 2)
    assert np.array_equal(rollout(scene, angles, LIGHT, last=2), whole)
    assert np.array_equal(rollout(scene, angles, LIGHT)[:, -2:], whole)


def test_a_tool_changes_what_the_water_does():
    flat = np.zeros((1, 4))
    cup = np.array([[-0.9, 0.9, 0.9, 0.5]])
    (on_flat, in_cup) = goal_scores(
        rollout(BOWL, np.concatenate([flat, cup]), LIGHT, last=5), BOWL.goal_m, BOWL.sigma_m
    )
    assert in_cup > on_flat + 0.2


def test_the_gradient_agrees_with_differences_before_particles_touch():
    """Grid nodes see the tool already, no particle does: later the score has jumps."""
    engine = TorchEngine(LIGHT, dtype=torch.float64)
    scene = replace(BOWL, water=Block((0.40, 0.53), (0.60, 0.68)))
    particles = torch.from_numpy(scene.particles(LIGHT))
    angles = torch.tensor([[0.05, -0.1, 0.08, 0.1]], dtype=torch.float64)

    def height(angles: torch.Tensor) -> torch.Tensor:
        frames = engine.rollout(scene.segments(angles), particles, n_frames=2)
        return frames[:, -1, :, 1].square().mean()

    tool = engine.tool_field(scene.segments(angles))
    assert (tool.slip.view(16, 16)[6:10] > 0).any()
    (gradient,) = torch.autograd.grad(height(angles.requires_grad_()), angles)
    assert gradient.abs().min() > 1e-7
    angles = angles.detach()
    for column in range(4):
        step = torch.zeros_like(angles)
        step[0, column] = 1e-6
        change = (height(angles + step) - height(angles - step)) / 2e-6
        assert float(gradient[0, column]) == pytest.approx(float(change), rel=1e-5)


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(UnknownId, match=r"no engine 'taichi'.*torch"):
        rollout(BOWL, angles_of(1), LIGHT, engine="taichi")


def test_a_missing_numba_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "mbo_gym.simulators.fluid.mpm_numba", raising=False)
    with pytest.raises(MissingDependency, match=r"numba.*mbo-gym\[fluid\]"):
        rollout(BOWL, angles_of(1), LIGHT, engine="numba")


def test_numba_agrees_with_torch():
    pytest.importorskip("numba")
    angles = angles_of(3)
    frames = {engine: rollout(BOWL, angles, LIGHT, engine=engine) for engine in ("torch", "numba")}
    scores = {name: goal_scores(moved, BOWL.goal_m, BOWL.sigma_m) for name, moved in frames.items()}
    np.testing.assert_allclose(scores["numba"], scores["torch"], atol=1e-3)
    # where both compile as IEEE says, which they do on x86-64, they agree to the last bit
    np.testing.assert_allclose(frames["numba"][:, 1], frames["torch"][:, 1], atol=1e-6)
