"""Tasks by id: registered as strings, loaded on use, each with its environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium as gym

from mbo_gym.errors import UnknownId
from mbo_gym.registry import Registry

if TYPE_CHECKING:
    from mbo_gym.problem.task import Task, TaskInfo

__all__ = [
    "NAMESPACE",
    "TASKS",
    "check_task",
    "described_by",
    "list_tasks",
    "make_task",
    "register_env",
    "register_task",
    "task_info",
]

Maker = TypeVar("Maker", bound=Callable[..., Any])

NAMESPACE = "mbo_gym"
"""Prefix of the environments' ids."""

TASKS = Registry("task", table="TASKS")
"""Every task by its id."""

_COMMON_OPTIONS = ("fraction", "noise", "seed", "max_rows")


def make_task(task_id: str, **options: Any) -> Task:
    """Build a task.

    Args:
        task_id: An id that `list_tasks` shows, or ``"table"`` for your own (see
            `mbo_gym.tasks.table_file.make_table_task`).
        **options: For every task: `fraction` (share of visible rows kept, in (0, 1]), `noise`
            (standard deviation of Gaussian noise on the normalised visible scores), `seed` (of
            both), `max_rows` (every n-th visible row sorted by score). The rest goes to the task
            itself, e.g. `dim=` of the synthetic functions, `folder=` of Design-Bench's data.

    Raises:
        UnknownId: No task has that id, or the task has no such option; the message names the
            nearest.
        MissingData: The task's file is not on this machine; the message says how to get it.

    Example:
        >>> import mbo_gym
        >>> mbo_gym.make_task("Branin-Exact-v0", max_rows=100).dataset.x.shape
        (100, 2)
    """
    check_task(task_id, **options)
    common = {key: options[key] for key in _COMMON_OPTIONS if key in options}
    own = {key: value for key, value in options.items() if key not in common}
    task: Task = TASKS.spec(task_id).make(**own)
    return replace(
        task.with_options(**common), options={key: _plain(value) for key, value in options.items()}
    )


def task_info(task_id: str) -> TaskInfo:
    """Return the facts of a task without its data.

    Numbers that follow from the data (`n_full`, `n_visible`, `d_best`, and the score range where it
    is not published) are unset. A task whose function is not `described_by` its facts is built.

    Args:
        task_id: Id that `list_tasks` shows.

    Raises:
        UnknownId: No task has that id.
        MissingData: The task has to be built for its facts, and its data are not on this machine.

    Example:
        >>> import mbo_gym
        >>> mbo_gym.task_info("TFBind10-Exact-v0").sources
        ('tfbind10', 'design_bench')
    """
    spec = TASKS.spec(task_id)
    facts = getattr(spec.load(), "info", None)
    if facts is None:
        return make_task(task_id).info
    info: TaskInfo = facts(**spec.kwargs)
    return info


def described_by(facts: Callable[..., TaskInfo]) -> Callable[[Maker], Maker]:
    """Attach the facts of a task to the function that makes it, for `task_info`.

    Args:
        facts: Function that returns the facts without reading data; it takes the arguments that
            the task is registered with.
    """

    def attach(make: Maker) -> Maker:
        make.info = facts  # type: ignore[attr-defined]
        return make

    return attach


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
    """Return the ids of all tasks, sorted; `mbo-gym list` shows whose data are here."""
    return list(TASKS)


def register_task(task_id: str, entry_point: str | Callable[..., Task], /, **kwargs: Any) -> None:
    """Add a task in this process, and with it the environment ``mbo_gym/<task_id>``.

    Args:
        task_id: ``<Data>-<Oracle>-v<N>``.
        entry_point: A function that returns a `Task`, or ``"module:function"`` to import it on use.
        **kwargs: Arguments of that function which belong to this id.

    Raises:
        ValueError: The id is taken.
    """
    TASKS.register(task_id, entry_point, **kwargs)
    register_env(task_id)


def register_env(task_id: str) -> None:
    """Register ``mbo_gym/<task_id>`` with Gymnasium; nothing is imported or loaded yet."""
    gym.register(
        id=f"{NAMESPACE}/{task_id}",
        entry_point="mbo_gym.envs.design_env:DesignEnv",
        vector_entry_point="mbo_gym.envs.vector_env:DesignVectorEnv",
        kwargs={"task": task_id},
    )
    if not task_id.endswith("-v0"):
        # Gymnasium tells users of v0 that it is out of date wherever its registry holds a higher
        # version. Our v0 is not: it is what the papers used, and v1 stands beside it. Environments
        # that are made have their full version.
        gym.registry[f"{NAMESPACE}/{task_id}"].version = None


def _plain(value: Any) -> Any:
    """Return a path as text, so that options can be written to a file; anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value
