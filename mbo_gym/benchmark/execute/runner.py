"""Runs the cells of a benchmark that have no record yet."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mbo_gym.benchmark.execute.executor import (
    Executor,
    available_cpus,
    check_executor,
    make_executor,
)
from mbo_gym.benchmark.execute.memory import measured_mb, memory_for
from mbo_gym.benchmark.execute.results import ResultStore, write_record
from mbo_gym.benchmark.execute.worker import Job, Lost, failure
from mbo_gym.benchmark.plan.configs import source_hash
from mbo_gym.benchmark.plan.grid import Cell, Grid, cells_of, content_key
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.methods.base import Resources
from mbo_gym.methods.registry import method_class
from mbo_gym.runs.request import RunRequest

__all__ = [
    "Plan",
    "RunObserver",
    "WorkerLost",
    "check_execution",
    "estimate_seconds",
    "make_plan",
    "run_cells",
    "run_grid",
]

ATTEMPTS = 3
"""Number of attempts at a cell whose worker is lost."""
CHECKPOINTS = "checkpoints"
"""Folder of a results folder with a folder for each cell that is under way, or was stopped."""


class WorkerLost(RuntimeError):
    """The worker of a cell was lost in every attempt."""


@dataclass(frozen=True)
class Plan:
    """Cells of a grid that are done, have failed, and are to run.

    Args:
        done: Cells with a result.
        failed: Cells that failed and are not run again.
        to_run: Other cells.
    """

    done: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    to_run: tuple[Cell, ...]


class RunObserver:
    """Observer of a benchmark run; this base class ignores all events.

    `mbo_gym.benchmark.execute.live.Live` prints them.
    """

    def plan(self, plan: Plan) -> None:
        """Take the plan, before anything runs."""

    def start(self, cell: Cell) -> None:
        """Take a cell that was handed to a worker."""

    def end(self, record: CellRecord) -> None:
        """Take the record of a cell that has ended; it is stored."""


def make_plan(cells: Sequence[Cell], records: Mapping[str, CellRecord], *, retry: bool) -> Plan:
    """Sort cells into done, failed and to run.

    Args:
        cells: Cells of the grid.
        records: Records by key.
        retry: Whether failed cells run again.
    """
    status = {cell.key: records[cell.key].status for cell in cells if cell.key in records}
    failed = tuple(c for c in cells if status.get(c.key) == "failed" and not retry)
    done = tuple(c for c in cells if status.get(c.key) == "done")
    left = {c.key for c in (*failed, *done)}
    return Plan(done, failed, tuple(c for c in cells if c.key not in left))


def estimate_seconds(cells: Sequence[Cell], records: Sequence[CellRecord]) -> list[float | None]:
    """Estimate the seconds of each cell as the mean of past ones.

    Past cells of the same label on the same task with the same k count; else of the label on the
    task, else of the method on the task, else of the method anywhere. None for a method that has
    never run.
    """
    past: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for record in records:
        if record.status == "done" and not record.external:
            for question in _questions(record.label, record.request):
                past[question].append(record.seconds)
    found: list[float | None] = []
    for cell in cells:
        questions = _questions(cell.label, cell.request)
        known = next((past[question] for question in questions if question in past), None)
        found.append(fmean(known) if known else None)
    return found


def _questions(label: str, request: RunRequest) -> list[tuple[Any, ...]]:
    """Return the keys to look up the seconds of a cell by, the nearest first."""
    return [
        ("label", label, request.task_id, request.k),
        ("label", label, request.task_id),
        ("method", request.method, request.task_id),
        ("method", request.method),
    ]


def run_grid(
    grid: Grid | Iterable[Grid],
    folder: Path,
    *,
    executor: str = "process",
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    retry: bool = False,
    loggers: tuple[str, ...] = (),
    show: RunObserver | None = None,
    shard: tuple[int, int] | None = None,
) -> list[CellRecord]:
    """Run the missing cells of a grid, and return the records of all its cells.

    In a script this belongs below ``if __name__ == "__main__":``, since worker processes import the
    script.

    Args:
        grid: Grid, or several.
        folder: Results folder; its cells are not run again.
        executor: ``serial``, ``process`` or ``ray``, see
            `mbo_gym.benchmark.execute.executor.make_executor`.
        workers: Number of CPU cores to use.
        address: Address of a Ray cluster.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..
        retry: Whether failed cells run again.
        loggers: Loggers of the metrics, see `mbo_gym.runs.request.RunRequest`.
        show: Observer of the run, or None.
        shard: (i, n): run the i-th of n parts of the cells, from 1; n processes with one folder,
            one for each part, run all. None for all cells.

    Raises:
        UnknownId: No method, preset, setting, task, option or executor has that name.
        MissingData: The data of a task are not on this machine.
        ValueError: The grid is empty or doubled, torch has no such device, or another process is
            writing to the folder.
    """
    show = show or RunObserver()
    check_execution(executor, workers=workers, address=address, device=device)
    store = ResultStore(folder, "" if shard is None else "{}of{}".format(*shard))
    cells = cells_of([grid] if isinstance(grid, Grid) else grid, store.configs)
    if shard is not None:
        cells = cells[shard[0] - 1 :: shard[1]]
    with store.writing(None if shard is None else {cell.key for cell in cells}) as known:
        plan = make_plan(cells, known, retry=retry)
        store.configs.save()
        runner = None
        if executor != "ray":  # whose machines have data of their own
            _check_data(plan.to_run)
        if plan.to_run:  # a cluster that does not answer is said before anything is
            runner = make_executor(executor, workers=workers, address=address)
        show.plan(plan)
        if runner is not None:
            run_cells(plan.to_run, store, runner, device=device, loggers=loggers, show=show)
    keys = {cell.key for cell in cells}
    return [record for record in store.records() if record.key in keys]


def check_execution(
    executor: str, *, workers: int | None, address: str | None, device: str
) -> None:
    """Raise what cannot work whatever the grid is, before a folder is made or a cell is run.

    Raises:
        UnknownId: No executor has that name.
        ValueError: torch has no such device, or `workers` or `address` is out of range.
    """
    check_executor(executor, workers=workers, address=address)
    if device != "cpu":  # which planning does without torch
        from mbo_gym.runs.one_run import check_device

        check_device(device)


def _check_data(cells: Sequence[Cell]) -> None:
    """Raise MissingData where the data of a task are not on this machine."""
    from mbo_gym.data import manifest
    from mbo_gym.tasks.registry import make_task, task_info

    tasks = {(c.request.task_id, repr(c.request.options)): c.request for c in cells}
    for request in tasks.values():
        folder = request.options.get("folder")
        if folder is not None:
            missing = not Path(str(folder)).is_dir()
        else:
            sources = task_info(request.task_id).sources
            missing = bool(sources) and all(manifest.find(name) is None for name in sources)
        if missing:  # the task itself knows best what it lacks
            make_task(request.task_id, **request.options)


def run_cells(
    cells: Sequence[Cell],
    store: ResultStore,
    executor: Executor,
    *,
    device: str = "cpu",
    loggers: tuple[str, ...] = (),
    show: RunObserver | None = None,
) -> None:
    """Run cells and store their records as they come; the store must be held for writing.

    A cell whose worker is lost is tried again, `ATTEMPTS` times in all. On Ctrl-C or an error the
    running cells are stopped and leave nothing behind; what was finished is kept.

    Args:
        cells: Cells to run, in this order.
        store: Store of the records.
        executor: Executor of the cells; it is closed at the end.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..
        loggers: Loggers of the metrics, see `mbo_gym.runs.request.RunRequest`.
        show: Observer of the run, or None.
    """
    show = show or RunObserver()
    peaks = measured_mb(store.records())
    queue = deque(
        Job(
            cell,
            store.cells / cell.folder_name,
            device,
            _resources(cell, peaks),
            loggers=loggers,
            checkpoints=checkpoint_folder(store, cell, device),
        )
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


def checkpoint_folder(store: ResultStore, cell: Cell, device: str) -> Path | None:
    """Return the folder of a cell's checkpoints; None where the source of its method is not known.

    Its name has a hash of the source, so that a checkpoint of another version does not count.
    """
    source = source_hash(cell.request.method)
    if source is None:
        return None
    return store.folder / CHECKPOINTS / f"{cell.folder_name}-{content_key([source, device])[:8]}"


def _resources(cell: Cell, peaks: Mapping[tuple[str, str, str], float]) -> Resources:
    """Return the resources of a cell.

    There are no more threads than this machine has cores, and memory for the data of the task.
    """
    kind = method_class(cell.request.method)
    resources: Resources = getattr(kind, "RESOURCES", Resources())
    return replace(
        resources,
        cpus=min(resources.cpus, available_cpus()),
        memory_gb=memory_for(cell.request, resources.memory_gb, peaks),
    )
