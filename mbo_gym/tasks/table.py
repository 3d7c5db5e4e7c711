"""Tasks whose oracle is a complete table of scores, of letters or of any designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split

__all__ = ["rows_task", "table_task"]


def table_task(
    info: TaskInfo,
    space: CategoricalSpace,
    x: np.ndarray,
    y: np.ndarray,
    table: np.ndarray,
    *,
    split: bool = True,
) -> Task:
    """Make a task whose oracle is a complete table.

    Args:
        info: The facts.
        space: L sites of A letters.
        x: (N, L) all designs, or the visible ones where `split` is off.
        y: (N,) their scores.
        table: (A ** L,) scores by code.
        split: Whether `x`, `y` are the full data, to be cut at `info.percentile`.
    """
    oracle = TableOracle(space, table)
    dataset = offline_split(x, y, info.percentile if split else 100)
    ceiling = Ceiling(
        np.sort(table)[::-1], exact=True, note="the best distinct designs of the complete table"
    )
    return Task(info, space, dataset, oracle, ceiling)


def rows_task(info: TaskInfo, space: DesignSpace, x: np.ndarray, y: np.ndarray) -> Task:
    """Make a task of all designs of a finite space and their scores, cut at `info.percentile`.

    Args:
        info: The facts; the range of the scores is filled in.
        space: Design space; each of its designs stands in the table.
        x: (N, *shape) distinct designs.
        y: (N,) their scores, higher is better.
    """
    oracle = RowsOracle(space, x, y)
    scores = np.asarray(y, dtype=np.float32)
    info = replace(info, n_full=len(y), y_min=float(scores.min()), y_max=float(scores.max()))
    ceiling = Ceiling(
        np.sort(scores)[::-1], exact=True, note="the best distinct designs of the complete table"
    )
    return Task(info, space, offline_split(x, scores, info.percentile), oracle, ceiling)
