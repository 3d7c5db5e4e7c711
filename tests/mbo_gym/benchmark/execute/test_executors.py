"""Serial, in processes and on Ray: the same bits everywhere, and no lost worker takes more than its
own cell along."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mbo_gym.benchmark.execute.executor import Lost, available_cpus, make_executor
from mbo_gym.benchmark.execute.local import ProcessExecutor, SerialExecutor
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_cells
from mbo_gym.benchmark.execute.worker import Job
from mbo_gym.errors import UnknownId
from mbo_gym.methods.base import Resources
from tests.mbo_gym.benchmark.conftest import cells_of, comparable, is_running, odd, wait_until

pytestmark = pytest.mark.usefixtures("odd_methods")

SAME = ("random", "top_k_noise", "odd", "odd_wide", odd("raise", label="bad"))


@dataclass(frozen=True)
class Outcome:
    """What a grid left: records by label and seed, and the folder."""

    records: dict[tuple[str, int], dict[str, Any]]
    store: ResultStore

    def files(self, label: str, seed: int) -> dict[str, bytes]:
        (folder,) = self.store.cells.glob(f"*-{self.records[label, seed].key}")
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def outcome_of(executor, folder: Path, *choices, seeds=(0, 1)) -> Outcome:
    store = ResultStore(folder / "results")
    with store.writing():
        run_cells(cells_of(*choices, seeds=seeds), store, executor)
    records = {(record.label, record.request.seed): record for record in store.records()}
    assert len(records) == len(store.lines.read_text().splitlines()) == len(choices) * len(seeds)
    return Outcome(records, store)


def killing(what: str, marks: Path):
    """Return the choice of a method that kills its own process; its label is what it does."""
    marks.mkdir()
    return odd(what, marks, label=what)


@pytest.fixture(scope="module")
def serial(odd_methods, tmp_path_factory) -> Outcome:
    return outcome_of(SerialExecutor(), tmp_path_factory.mktemp("serial"), *SAME)


@pytest.fixture(scope="module")
def process(odd_methods, tmp_path_factory) -> Outcome:
    folder = tmp_path_factory.mktemp("process")
    choices = killing("die", folder / "always"), killing("die_once", folder / "once")
    return outcome_of(ProcessExecutor(2), folder, *choices, *SAME, seeds=(0,))


@pytest.fixture(scope="module")
def ray(odd_methods, tmp_path_factory) -> Outcome:
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("ray")
    return outcome_of(
        make_executor("ray", workers=2),
        folder,
        killing("die_once", folder / "once"),
        *SAME,
        seeds=(0,),
    )


@pytest.fixture(params=[pytest.param("process", marks=pytest.mark.slow), "ray"])
def elsewhere(request) -> Outcome:
    return request.getfixturevalue(request.param)


def test_the_same_bits_come_out_everywhere(serial, elsewhere):
    for choice in SAME:
        label = str(choice)
        here, there = serial.records[label, 0], elsewhere.records[label, 0]
        assert comparable(here) == comparable(there)
        files, others = serial.files(label, 0), elsewhere.files(label, 0)
        assert set(files) == set(others)
        for name in {"designs.npz", "designs.csv", "metrics.jsonl"} & set(files):
            assert files[name] == others[name], name


def test_seeds_differ(serial):
    for label in ("random", "odd"):
        assert serial.records[label, 0].result.overall != serial.records[label, 1].result.overall


def test_the_methods_resources_decide_on_the_threads_everywhere(serial, elsewhere):
    for outcome in (serial, elsewhere):
        for label, cpus in (("odd", 1), ("odd_wide", min(2, available_cpus()))):
            (folder,) = outcome.store.cells.glob(f"*-{outcome.records[label, 0].key}")
            assert set(np.load(folder / "designs.npz")["criterion"]) == {cpus}
            assert outcome.records[label, 0].cpus == cpus


def test_a_failed_method_keeps_its_traceback_everywhere(serial, elsewhere):
    for outcome in (serial, elsewhere):
        error = outcome.records["bad", 0].error
        assert (error.type, error.message) == ("ArithmeticError", "seed 0 is no good")
        assert "odd_methods.py" in error.traceback


def test_a_cell_whose_worker_was_killed_is_tried_again(elsewhere):
    record = elsewhere.records["die_once", 0]
    assert (record.status, record.attempts) == ("done", 2)
    assert "designs.npz" in elsewhere.files("die_once", 0)
    others = {
        label: r.attempts
        for (label, _), r in elsewhere.records.items()
        if not label.startswith("die")
    }
    assert others == dict.fromkeys(map(str, SAME), 1)


@pytest.mark.slow
def test_a_cell_that_always_kills_its_worker_fails_alone(process):
    record = process.records["die", 0]
    assert (record.status, record.attempts, record.result) == ("failed", 3, None)
    assert record.error.type == "WorkerLost"
    assert record.error.message.endswith(", 3 times")
    assert set(process.files("die", 0)) == {"record.json"}
    statuses = {
        r.status for (label, _), r in process.records.items() if label not in ("die", "bad")
    }
    assert statuses == {"done"}


def test_lost_workers_leave_no_half_written_folder_for_good(elsewhere):
    with elsewhere.store.writing() as known:
        assert len(known) == len(elsewhere.records)
    assert sorted(os.listdir(elsewhere.store.cells)) == sorted(
        folder.parent.name for folder in elsewhere.store.cells.glob("*/record.json")
    )


def job_of(
    cpus: int = 1, memory_gb: float = 0.1, device: str = "cpu", gpu_share: float = 0.25
) -> Job:
    (cell,) = cells_of("top_k")
    return Job(cell, Path("unused"), device, Resources(cpus, gpu_share, memory_gb))


@pytest.fixture
def pretending(monkeypatch) -> ProcessExecutor:
    """Return an executor of 4 cores that only notes its jobs."""

    class Pool:
        def __init__(self, *arguments, **options):
            self.jobs = []

        def submit(self, function, *arguments):
            self.jobs.append(arguments)

    monkeypatch.setattr("mbo_gym.benchmark.execute.local.ProcessPoolExecutor", Pool)
    monkeypatch.setattr("mbo_gym.benchmark.execute.local.memory_gb", lambda: 16.0)
    return ProcessExecutor(4)


@pytest.mark.parametrize(
    ("running", "job", "fits"),
    [
        ([], {"cpus": 99}, True),
        ([], {"memory_gb": 99}, True),
        ([{"cpus": 3}], {"cpus": 1}, True),
        ([{"cpus": 3}], {"cpus": 2}, False),
        ([{}, {}, {}], {}, True),
        ([{}, {}, {}, {}], {}, False),
        ([{"memory_gb": 10}], {"memory_gb": 6}, True),
        ([{"memory_gb": 10}], {"memory_gb": 6.1}, False),
    ],
)
def test_jobs_share_cores_and_memory_and_one_that_is_too_large_runs_alone(
    pretending, running, job, fits
):
    for resources in running:
        pretending.submit(job_of(**resources))
    assert pretending.has_room(job_of(**job)) is fits
    assert pretending.busy is bool(running)


def test_jobs_share_gpus(pretending, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for share in (0.5, 0.3, 0.6, 0.5):
        assert pretending.has_room(job_of(0, device="cuda", gpu_share=share))
        pretending.submit(job_of(0, device="cuda", gpu_share=share))
    assert [worker.job.device for worker in pretending._workers] == [
        "cuda:0",
        "cuda:1",
        "cuda:1",
        "cuda:0",
    ]
    assert not pretending.has_room(job_of(0, device="cuda", gpu_share=0.2))
    assert pretending.has_room(job_of(0, device="cuda:1", gpu_share=0.1))
    assert not pretending.has_room(job_of(0, device="cuda:0", gpu_share=0.1))
    assert pretending.has_room(job_of(0))


def started_pid(marks: Path, seed: int = 0) -> int:
    mark = marks / f"started-{seed}"
    wait_until(lambda: mark.exists() and mark.read_text(), "a cell has started")
    return int(mark.read_text())


@pytest.fixture
def waiting(tmp_path) -> Iterator[tuple[ProcessExecutor, Job, int]]:
    """Return an executor, its job, which waits in the middle of a cell, and the worker's
    process."""
    (cell,) = cells_of(odd("wait", tmp_path))
    executor = ProcessExecutor(1)
    job = Job(cell, tmp_path / "cells" / cell.folder_name, "cpu", Resources())
    executor.submit(job)
    yield executor, job, started_pid(tmp_path)
    (tmp_path / "go").touch()
    executor.close(now=True)


def test_closing_at_once_stops_a_running_cell_which_cleans_up(waiting):
    executor, job, pid = waiting
    executor.close(now=True)
    assert os.listdir(job.folder.parent) == []
    assert not is_running(pid)


def test_a_worker_killed_from_outside_loses_its_job_only(waiting):
    executor, job, pid = waiting
    os.kill(pid, signal.SIGKILL)
    ((lost, outcome),) = executor.wait()
    assert lost == job
    assert isinstance(outcome, Lost)
    assert "died (signal 9: killed, or out of memory)" in outcome.reason
    assert not executor.busy


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("proces", {}, UnknownId, r"There is no executor 'proces'\. Did you mean process\?"),
        ("process", {"workers": 0}, ValueError, "workers must be at least 1, got 0"),
        (
            "serial",
            {"address": "auto"},
            ValueError,
            "an address is for the ray executor, got 'auto' with 'serial'",
        ),
    ],
)
def test_an_executor_that_cannot_be_is_refused(name, settings, error, message):
    with pytest.raises(error, match=message):
        make_executor(name, **{"workers": None, **settings})


def test_no_cluster_at_the_address_is_said():
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 'auto'"):
        make_executor("ray", workers=None, address="auto")
