"""Oracles: holders of the true score. Every scored design is counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from mbo_gym.errors import BudgetExceeded, InvalidDesign
from mbo_gym.problem.space import DesignSpace

__all__ = ["MADE", "MeteredOracle", "Oracle", "OracleCalls", "count_oracle_calls"]

MADE = "mbo_gym.made"
"""Audit event (PEP 578) of a task or an oracle that is made, with its kind and its name."""


class OracleCalls:
    """A running count of scored designs."""

    def __init__(self) -> None:
        self.count = 0


_counters: list[OracleCalls] = []


@contextmanager
def count_oracle_calls() -> Iterator[OracleCalls]:
    """Count every design that any oracle of this process scores inside the block."""
    calls = OracleCalls()
    _counters.append(calls)
    try:
        yield calls
    finally:
        if calls in _counters:  # a method may have emptied the list
            _counters.remove(calls)


class Oracle:
    """The true score of designs. A subclass writes `_score` only.

    Args:
        space: The designs it can score.
        batch_size: Most designs handed to `_score` at once.
    """

    def __init__(self, space: DesignSpace, *, batch_size: int = 1 << 20) -> None:
        sys.audit(MADE, "oracle", type(self).__name__)
        self.space = space
        self.batch_size = batch_size

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Score designs.

        Args:
            x: (N, *shape) native designs.

        Returns:
            (N,) float32 raw scores, higher is better.

        Raises:
            InvalidDesign: A row lies outside the space; the message names the first one and why.
                Nothing is scored.
        """
        x = np.asarray(x)
        ok = self.space.contains(x)
        if not ok.all():
            i = int(np.argmin(ok))
            raise InvalidDesign(
                f"row {i} of {len(x)}: {self.space.why_not(x[i])} ({int((~ok).sum())} bad rows in "
                "all). "
                "Methods' designs always lie inside; bring yours inside, or let evaluate() count "
                "them as infeasible."
            )
        self._count(len(x))
        x = x.astype(self.space.dtype, copy=False)
        parts = [self._score(x[i : i + self.batch_size]) for i in range(0, len(x), self.batch_size)]
        return (
            np.concatenate(parts).astype(np.float32, copy=False)
            if parts
            else np.empty(0, dtype=np.float32)
        )

    def score_tensor(self, x: Tensor) -> Tensor:
        """Score designs (N, *shape) that lie inside the space; (N,) float32.

        The scores are on the tensor's device.

        For the batched environment: no validation. This default goes through numpy; a table stays
            on the device.
        """
        self._count(len(x))
        return torch.from_numpy(self._score(x.cpu().numpy())).to(x.device, torch.float32)

    def _count(self, n: int) -> None:
        for counter in _counters:
            counter.count += n

    def _score(self, x: np.ndarray) -> np.ndarray:
        """Score validated designs (N, *shape); returns (N,)."""
        raise TypeError(f"{type(self).__name__} must define _score")


class MeteredOracle:
    """An oracle that counts the designs it scores and refuses to go over a budget.

    Args:
        oracle: The oracle to ask.
        budget: Most designs it will ever score; None for no limit.
    """

    def __init__(self, oracle: Oracle, budget: int | None = None) -> None:
        if budget is not None and budget < 0:
            raise ValueError(f"a budget is a number of designs, at least 0, got {budget}")
        self._oracle = oracle
        self.budget = budget
        self.calls = 0

    @property
    def space(self) -> DesignSpace:
        """The designs it can score."""
        return self._oracle.space

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Score designs (N, *shape) -> (N,) float32.

        Raises:
            InvalidDesign: A row lies outside the space. Nothing is counted.
            BudgetExceeded: N more would go over the budget. Nothing is scored.
        """
        self._spend(len(x))
        try:
            return self._oracle(x)
        except Exception:
            self.calls -= len(x)
            raise

    def score_tensor(self, x: Tensor) -> Tensor:
        """Score designs (N, *shape) that lie inside the space; (N,) float32.

        The scores are on the tensor's device; the designs are counted as in a call.
        """
        self._spend(len(x))
        return self._oracle.score_tensor(x)

    def _spend(self, n: int) -> None:
        if self.budget is not None and self.calls + n > self.budget:
            raise BudgetExceeded(
                f"{n} more designs would make {self.calls + n} oracle calls, the budget is "
                f"{self.budget} "
                f"({self.budget - self.calls} left). Score fewer designs, or ask the task for a "
                "larger budget."
            )
        self.calls += n
