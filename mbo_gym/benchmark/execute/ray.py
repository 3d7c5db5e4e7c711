"""Executor on a Ray cluster, or on a local one that is started for it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.execute.worker import Job, Lost, Outcome, execute_elsewhere
from mbo_gym.files.store import ENVIRONMENT_VARIABLE
from mbo_gym.optional import optional_import

__all__ = ["RayExecutor"]


class RayExecutor:
    """Executor that runs jobs as Ray tasks, and puts the files that come back in place.

    Every machine of a cluster needs mbo_gym, the methods' packages and the tasks' data; the path in
    $MBO_GYM_DATA and the files named in task options must be valid there.

    Args:
        workers: Number of CPU cores of a local cluster, None for all; a running cluster has its
            own.
        address: Address of a running cluster, ``auto`` for the one this machine belongs to; None
            starts a local one.

    Raises:
        MissingDependency: ray is not installed.
        ValueError: No cluster answers at the address.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        # Ray's coming default; without it Ray warns
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray = optional_import("ray", "distributed")
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            names = (ENVIRONMENT_VARIABLE, "MBO_GYM_DESIGN_BENCH", "OMP_WAIT_POLICY", "PYTHONPATH")
            environment = {name: os.environ[name] for name in names if name in os.environ}
            try:
                ray.init(
                    address=address or "local",
                    num_cpus=None if address else workers,
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": environment},
                )
            except (ConnectionError, RuntimeError) as error:
                raise ValueError(f"no Ray cluster answers at {address!r}: {error}") from error
        self._remote: Any = ray.remote(execute_elsewhere)
        self._jobs: dict[Any, Job] = {}
        self._cpus = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._memory = max((node.get("memory", 0.0) for node in nodes), default=0.0)

    def has_room(self, job: Job) -> bool:
        """Return whether Ray's queue is short; Ray starts jobs when resources are free."""
        return len(self._jobs) < 2 * self._cpus

    def submit(self, job: Job) -> None:
        """Hand a job to Ray; it waits there for its resources."""
        on_gpu = job.device != "cpu"
        remote = self._remote.options(
            num_cpus=min(job.resources.cpus, self._cpus),
            num_gpus=job.resources.gpu_share if on_gpu else 0,
            # More than any machine has would wait for ever.
            memory=int(min(job.resources.memory_gb * 2**30, self._memory)),
            max_retries=0,  # the benchmark counts and retries lost cells itself
            name=job.cell.folder_name,
        )
        self._jobs[remote.remote(job)] = job

    def wait(self) -> Iterator[tuple[Job, Outcome]]:
        """Wait for the first jobs to end."""
        errors = self._ray.exceptions
        done, _ = self._ray.wait(list(self._jobs), num_returns=1)
        for reference in done:
            job = self._jobs.pop(reference)
            try:
                record, files = self._ray.get(reference)
            except errors.RayTaskError:
                # `execute` keeps the errors of methods, so this is a bug of ours
                raise
            except errors.RayError as error:
                reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                yield job, Lost(f"Ray lost it: {reason}")
                continue
            if not isinstance(record, Lost):
                _place(job.folder, files)
            yield job, record

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return bool(self._jobs)

    def close(self, *, now: bool) -> None:
        """Stop running jobs if `now`, and a local cluster."""
        if now:
            for reference in self._jobs:
                self._ray.cancel(reference, force=True)
        self._jobs = {}
        if self._started:
            self._ray.shutdown()


def _place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a cell's folder, whole or not at all."""
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    for name, content in files.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    partial.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
