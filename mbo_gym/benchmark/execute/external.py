"""Scores designs that another program made, for the tables of a benchmark."""

from __future__ import annotations

import shlex
import time
from datetime import datetime, timezone
from pathlib import Path

from mbo_gym.benchmark.plan.grid import content_key
from mbo_gym.benchmark.record import CellRecord, CellResult, Environment
from mbo_gym.evaluation.scoring import Evaluation, evaluate
from mbo_gym.files import store
from mbo_gym.files.designs import read_designs
from mbo_gym.methods.registry import list_methods
from mbo_gym.problem.task import Task
from mbo_gym.runs.provenance import environment_facts
from mbo_gym.runs.request import RunRequest
from mbo_gym.settings import absolute_path, format_value

__all__ = ["check_name", "score_file"]


def check_name(name: str) -> None:
    """Raise ValueError where a name for external designs is empty or that of a method."""
    if not name.strip():
        raise ValueError("--name must not be empty: it is the row's name in every table")
    if name in list_methods():
        raise ValueError(
            f"--name {name} is a method of this installation; choose another, e.g. 'my {name}'"
        )


def score_file(path: Path, task: Task, name: str, seed: int) -> tuple[Evaluation, CellRecord]:
    """Score a file of designs, best first, and return the evaluation and its record.

    Of one name, task, seed and number of designs, the file scored last counts.

    Args:
        path: File of designs, see `mbo_gym.files.designs.read_designs`.
        task: Task of the designs.
        name: Name of the program that made them.
        seed: Number of the program's run.

    Raises:
        InvalidData: The file holds no designs of this task.
    """
    started = time.perf_counter()
    evaluation = evaluate(task, read_designs(path, task.space))
    task_id = task.info.task_id
    options = dict(task.options)
    words = ["mbo-gym", "evaluate", task_id, absolute_path(path), "--name", name]
    words += ["--seed", str(seed)] if seed else []
    for key, value in options.items():
        words += ["--option", f"{key}={format_value(value)}"]
    result = {
        **evaluation.to_dict(),
        "search_oracle_calls": None,  # nobody here saw the search
        "trace_oracle_calls": 0,
        "learned_rollouts": None,
        "learned_gradients": None,
        "fit_seconds": None,
        "propose_seconds": None,
        "peak_memory_mb": None,
        "search": [],
        "data": task.data_hash,
    }
    return evaluation, CellRecord(
        key=content_key([task_id, options, "external", name, seed, evaluation.k]),
        label=name,
        request=RunRequest(name, task_id, seed, evaluation.k, options=options),
        config={"file": path.name, "sha256": store.sha256(path)},
        status="done",
        environment=Environment(**environment_facts()),
        finished=datetime.now(timezone.utc).isoformat(),
        seconds=time.perf_counter() - started,
        command=shlex.join(words),
        external=True,
        result=CellResult.from_json(result),
    )
