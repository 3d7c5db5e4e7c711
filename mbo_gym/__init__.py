"""mbo_gym: offline model-based optimization as Gymnasium environments, data sets and an honest
benchmark.

    import gymnasium as gym, mbo_gym
    task = mbo_gym.make_task("TFBind8-Exact-v0")
    env = gym.make("mbo_gym/TFBind8-Exact-v0")
    print(mbo_gym.evaluate(task, task.dataset.top(256).x))

Importing registers the environments and imports neither torch nor any optional library; those load
on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mbo_gym import _moved
from mbo_gym._version import __version__
from mbo_gym.errors import (
    BudgetExceeded,
    InvalidData,
    InvalidDesign,
    MboGymError,
    MissingData,
    MissingDependency,
    UnknownId,
)
from mbo_gym.tasks.registry import list_tasks, make_task, register_task

if TYPE_CHECKING:
    from mbo_gym.evaluation.scoring import Evaluation, evaluate
    from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
    from mbo_gym.methods.registry import list_methods, load_method, make_method, register_method
    from mbo_gym.problem.task import OfflineProblem, Task, TaskInfo

__all__ = [
    "BudgetExceeded",
    "Context",
    "Evaluation",
    "InvalidData",
    "InvalidDesign",
    "MboGymError",
    "Method",
    "MethodInfo",
    "MissingData",
    "MissingDependency",
    "OfflineProblem",
    "Proposals",
    "Task",
    "TaskInfo",
    "UnknownId",
    "__version__",
    "evaluate",
    "list_methods",
    "list_tasks",
    "load_method",
    "make_method",
    "make_task",
    "register_method",
    "register_task",
]

_LAZY = {
    "Evaluation": "mbo_gym.evaluation.scoring",
    "evaluate": "mbo_gym.evaluation.scoring",
    "list_methods": "mbo_gym.methods.registry",
    "make_method": "mbo_gym.methods.registry",
    "load_method": "mbo_gym.methods.registry",
    "register_method": "mbo_gym.methods.registry",
    "Context": "mbo_gym.methods.base",
    "Method": "mbo_gym.methods.base",
    "MethodInfo": "mbo_gym.methods.base",
    "Proposals": "mbo_gym.methods.base",
    "OfflineProblem": "mbo_gym.problem.task",
    "Task": "mbo_gym.problem.task",
    "TaskInfo": "mbo_gym.problem.task",
}
_ROOMS = (
    "encoders",
    "envs",
    "evaluation",
    "export",
    "methods",
    "oracles",
    "problem",
    "surrogates",
    "trajectories",
)

_moved.install()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _ROOMS or f"mbo_gym.{name}" in _moved.MODULES:
        return import_module(f"mbo_gym.{name}")
    raise AttributeError(f"module 'mbo_gym' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
