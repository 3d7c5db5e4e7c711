"""The study of controls on the synthetic tasks."""

from __future__ import annotations

import sys

import pytest

from experiments.studies import synthetic
from experiments.studies.common import read_rows


@pytest.fixture
def study(monkeypatch, tmp_path, capsys):
    """Return a function that runs the study with arguments, and returns what it printed."""
    path = tmp_path / "folder" / "controls.csv"

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["synthetic", "--output", str(path), *arguments])
        synthetic.main()
        return capsys.readouterr().out

    run.path = path
    return run


def test_records_are_kept_and_shown(study):
    methods = ["--methods", "top_k,no_such_method,random_filtered:light"]
    out = study(*methods, "--tasks", "Branin-Exact-v0", "--seeds", "0-1")
    assert "no_such_method is left out: no method has that name" in out
    records = read_rows(study.path)
    cells = [(r["method"], r["seed"]) for r in records]
    assert cells == [(m, s) for m in ("top_k", "random_filtered:light") for s in ("0", "1")]
    assert all(float(r["p50"]) <= float(r["p100"]) for r in records)
    top, other, best, ceiling = out.splitlines()[-4:]
    assert top.startswith("| top_k | 0.")
    assert other.startswith("| random_filtered:light | ")
    assert float(best.split("|")[2]) >= float(top.split("|")[2])
    assert ceiling == "| ceiling | 1.000 |"


def test_finished_cells_are_left(study, monkeypatch):
    cell = ["--methods", "top_k", "--tasks", "Branin-Exact-v0"]
    first = study(*cell)
    before = study.path.read_bytes()
    monkeypatch.setattr(synthetic, "run_cell", None)
    assert study(*cell) == study("--summary")
    assert study("--summary") in first
    assert study.path.read_bytes() == before


def test_every_task_of_the_study_is_registered():
    tasks = synthetic.mbo_gym.list_tasks()
    assert set(synthetic.TASK_IDS) <= set(tasks)
    versions = [i for i in tasks if i.endswith("-Exact-v2")]
    assert set(versions) <= set(synthetic.TASK_IDS)
