"""One cell from start to record, in this process."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from mbo_gym.benchmark.execute import worker
from mbo_gym.benchmark.execute.worker import (
    GridStopped,
    Job,
    execute,
    execute_elsewhere,
    failure,
    limit_threads,
)
from mbo_gym.benchmark.record import CellRecord, CellResult
from mbo_gym.methods.base import Resources
from tests.mbo_gym.benchmark.conftest import TASK, cells_of, comparable, odd

pytestmark = pytest.mark.usefixtures("odd_methods")

FILES = {
    "checksums.json",
    "config.json",
    "designs.csv",
    "designs.npz",
    "metrics.jsonl",
    "model/checksums.json",
    "model/config.json",
    "model/method.json",
    "model/problem.json",
    "model/problem.npz",
    "record.json",
    "result.json",
}


def job_of(
    choice, folder: Path, *, seed: int = 0, cpus: int = 1, attempt: int = 1, **options
) -> Job:
    (cell,) = cells_of(choice, seeds=(seed,), **options)
    return Job(cell, folder / cell.folder_name, "cpu", Resources(cpus=cpus), attempt=attempt)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(odd_methods, tmp_path_factory):
    job = job_of(
        odd(label="my odd"), tmp_path_factory.mktemp("cells"), seed=3, attempt=2, max_rows=60
    )
    return job, execute(job)


def test_a_record_says_what_ran_and_how(done):
    job, record = done
    assert record.key == job.cell.key
    assert (record.status, record.error, record.external, record.control) == (
        "done",
        None,
        False,
        False,
    )
    request = record.request
    assert (record.label, request.method, request.preset, request.settings) == (
        "my odd",
        "odd",
        None,
        {},
    )
    assert record.config == {"what": "", "marks": ""}
    assert (request.task_id, request.options, request.seed, request.k) == (
        TASK,
        {"max_rows": 60},
        3,
        8,
    )
    assert (request.device, record.cpus, record.attempts) == ("cpu", 1, 2)
    assert record.command == f"mbo-gym run odd {TASK} --option max_rows=60 --seeds 3 --k 8"
    assert record.seconds >= record.result.fit_seconds > 0
    assert record.environment.versions["torch"]
    assert record.environment.machine["threads"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", record.finished)


def test_the_record_lies_with_the_runs_files(done):
    job, record = done
    assert files_of(job.folder) == FILES
    assert os.listdir(job.folder.parent) == [job.folder.name]
    assert json.loads((job.folder / "record.json").read_text()) == json.loads(record.line())
    result = json.loads((job.folder / "result.json").read_text())
    assert record.result == CellResult.from_json(result)
    assert (result["n_visible"], result["k"], result["oracle_calls"]) == (60, 8, 8)


def test_a_record_is_strict_json(done):
    assert comparable(CellRecord.from_json(json.loads(done[1].line()))) == comparable(done[1])


def test_a_control_is_marked_as_one(tmp_path):
    assert execute(job_of("random", tmp_path)).control is True


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("raise", "ArithmeticError", "seed 0 is no good"),
        ("exit", "SystemExit", "a method that leaves"),
    ],
)
def test_what_a_method_does_wrong_is_kept(tmp_path, what, kind, message):
    job = job_of(odd(what), tmp_path)
    record = execute(job)
    assert (record.status, record.result) == ("failed", None)
    assert (record.error.type, record.error.message) == (kind, message)
    assert "Traceback (most recent call last):" in record.error.traceback
    assert "odd_methods.py" in record.error.traceback
    assert os.listdir(tmp_path) == [job.folder.name]
    assert files_of(job.folder) == {"record.json"}
    assert json.loads((job.folder / "record.json").read_text()) == json.loads(record.line())


def test_a_full_disk_is_no_result_of_the_method(tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        execute(job_of(odd("full"), tmp_path))
    assert os.listdir(tmp_path) == []


def test_missing_data_are_no_result_of_the_method(tmp_path):
    (cell,) = cells_of("top_k")
    options = {"path": str(tmp_path / "none.csv")}
    cell = replace(cell, request=replace(cell.request, task_id="csv", options=options))
    with pytest.raises(GridStopped, match=r"csv: .*none\.csv"):
        execute(Job(cell, tmp_path / "cell", "cpu", Resources()))
    assert os.listdir(tmp_path) == []


def test_a_failed_cell_leaves_nothing_of_an_older_run(tmp_path):
    job = job_of(odd(), tmp_path)
    execute(job)
    bad = Job(job_of(odd("raise"), tmp_path).cell, job.folder, "cpu", Resources())
    assert execute(bad).status == "failed"
    assert files_of(job.folder) == {"record.json"}
    assert execute(job).status == "done"
    assert files_of(job.folder) == FILES


def test_ctrl_c_is_no_failure_and_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        execute(job_of(odd("interrupt"), tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_resources_decide_on_the_number_of_threads(tmp_path, cpus):
    before = torch.get_num_threads()
    job = job_of(odd(), tmp_path, cpus=cpus)
    record = execute(job)
    assert set(np.load(job.folder / "designs.npz")["criterion"]) == {cpus}
    assert (record.cpus, record.environment.machine["threads"]) == (cpus, cpus)
    assert torch.get_num_threads() == before


def test_the_libraries_below_numpy_are_limited_too_and_let_go_again():
    def threads():
        return torch.get_num_threads(), [library["num_threads"] for library in threadpool_info()]

    before = threads()
    with limit_threads(2):
        assert threads()[0] == 2
        with limit_threads(1):
            assert (threads()[0], set(threads()[1])) == (1, {1})
        assert threads()[0] == 2
    assert threads() == before


def test_an_error_lets_go_of_the_threads_too():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), limit_threads(before + 1):
        torch.set_num_threads(1 // 0)
    assert torch.get_num_threads() == before


def test_elsewhere_the_same_comes_out_and_nothing_stays(tmp_path, done, monkeypatch):
    job, record = done
    there = Job(job.cell, Path("/no/such/disk") / job.folder.name, "cpu", job.resources, attempt=2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other, files = execute_elsewhere(there)
    assert comparable(other) == comparable(record)
    assert set(files) == FILES
    assert files["designs.npz"] == (job.folder / "designs.npz").read_bytes()
    assert json.loads(files["record.json"]) == json.loads(other.line())
    assert os.listdir(tmp_path) == []


def test_a_task_is_made_once_for_the_cells_of_a_worker(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "mbo_gym.runs.memory.make_task",
        lambda task_id, **options: made.append((task_id, options)),
    )
    worker._task.cache_clear()
    for options in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}):
        worker._task(TASK, json.dumps(options, sort_keys=True))
    worker._task.cache_clear()
    assert made == [(TASK, {"a": 1, "b": 2}), (TASK, {"a": 2})]


def test_a_lost_cell_has_a_record_as_well(tmp_path):
    job = job_of(odd(), tmp_path, attempt=3)
    record = failure(job, RuntimeError("gone, 3 times"), seconds=1.5)
    assert (record.status, record.attempts, record.seconds) == ("failed", 3, 1.5)
    assert record.error.message == "gone, 3 times"


def test_a_job_travels_to_another_process(tmp_path):
    job = job_of(odd("raise", label="x"), tmp_path, seed=1, max_rows=60)
    assert pickle.loads(pickle.dumps(job)) == job
