"""The race of families: who is judged how, what is taken, and that it comes back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.bars import RichProgress
from mbo_gym.surrogates.auto import AutoConfig, AutoSurrogate
from mbo_gym.surrogates.base import CannotFit, NotDifferentiable
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import load_surrogate
from mbo_gym.surrogates.trees import TreesSurrogate
from mbo_gym.surrogates.trend import TrendSurrogate

LIGHT = AutoConfig(bounded=("kernel",), committee=("kernel", "trend"), letters=("sequence_ridge",))


def continuous(score, n: int = 300, noise: float = 0.1) -> OfflineProblem:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
    y = (score(x) + noise * rng.normal(size=n)).astype(np.float32)
    space = ContinuousSpace(np.full(3, -1), np.full(3, 1))
    return OfflineProblem("Own-Test-v0", space, OfflineDataset(x, y), (-1.0, 1.0))


def raced(
    problem: OfflineProblem, config: AutoConfig = LIGHT, *, climbed: bool = False
) -> AutoSurrogate:
    surrogate = AutoSurrogate(config)
    if climbed:
        surrogate.for_ascent()
    fit_surrogate(problem, make_encoder(problem), surrogate, seed=0)
    return surrogate


def test_a_trend_leads_where_it_predicts_best():
    race = raced(continuous(lambda x: -(x**2).sum(axis=1)))
    assert race.leads
    trend, kernel = race.table
    assert (trend.name, trend.judged, trend.n, trend.weight) == ("trend", "leave-one-out", 270, 1.0)
    assert trend.kind in ("isotropic", "diagonal")
    assert (kernel.name, kernel.judged, kernel.n, kernel.weight) == ("kernel", "folds", 270, 0.0)
    assert trend.r2 > 0.8
    assert race.differentiable


def test_a_committee_is_taken_where_no_trend_does():
    race = raced(continuous(lambda x: np.sin(8 * x[:, 0])))
    assert not race.leads
    assert race._taken.config.members == LIGHT.committee
    assert race.table[0].r2 < race.table[1].r2


def test_a_familys_r2_is_of_rows_it_has_not_seen():
    problem = continuous(lambda x: np.zeros(len(x)), noise=1.0)
    config = AutoConfig(
        bounded=("extra_trees",), committee=("trend", "kernel"), letters=("sequence_ridge",)
    )
    race = raced(problem, config)  # trees would fit seen rows nearly exactly
    assert all(entrant.r2 < 0.1 for entrant in race.table)


def test_many_rows_are_judged_by_a_fifth_of_some():
    problem = continuous(lambda x: x[:, 0], n=400)
    config = AutoConfig(bounded=("kernel",), committee=("kernel", "trend"), rows=100, few=50)
    race = raced(problem, config)
    assert (race.table[1].judged, race.table[1].n) == ("held out", 20)


def test_letters_have_families_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (400, 6)).astype(np.int32)
    y = ((x[:, 0] == 1) & (x[:, 3] == 2)).astype(np.float32)
    problem = OfflineProblem("L-v0", CategoricalSpace(6, 4), OfflineDataset(x, y), (0.0, 1.0))
    config = AutoConfig(letters=("sequence_ridge", "extra_trees", "sequence_cnn"))
    race = raced(problem, config)
    ridge, trees, network = race.table
    assert ridge.weight > trees.weight
    assert network.obstacle == "a network of sequences needs 2000 rows"
    assert (network.weight, np.isnan(network.r2)) == (0.0, True)
    z = make_encoder(problem).features(x)
    race.save(tmp_path / "r.safetensors")
    again = load_surrogate(tmp_path / "r.safetensors")
    assert torch.equal(again.predict(z), race.predict(z))
    assert again.leads == race.leads


def test_what_no_family_can_do_is_said():
    problem = continuous(lambda x: x[:, 0])
    config = AutoConfig(trends=("sequence_ridge",), bounded=("sequence_cnn",))
    with pytest.raises(CannotFit, match=r"sequence_ridge.*continuous"):
        raced(problem, config)
    with pytest.raises(ValueError, match="trends"):
        AutoConfig(trends=())


def test_a_search_that_climbs_gets_families_with_a_gradient():
    problem = continuous(lambda x: np.sin(8 * x[:, 0]))
    config = AutoConfig(bounded=("extra_trees", "kernel"), committee=("extra_trees", "kernel"))
    free, climbed = raced(problem, config), raced(problem, config, climbed=True)
    assert not free.differentiable
    assert [entrant.name for entrant in free.table] == ["trend", "extra_trees", "kernel"]
    assert [entrant.name for entrant in climbed.table] == ["trend", "kernel"]
    z = make_encoder(problem).features(problem.dataset.x[:4])
    assert climbed.gradient(z).shape == z.shape
    assert free.facts() != climbed.facts()  # two files in the cache
    config = AutoConfig(trends=("trees",), bounded=("extra_trees",))
    with pytest.raises(NotDifferentiable, match="trees, extra_trees has a gradient"):
        raced(problem, config, climbed=True)


def test_a_method_that_climbs_refuses_trees_before_it_fits_them(monkeypatch):
    monkeypatch.setattr(TreesSurrogate, "fit", lambda *_, **__: pytest.fail("was fitted"))
    problem = continuous(lambda x: x[:, 0])
    for name in ("grad", "grad_mean", "demo", "pgs"):
        key = "env.surrogate" if name == "pgs" else "surrogate"
        method = mbo_gym.make_method(name, preset="light", **{key: "extra_trees"})
        with pytest.raises(NotDifferentiable, match="'extra_trees' surrogates have no gradient"):
            method.fit(problem)
    recipe = mbo_gym.TrajectoryRecipe(action_mode="step_vector", surrogate="trees")
    with pytest.raises(NotDifferentiable, match="'trees' surrogates have no gradient"):
        mbo_gym.make_trajectories(problem, recipe)


def test_the_table_of_the_race_is_recorded():
    problem, progress = continuous(lambda x: np.sin(8 * x[:, 0])), RichProgress()
    config = AutoConfig(
        bounded=("kernel", "sequence_cnn"),
        committee=("kernel", "extra_trees"),
        letters=("sequence_ridge",),
    )
    surrogate = AutoSurrogate(config)
    encoder = make_encoder(problem)
    fit_surrogate(problem, encoder, surrogate, seed=0, progress=progress)
    rows = {row["name"]: row for row in progress.tables["race"]}
    assert list(rows) == ["trend", "kernel", "sequence_cnn", "extra_trees"]
    assert (rows["kernel"]["weight"], rows["extra_trees"]["weight"]) == (0.5, 0.5)
    assert rows["extra_trees"]["judged"] == ""  # a member, but not in the race
    assert rows["sequence_cnn"]["r2"] is None
    assert "2000 rows" in rows["sequence_cnn"]["obstacle"]
    json.dumps(progress.tables, allow_nan=False)


def test_scores_of_noise_alone_are_said_to_teach_nothing():
    def noise(seed: int) -> OfflineProblem:
        y = np.random.default_rng(seed).normal(size=300)
        return continuous(lambda x: y, noise=0.0)

    learned = [raced(noise(seed)).learned for seed in range(10)]
    assert sum(learned) <= 2  # two standard errors, of the best of several
    method = mbo_gym.make_method("matched", preset="light")
    with pytest.warns(UserWarning, match="nothing was learned from these scores"):
        method.fit(noise(learned.index(False)))
    assert len(method.propose(5)) == 5
    assert raced(continuous(lambda x: 0.1 * x[:, 0])).learned


def test_more_rows_than_asked_for_are_drawn_from_and_said():
    problem = continuous(lambda x: x[:, 0], n=400)
    config = AutoConfig(bounded=("kernel",), committee=("kernel", "trend"), most_rows=100)
    with pytest.warns(UserWarning, match="uses 100 of 400 rows"):
        race = raced(problem, config)
    assert race.table[0].n == 90  # the others are for the report
    assert race.report.n_train + race.report.n_held_out == 100


def test_what_was_fitted_on_all_rows_is_not_fitted_again(monkeypatch):
    problem = continuous(lambda x: -(x**2).sum(axis=1))
    fits = []
    fit = TrendSurrogate.fit
    monkeypatch.setattr(
        TrendSurrogate,
        "fit",
        lambda self, z, y, **named: fits.append(len(z)) or fit(self, z, y, **named),
    )
    race = raced(problem)
    assert (race.leads, fits) == (True, [300])
    alone = TrendSurrogate()
    encoder = make_encoder(problem)
    fit_surrogate(problem, encoder, alone, seed=0)
    z = encoder.features(problem.dataset.x)
    torch.testing.assert_close(race.predict(z), alone.predict(z))
    assert race.lead is None  # there is one part


def test_all_families_are_judged_on_the_same_rows():
    problem = continuous(lambda x: x[:, 0], n=1000)
    config = AutoConfig(bounded=("kernel",), committee=("kernel", "trend"), rows=200, few=50)
    race = raced(problem, config)
    encoder = make_encoder(problem)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    asked = order[-200:][::5]  # the first rows of the order are those of the reports
    trend = TrendSurrogate()
    fit_surrogate(problem, encoder, trend, seed=0)
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).float()[asked]
    error = trend.left_out[asked].float()
    assert error.isfinite().all()
    wanted = 1 - float(error.square().mean() / y.var(correction=0))
    assert [entrant.n for entrant in race.table] == [40, 40]
    assert race.table[0].r2 == pytest.approx(wanted, abs=1e-5)
