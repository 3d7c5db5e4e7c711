"""Batches of three kinds of spaces: distinct, new, allowed, and what is said of them is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mbo_gym
from mbo_gym.batch.build import Wishes, make_batch
from mbo_gym.batch.candidates import Taken, draw_pool
from mbo_gym.batch.feasibility import fit_feasibility
from mbo_gym.batch.geometry import Geometry
from mbo_gym.batch.health import check_health, fit_committee, rows_to_fit
from mbo_gym.batch.importance import permutation_importance
from mbo_gym.batch.writing import Writing
from mbo_gym.methods.base import Context
from tests.mbo_gym.batch.conftest import KINDS, categorical, continuous, mixed, noise

LIGHT = {"surrogate.train_steps": 30, "surrogate.hidden": 8, "ascent.steps": 5}


def wishes(problem, k, **more):
    none = problem.dataset.x[:0]
    return Wishes(k, more.pop("include", none), more.pop("exclude", none), **more)


def batch_of(problem, k=16, method="grad", **more):
    settings = LIGHT if method == "grad" else {}
    made = mbo_gym.make_method(method, **settings)
    return make_batch(problem, made, wishes(problem, k, **more), name=method, context=Context(0))


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """A problem of each kind and a batch of it; made once, as all tests look at it only."""
    from mbo_gym.batch import models

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "N_TREES", 30)
        patch.setattr(models, "STEPS_BY_ROOT", 4)
        problem = KINDS[request.param]()
        method = "top_k_noise" if request.param == "mixed" else "grad"
        yield problem, batch_of(problem, method=method)


def test_designs_are_allowed_distinct_new_and_on_the_grid(case):
    problem, batch = case
    assert len(batch) == 16
    assert problem.space.contains(batch.x).all()
    writing = Writing(problem)
    np.testing.assert_array_equal(writing.write(batch.x), batch.x)
    for i, x in enumerate(batch.x):
        assert writing.same(batch.x, x).nonzero()[0].tolist() == [i]
        assert not writing.same(problem.dataset.x, x).any()


def test_the_criterion_is_the_prediction_of_the_design_written(case):
    problem, batch = case
    committee = fit_committee(problem, batch.health, rows_to_fit(problem, batch.health), 0)
    kept = np.asarray(committee.predict(batch.x))
    if [m.name for m in committee.models] == ["forest"]:
        np.testing.assert_allclose(batch.criterion, kept, rtol=1e-6)
    assert (np.diff(batch.criterion) <= 0).all()
    assert batch.predicted == pytest.approx(batch.criterion)


def test_what_is_said_of_each_design_is_true(case):
    problem, batch = case
    facts = batch.facts
    np.testing.assert_allclose(facts.high - facts.low, 2 * batch.intervals.half_width)
    np.testing.assert_allclose((facts.high + facts.low) / 2, batch.predicted)
    assert ((facts.chance >= 0) & (facts.chance <= 1)).all()
    geometry = Geometry(problem.space, problem.dataset)
    distance, row = geometry.nearest(batch.x)
    np.testing.assert_array_equal(facts.row, row)
    np.testing.assert_allclose(facts.distance, distance)
    assert facts.inside.tolist() == [d <= geometry.reach() + 1e-6 for d in distance]
    assert facts.n_models == sum(m.share > 0 for m in batch.health.models)
    for names, predicted in zip(facts.agree, batch.criterion, strict=True):
        if len(names) == facts.n_models:
            assert predicted > batch.intervals.best


def test_it_predicts_better_than_typical_and_shows_the_trade(case):
    problem, batch = case
    assert batch.criterion.mean() > np.percentile(problem.dataset.y, 80)
    best, default, diverse = batch.trades
    assert [t.chosen for t in batch.trades] == [False, True, False]
    assert best.predicted >= default.predicted >= diverse.predicted
    assert best.distance <= diverse.distance
    assert default.predicted == pytest.approx(batch.predicted.mean(), rel=1e-5)


def test_slack_is_that_of_the_constraints():
    batch = batch_of(mixed(), method="top_k_noise")
    room = 1.2 - batch.x[:, 4] - 2 * batch.x[:, 5]
    np.testing.assert_allclose(batch.facts.slack, room, atol=1e-5)
    assert "slack" in batch.columns
    assert batch_of(continuous(), method="top_k_noise").facts.slack is None


def test_diverse_spreads_wider():
    problem = continuous()
    batches = [batch_of(problem, method="top_k_noise", diverse=d) for d in (False, True)]
    spread = [Geometry(problem.space, problem.dataset).nearest_in(b.x).mean() for b in batches]
    assert spread[1] > spread[0]
    assert batches[1].criterion.mean() < batches[0].criterion.mean()


def test_where_nothing_is_learned_the_batch_is_spread_and_no_method_is_asked():
    problem = noise()

    class Never(mbo_gym.Method):
        info = mbo_gym.MethodInfo(title="never")
        Config = object

        def fit(self, problem, context=Context()):
            raise AssertionError

        def propose(self, k):
            raise AssertionError

    batch = make_batch(problem, Never(), wishes(problem, 12), context=Context(0))
    assert "Nothing was learned" in batch.health.finding
    assert batch.trades == ()
    assert np.ptp(batch.criterion) == 0
    assert [len(names) for names in batch.facts.agree] == [0] * 12
    geometry = Geometry(problem.space, problem.dataset)
    random = problem.space.sample(12, np.random.default_rng(3))
    assert batch.facts.distance.min() > geometry.nearest(random)[0].min()
    assert geometry.nearest_in(batch.x).min() > geometry.nearest_in(random).min()


def test_known_failures_are_avoided_and_the_auc_is_shown():
    problem = mixed(failures=True)
    feasibility = fit_feasibility(problem)
    assert feasibility.auc > 0.9
    hot = problem.space.sample(400, np.random.default_rng(1))
    works = feasibility.chance(hot)
    assert works[hot[:, 0] > 85].max() < works[hot[:, 0] < 80].min() + 0.5
    assert works[hot[:, 0] > 85].mean() < 0.3 < 0.9 < works[hot[:, 0] < 80].mean()
    # The score rises with the temperature, so that only the failures keep the batch cool.
    x = problem.dataset.x
    rising = replace(problem.dataset, y=x[:, 0] / 10 + x[:, 2])
    batch = batch_of(replace(problem, dataset=rising), method="top_k_noise")
    assert (batch.x[:, 0] <= 85).mean() > 0.8
    assert f"AUC {batch.feasibility.auc:.3f}" in batch.feasibility.finding
    assert "works" in batch.columns
    failed = {tuple(row) for row in problem.dataset.failed.tolist()}
    assert not failed & {tuple(row) for row in batch.x.tolist()}


def test_failures_without_a_pattern_change_nothing():
    problem = continuous(60)
    rng = np.random.default_rng(2)
    few = replace(problem.dataset, failed=problem.space.sample(3, rng))
    found = fit_feasibility(replace(problem, dataset=few))
    assert found.model is None
    assert "too few to learn from" in found.finding
    assert found.chance(problem.dataset.x).tolist() == [60 / 63] * 60
    assert fit_feasibility(problem) is None


def test_importance_finds_the_parameters_that_matter():
    problem = mixed(300)
    found = permutation_importance(problem, check_health(problem))
    assert {item.name for item in found} == set(problem.space.names)
    assert {item.name for item in found[:3]} == {"temperature", "catalyst", "count"}
    assert found[-1].value < 0.05 < found[2].value


def test_a_large_table_is_sampled_and_that_is_said():
    problem = continuous(400)
    health = check_health(problem, most_rows=100)
    made = mbo_gym.make_method("top_k_noise")
    batch = make_batch(problem, made, wishes(problem, 4), context=Context(0), health=health)
    assert any("the 100 sampled rows and the 300 best of all 400" in note for note in batch.notes)
    rows = rows_to_fit(problem, health)
    assert set(problem.dataset.top_rows(300)) <= set(rows)
    assert set(health.rows) <= set(rows)


def test_plates_share_the_value_of_the_group():
    batch = batch_of(mixed(), k=12, method="top_k_noise", group="temperature", plate_size=5)
    assert batch.columns["plate"].tolist() == [1] * 5 + [2] * 5 + [3] * 2
    for number in (1, 2, 3):
        assert len(np.unique(batch.x[batch.facts.plate == number, 0])) == 1


def test_all_designs_of_a_small_space_are_candidates():
    problem = categorical()
    writing = Writing(problem)
    taken = Taken(writing, problem.dataset.x)
    method = mbo_gym.make_method("grad", **LIGHT)

    def value(x):
        return -x.sum(axis=1).astype(float)

    pool = draw_pool(problem, method, Context(0), taken, value, 4)
    assert pool.listed
    assert len(pool.x) == 4**5 - len(np.unique(problem.dataset.x, axis=0))
    assert (np.diff(pool.value) <= 0).all()
    assert pool.n_asked == 0
