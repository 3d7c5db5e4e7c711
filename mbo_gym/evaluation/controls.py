"""Scores of controls that follow exactly from a table."""

from __future__ import annotations

import numpy as np

from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.task import Task

__all__ = ["known_controls"]


def known_controls(task: Task, k: int) -> dict[str, dict[str, float]]:
    """Return the normalised percentiles of controls with `k` designs, where they follow exactly
    from a table.

    ``random``: expected 100th and 50th percentile of k uniform draws. ``top_k``: the best visible
    designs unchanged. Other tasks' controls have to be run (they are methods like any other): an
    empty dictionary. No oracle call is made or counted.
    """
    oracle = task.hidden_oracle
    if (
        not isinstance(oracle, TableOracle) or not np.isfinite(oracle.table).all()
    ):  # holes: no complete table
        return {}
    table = task.normalise(np.sort(oracle.table))
    low, high = (
        (k + 1) // 2,
        k // 2 + 1,
    )  # the median of an even number of draws lies between two of them
    median = (
        _expected_order_statistic(table, low, k) + _expected_order_statistic(table, high, k)
    ) / 2
    rows = task.dataset.top_rows(k)
    rows = rows[
        np.sort(np.arange(k) % len(rows))
    ]  # fewer than k: the best are repeated, as the method does
    visible = task.normalise(oracle._score(task.dataset.x[rows]))
    return {
        "random": {"p100": _expected_order_statistic(table, k, k), "p50": median},
        "top_k": {"p100": float(visible.max()), "p50": float(np.median(visible))},
    }


def _expected_order_statistic(ascending: np.ndarray, rank: int, k: int) -> float:
    """Return the expectation of the `rank`-th smallest of `k` independent uniform draws from the
    values (M,).

    P(rank-th smallest <= i-th value) is the regularised incomplete beta function I_{i/M}(rank, k -
    rank + 1).
    """
    from scipy.special import betainc

    share = np.arange(len(ascending) + 1) / len(ascending)
    return float(np.diff(betainc(rank, k - rank + 1, share)) @ ascending)
