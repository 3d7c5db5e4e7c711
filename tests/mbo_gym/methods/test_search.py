"""The search that fits the space: enumeration, ascent, crossover; new and distinct designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mbo_gym
from mbo_gym.methods.base import Context
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, _common_values, search
from mbo_gym.problem.constraints import LinearLimit
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.registry import make_surrogate

CONFIG = SearchConfig(children=256, population=64)


def problem(space, score, n: int = 300) -> OfflineProblem:
    rng = np.random.default_rng(0)
    x = space.sample(n, rng)
    y = score(np.asarray(x, dtype=np.float64)).astype(np.float32)
    return OfflineProblem("Own-Test-v0", space, OfflineDataset(x, y), (0.0, 1.0))


def fitted(made: OfflineProblem, surrogate: str = "kernel") -> Fitted:
    return Fitted.fit(made, make_surrogate(surrogate), "z_score", Context(0))


def measured(made: OfflineProblem, x: np.ndarray) -> int:
    return int((x[:, None] == made.dataset.x[None]).all(axis=2).any(axis=1).sum())


def test_a_small_space_is_searched_whole():
    space = CategoricalSpace(5, 3)
    made = problem(space, lambda x: (x == 2).sum(axis=1), n=100)
    model = fitted(made, "sequence_ridge")
    found, how = search(model, 20, CONFIG, climb=False)
    assert how == "enumeration"
    assert measured(made, found.x) == 0
    assert len(np.unique(found.x, axis=0)) == 20
    every = space.every_design(1000)
    seen = {row.tobytes() for row in made.dataset.x}
    new = np.array([row.tobytes() not in seen for row in every])
    best = np.sort(model.predict(every[new]))[::-1][:20]
    np.testing.assert_allclose(found.criterion, best, rtol=1e-5)


def test_a_trend_is_climbed_inside_the_box_of_the_data():
    made = problem(ContinuousSpace(np.full(4, -2), np.full(4, 2)), lambda x: x.sum(axis=1))
    found, how = search(fitted(made, "trend"), 30, CONFIG, climb=True)
    assert how == "ascent"
    low, high = made.dataset.x.min(axis=0), made.dataset.x.max(axis=0)
    assert ((found.x >= low - 1e-5) & (found.x <= high + 1e-5)).all()
    assert found.x.sum(axis=1).min() > made.dataset.y.max()
    assert len(np.unique(found.x, axis=0)) == 30
    assert (np.diff(found.criterion) <= 1e-6).all()


@pytest.mark.parametrize("surrogate", ["kernel", "extra_trees"])
def test_crossover_needs_no_gradient_and_improves(surrogate):
    space = ContinuousSpace(np.zeros(6), np.ones(6))
    made = problem(space, lambda x: -((x - 0.6) ** 2).sum(axis=1), n=500)
    found, how = search(fitted(made, surrogate), 25, CONFIG, climb=True and surrogate != "kernel")
    assert how == "crossover"
    assert space.contains(found.x).all()
    truth = -((found.x - 0.6) ** 2).sum(axis=1)
    assert np.median(truth) > np.sort(made.dataset.y)[-25:].mean()
    again, _ = search(fitted(made, surrogate), 25, CONFIG, climb=False)
    np.testing.assert_array_equal(found.x, again.x)


def test_constraints_hold_on_mixed_spaces():
    parameters = (Real("a", 0, 1), Real("b", 0, 1), Category("c", ("x", "y", "z")))
    space = MixedSpace(parameters, (LinearLimit({"a": 1, "b": 1}, high=1),))
    made = problem(space, lambda x: x[:, 0] + 2 * x[:, 1] + (x[:, 2] == 1))
    found, how = search(fitted(made), 20, CONFIG, climb=False)
    assert how == "crossover"
    assert space.contains(found.x).all()
    assert len(np.unique(found.x, axis=0)) == 20
    assert measured(made, found.x) == 0
    assert (found.x[:, 2] == 1).mean() > 0.8


def test_letters_beyond_enumeration_are_searched_locally():
    space = CategoricalSpace(12, 4)
    made = problem(space, lambda x: (x == 3).sum(axis=1), n=400)
    config = replace(CONFIG, max_enumerated=1000, generations=20)
    found, how = search(fitted(made, "sequence_ridge"), 10, config, climb=False)
    assert how == "crossover"
    assert found.x.dtype == np.int32
    assert (found.x == 3).sum(axis=1).min() >= 10 > made.dataset.y.max()


def test_a_spread_keeps_proposals_apart():
    space = ContinuousSpace(np.zeros(3), np.ones(3))
    made = problem(space, lambda x: x.sum(axis=1))
    model = fitted(made, "trend")
    near, _ = search(model, 12, CONFIG, climb=False)
    apart, _ = search(model, 12, replace(CONFIG, spread=0.3), climb=False)

    def least(x: np.ndarray) -> float:
        z = model.encoder.encode(x)
        gaps = np.sqrt(((z[:, None] - z[None]) ** 2).mean(axis=2))
        return gaps[np.triu_indices(len(x), 1)].min()

    assert least(near.x) < 0.3 <= least(apart.x)
    assert apart.criterion.mean() < near.criterion.mean()


def test_a_space_that_is_measured_whole_gives_its_best():
    space = CategoricalSpace(2, 2)
    x = space.every_design(10)
    made = OfflineProblem("O-v0", space, OfflineDataset(x, x.sum(1).astype(np.float32)), (0, 2))
    found, how = search(fitted(made, "sequence_ridge"), 6, CONFIG, climb=False)
    assert how == "enumeration"
    assert found.x[0].tolist() == [1, 1]
    assert len(found.x) == 6


def test_what_is_common_in_a_column_is_left_alone():
    x = np.zeros((100, 3), dtype=np.float32)
    x[:, 1] = np.arange(100)
    x[:30, 2] = 5
    common = _common_values(x)
    assert common[0] == common[2] == 0
    assert np.isnan(common[1])


def test_matched_tells_of_its_race_and_comes_back(tmp_path):
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=200)
    method = mbo_gym.make_method("matched", preset="light")
    method.fit(task.problem(), Context(1))
    found = method.propose(8)
    assert method.how == "crossover"
    assert [entrant.name for entrant in method.fitted.surrogate.table] == ["trend", "light_kernel"]
    method.save(tmp_path / "m")
    again = mbo_gym.load_method(tmp_path / "m")
    np.testing.assert_array_equal(again.propose(8).x, found.x)


def test_of_many_designs_the_leading_part_chooses_those_that_all_score(monkeypatch):
    space = CategoricalSpace(6, 3)
    made = problem(space, lambda x: (x == 2).sum(axis=1))
    surrogate = make_surrogate(
        "auto", letters=("sequence_ridge", "extra_trees"), least_weight=0.0, few=10
    )
    model = Fitted.fit(made, surrogate, "z_score", Context(0))
    assert surrogate.lead is surrogate._taken.parts[0]
    whole, _ = search(model, 10, CONFIG, climb=False)
    scored = []
    predict = type(surrogate).predict
    monkeypatch.setattr(
        type(surrogate), "predict", lambda self, z: scored.append(len(z)) or predict(self, z)
    )
    some, how = search(model, 10, replace(CONFIG, max_scored=50), climb=False)
    assert (how, sum(scored)) == ("enumeration", 50)
    assert len(np.unique(some.x, axis=0)) == 10
    assert measured(made, some.x) == 0
    assert some.criterion.mean() >= whole.criterion.mean() - 0.1
