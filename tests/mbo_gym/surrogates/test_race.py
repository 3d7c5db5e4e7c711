"""The race of families: who is judged how, what is taken, and that it comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import CannotFit
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.race import RaceConfig, RaceSurrogate
from mbo_gym.surrogates.registry import load_surrogate

LIGHT = RaceConfig(bounded=("kernel",), committee=("kernel", "trend"), letters=("sequence_ridge",))


def continuous(score, n: int = 300, noise: float = 0.1) -> OfflineProblem:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
    y = (score(x) + noise * rng.normal(size=n)).astype(np.float32)
    space = ContinuousSpace(np.full(3, -1), np.full(3, 1))
    return OfflineProblem("Own-Test-v0", space, OfflineDataset(x, y), (-1.0, 1.0))


def raced(problem: OfflineProblem, config: RaceConfig = LIGHT) -> RaceSurrogate:
    surrogate = RaceSurrogate(config)
    fit_surrogate(problem, make_encoder(problem), surrogate, seed=0)
    return surrogate


def test_a_trend_leads_where_it_predicts_best():
    race = raced(continuous(lambda x: -(x**2).sum(axis=1)))
    assert race.leads
    trend, kernel = race.table
    assert (trend.name, trend.judged, trend.n, trend.weight) == ("trend", "leave-one-out", 300, 1.0)
    assert trend.kind in ("isotropic", "diagonal")
    assert (kernel.name, kernel.judged, kernel.n, kernel.weight) == ("kernel", "folds", 300, 0.0)
    assert trend.r2 > 0.8
    assert race.differentiable


def test_a_committee_is_taken_where_no_trend_does():
    race = raced(continuous(lambda x: np.sin(8 * x[:, 0])))
    assert not race.leads
    assert race._taken.config.members == LIGHT.committee
    assert race.table[0].r2 < race.table[1].r2


def test_a_familys_r2_is_of_rows_it_has_not_seen():
    problem = continuous(lambda x: np.zeros(len(x)), noise=1.0)
    config = RaceConfig(
        bounded=("extra_trees",), committee=("trend", "kernel"), letters=("sequence_ridge",)
    )
    race = raced(problem, config)  # trees would fit seen rows nearly exactly
    assert all(entrant.r2 < 0.1 for entrant in race.table)


def test_many_rows_are_judged_by_a_fifth_of_some():
    problem = continuous(lambda x: x[:, 0], n=400)
    config = RaceConfig(bounded=("kernel",), committee=("kernel", "trend"), rows=100, few=50)
    race = raced(problem, config)
    assert (race.table[1].judged, race.table[1].n) == ("held out", 100)


def test_letters_have_families_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (400, 6)).astype(np.int32)
    y = ((x[:, 0] == 1) & (x[:, 3] == 2)).astype(np.float32)
    problem = OfflineProblem("L-v0", CategoricalSpace(6, 4), OfflineDataset(x, y), (0.0, 1.0))
    config = RaceConfig(letters=("sequence_ridge", "extra_trees", "sequence_cnn"))
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
    config = RaceConfig(trends=("sequence_ridge",), bounded=("sequence_cnn",))
    with pytest.raises(CannotFit, match=r"sequence_ridge.*continuous"):
        raced(problem, config)
    with pytest.raises(ValueError, match="trends"):
        RaceConfig(trends=())
