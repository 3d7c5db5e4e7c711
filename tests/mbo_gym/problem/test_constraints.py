"""Constraints: what they allow, in words, as plain values, and what they refuse."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from mbo_gym.errors import InvalidDesign, UnknownId
from mbo_gym.problem.constraints import (
    AllowedDesigns,
    AtMostNonZero,
    FixedSum,
    Forbidden,
    LinearLimit,
    Slots,
)
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Integer, Real
from mbo_gym.problem.plain import constraint_from_dict, constraint_to_dict

PARAMETERS = (
    Real("a", 0, 1),
    Real("b", 0, 1),
    Integer("n", 0, 5),
    Category("s", ("u", "v", "w")),
    Letters("q", "AC", 2),
)
SLOTS = Slots({parameter.name: parameter for parameter in PARAMETERS})
EVERY = (
    FixedSum(("a", "b"), 1.0),
    FixedSum(("a", "b"), 1.0, tolerance=0.1),
    LinearLimit({"a": 1.0, "n": -2.0}, low=-1.0, high=0.5),
    LinearLimit({"a": 1.0}, high=0.5),
    AtMostNonZero(("a", "b", "n"), 2),
    Forbidden({"s": "u", "n": {"low": 3}}),
    Forbidden({"s": ["u", "v"], "a": {"low": 0.2, "high": 0.4}, "q": "AC"}),
    AllowedDesigns(({"a": 0.1, "b": 0.2, "n": 3, "s": "u", "q": "AC"},)),
)


def row(a=0.0, b=0.0, n=0, s="w", q="AA") -> np.ndarray:
    return MixedSpace(PARAMETERS).parse([{"a": a, "b": b, "n": n, "s": s, "q": q}])


@pytest.mark.parametrize(
    ("number", "design", "holds"),
    [
        (0, {"a": 0.3, "b": 0.7}, True),
        (0, {"a": 0.3, "b": 0.6999}, False),
        (0, {"a": 1 / 3, "b": 2 / 3}, True),  # but for float32
        (1, {"a": 0.3, "b": 0.61}, True),
        (1, {"a": 0.3, "b": 0.59}, False),
        (2, {"a": 0.5, "n": 0}, True),
        (2, {"a": 0.51, "n": 0}, False),
        (2, {"a": 1.0, "n": 1}, True),
        (2, {"a": 0.99, "n": 1}, False),
        (4, {"a": 0.5, "n": 2}, True),
        (4, {"a": 0.5, "b": 1e-6, "n": 2}, False),
        (5, {"s": "u", "n": 2}, True),
        (5, {"s": "u", "n": 3}, False),
        (5, {"s": "v", "n": 3}, True),
        (6, {"s": "v", "a": 0.2, "q": "AC"}, False),
        (6, {"s": "v", "a": 0.2, "q": "CA"}, True),
        (6, {"s": "v", "a": 0.41, "q": "AC"}, True),
        (7, {"a": 0.1, "b": 0.2, "n": 3, "s": "u", "q": "AC"}, True),
        (7, {"a": 0.1, "b": 0.2, "n": 3, "s": "u", "q": "AA"}, False),
    ],
)
def test_what_each_allows(number, design, holds):
    assert EVERY[number].holds(SLOTS, row(**design)).tolist() == [holds]


def test_in_words():
    assert [constraint.in_words() for constraint in EVERY] == [
        "a + b = 1",
        "a + b = 1",
        "-1 <= a + -2 n <= 0.5",
        "a <= 0.5",
        "at most 2 of a, b, n differ from 0",
        "not (s = 'u' and n >= 3)",
        "not (s in ['u', 'v'] and a >= 0.2 and a <= 0.4 and q = 'AC')",
        "one of 1 listed designs",
    ]


def test_slack_is_the_room_to_the_nearer_limit():
    assert EVERY[2].slack(SLOTS, row(a=0.2, n=0)) == pytest.approx([0.3])
    assert EVERY[2].slack(SLOTS, row(a=0.2, n=1)) == pytest.approx([-0.8])
    assert EVERY[0].slack(SLOTS, row()) is None
    space = MixedSpace(PARAMETERS, (EVERY[2], EVERY[3]))
    assert space.slack(np.concatenate([row(a=0.4), row(a=0.1)])) == pytest.approx([0.1, 0.4])
    assert MixedSpace(PARAMETERS).slack(row()) == [math.inf]


@pytest.mark.parametrize("constraint", EVERY, ids=lambda c: c.kind)
def test_a_dictionary_of_plain_values_reads_back(constraint):
    facts = json.loads(json.dumps(constraint_to_dict(constraint)))
    again = constraint_from_dict(facts)
    assert constraint_to_dict(again) == constraint_to_dict(constraint)
    x = MixedSpace(PARAMETERS).sample(200, np.random.default_rng(0))
    np.testing.assert_array_equal(again.holds(SLOTS, x), constraint.holds(SLOTS, x))


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (FixedSum(("a", "x"), 1), "There is no parameter in a constraint 'x'"),
        (FixedSum(("a", "s"), 1), "'s' holds no numbers, so it cannot stand in a sum"),
        (LinearLimit({"q": 1.0}, high=1), "'q' holds no numbers"),
        (Forbidden({"s": "milk"}), "s='milk' is not allowed; allowed are u, v, w"),
        (Forbidden({"n": {"above": 3}}), "a range is {'low': .., 'high': ..}"),
        (Forbidden({"s": {"low": 3}}), "'s' holds no numbers"),
        (Forbidden({"x": 3}), "There is no parameter in a constraint 'x'"),
        (AllowedDesigns(({"a": 0.1},)), "allowed design 0 needs a value of each of"),
        (FixedSum(("a", "b"), 3.0), "no design within the bounds satisfies the constraints a + b"),
    ],
)
def test_a_constraint_that_does_not_fit_is_refused(constraint, words):
    with pytest.raises((ValueError, UnknownId, InvalidDesign), match=re.escape(words)):
        MixedSpace(PARAMETERS, (constraint,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FixedSum(("a", "a"), 1), "at least two names and none twice"),
        (lambda: FixedSum(("a", "b"), math.inf), "a fixed sum needs a finite total"),
        (lambda: FixedSum(("a", "b"), 1, tolerance=-1), "a tolerance of at least 0"),
        (lambda: LinearLimit({"a": 1.0}), "needs low <= high and one of them finite"),
        (lambda: LinearLimit({}, high=1.0), "needs a finite weight of at least one name"),
        (lambda: AtMostNonZero(("a", "b"), 2), "most must lie in 0 .. 1 for 2 parameters, got 2"),
        (lambda: Forbidden({}), "names at least one parameter"),
        (lambda: AllowedDesigns(()), "needs at least one"),
        (lambda: constraint_from_dict({"kind": "som"}), "There is no kind of constraint 'som'"),
        (lambda: constraint_from_dict({"kind": "sum", "names": "ab"}), "needs 'total'"),
        (lambda: constraint_from_dict({"kind": "sum", "nmes": ["a"]}), "nmes"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused(make, words):
    with pytest.raises((ValueError, UnknownId), match=re.escape(words)):
        make()


def test_numbers_that_are_never_0_cannot_all_be_left_out():
    parameters = (Real("a", 0.1, 1), Real("b", 0.1, 1), Real("c", 0, 1))
    with pytest.raises(ValueError, match=r"\['a', 'b'\] are never 0"):
        MixedSpace(parameters, (AtMostNonZero(("a", "b", "c"), 1),))
    space = MixedSpace(parameters, (AtMostNonZero(("a", "b", "c"), 2),))
    assert (space.sample(50, np.random.default_rng(0))[:, 2] == 0).all()
