"""Runs one cell from start to record, in any process."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.execute.results import write_record
from mbo_gym.benchmark.plan.grid import Cell
from mbo_gym.benchmark.record import CellError, CellRecord, CellResult, Environment
from mbo_gym.errors import DamagedFile, MboGymError, MissingData
from mbo_gym.methods.base import Resources
from mbo_gym.methods.registry import method_class
from mbo_gym.runs.request import RunRequest

__all__ = [
    "GridStopped",
    "Job",
    "Lost",
    "Outcome",
    "execute",
    "execute_elsewhere",
    "failure",
    "limit_threads",
]


@dataclass(frozen=True)
class Job:
    """A cell that is to run, with folder, device and resources.

    Args:
        cell: The cell.
        folder: Folder of the cell, which the job creates.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..
        resources: Resources of the method; `cpus` is also the number of threads.
        loggers: Loggers of the metrics, see `mbo_gym.runs.request.RunRequest`.
        attempt: Number of the attempt; more than 1 where a worker was lost.
        checkpoints: Folder of this cell's checkpoints, removed when the cell ends; None for none.
    """

    cell: Cell
    folder: Path
    device: str
    resources: Resources
    loggers: tuple[str, ...] = ()
    attempt: int = 1
    checkpoints: Path | None = None


_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)
"""Errors that say nothing of a method: no space, quota, read-only, too many open files."""


class GridStopped(MboGymError):
    """A benchmark cannot go on, for a reason that is no method's."""


@dataclass(frozen=True)
class Lost:
    """Outcome of a cell whose process or machine is gone."""

    reason: str


Outcome = CellRecord | Lost
"""Outcome of a job: the record of its cell, or the reason why there is none."""


def execute(job: Job) -> Outcome:
    """Run a cell and return its record, which is written into its folder too.

    An error of the method makes a failed record; a method whose process died, none.

    Raises:
        GridStopped: The task's data are missing.
        OSError: The disk is full or cannot be written to.
    """
    from mbo_gym.runs.apart import LearnerLost
    from mbo_gym.runs.one_run import run

    started = time.perf_counter()
    request = replace(job.cell.request, device=job.device, loggers=job.loggers)
    try:
        with limit_threads(job.resources.cpus):
            made = _made(request)
            result = run(
                request,
                job.folder,
                task=made.task,
                overwrite=True,
                quiet=True,
                keep_rows=False,
                task_peak_mb=made.peak_mb,
                checkpoints=job.checkpoints,
            )
    except LearnerLost as error:
        return Lost(str(error))
    except OSError as error:
        if error.errno in _OF_THE_MACHINE:
            raise
        record = _failed(job, error, started)
    except GridStopped:
        raise
    except (Exception, SystemExit) as error:  # whatever a method does wrong is kept as a result
        record = _failed(job, error, started)
    else:
        outcome = CellResult.from_json(result.to_dict())
        record = _record(job, time.perf_counter() - started, result=outcome)
    write_record(job.folder, record)
    if job.checkpoints is not None:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    return record


def _made(request: RunRequest) -> Any:
    """Return the task of a run, with the memory that making it took.

    Raises:
        GridStopped: Its data are missing or damaged here, which is no result of the method.
    """
    try:
        return _task(request.task_id, json.dumps(dict(request.options), sort_keys=True))
    except (MissingData, DamagedFile) as error:
        raise GridStopped(f"{request.task_id}: {error}") from error


def _failed(job: Job, error: BaseException, started: float) -> CellRecord:
    record = failure(job, error, time.perf_counter() - started)
    shutil.rmtree(job.folder, ignore_errors=True)
    return record


def execute_elsewhere(job: Job) -> tuple[Outcome, dict[str, bytes]]:
    """Run a cell on a machine that may share no disk with us.

    Returns:
        The record, or why there is none; and the files of the cell's folder by their paths in it.
    """
    with tempfile.TemporaryDirectory(prefix="mbo_gym-") as scratch:
        folder = Path(scratch) / job.folder.name
        record = execute(replace(job, folder=folder, checkpoints=None))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return record, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def failure(job: Job, error: BaseException, seconds: float) -> CellRecord:
    """Return the record of a cell that failed."""
    from mbo_gym.runs.apart import MethodFailed

    text = "".join(traceback.format_exception(error))
    name = getattr(error, "name", "") if isinstance(error, MethodFailed) else type(error).__name__
    return _record(job, seconds, error=CellError(name, str(error), text))


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Let torch and the BLAS and OpenMP libraries of numpy and scikit-learn use `n` threads."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def _task(task_id: str, options: str) -> Any:
    """Return a task; the last two are kept, as a worker runs the cells of one task in turn."""
    from mbo_gym.runs.memory import make_measured

    return make_measured(task_id, **json.loads(options))


def _record(
    job: Job,
    seconds: float,
    *,
    result: CellResult | None = None,
    error: CellError | None = None,
) -> CellRecord:
    from mbo_gym.runs.provenance import environment_facts

    cell = job.cell
    environment = environment_facts()
    environment["machine"]["threads"] = job.resources.cpus
    return CellRecord(
        key=cell.key,
        label=cell.label,
        request=replace(cell.request, device=job.device),
        config=cell.config,
        status="done" if error is None else "failed",
        environment=Environment(**environment),
        finished=datetime.now(timezone.utc).isoformat(),
        seconds=seconds,
        command=cell.request.command,
        control=bool(getattr(method_class(cell.request.method), "CONTROL", False)),
        cpus=job.resources.cpus,
        attempts=job.attempt,
        result=result,
        error=error,
    )
