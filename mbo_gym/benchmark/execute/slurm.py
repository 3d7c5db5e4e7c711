"""Runs a benchmark as a job array on a Slurm cluster, through submitit.

    this process             each task of the array
    plan, pack, submit ----> a writer of its own: run cells, write records
    read the folder <------- results-slurm-<array>-<task>.jsonl

Nobody holds a lock. A task that is pre-empted or timed out is requeued by submitit, and runs those
of its cells that have no record.
"""

from __future__ import annotations

import pickle
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

from mbo_gym.benchmark.execute.arrays import ARRAYS, JobArray, read_arrays, result_name
from mbo_gym.benchmark.execute.local import ProcessExecutor
from mbo_gym.benchmark.execute.results import ResultStore, write_record
from mbo_gym.benchmark.execute.runner import (
    ATTEMPTS,
    Plan,
    RunObserver,
    WorkerLost,
    estimate_seconds,
    make_plan,
    run_cells,
)
from mbo_gym.benchmark.execute.worker import GridStopped, Job, failure
from mbo_gym.benchmark.plan.grid import Cell, Grid, cells_of
from mbo_gym.benchmark.plan.slurm import SlurmOptions, packed
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.methods.base import Resources
from mbo_gym.methods.costs import RECORDED_SECONDS
from mbo_gym.methods.registry import method_class
from mbo_gym.optional import optional_import

__all__ = ["ArrayTask", "SlurmRun", "run_on_slurm"]

_EXTRA = "slurm"
_UNKNOWN_SECONDS = 60.0
"""Predicted seconds of a cell where no method of the grid has a recorded time."""
_SPARE_GB = 2.0
"""Memory of a task beside its cells: this package in the processes that run no method."""
_LOOK = {"slurm": 10.0, "local": 0.2}
"""Seconds between two looks at the folder."""
_ASK = {"slurm": 30.0, "local": 0.2}
"""Seconds between two questions for the tasks at work."""
_LAG = {"slurm": 60.0, "local": 0.0}
"""Seconds after which all that other machines wrote is seen; NFS caches for 60."""


@dataclass(frozen=True)
class ArrayTask:
    """Task of a job array: a writer of its own, for some cells; submitit pickles and calls it.

    Args:
        folder: Results folder, absolute.
        writer: Name of the writer.
        cells: Cells of the task.
        stale: Time at which a failed cell's record ended that is not to count, by key.
        device: ``cpu``, ``cuda``, ..
        loggers: Loggers of the metrics.
        cpus: CPU cores to share.
        memory_gb: Memory to share.
    """

    folder: Path
    writer: str
    cells: tuple[Cell, ...]
    stale: Mapping[str, str]
    device: str
    loggers: tuple[str, ...]
    cpus: int
    memory_gb: float

    def __call__(self) -> None:
        """Run the cells that have no record.

        Raises:
            ValueError: torch has no such device here.
            GridStopped: A task's data are missing here.
        """
        if self.device != "cpu":
            from mbo_gym.runs.one_run import check_device

            check_device(self.device)
        store = ResultStore(self.folder, self.writer)
        with store.writing({cell.key for cell in self.cells}) as known:
            fresh = {k: r for k, r in known.items() if r.finished != self.stale.get(k)}
            plan = make_plan(self.cells, fresh, retry=False)
            executor = ProcessExecutor(self.cpus, memory=self.memory_gb, sheltered=True)
            run_cells(plan.to_run, store, executor, device=self.device, loggers=self.loggers)

    def checkpoint(self) -> Any:
        """Return what submitit requeues on pre-emption and time-out: the same task."""
        return optional_import("submitit.helpers", _EXTRA).DelayedSubmission(self)


def run_on_slurm(
    grid: Grid | Iterable[Grid],
    folder: Path,
    options: SlurmOptions | None = None,
    *,
    device: str = "cpu",
    retry: bool = False,
    loggers: tuple[str, ...] = (),
    show: RunObserver | None = None,
    wait: bool = True,
    submitted: Callable[[JobArray], None] = lambda array: None,
) -> list[CellRecord]:
    """Run the missing cells of a grid as a job array; return the records of all its cells.

    Cells that an array of an earlier call is at work on are not submitted again, but waited for. A
    cell whose task was lost is submitted again, in a task of its own, `ATTEMPTS` times in all.

    Args:
        grid: Grid, or several.
        folder: Results folder, on a file system that all nodes share.
        options: What to ask of Slurm; None for the defaults.
        device: ``cpu``, ``cuda``, ..
        retry: Whether failed cells run again.
        loggers: Loggers of the metrics, see `mbo_gym.runs.request.RunRequest`.
        show: Observer of the run, or None.
        wait: Whether to wait for the cells; else the records there are come back at once.
        submitted: Called with each array at work, whether submitted now or before.

    Raises:
        MissingDependency: submitit is not installed.
        UnknownId: No method, preset, setting, task or option has that name.
        ValueError: This machine has no sbatch, or a task has too few cores.
        GridStopped: A task ended with an error that is no method's.
    """
    submitit = optional_import("submitit", _EXTRA)
    options = options or SlurmOptions()
    if options.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ValueError(
            "there is no sbatch and srun here, so this is no Slurm machine. Run this on a login "
            "node of a Slurm cluster, or start parts of the grid with any scheduler: --shard 3/20."
        )
    if options.cluster == "debug" and not wait:
        raise ValueError("with cluster debug the cells run in this process. Wait for them.")
    show = show or RunObserver()
    store = ResultStore(folder.absolute())
    cells = cells_of([grid] if isinstance(grid, Grid) else grid, store.configs)
    known = {r.key: r for r in store.records()} if store.exists else {}
    plan = make_plan(cells, known, retry=retry)
    show.plan(plan)
    if plan.to_run:
        store.cells.mkdir(parents=True, exist_ok=True)
        store.configs.save()
        run = SlurmRun(submitit, store, options, plan, known, device, loggers, submitted)
        run.start()
        if wait:
            run.finish(show)
    keys = {cell.key for cell in cells}
    return [r for r in store.records() if r.key in keys] if store.exists else []


