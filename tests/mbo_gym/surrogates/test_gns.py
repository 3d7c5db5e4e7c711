"""The learned simulator: its geometry holds untrained, its training repeats, its work is counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import MissingData
from mbo_gym.nn.training import TrainingConfig
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.score import share_at_goal
from mbo_gym.surrogates.base import CannotFit
from mbo_gym.surrogates.calls import count_learned_calls
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.gns import training
from mbo_gym.surrogates.gns.geometry import crossings, distances_m2, keep_outside, nearest_points
from mbo_gym.surrogates.gns.network import (
    SHIPPED,
    FluidNetwork,
    NetworkConfig,
    Water,
    load_network,
    save_network,
)
from mbo_gym.surrogates.gns.scenes import (
    N_PARTICLES,
    N_SEGMENTS,
    Episodes,
    ScenesConfig,
    simulate_scenes,
)
from mbo_gym.surrogates.gns.surrogate import GNSConfig, GNSSurrogate, learned_scores
from mbo_gym.surrogates.gns.training import (
    GNSTrainingConfig,
    StageConfig,
    Windows,
    frames_loss,
    train_gns,
)
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate
from mbo_gym.tasks.fluid import fluid_scene

PHYSICS = Physics()
COARSE = replace(PHYSICS, substeps_per_frame=80)
STILL = StageConfig(TrainingConfig(), 1, 0.0)
"""A tenth of the frames."""
TINY = NetworkConfig(width=8, rounds=1, reach_m=0.008)
"""Quick: untrained water falls to a heap, where a longer reach would make each pair neighbours."""
SHORT = ScenesConfig(groups=1, designs=1, seconds=0.3)
TASK = "FluidRamp-MPM-v0"
BOX = {"contact_m": 0.018, "low_m": PHYSICS.low_m, "high_m": PHYSICS.high_m}


def network_of(config: NetworkConfig, physics: Physics = PHYSICS) -> FluidNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FluidNetwork(config, physics).eval().requires_grad_(False)


def block(n: int, low: float = 0.45, gap: float = 1 / 64) -> torch.Tensor:
    side = low + gap * torch.arange(n)
    return torch.cartesian_prod(side, side)


@pytest.fixture(scope="module")
def episodes():
    return simulate_scenes(SHORT, PHYSICS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(network_of(TINY, COARSE), path, steps=0)
    return path


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task(TASK).problem()


@pytest.fixture
def surrogate(weights):
    return make_surrogate("gns", weights=str(weights), calibration_rows=5, held_out_rows=4)


def test_nearest_points_and_distances():
    segment = torch.tensor([0.2, 0.5, 0.6, 0.5])
    points = torch.tensor([[0.3, 0.8], [0.9, 0.9], [0.2, 0.5]])
    nearest = nearest_points(points, segment)
    torch.testing.assert_close(nearest, torch.tensor([[0.3, 0.5], [0.6, 0.5], [0.2, 0.5]]))
    wanted = (points - nearest).square().sum(-1)
    torch.testing.assert_close(
        distances_m2(points[None], segment[None, None])[0, :, 0], wanted, atol=1e-7, rtol=1e-5
    )


def test_crossings_are_shares_of_the_path():
    start = torch.tensor([[[0.5, 0.8], [0.5, 0.8], [0.9, 0.8]]])
    end = torch.tensor([[[0.5, 0.4], [0.5, 0.7], [0.9, 0.4]]])
    met = crossings(start, end, torch.tensor([[[0.2, 0.5, 0.6, 0.5]]]))
    assert met[0, :, 0].tolist() == pytest.approx([0.75, np.inf, np.inf])


def height_above(x: torch.Tensor, y: torch.Tensor, water: torch.Tensor) -> np.ndarray:
    """Return how high particles (1, N, 2) are above the line through points (x, y), (N,)."""
    place = water[0].numpy()
    return place[:, 1] - np.interp(place[:, 0], x.numpy(), y.numpy())


@pytest.mark.parametrize("steepness", [0.0, 0.1, 0.4])
def test_nothing_passes_a_zigzag_whatever_the_velocity(steepness):
    generator = torch.Generator().manual_seed(1)
    x = torch.linspace(0.05, 0.95, 17)
    y = 0.45 + steepness * (torch.rand(17, generator=generator) - 0.5)
    tool = torch.stack([x[:-1], y[:-1], x[1:], y[1:]], -1)[None]
    water = 0.1 + 0.8 * torch.rand(1, 600, 2, generator=generator)
    water = water[:, height_above(x, y, water) > 0.02]
    for _ in range(100):
        moved = 0.15 * torch.randn(water.shape, generator=generator)
        water = keep_outside(water, water + moved, tool, **BOX)
    assert height_above(x, y, water).min() > 0
    assert water.min() >= PHYSICS.low_m
    assert water.max() <= PHYSICS.high_m


def test_an_untrained_network_leaks_nothing():
    network = network_of(NetworkConfig())
    network.change_m_s.fill_(3.0)  # wild
    floor = torch.tensor([[[0.05, 0.3, 0.95, 0.3]]])
    frames = network.rollout(block(8), floor, 30)
    assert (frames[..., 1] > 0.3).all()
    assert frames[:, -1].std() > 0.05  # and it did move


def test_particles_far_from_tools_are_left_alone():
    start = block(3)[None]
    end = start + 0.01
    assert torch.equal(keep_outside(start, end, torch.tensor([[[0.1, 0.1, 0.2, 0.1]]]), **BOX), end)


def test_the_default_network_is_small(tmp_path):
    network = FluidNetwork()
    assert 20_000 < sum(p.numel() for p in network.parameters()) < 25_000
    save_network(network, tmp_path / "w.safetensors", steps=1)
    assert (tmp_path / "w.safetensors").stat().st_size < 200_000


def test_it_does_not_matter_in_which_order_particles_stand():
    network = network_of(NetworkConfig())
    position = block(6)[None]
    velocity = torch.randn(1, 36, 3, 2, generator=torch.Generator().manual_seed(0))
    tools = torch.tensor([[[0.4, 0.43, 0.6, 0.44], [0.6, 0.44, 0.6, 0.6]]])
    order = torch.randperm(36, generator=torch.Generator().manual_seed(2))
    straight = network(Water(position, velocity), tools).position_m
    shuffled = network(Water(position[:, order], velocity[:, order]), tools.flip(1)).position_m
    assert (straight - position).abs().max() > 1e-3
    torch.testing.assert_close(shuffled, straight[:, order], atol=1e-6, rtol=1e-5)


def test_designs_of_a_batch_do_not_meet():
    network = network_of(NetworkConfig())
    tools = torch.tensor([[[0.4, 0.40, 0.6, 0.38]], [[0.4, 0.36, 0.6, 0.42]]])
    together = network.rollout(block(5), tools, 6)
    for i in range(2):
        alone = network.rollout(block(5), tools[i : i + 1], 6)[0]
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-4)


def test_the_gradient_is_that_of_differences():
    network = network_of(NetworkConfig()).double()
    network.change_m_s.fill_(0.13)
    scene = fluid_scene("contain")
    particles = block(6, low=0.46).double() + torch.tensor([0.0, 0.02])
    angles = 0.1 * torch.randn(1, 16, generator=torch.Generator().manual_seed(4)).double()

    def score(angles):
        frames = network.rollout(particles, scene.segments(angles), 5, last=5)
        return share_at_goal(frames, (0.5, 0.42), 0.1).sum()

    leaf = angles.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(leaf), leaf)
    assert gradient.norm() > 1e-3
    direction = gradient / gradient.norm()
    with torch.no_grad():
        h = 1e-6
        slope = (score(angles + h * direction) - score(angles - h * direction)) / (2 * h)
    assert float(slope) == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_scenes_repeat_and_differ():
    config = ScenesConfig(groups=8, designs=1, seconds=0.03, paddle_seconds=0.03)
    one, two = simulate_scenes(config, PHYSICS), simulate_scenes(config, PHYSICS)
    assert torch.equal(one.frames_m, two.frames_m)
    assert torch.equal(one.segments_m, two.segments_m)
    other = simulate_scenes(replace(config, seed=1), PHYSICS)
    assert not torch.equal(one.segments_m, other.segments_m)
    assert one.frames_m.shape == (8 * 3, N_PARTICLES, 2)
    assert one.segments_m.shape == (8, N_SEGMENTS, 4)
    assert one.first.tolist() == list(range(0, 25, 3))
    inside = (one.segments_m < 1).all(-1).sum(-1)
    assert inside.min() >= 14  # every scene has a tool


def test_windows_begin_with_still_water(episodes):
    windows = Windows(episodes, history=3, frame_s=PHYSICS.frame_s)
    assert len(windows) <= len(episodes.frames_m) - 1
    rows = torch.stack([(windows.frame == frame).nonzero()[0, 0] for frame in (0, 5)])
    (first, fifth), known = windows.frames(rows)
    assert known.all()
    assert torch.equal(first[:4], episodes.frames_m[:1].expand(4, -1, -1))
    assert torch.equal(first[4], episodes.frames_m[1])
    assert torch.equal(fifth, episodes.frames_m[2:7])
    last = (windows.frame == 19).nonzero()[:1, 0]
    ahead, known = windows.frames(last, 3)  # the episode has 21 frames
    assert known.tolist() == [[True, False, False]]
    assert torch.equal(ahead[0], episodes.frames_m[[16, 17, 18, 19, 20, 20, 20]])
    speed, change = windows.units()
    assert 0.1 < float(speed) < 5
    assert 0.05 < float(change) < 0.5


def test_still_water_is_thinned_out():
    still = torch.full((9, N_PARTICLES, 2), 0.5)
    moving = still + 0.01 * torch.arange(9.0)[:, None, None]
    frames = torch.cat([still, moving])
    tools = torch.full((2, N_SEGMENTS, 4), 9.0)
    windows = Windows(Episodes(frames, tools, torch.tensor([0, 9, 18])), 3, PHYSICS.frame_s)
    assert windows.frame.tolist() == [0, 4, *range(9, 17)]
    assert windows.scene.tolist() == [0] * 2 + [1] * 8


def test_a_scene_can_be_learned_by_heart(episodes):
    windows = Windows(episodes, 3, PHYSICS.frame_s)
    network = network_of(NetworkConfig(width=16, rounds=2)).train().requires_grad_(True)
    network.speed_m_s, network.change_m_s = windows.units()
    generator = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)

    def loss(n, noise):
        rows = torch.randint(len(windows), (n,), generator=generator)
        stage = StageConfig(TrainingConfig(), 1, noise)
        return frames_loss(network, windows, rows, stage, generator)

    with torch.no_grad():
        before = float(loss(20, 0.0))
    for _ in range(60):
        value = loss(4, 0.01)
        adam.zero_grad()
        value.backward()
        adam.step()
    with torch.no_grad():
        assert float(loss(20, 0.0)) < 0.5 * before


def test_the_loss_ahead_is_that_of_a_rollout(episodes):
    windows = Windows(episodes, 3, PHYSICS.frame_s)
    network = network_of(TINY)
    rows = (windows.frame == 0).nonzero()[:1, 0]
    stage = StageConfig(TrainingConfig(), 3, 0.0)
    with torch.no_grad():
        for seed in range(20):  # until the scene is not mirrored
            generator = torch.Generator().manual_seed(seed)
            if float(torch.rand(1, generator=generator)) >= 0.5:
                break
        loss = frames_loss(network, windows, rows, stage, generator.manual_seed(seed))
        ahead = network.rollout(episodes.frames_m[0], episodes.segments_m[:1], 3)[0]
    error = (ahead - episodes.frames_m[1:4]) / (PHYSICS.frame_s * network.change_m_s)
    error = error / torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    wanted = torch.nn.functional.huber_loss(error, torch.zeros_like(error))
    assert float(loss) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("stopped_at", [5, 11])
def test_a_stopped_training_ends_in_the_same_weights(tmp_path, monkeypatch, stopped_at):
    updates = TrainingConfig(
        steps=6, batch_size=2, warm_up=2, ema=0.9, precision="float32", compile="off"
    )
    single, unrolled = StageConfig(updates, 1, 0.02), StageConfig(updates, 2, 0.01)
    config = GNSTrainingConfig(TINY, SHORT, (single, unrolled))
    whole = train_gns(config, tmp_path / "whole").state_dict()
    calls = 0

    def stopping(*args):
        nonlocal calls
        calls += 1
        if calls == stopped_at:
            raise RuntimeError("stopped")
        return frames_loss(*args)

    with monkeypatch.context() as patched:
        patched.setattr(training, "frames_loss", stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            train_gns(config, tmp_path / "parts", checkpoint_every=3)
    resumed = train_gns(config, tmp_path / "parts", checkpoint_every=3).state_dict()
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    with pytest.raises(ValueError, match="another training"):
        train_gns(replace(config, stages=(replace(single, noise_m_s=0.1),)), tmp_path / "parts")
    with pytest.raises(ValueError, match="other settings"):
        train_gns(replace(config, scenes=replace(SHORT, seed=3)), tmp_path / "parts")


def test_weights_come_back_as_they_were(tmp_path, weights):
    again, network = load_network(weights), network_of(TINY, COARSE)
    assert (again.config, again.physics) == (TINY, COARSE)
    tools = torch.tensor([[[0.4, 0.40, 0.6, 0.38]]])
    assert torch.equal(again.rollout(block(5), tools, 3), network.rollout(block(5), tools, 3))
    with pytest.raises(MissingData, match=r"none\.safetensors is missing"):
        load_network(tmp_path / "none.safetensors")


def test_it_is_refused_on_other_tasks(surrogate):
    branin = mbo_gym.make_task("Branin-Exact-v0").problem()
    with pytest.raises(CannotFit, match=r"FluidContain-MPM-v0.*got Branin-Exact-v0.*'mlp'"):
        fit_surrogate(branin, make_encoder(branin), surrogate, seed=0)
    with pytest.raises(CannotFit, match="needs the scene"):
        surrogate.fit(torch.zeros(4, 2), torch.zeros(4), seed=0)


def test_predictions_are_calibrated_shares(problem, surrogate):
    encoder = make_encoder(problem)
    with count_oracle_calls() as oracle, count_learned_calls() as learned:
        fit_surrogate(problem, encoder, surrogate, seed=3)
    assert (oracle.count, learned.rollouts, learned.gradients) == (0, 5 + 4, 0)
    assert (surrogate.report.n_train, surrogate.report.n_held_out) == (5, 4)
    x = problem.dataset.x[:3]
    z = encoder.features(x)
    shares = learned_scores(network_of(TINY, COARSE), fluid_scene("ramp"), torch.tensor(x), chunk=2)
    line = np.polyfit(shares.numpy(), surrogate.predict(z).numpy(), 1)
    prediction = np.polyval(line, shares.numpy())
    np.testing.assert_allclose(surrogate.predict(z).numpy(), prediction, atol=1e-3)
    assert shares.std() > 1e-4


def test_gradients_are_counted_where_they_are_taken(problem, surrogate):
    encoder = make_encoder(problem)
    fit_surrogate(problem, encoder, surrogate, seed=3)
    z = encoder.features(problem.dataset.x[-3:])
    with count_learned_calls() as outer:
        surrogate.predict(z)
        with count_learned_calls() as inner:
            value, gradient = surrogate.value_and_gradient(z)
    assert (inner.rollouts, inner.gradients) == (3, 3)
    assert (outer.rollouts, outer.gradients) == (6, 3)
    torch.testing.assert_close(value, surrogate.predict(z), atol=1e-3, rtol=1e-3)
    assert gradient.shape == z.shape
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


def test_it_is_saved_with_its_goal(tmp_path, weights):
    problem = mbo_gym.make_task(TASK, goal=[0.6, 0.2], sigma=0.2).problem()
    encoder = make_encoder(problem, "min_max")
    made = GNSSurrogate(GNSConfig(str(weights), calibration_rows=3, held_out_rows=0))
    fit_surrogate(problem, encoder, made, seed=0)
    made.save(tmp_path / "gns.safetensors")
    again = load_surrogate(tmp_path / "gns.safetensors")
    z = encoder.features(problem.dataset.x[:2])
    assert torch.equal(again.predict(z), made.predict(z))
    assert again.state()["goal_m"].tolist() == [0.6, 0.2, 0.2]


def test_the_cache_knows_the_goal(problem, surrogate, weights):
    encoder = make_encoder(problem)
    surrogate.for_problem(problem, encoder)
    facts = surrogate.facts()
    other = mbo_gym.make_task(TASK, goal=[0.6, 0.2]).problem()
    surrogate.for_problem(other, make_encoder(other))
    assert facts["scene"]["goal_m"] != surrogate.facts()["scene"]["goal_m"]
    assert facts["sha256"] == surrogate.facts()["sha256"]
    json.dumps(facts)


def test_a_run_tells_the_learned_simulators_work(tmp_path, weights):
    settings = {
        "surrogate": "gns",
        "surrogate.weights": str(weights),
        "surrogate.calibration_rows": 3,
        "surrogate.held_out_rows": 0,
        "ascent.steps": 1,
    }
    result = run(RunRequest("grad", TASK, k=1, settings=settings), tmp_path / "run", plot=False)
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told["search_oracle_calls"] == 0
    assert told["learned_gradients"] == result.learned_gradients == 1
    assert told["learned_rollouts"] == result.learned_rollouts >= 3 + 1


def test_shipped_weights_are_small_and_better_than_free_fall():
    assert SHIPPED.stat().st_size < 200_000
    network = load_network()
    unseen = simulate_scenes(replace(SHORT, designs=2, seed=1, seconds=0.6), PHYSICS)
    windows = Windows(unseen, network.config.history, PHYSICS.frame_s)
    rows = torch.arange(20, len(windows), 4)

    def loss() -> float:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            return float(frames_loss(network, windows, rows, STILL, generator))

    learned = loss()
    for layer in (network.decoder[2].weight, network.decoder[2].bias):
        layer.zero_()
    assert learned < 0.5 * loss()
