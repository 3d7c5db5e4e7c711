"""A run on a mixed constrained space, its picture, and its table read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.files.designs import read_designs
from mbo_gym.runs.one_run import RunRequest, run

TASK = "Formulation-Exact-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    pytest.importorskip("matplotlib")
    request = RunRequest("grad", TASK, k=12, preset="light", options={"max_rows": 200})
    return run(request, tmp_path_factory.mktemp("runs") / "run", plot=True).folder


def test_designs_are_written_in_the_users_terms_and_read_back_to_the_same_scores(folder):
    task = mbo_gym.make_task(TASK, max_rows=200)
    rows = list(csv.DictReader((folder / "designs.csv").open(encoding="utf-8")))
    assert list(rows[0])[:11] == list(task.space.names)
    assert {row["reactor"] for row in rows} == {"R2"}
    assert {row["solvent"] for row in rows} <= {"water", "ethanol", "glycerol", "DMSO"}
    assert all(float(row["temperature"]) % 5 == 0 for row in rows)
    x = read_designs(folder / "designs.csv", task.space)
    np.testing.assert_array_equal(x, np.load(folder / "designs.npz")["x"])
    evaluation = mbo_gym.evaluate(task, x)
    assert evaluation.n_infeasible == 0
    written = [float(row["oracle_score"]) for row in rows]
    np.testing.assert_allclose(evaluation.scores, written, rtol=1e-6)
    terms = [{name: row[name] for name in task.space.names} for row in rows]
    np.testing.assert_array_equal(mbo_gym.evaluate(task, terms).scores, evaluation.scores)


def test_a_picture_is_drawn(folder):
    assert (folder / "picture.png").stat().st_size > 10_000
