"""What a surrogate says of itself, and how steadily a search stays above the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.benchmark.record import CellResult
from mbo_gym.evaluation.search import stability
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.runs.learning import report_of
from mbo_gym.runs.offline import offline_numbers
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.surrogates.base import held_out_report
from mbo_gym.surrogates.trend import TrendSurrogate


def line(n: int = 1000, noise: float = 0.3) -> OfflineProblem:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    y = x[:, 0] + noise * rng.normal(size=n)
    space = ContinuousSpace(np.full(2, -9.0), np.full(2, 9.0))
    return OfflineProblem("Own-Test-v0", space, OfflineDataset(x, y), (-1.0, 1.0))


def test_a_line_with_known_noise_has_the_numbers_that_follow():
    problem = line()
    method = mbo_gym.make_method("linear_corner")
    method.fit(problem)
    proposals = method.propose(100)
    report, scale = report_of(method), problem.dataset.score_scale
    truth = proposals.x[:, 0].astype(np.float64)
    numbers = offline_numbers(report, scale, proposals, truth)
    variance = 1 / 3
    assert numbers["r2"] == pytest.approx(variance / (variance + 0.09), abs=0.08)
    assert numbers["rank_correlation"] > 0.8
    assert numbers["coverage_data"] == pytest.approx(0.9, abs=0.1)
    assert numbers["coverage_proposals"] == 1.0
    far = offline_numbers(report, scale, proposals, truth + 10)
    assert far["coverage_proposals"] == 0.0
    half = np.where(np.arange(100) < 50, truth, truth + 10)
    half[0] = np.nan  # infeasible: not counted
    assert offline_numbers(report, scale, proposals, half)["coverage_proposals"] == pytest.approx(
        49 / 99
    )
    assert offline_numbers(report, scale, proposals, None)["coverage_proposals"] is None


def test_methods_without_a_surrogate_of_scores_say_nothing():
    problem = line(100)
    for name in ("top_k", "ram_listnet"):
        method = mbo_gym.make_method(name, preset="light")
        method.fit(problem)
        assert report_of(method) is None


def test_few_held_out_rows_give_no_interval():
    surrogate = TrendSurrogate()
    z = torch.arange(30.0)[:, None]
    surrogate.fit(z, z[:, 0], seed=0)
    held = held_out_report(surrogate, z[:19], z[:19, 0], n_train=11, steps=0, seconds=0.0)
    assert np.isnan([held.half_width, held.coverage]).all()
    assert held.r2 == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(surrogate.fit(z, z[:, 0], seed=0).r2)
    constant = held_out_report(surrogate, z[:5], torch.ones(5), n_train=25, steps=0, seconds=0.0)
    assert np.isnan(constant.r2)


def test_a_run_keeps_them_and_a_record_reads_them(tmp_path):
    done = run(RunRequest("linear_corner", "Branin-Exact-v0", k=8), tmp_path / "run")
    assert set(done.offline) == {
        "r2",
        "rank_correlation",
        "coverage_data",
        "coverage_proposals",
    }
    assert CellResult.from_json(done.to_dict()).offline == done.offline


def test_stability_by_hand():
    # D(best) 0.5, best 0.7: the gain 0.2 puts D(best) at 0.2 and the best at 0.4
    si, oi = stability([0.7, 0.7], 0.5)
    assert si == pytest.approx((0.3 + 0.4) / (2 * 0.4))
    assert oi == pytest.approx((0.3 + 0.4) / (2 * 0.2))
    si, oi = stability([0.7, 0.3], 0.5)  # back below the data
    assert si == pytest.approx((0.3 + 0.2) / (2 * 0.4))
    assert oi == pytest.approx((0.3 + 0.2) / (2 * 0.2))
    si, oi = stability([0.5, 0.5], 0.5)  # no gain: at least 0.01
    assert (si, oi) == (pytest.approx(1.0), pytest.approx(1.0))
    assert stability([0.4, 0.3], 0.5)[1] < 0
