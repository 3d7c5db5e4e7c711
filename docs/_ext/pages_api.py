"""The page of the public API: what `mbo_gym` exports, and the classes that users subclass."""

from __future__ import annotations

from collections.abc import Iterable

import mbo_gym

__all__ = ["api_page"]

_GROUPS = {
    "Use": (
        "make_task",
        "list_tasks",
        "task_info",
        "make_method",
        "list_methods",
        "propose",
        "write_card",
        "evaluate",
        "run",
        "export_task",
        "make_trajectories",
    ),
    "Add your own": ("register_task", "register_method", "register_surrogate", "register_encoder"),
    "Methods": ("Method", "MethodInfo", "Context", "Proposals", "load_method"),
    "Models": (
        "make_encoder",
        "list_encoders",
        "make_surrogate",
        "fit_surrogate",
        "list_surrogates",
        "load_surrogate",
    ),
    "Data": (
        "Task",
        "TaskInfo",
        "OfflineProblem",
        "OfflineDataset",
        "ContinuousSpace",
        "CategoricalSpace",
        "Evaluation",
        "Batch",
        "RunRequest",
        "RunResult",
        "TrajectoryRecipe",
    ),
    "Errors": (
        "MboGymError",
        "UnknownId",
        "InvalidData",
        "InvalidDesign",
        "MissingData",
        "MissingDependency",
        "BudgetExceeded",
    ),
}
_ENVIRONMENTS = (
    "mbo_gym.envs.design_env.DesignEnv",
    "mbo_gym.envs.vector_env.ArrayVectorEnv",
    "mbo_gym.envs.vector_env.DesignVectorEnv",
    "mbo_gym.envs.process.EnvConfig",
    "mbo_gym.envs.vector_env.Rollout",
)
_BASES = (
    "mbo_gym.methods.base.Difference",
    "mbo_gym.methods.base.Resources",
    "mbo_gym.problem.oracle.Oracle",
    "mbo_gym.problem.task.Ceiling",
    "mbo_gym.tasks.registry.described_by",
    "mbo_gym.encoders.base.Encoder",
    "mbo_gym.surrogates.base.Surrogate",
    "mbo_gym.trajectories.batch.TrajectoryBatch",
    "mbo_gym.export.export",
    "mbo_gym.export.Exported",
    "mbo_gym.benchmark.record.CellRecord",
    "mbo_gym.progress.protocol.Progress",
)


def api_page() -> str:
    """Return the index of the API; autosummary writes a page for each entry."""
    exported = set(mbo_gym.__all__) - {"__version__"}
    parts = [
        "# API",
        "`import mbo_gym` gives these names. It imports neither torch nor an optional library; "
        "those load on use.",
    ]
    for heading, names in _GROUPS.items():
        parts += [f"## {heading}", _summary(f"mbo_gym.{name}" for name in names)]
    grouped = {name for names in _GROUPS.values() for name in names}
    if others := sorted(exported - grouped):
        parts += ["## Others", _summary(f"mbo_gym.{name}" for name in others)]
    parts += ["## Environments", "Made by `gym.make` and `gym.make_vec`.", _summary(_ENVIRONMENTS)]
    parts += ["## Building blocks", "For tasks and methods of your own.", _summary(_BASES)]
    return "\n\n".join(parts) + "\n"


def _summary(names: Iterable[str]) -> str:
    lines = "\n".join(f"   {name}" for name in names)
    options = "   :toctree: generated\n   :nosignatures:"
    return f"```{{eval-rst}}\n.. autosummary::\n{options}\n\n{lines}\n```"
