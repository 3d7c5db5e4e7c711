"""Episodes for policy-guided search: replayed through the process, and their actions and rewards by
hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.rl.collect import EpisodeConfig, make_episodes
from agents.rl.data import Episodes
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.trajectories.samplers import SAMPLERS, top_rows_of_percentile

D, N, T = 3, 30, 6
SAMPLER_OF = {"random": "random_top", "sorted": "sorted_top", "local": "local_improving"}
PAPER = {"sign": "both", "gradient": "raw", "observation": "design", "bounds": "none"}
SMALL = {"n_trajectories": N, "horizon": T}
RAW = {**SMALL, "standardise_rewards": False}
each_sampler = pytest.mark.parametrize("trajectories", sorted(SAMPLER_OF))


class Valley(Surrogate):
    """f(z) = - sum of c z^2 / 2, with the length of z for its members' spread."""

    kind = "valley"

    def __init__(self) -> None:
        self.c, self.asked = torch.tensor([1.0, 2.0, 0.5]), 0

    def fit(self, z, y, *, seed, progress=None):
        raise NotImplementedError

    def predict(self, z: Tensor) -> Tensor:
        return -(self.c * z.square()).sum(dim=1) / 2

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += len(z)
        return self.predict(z), -self.c * z

    def spread(self, z: Tensor) -> Tensor:
        return z.norm(dim=1)

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture(scope="module")
def problem() -> OfflineProblem:
    """Return 120 designs; the better ones lie nearer to the origin, all but one, the best."""
    x = np.random.default_rng(0).normal(size=(120, D)).astype(np.float32)
    y = -np.square(x).sum(axis=1)
    x[7], y[7] = (1.5, -0.5, 1.0), 3.0
    space = ContinuousSpace(np.full(D, -4.0, dtype=np.float32), np.full(D, 4.0, dtype=np.float32))
    return OfflineProblem("bowl", space, OfflineDataset(x, y), (0.0, 1.0))


@pytest.fixture(scope="module")
def encoder(problem):
    return make_encoder(problem)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def process_of(problem, **settings) -> Process:
    """Return the process of policy-guided search's default settings, or others."""
    valley = Valley()
    defaults = {"sign": "positive", "gradient": "unit", "observation": "guided"}
    models = {"task": problem, "surrogate": valley, "judge": valley}
    return Process(EnvConfig(**{**defaults, **models, **settings}))


def make(problem, process, *, seed=0, **settings) -> Episodes:
    config = EpisodeConfig(**{**SMALL, **settings})
    return make_episodes(process, config, seeded(seed))


def batch_of(problem, process, trajectories, p=20.0, seed=0):
    """Draw the trajectories that episodes of the same seed are made of."""
    return SAMPLERS[SAMPLER_OF[trajectories]](problem, process.encoder, p, N, T, seeded(seed))


# --------------------------------------------------------------------------------------------------
# rollouts


@pytest.mark.parametrize("step", ["vector", "scalar"])
@pytest.mark.parametrize("sign", ["positive", "both"])
@pytest.mark.parametrize("gradient", ["raw", "unit"])
@pytest.mark.parametrize(("observation", "bounds"), [("design", "none"), ("guided", "data")])
def test_replayed_actions_lead_exactly_to_the_recorded_states(
    problem, step, sign, gradient, observation, bounds
):
    process = process_of(
        problem,
        step=step,
        sign=sign,
        gradient=gradient,
        observation=observation,
        bounds=bounds,
    )
    episodes = make(problem, process, trajectories="rollout")
    assert episodes.observations.shape == (N, T + 1, D if observation == "design" else 2 * D + 3)
    assert episodes.actions.shape == (N, T, D if step == "vector" else 1)
    assert float(episodes.actions.abs().max()) <= 1
    z = episodes.observations[:, 0, :D]
    for t in range(T):
        look = process.look(z, 1 - t / T)
        assert torch.equal(look.observation, episodes.observations[:, t])
        moved = process.move(z, look.direction, episodes.actions[:, t])
        assert not torch.equal(moved, z)
        z = moved
    assert torch.equal(process.look(z, 0.0)[0], episodes.observations[:, T])


@pytest.mark.parametrize("pessimism", [0.0, 1.5])
def test_rewards_of_rollouts_are_the_differences_of_the_judges_values(problem, pessimism):
    process = process_of(problem, pessimism=pessimism)
    raw = make(problem, process, standardise_rewards=False)
    value = process.value(raw.observations[..., :D].reshape(-1, D)).view(N, T + 1)
    torch.testing.assert_close(raw.rewards, value[:, 1:] - value[:, :-1])
    standardised = make(problem, process)
    torch.testing.assert_close(standardised.rewards, raw.rewards / raw.rewards.std())
    torch.testing.assert_close(standardised.rewards.std(), torch.tensor(1.0))
    assert torch.equal(standardised.observations, raw.observations)


