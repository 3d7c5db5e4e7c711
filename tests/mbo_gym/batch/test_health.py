"""Health: held-out predictions, what they mean, and the committee."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mbo_gym.batch.health import check_health, fit_committee, judged_rows
from mbo_gym.batch.models import (
    Constant,
    Forest,
    Linear,
    default_models,
    parameter_columns,
    plain_features,
    shares,
)
from mbo_gym.batch.study import SEEN
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from tests.mbo_gym.batch.conftest import KINDS, categorical, continuous, mixed, noise


@pytest.mark.parametrize("kind", KINDS)
def test_a_learnable_table_is_healthy_and_every_model_is_judged(kind):
    problem = KINDS[kind]()
    health = check_health(problem, unit="yield")
    special = ["letters"] if kind == "categorical" else ["trend"]
    numbers = ["constant", "linear", *special, "forest", "kernel", "ensemble"]
    assert sorted(m.name for m in health.models) == sorted(numbers)
    constant, *others = health.models
    assert constant.r2 <= 0 < max(m.r2 for m in others)
    assert health.learned
    assert constant.share == 0
    assert sum(m.share for m in health.models) == pytest.approx(1)
    assert "R2 of 0.5 and more" in health.finding
    for seen in SEEN:
        assert f"{seen.above_good} % where {seen.case}" in health.finding
    assert health.finding.count("yield") == 1
    again = check_health(problem, unit="yield")
    assert again.models[1:] == health.models[1:]


def test_r2_and_error_are_those_of_the_held_out_predictions():
    problem = continuous()
    health = check_health(problem, kinds=(Constant, Forest))
    y = problem.dataset.y.astype(float)
    error = ((y - health.held_out) ** 2).mean()
    forest = health.models[1]
    assert forest.error == pytest.approx(math.sqrt(error))
    assert forest.r2 == pytest.approx(1 - error / y.var())
    assert forest.share == 1


def test_nothing_is_learned_from_noise_and_said_so():
    health = check_health(noise())
    assert max(m.r2 for m in health.models) <= 0
    assert not health.learned
    assert health.finding.startswith("Nothing was learned: no model predicts held-out rows")
    assert all(m.share == 0 for m in health.models)
    committee = fit_committee(noise(), health, health.rows, 0)
    assert [type(m) for m in committee.models] == [Constant]


def test_a_weak_signal_has_the_shares_of_weak_signals():
    health = check_health(continuous(noise=4.0), kinds=(Constant, Linear, Forest))
    assert 0 < health.best.r2 < 0.5
    assert "R2 below 0.5" in health.finding
    for seen in SEEN:
        assert f"{seen.above_other} % where {seen.case}" in health.finding


def test_few_rows_are_not_judged():
    problem = continuous(5)
    health = check_health(problem)
    assert health.models == ()
    assert "5 rows are too few" in health.finding
    assert not health.learned


def test_replicates_are_held_out_together():
    """A forest that saw a design's other score would know it: random scores, each design twice."""
    problem = noise(50)
    x = np.repeat(problem.dataset.x, 2, axis=0)
    y = np.repeat(problem.dataset.y, 2)
    doubled = replace(problem, dataset=OfflineDataset(x, y))
    assert check_health(doubled, kinds=(Constant, Forest)).models[1].r2 < 0.2


def test_many_rows_are_sampled_and_that_is_said():
    problem = continuous(400)
    health = check_health(problem, kinds=(Constant, Linear), most_rows=100)
    assert len(health.rows) == health.n_used == 100
    assert "random sample of 100 of the 400 rows" in health.sample
    assert len(np.unique(judged_rows(problem.dataset, 0, 100))) == 100
    assert "all 400 rows" in check_health(problem, kinds=(Constant, Linear)).sample


def test_weights_count_precise_rows_more():
    problem = continuous(100)
    y = problem.dataset.y.copy()
    y[::2] += 30  # a shifted half that is known to be imprecise
    error = np.where(np.arange(100) % 2 == 0, 1e3, 0.0)
    plain = replace(problem, dataset=OfflineDataset(problem.dataset.x, y))
    weighted = replace(problem, dataset=OfflineDataset(problem.dataset.x, y, error=error))
    rows = np.arange(100)
    truth = problem.dataset.y.mean()
    for kind in (Constant, Linear, Forest):
        off = [
            abs(kind().fit(p, rows, 0).predict(p.dataset.x).mean() - truth)
            for p in (plain, weighted)
        ]
        assert off[0] > 10
        assert off[1] < 1


def test_shares_prefer_the_better_model_and_drop_the_useless():
    assert shares(np.array([0.0, -1.0, math.nan])).tolist() == [0, 0, 0]
    equal = shares(np.array([0.0, 0.5, 0.5]))
    assert equal.tolist() == [0, 0.5, 0.5]
    assert shares(np.array([0.0, 0.5, 0.98])).tolist() == [0, 0, 1]
    near = shares(np.array([0.0, 0.25, 0.3]))
    assert 0.35 < near[1] < near[2]


@pytest.mark.parametrize("make", [continuous, categorical, mixed])
def test_every_feature_belongs_to_one_parameter(make):
    problem = make(20)
    columns = parameter_columns(problem.space)
    width = plain_features(problem.space, problem.dataset.x).shape[1]
    assert sorted(j for found in columns.values() for j in found) == list(range(width))


def test_a_trend_that_predicts_a_noisy_parabola_best_ranks_designs_beyond_every_row():
    rng = np.random.default_rng(3)
    x = rng.uniform(-3, 3, (120, 5)).astype(np.float32)
    best = np.array([1.0, -1.0, 0.5, 2.0, 0.0])
    y = -((x - best) ** 2).sum(axis=1) + rng.normal(0, 1.5, len(x))
    space = ContinuousSpace([-3] * 5, [3] * 5)
    problem = OfflineProblem("test", space, OfflineDataset(x, y), (0.0, 1.0))
    health = check_health(problem)
    assert health.best.name == "trend"
    committee = fit_committee(problem, health, health.rows, 0)
    asked = space.sample(20_000, rng)
    chosen = asked[np.argsort(-committee.predict(asked))[:8]]
    off = np.sqrt(((chosen - best) ** 2).sum(axis=1))
    assert off.max() < np.sqrt(((x - best) ** 2).sum(axis=1)).min()


def test_long_sequences_have_no_model_of_letters():
    long = CategoricalSpace(300, 20, tuple("ACDEFGHIKLMNPQRSTVWY"), "protein")
    assert "letters" not in [kind.name for kind in default_models(long)]
    short = CategoricalSpace(8, 4, tuple("ACGT"), "dna")
    assert "letters" in [kind.name for kind in default_models(short)]
