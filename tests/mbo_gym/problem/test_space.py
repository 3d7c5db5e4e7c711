"""Design spaces: what they contain, what they say about what they do not, and their text forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo_gym.errors import InvalidDesign
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, readonly

BOX = ContinuousSpace(np.array([0.0, -1.0]), np.array([2.0, np.inf]), ("width", "angle"))
DNA = CategoricalSpace(3, 4, ("A", "C", "G", "T"))


def test_continuous_contains_its_bounds_and_nothing_beyond():
    rows = np.array(
        [[0, -1], [2, 1e30], [2.001, 0], [-0.001, 0], [1, np.nan], [1, np.inf], [1, -1.5]]
    )
    assert BOX.contains(rows).tolist() == [True, True, False, False, False, False, False]


def test_continuous_says_which_feature_is_outside():
    assert BOX.why_not(np.array([1.0, -3.0])) == "angle=-3.0 is outside [-1.0, inf]"


def test_continuous_clip_moves_to_the_nearest_allowed_number():
    assert BOX.clip(np.array([[-5.0, -5.0], [7.0, 3.0]])).tolist() == [[0.0, -1.0], [2.0, 3.0]]


def test_an_unbounded_space_samples_only_after_narrowing():
    rng = np.random.default_rng(0)
    assert not BOX.bounded
    with pytest.raises(ValueError, match="within"):
        BOX.sample(3, rng)
    narrow = BOX.within(np.array([-9.0, 0.0]), np.array([1.0, 5.0]))
    assert narrow.low.tolist() == [0.0, 0.0]
    assert narrow.high.tolist() == [1.0, 5.0]
    assert narrow.names == BOX.names
    x = narrow.sample(20_000, rng)
    assert x.dtype == np.float32
    assert narrow.contains(x).all()
    np.testing.assert_allclose(x.mean(axis=0), [0.5, 2.5], atol=0.05)


@pytest.mark.parametrize(
    ("low", "high", "names", "message"),
    [
        ([0, 1], [1, 0], (), r"low\[1\]=1.0 > 0.0"),
        ([0, 1], [1], (), "equally long"),
        ([[0]], [[1]], (), "equally long"),
        ([], [], (), "equally long"),
        ([0, 0], [1, 1], ("a",), "2 features need as many names, got 1"),
        ([np.nan], [1], (), "must not exceed"),
    ],
)
def test_continuous_refuses_bounds_that_make_no_box(low, high, names, message):
    with pytest.raises(ValueError, match=message):
        ContinuousSpace(np.array(low, dtype=float), np.array(high, dtype=float), names)


def test_features_get_names_where_none_are_given():
    assert ContinuousSpace(np.zeros(3), np.ones(3)).names == ("x0", "x1", "x2")


def test_categorical_contains_whole_numbers_below_the_alphabet():
    assert DNA.contains(np.array([[0, 1, 3], [0, 1, 4], [-1, 0, 0]])).tolist() == [
        True,
        False,
        False,
    ]
    floats = np.array([[0.0, 1.0, 3.0], [0.5, 1.0, 1.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0]])
    assert DNA.contains(floats).tolist() == [True, False, False, False]
    assert DNA.contains(np.array([[255, 0, 0]], dtype=np.uint8)).tolist() == [False]


def test_categorical_says_which_site_is_wrong():
    assert (
        DNA.why_not(np.array([0, 7, 1])) == "site 1 holds 7, allowed are the whole numbers 0 .. 3"
    )


@pytest.mark.parametrize("bad", [np.zeros((2, 4)), np.zeros(3), np.zeros((1, 3, 1))])
def test_a_wrong_shape_is_named(bad):
    with pytest.raises(InvalidDesign, match=r"shape \(N, 3\)"):
        DNA.contains(bad)


@pytest.mark.parametrize(
    "bad",
    [np.array([["A", "C", "G"]]), np.zeros((1, 3), dtype=complex), np.zeros((1, 3), dtype=bool)],
)
def test_what_is_not_a_number_is_refused(bad):
    with pytest.raises(InvalidDesign, match="numbers"):
        DNA.contains(bad)


def test_sequences_are_read_and_written():
    x = DNA.parse(["ACG", "TTA"])
    assert x.tolist() == [[0, 1, 2], [3, 3, 0]]
    assert x.dtype == np.int32
    assert DNA.format(x) == [["ACG"], ["TTA"]]
    assert DNA.parse([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [("AC", "row 1: 'AC' has 2 letters"), ("ACX", r"row 1: 'ACX' holds \['X'\]")],
)
def test_a_wrong_sequence_is_named(text, message):
    with pytest.raises(InvalidDesign, match=message):
        DNA.parse(["AAA", text])


def test_letters_of_several_characters_are_spaced():
    assert CategoricalSpace(2, 2, ("ala", "gly")).format(np.array([[1, 0]])) == [["gly ala"]]


@pytest.mark.parametrize(
    ("length", "n", "letters"),
    [(0, 4, ()), (3, 1, ()), (3, 4, ("A", "C", "G")), (3, 2, ("A", "A"))],
)
def test_categorical_refuses_what_is_no_alphabet(length, n, letters):
    with pytest.raises(ValueError, match="need"):
        CategoricalSpace(length, n, letters)


@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_categorical_samples_lie_inside_and_read_back(length, n, seed):
    space = CategoricalSpace(length, n)
    x = space.sample(5, np.random.default_rng(seed))
    assert space.contains(x).all()
    assert np.array_equal(space.parse([row[0] for row in space.format(x)]), x)
    assert all(space.to_gymnasium().contains(row.astype(np.int64)) for row in x)


@given(
    st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(0, 1e30)), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_continuous_samples_lie_inside_whatever_the_bounds(pairs, seed):
    low = np.array([a for a, _ in pairs], dtype=np.float32)
    space = ContinuousSpace(
        low, np.maximum(low, np.array([a + w for a, w in pairs], dtype=np.float32))
    )
    x = space.sample(5, np.random.default_rng(seed))
    assert space.contains(x).all()
    assert all(space.to_gymnasium().contains(row) for row in x)


def test_readonly_copies_what_its_owner_could_still_change():
    mine = np.arange(3.0)
    frozen = readonly(mine, np.float64)
    mine[0] = 9
    assert frozen.tolist() == [0.0, 1.0, 2.0]
    assert readonly(frozen, np.float64) is frozen


def test_designs_outside_the_space_are_written_as_they_are():
    space = CategoricalSpace(3, 4, letters=("A", "C", "G", "T"))
    assert space.format(np.array([[0, 1, 3], [0, 4, -1]])) == [["ACT"], ["A 4 -1"]]
    assert space.format(np.array([[0, 1.5, np.nan]])) == [["A 1.5 nan"]]
