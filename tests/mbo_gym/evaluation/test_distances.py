"""Diversity and novelty, by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from mbo_gym.encoders.scaling import ZScore
from mbo_gym.errors import InvalidDesign
from mbo_gym.evaluation import distances
from mbo_gym.evaluation.distances import diversity, nearest_distances, novelty
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace

LETTERS = CategoricalSpace(4, 3)
PLANE = ContinuousSpace(np.full(2, -100.0), np.full(2, 100.0))


def visible(x) -> OfflineDataset:
    x = np.asarray(x, dtype=np.float32 if np.asarray(x).dtype.kind == "f" else np.int32)
    return OfflineDataset(x, np.zeros(len(x)))


FOUR = visible([[0, 0, 0, 0], [1, 1, 1, 1]])
LINE = visible(
    [[1.0, 5.0], [3.0, 5.0]]
)  # mean 2 and standard deviation 1; the second feature never varies


def test_hamming_by_hand():
    x = np.array([[0, 0, 0, 1], [1, 1, 2, 2], [0, 0, 0, 0]])
    np.testing.assert_array_equal(nearest_distances(LETTERS, FOUR, x), [0.25, 0.5, 0.0])
    assert novelty(LETTERS, FOUR, x) == 0.25
    assert diversity(LETTERS, FOUR, x) == pytest.approx((1 + 0.25 + 1) / 3)


def test_z_scores_by_hand():
    x = np.array(
        [[3.0, 5.0], [6.0, 9.0]]
    )  # the second is 3 standard deviations and 4 units from the nearest
    np.testing.assert_allclose(nearest_distances(PLANE, LINE, x), [0, 5 / math.sqrt(2)], rtol=1e-15)
    assert novelty(PLANE, LINE, x) == pytest.approx(2.5 / math.sqrt(2))
    assert diversity(PLANE, LINE, x) == pytest.approx(5 / math.sqrt(2))


def test_one_proposal_has_no_diversity_and_none_have_nothing():
    for space, data in ((LETTERS, FOUR), (PLANE, LINE)):
        assert diversity(space, data, data.x[:1]) == 0.0
        assert math.isnan(diversity(space, data, data.x[:0]))
        assert math.isnan(novelty(space, data, data.x[:0]))
        assert nearest_distances(space, data, data.x[:0]).shape == (0,)


def test_equal_proposals_are_pairs_at_distance_zero():
    for space, data in ((LETTERS, FOUR), (PLANE, LINE)):
        assert diversity(space, data, data.x[[0, 0, 0]]) == 0.0
        assert diversity(space, data, data.x[[0, 0, 1]]) == pytest.approx(
            diversity(space, data, data.x) * 2 / 3
        )


@pytest.mark.parametrize("block", [1, 700, 1 << 19])
@pytest.mark.parametrize("n_letters", [2, 5])
def test_hamming_agrees_with_scipy(block, n_letters, monkeypatch):
    monkeypatch.setattr(distances, "N_BLOCK_NUMBERS", block)
    monkeypatch.setattr(distances, "N_TOGETHER", 7)
    rng = np.random.default_rng(0)
    space = CategoricalSpace(6, n_letters)
    data, x = visible(space.sample(300, rng)), space.sample(20, rng)
    expected = cdist(x, data.x, "hamming").min(axis=1)
    np.testing.assert_allclose(nearest_distances(space, data, x), expected, rtol=1e-15)
    assert diversity(space, data, x) == pytest.approx(pdist(x, "hamming").mean())


@pytest.mark.parametrize("block", [1, 700, 1 << 19])
def test_euclid_agrees_with_scipy_on_the_encoders_z_scores(block, monkeypatch):
    monkeypatch.setattr(distances, "N_BLOCK_NUMBERS", block)
    monkeypatch.setattr(distances, "N_TOGETHER", 7)
    rng = np.random.default_rng(0)
    scale = np.array([1e-3, 1.0, 50.0, 0.0, 1e4])
    space = ContinuousSpace(np.full(5, -np.inf), np.full(5, np.inf))
    data = visible((rng.normal(size=(300, 5)) * scale + 7).astype(np.float32))
    x = (rng.normal(size=(20, 5)) * (scale + 0.1) + 7).astype(np.float32)
    encoder = ZScore(space, data.x)
    z, seen = encoder.encode(x).astype(float), encoder.encode(data.x).astype(float)
    expected = cdist(z, seen).min(axis=1) / math.sqrt(5)
    np.testing.assert_allclose(nearest_distances(space, data, x), expected, rtol=1e-5)
    assert diversity(space, data, x) == pytest.approx(pdist(z).mean() / math.sqrt(5), rel=1e-5)


def test_a_copy_of_a_visible_design_is_at_distance_zero_far_from_the_mean_too():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 8)).astype(np.float32)
    x[:5] *= 1e6
    space = ContinuousSpace(np.full(8, -np.inf), np.full(8, np.inf))
    np.testing.assert_array_equal(nearest_distances(space, visible(x), x[::50]), np.zeros(20))


@pytest.mark.parametrize(("space", "data"), [(LETTERS, FOUR), (PLANE, LINE)])
@pytest.mark.parametrize("measure", [diversity, novelty, nearest_distances])
def test_designs_outside_the_space_are_refused(space, data, measure):
    x = data.x.copy()
    x[1, 1] = 101
    with pytest.raises(InvalidDesign, match=r"row 1: .*101.* Leave such rows out"):
        measure(space, data, x)
    with pytest.raises(InvalidDesign, match="designs must have shape"):
        measure(space, data, x[:, :1])
