"""The papers' numbers, compared with the tables that they were taken from."""

from __future__ import annotations

import pytest

import mbo_gym
from mbo_gym.benchmark.published import PUBLISHED, published_for

SHORT = {
    "SuperC": "Superconductor-RandomForest-v0",
    "Ant": "AntMorphology-Exact-v0",
    "DKitty": "DKittyMorphology-Exact-v0",
    "Levy": "Levy-Exact-v0",
    "TF8": "TFBind8-Exact-v0",
    "TF10": "TFBind10-Exact-v0",
    "NAS": "CIFARNAS-Exact-v0",
}


def means(method: str, source: str) -> dict[str, float]:
    rows = [row for row in PUBLISHED if row.method == method and row.source.startswith(source)]
    return {short: row.p100 for short, task_id in SHORT.items() for row in rows if row.task_id == task_id}


def test_grad_in_the_paper_of_demo():
    expected = {"SuperC": 0.489, "Ant": 0.927, "DKitty": 0.949, "Levy": 0.948, "TF8": 0.898, "TF10": 0.638}
    assert means("grad", "DEMO") == {**expected, "NAS": 0.611}


def test_grad_in_the_independent_runs():
    assert means("grad", "RaM") == {"SuperC": 0.510, "Ant": 0.273, "DKitty": 0.853, "TF8": 0.969, "TF10": 0.646}
    assert means("grad", "design-baselines") == {"SuperC": 0.518, "Ant": 0.291, "DKitty": 0.874, "TF8": 0.977}


def test_pgs_in_the_independent_run():
    assert means("pgs", "RaM") == {"SuperC": 0.444, "Ant": 0.715, "DKitty": 0.954, "TF8": 0.889, "TF10": 0.634}
    spread = {row.task_id: row.std for row in PUBLISHED if row.method == "pgs"}
    assert spread[SHORT["TF8"]] == 0.061
    assert spread[SHORT["SuperC"]] == 0.020


@pytest.mark.parametrize(("source", "k"), [("DEMO", 256), ("RaM", 128), ("design-baselines", 128)])
def test_budget_and_seeds_of_each_source(source, k):
    rows = [row for row in PUBLISHED if row.source.startswith(source)]
    assert rows
    assert {(row.k, row.seeds) for row in rows} == {(k, 8)}


def test_every_row_is_of_a_known_method_and_task():
    assert {row.method for row in PUBLISHED} <= set(mbo_gym.list_methods())
    assert {row.task_id for row in PUBLISHED} <= set(mbo_gym.list_tasks())
    keys = [(row.method, row.task_id, row.source) for row in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_looking_up():
    rows = published_for("grad", "TFBind8-Exact-v0")
    assert [(row.p100, row.k) for row in rows] == [(0.898, 256), (0.969, 128), (0.977, 128)]
    assert published_for("grad", "Branin-Exact-v0") == published_for("top_k", "TFBind8-Exact-v0") == []
