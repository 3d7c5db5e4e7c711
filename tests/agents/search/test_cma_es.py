"""CMA-ES on functions whose top is known, and the ensemble of its published settings."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

import mbo_gym
from agents.search.cma_es import CMAES, CMAESConfig, EvolutionConfig, evolve
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.errors import MissingDependency
from mbo_gym.methods.base import Context
from mbo_gym.nn import training
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice
from mbo_gym.surrogates import mlp
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate
from mbo_gym.surrogates.registry import SURROGATES

TOP = np.array([0.3, -0.2, 0.7], dtype=np.float32)
STARTS = np.array(
    [[1.3, 0.8, 0.0], [-0.7, -0.2, 0.1], [0.3, 0.3, -1.0], [0.9, -1.0, 1.0]], dtype=np.float32
)
BOX = np.array([-1, -1, -1], dtype=np.float32), np.array([2, 0.8, 1], dtype=np.float32)


def bowl(z):
    return -np.square(z - TOP[: z.shape[1]]).sum(axis=1)


def slope(z):
    return z @ np.array([1, -1, 2], dtype=np.float32)


class Asked:
    """A function that keeps what it is asked."""

    def __init__(self, function):
        self.function, self.z = function, []

    def __call__(self, z):
        self.z.append(z.copy())
        return self.function(z)


def search(
    function, starts=STARTS, box=None, seed=0, watch=lambda step, z, value: None, **settings
):
    pytest.importorskip("cma")
    config, progress = EvolutionConfig(**settings), NullProgress()
    return evolve(function, starts, config, box=box, seed=seed, progress=progress, watch=watch)


def test_every_start_finds_the_top():
    np.testing.assert_allclose(search(bowl, steps=50), np.tile(TOP, (4, 1)), atol=1e-2)


def test_the_function_is_asked_once_a_generation_for_all_searches_together():
    asked = Asked(bowl)
    search(asked, steps=5)
    population = 4 + math.floor(3 * math.log(3))
    assert [z.shape for z in asked.z] == [(4, 3)] + 5 * [(4 * population, 3)]
    assert {z.dtype for z in asked.z} == {np.dtype(np.float32)}


def test_the_size_of_the_population_can_be_set():
    asked = Asked(bowl)
    search(asked, steps=2, population=11)
    assert [len(z) for z in asked.z] == [4, 44, 44]


@pytest.mark.parametrize("sigma0", [0.5, 0.02])
def test_the_first_generation_is_normal_around_the_starts(sigma0):
    asked = Asked(bowl)
    search(asked, steps=1, sigma0=sigma0, population=500)
    step = (asked.z[1].reshape(4, 500, 3) - STARTS[:, None]) / sigma0
    np.testing.assert_allclose(step.mean(axis=1), 0, atol=5 / 500**0.5)
    np.testing.assert_allclose(step.std(axis=1), 1, atol=5 / 1000**0.5)


def test_what_comes_back_is_the_best_that_each_search_has_tried():
    asked, shown = Asked(bowl), []
    best = search(
        asked, steps=6, watch=lambda step, z, value: shown.append((step, z.copy(), value.copy()))
    )
    tried = np.concatenate([z.reshape(4, -1, 3) for z in asked.z], axis=1)
    value = bowl(tried.reshape(-1, 3)).reshape(4, -1)
    np.testing.assert_array_equal(best, tried[np.arange(4), value.argmax(axis=1)])
    assert [step for step, _, _ in shown] == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(shown[0][1], STARTS)
    np.testing.assert_array_equal(shown[-1][1], best)
    assert (np.diff([v for _, _, v in shown], axis=0) >= 0).all()


def test_without_generations_the_starts_come_back():
    np.testing.assert_array_equal(search(bowl, steps=0), STARTS)


def test_a_search_does_not_depend_on_the_others():
    together, alone = search(bowl, steps=8), search(bowl, STARTS[:2], steps=8)
    np.testing.assert_array_equal(together[:2], alone)
    assert not np.array_equal(alone, search(bowl, STARTS[:2], steps=8, seed=1))


def test_equal_starts_part_ways():
    ends = search(bowl, np.tile(STARTS[:1], (2, 1)), steps=3)
    assert not np.array_equal(ends[0], ends[1])


def test_the_covariance_is_full_where_there_is_room_for_it_and_diagonal_where_told(monkeypatch):
    rotated = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0].astype(np.float32)
    scale = np.array([1, 1, 1, 30, 30, 30], dtype=np.float32)

    def valley(z):  # narrow, and along no axis
        return -np.square(z @ rotated * scale).sum(axis=1)

    starts = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    ends = {
        how: valley(search(valley, starts, covariance=how)).mean()
        for how in (None, "full", "diagonal")
    }
    assert (
        ends[None] == ends["full"] > ends["diagonal"] / 100
    )  # only a full one turns with the valley
    monkeypatch.setattr("agents.search.cma_es._MOST_FULL", 5)
    assert valley(search(valley, starts)).mean() == ends["diagonal"]


def test_a_search_that_has_stopped_leaves_the_others_going():
    far = STARTS + np.array([[100], [0], [0], [0]], dtype=np.float32)
    asked = Asked(lambda z: np.where(z[:, 0] > 50, np.float32(0), slope(z)))
    search(asked, far, steps=10)
    counts = [len(z) for z in asked.z[1:]]
    assert len(counts) == 10
    assert counts[0] == 28
    assert counts[-1] == 21  # nothing to learn on a plain: cma gives up there


def test_all_searches_may_stop_before_the_last_generation():
    asked = Asked(lambda z: np.zeros(len(z), dtype=np.float32))
    best = search(asked, steps=1000)
    assert len(asked.z) < 500
    np.testing.assert_array_equal(best, STARTS)


def test_a_box_holds_everything_that_is_tried():
    asked = Asked(slope)
    best = search(asked, box=BOX)  # STARTS touch its sides
    assert all(((z >= BOX[0]) & (z <= BOX[1])).all() for z in asked.z)
    np.testing.assert_allclose(best, np.tile([2, -1, 1], (4, 1)), atol=0.05)
    free = search(slope)
    assert (slope(free) > 100).all()


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the state that it must leave alone)
    first = search(bowl, steps=5)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002 (must not matter)
    np.testing.assert_array_equal(search(bowl, steps=5), first)


class Slope(Surrogate):
    """2 z_0 - 3 z_1; nothing to learn."""

    kind, config = "slope", None

    def fit(self, z, y, *, seed, progress=None):
        return FitReport(1.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        return z @ torch.tensor([2.0, -3.0])

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def propose(problem, k, **settings):
    pytest.importorskip("cma")
    with SURROGATES.temporarily("slope", Slope):
        method = CMAES(CMAESConfig(Choice("slope"), EvolutionConfig(**settings)))
        method.fit(problem, Context(seed=0))
    proposals = method.propose(k)
    return proposals.x, proposals.criterion


def test_it_starts_at_the_best_visible_designs(branin):
    x, criterion = propose(branin, 6, steps=0)
    best = branin.dataset.top(6).x
    prediction = Slope().predict(torch.from_numpy(make_encoder(branin).encode(best))).numpy()
    order = np.argsort(-prediction, kind="stable")
    np.testing.assert_allclose(x, best[order], rtol=1e-5)
    np.testing.assert_allclose(criterion, prediction[order])


def test_the_box_of_the_data_bounds_the_search(branin):
    low, high = feature_bounds(branin, make_encoder(branin))
    corner = 2 * high[0] - 3 * low[1]
    _, far = propose(branin, 3)
    x, near = propose(branin, 3, bounds="data")
    assert (far > 2 * corner).all()
    assert (near <= corner + 1e-5).all()
    np.testing.assert_allclose(near, corner, rtol=1e-2)
    data = branin.dataset.x
    assert ((x >= data.min(axis=0) - 1e-4) & (x <= data.max(axis=0) + 1e-4)).all()


def test_without_the_library_it_says_what_to_install(branin, monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(MissingDependency, match=r"needs cma.*pip install 'mbo-gym\[search\]'"):
        CMAES().fit(branin)


@pytest.mark.parametrize("wrong", [{"sigma0": 0.0}, {"steps": -1}, {"population": 1}])
def test_settings_that_make_no_search_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvolutionConfig(**wrong)


def rows_seen(monkeypatch, **settings):
    """Count how often each member sees each of 400 rows."""
    seen = torch.zeros(3, 400, dtype=torch.int64)

    def watched(network, loss, pool, *args, **kwargs):
        def counting(rows, generator):
            seen.add_(torch.nn.functional.one_hot(rows, 400).sum(dim=1))
            return loss(rows, generator)

        training.train(network, counting, pool, *args, **kwargs)

    monkeypatch.setattr(mlp, "train", watched)
    config = EnsembleConfig(
        hidden=4, members=3, train_steps=20, batch_size=40, held_out=0.0, **settings
    )
    z = torch.arange(400.0)[:, None]
    EnsembleSurrogate(config).fit(z, z[:, 0], seed=0)
    return seen


def test_bootstrapped_members_see_rows_of_their_own_again_and_again(monkeypatch):
    assert torch.equal(
        rows_seen(monkeypatch), torch.full((3, 400), 2)
    )  # two rounds through all rows
    seen = rows_seen(monkeypatch, bootstrap=True)
    assert (seen % 2 == 0).all()  # the same rows in both rounds
    share = (seen > 0).float().mean(dim=1)
    np.testing.assert_allclose(share, 1 - math.exp(-1), atol=0.08)
    assert not torch.equal(seen[0], seen[1])
    with pytest.raises(ValueError, match="only one of them"):
        EnsembleConfig(bootstrap=True, rank_weight=0.1)
