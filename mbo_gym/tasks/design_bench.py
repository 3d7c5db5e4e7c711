"""Design-Bench's own data folder as tasks, for those who kept it: the links that filled it are
dead.

Description: the data sets of Design-Bench and of papers that followed it, read from
    ``<folder>/<name>/<name>-x-K.npy`` and ``-y-K.npy``. Tasks that mbo_gym makes without the folder
    can be made from it too, to compare the two.
Design space: see `TASKS`. Letters where the data are discrete; reals without bounds where they are
    continuous, since the files name none (Levy, Rastrigin, Rosenbrock: the function's box;
    Superconductor: amounts >= 0).
Score: as the files have it, higher is better; where a file holds +Rastrigin or +Rosenbrock, its
scores are negated.
Offline split: rows at or below the percentile of `TASKS`, file order; GFP: between the 50th and the
60th.
Oracle: the complete table (TFBind8, TFBind10), the function (Levy, Rastrigin, Rosenbrock), a
    refitted forest (Superconductor). The others' original oracles, simulators and trained networks,
    cannot be had: these tasks have none unless you choose a stand-in.
Licence: of the data, see `TASKS`; only TFBind8's ship with mbo_gym.
References: Trabucco et al., Design-Bench (2022), and each task's own.
Version history: v0 is Design-Bench's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mbo_gym.data.design_bench import ENVIRONMENT_VARIABLE, REMEDY, Facts, design_bench_folder
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.stand_in import ScoreFunction, stand_in_oracle
from mbo_gym.oracles.table import design_codes
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks import superconductor, synthetic, tfbind
from mbo_gym.tasks.design_bench_facts import TASKS, design_bench_facts, read_arrays

__all__ = ["ENVIRONMENT_VARIABLE", "TASKS", "make_design_bench_task", "read_arrays"]

FOREST_NOTE = "A stand-in: a random forest fitted on all rows. Its scores are not comparable with the papers'."

_DESIGN_BENCH = "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450"


def make_design_bench_task(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    oracle: str | ScoreFunction | None = None,
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
    facts = design_bench_facts(name)
    if oracle is not None and not facts.lost:
        raise InvalidData(
            f"{name} has an oracle of its own ({facts.oracle}) and takes no oracle={oracle!r}. Leave it out."
        )
    root = design_bench_folder(folder)
    if facts.stem == "tf_bind_10":
        return tfbind.make_tfbind10(folder=str(root)).with_options()
    if facts.stem == "superconductor":
        return superconductor.make_superconductor(folder=str(root)).with_options()
    x, y = read_arrays(name, root)
    info = _info(name, facts, oracle, len(y))
    function = name.split("-")[0]
    if function in synthetic.FUNCTIONS:
        return _function_task(info, function, x, y).with_options()
    if facts.stem == "tf_bind_8":
        letters = CategoricalSpace(facts.width, facts.n_categories, facts.letters)
        return tfbind.table_task(info, letters, x, y, _table(root, letters, x, y)).with_options()
    space = _space(facts, x)
    low, high = facts.percentiles
    hidden = stand_in_oracle(oracle, space, x, y)
    return Task(info, space, offline_split(x, y, high, low), hidden).with_options()


def _info(name: str, facts: Facts, oracle: str | ScoreFunction | None, n_full: int) -> TaskInfo:
    notes = (
        ""
        if facts.discrete or not facts.lost
        else " The files name no bounds, so the space has none."
    )
    if facts.percentiles[0]:
        notes += " Visible are the rows between the {:g}th and the {:g}th percentile.".format(
            *facts.percentiles
        )
    chosen = (
        facts.oracle
        if oracle is None
        else FOREST_NOTE
        if isinstance(oracle, str)
        else "Your own function."
    )
    return TaskInfo(
        task_id=name,
        description=facts.description + notes,
        y_min=facts.y_min,
        y_max=facts.y_max,
        licence=facts.licence,
        oracle=chosen,
        references=(*facts.references, _DESIGN_BENCH),
        version_history=("v0: the rows of Design-Bench's folder",),
        score_name=facts.score_name,
        n_full=n_full,
        percentile=facts.percentiles[1],
    )


def _space(facts: Facts, x: np.ndarray) -> DesignSpace:
    if facts.discrete:
        return CategoricalSpace(
            facts.width, facts.n_categories or max(2, int(x.max()) + 1), facts.letters
        )
    anywhere = np.full(facts.width, np.inf)
    return ContinuousSpace(-anywhere, anywhere)


def _table(root: Path, space: CategoricalSpace, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the complete table of scores; where a sequence stands several times, the last row
    counts."""
    table = np.full(space.n_categories**space.length, np.nan, dtype=np.float32)
    table[design_codes(x, space.n_categories)] = y
    if n_missing := int(np.isnan(table).sum()):
        raise MissingData(
            f"the files in {root} leave {n_missing} of {len(table)} sequences without a score. {REMEDY}"
        )
    return table


def _function_task(info: TaskInfo, function: str, x: np.ndarray, y: np.ndarray) -> Task:
    facts = synthetic.FUNCTIONS[function]
    bound = np.full(x.shape[1], facts.half_width)
    space = ContinuousSpace(-bound, bound)
    if not (inside := space.contains(x)).all():
        i = int(np.argmin(inside))
        raise MissingData(
            f"row {i} of {function}'s files lies outside the function's box: {space.why_not(x[i])}. {REMEDY}"
        )
    f = facts.f(x.astype(np.float64))
    if ((y - f) ** 2).sum() < ((y + f) ** 2).sum():  # some released files hold the function itself
        y = -y
    oracle = FunctionOracle(space, lambda designs: -facts.f(designs.astype(np.float64)))
    ceiling = Ceiling(
        np.array([0.0]), exact=True, note="the function's optimum; designs can crowd around it"
    )
    return Task(info, space, offline_split(x, y, info.percentile), oracle, ceiling)
