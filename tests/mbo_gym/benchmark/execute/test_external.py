"""Designs of other programs, scored as a method's would be."""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
from dataclasses import asdict

import numpy as np
import pytest

import mbo_gym
from mbo_gym.benchmark.execute.external import check_name, score_file
from mbo_gym.benchmark.execute.worker import Job, execute
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.methods.base import Resources
from tests.mbo_gym.benchmark.conftest import TASK, cells_of, comparable


@pytest.fixture(scope="module")
def run_of_ours(tmp_path_factory):
    """Return the folder and the record of the control `random` on Branin."""
    (cell,) = cells_of("random", seeds=(5,))
    folder = tmp_path_factory.mktemp("cells") / cell.folder_name
    return folder, execute(Job(cell, folder, "cpu", Resources()))


@pytest.fixture(scope="module")
def task():
    return mbo_gym.make_task(TASK)


def scores(record):
    cost = {"search_oracle_calls", "fit_seconds", "propose_seconds", "peak_memory_mb"}
    cost |= {"learned_rollouts", "learned_gradients", "isolated"}
    return {key: value for key, value in asdict(record.result).items() if key not in cost}


def test_csv_and_npz_get_the_scores_that_the_run_got(run_of_ours, task):
    folder, record = run_of_ours
    found = [
        score_file(folder / name, task, "theirs", 0)[1] for name in ("designs.csv", "designs.npz")
    ]
    assert scores(found[0]) == scores(found[1]) == scores(record)
    assert found[0].key == found[1].key  # the same run of the same thing: the last one counts


def test_a_record_has_the_fields_of_a_cell(run_of_ours, task):
    folder, _ = run_of_ours
    evaluation, record = score_file(folder / "designs.csv", task, "theirs", 3)
    assert (record.label, record.request.method, record.request.seed, record.request.k) == (
        "theirs",
        "theirs",
        3,
        8,
    )
    assert (record.external, record.control, record.status, record.error) == (
        True,
        False,
        "done",
        None,
    )
    digest = hashlib.sha256((folder / "designs.csv").read_bytes()).hexdigest()
    assert record.config == {"file": "designs.csv", "sha256": digest}
    assert (record.request.task_id, record.request.options) == (TASK, {})
    assert record.result.overall.p100 == evaluation.overall.p100
    assert record.result.fit_seconds is None
    assert json.loads(record.line())["key"] == record.key


def test_name_task_seed_and_number_of_designs_make_a_row_and_the_file_does_not(task, tmp_path):
    def key(x, name="theirs", task=task, seed=0):
        np.save(tmp_path / "x.npy", np.asarray(x, dtype=float))
        return score_file(tmp_path / "x.npy", task, name, seed)[1].key

    one, other = [[0, 1], [2, 3]], [[1, 1], [2, 2]]
    assert key(one) == key(other)
    few = mbo_gym.make_task(TASK, max_rows=50)
    assert (
        len({key(one), key(one, "mine"), key(one, seed=1), key(one[:1]), key(one, task=few)}) == 5
    )


def test_the_options_of_the_task_are_kept(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    record = score_file(tmp_path / "x.npy", mbo_gym.make_task(TASK, max_rows=50), "my method", 0)[1]
    assert record.request.options == {"max_rows": 50}
    words = shlex.split(record.command)
    assert words[:4] == ["mbo-gym", "evaluate", TASK, str(tmp_path / "x.npy")]
    assert words[words.index("--name") + 1] == "my method"
    assert words[words.index("--option") + 1] == "max_rows=50"


def test_designs_that_cannot_be_are_counted(task, tmp_path):
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["x0", "x1"], [0, 1], [1e6, 0], [0, 1]])
    evaluation, record = score_file(tmp_path / "x.csv", task, "theirs", 0)
    assert (evaluation.n_infeasible, evaluation.n_unique) == (1, 2)
    assert record.result.n_infeasible == 1


def test_without_an_oracle_there_are_counts(tmp_path):
    (tmp_path / "own.csv").write_text("a,b,yield\n1,2,3\n2,3,4\n4,5,2\n")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,3\n")
    task = mbo_gym.make_task("csv", path=tmp_path / "own.csv", score_column="yield")
    record = score_file(tmp_path / "x.csv", task, "theirs", 0)[1]
    assert (record.result.overall, record.result.n_in_data) == (None, 1)
    assert record.request.options["path"] == str(tmp_path / "own.csv")


def test_a_file_that_holds_no_designs_is_refused(task, tmp_path):
    with pytest.raises(MissingData, match="there is no such file"):
        score_file(tmp_path / "none.csv", task, "theirs", 0)
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(InvalidData, match=r"shape \(2, 3\)"):
        score_file(tmp_path / "x.npy", task, "theirs", 0)


def test_scoring_twice_gives_the_same(run_of_ours, task):
    folder, _ = run_of_ours
    first, again = (score_file(folder / "designs.csv", task, "theirs", 0)[1] for _ in range(2))
    assert comparable(first) == comparable(again)


@pytest.mark.parametrize("name", ["", "  ", "\t"])
def test_an_empty_name_is_refused(name):
    with pytest.raises(
        ValueError, match="--name must not be empty: it is the row's name in every table"
    ):
        check_name(name)


def test_the_name_of_a_method_is_refused():
    for name in mbo_gym.list_methods():
        with pytest.raises(
            ValueError,
            match=f"--name {name} is a method of this installation; choose another, e.g.",
        ):
            check_name(name)
    check_name("my grad")
