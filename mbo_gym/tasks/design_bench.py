"""Tasks from Design-Bench's own data folder, which can no longer be downloaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mbo_gym.data.design_bench import (
    ENVIRONMENT_VARIABLE,
    REMEDY,
    Layout,
    design_bench_folder,
    read_arrays,
)
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.stand_in import ScoreFunction, stand_in_oracle
from mbo_gym.oracles.table import design_codes
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks import superconductor, synthetic, tfbind
from mbo_gym.tasks.design_bench_facts import TASKS, Facts, design_bench_facts, design_bench_info
from mbo_gym.tasks.registry import described_by
from mbo_gym.tasks.table import table_task

__all__ = ["ENVIRONMENT_VARIABLE", "TASKS", "make_design_bench_task", "read_arrays"]

FOREST_NOTE = (
    "A stand-in: a random forest fitted on all rows. "
    "Its scores are not comparable with the papers'."
)


def _check(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    oracle: str | ScoreFunction | None = None,
) -> None:
    """Raise InvalidData where a task that has an oracle of its own is given another."""
    facts = design_bench_facts(name)
    if oracle is not None and not facts.lost:
        raise InvalidData(
            f"{name} has an oracle of its own ({facts.info.oracle}) and takes no "
            f"oracle={oracle!r}. Leave it out."
        )


@described_by(design_bench_info, _check)
def make_design_bench_task(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    oracle: Literal["random_forest"] | ScoreFunction | None = None,
) -> Task:
    """Make a task from Design-Bench's folder.

    Args:
        name: A task id of `TASKS`.
        folder: Design-Bench's data folder, the one that holds ``gfp``, ``utr``, ...; None takes
            ``$MBO_GYM_DESIGN_BENCH``, else ``design_bench_data`` in the data folders.
        oracle: For a task whose own oracle cannot be had: None for none; ``"random_forest"`` for a
            stand-in fitted on all rows (minutes for the large ones, then cached); or a function of
            native designs (N, *shape) that returns their scores (N,), higher is better.

    Raises:
        UnknownId: `TASKS` has no such id, or `oracle` is an unknown word.
        MissingData: The folder or a file of it is missing or damaged; the message says which.
        InvalidData: `oracle` was given for a task that has its own.
    """
    _check(name, folder, oracle)
    facts = design_bench_facts(name)
    root = design_bench_folder(folder)
    if name == "TFBind10-Exact-v0":
        return tfbind.make_tfbind10(folder=str(root)).with_options()
    if name == "Superconductor-RandomForest-v0":
        return superconductor.make_superconductor(folder=str(root)).with_options()
    x, y = read_arrays(name, root)
    info = replace(facts.info, n_full=len(y), oracle=_oracle_in_words(facts, oracle))
    function = name.split("-")[0]
    if function in synthetic.FUNCTIONS:
        return _function_task(info, function, x, y).with_options()
    space = _space(facts.layout, x)
    if name == "TFBind8-Exact-v0":
        assert isinstance(space, CategoricalSpace)
        return table_task(info, space, x, y, _table(root, space, x, y)).with_options()
    visible = offline_split(x, y, info.percentile, facts.min_percentile)
    return Task(info, space, visible, stand_in_oracle(oracle, space, x, y)).with_options()


def _oracle_in_words(facts: Facts, oracle: str | ScoreFunction | None) -> str:
    if oracle is None:
        return facts.info.oracle
    return FOREST_NOTE if isinstance(oracle, str) else "Your own function."


def _space(layout: Layout, x: np.ndarray) -> DesignSpace:
    if layout.discrete:
        n_categories = layout.n_categories or max(2, int(x.max()) + 1)
        return CategoricalSpace(layout.width, n_categories, layout.letters)
    anywhere = np.full(layout.width, np.inf)
    return ContinuousSpace(-anywhere, anywhere)


def _table(root: Path, space: CategoricalSpace, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the complete table of scores; the last row of a repeated sequence counts."""
    table = np.full(space.n_categories**space.length, np.nan, dtype=np.float32)
    table[design_codes(x, space.n_categories)] = y
    if n_missing := int(np.isnan(table).sum()):
        raise MissingData(
            f"the files in {root} leave {n_missing} of {len(table)} sequences without a score. "
            f"{REMEDY}"
        )
    return table


def _function_task(info: TaskInfo, function: str, x: np.ndarray, y: np.ndarray) -> Task:
    facts = synthetic.FUNCTIONS[function]
    bound = np.full(x.shape[1], facts.half_width)
    space = ContinuousSpace(-bound, bound)
    if not (inside := space.contains(x)).all():
        i = int(np.argmin(inside))
        raise MissingData(
            f"row {i} of {function}'s files lies outside the function's box: "
            f"{space.why_not(x[i])}. {REMEDY}"
        )
    f = facts.f(x.astype(np.float64))
    if ((y - f) ** 2).sum() < ((y + f) ** 2).sum():  # some released files hold the function itself
        y = -y
    oracle = FunctionOracle(space, lambda designs: -facts.f(designs.astype(np.float64)))
    ceiling = Ceiling(
        np.array([0.0]), exact=True, note="the function's optimum; designs can crowd around it"
    )
    return Task(info, space, offline_split(x, y, info.percentile), oracle, ceiling)
