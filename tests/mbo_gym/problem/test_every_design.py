"""All designs of a finite space."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.problem.constraints import AllowedDesigns, FixedSum, Forbidden
from mbo_gym.problem.dates import Date
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace

SPACES = {
    "sequences": (CategoricalSpace(3, 4), 64),
    "kinds": (
        MixedSpace(
            (
                Real("heat", 20, 50, step=10),
                Integer("n", -1, 1),
                Category("metal", ("Pd", "Ni")),
                Levels("order", (2, 4, 8)),
                Constant("lot", 0.5),
                Date("day", "2024-03-01", "2024-03-10", step=7),
            )
        ),
        4 * 3 * 2 * 3 * 2,
    ),
    "sum": (
        MixedSpace(
            tuple(Real(name, 0, 1, step=0.1) for name in "abc"), (FixedSum(tuple("abc"), 1.0),)
        ),
        66,
    ),
    "forbidden": (
        MixedSpace(
            (Category("a", ("x", "y")), Integer("n", 1, 3)), (Forbidden({"a": "x", "n": 2}),)
        ),
        5,
    ),
    "list": (
        MixedSpace(
            (Category("a", ("x", "y")), Integer("n", 1, 3)),
            (AllowedDesigns(({"a": "x", "n": 1}, {"a": "y", "n": 3})),),
        ),
        2,
    ),
    "lengths": (MixedSpace((Letters("dna", ("A", "C"), 3, shortest=2),)), 4 + 8),
    "a fixed place": (MixedSpace((Letters("dna", ("A", "C"), 3, fixed={1: "A"}),)), 4),
}


@pytest.mark.parametrize("case", SPACES)
def test_every_design_is_there_once(case):
    space, count = SPACES[case]
    x = space.every_design(2_000)
    assert x.dtype == space.dtype
    assert len(np.unique(x, axis=0)) == len(x) == count
    assert space.contains(x).all()
    sampled = space.sample(2_000, np.random.default_rng(0))
    assert len(np.unique(sampled, axis=0)) == count


def test_large_and_continuous_spaces_are_not_listed():
    assert CategoricalSpace(8, 4).every_design(65_535) is None
    assert ContinuousSpace([0.0], [1.0]).every_design(10**9) is None
    assert MixedSpace((Real("a", 0, 1), Integer("n", 0, 1))).every_design(10**9) is None
