"""Designs that another program made, scored and put beside the methods of a benchmark."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.execute.worker import finite
from mbo_gym.benchmark.plan.grid import content_key
from mbo_gym.evaluation.scoring import Evaluation, evaluate
from mbo_gym.files import store
from mbo_gym.files.designs import read_designs
from mbo_gym.methods.registry import list_methods
from mbo_gym.problem.task import Task
from mbo_gym.runs.provenance import environment_facts
from mbo_gym.settings import format_value

__all__ = ["check_name", "score_file"]


def check_name(name: str) -> None:
    """Raise ValueError where a name for foreign designs is empty or that of a method."""
    if not name.strip():
        raise ValueError("--name must not be empty: it is the row's name in every table")
    if name in list_methods():
        raise ValueError(
            f"--name {name} is a method of this installation; choose another, e.g. 'my {name}'"
        )


def score_file(path: Path, task: Task, name: str, seed: int) -> tuple[Evaluation, dict[str, Any]]:
    """Score a file of designs, best first, and return the evaluation and its record.

    Of one name, task, seed and number of designs, the file scored last counts.

    Args:
        path: See `mbo_gym.files.designs.read_designs`.
        task: The task they are for.
        name: Of whatever made them.
        seed: Which of its runs this is.

    Raises:
        InvalidData: The file holds no designs of this task.
    """
    started = time.perf_counter()
    evaluation = evaluate(task, read_designs(path, task.space))
    options: Mapping[str, Any] = task.options
    words = [f"--option {key}={format_value(value)}" for key, value in options.items()]
    result = {
        "method": name,
        "seed": seed,
        **evaluation.to_dict(),
        "search_oracle_calls": None,  # nobody here saw the search
        "trace_oracle_calls": 0,
        "fit_seconds": None,
        "propose_seconds": None,
        "peak_memory_mb": None,
        "search": [],
    }
    return evaluation, {
        "key": content_key(
            [task.info.task_id, dict(options), "external", name, seed, evaluation.k]
        ),
        "status": "done",
        "label": name,
        "method": name,
        "preset": None,
        "settings": {},
        "config": {"file": path.name, "sha256": store.sha256(path)},
        "control": False,
        "external": True,
        "task": task.info.task_id,
        "options": dict(options),
        "seed": seed,
        "k": evaluation.k,
        "device": "cpu",
        "cpus": 1,
        "command": " ".join(
            ["mbo-gym evaluate", task.info.task_id, path.name, f"--name '{name}'", *words]
        ),
        "attempts": 1,
        "finished": datetime.now(timezone.utc).isoformat(),
        "seconds": time.perf_counter() - started,
        "environment": environment_facts(),
        "result": finite(result),
        "error": None,
    }
