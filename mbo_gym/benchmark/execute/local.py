"""Executors of this machine: one in this process, one with worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace

from mbo_gym.benchmark.execute.executor import available_cpus
from mbo_gym.benchmark.execute.worker import Job, Lost, Outcome, execute
from mbo_gym.machine import memory_gb

__all__ = ["ProcessExecutor", "SerialExecutor"]

_SECONDS_TO_CLEAN_UP = 10
_SECONDS_TO_A_SIGNAL = 0.5


class SerialExecutor:
    """Executor that runs one job after the other in this process.

    Args:
        workers: Ignored; there is one.
        address: Ignored.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self._job: Job | None = None

    def has_room(self, job: Job) -> bool:
        """Return whether nothing is waiting."""
        return self._job is None

    def submit(self, job: Job) -> None:
        """Keep the job; it runs in `wait`."""
        self._job = job

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        """Run the job."""
        if self._job is not None:
            job, self._job = self._job, None
            yield job, execute(job)

    @property
    def busy(self) -> bool:
        """Whether a job is waiting to run."""
        return self._job is not None

    def close(self, *, now: bool) -> None:
        """Do nothing: there are no workers."""


@dataclass
class _Worker:
    """A pool of one process, so that a process that dies takes a known job with it."""

    pool: ProcessPoolExecutor
    pid: Future[int]
    job: Job | None = None
    future: Future[Outcome] | None = None


class ProcessExecutor:
    """Executor with worker processes on this machine.

    Processes are spawned: torch's threads do not survive a fork.

    Args:
        workers: Number of CPU cores to share, None for all of this machine. A job that needs more
            runs alone.
        address: Ignored.
        memory: Memory to share, GiB; None for all of this machine.
        sheltered: Whether workers ignore SIGTERM and SIGUSR2, which Slurm sends to all processes of
            a job though they are for this one; `close` then kills them.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        *,
        memory: float | None = None,
        sheltered: bool = False,
    ) -> None:
        self._cpus = workers or available_cpus()
        self._memory_gb = memory or memory_gb()
        self._sheltered = sheltered
        self._workers: list[_Worker] = []

    def has_room(self, job: Job) -> bool:
        """Return whether the job's cores, memory and share of a GPU are free."""
        running = [w.job for w in self._workers if w.job is not None]
        if not running:
            return True
        everything = [*running, job]
        return (
            sum(j.resources.cpus for j in everything) <= self._cpus
            and sum(j.resources.memory_gb for j in everything) <= self._memory_gb
            and (job.device == "cpu" or _free_gpu(running, job) is not None)
        )

    def submit(self, job: Job) -> None:
        """Hand the job to an idle worker, or a new one."""
        running = [w.job for w in self._workers if w.job is not None]
        if job.device == "cuda" and (gpu := _free_gpu(running, job)) is not None:
            job = replace(job, device=f"cuda:{gpu}")
        worker = next((w for w in self._workers if w.job is None), None)
        if worker is None:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(
                1, mp_context=context, initializer=_start_worker, initargs=(self._sheltered,)
            )
            worker = _Worker(pool, pool.submit(os.getpid))
            self._workers.append(worker)
        worker.job, worker.future = job, worker.pool.submit(execute, job)

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        """Wait for the first jobs to end; the job of a worker that died is lost."""
        running = [w.future for w in self._workers if w.future is not None]
        # A signal that reaches another thread is handled when this one wakes
        while running and not wait(running, _SECONDS_TO_A_SIGNAL, FIRST_COMPLETED).done:
            pass
        for worker in list(self._workers):
            job, future = worker.job, worker.future
            if job is None or future is None or not future.done():
                continue
            worker.job = worker.future = None
            try:
                yield job, future.result()
            except BrokenProcessPool:
                self._workers.remove(worker)
                worker.pool.shutdown(wait=False)
                yield job, Lost("its worker process died (killed, or out of memory)")

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return any(w.job is not None for w in self._workers)

    def close(self, *, now: bool) -> None:
        """End the workers."""
        futures = [w.future for w in self._workers if w.future is not None]
        if now:
            if not self._sheltered:
                self._signal(signal.SIGTERM)
                wait(futures, timeout=_SECONDS_TO_CLEAN_UP)
            if any(not future.done() for future in futures):
                self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        for worker in self._workers:
            worker.pool.shutdown(wait=True, cancel_futures=True)
        self._workers = []

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.job is not None and worker.future is not None and not worker.future.done():
                with suppress(BrokenProcessPool, ProcessLookupError):
                    os.kill(worker.pid.result(timeout=_SECONDS_TO_CLEAN_UP), number)


def _start_worker(sheltered: bool) -> None:
    """Leave Ctrl-C to the main process, and end with it."""
    if sheltered:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    from mbo_gym.runs.apart import fork_nursery

    fork_nursery()  # while this process has made no task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # KeyboardInterrupt lets a running cell remove its folder
    signal.signal(signal.SIGTERM, signal.SIG_IGN if sheltered else signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _free_gpu(running: list[Job], job: Job) -> int | None:
    """Return the GPU with the most room for a job, or None."""
    import torch

    used = [0.0] * torch.cuda.device_count()
    for other in running:
        if other.device.startswith("cuda:"):
            used[int(other.device[5:])] += other.resources.gpu_share
    chosen = [int(job.device[5:])] if job.device.startswith("cuda:") else range(len(used))
    best = min(chosen, key=lambda gpu: used[gpu], default=None)
    return best if best is not None and used[best] + job.resources.gpu_share <= 1 + 1e-9 else None
