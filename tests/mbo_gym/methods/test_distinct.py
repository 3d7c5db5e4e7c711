"""Distinct proposals of mixed spaces."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.methods.distinct import as_they_come, distinct_proposals, mutated
from mbo_gym.problem.constraints import AllowedDesigns
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Constant, Integer, Real
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.tasks.formulation import formulation, formulation_space

SMALL = MixedSpace((Category("a", ("u", "v", "w")), Integer("n", 1, 4), Constant("c", 1)))


def problem_of(space: MixedSpace) -> OfflineProblem:
    x = space.sample(5, np.random.default_rng(0))
    return OfflineProblem("t", space, OfflineDataset(x, np.arange(5.0)), (0.0, 1.0))


@pytest.fixture
def problem() -> OfflineProblem:
    return mbo_gym.make_task("Formulation-Exact-v0", max_rows=100).problem()


def test_copies_are_replaced_by_near_better_designs_and_the_original_stays(problem):
    x = np.tile(problem.dataset.x[:1], (20, 1))
    found = distinct_proposals(problem, x, 20, seed=0, predict=formulation)
    assert len(np.unique(found.x, axis=0)) == 20
    assert problem.space.contains(found.x).all()
    np.testing.assert_array_equal(found.criterion, formulation(found.x))
    assert (np.diff(found.criterion) <= 0).all()
    assert (found.x == x[0]).all(axis=1).any()
    # near: few of the 11 parameters differ (a part of the mixture moves others)
    differing = [
        sum(a[name] != b[name] for name in a)
        for a, b in zip(problem.space.values(found.x), problem.space.values(x), strict=True)
    ]
    assert max(differing) <= 4
    assert np.median(found.criterion) > formulation(x[:1])[0]


def test_the_best_distinct_candidates_are_taken_before_any_is_made(problem):
    x = np.repeat(problem.dataset.x[:30], 2, axis=0)
    found = distinct_proposals(problem, x, 10, seed=0, predict=formulation)
    best = np.sort(formulation(problem.dataset.x[:30]))[::-1][:10]
    np.testing.assert_array_equal(found.criterion, best)


def test_without_predictions_the_order_stays_and_a_change_has_its_parents_criterion(problem):
    a, b = problem.dataset.x[:2]
    x = np.stack([a, b, b, b])
    found = as_they_come(problem, x, np.array([4.0, 3.0, 3.0, 2.0]), 4, seed=0)
    np.testing.assert_array_equal(found.x[:2], x[:2])
    np.testing.assert_array_equal(found.criterion, [4.0, 3.0, 3.0, 2.0])
    assert len(np.unique(found.x, axis=0)) == 4


def test_minus_zero_is_zero(problem):
    x = np.repeat(problem.dataset.x[:1], 2, axis=0)
    zeros = np.flatnonzero(x[0] == 0)
    x[1, zeros] = -0.0
    found = distinct_proposals(problem, x, 2, seed=0, predict=formulation)
    assert len(np.unique(found.x + np.float32(0), axis=0)) == 2


@pytest.mark.parametrize("predict", [None, lambda x: x[:, 1].astype(np.float64)])
def test_a_space_is_used_up_before_designs_repeat(predict):
    problem = problem_of(SMALL)
    x = np.repeat(problem.dataset.x[:1], 20, axis=0)
    found = distinct_proposals(problem, x, 20, seed=0, predict=predict)
    assert len(found.x) == 20
    assert len(np.unique(found.x, axis=0)) == 12
    counts = np.unique(found.x, axis=0, return_counts=True)[1]
    assert set(counts) <= {1, 2}


def test_listed_designs_are_taken_from_the_list():
    every = [{"a": a, "n": n, "c": 1} for a in "uvw" for n in (1, 2, 3)]
    space = MixedSpace(SMALL.parameters, (AllowedDesigns(tuple(every[:7])),))
    problem = problem_of(space)
    x = np.repeat(problem.dataset.x[:1], 7, axis=0)
    found = distinct_proposals(problem, x, 7, seed=0)
    assert len(np.unique(found.x, axis=0)) == 7
    assert space.contains(found.x).all()


def test_pure_spaces_stay_as_they_are():
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    x = np.repeat(problem.dataset.x[:1], 3, axis=0)
    found = as_they_come(problem, x, np.zeros(3), 2, seed=0)
    np.testing.assert_array_equal(found.x, x[:2])


@pytest.mark.parametrize("strength", [0.02, 1.0])
def test_changes_stay_inside_and_most_are_changes(strength):
    space = formulation_space()
    x = space.sample(500, np.random.default_rng(0))
    y = mutated(space, x, strength, np.random.default_rng(1))
    assert space.contains(y).all()
    assert ((x != y).any(axis=1)).mean() > 0.6
    every = [(x != y)[:, space.slots.of(p.name)].any() for p in space.parameters]
    assert every == [p.name != "reactor" for p in space.parameters]


def test_reals_without_bounds_are_changed_within_the_visible_range():
    space = MixedSpace((Real("x"), Integer("n", 0, 1)))
    x = np.array([[0.0, 0], [1.0, 1], [5.0, 0]], dtype=np.float32)
    problem = OfflineProblem("t", space, OfflineDataset(x, np.arange(3.0)), (0.0, 1.0))
    found = distinct_proposals(problem, np.repeat(x[:1], 9, axis=0), 9, seed=0)
    assert len(np.unique(found.x, axis=0)) == 9
    assert np.ptp(found.x[:, 0]) <= 5
