"""Counts of what learned simulators compute, apart from the oracle's calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["LearnedCalls", "count_gradients", "count_learned_calls", "count_rollouts"]


class LearnedCalls:
    """A running count of a learned simulator's work.

    Attributes:
        rollouts: Designs whose episodes were computed.
        gradients: Designs for which an episode's gradient was computed.
    """

    def __init__(self) -> None:
        self.rollouts = 0
        self.gradients = 0


_counters: list[LearnedCalls] = []


@contextmanager
def count_learned_calls() -> Iterator[LearnedCalls]:
    """Count every design that any learned simulator of this process computes inside the block.

    These are no oracle calls: a learned simulator knows nothing of the true score.
    """
    calls = LearnedCalls()
    _counters.append(calls)
    try:
        yield calls
    finally:
        _counters.remove(calls)


def count_rollouts(n: int) -> None:
    """Add the episodes of `n` designs to all open counts."""
    for counter in _counters:
        counter.rollouts += n


def count_gradients(scores: Tensor) -> None:
    """Add a gradient for each score (B,) to all open counts, when a backward pass reaches them."""
    if scores.requires_grad:
        scores.register_hook(_count_backward)  # type: ignore[no-untyped-call]


def _count_backward(gradient: Tensor) -> None:
    for counter in _counters:
        counter.gradients += len(gradient)