class SlurmRun:
    """Submission of the cells of a plan, and the watch over them.

    Args:
        submitit: The library.
        store: Store of the records, which this process only reads.
        options: What to ask of Slurm.
        plan: Plan of the cells.
        known: Records by key, before anything is submitted.
        device: ``cpu``, ``cuda``, ..
        loggers: Loggers of the metrics.
        submitted: Called with each array at work.
    """

    def __init__(
        self,
        submitit: Any,
        store: ResultStore,
        options: SlurmOptions,
        plan: Plan,
        known: Mapping[str, CellRecord],
        device: str,
        loggers: tuple[str, ...],
        submitted: Callable[[JobArray], None],
    ) -> None:
        self._submitit = submitit
        self._store = store
        self._options = options
        self._cells = {cell.key: cell for cell in plan.to_run}
        self._known = known
        self._stale = {key: known[key].finished for key in self._cells if key in known}
        self._device = device
        self._loggers = loggers
        self._submitted = submitted
        self._arrays: list[JobArray] = []
        self._jobs: list[Any] = []

    def start(self) -> None:
        """Submit the cells that no array is at work on."""
        busy: set[str] = set()
        for array in read_arrays(self._store.folder):
            states = array.states(self._store.folder)
            own = {key for task in states for key in array.keys[task]} & set(self._cells)
            if own:
                busy |= own
                self._keep(array)
        left = [cell for key, cell in self._cells.items() if key not in busy]
        if left:
            self._submit(left, self._options.target_minutes * 60)

    def finish(self, show: RunObserver) -> None:
        """Wait for all cells, and submit those again whose tasks were lost.

        Raises:
            GridStopped: A task ended with an error that is no method's.
        """
        left = dict(self._cells)
        for attempt in range(1, ATTEMPTS + 1):
            self._watch(left, show)
            if not left:
                return
            self._stop_on_errors()
            if attempt < ATTEMPTS:
                # each on its own: one that takes its task along takes no other cell along
                self._arrays = []
                self._submit(list(left.values()), 0.0)
        self._give_up(left, show)

    def _submit(self, cells: Sequence[Cell], target: float) -> None:
        """Submit an array for cells, in tasks of at most `target` predicted seconds."""
        options = self._options
        seconds = predicted_seconds(cells, list(self._known.values()))
        tasks = packed(seconds, target, options.max_tasks)
        name = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        folder = self._store.folder / ARRAYS / name
        needs = [resources_of(cell) for cell in cells]
        cpus = _cpus(options, needs)
        memory = options.memory_gb or _SPARE_GB + _memory(needs, cpus)
        longest = max(sum(seconds[i] for i in task) for task in tasks)
        executor = self._executor(folder, options.limit(longest), cpus, memory)
        functions = [
            ArrayTask(
                folder=self._store.folder,
                writer=f"slurm-{name}-{number}",
                cells=tuple(cells[i] for i in task),
                stale=self._stale,
                device=self._device,
                loggers=self._loggers,
                cpus=cpus,
                memory_gb=memory,
            )
            for number, task in enumerate(tasks)
        ]
        jobs = executor.submit_array(functions)
        array = JobArray(
            name=name,
            cluster=options.cluster,
            ids=tuple(job.job_id for job in jobs),
            keys=tuple(tuple(cells[i].key for i in task) for task in tasks),
            seconds=tuple(tuple(seconds[i] for i in task) for task in tasks),
            max_parallel=options.max_parallel,
            submitted=datetime.now(timezone.utc).isoformat(),
        )
        array.write(self._store.folder)
        self._jobs = jobs
        self._keep(array)

    def _keep(self, array: JobArray) -> None:
        self._arrays.append(array)
        self._submitted(array)

    def _executor(self, folder: Path, limit: int, cpus: int, memory: float) -> Any:
        """Return submitit's executor."""
        options = self._options
        executor = self._submitit.AutoExecutor(
            folder,
            cluster=options.cluster,
            slurm_max_num_timeout=options.timeouts,
            local_max_num_timeout=options.timeouts,
        )
        more: dict[str, Any] = {"requeue": True}  # where a node is lost
        for text in options.sbatch:
            key, equals, value = text.partition("=")
            more[key] = value if equals else True
        gpus = options.gpus
        if gpus is None:
            gpus = 0 if self._device == "cpu" else 1
        executor.update_parameters(
            name="mbo-gym",
            timeout_min=limit,
            cpus_per_task=cpus,
            mem_gb=memory,
            gpus_per_node=gpus or None,
            slurm_partition=options.partition,
            slurm_account=options.account,
            slurm_qos=options.qos,
            slurm_constraint=options.constraint,
            slurm_array_parallelism=options.max_parallel,
            slurm_setup=list(options.setup) or None,
            slurm_srun_args=["--cpus-per-task", str(cpus)],  # srun does not take it from sbatch
            slurm_additional_parameters=more,
        )
        return executor

    def _watch(self, left: dict[str, Cell], show: RunObserver) -> None:
        """Show the records of cells as they come, and take these cells away from `left`.

        It ends when nothing is left, or no task is at work.
        """
        cluster = self._options.cluster
        if cluster == "debug":
            for job in self._jobs:
                job.submission().result()
        asked, at_work, seen = float("-inf"), True, ()
        while left:
            now = time.monotonic()
            if now - asked >= _ASK.get(cluster, 0.0):
                asked, at_work = now, self._at_work()
            if not at_work:
                time.sleep(_LAG.get(cluster, 0.0))
            seen = self._take(left, show, seen if at_work else ())
            if not at_work:
                return
            if left:
                time.sleep(_LOOK.get(cluster, 0.0))

    def _at_work(self) -> bool:
        for job in self._jobs:
            job.get_info("cache")  # collects a process of this one that has ended
        return any(array.states(self._store.folder) for array in self._arrays)

    def _take(
        self, left: dict[str, Cell], show: RunObserver, seen: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Show new records where the files have changed since `seen`; return their state."""
        state = self._store.state()
        if state == seen:
            return state
        for record in self._store.records() if self._store.exists else []:
            if record.key in left and record.finished != self._stale.get(record.key):
                show.start(left.pop(record.key))
                show.end(record)
        return state

    def _stop_on_errors(self) -> None:
        """Raise GridStopped where a task ended with an error, other than too many time-outs."""
        for array in self._arrays:
            folder = self._store.folder / ARRAYS / array.name
            for job in array.ids:
                path = folder / result_name(job)
                if not path.exists():
                    continue
                outcome, found = pickle.loads(path.read_bytes())
                if outcome == "error" and "UncompletedJobError" not in found:
                    raise GridStopped(
                        f"task {job} of the array stopped: {found.strip().splitlines()[-1]}. "
                        f"Its log is {folder / f'{job}_0_log.err'}."
                    )

    def _give_up(self, left: Mapping[str, Cell], show: RunObserver) -> None:
        """Record the cells that are left as failed."""
        writer = ResultStore(self._store.folder, f"slurm-{self._arrays[-1].name}-lost")
        for cell in left.values():
            job = Job(cell, writer.cells / cell.folder_name, self._device, resources_of(cell))
            reason = "its Slurm task ended without a record (killed, out of memory or of time)"
            record = failure(job, WorkerLost(f"{reason}, {ATTEMPTS} times"), seconds=0.0)
            write_record(job.folder, record)
            writer.add(record)
            show.start(cell)
            show.end(record)


def predicted_seconds(cells: Sequence[Cell], records: Sequence[CellRecord]) -> list[float]:
    """Return the predicted seconds of each cell.

    Those of past cells of the folder; else what the benchmark of this repository recorded for the
    method; else the mean of the cells that have a prediction.
    """
    found = []
    for cell, past in zip(cells, estimate_seconds(cells, records), strict=True):
        recorded = RECORDED_SECONDS.get(cell.label, RECORDED_SECONDS.get(cell.request.method))
        found.append(past if past is not None else recorded)
    known = [seconds for seconds in found if seconds is not None]
    mean = fmean(known) if known else _UNKNOWN_SECONDS
    return [mean if seconds is None else seconds for seconds in found]


def resources_of(cell: Cell) -> Resources:
    """Return the resources that a cell's method asks for."""
    found: Resources = getattr(method_class(cell.request.method), "RESOURCES", Resources())
    return found


def _cpus(options: SlurmOptions, needs: Sequence[Resources]) -> int:
    """Return the cores of a task.

    Raises:
        ValueError: They are fewer than a method needs, whose results depend on their number.
    """
    most = max(need.cpus for need in needs)
    if options.cluster != "slurm":
        return options.cpus or most
    if options.cpus is not None and options.cpus < most:
        raise ValueError(
            f"a method of this grid runs on {most} cores, got cpus={options.cpus} for a task. Set "
            f"cpus to at least {most}; results depend on it."
        )
    return options.cpus or most


def _memory(needs: Sequence[Resources], cpus: int) -> float:
    """Return the memory of the cells that run at once, GiB."""
    at_once = max(1, cpus // min(need.cpus for need in needs))
    return sum(sorted((need.memory_gb for need in needs), reverse=True)[:at_once])