def test_rollouts_start_at_the_best_visible_designs(problem, encoder):
    for p in (10.0, 40.0):
        starts = make(problem, process_of(problem), p=p, n_trajectories=400).observations[:, 0, :D]
        best = torch.from_numpy(
            encoder.encode(problem.dataset.x[top_rows_of_percentile(problem, p)])
        )
        assert torch.equal(starts.unique(dim=0), best.unique(dim=0))  # all of them, and no others


@pytest.mark.parametrize(("sign", "low"), [("positive", 0.0), ("both", -1.0)])
def test_rollouts_differ_in_their_mean_step_and_in_their_noise(problem, sign, low):
    process = process_of(problem, sign=sign)
    actions = make(problem, process, n_trajectories=500, horizon=20).actions.flatten(1)
    steps = actions if sign == "both" else (actions + 1) / 2
    assert float(steps.min()) < low + 0.05
    assert float(steps.max()) > 0.95
    mean, spread = steps.mean(dim=1), steps.std(dim=1)
    uniform = (1 - low) / 12**0.5  # standard deviation of uniform steps
    assert float(spread.min()) < 0.05 * uniform
    assert 0.9 * uniform < float(spread.max()) < 1.1 * uniform
    steady = mean[spread < 0.3 * uniform]
    assert float(steady.min()) < 0.3  # among those of little noise are small and large steps
    assert float(steady.max()) > 0.7


# --------------------------------------------------------------------------------------------------
# from the data


