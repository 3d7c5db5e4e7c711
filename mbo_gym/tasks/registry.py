"""Tasks by id: registered as strings, loaded on use, each with its environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from mbo_gym.errors import UnknownId
from mbo_gym.registry import Registry
from mbo_gym.settings import arguments_from_text, parse_pairs, typed, typed_arguments

if TYPE_CHECKING:
    from mbo_gym.problem.task import Task, TaskInfo

__all__ = [
    "NAMESPACE",
    "TASKS",
    "check_task",
    "described_by",
    "list_tasks",
    "make_task",
    "read_task_options",
    "register_env",
    "register_task",
    "task_info",
    "task_options",
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
            itself, e.g. `dim=` of the synthetic functions, `folder=` of Design-Bench's data. Each
            is checked against the annotation of the function that makes the task, and kept in
            its type, paths absolute.

    Raises:
        UnknownId: No task has that id, or the task has no such option, or a word is none of an
            option's; the message names the nearest.
        InvalidData: An option is of another type or out of range.
        MissingData: The task's file is not on this machine; the message says how to get it.

    Example:
        >>> import mbo_gym
        >>> mbo_gym.make_task("Branin-Exact-v0", max_rows=100).dataset.x.shape
        (100, 2)
    """
    kept = task_options(task_id, **options)
    common = {key: kept[key] for key in _COMMON_OPTIONS if key in kept}
    own = {key: value for key, value in kept.items() if key not in common}
    task: Task = TASKS.spec(task_id).make(**own)
    return replace(task.with_options(**common), options=kept)


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


def described_by(
    facts: Callable[..., TaskInfo], check: Callable[..., None] | None = None
) -> Callable[[Maker], Maker]:
    """Attach the facts of a task to the function that makes it, for `task_info`.

    The function then also checks its arguments against their annotations.

    Args:
        facts: Function that returns the facts without reading data; it takes the arguments that
            the task is registered with.
        check: Function of the same arguments as the maker that raises what the maker would raise
            for them, as far as that shows without building the task, for `check_task`; or None.
    """

    def attach(make: Maker) -> Maker:
        checked = typed(make)
        checked.info = facts  # type: ignore[attr-defined]
        checked.check = check  # type: ignore[attr-defined]
        return checked

    return attach


def task_options(task_id: str, /, **options: Any) -> dict[str, Any]:
    """Return options of a task in their types, without building anything.

    They can be written to a file, a function as `oracle` excepted: paths are absolute, so that they
    mean the same in every working folder.

    Raises:
        UnknownId: No task has that id, or the task has no such option, or a word is none of an
            option's; the message names the nearest.
        InvalidData: An option is of another type or out of range.
    """
    maker, common, own = _divided(task_id, options)
    kept = {
        **typed_arguments(common, {name: options[name] for name in options if name not in own}),
        **typed_arguments(maker, {name: options[name] for name in own}),
    }
    return {name: kept[name] for name in options}


def read_task_options(task_id: str, pairs: Sequence[str], flag: str = "--option") -> dict[str, Any]:
    """Return options of a task, given as ``name=value`` texts, in their types.

    Args:
        task_id: Id of the task.
        pairs: The texts.
        flag: Name of the command line's option, for messages.

    Raises:
        UnknownId: No task has that id, or the task has no such option, or a word is none of an
            option's; the message names the nearest.
        InvalidData: A text does not spell a value of the option's type, or it is out of range.
        ValueError: A text has no ``=``, or a name comes twice.
    """
    texts = parse_pairs(pairs, flag)
    maker, common, own = _divided(task_id, texts)
    kept = {
        **arguments_from_text(common, {name: texts[name] for name in texts if name not in own}),
        **arguments_from_text(maker, {name: texts[name] for name in own}),
    }
    return {name: kept[name] for name in texts}


def check_task(task_id: str, /, **options: Any) -> dict[str, Any]:
    """Raise what `make_task` would raise, as far as that shows without building the task.

    Returns:
        The options in their types, see `task_options`.
    """
    kept = task_options(task_id, **options)
    spec = TASKS.spec(task_id)
    check = getattr(spec.load(), "check", None)
    if check is not None:
        own = {name: value for name, value in kept.items() if name not in _COMMON_OPTIONS}
        check(**{**spec.kwargs, **own})
    return kept


def _divided(
    task_id: str, options: Iterable[str]
) -> tuple[Callable[..., Any], Callable[..., Any], list[str]]:
    """Return the function that makes a task, the one of the common options, and the former's."""
    from mbo_gym.problem.task import Task

    spec = TASKS.spec(task_id)
    maker = spec.load()
    parameters = inspect.signature(maker).parameters.values()
    own = [name for name in options if name not in _COMMON_OPTIONS]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        allowed = {*(p.name for p in parameters), *_COMMON_OPTIONS} - set(spec.kwargs)
        for name in own:
            if name not in allowed:
                raise UnknownId("task option", name, allowed)
    return maker, Task.with_options, own


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
    env_id = f"{NAMESPACE}/{task_id}"
    hidden = _lower_versions(env_id)
    for spec, version in hidden:
        spec.version = version  # Gymnasium takes no version beside one without a number
    try:
        gym.register(
            id=env_id,
            entry_point="mbo_gym.envs.design_env:DesignEnv",
            vector_entry_point="mbo_gym.envs.vector_env:make_vector_env",
            kwargs={"task": task_id},
        )
    finally:
        for spec, _ in hidden:
            spec.version = None
    if not task_id.endswith("-v0"):
        # Gymnasium tells users of v0 that it is out of date wherever its registry holds a higher
        # version. Our v0 is not: it is what the papers used, and v1 stands beside it. Environments
        # that are made have their full version.
        gym.registry[env_id].version = None


def _lower_versions(env_id: str) -> list[tuple[EnvSpec, int]]:
    """Return the registered versions 1 and up below an environment's, with their numbers."""
    name, _, version = env_id.rpartition("-v")
    lower = range(1, int(version)) if name and version.isdecimal() else ()
    specs = ((gym.registry.get(f"{name}-v{v}"), v) for v in lower)
    return [(spec, v) for spec, v in specs if spec is not None]
