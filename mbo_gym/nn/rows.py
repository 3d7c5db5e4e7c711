"""Rows of the next updates: orders of rows, dealt out batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Order", "RowPool", "among", "permuted", "permuted_by_member", "shared", "weighted"]

Order: TypeAlias = Callable[[torch.Generator], Tensor]
"""Draws rows (..., n) int64 from a generator, on its device; members of a batched network come
first."""


class RowPool:
    """Rows drawn in one go and dealt out batch by batch; when they run out, more are drawn.

    Args:
        order: Draws the rows.
        batch_size: Rows of an update; all rows of a draw where that has fewer.
        keep_rest: Whether the rest of a draw, too short for a batch, comes before the next draw;
            else it is dropped. A batch may then be larger than a draw.

    Attributes:
        rest: Rows that were drawn and not dealt out yet; None before the first batch.
    """

    def __init__(self, order: Order, batch_size: int, *, keep_rest: bool = False) -> None:
        self._order = order
        self._batch_size = batch_size
        self._keep_rest = keep_rest
        self.rest: Tensor | None = None

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return the rows of the next update, (..., B)."""
        size = self._batch_size
        pool = self.rest
        if self._keep_rest:
            while pool is None or pool.shape[-1] < size:
                more = self._order(generator)
                pool = more if pool is None else torch.cat([pool, more], dim=-1)
        elif pool is None or pool.shape[-1] < size:
            pool = self._order(generator)
        self.rest = pool[..., size:]
        return pool[..., :size]


def permuted(n: int) -> Order:
    """Every row once, in random order; (n,)."""
    return lambda generator: torch.randperm(n, generator=generator, device=generator.device)


def permuted_by_member(n: int, members: int) -> Order:
    """Every row once, in an order of each member's own; (M, n)."""

    def draw(generator: torch.Generator) -> Tensor:
        return torch.rand(members, n, generator=generator, device=generator.device).argsort(dim=1)

    return draw


def weighted(weight: Tensor, n: int | None = None) -> Order:
    """Rows drawn with replacement, with probabilities proportional to weights.

    Args:
        weight: (N,) or (M, N) weights, not negative; at most 2^24 rows.
        n: Rows of a draw; None for N.
    """
    size = weight.shape[-1] if n is None else n
    return lambda generator: weight.multinomial(size, replacement=True, generator=generator)


def shared(order: Order, members: int) -> Order:
    """The same rows for every member; (M, n)."""
    return lambda generator: order(generator).expand(members, -1)


def among(own: Tensor, order: Order) -> Order:
    """The rows `own` (M, n) of each member, in the order (M, n) that is drawn."""
    return lambda generator: own.gather(1, order(generator))