@each_sampler
@pytest.mark.parametrize("sign", ["both", "positive"])
def test_an_action_that_needs_no_clipping_leads_to_the_next_design(problem, trajectories, sign):
    process = process_of(problem, **{**PAPER, "sign": sign}, action_scale=2.0)
    episodes = make(problem, process, trajectories=trajectories)
    batch = batch_of(problem, process, trajectories)
    assert torch.equal(episodes.observations, batch.z)
    assert (float(episodes.actions.min()), float(episodes.actions.max())) == (-1, 1)
    start, end, action = (
        part.flatten(0, 1) for part in (batch.z[:, :-1], batch.z[:, 1:], episodes.actions)
    )
    moved = process.move(start, process.look(start, 0.0)[1], action)
    inside = action.abs() < 1
    assert 0.1 < float(inside.float().mean()) < 0.9
    torch.testing.assert_close(moved[inside], end[inside], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(moved[~inside], end[~inside], rtol=1e-4, atol=1e-5).any()


def test_steps_that_are_too_large_are_clipped_or_set_to_zero(problem):
    process = process_of(problem, **PAPER, action_scale=2.0)
    clipped, zeroed = (
        make(problem, process, trajectories="random", outside=how).actions
        for how in ("clip", "zero")
    )
    outside = clipped.abs() == 1
    assert 0.1 < float(outside.float().mean()) < 0.9
    assert torch.equal(zeroed, torch.where(outside, 0.0, clipped))


def test_a_scalar_step_ends_as_near_to_the_next_design_as_it_can(problem):
    process = process_of(problem, **PAPER, step="scalar", action_scale=2.0)
    clipped, zeroed = (
        make(problem, process, trajectories="random", outside=how) for how in ("clip", "zero")
    )
    z = batch_of(problem, process, "random").z.double().numpy()
    c, expected = np.array([1.0, 2.0, 0.5]), np.empty((N, T, 1))
    for b in range(N):
        for t in range(T):
            reach = (2.0 * -c * z[b, t])[:, None]  # where the largest step leads
            expected[b, t] = np.linalg.lstsq(reach, z[b, t + 1] - z[b, t], rcond=None)[0]
    outside = np.abs(expected) > 1
    assert 0.02 < outside.mean() < 0.9
    np.testing.assert_allclose(clipped.actions, expected.clip(-1, 1), atol=1e-5)
    np.testing.assert_allclose(zeroed.actions, np.where(outside, 0, expected), atol=1e-5)


@pytest.mark.parametrize("step", ["vector", "scalar"])
def test_the_step_in_training_may_have_a_unit_of_its_own(problem, step):
    settings = {**PAPER, "step": step}
    wide, narrow = (
        process_of(problem, **settings, action_scale=10.0),
        process_of(problem, **settings, action_scale=0.3),
    )
    expected = make(problem, wide, trajectories="random").actions
    assert torch.equal(
        make(problem, narrow, trajectories="random", train_scale=10.0).actions, expected
    )
    assert not torch.equal(make(problem, narrow, trajectories="random").actions, expected)


@each_sampler
def test_rewards_are_the_differences_of_the_visible_scores(problem, trajectories):
    process = process_of(problem, **PAPER)
    episodes = make(
        problem, process, trajectories=trajectories, reward="difference", standardise_rewards=False
    )
    y = batch_of(problem, process, trajectories).y
    assert torch.equal(episodes.rewards, y[:, 1:] - y[:, :-1])
    if trajectories == "sorted":
        assert float(episodes.rewards.min()) >= 0
    several = make(
        problem, process, trajectories=trajectories, reward="n_step", standardise_rewards=False
    )
    assert torch.equal(several.rewards, episodes.rewards)  # the learner adds them up


def test_along_the_data_too_the_judge_may_say_what_a_step_was_worth(problem):
    process = process_of(problem, pessimism=0.5)
    episodes = make(problem, process, trajectories="sorted", standardise_rewards=False)
    value = process.value(episodes.observations[..., :D].reshape(-1, D)).view(N, T + 1)
    torch.testing.assert_close(episodes.rewards, value[:, 1:] - value[:, :-1])


@pytest.mark.parametrize("trajectories", ["rollout", "random"])
def test_what_is_gained_on_the_way_to_the_best_design_adds_up_to_the_whole_approach(
    problem, encoder, trajectories
):
    process = process_of(problem)
    episodes = make(
        problem,
        process,
        trajectories=trajectories,
        reward="distance_to_best",
        standardise_rewards=False,
    )
    best = torch.from_numpy(encoder.encode(problem.dataset.x[7:8]))
    first, last = episodes.observations[:, 0, :D] - best, episodes.observations[:, -1, :D] - best
    approach = first.square().mean(dim=1).sqrt() - last.square().mean(dim=1).sqrt()
    torch.testing.assert_close(episodes.rewards.sum(dim=1), approach, atol=1e-5, rtol=1e-4)
    assert float(approach.max()) > 0.01


@pytest.mark.parametrize("gradient", ["raw", "unit"])
def test_along_the_data_the_policy_sees_what_it_would_see_there(problem, gradient):
    process = process_of(problem, gradient=gradient)
    episodes = make(problem, process, trajectories="random")
    for t in range(T + 1):
        here = episodes.observations[:, t]
        torch.testing.assert_close(here, process.look(here[:, :D], 1 - t / T)[0])
    assert torch.equal(episodes.observations[0, :, :D], batch_of(problem, process, "random").z[0])


@pytest.mark.parametrize("trajectories", ["rollout", "random"])
def test_the_last_number_seen_is_the_share_of_steps_left(problem, trajectories):
    left = make(problem, process_of(problem), trajectories=trajectories).observations[..., -1]
    torch.testing.assert_close(left, (1 - torch.arange(T + 1) / T).expand(N, -1))


def test_each_visible_design_is_looked_at_once(problem):
    process = process_of(problem)
    make(problem, process, trajectories="random")
    assert process.surrogate.asked == len(top_rows_of_percentile(problem, 20.0)) < N * T


# --------------------------------------------------------------------------------------------------
# settings


@pytest.mark.parametrize(
    ("reward", "chosen"),
    [("difference", "random"), ("n_step", "random"), ("surrogate_difference", "rollout"),
     ("distance_to_best", "rollout")],
)  # fmt: skip
def test_unless_told_it_rolls_out_where_the_reward_needs_no_scores(problem, reward, chosen):
    process = process_of(problem)
    default, explicit = (
        make(problem, process, reward=reward, trajectories=name) for name in (None, chosen)
    )
    for name in ("observations", "actions", "rewards"):
        assert torch.equal(getattr(default, name), getattr(explicit, name))
    assert EpisodeConfig(reward=reward).needs_scores == (chosen == "random")


@pytest.mark.parametrize("trajectories", ["rollout", "random"])
def test_the_generator_decides_everything(problem, trajectories):
    process = process_of(problem)
    first, again, other = (
        make(problem, process, trajectories=trajectories, seed=seed) for seed in (1, 1, 2)
    )
    for name in ("observations", "actions", "rewards"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("trajectories", ["rollout", "random"])
@pytest.mark.parametrize("terminal", [False, True])
def test_whether_the_end_is_terminal_is_passed_on(problem, trajectories, terminal):
    assert (
        make(problem, process_of(problem), trajectories=trajectories, terminal=terminal).terminal
        is terminal
    )


@pytest.mark.parametrize("reward", ["difference", "n_step"])
def test_rollouts_have_no_scores_to_be_rewarded_by(reward):
    with pytest.raises(
        ValueError, match=f"reward='{reward}' needs scores.* 'surrogate_difference' or"
    ):
        EpisodeConfig(trajectories="rollout", reward=reward)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("p", 0.0, "percentage in"),
        ("p", 101.0, "percentage in"),
        ("train_scale", 0.0, "must be positive"),
        ("horizon", 0, "horizon must be at least 1"),
        ("n_trajectories", 0, "n_trajectories must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        EpisodeConfig(**{field: value})


def test_too_few_designs_for_a_trajectory_are_named(problem):
    with pytest.raises(
        InvalidData, match=r"needs 51 distinct designs, the best 20.0 % hold 24; raise p or shorten"
    ):
        make(problem, process_of(problem), trajectories="random", horizon=50)
