"""A sum that steps, bounds or a limit on non-zero numbers never reach is refused with the space."""

from __future__ import annotations

import math
import re
from itertools import product

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidData
from mbo_gym.problem.constraints import AtMostNonZero, FixedSum, LinearLimit, Slots
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Constant, Integer, Levels, Real
from mbo_gym.problem.reachable import require_reachable

ABC = ("a", "b", "c")


def thirds(step: float = 0.3, high: float = 1.0) -> tuple[Real, ...]:
    return tuple(Real(name, 0, high, step=step) for name in ABC)


@pytest.mark.parametrize(
    ("parameters", "constraints", "words"),
    [
        (thirds(), [FixedSum(ABC, 1.0)], "nearest sums that can be reached are 0.9 and 1.2"),
        (thirds(), [FixedSum(ABC, 1.0)], "set the total to 0.9 or 1.2"),
        (thirds(), [FixedSum(ABC, 1.0)], "give the sum a tolerance of 0.1"),
        (thirds(), [FixedSum(ABC, 1.0)], "a: the numbers from 0 to 1 in steps of 0.3"),
        (thirds(0.1, 0.3), [FixedSum(ABC, 1.0)], "the largest sum is 0.9"),
        (
            tuple(Real(name, 0.5, 1) for name in ABC),
            [FixedSum(ABC, 1.0)],
            "the smallest sum is 1.5",
        ),
        (
            tuple(Integer(name, 0, 4) for name in ABC),
            [FixedSum(ABC, 9), AtMostNonZero(ABC, 2)],
            r"c = 9 and at most 2 of .* the largest sum is 8\. .* or raise `most`",
        ),
        (
            tuple(Real(name, 0, 0.4) for name in ABC),
            [FixedSum(ABC, 1.0), AtMostNonZero(ABC, 2)],
            "the largest sum is 0.8",
        ),
        (
            (*thirds(0.5), Constant("d", 0.2)),
            [FixedSum((*ABC, "d"), 1.0)],
            "reached are 0.7 and 1.2",
        ),
        (
            (Levels("a", (0, 2, 4, 8)), Levels("b", (0, 10))),
            [FixedSum(("a", "b"), 9)],
            "reached are 8 and 10",
        ),
        (
            (Real("a", -math.inf, math.inf, step=0.5), Integer("b", 0, 3)),
            [FixedSum(("a", "b"), 0.75)],
            "reached are 0.5 and 1",
        ),
        (
            (Integer("a", 0, 3), Integer("b", 0, 3)),
            [LinearLimit({"a": 2, "b": -4}, low=1, high=1)],
            "reached are 0 and 2",
        ),
        (
            (Integer("a", 0, 3), Integer("b", 0, 3)),
            [LinearLimit({"a": 2, "b": 4}, low=2.5, high=3.5)],
            "reached are 2 and 4. Change a bound or a step, or widen the limit",
        ),
    ],
)
def test_refused_when_the_space_is_made(parameters, constraints, words):
    with pytest.raises(ValueError, match=words) as caught:
        MixedSpace(parameters, tuple(constraints))
    assert str(caught.value).startswith("no design within the bounds satisfies the constraints ")


@pytest.mark.parametrize(
    ("parameters", "constraints"),
    [
        (thirds(1 / 3), [FixedSum(ABC, 1.0)]),
        (thirds(0.333), [FixedSum(ABC, 1.0, tolerance=0.002)]),
        (thirds(float(np.float32(0.1))), [FixedSum(ABC, 1.0)]),
        ((*thirds(), Real("d", 0, 0.1)), [FixedSum((*ABC, "d"), 1.0)]),
        ((Real("a", 0, 1, step=0.3), Real("b", 0.1, 1)), [FixedSum(("a", "b"), 1.0)]),
        ((Real("a", 0, 100, step=1e-6), Real("b", 0, 100, step=7e-6)), [FixedSum(ABC[:2], 100)]),
        (thirds(0.25), [FixedSum(ABC, 1.0), AtMostNonZero(ABC, 1)]),
    ],
)
def test_what_can_be_reached_is_accepted_and_sampled(parameters, constraints):
    space = MixedSpace(parameters, tuple(constraints))
    assert space.contains(space.sample(5, np.random.default_rng(0))).all()


def values_of(parameter) -> list[float]:
    if isinstance(parameter, Levels):
        return list(parameter.values)
    step = getattr(parameter, "step", None) or 1
    return [parameter.low + i * step for i in range(int(parameter.n_values))]


def test_it_agrees_with_all_combinations():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        parameters = []
        for name in ABC:
            low = int(rng.integers(-3, 3))
            kind = rng.integers(3)
            if kind == 0:
                parameters.append(Integer(name, low, low + int(rng.integers(0, 4))))
            elif kind == 1:
                step = float(rng.choice([0.3, 0.5, 1.5]))
                parameters.append(Real(name, low, low + float(rng.integers(1, 4)), step=step))
            else:
                drawn = rng.choice(np.arange(-4, 5), size=3, replace=False)
                parameters.append(Levels(name, tuple(sorted(drawn.tolist()))))
        weights = dict(zip(ABC, rng.choice([-2.0, 1.0, 0.5, 3.0], size=3).tolist(), strict=True))
        low = float(rng.integers(-10, 10)) / 4
        constraint = LinearLimit(weights, low, low + float(rng.choice([0, 0.1, 0.5])))
        limit = AtMostNonZero(ABC, int(rng.integers(0, 3)))
        slots = Slots({parameter.name: parameter for parameter in parameters})
        if sum(0 not in values_of(p) for p in parameters) > limit.most:
            continue  # refused for itself
        combinations = np.array(list(product(*map(values_of, parameters))))
        sums = combinations @ np.array(list(weights.values()))
        good = (sums >= constraint.low - 1e-6) & (sums <= constraint.high + 1e-6)
        for constraints, fits in (
            ((constraint,), good),
            ((constraint, limit), good & ((combinations != 0).sum(axis=1) <= limit.most)),
        ):
            if fits.any():
                require_reachable(slots, constraints)
            else:
                with pytest.raises(ValueError, match="no design within"):
                    require_reachable(slots, constraints)
                refused += 1
    assert 50 < refused < 300


def test_a_space_file_names_the_file_and_the_sum(tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("a,b,y\n0.3,0.6,1\n0.6,0.3,2\n0.9,0,3\n")
    entry = '[[parameters]]\nname = "{}"\nkind = "real"\nlow = 0.0\nhigh = 1.0\nstep = 0.3\n'
    space = tmp_path / "space.toml"
    text = '[goal]\nscore = "y"\n' + entry.format("a") + entry.format("b")
    space.write_text(f'{text}[[constraints]]\nkind = "sum"\nnames = ["a", "b"]\ntotal = 1.0\n')
    words = rf"{re.escape(str(space))}: no design .* a \+ b = 1 .* are 0.9 and 1.2"
    with pytest.raises(InvalidData, match=words):
        mbo_gym.make_task("table", path=str(table), space=str(space))
