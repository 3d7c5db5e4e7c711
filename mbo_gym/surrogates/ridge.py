"""Ridge regression whose weight is chosen by the exact leave-one-out error (PRESS)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mbo_gym.progress.protocol import Progress

__all__ = [
    "RIDGES",
    "BestTerms",
    "Ridge",
    "Terms",
    "best_terms",
    "ridge_regression",
    "spread_over",
]

RIDGES = torch.logspace(-8, 3, 23, dtype=torch.float64)
"""The ridge weights to choose from, beside terms and scores of unit variance."""

Terms: TypeAlias = Callable[[Tensor], Tensor]
"""Function from rows (B, d) to terms (B, p) float64; the terms have about unit size."""

_BLOCK = 1 << 23  # numbers in a block of rows of the terms: 64 MB
_COLUMNS = 512


@dataclass(frozen=True, eq=False)
class Ridge:
    """A regression on terms of rows.

    Args:
        weight: The ridge weight that was chosen.
        error: Mean squared leave-one-out error, in the unit of the target squared.
        slopes: (p,) weights of the terms.
        centre: (p,) means of the terms; the prediction is ``(terms - centre) @ slopes``.
        left_out: (N,) float32 error of each row by a fit without it, in the unit of the target.
    """

    weight: float
    error: float
    slopes: Tensor
    centre: Tensor
    left_out: Tensor


def ridge_regression(
    rows: Tensor,
    terms: Terms,
    n_terms: int,
    target: Tensor,
    weight: Tensor | None,
    progress: Progress,
    description: str,
) -> Ridge:
    """Regress a target (N,) of mean 0 on terms of rows (N, d).

    The ridge weight is the one of `RIDGES` with the least leave-one-out error, exact for terms of
    fixed scale (PRESS; Allen, 1974). Generalised cross-validation, which takes all rows for equally
    influential, does not see that a few rows with rare features are predicted wildly. With the
    terms' covariance diagonal in the basis of its eigenvectors, all ridge weights are tried at
    once. The intercept is not penalised; what is constant gets no weight.

    Args:
        rows: (N, d).
        terms: Function from rows to terms.
        n_terms: p.
        target: (N,) float64.
        weight: (N,) of mean 1, by which rows count; 0 is then the target's mean so weighed. None
            for equal ones.
        progress: Gets two bars.
        description: Text of the first bar.
    """

    def blocks(text: str) -> Iterator[tuple[Tensor, slice]]:
        size = max(1, _BLOCK // n_terms)
        for start in progress.track(range(0, len(rows), size), text):
            part = slice(start, start + size)
            yield terms(rows[part]), part

    covariance, cross, centre = _moments(blocks(description), n_terms, target, weight)
    spread = covariance.diagonal().clone()
    spread = torch.where(spread > 1e-10, spread.sqrt(), torch.inf)  # constant: no weight
    values, vectors = torch.linalg.eigh(covariance.div_(spread).div_(spread.unsqueeze(1)), UPLO="U")
    null = int((values <= 10 * len(values) * torch.finfo(values.dtype).eps * values[-1]).sum())
    values, vectors = values[null:], vectors.div_(spread.unsqueeze(1))[:, null:]
    along = cross @ vectors
    shrunk = 1 / (values.unsqueeze(1) + RIDGES.to(values.device))  # (rank, ridges)
    error, n = values.new_zeros(len(RIDGES)), len(rows)
    left_out = []
    for found, part in blocks("choosing the ridge"):
        placed = found @ vectors - centre @ vectors
        influence = placed.square() @ shrunk / n + 1 / n  # of a row on its own prediction
        residual = target[part].unsqueeze(1) - placed @ (along.unsqueeze(1) * shrunk)
        own = 1.0 if weight is None else weight[part].unsqueeze(1)
        without = residual / (1 - own * influence).clamp_min(1e-12)
        error += (own * without.square()).sum(dim=0)
        left_out.append(without.float())
    best = int(error.argmin())
    slopes = vectors @ (along * shrunk[:, best])
    errors = torch.cat([part[:, best] for part in left_out])
    return Ridge(RIDGES[best].item(), float(error[best]) / n, slopes, centre, errors)


@dataclass(frozen=True, eq=False)
class BestTerms:
    """The kind of terms that predicts best, and its regression.

    Args:
        kind: Name of the kind.
        r2: Share of the scores' variance that each kind predicts by leave-one-out.
        slopes: (p,) weights of the terms of `kind`.
        intercept: () prediction where all terms are 0.
        left_out: (N,) float32 error of each row by a fit of `kind` without it.
    """

    kind: str
    r2: dict[str, float]
    slopes: Tensor
    intercept: Tensor
    left_out: Tensor


def best_terms(
    rows: Tensor,
    kinds: Mapping[str, tuple[Terms, int]],
    y: Tensor,
    row_weight: Tensor | None,
    progress: Progress,
) -> BestTerms:
    """Regress scores on several kinds of terms, and return the one with the least leave-one-out
    error.

    Args:
        rows: (N, ...) float64.
        kinds: Terms of each kind, and how many there are.
        y: (N,) scores.
        row_weight: (N,) by which rows count, or None.
        progress: Gets two bars a kind.
    """
    scores = y.double()
    weight = None if row_weight is None else row_weight.double() / row_weight.double().mean()
    counted = torch.ones_like(scores) if weight is None else weight
    middle = (counted * scores).mean()
    target = scores - middle
    unit = (counted * target.square()).mean().sqrt().clamp_min(1e-300)
    found = {
        kind: ridge_regression(
            rows, terms, n, target / unit, weight, progress, f"fitting {kind.replace('_', ' and ')}"
        )
        for kind, (terms, n) in kinds.items()
    }
    r2 = {kind: 1 - ridge.error for kind, ridge in found.items()}
    best = max(r2, key=lambda kind: r2[kind])
    slopes = found[best].slopes * unit
    intercept = middle - found[best].centre @ slopes
    return BestTerms(best, r2, slopes, intercept, found[best].left_out * unit)


def spread_over(n: int, rows: Tensor, values: Tensor) -> Tensor:
    """Return (n,) with values (m,) at rows (m,), and NaN elsewhere."""
    whole = values.new_full((n,), torch.nan)
    whole[rows] = values
    return whole


def _moments(
    blocks: Iterator[tuple[Tensor, slice]], p: int, target: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the terms' covariance (p, p; upper triangle), theirs with the target (p,), and their
    means (p,), with rows counted by weights (N,) of mean 1 if there are any.

    The means are subtracted at the end, which is exact enough for terms of unit size.
    """
    n = len(target)
    mixed, cross, centre = target.new_zeros(p, p), target.new_zeros(p), target.new_zeros(p)
    for found, part in blocks:
        own = found if weight is None else weight[part].unsqueeze(1) * found
        for left in range(0, p, _COLUMNS):  # half the work of the whole product
            mixed[left : left + _COLUMNS, left:].addmm_(
                own[:, left : left + _COLUMNS].T, found[:, left:]
            )
        cross += target[part] @ own
        centre += own.sum(dim=0)
    centre /= n
    return mixed.div_(n).addr_(centre, centre, alpha=-1), cross / n, centre
