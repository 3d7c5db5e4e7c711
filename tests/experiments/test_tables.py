"""The study of complete tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.studies import tables
from mbo_gym.batch.study import SEEN
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Levels
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.tasks.table import rows_task

SPACE = MixedSpace(
    (
        Category("solvent", ("DMF", "water", "MeOH")),
        Levels("dose", tuple(range(20))),
        Levels("heat", (20.0, 40.0, 80.0)),
    )
)


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setattr(tables, "N_TREES", 10)


@pytest.fixture
def table() -> Task:
    """Return a table of 180 designs whose score is linear in dose and heat."""
    x = np.array(
        [[a, b, c] for a in range(3) for b in range(20) for c in (20, 40, 80)], dtype=np.float32
    )
    y = x[:, 1] + x[:, 2] / 10 + (x[:, 0] == 1)
    info = TaskInfo("Made-Exact-v0", "", 0, 1, "", "", (), ())
    return rows_task(info, SPACE, x, y).with_options()


@pytest.mark.parametrize("hiding", tables.HIDING)
def test_what_is_hidden_is_hidden(table, hiding):
    worse, share = tables.HIDING[hiding]
    cell = tables.hide(table, hiding, 3)
    y = table.dataset.y
    assert len(cell.visible) == round(share * (y <= np.quantile(y, worse)).sum())
    assert len(np.unique(cell.visible)) == len(cell.visible)
    assert cell.task.dataset.y.max() <= np.quantile(y, worse)
    assert np.array_equal(cell.visible, tables.hide(table, hiding, 3).visible)
    assert not np.array_equal(cell.visible, tables.hide(table, hiding, 4).visible)


def test_offline_numbers_tell_a_linear_table(table):
    cell = tables.hide(table, "random 30 % visible", 0)
    numbers, models = tables.offline_numbers(cell)
    assert numbers["r2_linear"] > 0.99
    assert 0.5 < numbers["r2_forest"] < 1
    assert numbers["half_top"] > numbers["half_cv"] > 0
    z = tables.features(SPACE, table.dataset.x)
    assert np.abs(models["rank_forest"](z) - table.dataset.y).mean() < 3
    assert np.abs(models["rank_linear"](z) - table.dataset.y).mean() < 0.1


def test_r2_of_the_mean_is_zero():
    y = np.arange(10.0)
    assert tables.r2(y, np.full(10, y.mean())) == 0
    assert tables.r2(y, y) == 1
    assert tables.r2(np.ones(3), np.ones(3)) == 0


def test_a_batch_is_new_and_distinct():
    x = np.arange(100, dtype=np.float32)[:, None] // 2
    batch = tables.batch_of(x, np.array([[0], [7]], dtype=np.float32))
    assert batch.ravel().tolist() == [1, 2, 3, 4, 5, 6, *range(8, 34)]
    assert len(tables.batch_of(x[:2], x)) == 0


def test_a_record_says_what_the_batch_found(table):
    cell = tables.hide(table, "best half hidden", 0)
    names = ["top_k", "random", "rank_linear"]
    top, random, linear = tables.run_cell(cell, names)
    assert (top["above"], top["new"], top["gain"], top["error"]) == (0, 0, 0, "")
    assert "rank" not in top
    assert 0 < random["above"] < 1
    assert 0 < random["gain"] <= 1
    assert (linear["above"], linear["gain"], linear["rank"], linear["new"]) == (1, 1, 1, 32)
    assert random["control"]
    assert linear["control"]
    unseen = np.delete(table.dataset.y, cell.visible)
    assert random["chance"] == pytest.approx((unseen > cell.task.dataset.y.max()).mean())


def test_a_failure_is_recorded(table, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(tables.mbo_gym, "make_method", fail)
    (record,) = tables.run_cell(tables.hide(table, "best half hidden", 0), ["top_k"])
    assert record["error"] == "RuntimeError: no such luck"


def test_records_are_kept_and_summed_up(table, tmp_path: Path):
    path = tmp_path / "records.csv.xz"
    assert tables.read_records(path) == []
    records = [
        record
        for hiding in tables.HIDING
        for record in tables.run_cell(tables.hide(table, hiding, 0), ["top_k", "cbas"])
    ]
    tables.write_records(path, records)
    found = tables.read_records(path)
    assert [float(r["above"]) for r in found] == pytest.approx([r["above"] for r in records])
    tables.write_records(path, [*found, {**found[0], "seed": "1", "error": "X: y"}])
    text = tables.summary(tables.read_records(path))
    assert "6 runs: 1 tables, seeds [0], 3 cells" in text
    assert "1 runs failed" in text
    assert "| top_k (control) | 0.000" in text
    assert "| best half hidden | R2 >= 0.5 | 1 |" in text


def test_the_batch_of_propose_is_judged_by_the_table(table):
    cell = tables.hide(table, "best half hidden", 0)
    (record,) = tables.run_cell(cell, [tables.PROPOSE])
    assert (record["method"], record["new"]) == (tables.PROPOSE, tables.BATCH)
    assert record["r2_health"] > 0.9
    assert record["above"] > 0.9  # the score is linear, and half of all designs beat the best
    assert 0 <= record["covered"] <= 1
    row = dict.fromkeys(tables.FIELDS, "") | {k: str(v) for k, v in record.items()}
    text = tables.summary([row])
    assert f"| best half hidden | R2 >= 0.5 | 1 | {record['above']:.3f} |" in text


def test_sentences_about_other_data_have_the_recorded_figures():
    found = tables.seen_of(tables.read_records(Path(__file__).parents[2] / tables.OUTPUT))
    names = ("best half hidden", "best tenth hidden", "random 30 % visible")
    stated = [(seen.above_good, seen.above_other, seen.covered) for seen in SEEN]
    assert [found[name] for name in names] == stated
    words = ("best half", "best tenth", "random sample")
    assert all(word in seen.case for word, seen in zip(words, SEEN, strict=True))
