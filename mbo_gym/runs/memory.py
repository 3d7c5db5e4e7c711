"""Memory of a run: what reading its task took, what this process holds while a method learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbo_gym.machine import peak_memory_mb, reset_peak_memory
from mbo_gym.problem.task import Task
from mbo_gym.tasks.registry import make_task

__all__ = ["MadeTask", "make_measured", "most"]


@dataclass(frozen=True, eq=False)
class MadeTask:
    """A task, and the memory that making it took.

    Args:
        task: The task.
        peak_mb: Most memory that this process held until it was made, MiB; None where unknown.
    """

    task: Task
    peak_mb: float | None


def make_measured(task_id: str, **options: Any) -> MadeTask:
    """Make a task, see `mbo_gym.make_task`, and measure the memory that reading it takes."""
    reset_peak_memory()
    task = make_task(task_id, **options)
    return MadeTask(task, peak_memory_mb())


def most(*peaks: float | None) -> float | None:
    """Return the largest of the peaks that are known, or None."""
    known = [peak for peak in peaks if peak is not None]
    return max(known, default=None)
