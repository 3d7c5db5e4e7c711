"""Walks between nearest neighbours among the good designs, without an N x N matrix.

The designs stand in a list, best first, so that those above any score are the first so many of the
list. A place is a position in that list. `mbo_gym.trajectories.samplers.local_improving` is what
most callers want.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["NearestPlaces", "walk"]

_GROUPS = (32, 8)
_PIECE = 1 << 13


class NearestPlaces:
    """Finds the nearest designs among the first so many of a list, for many searches at once.

    The distance of two designs is the squared Euclidean distance of their features, added in their
    order in double precision. The answer is exact and does not depend on `block`: a matrix product
    gives every distance up to rounding, all that could be among the k nearest are kept, and their
    distances are then computed directly. Where features are whole numbers, the product itself is
    exact and orders equal distances as well.

    Memory beside the features: a few times `block` numbers, and (B, k) for the answer.

    Args:
        features: (N, d). On indicators (one-hot) the distance is twice Hamming's.
        block: Most distances held at once; one row of up to N of them is the least.
    """

    def __init__(self, features: Tensor, *, block: int = 1 << 22) -> None:
        self._n, self._d = features.shape
        self._block = block
        features = features.double()
        squared = features.square().sum(dim=1, keepdim=True)
        longest = float(squared.max())
        # Whole distances times N leave room for the ties, numbers below N.
        largest = 4 * self._n * max(longest, 1.0)  # no partial sum of such a product is larger
        self._whole = features.equal(features.round()) and largest < 2**53
        self._unit = self._n if self._whole else 1
        # Else the product and the direct sum both stray from the true distance by less than e = 2
        # (d + 2) eps longest:
        # of two designs in one order by the sum, products are at most 4 e out of order.
        self._slack = (
            0.0 if self._whole else 8 * (self._d + 2) * torch.finfo(torch.float64).eps * longest
        )
        table = torch.cat(
            [features, squared, torch.zeros_like(squared)], dim=1
        )  # the last column is for ties
        table = torch.cat(
            [table, table.new_zeros(max(_GROUPS), self._d + 2)]
        )  # whole groups of rows, whatever N is
        self._table = table.float() if self._whole and largest < 2**24 else table

    def __len__(self) -> int:
        return self._n

    def find(self, here: Tensor, limit: Tensor, left_out: Tensor, ties: Tensor, k: int) -> Tensor:
        """Return the places of the `k` designs nearest to each given one, (B, k) int64.

        The nearest comes first. Where fewer than k remain, N fills the rest of the row.

        Args:
            here: (B,) place of each given design.
            limit: (B,) the first `limit` places are searched, 1 <= limit <= N.
            left_out: (B, m) places that do not count.
            ties: (N,) a permutation of 0 .. N-1; of equally distant designs the one with the lower
                number is nearer.
            k: Number of places, at least 1.
        """
        found = torch.full((len(here), k), self._n)
        if self._whole:
            self._table[: self._n, -1] = ties
        order = limit.argsort(descending=True)
        start = 0
        while start < len(order):
            width = int(limit[order[start]])
            rows = order[start : start + max(1, self._block // width)]
            rows = rows[
                limit[rows] > width // 2
            ]  # what a block searches beyond a row's limit is wasted
            row, place = self._find_block(here[rows], limit[rows], left_out[rows], ties, k)
            first = torch.searchsorted(row, torch.arange(len(rows)))  # where each row begins
            rank = torch.arange(len(row)) - first[row]
            among = rank < k
            found[rows[row[among]], rank[among]] = place[among]
            start += len(rows)
        return found

    def _find_block(
        self, here: Tensor, limit: Tensor, left_out: Tensor, ties: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        """Return rows and places that include the k nearest of each row, sorted.

        The order is by row, distance and `ties`.

        Rows come with falling `limit`.
        """
        width, narrow = int(limit[0]), int(limit[-1])
        group = next((size for size in _GROUPS if narrow >= 2 * size * k), 1)
        n_groups = -(-width // group)
        query = self._table[here].mul_(-2 * self._unit)
        query[:, -2], query[:, -1] = self._unit, 1
        near = query @ self._table[: group * n_groups].T  # (|b|^2 - 2 a.b) unit + ties
        near[:, narrow:].masked_fill_(
            torch.arange(narrow, group * n_groups) >= limit[:, None], torch.inf
        )
        row, i = (left_out < width).nonzero(as_tuple=True)
        near[row, left_out[row, i]] = torch.inf
        # k groups with a member below the bound hold k members below it: only the groups' minima
        # need be searched.
        smallest = near.view(len(here), n_groups, group).amin(dim=2)
        bound = smallest.topk(min(k, n_groups), dim=1, largest=False).values[:, -1:] + self._slack
        bound.clamp_(max=torch.finfo(bound.dtype).max)  # infinite ones do not count
        row, i = (smallest <= bound).nonzero(as_tuple=True)
        members = near.view(-1, group).index_select(0, row * n_groups + i)
        pair, member = (members <= bound[row]).nonzero(as_tuple=True)
        row, place = row[pair], i[pair] * group + member
        distance = members[pair, member] if self._whole else self._distance(here[row], place)
        order = torch.from_numpy(np.lexsort((ties[place].numpy(), distance.numpy(), row.numpy())))
        return row[order], place[order]

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the squared distances between places `a` and `b`; (P,).

        Feature by feature, because a library's sum may add in another order for another shape.
        """
        parts = []
        for i, j in zip(torch.split(a, _PIECE), torch.split(b, _PIECE), strict=True):
            squares = (self._table.index_select(0, i) - self._table.index_select(0, j)).square_()
            total = squares[:, 0].clone()
            for feature in range(1, self._d):
                total += squares[:, feature]
            parts.append(total)
        return torch.cat(parts)


def walk(
    nearest: NearestPlaces,
    reach: Tensor,
    start: Tensor,
    *,
    horizon: int,
    generator: torch.Generator,
    k: int,
) -> tuple[Tensor, int]:
    """Walk from each start, all walks together, one step at a time.

    Each step goes to one of the `k` nearest places among those that the best place so far allows
    and the walk has not seen, all equally likely. Where none is left it goes to the best of the k
    nearest of all unseen places. Equally distant places are put in an order drawn anew for each
    step.

    Args:
        nearest: The list of designs.
        reach: (N,) int64; with place i as the best so far, the first reach[i] > i places may be
            visited.
        start: (B,) first places.
        horizon: T, number of steps, below N.
        generator: Source of randomness; every step draws a permutation of N and then B numbers in
            [0, 1).
        k: Number of places to choose among.

    Returns:
        The places (B, T+1) and how many steps found none allowed.
    """
    n = len(nearest)
    path = torch.empty(len(start), horizon + 1, dtype=torch.int64)
    path[:, 0] = best = start
    n_stuck = 0
    for t in range(horizon):
        seen, limit = path[:, : t + 1], reach[best]
        left = limit - (seen < limit[:, None]).sum(dim=1)
        stuck = left == 0
        ties = torch.randperm(n, generator=generator)
        found = nearest.find(path[:, t], torch.where(stuck, n, limit), seen, ties, k)
        drawn = torch.rand(len(start), generator=generator, dtype=torch.float64)
        chosen = found.gather(1, (drawn * left.clamp(1, k)).long()[:, None]).squeeze(1)
        path[:, t + 1] = torch.where(stuck, found.amin(dim=1), chosen)
        best = torch.minimum(best, path[:, t + 1])
        n_stuck += int(stuck.sum())
    return path, n_stuck
