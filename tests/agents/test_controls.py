"""What each control has to be, by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import mbo_gym
from agents.controls import NoiseConfig, RandomFiltered, RandomFilteredConfig, TopKNoise
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import InvalidData
from mbo_gym.methods.ascent import best_first
from mbo_gym.methods.base import Context
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.sampling import sampling_space
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

SURROGATE, DISTANCE = "surrogate_of_the_control_tests", "minus_the_distance"


class MinusDistance(Surrogate):
    """Minus the squared distance to features 1; nothing to learn."""

    kind, config = DISTANCE, None

    def fit(self, z, y, *, seed, progress=None):
        return FitReport(1.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        return -(z - 1).square().sum(dim=1)

    def state(self):
        return {"nothing": torch.zeros(1)}

    def load_state(self, state):
        pass


@pytest.fixture(scope="module", autouse=True)
def more_surrogates() -> Iterator[None]:
    config = MLPConfig(hidden=16, train_steps=100)
    with (
        SURROGATES.temporarily(SURROGATE, lambda: MLPSurrogate(config)),
        SURROGATES.temporarily(DISTANCE, MinusDistance),
    ):
        yield


def problem(x, y, space) -> OfflineProblem:
    return OfflineProblem(
        "Small-Exact-v0",
        space,
        OfflineDataset(np.asarray(x), np.asarray(y, dtype=float)),
        (0.0, 1.0),
    )


def line(x, y=None, low=0.0, high=10.0) -> OfflineProblem:
    """Return a problem with one real feature."""
    x = np.asarray(x, dtype=np.float32)[:, None]
    return problem(
        x, x[:, 0] if y is None else y, ContinuousSpace(np.array([low]), np.array([high]))
    )


def letters(x, y) -> OfflineProblem:
    return problem(np.asarray(x, dtype=np.int32), y, CategoricalSpace(len(x[0]), 4, tuple("ACGT")))


def propose(method, problem: OfflineProblem, k: int, seed: int = 0):
    method = mbo_gym.make_method(method) if isinstance(method, str) else method
    method.fit(problem, Context(seed))
    proposals = method.propose(k)
    return proposals.x, proposals.criterion


def test_top_k_is_the_best_distinct_visible_designs():
    x, criterion = propose("top_k", line([5, 9, 9, 1, 7], y=[0.5, 0.9, 0.8, 0.1, 0.7]), 3)
    assert x[:, 0].tolist() == [9, 7, 5]
    np.testing.assert_array_equal(criterion, np.array([0.9, 0.7, 0.5], dtype=np.float32))


def test_top_k_repeats_the_best_where_there_are_fewer():
    x, criterion = propose("top_k", line([5, 9, 7]), 8)
    assert x[:, 0].tolist() == criterion.tolist() == [9, 9, 9, 7, 7, 7, 5, 5]


def test_top_k_on_a_task():
    task = mbo_gym.make_task("TFBind8-Exact-v0")
    x, criterion = propose("top_k", task.problem(), 256)
    assert len(np.unique(x, axis=0)) == 256
    np.testing.assert_array_equal(criterion, task.oracle()(x))
    order = np.sort(task.dataset.y)[::-1]
    left = len(task.dataset.y) - len(np.unique(task.dataset.x, axis=0))
    assert order[0] == criterion[0]
    assert order[255 + left] <= criterion[255] <= order[255]
    assert mbo_gym.evaluate(task, x).n_in_data == 256


def test_mean_design_of_numbers():
    x, _ = propose(
        "mean_design",
        problem([[0, 4], [1, 5], [5, 0]], [0, 1, 2], ContinuousSpace(np.zeros(2), np.full(2, 9))),
        3,
    )
    assert x.tolist() == [[2, 3]] * 3
    assert x.dtype == np.float32


def test_mean_design_of_letters_is_the_commonest_of_each_site():
    visible = [[0, 3, 2], [1, 3, 2], [1, 0, 1], [2, 3, 1]]  # site 2: a tie, the first letter wins
    x, _ = propose("mean_design", letters(visible, [0, 1, 2, 3]), 2)
    assert x.tolist() == [[1, 3, 1]] * 2
    assert x.dtype == np.int32


def test_random_is_uniform():
    x, criterion = propose("random", line([4, 5, 6]), 20_000)
    share, _ = np.histogram(x, bins=10, range=(0, 10))
    assert np.abs(share / 20_000 - 0.1).max() < 5 * (0.09 / 20_000) ** 0.5
    assert set(criterion) == {0}
    x, _ = propose("random", letters([[0, 1], [2, 3]], [0, 1]), 20_000)
    counts = np.bincount(x[:, 0] * 4 + x[:, 1], minlength=16)
    assert np.abs(counts / 20_000 - 1 / 16).max() < 5 * (1 / 16 / 20_000) ** 0.5


def test_infinite_sides_are_cut_at_the_visible_range():
    half_open = line([4, 5, 6], low=0.0, high=np.inf)
    cut = sampling_space(half_open)
    assert (cut.low.tolist(), cut.high.tolist()) == ([0], [6])
    x, _ = propose("random", half_open, 5000)
    assert 0 <= x.min() < 0.1
    assert 5.9 < x.max() <= 6
    assert sampling_space(line([4, 5, 6])).high.tolist() == [10]  # a bounded space stays whole


def test_noise_on_numbers_has_its_size_and_keeps_the_order():
    visible = line([-1.0, 1.0], low=-np.inf, high=np.inf)  # standard deviation 1
    x, criterion = propose(TopKNoise(NoiseConfig(noise=0.25)), visible, 20_000)
    np.testing.assert_array_equal(criterion, np.repeat([1.0, -1.0], 10_000))
    difference = x[:, 0] - criterion
    assert difference.mean() == pytest.approx(0, abs=5 * 0.25 / 20_000**0.5)
    assert difference.std() == pytest.approx(0.25, rel=0.03)


def test_noise_on_letters_redraws_that_share_of_the_sites():
    visible = letters([[1, 2, 0, 3]], [1.0])
    x, criterion = propose(TopKNoise(NoiseConfig(noise=0.4)), visible, 20_000)
    changed = (x != [1, 2, 0, 3]).mean()  # a redrawn site keeps its letter one time in four
    assert changed == pytest.approx(0.4 * 0.75, abs=5 * (0.21 / 80_000) ** 0.5)
    assert set(criterion) == {1.0}
    new = x[:, 0][x[:, 0] != 1]
    assert np.abs(np.bincount(new, minlength=4)[[0, 2, 3]] / len(new) - 1 / 3).max() < 0.03


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_no_noise_changes_nothing_and_full_noise_everything(noise):
    visible = letters([[1, 2, 0, 3], [0, 0, 0, 0]], [1.0, 0.0])
    x, _ = propose(TopKNoise(NoiseConfig(noise=noise)), visible, 2000)
    kept = (x[:1000] == [1, 2, 0, 3]).mean()
    assert kept == pytest.approx(1.0 if noise == 0 else 0.25, abs=0.05 * noise)
    if noise == 0:
        assert np.array_equal(x, propose("top_k", visible, 2000)[0])


@pytest.mark.parametrize("task_id", ["Branin-Exact-v0", "TFBind8-Exact-v0"])
def test_random_filtered_picks_the_highest_predictions(task_id):
    visible = mbo_gym.make_task(task_id, max_rows=1000).problem()
    method = RandomFiltered(RandomFilteredConfig(n_candidates=500, surrogate=SURROGATE))
    x, criterion = propose(method, visible, 50, seed=4)
    encoder = make_encoder(visible)
    candidates = visible.space.sample(500, np.random.default_rng(4))  # its own draw
    prediction = method.fitted.surrogate.predict(
        torch.from_numpy(encoder.encode(candidates))
    ).numpy()
    best = np.sort(prediction)[::-1][:50]
    np.testing.assert_allclose(criterion, best, rtol=1e-5, atol=1e-6)
    again = method.fitted.surrogate.predict(torch.from_numpy(encoder.encode(x))).numpy()
    np.testing.assert_allclose(again, best, rtol=1e-3, atol=1e-3)


def test_random_filtered_by_a_known_surrogate():
    visible = line([4.0, 6.0])  # mean 5, standard deviation 1: features 1 are at 6
    x, criterion = propose(
        RandomFiltered(RandomFilteredConfig(n_candidates=2000, surrogate=Choice(DISTANCE))),
        visible,
        5,
    )
    candidates = visible.space.sample(2000, np.random.default_rng(0))[:, 0]
    nearest = candidates[np.argsort(np.abs(candidates - 6), kind="stable")[:5]]
    np.testing.assert_allclose(x[:, 0], nearest, atol=1e-5)
    np.testing.assert_allclose(criterion, -((nearest - 6) ** 2), atol=1e-5)


def test_more_proposals_than_candidates_make_more_candidates():
    x, criterion = propose(
        RandomFiltered(RandomFilteredConfig(n_candidates=3, surrogate=Choice(DISTANCE))),
        line([4, 6]),
        10,
    )
    assert (len(x), len(criterion)) == (10, 10)
    assert len(np.unique(x)) == 10


def test_best_first_orders_and_keeps_ties_in_place():
    z = torch.tensor([[3.0, 1.0], [1.0, 1.0], [1.0, 3.0], [1.0, 2.0]])
    best, prediction = best_first(MinusDistance(), z, 3)
    assert best.tolist() == [[1, 1], [1, 2], [3, 1]]
    assert prediction.tolist() == [0, -1, -4]


def proposed(method, problem: OfflineProblem, k: int, seed: int = 0):
    return propose(method, problem, k, seed)[0]


def test_random_unseen_draws_distinct_designs_that_are_not_visible():
    x = np.array([[a, b, c] for a in range(4) for b in range(4) for c in range(3)])
    proposals = proposed("random_unseen", letters(x, np.arange(len(x))), 16)
    assert {tuple(row) for row in proposals} == {(a, b, 3) for a in range(4) for b in range(4)}
    again = proposed("random_unseen", letters(x, np.arange(len(x))), 20)  # more than there are
    assert {tuple(row) for row in again} == {tuple(row) for row in proposals}
    seeds = [proposed("random_unseen", line([1, 2]), 5, seed) for seed in (0, 0, 1)]
    assert (seeds[0] == seeds[1]).all()
    assert (seeds[0] != seeds[2]).any()
    whole = np.array([[a] for a in range(4)])
    with pytest.raises(InvalidData, match="has none left"):
        proposed("random_unseen", letters(whole, np.arange(4)), 2)


def box(score, n: int = 400, d: int = 3) -> OfflineProblem:
    x = np.random.default_rng(0).uniform(-1, 1, (n, d)).astype(np.float32)
    return problem(x, score(x), ContinuousSpace(np.full(d, -2.0), np.full(d, 2.0)))


def test_linear_corner_goes_to_the_corner_of_the_data():
    slopes = np.array([1.0, -2.0, 0.5])
    made = box(lambda x: x @ slopes - (x**2).sum(axis=1))
    x = made.dataset.x
    corner = np.where(slopes > 0, x.max(axis=0), x.min(axis=0))  # not of the space
    np.testing.assert_allclose(proposed("linear_corner", made, 4)[0], corner, atol=1e-3)


def test_trend_goes_to_the_centre_of_a_bowl():
    centre = np.array([0.3, -0.5, 0.1])
    made = box(lambda x: -((x - centre) ** 2).sum(axis=1))
    np.testing.assert_allclose(proposed("trend", made, 4)[0], centre, atol=0.05)
    narrow = box(lambda x: -((x - centre) ** 2 @ np.array([9.0, 1.0, 0.2])))
    assert np.abs(proposed("trend", narrow, 4)[0] - centre).max() > 0.1  # it knows one width


def test_pair_ridge_sees_pairs_of_letters_and_of_features():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (150, 4))
    x = x[~((x[:, 0] == 1) & (x[:, 2] == 2) & (x[:, 3] == 0))]
    score = (x[:, 0] == 1) * (x[:, 2] == 2) + 0.5 * (x[:, 3] == 0)
    best = proposed("pair_ridge", letters(x, score), 4)
    assert {tuple(row[[0, 2, 3]]) for row in best} == {(1, 2, 0)}
    made = box(lambda x: x[:, 0] * x[:, 1] + 0.1 * x[:, 0])
    x = made.dataset.x
    np.testing.assert_allclose(proposed("pair_ridge", made, 4)[0, :2], x.max(axis=0)[:2], atol=0.01)


def test_kernel_crossover_stays_near_the_data():
    made = box(lambda x: x.sum(axis=1))
    proposals = proposed("kernel_crossover", made, 20)
    x = made.dataset.x
    assert proposals.sum(axis=1).min() > x.sum(axis=1).max() - 0.3
    assert (proposals <= x.max(axis=0)).all()
    assert len(np.unique(proposals, axis=0)) == 20
