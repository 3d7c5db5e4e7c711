"""Ray where something is killed: a worker in the middle of a cell, a node, and the driver."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mbo_gym.benchmark.execute.executor import make_executor
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_cells, run_grid
from mbo_gym.benchmark.plan.grid import Grid, TaskChoice
from tests.mbo_gym.benchmark.conftest import (
    TASK,
    cells_of,
    comparable,
    is_running,
    odd,
    wait_until,
)
from tests.mbo_gym.benchmark.execute.fake_slurm import processes

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.usefixtures("odd_methods"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]


def ancestors(pid: int) -> list[int]:
    """Return a process and those that it comes from, up to this one or the first."""
    found = [pid]
    while found[-1] not in (0, 1, os.getpid()):
        stat = Path(f"/proc/{found[-1]}/stat").read_text()
        found.append(int(stat.rpartition(")")[2].split()[1]))
    return found


def named(pids: list[int], name: str) -> int:
    """Return the process of a list whose command line has a name in it."""
    return next(p for p in pids if name in Path(f"/proc/{p}/cmdline").read_text())


def started(marks: Path) -> int:
    mark = marks / "started-0"
    wait_until(lambda: mark.exists() and mark.read_text(), "a cell has started")
    return int(mark.read_text())


def found(folder: Path) -> dict[str, dict]:
    kept = {}
    for record in ResultStore(folder).records():
        kept[record.key] = comparable(record)
        kept[record.key].pop("attempts")
    return kept


def keys(folder: Path) -> list[str]:
    return sorted(line.split('"key": "')[1][:16] for line in _lines(folder))


def _lines(folder: Path) -> list[str]:
    return (folder / "results.jsonl").read_text().splitlines()


class Running(threading.Thread):
    """Cells on an executor, in a thread, so that the test can kill what runs them."""

    def __init__(self, executor, cells, folder: Path) -> None:
        super().__init__()
        self._executor, self._cells, self._folder = executor, cells, folder
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        store = ResultStore(self._folder)
        try:
            with store.writing():
                run_cells(self._cells, store, self._executor)
        except BaseException as error:
            self.error = error

    def ended(self) -> None:
        self.join(timeout=120)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def assert_as_if_nothing_had_happened(folder: Path, cells, whole: Path) -> None:
    with ResultStore(whole).writing():
        run_cells(cells, ResultStore(whole), make_executor("serial", workers=None))
    assert found(folder) == found(whole)
    assert keys(folder) == keys(whole)  # nothing is doubled
    assert list((folder / "cells").glob(".*")) == []


def test_a_ray_worker_killed_in_the_middle_of_a_cell_costs_that_cell_one_attempt(tmp_path):
    cells = cells_of(odd("wait", tmp_path), "random", "top_k")
    running = Running(make_executor("ray", workers=2), cells, tmp_path / "results")
    worker = named(ancestors(started(tmp_path)), "ray::")
    (tmp_path / "started-0").unlink()
    os.kill(worker, signal.SIGKILL)
    assert started(tmp_path) != worker  # it runs again
    (tmp_path / "go").touch()
    running.ended()
    attempts = {r.label: r.attempts for r in ResultStore(tmp_path / "results").records()}
    assert sorted(attempts.values()) == [1, 1, 2]
    assert_as_if_nothing_had_happened(tmp_path / "results", cells, tmp_path / "whole")


@pytest.fixture
def cluster() -> Iterator[object]:
    """Return a cluster of two nodes on this machine; the first has no cores for cells."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_the_cells_of_a_lost_node_run_on_another(cluster, tmp_path):
    lost = cluster.add_node(num_cpus=1)
    cells = cells_of(odd("wait", tmp_path), "random", "top_k")
    executor = make_executor("ray", workers=None, address=cluster.address)
    running = Running(executor, cells, tmp_path / "results")
    learner = started(tmp_path)
    raylet = lost.all_processes["raylet"][0].process.pid
    assert raylet in ancestors(learner)  # the cell runs on this node
    (tmp_path / "started-0").unlink()
    for process in processes(raylet):  # all that a machine takes along
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    cluster.add_node(num_cpus=1)
    assert started(tmp_path) != learner
    wait_until(lambda: not is_running(learner), "the lost node's processes are gone")
    (tmp_path / "go").touch()
    running.ended()
    assert_as_if_nothing_had_happened(tmp_path / "results", cells, tmp_path / "whole")


def test_a_killed_driver_loses_nothing_that_was_finished(start, tmp_path):
    grid = Grid(
        [odd(label="before"), odd("wait", tmp_path, label="waits")], [TaskChoice(TASK)], (0,), (8,)
    )
    (tmp_path / "grid.toml").write_text(
        f'tasks = ["{TASK}"]\nk = 8\nmethods = [{{ name = "odd", label = "before" }}, '
        f'{{ name = "odd", label = "waits", settings = {{ what = "wait", marks = "{tmp_path}" }} }}]'
    )
    results = tmp_path / "results"
    command = ("benchmark", "grid.toml", "--executor", "ray", "--workers", "1")
    driver = start(*command, "--output", results)
    learner = started(tmp_path)
    driver.kill()
    driver.communicate()
    wait_until(lambda: not is_running(learner), "Ray has ended with its driver")
    assert len(ResultStore(results).records()) == 1
    (tmp_path / "go").touch()
    again = start(*command, "--output", results)
    _, err = again.communicate(timeout=300)
    assert (again.returncode, "2 cells: 1 done, 0 failed, 1 to run" in err) == (0, True), err
    run_grid(grid, tmp_path / "whole", executor="serial")
    assert found(results) == found(tmp_path / "whole")
    assert keys(results) == keys(tmp_path / "whole")
