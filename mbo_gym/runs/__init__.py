"""Runs: one method on one task with one seed, scored and written to a folder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mbo_gym.runs.request import RunRequest

if TYPE_CHECKING:
    from mbo_gym.runs.data_files import check_folder
    from mbo_gym.runs.one_run import RunResult, run

__all__ = ["RunRequest", "RunResult", "check_folder", "run"]

_MODULES = {
    "RunResult": "mbo_gym.runs.one_run",
    "check_folder": "mbo_gym.runs.data_files",
    "run": "mbo_gym.runs.one_run",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # they load torch, which planning a benchmark does without
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mbo_gym.runs' has no attribute {name!r}")
