"""The executor protocol, and executors by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Protocol

from mbo_gym.benchmark.execute.worker import Job, Lost, Outcome
from mbo_gym.registry import Registry

__all__ = ["Executor", "Lost", "Outcome", "available_cpus", "check_executor", "make_executor"]


class Executor(Protocol):
    """Runs jobs, several at once."""

    def has_room(self, job: Job) -> bool:
        """Return whether the job's resources are free."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job."""
        ...

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        """Wait until at least one job has ended, and yield those that have."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        ...

    def close(self, *, now: bool) -> None:
        """End the workers; with `now`, stop running jobs, which remove their folders."""
        ...


EXECUTORS = Registry("executor")
"""Every executor by name; each is built from `workers` and `address`."""

for _name, _entry_point in {
    "serial": "mbo_gym.benchmark.execute.local:SerialExecutor",
    "process": "mbo_gym.benchmark.execute.local:ProcessExecutor",
    "ray": "mbo_gym.benchmark.execute.ray:RayExecutor",
}.items():
    EXECUTORS.register(_name, _entry_point)


def make_executor(name: str, *, workers: int | None, address: str | None = None) -> Executor:
    """Build an executor.

    Args:
        name: ``serial``, ``process`` or ``ray``.
        workers: Number of CPU cores to use; None for all of this machine (or of the cluster).
        address: Address of a running Ray cluster, ``auto`` for the one this machine belongs to;
            None for a local one.

    Raises:
        UnknownId: No executor has that name.
        MissingDependency: Its library is not installed.
        ValueError: `workers` or `address` is out of range, or no cluster answers.
    """
    check_executor(name, workers=workers, address=address)
    executor: Executor = EXECUTORS.spec(name).make(workers=workers, address=address)
    return executor


def check_executor(name: str, *, workers: int | None, address: str | None = None) -> None:
    """Raise what `make_executor` would raise, as far as that shows without starting anything."""
    if name == "slurm":
        raise ValueError(
            "a job array is no executor of this process. Run the grid with "
            "mbo_gym.benchmark.execute.slurm.run_on_slurm."
        )
    EXECUTORS.spec(name)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if address is not None and name != "ray":
        raise ValueError(f"an address is for the ray executor, got {address!r} with {name!r}")


def available_cpus() -> int:
    """Return the CPU cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
