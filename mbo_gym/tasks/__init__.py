"""Tasks: a design space, visible data, an oracle and the facts, one file per family."""

from mbo_gym.tasks.catalogue import register_announced, register_built_in
from mbo_gym.tasks.registry import (
    TASKS,
    check_task,
    described_by,
    list_tasks,
    make_task,
    register_task,
    task_info,
)

__all__ = [
    "TASKS",
    "check_task",
    "described_by",
    "list_tasks",
    "make_task",
    "register_task",
    "task_info",
]

register_built_in()
register_announced()
