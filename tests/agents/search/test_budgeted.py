"""CEM and Adam with a budget: starts, evaluations, proposals, and that they climb."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mbo_gym
from agents.search.adam import AdamConfig, AdamSearch
from agents.search.budgeted import BudgetConfig, search_starts
from agents.search.cem import CEM, CEMConfig
from mbo_gym.methods.base import Context
from mbo_gym.progress.bars import RichProgress
from mbo_gym.settings import with_settings

METHODS = {
    "cem": (CEM, CEMConfig(surrogate=mbo_gym.settings.Choice("quadratic"))),
    "adam": (AdamSearch, AdamConfig(surrogate=mbo_gym.settings.Choice("quadratic"))),
    "adam by gradient": (
        AdamSearch,
        AdamConfig(surrogate=mbo_gym.settings.Choice("quadratic"), gradient="surrogate"),
    ),
}
each_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=400).problem()


def fitted(problem, name, progress=None, **settings: Any):
    kind, config = METHODS[name]
    method = kind(
        with_settings(config, {key.replace("__", "."): value for key, value in settings.items()})
    )
    method.fit(problem, Context(0) if progress is None else Context(0, progress=progress))
    return method


class Asked:
    """Count the features that a surrogate predicts."""

    def __init__(self, surrogate, monkeypatch):
        self.features: list[np.ndarray] = []
        predict = surrogate.predict

        def counted(z):
            self.features.append(z.numpy().copy())
            return predict(z)

        monkeypatch.setattr(surrogate, "predict", counted)


@each_method
def test_searches_ask_for_their_budget(problem, name, monkeypatch):
    method = fitted(problem, name, search__budget=37, search__n_searches=3)
    # predictions of gradients are not evaluations of their own: one comes with each
    asked = Asked(method.fitted.surrogate, monkeypatch)
    monkeypatch.setattr(method.fitted.surrogate, "gradient", lambda z: z.clone(), raising=False)
    assert method.propose(6).x.shape == (6, 2)
    # then the six that are proposed are predicted once more
    assert sum(map(len, asked.features)) == 3 * 37 + 6


@each_method
def test_predictions_rise_from_random_starts_and_from_the_middle(problem, name):
    for start in ("random", "middle"):
        method = fitted(problem, name, search__start=start)
        n = 8
        rng = np.random.default_rng(0)
        starts = search_starts(method.fitted, method.config.search, n, rng)
        before = method.fitted.predict(method.fitted.encoder.decode(starts))
        after = method.propose(n).criterion
        assert after.mean() > before.mean() + 0.3


def test_the_middle_is_that_of_the_bounds_and_best_the_best_designs(problem):
    method = fitted(problem, "cem")
    rng = np.random.default_rng(0)

    def designs(start: Any) -> np.ndarray:
        config = BudgetConfig(start=start)
        return method.fitted.encoder.decode(search_starts(method.fitted, config, 3, rng))

    space = problem.space
    middle = (space.low + space.high) / 2
    np.testing.assert_allclose(designs("middle"), np.tile(middle, (3, 1)), rtol=1e-5)
    top = problem.dataset.x[problem.dataset.top_rows(3)]
    np.testing.assert_allclose(designs("best"), top, atol=1e-4)
    drawn = designs("random")
    assert len(np.unique(drawn, axis=0)) == 3
    assert space.contains(drawn).all()


def test_where_a_space_has_no_middle_the_visible_mean_is_taken():
    problem = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=200).problem()
    method = fitted(problem, "cem")
    starts = search_starts(method.fitted, BudgetConfig(start="middle"), 2, np.random.default_rng(0))
    np.testing.assert_allclose(starts, 0.0, atol=1e-5)  # z-scored features


@each_method
def test_one_search_proposes_its_best_designs(problem, name):
    method = fitted(problem, name, search__budget=60, search__n_searches=1)
    proposals = method.propose(10)
    assert (np.diff(proposals.criterion) <= 0).all()
    assert len(np.unique(proposals.x, axis=0)) > 5
    few = fitted(problem, name, search__budget=3, search__n_searches=1)
    assert len(few.propose(10)) == 10  # the budget is at least what is proposed


def test_designs_along_the_search_are_shown(problem):
    with RichProgress() as progress:
        fitted(problem, "cem", progress, search__budget=100).propose(4)
    shown = [point for point in progress.trace if point.stage == "cem"]
    assert shown
    assert shown[-1].step == 100
    assert shown[0].x.shape == (4, 2)
    means = [point.prediction.mean() for point in shown]
    assert means == sorted(means)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cem", {"n_elite": 30}, "n_elite must be at most population=20, got 30"),
        ("cem", {"search__budget": 0}, "budget must be at least 1"),
        ("adam", {"reach": 0.0}, "reach must be above 0"),
        ("adam", {"n_pairs": 0}, "n_pairs must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(problem, name, settings, message):
    with pytest.raises(ValueError, match=message):
        fitted(problem, name, **settings)
