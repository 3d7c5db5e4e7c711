"""Parameters: nearest values, samples, texts, and what they refuse."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo_gym.errors import InvalidDesign, UnknownId
from mbo_gym.problem.dates import Date
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
from mbo_gym.problem.plain import parameter_from_dict, parameter_to_dict

EVERY = (
    Real("pressure", 0.1, 0.7),
    Real("temperature", 20, 97, step=5, unit="°C"),
    Real("share", 0, 1, step=0.01),
    Real("dose", 1e-4, 1e-1, log=True),
    Integer("passes", -3, 4),
    Category("solvent", ("DMF", "water", "1")),
    Category("flag", ("False", "True")),
    Levels("mesh", (2, 4, 8.5, 16)),
    Levels("grade", ("low", "medium", "high")),
    Letters("site", "ACGT", 3),
    Letters("peptide", "ACDE", 5, shortest=2),
    Letters("kept", "ACDE", 4, shortest=2, fixed={0: "C"}, gap="."),
    Constant("batch", "B7"),
    Constant("volume", 2.5),
    Date("sowing", step=7, first="2024-02-27", last="2024-07-01"),
    Date("start", step=1 / 24, first="2024-02-28 22:00", last="2024-03-02"),
)
each = pytest.mark.parametrize("parameter", EVERY, ids=lambda p: p.name)


@each
def test_samples_are_values_and_read_back_from_every_form(parameter):
    x = parameter.sample(300, np.random.default_rng(0)).astype(np.float32)
    assert x.shape == (300, parameter.size)
    assert parameter.contains(x).all()
    for cells in (parameter.cells(x), parameter.text(x)):
        again = np.array([parameter.number(cell) for cell in cells], dtype=np.float32)
        np.testing.assert_array_equal(again, x)


@each
def test_a_dictionary_of_plain_values_reads_back(parameter):
    facts = json.loads(json.dumps(parameter_to_dict(parameter)))
    assert parameter_from_dict(facts) == parameter


@each
def test_the_nearest_value_is_allowed_and_stays(parameter):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, parameter.size)) * 10
    x[:3] = [[np.inf], [-np.inf], [1e30]]
    y = parameter.nearest(x)
    assert parameter.contains(y.astype(np.float32)).all()
    np.testing.assert_allclose(parameter.nearest(y), y, rtol=1e-12)
    assert not parameter.contains(np.full((1, parameter.size), np.nan, dtype=np.float32)).any()


@each
def test_no_value_is_nearer_than_the_nearest(parameter):
    if math.isinf(parameter.n_values) or parameter.size > 1:
        pytest.skip("values cannot be listed")
    every = parameter.nearest(np.linspace(parameter.low, parameter.high, 5000)[:, None])
    every = np.unique(every)
    assert len(every) == parameter.n_values
    x = np.random.default_rng(2).uniform(parameter.low - 1, parameter.high + 1, size=(300, 1))
    off = np.abs(x - parameter.nearest(x))[:, 0]
    np.testing.assert_allclose(off, np.abs(x - every).min(axis=1), atol=1e-9)


@each
def test_all_values_are_sampled_equally_often(parameter):
    if math.isinf(parameter.n_values) or parameter.size > 1:
        pytest.skip("values cannot be counted")
    n = 4000
    x = parameter.sample(n, np.random.default_rng(3))
    counts = np.unique(x.astype(np.float32), return_counts=True)[1]
    assert len(counts) == parameter.n_values
    expected = n / len(counts)
    # chi squared has mean m - 1 and variance 2 (m - 1)
    chi = ((counts - expected) ** 2 / expected).sum()
    assert chi < len(counts) - 1 + 5 * math.sqrt(2 * len(counts))


def test_a_log_scaled_number_is_sampled_by_its_logarithm():
    x = Real("dose", 1e-4, 1e-1, log=True).sample(4000, np.random.default_rng(0))
    shares = np.histogram(np.log10(x), bins=[-4, -3, -2, -1])[0] / 4000
    np.testing.assert_allclose(shares, 1 / 3, atol=5 * math.sqrt(2 / 9 / 4000))


def test_a_sequence_has_any_of_its_lengths_and_no_gap_inside():
    peptide = Letters("peptide", "ACDE", 5, shortest=2)
    x = peptide.sample(2000, np.random.default_rng(0))
    texts = peptide.cells(x)
    assert {len(text) for text in texts} == {2, 3, 4, 5}
    assert peptide.nearest(np.array([[4, 1, 4, 2, 4]])).tolist() == [[1, 2, 4, 4, 4]]
    assert peptide.nearest(np.array([[4, 4, 4, 4, 4]])).tolist() == [[0, 0, 4, 4, 4]]
    assert not peptide.contains(np.array([[1, 4, 2, 4, 4]], dtype=np.float32))[0]
    assert peptide.number("AC---") == peptide.number("AC")
    assert peptide.n_values == 4**2 + 4**3 + 4**4 + 4**5


def test_fixed_letters_never_change():
    kept = Letters("kept", "ACDE", 3, fixed={1: "D"})
    assert {text[1] for text in kept.cells(kept.sample(50, np.random.default_rng(0)))} == {"D"}
    assert kept.n_values == 16
    with pytest.raises(InvalidDesign, match="1 of them fixed"):
        kept.number("AAA")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.integers(1, 2000))
def test_steps_are_counted_from_the_lowest_value(low, step, n):
    parameter = Real("x", low, low + n * step, step=step)
    assert parameter.n_values == n + 1
    assert parameter.nearest(np.array([[parameter.high]])).item() <= parameter.high + 1e-9 * abs(
        parameter.high
    )


def test_steps_without_bounds_are_counted_from_0():
    free = Real("x", step=0.1)
    assert free.n_values == math.inf
    assert free.nearest(np.array([[0.26], [-7.34]])).ravel() == pytest.approx([0.3, -7.3])
    below = Real("x", high=0.95, step=0.1)
    assert below.nearest(np.array([[0.95], [3.0]])).ravel() == pytest.approx([0.9, 0.9])
    assert below.contains(below.nearest(np.array([[3.0]])).astype(np.float32))[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_bounds_are_inside_in_any_float_type(dtype):
    parameter = Real("x", float(np.float16(0.1)), float(np.float16(0.7)))
    ends = np.array([[parameter.low], [parameter.high]], dtype=dtype)
    assert parameter.contains(ends.astype(np.float32)).all()
    tight = Real("x", 0.1, 0.7)
    assert tight.contains(np.array([[0.1], [0.7]]).astype(np.float32)).all()
    assert tight.number("0.1") == [0.1]


@pytest.mark.parametrize(
    ("parameter", "cell", "words"),
    [
        (EVERY[0], 0.75, "pressure=0.75 is not allowed; allowed are the numbers from 0.1 to 0.7"),
        (EVERY[1], 22, "the numbers from 20 to 97 in steps of 5"),
        (EVERY[1], 97, "temperature=97"),
        (EVERY[3], "nan", "the numbers from 0.0001 to 0.1"),
        (EVERY[4], 2.5, "the whole numbers from -3 to 4"),
        (EVERY[4], None, "passes=None"),
        (EVERY[5], "milk", "solvent='milk' is not allowed; allowed are DMF, water, 1"),
        (EVERY[7], 9, "allowed are 2, 4, 8.5, 16"),
        (EVERY[8], 1, "allowed are low, medium, high"),
        (EVERY[9], "ACGN", "sequences of 3 letters out of ACGT"),
        (EVERY[10], "A", "sequences of 2 to 5 letters out of ACDE"),
        (EVERY[12], "B8", "allowed are only 'B7'"),
        (EVERY[13], 2.6, "allowed are only 2.5"),
    ],
)
def test_other_values_are_refused_with_the_allowed_ones(parameter, cell, words):
    with pytest.raises(InvalidDesign, match=re.escape(words)):
        parameter.number(cell)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Real("x", 2, 1), "low must not exceed high, got 2 and 1"),
        (lambda: Real("x", math.nan, 1), "low must not exceed high"),
        (lambda: Real("x", 0, 1, step=0), "step must be above 0, got 0"),
        (lambda: Real("x", 0, 1, log=True), "log needs a lowest value above 0, got 0"),
        (lambda: Integer("x", 0, 1.5), "a bound is a whole number within +-2^24, got 1.5"),
        (lambda: Integer("x", 0, 1 << 25), "a bound is a whole number"),
        (lambda: Category("x", ()), "at least one value and none twice"),
        (lambda: Category("x", ("a", "a")), "none twice, got a, a"),
        (lambda: Levels("x", (2, 1)), "numbers must increase, got (2, 1)"),
        (lambda: Levels("x", (1, math.inf)), "numbers must be finite"),
        (lambda: Levels("x", (1, 1 + 1e-9)), "two numbers are the same as float32"),
        (lambda: Letters("x", ("AB", "C"), 3), "one character each, got AB, C"),
        (lambda: Letters("x", "AC", 3, shortest=4), "needs 1 <= shortest <= length"),
        (lambda: Letters("x", "A-", 3, shortest=2), "the gap '-' is also a letter"),
        (lambda: Letters("x", "AC", 3, fixed={3: "A"}), "needs a place from 0 to 2"),
        (lambda: Letters("x", "AC", 3, fixed={0: "G"}), "one of the letters AC"),
        (lambda: parameter_from_dict({"kind": "real", "name": "x", "hihg": 2}), "hihg"),
        (lambda: parameter_from_dict({"kind": "integer", "name": "x", "low": 1}), "needs 'high'"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(make, words):
    with pytest.raises((ValueError, UnknownId), match=re.escape(words)):
        make()


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UnknownId, match=r"There is no kind of parameter 'reel'\. Did you mean"):
        parameter_from_dict({"kind": "reel", "name": "x"})


def test_words_keep_a_decimal_that_looks_like_a_number():
    levels = Levels("version", ("v1.0", "v2.0"))
    assert levels.text(np.array([[1.0]])) == ["v2.0"]
    assert Constant("lot", "7.0.0").text(np.zeros((1, 1))) == ["7.0.0"]
    assert Levels("dose", (1.0, 2.5)).text(np.array([[1.0]])) == ["1"]
