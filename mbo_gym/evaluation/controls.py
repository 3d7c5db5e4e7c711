"""Scores of controls that follow exactly from a table, or are stored with a task's data."""

from __future__ import annotations

import numpy as np

from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.task import Task

__all__ = ["known_controls"]


def known_controls(task: Task, k: int) -> dict[str, dict[str, float]]:
    """Return the exact scores of controls with `k` designs, where they follow from a table.

    ``random``: expected 100th and 50th percentile of k uniform draws. ``top_k``: the best visible
    designs unchanged. Scores are normalised. The table is read as data (`TableOracle.values`), so
    no oracle call is made.

    A task that stores scores of controls with its data (`Task.controls`) has those instead, each
    with its best k designs. For any other task without a complete table the dictionary is empty:
    its controls have to be run, like any method.

    Args:
        task: The task.
        k: Number of designs.
    """
    if task.controls:
        return {name: _best_of(task.normalise(y), k) for name, y in task.controls.items()}
    oracle = task.hidden_oracle
    if not isinstance(oracle, TableOracle | RowsOracle) or not np.isfinite(oracle.table).all():
        return {}
    table = task.normalise(np.sort(oracle.table))
    # the median of an even number of draws lies between two of them
    low = _expected_order_statistic(table, (k + 1) // 2, k)
    high = _expected_order_statistic(table, k // 2 + 1, k)
    median = (low + high) / 2
    rows = task.dataset.top_rows(k)
    # where there are fewer than k, the best are repeated, as the method does
    rows = rows[np.sort(np.arange(k) % len(rows))]
    visible = task.normalise(oracle.values(task.dataset.x[rows]))
    return {
        "random": {"p100": _expected_order_statistic(table, k, k), "p50": median},
        "top_k": {"p100": float(visible.max()), "p50": float(np.median(visible))},
    }


def _best_of(scores: np.ndarray, k: int) -> dict[str, float]:
    """Return the 100th and 50th percentile of the best k scores."""
    best = np.sort(scores)[::-1][:k]
    return {"p100": float(best[0]), "p50": float(np.median(best))}


def _expected_order_statistic(ascending: np.ndarray, rank: int, k: int) -> float:
    """Return the expected `rank`-th smallest of `k` uniform draws from the values (M,).

    P(rank-th smallest <= i-th value) is the regularised incomplete beta function I_{i/M}(rank, k -
    rank + 1).
    """
    from scipy.special import betainc

    share = np.arange(len(ascending) + 1) / len(ascending)
    return float(np.diff(betainc(rank, k - rank + 1, share)) @ ascending)
