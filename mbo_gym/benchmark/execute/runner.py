"""Runs what is missing of a benchmark."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mbo_gym.benchmark.execute.executor import Executor, Lost, available_cpus, make_executor
from mbo_gym.benchmark.execute.results import ResultStore, write_record
from mbo_gym.benchmark.execute.worker import Job, failure
from mbo_gym.benchmark.plan.grid import Cell, Grid
from mbo_gym.methods.base import Resources
from mbo_gym.methods.registry import method_class

__all__ = ["Plan", "Show", "WorkerLost", "estimate_seconds", "make_plan", "run_cells", "run_grid"]

ATTEMPTS = 3
"""How often a cell is tried whose worker is lost."""


class WorkerLost(RuntimeError):
    """A cell's worker was lost as often as it was tried."""


@dataclass(frozen=True)
class Plan:
    """What of a grid is done, has failed, and is to run.

    Args:
        done: Cells with a result.
        failed: Cells that failed and are left as they are.
        to_run: The others.
    """

    done: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    to_run: tuple[Cell, ...]


class Show:
    """Is told how a benchmark goes, and shows nothing; `mbo_gym.benchmark.execute.live.Live` shows
    it on a terminal."""

    def plan(self, plan: Plan) -> None:
        """Hear what is done and what is to run."""

    def start(self, cell: Cell) -> None:
        """Hear that a cell was handed to a worker."""

    def end(self, record: Mapping[str, Any]) -> None:
        """Hear that a cell has ended and its record is stored."""


def make_plan(
    cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]], *, retry: bool
) -> Plan:
    """Sort cells by what the records say of them.

    Args:
        cells: Of the grid.
        records: By key.
        retry: Run failed cells again.
    """
    status = {cell.key: records.get(cell.key, {}).get("status") for cell in cells}
    failed = tuple(c for c in cells if status[c.key] == "failed" and not retry)
    done = tuple(c for c in cells if status[c.key] == "done")
    left = {c.key for c in (*failed, *done)}
    return Plan(done, failed, tuple(c for c in cells if c.key not in left))


def estimate_seconds(
    cells: Sequence[Cell], records: Sequence[Mapping[str, Any]]
) -> list[float | None]:
    """Return how long each cell will take, from the mean of past ones.

    Of the same label on the same task with the same k, else of the label on the task, else of the
    method on the task, else of the method anywhere; None for a method that has never run.
    """
    past: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for r in records:
        if r["status"] == "done" and not r["external"]:
            for question in _questions(r["label"], r["method"], r["task"], r["k"]):
                past[question].append(r["seconds"])
    found: list[float | None] = []
    for cell in cells:
        questions = _questions(str(cell.method), cell.method.name, cell.task.id, cell.k)
        known = next((past[q] for q in questions if q in past), None)
        found.append(fmean(known) if known else None)
    return found


def _questions(label: str, method: str, task: str, k: int) -> list[tuple[Any, ...]]:
    """Return what to look a cell's time up by, the nearest first."""
    return [
        ("label", label, task, k),
        ("label", label, task),
        ("method", method, task),
        ("method", method),
    ]


def run_grid(
    grid: Grid,
    folder: Path,
    *,
    executor: str = "process",
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    retry: bool = False,
    loggers: tuple[str, ...] = (),
    show: Show | None = None,
) -> list[dict[str, Any]]:
    """Run what is missing of a grid and return the records of all its cells.

    In a script this belongs below ``if __name__ == "__main__":``, since worker processes import the
    script.

    Args:
        grid: What.
        folder: Results folder; what it holds already is not run again.
        executor: See `mbo_gym.benchmark.execute.executor.make_executor`, as for `workers` and
            `address`.
        workers: CPU cores to use.
        address: Of a Ray cluster.
        device: ``cpu``, ``cuda``, ..
        retry: Run failed cells again.
        loggers: See `mbo_gym.runs.one_run.RunRequest`.
        show: Is told how it goes.

    Raises:
        UnknownId: No method, preset, setting, task, option or executor has that name.
        ValueError: The grid is empty or doubled, or another process is writing to the folder.
    """
    show, store = show or Show(), ResultStore(folder)
    cells = grid.cells(store.configs)
    with store.writing() as known:
        plan = make_plan(cells, known, retry=retry)
        store.configs.save()
        show.plan(plan)
        if plan.to_run:
            runner = make_executor(executor, workers=workers, address=address)
            run_cells(plan.to_run, store, runner, device=device, loggers=loggers, show=show)
    keys = {cell.key for cell in cells}
    return [record for record in store.records() if record["key"] in keys]


def run_cells(
    cells: Sequence[Cell],
    store: ResultStore,
    executor: Executor,
    *,
    device: str = "cpu",
    loggers: tuple[str, ...] = (),
    show: Show | None = None,
) -> None:
    """Run cells and store their records as they come; the store must be held for writing.

    A cell whose worker is lost is tried again, `ATTEMPTS` times in all. On Ctrl-C or an error the
    running cells are stopped and leave nothing behind; what was finished is kept.

    Args:
        cells: What to run, in this order.
        store: Gets the records.
        executor: Runs them; it is closed at the end.
        device: ``cpu``, ``cuda``, ..
        loggers: See `mbo_gym.runs.one_run.RunRequest`.
        show: Is told of each cell that starts, and of each record once it is stored.
    """
    show = show or Show()
    queue = deque(
        Job(cell, store.cells / cell.folder_name, device, _resources(cell), loggers=loggers)
        for cell in cells
    )
    try:
        while queue or executor.busy:
            while queue and executor.has_room(queue[0]):
                show.start(queue[0].cell)
                executor.submit(queue.popleft())
            for job, outcome in executor.wait():
                if isinstance(outcome, Lost):
                    if job.attempt < ATTEMPTS:
                        queue.appendleft(replace(job, device=device, attempt=job.attempt + 1))
                        continue
                    error = WorkerLost(f"{outcome.reason}, {job.attempt} times")
                    outcome = failure(job, error, seconds=0.0)
                    write_record(job.folder, outcome)
                store.add(outcome)
                show.end(outcome)
    except BaseException:
        executor.close(now=True)
        raise
    executor.close(now=False)


def _resources(cell: Cell) -> Resources:
    """Return what a cell takes; threads no more than this machine has cores, the same in all
    executors."""
    resources: Resources = getattr(method_class(cell.method.name), "RESOURCES", Resources())
    return replace(resources, cpus=min(resources.cpus, available_cpus()))
