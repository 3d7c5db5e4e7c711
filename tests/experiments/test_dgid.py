"""The comparison of DGID with CEM and Adam: curves, counts and the table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import mbo_gym
from experiments.studies import dgid
from mbo_gym.problem.oracle import MeteredOracle

LIGHT = {"preset": "light"}


@pytest.fixture
def task(monkeypatch):
    """Return a fluid task whose water is not simulated: the score falls with the bend."""
    made = mbo_gym.make_task("FluidRamp-MPM-v0", relabel=False, max_rows=200)
    monkeypatch.setattr(
        dgid.FastOracle, "_score", lambda self, x: np.exp(-((x - 0.3) ** 2).mean(axis=1))
    )
    return made


def test_the_expected_best_is_the_mean_over_all_choices():
    scores = np.array([0.3, 0.9, 0.1, 0.5], dtype=np.float32)
    for k, expected in enumerate(dgid.expected_best(scores), start=1):
        chosen = [max(choice) for choice in itertools.combinations(scores.tolist(), k)]
        assert expected == pytest.approx(np.mean(chosen))


@pytest.mark.parametrize("optimiser", ["CEM", "Adam"])
@pytest.mark.parametrize("start", ["flat", "random"])
def test_an_optimiser_spends_its_budget_and_climbs(task, optimiser, start):
    row = dgid.searched(task, optimiser, start, 0, 320)
    assert row.name == f"{optimiser}, {start} tool"
    assert row.curve.shape == (320,)
    assert row.curve[-1] > row.curve[0] + 0.02
    again = dgid.searched(task, optimiser, start, 0, 320)
    np.testing.assert_array_equal(row.curve, again.curve)


def test_random_tools_differ_by_seed_and_the_flat_one_is_flat(task):
    first = [next(dgid.search(task, "Adam", "random", seed))[0] for seed in (0, 1)]
    middle = [pairs.reshape(2, 4, 16).mean(axis=(0, 1)) for pairs in first]
    assert np.abs(middle[0] - middle[1]).max() > 0.3
    flat = next(dgid.search(task, "Adam", "flat", 0))[0]
    np.testing.assert_allclose(flat[:4] + flat[4:], 0.0, atol=1e-12)


def test_forms_that_ask_the_simulator_while_they_sample_count_it(task):
    method = mbo_gym.make_method("dgid", **LIGHT, guidance="none", particles=False)
    method.fit(task.problem())
    before = method.config
    plain = dgid.sampled(method, task, "unguided", 0, 6)
    assert (plain.spent, len(plain.curve)) == (0, 6)
    particles = dgid.sampled(method, task, "particles, energy of the simulator", 0, 6)
    search = before.particle_search
    assert particles.spent == search.n * search.rounds
    guided = dgid.sampled(method, task, "energy of the simulator", 0, 6)
    rungs = method.model.rungs(dgid.GUIDED["steps"])[:-1]
    n_guided = int((rungs <= before.energy.max_level).sum())
    assert 0 < n_guided < dgid.GUIDED["steps"]
    assert guided.spent == n_guided * 8 * dgid.GUIDED["n"]
    assert method.config == before


def test_a_table_has_the_means_over_seeds():
    rows = {
        "CEM": [dgid.Row("CEM", np.full(320, 0.5)), dgid.Row("CEM", np.full(320, 0.7))],
        "DGID": [dgid.Row("DGID", np.linspace(0.1, 0.4, 16), 96, 0.25)],
    }
    text = list(dgid.lines(rows))
    assert text[2] == "| CEM | 0 |" + " 0.600 |" * 7 + " 0.500 to 0.700 |  |"
    assert text[3].startswith("| DGID | 96 | 0.160 | 0.400 | |")
    assert text[3].endswith(" 0.400 to 0.400 | 0.250 |")


def test_the_simulator_is_metered(task):
    ask = dgid.simulator(task, 3)
    assert isinstance(ask, MeteredOracle)
    ask(np.zeros((3, 16), dtype=np.float32))
    with pytest.raises(mbo_gym.errors.BudgetExceeded):
        ask(np.zeros((1, 16), dtype=np.float32))
