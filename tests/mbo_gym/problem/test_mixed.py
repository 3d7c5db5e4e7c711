"""Mixed constrained spaces: samples, nearest designs, the user's terms, features."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from mbo_gym.errors import InvalidDesign, UnknownId
from mbo_gym.problem.constraints import (
    AllowedDesigns,
    AtMostNonZero,
    FixedSum,
    Forbidden,
    LinearLimit,
)
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace, make_space
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
from mbo_gym.problem.plain import space_from_dict, space_to_dict
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace

PARTS = ("a", "b", "c")
WORDS = (
    Category("solvent", ("u", "v", "w")),
    Levels("grade", ("low", "medium", "high")),
    Levels("mesh", (2, 4, 16)),
    Integer("n", 0, 3),
    Letters("peptide", "AC", 2, shortest=1),
    Constant("batch", "B7"),
)
REAL_PARTS = tuple(Real(part, 0, 1) for part in PARTS)
STEPPED_PARTS = tuple(Real(part, 0, 1, step=0.1) for part in PARTS)
LISTED = tuple(
    {"solvent": s, "grade": g, "mesh": 2, "n": n, "peptide": "A", "batch": "B7"}
    for s, g, n in (("u", "low", 0), ("v", "low", 3), ("w", "high", 1), ("u", "medium", 2))
)
SPACES: Mapping[str, MixedSpace] = {
    "words": MixedSpace(WORDS),
    "mixture": MixedSpace((*REAL_PARTS, WORDS[0]), (FixedSum(PARTS, 1.0),)),
    "percent": MixedSpace(
        tuple(Real(part, 0, 100, step=0.5) for part in PARTS), (FixedSum(PARTS, 100.0),)
    ),
    "stepped mixture": MixedSpace((*STEPPED_PARTS, WORDS[3]), (FixedSum(PARTS, 1.0),)),
    "uneven steps": MixedSpace(
        (Real("a", 0, 1, step=0.25), Real("b", 0, 1, step=0.125), Real("c", 0, 1)),
        (FixedSum(PARTS, 1.0),),
    ),
    "limits": MixedSpace(
        (*STEPPED_PARTS, Integer("n", 0, 4)),
        (LinearLimit({"a": 1.0, "b": 2.0}, high=1.0), LinearLimit({"c": 1.0, "n": 1.0}, low=1.5)),
    ),
    "few parts": MixedSpace(STEPPED_PARTS, (FixedSum(PARTS, 1.0), AtMostNonZero(PARTS, 2))),
    "few real parts": MixedSpace(REAL_PARTS, (FixedSum(PARTS, 1.0), AtMostNonZero(PARTS, 2))),
    "forbidden": MixedSpace(
        WORDS,
        (Forbidden({"solvent": "u", "n": {"low": 2}}), Forbidden({"grade": "low", "mesh": 2})),
    ),
    "all": MixedSpace(
        (*STEPPED_PARTS, WORDS[0], Real("t", 20, 80, step=10), Real("dose", 1e-3, 1, log=True)),
        (
            FixedSum(PARTS, 1.0),
            AtMostNonZero(PARTS, 2),
            LinearLimit({"a": 1.0, "b": 2.0}, high=1.4),
            Forbidden({"solvent": "u", "t": {"low": 60}}),
        ),
    ),
    "list": MixedSpace(WORDS, (AllowedDesigns(LISTED),)),
}
EXACT = {"words", "mixture", "percent", "stepped mixture", "few real parts", "forbidden", "list"}
"""Spaces whose nearest design is exact; `few real parts` for the parts that are left."""
each = pytest.mark.parametrize("name", SPACES)


def points(space: MixedSpace, n: int, seed: int = 0) -> np.ndarray:
    """Points around the box, three quarters of them outside the constraints."""
    rng = np.random.default_rng(seed)
    low, high = space.feasible.low, space.feasible.high
    return low + (high - low) * rng.uniform(-0.3, 1.3, size=(n, len(low)))


def every_design(space: MixedSpace) -> np.ndarray:
    """All allowed designs of a space without real numbers."""
    columns = []
    for parameter in space.parameters:
        ends = [np.arange(parameter.low, parameter.high + 1)]
        if parameter.numeric and parameter.size == 1:
            values = parameter.nearest(np.linspace(parameter.low, parameter.high, 2001)[:, None])
            ends = [np.unique(values)]
        columns += ends * parameter.size
    x = np.array(list(product(*columns)))
    return x[space.contains(x)]


@each
def test_samples_are_allowed_designs(name):
    space = SPACES[name]
    x = space.sample(2000, np.random.default_rng(0))
    assert (x.shape, x.dtype) == ((2000, space.shape[0]), np.float32)
    assert space.contains(x).all()
    np.testing.assert_array_equal(x, space.sample(2000, np.random.default_rng(0)))
    assert space.sample(0, np.random.default_rng(0)).shape == (0, space.shape[0])


@each
def test_a_projection_is_allowed_and_an_allowed_design_stays(name):
    space = SPACES[name]
    x = space.project(points(space, 3000))
    assert space.contains(x).all()
    np.testing.assert_array_equal(space.project(x), x)
    np.testing.assert_array_equal(space.clip(x), x)
    sampled = space.sample(500, np.random.default_rng(1))
    np.testing.assert_array_equal(space.project(sampled), sampled)
    np.testing.assert_array_equal(space.project(points(space, 3)[0]), x[0])


@pytest.mark.parametrize(
    "name", ["words", "stepped mixture", "limits", "few parts", "forbidden", "list"]
)
def test_no_allowed_design_is_nearer(name):
    """Against all designs. Where the docstring promises no exact result, a little further."""
    space = SPACES[name]
    designs = every_design(space)
    v = points(space, 300)
    if "peptide" in space.names:  # a gap in front is closed first, which moves a letter
        v[:, space.slots.of("peptide")] = np.clip(v[:, space.slots.of("peptide")], 0, 1)
    x = space.project(v)
    nearest = np.array([space.feasible.distance(designs, point[None]).min() for point in v])
    ours = space.feasible.distance(x.astype(np.float64), v)
    if name in EXACT:
        np.testing.assert_allclose(ours, nearest, rtol=1e-5, atol=1e-6)
    else:
        assert (ours >= nearest - 1e-6).all()
        assert (ours <= 1.5 * nearest + 0.02).mean() > 0.95
        assert ours.mean() <= 1.1 * nearest.mean()


def test_a_mixture_with_few_parts_is_as_near_as_any_choice_of_parts():
    """The largest parts stay: of the three pairs of parts one is nearest."""
    space = SPACES["few real parts"]
    v = points(space, 300)
    x = space.project(v)
    ways = []
    for left_out in range(3):
        own = [Real(p, 0, 0 if i == left_out else 1) for i, p in enumerate(PARTS)]
        ways.append(MixedSpace(tuple(own), (FixedSum(PARTS, 1.0),)).project(v))
    nearest = np.min([((way - v) ** 2).sum(axis=1) for way in ways], axis=0)
    ours = ((x - v) ** 2).sum(axis=1)
    np.testing.assert_allclose(ours, nearest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 5, 8])
@pytest.mark.parametrize("step", [0.01, 0.05, 0.2])
def test_a_fixed_sum_of_equal_steps_is_reached_in_steps_and_nearest(parts, step):
    """Largest remainders: the nearest lattice point of a simplex rounds, then moves the cheapest."""
    names = tuple(f"p{i}" for i in range(parts))
    space = MixedSpace(tuple(Real(n, 0, 1, step=step) for n in names), (FixedSum(names, 1.0),))
    v = np.random.default_rng(0).dirichlet(np.ones(parts), size=200)
    x = space.project(v)
    counts = x.astype(np.float64) / step
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    np.testing.assert_array_equal(np.rint(counts).sum(axis=1), np.rint(1 / step))
    scaled = v / step
    whole = np.floor(scaled)
    missing = np.rint(1 / step - whole.sum(axis=1)).astype(int)
    order = np.argsort(whole - scaled, axis=1, kind="stable")
    for row, k in enumerate(missing):
        whole[row, order[row, :k]] += 1
    ours = ((x - v) ** 2).sum(axis=1)
    np.testing.assert_allclose(ours, ((whole * step - v) ** 2).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("parts", [3, 6])
def test_a_simplex_is_sampled_uniformly(parts):
    """Dirichlet(1, .., 1): a part has the distribution Beta(1, d - 1), its mean is 1 / d."""
    from scipy.stats import beta, kstest

    names = tuple(f"p{i}" for i in range(parts))
    space = MixedSpace(tuple(Real(n, 0, 1) for n in names), (FixedSum(names, 1.0),))
    x = space.sample(4000, np.random.default_rng(0)).astype(np.float64)
    for part in range(parts):
        assert kstest(x[:, part], beta(1, parts - 1).cdf).pvalue > 1e-3


def test_a_cut_simplex_is_sampled_uniformly_by_walks_too():
    """x1 <= 0.02 of ten parts with a second limit: rejection is too rare, so rows walk."""
    names = tuple(f"p{i}" for i in range(10))
    limits = [LinearLimit({n: 1.0}, high=0.12) for n in names[:6]]
    space = MixedSpace(tuple(Real(n, 0, 1) for n in names), (FixedSum(names, 1.0), *limits))
    x = space.sample(2000, np.random.default_rng(0)).astype(np.float64)
    assert space.contains(x).all()
    # The six limited parts are exchangeable, and so are the other four.
    means = x.mean(axis=0)
    deviation = x.std(axis=0) / math.sqrt(len(x))
    np.testing.assert_allclose(means[:6], means[:6].mean(), atol=5 * deviation[:6].max())
    np.testing.assert_allclose(means[6:], means[6:].mean(), atol=5 * deviation[6:].max())


def test_few_designs_are_all_sampled_and_about_equally_often():
    space = SPACES["few parts"]
    designs, counts = np.unique(
        space.sample(5000, np.random.default_rng(0)), axis=0, return_counts=True
    )
    assert len(designs) == len(every_design(space)) == 30
    assert counts.max() < 4 * counts.min()


@each
def test_the_users_terms_read_back(name):
    space = SPACES[name]
    x = space.sample(200, np.random.default_rng(0))
    np.testing.assert_array_equal(space.parse(space.values(x)), x)
    texts = [dict(zip(space.names, cells, strict=True)) for cells in space.format(x)]
    np.testing.assert_array_equal(space.parse(texts), x)


@each
def test_plain_values_read_back(name):
    space = SPACES[name]
    again = space_from_dict(json.loads(json.dumps(space_to_dict(space))))
    assert space_to_dict(again) == space_to_dict(space)
    v = points(space, 50)
    np.testing.assert_array_equal(again.project(v), space.project(v))
    assert again.in_words() == space.in_words()


@each
def test_features_decode_to_the_design_and_any_features_to_an_allowed_one(name):
    space = SPACES[name]
    x = space.sample(200, np.random.default_rng(0))
    z = space.features(x)
    assert z.shape == (200, space.n_features)
    assert len(space.indicators()) == space.n_features
    np.testing.assert_allclose(space.from_features(z), x, rtol=1e-5)
    wild = (
        np.random.default_rng(1).normal(size=z.shape) * 10.0 ** np.arange(-2, 6).repeat(25)[:, None]
    )
    wild[0], wild[1], wild[2] = np.nan, np.inf, -np.inf
    assert space.contains(space.from_features(wild)).all()


@each
def test_nan_and_infinity_are_outside_and_project_inside(name):
    space = SPACES[name]
    good = space.sample(1, np.random.default_rng(0))
    for bad in (np.nan, np.inf, -np.inf, 1e39):
        rows = np.tile(good.astype(np.float64), (good.shape[1], 1))
        np.fill_diagonal(rows, bad)
        assert not space.contains(rows).any()
        assert space.contains(space.project(rows)).all()
        assert all(space.why_not(row) != "it is allowed" for row in rows)


@each
def test_float64_and_integers_are_what_they_are_as_float32(name):
    space = SPACES[name]
    x = space.sample(100, np.random.default_rng(0))
    assert space.contains(x.astype(np.float64)).all()
    low, high = space.feasible.low, space.feasible.high
    box = MixedSpace(space.parameters)
    assert box.contains(np.stack([low, high])[:, : len(low)]).shape == (2,)
    np.testing.assert_array_equal(space.project(x.astype(np.float64)), x)


def test_a_file_in_float64_is_inside_the_bounds_made_of_it():
    values = np.random.default_rng(0).random((50, 3)).round(6)
    space = MixedSpace(
        (*(Real(f"x{j}", values[:, j].min(), values[:, j].max()) for j in range(3)), WORDS[3])
    )
    x = np.concatenate([values, np.ones((50, 1))], axis=1)
    for dtype in (np.float64, np.float32, np.longdouble):
        assert space.contains(x.astype(dtype)).all()


def test_why_not_names_the_parameter_or_the_constraint():
    space = SPACES["all"]
    good = {"a": 0.5, "b": 0.0, "c": 0.5, "solvent": "v", "t": 60, "dose": 0.1}
    (row,) = space.parse([good])
    assert space.contains(row[None])[0]
    assert space.why_not(row) == "it is allowed"
    for change, words in (
        ({"c": 0.4}, "breaks the constraint a + b + c = 1"),
        ({"b": 0.2, "c": 0.3}, "at most 2 of a, b, c differ from 0"),
        ({"solvent": "u"}, "breaks the constraint not (solvent = 'u' and t >= 60)"),
        ({"a": 0.3, "b": 0.7, "c": 0}, "a + 2 b <= 1.4"),
    ):
        (row,) = space.parse([good | change])
        assert not space.contains(row[None])[0]
        assert words in space.why_not(row)
    row[4] = 55
    assert (
        space.why_not(row)
        == "t=55 is not allowed; allowed are the numbers from 20 to 80 in steps of 10"
    )


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ({"solvent": "milk"}, "row 0: solvent='milk' is not allowed; allowed are u, v, w"),
        ({"n": 2.5}, "row 0: n=2.5 is not allowed; allowed are the whole numbers from 0 to 3"),
        ({"peptid": "A"}, "There is no parameter 'peptid'. Did you mean peptide"),
    ],
)
def test_a_design_that_cannot_be_read_is_refused_with_its_row(design, words):
    with pytest.raises((InvalidDesign, UnknownId), match=re.escape(words)):
        SPACES["words"].parse([LISTED[0] | design])


def test_a_missing_value_is_named():
    with pytest.raises(InvalidDesign, match="row 1: batch is missing"):
        SPACES["words"].parse([LISTED[0], {k: v for k, v in LISTED[0].items() if k != "batch"}])


def test_numbers_that_stand_for_no_value_have_no_terms_and_are_written_as_they_are():
    space = SPACES["words"]
    x = space.parse([LISTED[0], LISTED[1]])
    x[1, 0] = -1
    with pytest.raises(InvalidDesign, match="row 1: solvent=-1 is not allowed"):
        space.values(x)
    assert space.format(x)[1][0] == "-1"
    x[1, 0] = np.nan
    assert space.format(x)[1][0] == "nan"


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 3)), r"designs must have shape (N, 7), got x.shape=(2, 3)"),
        (np.zeros(7), r"got x.shape=(7,)"),
        (np.full((1, 7), "a"), "designs must be numbers"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(x, words):
    with pytest.raises(InvalidDesign, match=re.escape(words)):
        SPACES["words"].contains(x)


def test_minus_zero_is_zero():
    for name in ("few parts", "list", "limits"):
        space = SPACES[name]
        x = space.sample(50, np.random.default_rng(0))
        x[x == 0] = -0.0
        assert space.contains(x).all()


def test_sums_that_whole_numbers_never_reach_together_are_refused_with_the_constraints():
    space = MixedSpace(
        (Integer("a", 0, 3), Integer("b", 0, 3)),
        (FixedSum(("a", "b"), 3), LinearLimit({"a": 1, "b": -1}, 0, 0)),
    )
    words = re.escape(
        "designs that satisfy a + b = 3; a + -1 b = 0. Check the constraints, or list"
    )
    with pytest.raises(ValueError, match=words):
        space.sample(3, np.random.default_rng(0))
    with pytest.raises(ValueError, match=words):
        space.project(np.full(2, 1.5))


def test_an_unbounded_space_samples_only_after_narrowing_and_keeps_its_steps():
    space = MixedSpace((Real("x"), Real("y", step=0.5), Real("z", 1.0), Integer("n", 0, 3)))
    rng = np.random.default_rng(0)
    assert not space.bounded
    with pytest.raises(ValueError, match=re.escape("narrow it with within(low, high)")):
        space.sample(3, rng)
    narrow = space.within(np.array([-1.0, 0.3, -5, 0]), np.array([2.0, 4.2, 9, 1]))
    assert narrow.bounded
    assert (narrow.feasible.low.tolist(), narrow.feasible.high.tolist()) == (
        [-1, 0.5, 1, 0],
        [2, 4, 9, 3],
    )
    x = narrow.sample(200, rng)
    assert space.contains(x).all()
    assert np.allclose(x[:, 1] * 2, np.rint(x[:, 1] * 2))
    assert space.contains(space.project(rng.normal(size=(50, 4)) * 100)).all()


def test_a_pure_space_is_made_where_parameters_are_plain():
    assert isinstance(make_space((Real("x"), Real("y", 0, 1))), ContinuousSpace)
    assert isinstance(make_space((Letters("q", "ACGT", 5),)), CategoricalSpace)
    for parameters in (
        (Real("x", 0, 1, step=0.1),),
        (Real("x", 0.1, 1, log=True),),
        (Letters("q", "ACGT", 5, shortest=2),),
        (Letters("q", "ACGT", 5), Letters("r", "ACGT", 5)),
        (Real("x"), Category("s", ("u", "v"))),
    ):
        assert isinstance(make_space(parameters), MixedSpace)
    assert isinstance(make_space(REAL_PARTS, (FixedSum(PARTS, 1.0),)), MixedSpace)


def test_names_are_needed_and_none_twice():
    for parameters in ((), (Real("x"), Integer("x", 0, 1))):
        with pytest.raises(ValueError, match="at least one parameter and no name twice"):
            MixedSpace(parameters)


def test_the_number_of_designs():
    assert SPACES["words"].n_designs == 3 * 3 * 3 * 4 * 6
    assert SPACES["list"].n_designs == 4
    assert SPACES["mixture"].n_designs == math.inf


def test_the_nearest_of_a_long_list_is_found_by_its_distance():
    rng = np.random.default_rng(0)
    free = MixedSpace((*WORDS[:4], Real("x", -1e3, 1e3), Letters("q", "ACGT", 3)))
    listed = free.values(free.sample(700, rng))
    space = MixedSpace(free.parameters, (AllowedDesigns(tuple(listed)),))
    v = points(space, 400)
    v[:3] *= 1e6
    v[3:6, 4] += [1e-3, -1e-3, 5e4]
    x = space.project(v)
    assert space.contains(x).all()
    rows = space.feasible.listed
    nearest = np.array([space.feasible.distance(rows, point[None]).min() for point in v[3:]])
    ours = space.feasible.distance(x[3:].astype(np.float64), v[3:])
    np.testing.assert_allclose(ours, nearest, rtol=1e-9)
    close = space.feasible.listed + 1e-9  # near-duplicates stay themselves
    np.testing.assert_array_equal(space.project(close), rows.astype(np.float32))


@pytest.mark.parametrize("q", [Letters("q", "ACGT", 3), Letters("q", "ACGT", 3, shortest=2)])
@pytest.mark.parametrize("x", [Real("x"), Real("x", 0, 10)])
def test_a_forbidden_sequence_changes_a_letter_and_nothing_else(q, x):
    other = "ACA" if q.shortest is None else "AC"
    space = MixedSpace((x, q), (Forbidden({"q": [other, "CCC"]}),))
    given = MixedSpace((x, q)).parse([{"x": 3.3, "q": "CCC"}])
    assert not space.contains(given)[0]
    moved = space.project(given)
    assert space.contains(moved)[0]
    assert moved[0, 0] == given[0, 0]
    assert (moved[0, 1:] != given[0, 1:]).sum() == 1
