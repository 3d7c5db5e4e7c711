"""mbo_gym: offline model-based optimization as environments, data sets and a benchmark.

Example:
    >>> import gymnasium as gym, mbo_gym
    >>> task = mbo_gym.make_task("TFBind8-Exact-v0")
    >>> env = gym.make("mbo_gym/TFBind8-Exact-v0")
    >>> mbo_gym.evaluate(task, task.dataset.top(256).x).k
    256

Importing registers the environments. It imports neither torch nor any optional library; those load
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
from mbo_gym.tasks.registry import list_tasks, make_task, register_task, task_info

if TYPE_CHECKING:
    from mbo_gym.batch.card import write_card
    from mbo_gym.batch.propose import propose
    from mbo_gym.batch.result import Batch
    from mbo_gym.encoders.registry import list_encoders, make_encoder, register_encoder
    from mbo_gym.evaluation.scoring import Evaluation, evaluate
    from mbo_gym.export import export_task
    from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
    from mbo_gym.methods.registry import list_methods, load_method, make_method, register_method
    from mbo_gym.problem.constraints import (
        AllowedDesigns,
        AtMostNonZero,
        FixedSum,
        Forbidden,
        LinearLimit,
    )
    from mbo_gym.problem.dataset import OfflineDataset
    from mbo_gym.problem.dates import Date
    from mbo_gym.problem.letters import Letters
    from mbo_gym.problem.mixed import MixedSpace, make_space
    from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
    from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
    from mbo_gym.problem.task import OfflineProblem, Task, TaskInfo
    from mbo_gym.runs.one_run import RunRequest, RunResult, run
    from mbo_gym.surrogates.fitting import fit_surrogate
    from mbo_gym.surrogates.registry import (
        list_surrogates,
        load_surrogate,
        make_surrogate,
        register_surrogate,
    )
    from mbo_gym.trajectories.recipe import TrajectoryRecipe, make_trajectories

__all__ = [
    "AllowedDesigns",
    "AtMostNonZero",
    "Batch",
    "BudgetExceeded",
    "CategoricalSpace",
    "Category",
    "Constant",
    "Context",
    "ContinuousSpace",
    "Date",
    "DesignSpace",
    "Evaluation",
    "FixedSum",
    "Forbidden",
    "Integer",
    "InvalidData",
    "InvalidDesign",
    "Letters",
    "Levels",
    "LinearLimit",
    "MboGymError",
    "Method",
    "MethodInfo",
    "MissingData",
    "MissingDependency",
    "MixedSpace",
    "OfflineDataset",
    "OfflineProblem",
    "Proposals",
    "Real",
    "RunRequest",
    "RunResult",
    "Task",
    "TaskInfo",
    "TrajectoryRecipe",
    "UnknownId",
    "__version__",
    "evaluate",
    "export_task",
    "fit_surrogate",
    "list_encoders",
    "list_methods",
    "list_surrogates",
    "list_tasks",
    "load_method",
    "load_surrogate",
    "make_encoder",
    "make_method",
    "make_space",
    "make_surrogate",
    "make_task",
    "make_trajectories",
    "propose",
    "register_encoder",
    "register_method",
    "register_surrogate",
    "register_task",
    "run",
    "task_info",
    "write_card",
]

_LAZY = {
    "AllowedDesigns": "mbo_gym.problem.constraints",
    "AtMostNonZero": "mbo_gym.problem.constraints",
    "Batch": "mbo_gym.batch.result",
    "CategoricalSpace": "mbo_gym.problem.space",
    "Category": "mbo_gym.problem.parameters",
    "Constant": "mbo_gym.problem.parameters",
    "Date": "mbo_gym.problem.dates",
    "Context": "mbo_gym.methods.base",
    "ContinuousSpace": "mbo_gym.problem.space",
    "DesignSpace": "mbo_gym.problem.space",
    "Evaluation": "mbo_gym.evaluation.scoring",
    "FixedSum": "mbo_gym.problem.constraints",
    "Forbidden": "mbo_gym.problem.constraints",
    "Integer": "mbo_gym.problem.parameters",
    "Letters": "mbo_gym.problem.letters",
    "Levels": "mbo_gym.problem.parameters",
    "LinearLimit": "mbo_gym.problem.constraints",
    "Method": "mbo_gym.methods.base",
    "MethodInfo": "mbo_gym.methods.base",
    "MixedSpace": "mbo_gym.problem.mixed",
    "OfflineDataset": "mbo_gym.problem.dataset",
    "OfflineProblem": "mbo_gym.problem.task",
    "Proposals": "mbo_gym.methods.base",
    "Real": "mbo_gym.problem.parameters",
    "RunRequest": "mbo_gym.runs.one_run",
    "RunResult": "mbo_gym.runs.one_run",
    "Task": "mbo_gym.problem.task",
    "TaskInfo": "mbo_gym.problem.task",
    "TrajectoryRecipe": "mbo_gym.trajectories.recipe",
    "evaluate": "mbo_gym.evaluation.scoring",
    "export_task": "mbo_gym.export",
    "fit_surrogate": "mbo_gym.surrogates.fitting",
    "list_encoders": "mbo_gym.encoders.registry",
    "list_methods": "mbo_gym.methods.registry",
    "list_surrogates": "mbo_gym.surrogates.registry",
    "load_method": "mbo_gym.methods.registry",
    "load_surrogate": "mbo_gym.surrogates.registry",
    "make_encoder": "mbo_gym.encoders.registry",
    "make_method": "mbo_gym.methods.registry",
    "make_space": "mbo_gym.problem.mixed",
    "make_surrogate": "mbo_gym.surrogates.registry",
    "make_trajectories": "mbo_gym.trajectories.recipe",
    "propose": "mbo_gym.batch.propose",
    "register_encoder": "mbo_gym.encoders.registry",
    "register_method": "mbo_gym.methods.registry",
    "register_surrogate": "mbo_gym.surrogates.registry",
    "run": "mbo_gym.runs.one_run",
    "write_card": "mbo_gym.batch.card",
}
"""Module of each public name that is imported on first use."""

_ROOMS = (
    "batch",
    "encoders",
    "envs",
    "evaluation",
    "export",
    "methods",
    "oracles",
    "problem",
    "runs",
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
