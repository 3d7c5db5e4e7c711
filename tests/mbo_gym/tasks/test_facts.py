"""The tasks' facts as published and measured: visible rows, D(best), constants, controls, ceilings.
To 3 digits."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import MissingData

# task id: rows of the full data, visible rows, D(best)
FACTS = {
    "TFBind8-Exact-v0": (65_792, 32_898, 0.439),
    "TFBind8-Exact-v1": (65_536, 32_768, 0.439),
    "TFBind10-Exact-v0": (8_321_066, 4_161_482, 0.467),
    "TFBind10-Exact-v1": (4**10, 4**10 // 2, 0.556),
    "Levy-Exact-v0": (30_000, 15_000, 0.613),
    "Levy-Exact-v1": (30_000, 15_000, 0.591),
    "Rastrigin-Exact-v0": (30_000, 15_000, 0.535),
    "Rosenbrock-Exact-v0": (30_000, 15_000, 0.618),
    "Ackley-Exact-v2": (30_000, 15_000, 0.214),
    "Griewank-Exact-v2": (30_000, 15_000, 0.520),
    "Levy-Exact-v2": (30_000, 15_000, 0.573),
    "Rastrigin-Exact-v2": (30_000, 15_000, 0.537),
    "Rosenbrock-Exact-v2": (30_000, 15_000, 0.797),
    "AntMorphology-Exact-v0": (25_009, 10_004, 0.565),
    "DKittyMorphology-Exact-v0": (None, 10_004, 0.884),
    "HopperController-Exact-v0": (3_200, 3_200, 1.0),
    "CIFARNAS-Exact-v0": (None, 1_771, 0.436),
    "UTR-ResNet-v0": (280_000, 140_000, 0.594),
    "GFP-Transformer-v0": (None, 5_000, 0.789),
}
SUPERCONDUCTOR = {
    21_263: (17_010, 0.399),
    19_137: (15_313, 0.403),
}  # the whole data; the development subset


def make(task_id: str, **options):
    try:
        return mbo_gym.make_task(task_id, **options)
    except MissingData:
        pytest.skip("the data of this task are not on this machine")


@pytest.mark.parametrize("task_id", FACTS)
def test_rows_and_best_visible_score(task_id, all_data):
    info, (n_full, n_visible, d_best) = make(task_id).info, FACTS[task_id]
    assert n_full in (None, info.n_full)
    assert info.n_visible == n_visible
    assert round(info.d_best, 3) == d_best


@pytest.mark.parametrize("version", [0, 1])
def test_superconductor_rows_and_best_visible_score(version, all_data):
    info = make(f"Superconductor-RandomForest-v{version}").info
    assert (info.n_visible, round(info.d_best, 3)) == SUPERCONDUCTOR[info.n_full]


@pytest.mark.parametrize("rows", [50_000, 30_000, 10_000])
def test_the_papers_cuts_of_tfbind10(rows, shared_data):
    assert len(make("TFBind10-Exact-v0", max_rows=rows).dataset) == rows


def test_constants_are_the_papers(shared_data):
    checked = 0
    for task_id, (low, high) in json.loads(
        (shared_data / "norm_constants.json").read_text()
    ).items():
        if task_id not in mbo_gym.list_tasks():
            continue
        try:
            info = mbo_gym.make_task(task_id).info
        except MissingData:
            continue
        if task_id.startswith(("Rastrigin", "Rosenbrock")):
            low, high = (
                -high,
                -low,
            )  # the file's are of the function itself, ours of minus the function
        assert (info.y_min, info.y_max) == pytest.approx((low, high), rel=1e-12), task_id
        checked += 1
    assert checked >= 5


def test_the_mean_design_wins_levy_v0():
    task = mbo_gym.make_task("Levy-Exact-v0")
    score = task.normalise(task.oracle()(task.dataset.x.mean(axis=0, dtype=np.float64)[None]))
    assert score[0] == pytest.approx(1.349, abs=1e-3)
    assert task.normalise(task.ceiling.scores[:1])[0] == pytest.approx(1.354, abs=1e-3)


def test_the_ceiling_of_tfbind10(shared_data):
    task = mbo_gym.make_task("TFBind10-Exact-v0")
    half = task.normalise(np.array([task.ceiling.percentile(q, 128) for q in (100, 50)]))
    np.testing.assert_allclose(half, [1.0, 0.814], atol=1e-3)


def test_the_best_visible_superconductors_score_what_was_measured(shared_data):
    task = mbo_gym.make_task("Superconductor-RandomForest-v0")
    scores = task.normalise(task.oracle()(task.dataset.top(128).x))
    assert scores.max() == pytest.approx(0.509, abs=0.01)
    assert np.median(scores) == pytest.approx(0.398, abs=0.01)
    assert task.normalise(task.ceiling.scores[:1])[0] == pytest.approx(0.745, abs=0.01)


def test_noise_pays_in_superconductor_v0_and_not_in_v1(shared_data):
    best = {}
    for version in (0, 1):
        task = mbo_gym.make_task(f"Superconductor-RandomForest-v{version}")
        x, spread = task.dataset.top(256).x, task.dataset.x.std(axis=0)
        noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
        best[version] = task.normalise(
            task.oracle()(np.clip(x + 0.3 * spread * noise, 0, None))
        ).max()
    assert best[0] > 0.55
    assert best[1] < 0.45
