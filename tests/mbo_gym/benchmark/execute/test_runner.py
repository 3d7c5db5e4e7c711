"""Only what is missing runs; what a kill or Ctrl-C in the middle leaves is whole, and the same
command goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mbo_gym.benchmark.execute.executor import Lost, available_cpus
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import (
    RunObserver,
    WorkerLost,
    estimate_seconds,
    make_plan,
    run_cells,
    run_grid,
)
from mbo_gym.benchmark.execute.worker import Job
from mbo_gym.benchmark.plan.grid import Grid, TaskChoice
from mbo_gym.cli import main
from tests.mbo_gym.benchmark.conftest import TASK, cells_of, comparable, is_running, odd, wait_until
from tests.mbo_gym.benchmark.records import failed, record

pytestmark = pytest.mark.usefixtures("odd_methods")


class Scripted:
    """An executor that runs nothing: outcomes of a cell come from a list, then it is done."""

    def __init__(self, room: int = 2, **outcomes: list[Any]):
        self.room, self.outcomes, self.jobs, self.closed = room, outcomes, [], []
        self.submitted: list[Job] = []

    def has_room(self, job):
        return len(self.jobs) < self.room

    def submit(self, job):
        self.jobs.append(job)
        self.submitted.append(job)

    def wait(self) -> Iterator[tuple[Job, Any]]:
        job = self.jobs.pop(0)
        script = self.outcomes.get(job.cell.label, [])
        outcome = (
            script.pop(0)
            if script
            else record(job.cell.label, TASK, job.cell.request.seed, key=job.cell.key)
        )
        if isinstance(outcome, BaseException):
            raise outcome
        yield job, outcome

    @property
    def busy(self):
        return bool(self.jobs)

    def close(self, *, now):
        self.closed.append(now)


class Notes(RunObserver):
    """Keeps what it is told."""

    def __init__(self):
        self.plans, self.started, self.ended = [], [], []

    def plan(self, plan):
        self.plans.append((len(plan.done), len(plan.failed), len(plan.to_run)))

    def start(self, cell):
        self.started.append(cell.label)

    def end(self, record):
        self.ended.append(f"{record.label} {record.status}")


@pytest.fixture
def held(tmp_path) -> Iterator[ResultStore]:
    store = ResultStore(tmp_path / "results")
    with store.writing():
        yield store


class Heard(RunObserver):
    """Keeps what it is told."""

    def __init__(self):
        self.started: list[str] = []
        self.ended: list[str] = []

    def start(self, cell):
        self.started.append(cell.label)

    def end(self, record):
        self.ended.append(f"{record.label} {record.status}")


def seen_by(store, executor, cells, **settings) -> tuple[list[str], list[str]]:
    """Run cells and return the labels that were started and those that ended, with their status."""
    heard = Heard()
    run_cells(cells, store, executor, show=heard, **settings)
    return heard.started, heard.ended


def test_cells_start_in_order_and_no_more_at_once_than_fit(held):
    executor = Scripted(room=2)
    most = []
    original = executor.submit
    executor.submit = lambda job: original(job) or most.append(len(executor.jobs))
    started, ended = seen_by(held, executor, cells_of("random", "top_k", "odd", "mean_design"))
    assert started == ["random", "top_k", "odd", "mean_design"]
    assert ended == [f"{label} done" for label in started]
    assert max(most) == 2
    assert executor.closed == [False]
    assert [r.label for r in held.records()] == started


def test_a_lost_cell_is_tried_three_times_at_once(held):
    lost = Lost("its worker is gone")
    executor = Scripted(room=1, random=[lost, lost], top_k=[lost, lost, lost])
    started, ended = seen_by(held, executor, cells_of("random", "top_k", "odd"), device="cuda")
    assert started == ["random"] * 3 + ["top_k"] * 3 + ["odd"]
    assert ended == ["random done", "top_k failed", "odd done"]
    assert [job.attempt for job in executor.submitted] == [1, 2, 3, 1, 2, 3, 1]
    assert {job.device for job in executor.submitted} == {"cuda"}
    bad = held.records()[1]
    assert (bad.attempts, bad.error.type) == (3, WorkerLost.__name__)
    assert bad.error.message == "its worker is gone, 3 times"
    (folder,) = held.cells.iterdir()
    assert os.listdir(folder) == ["record.json"]


def test_a_new_attempt_may_get_another_gpu(held):
    executor = Scripted(room=1, random=[Lost("gone")])
    original = executor.wait
    executor.wait = lambda: (
        (replace(job, device="cuda:1"), outcome) for job, outcome in original()
    )
    seen_by(held, executor, cells_of("random"), device="cuda")
    assert [job.device for job in executor.submitted] == ["cuda", "cuda"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a fault of the program")])
def test_whatever_stops_it_what_was_finished_is_kept(held, error):
    executor = Scripted(room=2, top_k=[error])
    with pytest.raises(type(error)):
        seen_by(held, executor, cells_of("random", "top_k", "odd"))
    assert executor.closed == [True]
    assert [r.label for r in held.records()] == ["random"]


def test_a_method_gets_the_cores_it_asks_for_but_no_more_than_there_are(held, monkeypatch):
    for cores, expected in ((available_cpus(), [1, min(2, available_cpus())]), (1, [1, 1])):
        monkeypatch.setattr(
            "mbo_gym.benchmark.execute.runner.available_cpus", lambda cores=cores: cores
        )
        executor = Scripted()
        seen_by(held, executor, cells_of("odd", "odd_wide"), loggers=("tensorboard",))
        assert [job.resources.cpus for job in executor.submitted] == expected
        assert {job.loggers for job in executor.submitted} == {("tensorboard",)}


def test_only_what_is_missing_runs(tmp_path):
    def go(retry=False, seeds=(0, 1)) -> tuple[list[dict[str, Any]], tuple[int, int, int]]:
        notes = Notes()
        grid = Grid([odd("", tmp_path), odd("raise")], [TaskChoice(TASK)], seeds, (8,))
        records = run_grid(grid, tmp_path / "results", executor="serial", retry=retry, show=notes)
        return records, notes.plans[0]

    records, counts = go(seeds=(0,))
    assert ([r.status for r in records], counts) == (["done", "failed"], (0, 0, 2))
    lines = (tmp_path / "results" / "results.jsonl").read_text()
    assert go(seeds=(0,)) == (records, (1, 1, 0))
    assert (tmp_path / "results" / "results.jsonl").read_text() == lines
    assert go()[1] == (1, 1, 2)
    assert go(retry=True)[1] == (2, 0, 2)
    assert len((tmp_path / "results" / "results.jsonl").read_text().splitlines()) == 6
    records, counts = go(seeds=(1, 2))
    assert counts == (1, 1, 2)
    assert sorted(
        (r.request.method, r.status, r.request.seed) for r in records
    ) == [  # those of other grids are left out
        ("odd", status, seed) for status in ("done", "failed") for seed in (1, 2)
    ]


def test_a_plan_sorts_cells_and_keeps_their_order():
    cells = cells_of("random", "top_k", "odd", "mean_design")
    made = (record(), failed(), failed())
    records = {cell.key: one for cell, one in zip(cells, made, strict=False)}
    plan = make_plan(cells, {**records, "another": record()}, retry=False)
    assert (plan.done, plan.failed, plan.to_run) == ((cells[0],), (cells[1], cells[2]), (cells[3],))
    plan = make_plan(cells, records, retry=True)
    assert (plan.done, plan.failed, plan.to_run) == (
        (cells[0],),
        (),
        (cells[1], cells[2], cells[3]),
    )


def test_a_cells_time_is_that_of_the_nearest_past_ones():
    def past(seconds, method="odd", label="odd", task=TASK, k=8, **changes):
        return record(label, task, seconds=seconds, method=method, k=k, **changes)

    (cell,), (named,) = cells_of("odd"), cells_of(odd(label="mine"))
    records = [past(64, task="Other-v0")]
    assert estimate_seconds([cell], []) == [None]
    assert estimate_seconds([cell], [past(5, "random", "random")]) == [None]
    assert estimate_seconds([cell, named], records) == [64, 64]
    records.append(past(32, label="other"))
    assert estimate_seconds([cell, named], records) == [32, 32]
    records += [past(16, k=9), past(8, k=9)]
    assert estimate_seconds([cell, named], records) == [12, 56 / 3]
    records += [past(1), past(2), past(99, status="failed"), past(77, external=True)]
    assert estimate_seconds([cell], records) == [1.5]


# From here on a real benchmark is stopped in the middle.


def benchmark_file(folder: Path, n_waiting: int) -> Path:
    """Write a grid: seeds of `odd` that end at once, seeds that wait for ``go``, and one that
    fails."""
    path = folder / "grid.toml"
    entries = ['{name = "odd", label = "quick"}', '{name = "odd", preset = "bad"}']
    entries.append(f'{{name = "odd", settings = {{what = "wait", marks = "{folder}"}}}}')
    path.write_text(
        f'methods = [{", ".join(entries)}]\ntasks = ["{TASK}"]\nseeds = "0-{n_waiting - 1}"\nk = 8\n'
    )
    return path


def command(path: Path, executor: str = "process") -> list[str | Path]:
    return ["benchmark", path, "--output", "results", "--executor", executor, "--workers", "2"]


@pytest.fixture
def in_the_middle(start, tmp_path) -> Callable[..., tuple[Any, list[int]]]:
    """Return what starts a benchmark and comes back when some cells have ended and others are at
    work."""

    def call(executor: str, at_work: int):
        process = start(*command(benchmark_file(tmp_path, 2), executor))
        marks = [tmp_path / f"started-{seed}" for seed in range(at_work)]
        wait_until(
            lambda: (
                process.poll() is not None
                or all(mark.exists() and mark.read_text() for mark in marks)
            ),
            "cells are at work",
        )
        assert process.poll() is None, process.communicate()
        return process, [int(mark.read_text()) for mark in marks]

    return call


def finish(tmp_path, monkeypatch, capsys) -> None:
    """Run the same command again, here and to its end, and check that every cell is there once."""
    store = ResultStore(tmp_path / "results")
    before = [comparable(r) for r in store.records()]
    (tmp_path / "go").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["mbo-gym", *map(str, command(tmp_path / "grid.toml", "serial"))]
    )
    with pytest.raises(SystemExit) as end:
        main()
    err = capsys.readouterr().err
    assert end.value.code == 3, err  # two cells are bad
    assert f"6 cells: 2 done, 2 failed, {6 - len(before)} to run" in err
    records = store.records()
    assert [comparable(r) for r in records[: len(before)]] == before
    done = [(r.label, r.request.seed) for r in records if r.status == "done"]
    assert sorted(done) == sorted(
        (label, seed) for label in ("quick", records[-1].label) for seed in (0, 1)
    )
    assert len(store.lines.read_text().splitlines()) == len(records) == 6
    assert sorted(os.listdir(store.cells)) == sorted(
        path.parent.name for path in store.cells.glob("*/record.json")
    )
    assert len(os.listdir(store.cells)) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "at_work"), [("process", 2), ("serial", 1)])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    in_the_middle, tmp_path, monkeypatch, capsys, executor, at_work
):
    process, workers = in_the_middle(executor, at_work)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped after 4 of 6 cells; the same command goes on from here" in err
    assert "Traceback" not in err
    assert [pid for pid in workers if is_running(pid)] == []
    left = os.listdir(tmp_path / "results" / "cells")
    assert len(left) == 4
    assert [name for name in left if name.startswith(".")] == []
    if executor == "process":
        finish(tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_a_killed_benchmark_takes_its_workers_along_and_the_same_command_goes_on(
    in_the_middle, tmp_path, monkeypatch, capsys
):
    process, workers = in_the_middle("process", 2)
    process.kill()
    process.wait(timeout=120)
    wait_until(lambda: not any(map(is_running, workers)), "the workers have ended")
    assert [
        name for name in os.listdir(tmp_path / "results" / "cells") if name.startswith(".")
    ] != []  # to be mended
    finish(tmp_path, monkeypatch, capsys)
