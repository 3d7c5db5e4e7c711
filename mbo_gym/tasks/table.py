"""Tasks whose oracle is a complete table of scores."""

from __future__ import annotations

import numpy as np

from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split

__all__ = ["table_task"]


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
