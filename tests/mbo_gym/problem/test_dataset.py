"""The offline data: frozen, cut by hand-computed percentiles, hashed by content."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import OfflineDataset, ScoreScale, first_of_each_design


def data(y, x=None) -> OfflineDataset:
    y = np.asarray(y, dtype=np.float32)
    return OfflineDataset(
        np.arange(len(y), dtype=np.float32)[:, None] if x is None else np.asarray(x), y
    )


def test_arrays_are_frozen_copies_of_fixed_types():
    x, y = np.zeros((3, 2), dtype=np.uint8), np.arange(3.0)
    dataset = OfflineDataset(x, y)
    assert (dataset.x.dtype, dataset.y.dtype, len(dataset)) == (np.int32, np.float32, 3)
    for array in (dataset.x, dataset.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    y[0] = 99
    assert dataset.y[0] == 0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 1)), np.zeros(3), "as many scores"),
        (np.zeros((0, 1)), np.zeros(0), "at least one"),
        (np.zeros((2, 1)), np.zeros((2, 1)), "as many scores"),
        (np.zeros((3, 1)), np.array([0, np.nan, np.inf]), "row 1"),
    ],
)
def test_unusable_arrays_are_refused(x, y, message):
    with pytest.raises(InvalidData, match=message):
        OfflineDataset(x, y)


def test_score_scale_by_hand():
    scale = data([1, 2, 3, 4]).score_scale  # variance ((1.5)^2 + (.5)^2) 2 / 4 = 1.25
    assert scale == ScoreScale(2.5, 1.25**0.5)
    np.testing.assert_allclose(
        scale.standardise(np.array([2.5, 5.0])), [0.0, 2.5 / 1.25**0.5], rtol=1e-6
    )
    np.testing.assert_allclose(
        scale.restore(scale.standardise(np.array([1.0, 4.0]))), [1.0, 4.0], rtol=1e-6
    )
    assert data([7, 7]).score_scale == ScoreScale(7.0, 1.0)


def test_top_counts_a_design_once_and_breaks_ties_by_file_order():
    x = [[5], [6], [5], [7], [8]]
    dataset = data([3, 9, 9, 1, 9], x)
    assert dataset.top_rows(3).tolist() == [1, 2, 4]
    assert dataset.top_rows(4).tolist() == [1, 2, 4, 3]  # row 0 is design 5 again
    assert dataset.top_rows(5).tolist() == [1, 2, 4, 3]
    assert dataset.top_rows(5, distinct=False).tolist() == [1, 2, 4, 0, 3]
    assert dataset.top(2).x.ravel().tolist() == [6, 5]


def test_top_looks_past_many_copies_of_the_best_design():
    x = np.zeros((5000, 1), dtype=np.int32)
    x[-3:, 0] = [1, 2, 3]
    assert data(np.arange(5000)[::-1], x).top_rows(3).tolist() == [0, 4997, 4998]


def test_percentile_split_by_hand():
    dataset = data([4, 1, 3, 0, 2])  # the median is 2, the 20th percentile 0.8, the 30th 1.2
    assert dataset.below_percentile(50).y.tolist() == [1, 0, 2]
    assert dataset.below_percentile(50, min_p=20).y.tolist() == [1, 2]
    assert dataset.below_percentile(50, min_p=30).y.tolist() == [2]
    assert dataset.below_percentile(100).y.tolist() == [4, 1, 3, 0, 2]
    assert data([1, 1, 1, 5]).below_percentile(50).y.tolist() == [1, 1, 1]


def test_every_nth_by_score_takes_the_floor_as_stride():
    dataset = data([6, 5, 4, 3, 2, 1, 0])
    assert dataset.every_nth_by_score(3).y.tolist() == [
        0,
        2,
        4,
    ]  # stride 7 // 3 = 2, at most 3 rows
    assert dataset.every_nth_by_score(4).y.tolist() == [0, 1, 2, 3]
    assert dataset.every_nth_by_score(7) is dataset
    with pytest.raises(ValueError, match="at least 1"):
        dataset.every_nth_by_score(0)


def test_every_nth_by_score_keeps_file_order_among_equal_scores():
    assert data([1, 0, 1, 0]).every_nth_by_score(3).x.ravel().tolist() == [1, 3, 0]


def test_subsample_keeps_file_order_and_never_repeats_a_row():
    kept = data(np.arange(1000)).subsample(0.2557, np.random.default_rng(3)).y
    assert len(kept) == 255
    assert (np.diff(kept) > 0).all()
    assert len(data([1, 2]).subsample(0.01, np.random.default_rng(0))) == 1
    for bad in (0.0, 1.5, -1):
        with pytest.raises(ValueError, match="fraction"):
            data([1, 2]).subsample(bad, np.random.default_rng(0))


def test_noise_is_added_to_scores_only():
    dataset = data(np.full(20_000, 5.0))
    noisy = dataset.with_noise(0.3, np.random.default_rng(0))
    assert np.array_equal(noisy.x, dataset.x)
    assert abs(noisy.y.mean() - 5) < 0.01
    assert abs(noisy.y.std() / 0.3 - 1) < 0.02
    with pytest.raises(ValueError, match="negative"):
        dataset.with_noise(-0.1, np.random.default_rng(0))


def test_the_hash_follows_content_not_identity():
    x = np.array([[1, 2], [3, 4]])
    one = OfflineDataset(x, np.array([0.0, 1.0]))
    assert one.content_hash() == OfflineDataset(x.copy(), np.array([0.0, 1.0])).content_hash()
    others = [
        OfflineDataset(x[::-1], np.array([0.0, 1.0])),
        OfflineDataset(x, np.array([0.0, 1.5])),
        OfflineDataset(x.astype(np.float32), np.array([0.0, 1.0])),
        OfflineDataset(x.reshape(2, 2, 1), np.array([0.0, 1.0])),
    ]
    assert len({one.content_hash(), *(o.content_hash() for o in others)}) == 5


def test_minus_zero_is_the_same_design():
    assert first_of_each_design(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]])).tolist() == [0, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_first_of_each_design_agrees_with_a_dictionary(rows):
    first: dict[tuple[int, int], int] = {}
    for i, row in enumerate(rows):
        first.setdefault(row, i)
    assert first_of_each_design(np.array(rows)).tolist() == sorted(first.values())
