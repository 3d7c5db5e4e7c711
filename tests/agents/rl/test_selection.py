"""OSEL and its value-prediction network: against hand-computed targets, scikit-learn, and choices
known beforehand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

import mbo_gym
from agents.rl import selection as model_selection
from agents.rl.selection import Candidate, KnnScore, knn_mean, osel_score, rank_candidates
from agents.rl.value_prediction import (
    ValuePredictionNetwork,
    VPNConfig,
    _losses,
    _value_targets,
    _windows,
    train_value_prediction,
)
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import random_top

PLANE = ContinuousSpace(np.full(2, -4.0), np.full(2, 4.0))
SMALL = VPNConfig(
    hidden=32, unroll=4, steps=120, batch_size=32, learning_rate=3e-3, target_every=20
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Ear:
    """Keeps the metrics it is told."""

    def __init__(self) -> None:
        self.heard: list[dict[str, float]] = []

    def track(self, items, description, total=None):
        return iter(items)

    def metrics(self, stage, step, **values):
        self.heard.append(values)


def chain(horizon: int = 12) -> TrajectoryBatch:
    """Two trajectories walk 0, 1, .., T, a one-hot state each; only the last step is rewarded, with
    1."""
    rewards = torch.zeros(2, horizon)
    rewards[:, -1] = 1.0
    z = torch.eye(horizon + 1).expand(2, -1, -1)
    return TrajectoryBatch(
        z, torch.zeros(2, horizon + 1), torch.zeros(2, horizon, horizon + 1), rewards
    )


def five_states() -> TrajectoryBatch:
    """One trajectory 0, 1, 2, 3, 4 with actions 10 .. 13 and rewards 1 .. 4."""
    z = torch.arange(5.0).view(1, 5, 1)
    return TrajectoryBatch(z, z[:, :, 0], 10 + z[:, :4], 1 + z[:, :4, 0])


ROWS, STARTS = (
    torch.zeros(3, dtype=torch.int64),
    torch.tensor([0, 1, 2]),
)  # the last one lacks a step at the end


def test_windows_and_targets_at_a_trajectorys_end_by_hand():
    windows = _windows(five_states(), ROWS, STARTS, k=3)
    assert windows.start.flatten().tolist() == [0, 1, 2]
    assert windows.end.flatten().tolist() == [3, 4, 4]
    assert windows.ended.tolist() == [False, True, True]
    assert windows.valid.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    assert windows.actions[:, :2].flatten().tolist() == [10, 11, 11, 12, 12, 13]
    assert windows.rewards[:, :2].tolist() == [[1, 2], [2, 3], [3, 4]]
    # gamma = 1/2 and a value of 8 beyond: R = r / 2 + R' / 2, from the back; what is past the end
    # hands the 8 on
    targets = _value_targets(windows.rewards, windows.valid, torch.full((3,), 8.0), 0.5)
    assert targets[0].tolist() == [2.375, 3.75, 5.5]
    assert targets[1].tolist() == [3.25, 4.5, 6.0]
    assert targets[2, :2].tolist() == [4.5, 6.0]


@pytest.mark.parametrize("terminal", [False, True])
def test_losses_are_means_over_the_steps_within_the_trajectory(terminal):
    network, slow = (
        ValuePredictionNetwork(1, 2, 8, seeded(seed)).requires_grad_(False) for seed in (0, 1)
    )
    windows = _windows(five_states(), ROWS, STARTS, k=3)
    rewards, values = network.unroll(windows.start, windows.actions)
    at_3, at_4 = slow.value(torch.tensor([[3.0], [4.0]])).tolist()
    r = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    reward_error, value_error = [], []
    for i, (start, end) in enumerate([(0, 3), (1, 4), (2, 4)]):
        target = at_3 if end == 3 else 0.0 if terminal else at_4
        for t in range(end - 1, start - 1, -1):
            target = 0.1 * r[t] + 0.9 * target
            reward_error.append((float(rewards[i, t - start]) - r[t]) ** 2)
            value_error.append((float(values[i, t - start]) - target) ** 2)
    assert len(reward_error) == 8
    losses = _losses(network, slow, windows, 0.9, terminal)
    torch.testing.assert_close(
        torch.stack(losses), torch.tensor([np.mean(reward_error), np.mean(value_error)]).float()
    )
    poisoned = replace(windows, rewards=torch.where(windows.valid, windows.rewards, 1e6))
    assert torch.equal(
        torch.stack(_losses(network, slow, poisoned, 0.9, terminal)), torch.stack(losses)
    )


def test_the_unrolled_latent_moves_by_the_transition():
    network = ValuePredictionNetwork(3, 2, 8, seeded()).requires_grad_(False)
    z, actions = torch.randn(5, 3, generator=seeded()), torch.randn(5, 2, 3, generator=seeded(1))
    rewards, values = network.unroll(z, actions)
    assert (rewards.shape, values.shape, network.embed(z).shape) == ((5, 2), (5, 2), (5, 2))
    torch.testing.assert_close(values[:, 0], network.value(z))
    moved = network.embed(z) + network.transition(
        torch.cat([network.embed(z), actions[:, 0]], dim=1)
    )
    torch.testing.assert_close(values[:, 1], network.value_head(moved).squeeze(1))
    torch.testing.assert_close(
        rewards[:, 1], network.reward_head(torch.cat([moved, actions[:, 1]], 1)).squeeze(1)
    )


def test_a_chains_values_are_learnt_beyond_the_window():
    # The reward lies up to 6 steps ahead of a window of 2: only the slow copy's values can carry it
    # to the start.
    batch, gamma, ear = chain(horizon=6), 0.7, Ear()
    config = replace(SMALL, unroll=2, discount=gamma, steps=300)
    network = train_value_prediction(batch, PLANE, config, seed=0, progress=ear, terminal=True)
    known = (1 - gamma) * gamma ** torch.arange(
        5, -1, -1.0
    )  # .05 at the start, .3 before the reward
    learnt = network.value(batch.z[0, :6])
    assert (
        learnt - known
    ).abs().max() < known.diff().min() / 2  # so near that the states are in order
    for loss in ("reward_loss", "value_loss"):
        assert ear.heard[-1][loss] < 0.1 * ear.heard[0][loss]


def test_training_repeats_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        network = train_value_prediction(chain(), PLANE, replace(SMALL, steps=5), seed=seed)
        weights.append(torch.cat([w.flatten() for w in network.parameters()]))
        torch.testing.assert_close(torch.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])
    assert not any(w.requires_grad for w in network.parameters())


def test_embeddings_are_as_long_as_the_papers():
    config = replace(SMALL, steps=0)
    sizes = [
        train_value_prediction(chain(), space, settings, seed=0).embed(torch.zeros(1, 13)).shape[1]
        for space, settings in [
            (PLANE, config),
            (CategoricalSpace(8, 4), config),
            (PLANE, replace(config, embedding=5)),
        ]
    ]
    assert sizes == [32, 8, 5]


def test_settings_and_trajectories_without_actions_are_refused():
    with pytest.raises(ValueError, match=r"discount lies in \[0, 1\)"):
        VPNConfig(discount=1.0)
    with pytest.raises(ValueError, match="unroll must be at least 1"):
        VPNConfig(unroll=0)
    with pytest.raises(ValueError, match="with_actions"):
        train_value_prediction(
            TrajectoryBatch(torch.zeros(1, 3, 2), torch.zeros(1, 3)), PLANE, seed=0
        )


@pytest.mark.parametrize("block", [350, 1 << 21])
def test_neighbours_are_those_of_scikit_learn(monkeypatch, block):
    monkeypatch.setattr(model_selection, "_BLOCK_NUMBERS", block)
    reference, values = (
        torch.randn(300, 5, generator=seeded()),
        torch.randn(300, generator=seeded(1)),
    )
    # far from the origin, where squares of single precision would swap neighbours
    reference = 1000 + reference
    points = torch.cat([reference[:20], 1000 + 3 * torch.randn(30, 5, generator=seeded(2))])
    for k in (1, 10, 300):
        theirs = KNeighborsRegressor(k, algorithm="brute").fit(
            reference.double().numpy(), values.double().numpy()
        )
        expected = theirs.predict(points.double().numpy())
        np.testing.assert_allclose(
            knn_mean(points, reference, values, k), expected, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_designs_are_refused(k):
    with pytest.raises(ValueError, match=f"1 <= k <= 3; got k={k}"):
        knn_mean(torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(3), k)


def hill(z: np.ndarray) -> np.ndarray:
    return np.exp(-((z - 2.0) ** 2).sum(axis=1) / 2)


@pytest.fixture(scope="module")
def landscape() -> OfflineProblem:
    """A plane of 800 designs, flat but for a hill at (2, 2)."""
    x = np.random.default_rng(0).uniform(-4, 4, (800, 2))
    return OfflineProblem("made-up", PLANE, OfflineDataset(x, hill(x)), (0.0, 1.0))


@pytest.fixture(scope="module", params=["value prediction", "surrogate"])
def knn(request, landscape) -> KnnScore:
    encoder = make_encoder(landscape)
    if request.param == "surrogate":
        surrogate = fit_surrogate(
            landscape, encoder, MLPSurrogate(MLPConfig(hidden=32, train_steps=200)), seed=0
        )
        return KnnScore(landscape, encoder, surrogate.hidden)
    batch = with_actions(
        random_top(landscape, encoder, 100, 200, 20, seeded()), None, "displacement", 4.0
    )
    return KnnScore(landscape, encoder, train_value_prediction(batch, PLANE, SMALL, seed=0).embed)


def disc(problem: OfflineProblem, centre: tuple[float, float], n: int = 40) -> torch.Tensor:
    """Features of designs within .4 of a centre, the same pattern at each."""
    x = np.float32(centre) + np.random.default_rng(1).uniform(-0.4, 0.4, (n, 2)).astype(np.float32)
    return torch.from_numpy(make_encoder(problem).encode(x))


FAR = [(-2.0, -2.0), (-2.0, 2.0), (2.0, -2.0)]


@pytest.mark.parametrize("best", [10, 20, 30, 40])
def test_the_p_whose_proposals_lie_on_the_hill_is_chosen(landscape, knn, best):
    # One p ends on the hill (score 1 at its centre); the others end on the plain (below .001),
    # wherever the hill's
    # stands in the list: first, in the middle, last. Within the best p the later checkpoint has
    # climbed further.
    others = iter(FAR)
    candidates = []
    for p in (10, 20, 30, 40):
        ends = [(1.0, 1.0), (2.0, 2.0)] if p == best else [next(others)] * 2
        candidates += [
            Candidate(p, step, disc(landscape, end))
            for step, end in zip((500, 2000), ends, strict=True)
        ]
    ranked = rank_candidates(candidates, knn)
    assert [(c.p, c.step) for c, _ in ranked[:2]] == [(best, 2000), (best, 500)]
    assert {(c.p, c.step) for c, _ in ranked} == {
        (p, step) for p in (10, 20, 30, 40) for step in (500, 2000)
    }
    assert all(score == osel_score(knn, candidate.z) for candidate, score in ranked)
    scores = [score for _, score in ranked]
    assert scores == sorted(scores, reverse=True)


def test_one_lucky_proposal_wins_by_the_maximum_only(landscape, knn):
    summit = disc(landscape, (2.0, 2.0))
    lucky = Candidate(10, 1, torch.cat([disc(landscape, FAR[0]), summit]))
    good = Candidate(20, 1, summit)
    ranked = rank_candidates([lucky, good], knn)
    assert [c.p for c, _ in ranked] == [20, 10]
    ranked = rank_candidates([lucky, good], knn, "max")
    assert (
        ranked[0][1] == ranked[1][1]
    )  # the same best proposal: a tie, which leaves the order as it was
    assert [c.p for c, _ in ranked] == [10, 20]
    assert [c.p for c, _ in rank_candidates([good, lucky], knn, "max")] == [20, 10]


def test_no_proposal_scores_above_the_best_visible_designs(landscape, knn):
    y = landscape.dataset.score_scale.standardise(landscape.dataset.y)
    everywhere = torch.from_numpy(make_encoder(landscape).encode(10 * landscape.dataset.x))
    assert float(knn(everywhere).max()) <= np.sort(y)[-10:].mean() + 1e-6


def test_proposals_that_are_not_finite_come_last(landscape, knn):
    plain, broken = disc(landscape, FAR[0]), disc(landscape, (2.0, 2.0))
    broken[3, 1] = math.nan
    ranked = rank_candidates([Candidate(10, 1, broken), Candidate(20, 1, plain)], knn)
    assert [(c.p, math.isinf(score)) for c, score in ranked] == [(20, False), (10, True)]


def test_unknown_statistics_and_empty_candidates_are_refused(landscape, knn):
    with pytest.raises(ValueError, match="'mean' or 'max'"):
        osel_score(knn, disc(landscape, FAR[0]), "median")
    with pytest.raises(ValueError, match=r"at least one proposal, got features of shape \(0, 2\)"):
        osel_score(knn, torch.zeros(0, 2))


def test_selection_asks_no_oracle(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the oracle was asked")

    problem = mbo_gym.make_task("TFBind8-Exact-v0", fraction=0.05).problem()
    for cls in (Oracle, *Oracle.__subclasses__()):
        monkeypatch.setattr(cls, "_score", refuse)
    encoder = make_encoder(problem)
    batch = with_actions(random_top(problem, encoder, 20, 20, 10, seeded()), None, "displacement")
    network = train_value_prediction(batch, problem.space, replace(SMALL, steps=2), seed=0)
    score = KnnScore(problem, encoder, network.embed)
    ends = [Candidate(20, step, batch.z[:, step]) for step in (0, 10)]
    assert len(rank_candidates(ends, score)) == 2
