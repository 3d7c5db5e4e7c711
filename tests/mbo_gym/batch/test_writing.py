"""Designs on the steps and decimals that a person can set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mbo_gym.batch.candidates import Taken
from mbo_gym.batch.writing import Writing
from mbo_gym.problem.constraints import AllowedDesigns, FixedSum
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Real
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from tests.mbo_gym.batch.conftest import KINDS, continuous, mixed


@pytest.mark.parametrize("kind", KINDS)
def test_written_designs_are_inside_and_written_again_the_same(kind):
    problem = KINDS[kind]()
    writing = Writing(problem)
    x = writing.sample(200, np.random.default_rng(0))
    assert len(x) > 150
    assert problem.space.contains(x).all()
    np.testing.assert_array_equal(writing.write(x), x)
    assert writing.same(x, x).all()


def test_numbers_get_the_decimals_of_the_data():
    problem = continuous()
    writing = Writing(problem)
    assert writing.steps == {"heat": 0.1, "salt": 0.01, "flow": 1.0}
    x = writing.write(np.array([[33.3333, 0.12345, 456.7]]))
    assert problem.space.format(x) == [["33.3", "0.12", "457"]]
    assert "heat 0.1, salt 0.01, flow 1" in writing.in_words()


def test_many_decimals_are_cut_to_about_a_thousandth_of_the_range():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 50, size=(40, 1)).astype(np.float32)
    space = ContinuousSpace(np.zeros(1), np.full(1, 50.0), ("a",))
    problem = OfflineProblem("t", space, OfflineDataset(x, x[:, 0]), (0, 1))
    assert Writing(problem).steps["a"] == pytest.approx(0.1)


def test_sums_hold_on_the_grid():
    problem = mixed()
    writing = Writing(problem)
    assert {"acid", "base", "water"} <= set(writing.steps)
    x = writing.sample(300, np.random.default_rng(0))
    np.testing.assert_allclose(x[:, 4:].sum(axis=1), 1, atol=1e-6)
    grid = x[:, 4:] / writing.steps["acid"]
    assert np.abs(grid - np.rint(grid)).max() < 1e-2


def test_a_sum_that_no_step_fits_is_kept_exactly():
    total = 1 / 3
    rng = np.random.default_rng(0)
    space = MixedSpace((Real("a", 0, 1), Real("b", 0, 1)), (FixedSum(("a", "b"), total),))
    x = space.sample(50, rng)
    problem = OfflineProblem("t", space, OfflineDataset(x, x[:, 0]), (0, 1))
    written = Writing(problem).sample(50, rng)
    assert space.contains(written).all()
    assert len(np.unique(written, axis=0)) > 20


def test_a_list_of_designs_is_kept():
    rows = [{"a": 0.123, "c": "x"}, {"a": 0.456, "c": "y"}, {"a": 0.789, "c": "x"}]
    space = MixedSpace((Real("a", 0, 1), Category("c", ("x", "y"))), (AllowedDesigns(rows),))
    x = space.parse(rows)
    problem = OfflineProblem("t", space, OfflineDataset(x[:2], [0.0, 1.0]), (0, 1))
    written = Writing(problem).sample(60, np.random.default_rng(0))
    assert len(np.unique(written, axis=0)) == 3


def test_same_means_closer_than_a_step():
    writing = Writing(continuous())
    a = np.array([50.0, 0.5, 500.0], dtype=np.float32)
    others = a + np.array([[0, 0, 0], [0.05, 0, 0], [0.1, 0, 0], [0, 0.01, 0]], dtype=np.float32)
    assert writing.same(others, a).tolist() == [True, True, False, False]


def test_a_column_that_never_varies_stays():
    problem = continuous()
    x = problem.dataset.x.copy()
    x[:, 1] = 0.37
    space = ContinuousSpace(x.min(axis=0), x.max(axis=0), ("heat", "salt", "flow"))
    fixed = replace(problem, space=space, dataset=OfflineDataset(x, problem.dataset.y))
    writing = Writing(fixed)
    written = writing.sample(20, np.random.default_rng(0))
    assert np.unique(written[:, 1]).tolist() == [np.float32(0.37)]
    assert writing.same(written[:1], written[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_taken_designs_are_not_free_and_free_ones_are_distinct(kind):
    problem = KINDS[kind]()
    writing = Writing(problem)
    x = writing.sample(100, np.random.default_rng(3))
    taken = Taken(writing, x[:40])
    free = taken.free(np.concatenate([x, x]))
    assert not any((free == row).all(axis=1).any() for row in x[:40])
    assert len(np.unique(free, axis=0)) == len(free)
    known = {tuple(row) for row in x[:40].tolist()}
    assert {tuple(row) for row in free.tolist()} == {tuple(row) for row in x.tolist()} - known


def test_numbers_on_a_log_scale_get_significant_digits():
    conc = np.float32([[1.061e-9], [2.5e-7], [9.88e-4]])
    space = MixedSpace((Real("conc", 1.061e-9, 9.88e-4, log=True),))
    writing = Writing(OfflineProblem("t", space, OfflineDataset(conc, np.arange(3.0)), (0.0, 1.0)))
    assert writing.digits == {"conc": 3}
    x = writing.write(np.array([[1.23456e-8], [1.23549e-8], [1.2e-3], [1.0612e-9]]))
    assert space.format(x) == [["1.23e-08"], ["1.24e-08"], ["0.000988"], ["1.061e-09"]]
    assert not writing.same(x[:1], x[1]).any()
    assert len(set(writing.keys(x).tolist())) == 4
    assert "Significant digits on a log scale: conc 3." in writing.in_words()
