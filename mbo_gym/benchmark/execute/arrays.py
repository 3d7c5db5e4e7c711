"""Job arrays of a results folder: which cells each task has, and which tasks Slurm still has."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from mbo_gym.files import store
from mbo_gym.machine import is_running

__all__ = ["ARRAYS", "JobArray", "read_arrays"]

ARRAYS = "slurm"
"""Folder of a results folder with a folder for each array: its tasks, logs and ``array.json``."""
_FILE = "array.json"
_SECONDS_TO_ANSWER = 60


@dataclass(frozen=True)
class JobArray:
    """A submitted job array, as ``array.json`` keeps it.

    Args:
        name: Name of the array's folder, and start of its writers' names.
        cluster: ``slurm``, ``local`` or ``debug``.
        ids: Job id of each task; a process id with ``local``.
        keys: Keys of each task's cells.
        seconds: Predicted seconds of each task's cells.
        max_parallel: Tasks that run at the same time.
        submitted: Time of the submission, ISO 8601.
    """

    name: str
    cluster: str
    ids: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    seconds: tuple[tuple[float, ...], ...]
    max_parallel: int
    submitted: str

    @property
    def cancel(self) -> str:
        """Command that ends the array."""
        if self.cluster == "slurm":
            return f"scancel {self.job}"
        return f"kill {' '.join(self.ids)}"

    @property
    def job(self) -> str:
        """Job id of the whole array."""
        return self.ids[0].partition("_")[0]

    def write(self, results: Path) -> None:
        """Write ``array.json``."""
        path = results / ARRAYS / self.name / _FILE
        store.write_atomic(path, json.dumps(asdict(self)).encode())

    def states(self, results: Path) -> dict[int, str]:
        """Return the state of each task that has not ended, such as PENDING or RUNNING.

        UNKNOWN where Slurm does not answer, or is not reached from this machine.
        """
        folder = results / ARRAYS / self.name
        open_ = [i for i, job in enumerate(self.ids) if not (folder / result_name(job)).exists()]
        if not open_ or self.cluster == "debug":
            return {}
        if self.cluster == "local":
            return {i: "RUNNING" for i in open_ if is_running(int(self.ids[i]))}
        known = _ask_slurm(self.job)
        if known is None:
            return dict.fromkeys(open_, "UNKNOWN")
        return {i: known[self.ids[i]] for i in open_ if self.ids[i] in known}

    def seconds_left(self, ended: Collection[str], at_work: Collection[int]) -> float:
        """Return the predicted seconds until the tasks at work have ended.

        Args:
            ended: Keys of the cells that have ended.
            at_work: Tasks that have not ended.
        """
        left = [
            sum(s for key, s in zip(self.keys[i], self.seconds[i], strict=True) if key not in ended)
            for i in at_work
        ]
        return max(sum(left) / self.max_parallel, *left) if left else 0.0


def result_name(job: str) -> str:
    """Return the name of the file that a task leaves when it ends by itself."""
    return f"{job}_0_result.pkl"


def read_arrays(results: Path) -> list[JobArray]:
    """Return the arrays of a results folder, in the order of their submission."""
    found = []
    for path in (results / ARRAYS).glob(f"*/{_FILE}"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["ids"] = tuple(facts["ids"])
        for name in ("keys", "seconds"):
            facts[name] = tuple(tuple(task) for task in facts[name])
        found.append(JobArray(**facts))
    return sorted(found, key=lambda array: array.submitted)


def _ask_slurm(job: str) -> dict[str, str] | None:
    """Return the states of the tasks that Slurm still has; None where it does not answer."""
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--array", "--jobs", job, "--format", "%i %T"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS_TO_ANSWER
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:  # Slurm forgets an array some minutes after its end
        return {} if "Invalid job id" in done.stderr else None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if line.strip())
