"""What a benchmark asks of Slurm, and which cells go into which task of the job array."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mbo_gym.settings import require_at_least, typed_fields

__all__ = ["SlurmOptions", "minutes", "packed", "slurm_options"]

_LEAST_MINUTES = 60
"""Shortest default time limit."""
_SPARE = 3
"""A default time limit is this many times the longest task's predicted time."""


@dataclass(frozen=True)
class SlurmOptions:
    """Settings of a job array: the table ``[slurm]`` of a grid's file, and ``--slurm key=value``.

    Args:
        partition: Partition; None for Slurm's default. So with the next three.
        account: Account.
        qos: Quality of service.
        constraint: Features of the nodes.
        time_limit: Time limit of a task: minutes, or a text as sbatch takes it (``4:00:00``,
            ``1-12:00:00``). None for three times the longest task's predicted time, at least an
            hour.
        target_minutes: Longest predicted time of a task with more than one cell.
        max_parallel: Tasks that run at the same time.
        max_tasks: Tasks of the array; Slurm's own limit (MaxArraySize) is 1001 by default.
        cpus: CPU cores of a task, which share its cells. None for what its most demanding method
            needs.
        memory_gb: Memory of a task, GiB. None for what that many cells at once need.
        gpus: GPUs of a task. None for one where the device is a GPU, else none.
        timeouts: Time-outs after which a task is not requeued any more. Pre-emption does not count.
        setup: Shell commands that run before a task, e.g. ``module load python``.
        sbatch: Further options of sbatch without their dashes, e.g. ``mail-type=END``.
        cluster: ``slurm``; or to try things out on this machine ``local``, with one process for
            each task and all of them at once, or ``debug``, one after the other in this process.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time_limit: int | str | None = None
    target_minutes: float = 30.0
    max_parallel: int = 100
    max_tasks: int = 1000
    cpus: int | None = None
    memory_gb: float | None = None
    gpus: int | None = None
    timeouts: int = 3
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()
    cluster: Literal["slurm", "local", "debug"] = "slurm"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_parallel", "max_tasks", "cpus")
        require_at_least(self, 0, "gpus", "timeouts")
        for name in ("target_minutes", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value!r}")
        if self.time_limit is not None:
            minutes(self.time_limit)

    def limit(self, longest_seconds: float) -> int:
        """Return the time limit in minutes of tasks of which the longest takes some time."""
        if self.time_limit is not None:
            return minutes(self.time_limit)
        return max(_LEAST_MINUTES, math.ceil(_SPARE * longest_seconds / 60))


def slurm_options(*tables: Mapping[str, Any]) -> SlurmOptions:
    """Return the options of tables; a later table counts before an earlier one.

    Raises:
        UnknownId: There is no such option; the message names the nearest.
        ValueError: A value is of the wrong type, or out of range.
    """
    merged = {key: value for table in tables for key, value in table.items()}
    return SlurmOptions(**typed_fields(SlurmOptions, merged))


def minutes(limit: int | str) -> int:
    """Return the minutes of a time limit as sbatch takes it, rounded up.

    ``90``, ``90:30`` (minutes and seconds), ``4:00:00``, ``1-12`` (days and hours), ``1-12:00:00``.

    Raises:
        ValueError: It is none of these, or not above 0.
    """
    days, dash, clock = str(limit).rpartition("-")
    parts = clock.split(":")
    whole = all(part.isdecimal() for part in [*parts, *([days] if dash else [])])
    if not whole or len(parts) > 3:
        raise _no_limit(limit)
    numbers = [int(part) for part in parts]
    if dash:
        hours, mins, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) < 3:
        hours, (mins, seconds) = 0, [*numbers, 0][:2]
    else:
        hours, mins, seconds = numbers
    total = math.ceil(((int(days or 0) * 24 + hours) * 3600 + mins * 60 + seconds) / 60)
    if total < 1:
        raise _no_limit(limit)
    return total


def _no_limit(limit: Any) -> ValueError:
    return ValueError(
        f"time_limit takes minutes above 0 or a text such as 4:00:00 or 1-12:00:00, got {limit!r}"
    )


def packed(seconds: Sequence[float], target: float, most: int) -> list[list[int]]:
    """Share cells out to tasks, so that their predicted times are even and below a target.

    The longest cells are shared out first, each to the task that is shortest so far. There are as
    few tasks as the target allows; a cell above the target has a task of its own.

    Args:
        seconds: Predicted seconds of each cell, at least one cell.
        target: Longest seconds of a task.
        most: Most tasks; where they are too few for the target, tasks are longer.

    Returns:
        Numbers of the cells of each task, in rising order.
    """
    most = min(most, len(seconds))
    allowed = max(target, max(seconds)) * (1 + 1e-9)
    n = min(most, max(1, math.ceil(sum(seconds) / allowed)))
    while True:
        tasks = _shared_out(seconds, n)
        if n == most or max(sum(seconds[i] for i in task) for task in tasks) <= allowed:
            return [sorted(task) for task in tasks]
        n = min(most, n + max(1, n // 20))


def _shared_out(seconds: Sequence[float], n: int) -> list[list[int]]:
    tasks: list[list[int]] = [[] for _ in range(n)]
    loads = [(0.0, task) for task in range(n)]
    for cell in sorted(range(len(seconds)), key=lambda i: -seconds[i]):
        load, task = heapq.heappop(loads)
        tasks[task].append(cell)
        heapq.heappush(loads, (load + seconds[cell], task))
    return tasks
