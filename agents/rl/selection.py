"""OSEL: choose a policy without the oracle (Chemingui, Deshwal, Hoang, Doppa, AAAI 2024, arXiv
2405.05349).

PGS has settings that only the result can judge: the percentile p its trajectories come from, and
when to stop training. OSEL judges by what each policy would propose, and by the visible scores
alone.

Algorithm:
    1. Learn an embedding of designs. The paper's is a value-prediction network (Oh, Singh, Lee,
       NeurIPS 2017; see `agents.rl.value_prediction`); the light one is the surrogate's last hidden
       layer, `Surrogate.hidden`.
    2. Score each proposal of a candidate (p, checkpoint) by the mean score of its k = 10 nearest
       visible designs.
    3. A candidate's score is the mean (the paper: the maximum) over its proposals; the highest
       wins.

Use one embedding for all candidates, or their scores are not in the same unit.

Differs from the paper: the mean is the default. No proposal can score above the best visible
designs, so the maximum ties as soon as one proposal of each candidate lies among them; in trials
the mean also ranked candidates more like the oracle did, on two tasks of three. ``statistic="max"``
is the paper's.

What it cannot do: a score measures how much of the good visible region the proposals cover. It says
nothing about what lies beyond that region, and does not mind proposals that are all alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import predict_in_pieces

__all__ = ["Candidate", "KnnScore", "knn_mean", "osel_score", "rank_candidates"]

_BLOCK_NUMBERS = 1 << 21  # distances held at once

# From features (B, d) to embeddings (B, e): ValuePredictionNetwork.embed or Surrogate.hidden.
Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained policy, known by what it proposes.

    Args:
        p: Percentile its trajectories were drawn from.
        step: Updates after which it was kept.
        z: (K, d) features of its proposals; of the decoded designs, where the search leaves the
            encoder's range.
    """

    p: float
    step: int
    z: Tensor


class KnnScore:
    """Expected score of a design: the mean score of the visible designs nearest to it in an
    embedding.

    Uniform weights, Euclidean distances; scores are in standard deviations of the visible scores.
    Every visible row counts, repeated designs as often as they stand there.

    Args:
        problem: What a method may know.
        encoder: Maps designs to features (d).
        embed: Maps features (B, d) to embeddings (B, e), on `device`.
        k: Neighbours, at most N.
        device: Where `embed` works. Distances are taken on the CPU in double precision.

    Raises:
        ValueError: There are fewer than `k` visible designs.
    """

    def __init__(
        self,
        problem: OfflineProblem,
        encoder: Encoder,
        embed: Embed,
        *,
        k: int = 10,
        device: str = "cpu",
    ) -> None:
        _check_neighbours(k, len(problem.dataset))
        self._embed, self._k, self._device = embed, k, device
        self._reference = self._embedded(
            torch.from_numpy(encoder.encode(problem.dataset.x))
        )  # (N, e)
        self._y = torch.from_numpy(
            problem.dataset.score_scale.standardise(problem.dataset.y)
        )  # (N,)

    def __call__(self, z: Tensor) -> Tensor:
        """Return the expected scores of features (B, d); (B,) on the CPU."""
        return knn_mean(self._embedded(z), self._reference, self._y, self._k)

    def _embedded(self, z: Tensor) -> Tensor:
        return predict_in_pieces(lambda part: self._embed(part.to(self._device)).cpu(), z)


def knn_mean(points: Tensor, reference: Tensor, values: Tensor, k: int = 10) -> Tensor:
    """Return the mean value of each point's `k` nearest reference points (k-nearest-neighbour
    regression).

    Reference points are taken block by block, so no N x N matrix is made: memory grows with B times
    the block. Of equally distant ones at the k-th place, any may count.

    Args:
        points: (B, e).
        reference: (N, e).
        values: (N,) of the reference points.
        k: Neighbours, at most N.

    Returns:
        (B,) of the dtype of `values`.

    Raises:
        ValueError: There are fewer than `k` reference points.
    """
    _check_neighbours(k, len(reference))
    points = (
        points.double()
    )  # |p|^2 + |r|^2 - 2 p.r cancels: in single precision near neighbours would swap
    nearest = points.new_full((len(points), k), math.inf)
    found = values.new_zeros(len(points), k)
    rows = max(1, _BLOCK_NUMBERS // max(len(points), points.shape[1]))
    for block, value in zip(torch.split(reference, rows), torch.split(values, rows), strict=True):
        block = block.double()
        distance = torch.addmm(
            block.square().sum(dim=1), points, block.T, alpha=-2
        )  # (B, rows); |p|^2 is left out
        nearest, column = torch.cat([nearest, distance], dim=1).topk(k, largest=False)
        found = torch.cat([found, value.expand(len(points), -1)], dim=1).gather(1, column)
    return found.mean(dim=1)


def osel_score(score: KnnScore, z: Tensor, statistic: Literal["mean", "max"] = "mean") -> float:
    """Return the OSEL score of proposals with features (K, d), in standard deviations of the
    visible scores.

    Raises:
        ValueError: `statistic` is another word, or there are no proposals.
    """
    if statistic not in ("mean", "max"):
        raise ValueError(f"statistic must be 'mean' or 'max' (the paper's), got {statistic!r}")
    if not len(z):
        raise ValueError(
            f"a candidate needs at least one proposal, got features of shape {tuple(z.shape)}"
        )
    expected = score(z).double()
    return float(expected.mean() if statistic == "mean" else expected.max())


def rank_candidates(
    candidates: Sequence[Candidate], score: KnnScore, statistic: Literal["mean", "max"] = "mean"
) -> list[tuple[Candidate, float]]:
    """Return the candidates with their OSEL scores, best first: the first one is OSEL's choice.

    Equal scores keep the given order. A candidate with features that are not finite comes last,
    with a score of minus infinity.
    """
    scored = [
        (
            candidate,
            osel_score(score, candidate.z, statistic)
            if candidate.z.isfinite().all()
            else -math.inf,
        )
        for candidate in candidates
    ]
    return sorted(scored, key=lambda pair: -pair[1])


def _check_neighbours(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(
            f"k neighbours are taken from {n} visible designs, so 1 <= k <= {n}; got {k=}"
        )
