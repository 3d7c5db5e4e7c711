"""Compares the records of a benchmark with the folders of their cells, and scores the designs
again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.execute.results import RECORD, ResultStore
from mbo_gym.benchmark.record import CellRecord, ScoreSummary
from mbo_gym.errors import DamagedFile, MboGymError
from mbo_gym.evaluation.scoring import evaluate
from mbo_gym.files.store import check_sealed, load_npz
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.tasks.registry import make_task

__all__ = ["Checked", "verify"]

_TOLERANCE = 1e-6
"""Difference of normalised scores that machines may have."""


@dataclass(frozen=True)
class Checked:
    """A record that was checked.

    Args:
        record: The record.
        problem: What is wrong; empty where nothing is.
        unchecked: Why it could not be checked; empty where it could.
    """

    record: CellRecord
    problem: str = ""
    unchecked: str = ""


def verify(store: ResultStore, progress: Progress | None = None) -> Iterator[Checked]:
    """Check every finished record of a results folder.

    The record must be that of its cell's folder, the task's data those that it ran on, and the
    stored designs must have the recorded scores.

    Args:
        store: Results folder.
        progress: Observer of the checks.
    """
    records = [record for record in store.records() if record.status == "done"]
    for record in (progress or NullProgress()).track(records, "verifying"):
        yield _checked(record, store.cells / record.folder_name)


def _checked(record: CellRecord, folder: Path) -> Checked:
    if record.external or not folder.is_dir():
        return Checked(record, unchecked="its designs are not kept")
    try:
        kept = CellRecord.from_json(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        return Checked(record, f"{RECORD} of its folder cannot be read: {error}")
    if kept != record:
        return Checked(record, f"it differs from {RECORD} of its folder")
    try:
        kept_files = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
        check_sealed(folder, kept_files, remedy="Run the cell again.")  # some may be taken away
    except DamagedFile as error:
        return Checked(record, str(error))
    try:
        task = _task(record.request.task_id, json.dumps(dict(record.request.options)))
        x = load_npz((folder / "designs.npz").read_bytes())["x"]
        found = evaluate(task, x)
    except (MboGymError, OSError, ValueError, KeyError) as error:
        return Checked(record, unchecked=f"its designs cannot be scored: {error}")
    assert record.result is not None
    if record.result.data and record.result.data != task.data_hash:
        return Checked(record, "the task's data here are others than those that it ran on")
    if not _same(found.overall, record.result.overall):
        return Checked(record, "its designs have other scores")
    return Checked(record)


def _same(found: Any, recorded: ScoreSummary | None) -> bool:
    if found is None or recorded is None:
        return found is None and recorded is None
    return all(
        math.isclose(getattr(found, name), getattr(recorded, name), abs_tol=_TOLERANCE)
        for name in ("p100", "p50", "mean")
    )


@lru_cache(maxsize=2)
def _task(task_id: str, options: str) -> Any:
    return make_task(task_id, **json.loads(options))
