"""One cell from start to record, in whatever process it runs."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.execute.results import write_record
from mbo_gym.benchmark.plan.grid import Cell
from mbo_gym.methods.base import Resources
from mbo_gym.methods.registry import method_class

__all__ = ["Job", "execute", "execute_elsewhere", "failure", "finite", "limit_threads"]


@dataclass(frozen=True)
class Job:
    """A cell that is to run.

    Args:
        cell: What.
        folder: Where its folder will be.
        device: ``cpu``, ``cuda``, ..
        resources: What it takes; `cpus` is also its number of threads.
        loggers: See `mbo_gym.runs.one_run.RunRequest`.
        attempt: 1, or more where a worker was lost.
    """

    cell: Cell
    folder: Path
    device: str
    resources: Resources
    loggers: tuple[str, ...] = ()
    attempt: int = 1


def execute(job: Job) -> dict[str, Any]:
    """Run a cell and return its record, which also lies in its folder; an error of the method makes
    a failed record."""
    from mbo_gym.runs.one_run import RunRequest, run

    cell, started = job.cell, time.perf_counter()
    request = RunRequest(
        cell.method.name,
        cell.task.id,
        cell.seed,
        cell.k,
        cell.method.preset,
        dict(cell.method.settings),
        dict(cell.task.options),
        job.device,
        job.loggers,
    )
    try:
        with limit_threads(job.resources.cpus):
            task = _task(cell.task.id, json.dumps(dict(cell.task.options), sort_keys=True))
            result = run(request, job.folder, task=task, overwrite=True, quiet=True)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever a method does wrong is a result: it is kept and shown
        record = failure(job, error, time.perf_counter() - started)
        shutil.rmtree(job.folder, ignore_errors=True)
    else:
        record = _record(job, time.perf_counter() - started) | {
            "status": "done",
            "result": finite(result.to_dict()),
        }
    write_record(job.folder, record)
    return record


def execute_elsewhere(job: Job) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Run a cell on a machine that may not share a disk with us; return its record and the files of
    its folder."""
    with tempfile.TemporaryDirectory(prefix="mbo_gym-") as scratch:
        folder = Path(scratch) / job.folder.name
        record = execute(replace(job, folder=folder))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return record, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def failure(job: Job, error: BaseException, seconds: float) -> dict[str, Any]:
    """Return the record of a cell that failed."""
    text = "".join(traceback.format_exception(error))
    facts = {"type": type(error).__name__, "message": str(error), "traceback": text}
    return _record(job, seconds) | {"status": "failed", "error": facts}


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
    """Return a task; a worker goes from cell to cell of one task, so it keeps the last ones."""
    from mbo_gym.tasks.registry import make_task

    return make_task(task_id, **json.loads(options))


def _record(job: Job, seconds: float) -> dict[str, Any]:
    from mbo_gym.runs.provenance import environment_facts

    cell = job.cell
    environment = environment_facts()
    environment["machine"]["threads"] = job.resources.cpus
    return {
        "key": cell.key,
        "status": "",
        "label": str(cell.method),
        "method": cell.method.name,
        "preset": cell.method.preset,
        "settings": dict(cell.method.settings),
        "config": dict(cell.config),
        "control": bool(getattr(method_class(cell.method.name), "CONTROL", False)),
        "external": False,
        "task": cell.task.id,
        "options": dict(cell.task.options),
        "seed": cell.seed,
        "k": cell.k,
        "device": job.device,
        "cpus": job.resources.cpus,
        "command": cell.command,
        "attempts": job.attempt,
        "finished": datetime.now(timezone.utc).isoformat(),
        "seconds": seconds,
        "environment": environment,
        "result": None,
        "error": None,
    }


def finite(value: Any) -> Any:
    """Return plain values with None for every number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
