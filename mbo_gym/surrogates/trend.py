"""Trends: linear, isotropic, diagonal and full quadratics in closed form, the best by
leave-one-out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import (
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
    require_fitted,
)
from mbo_gym.surrogates.ridge import best_terms, spread_over

__all__ = ["KINDS", "TrendConfig", "TrendSurrogate"]

KINDS = ("linear", "isotropic", "diagonal", "full")
"""The trends, from the fewest terms to the most."""


@dataclass(frozen=True)
class TrendConfig:
    """Settings of a trend.

    Args:
        kinds: Trends to choose from, of ``linear`` (l . u), ``isotropic`` (l . u + b |u|^2),
            ``diagonal`` (l . u + b . u^2) and ``full`` (all products), with u the features in
            standard deviations.
        max_features: Most features d of a full quadratic, which is left out beyond: it has
            d (d + 3) / 2 terms, and time grows with d^6.
        concave: Whether a full quadratic is left out where it has no maximum. The others are sums
            over features, and inside the data's box each of these stays in its measured range; a
            full quadratic that rises along some mixed direction leads to a corner where nothing was
            measured.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    kinds: tuple[str, ...] = KINDS
    max_features: int = 60
    concave: bool = True
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_features")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds or self.kinds == ("full",):
            raise ValueError(
                f"kinds must name at least one of {', '.join(KINDS)}, and another beside full, "
                f"got {list(self.kinds)}"
            )


class TrendSurrogate(Surrogate):
    """A polynomial of degree 1 or 2 by ridge regression; which one, and its ridge weight, by PRESS.

    Algorithm:
        1. bring features to mean 0 and variance 1: u
        2. for each kind, regress the scores on its terms of u; the ridge weight is the one with the
           least leave-one-out error
        3. keep the kind with the least leave-one-out error; a full quadratic only where it has a
           maximum

    It has few parameters, so it is right far from the data where the score follows it, and
    unbounded where it does not: search with it inside the data's box. Differentiable.

    Args:
        config: Settings.

    Attributes:
        chosen: Kind of the last fit; empty before.
        r2: Share of the scores' variance that each kind predicts by leave-one-out, in the last fit.
        left_out: (N,) error of each row of the last fit by a fit without it; NaN for the rows held
            out for the report.

    Example:
        >>> import torch
        >>> from mbo_gym.surrogates.registry import make_surrogate
        >>> z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> trend = make_surrogate("trend", kinds=("linear", "isotropic"))
        >>> _ = trend.fit(z, z[:, 0] - z.square().sum(1), seed=0)
        >>> trend.chosen
        'isotropic'
    """

    kind: ClassVar[str] = "trend"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[TrendConfig]] = TrendConfig

    def __init__(self, config: TrendConfig | None = None) -> None:
        self.config = config or TrendConfig()
        self.chosen = ""
        self.r2: dict[str, float] = {}
        self.left_out = torch.empty(0)
        self._state: dict[str, Tensor] = {}

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`.

        The held-out rows play no part in the choice, and nothing is random but which rows they are.
        """
        started = time.perf_counter()
        generator = torch.Generator(z.device).manual_seed(seed)
        held, train = hold_out(len(z), self.config.held_out, generator)
        weight = None if self.row_weight is None else self.row_weight[train]
        self._state = self._regress(z[train], y[train], weight, progress or NullProgress())
        self.left_out = spread_over(len(z), train, self.left_out)
        seconds = time.perf_counter() - started
        self.report = held_out_report(
            self, z[held], y[held], n_train=len(train), steps=0, seconds=seconds
        )
        return self.report

    def _regress(
        self, z: Tensor, y: Tensor, weight: Tensor | None, progress: Progress
    ) -> dict[str, Tensor]:
        """Fit all kinds and return the tensors of the best."""
        d, rows = z.shape[1], z.double()
        mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0)
        constant = scale <= 1e-9 * rows.abs().amax(dim=0)
        u = (rows - mean) / torch.where(constant, torch.inf, scale)  # constant: 0 in every row
        kinds = [k for k in self.config.kinds if k != "full" or d <= self.config.max_features]
        terms = {kind: (partial(_terms, kind), _n_terms(kind, d)) for kind in kinds}
        best = best_terms(u, terms, y, weight, progress)
        self.r2 = best.r2
        if best.kind == "full" and self.config.concave and not _has_maximum(best.slopes[d:], d):
            del terms["full"]
            best = best_terms(u, terms, y, weight, progress)
        self.chosen, self.left_out = best.kind, best.left_out
        tensors = {
            "mean": mean,
            "scale": torch.where(constant, torch.inf, scale),
            "intercept": best.intercept,
            "linear": best.slopes[:d],
            "matrix": _matrix(best.kind, best.slopes[d:], d),  # (d,) of squares alone, or (d, d)
        }
        number = torch.tensor(KINDS.index(self.chosen))
        return {key: value.to(z.dtype) for key, value in tensors.items()} | {"kind": number}

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), differentiable in `z`."""
        state = require_fitted(self._state or None, self.kind)
        u = (z - state["mean"]) / state["scale"]
        matrix = state["matrix"]
        curved = u @ matrix if matrix.dim() == 2 else u * matrix
        return state["intercept"] + ((curved + state["linear"]) * u).sum(dim=1)

    def state(self) -> dict[str, Tensor]:
        """Return mean and scale (d,), intercept (), linear (d,), matrix (d,) or (d, d), kind ()."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)
        self.chosen = KINDS[int(state["kind"])]


def _terms(kind: str, u: Tensor) -> Tensor:
    """Return the terms (B, p) of features in standard deviations (B, d)."""
    squares = u.square()
    if kind == "linear":
        return u
    if kind == "isotropic":
        return torch.cat([u, squares.mean(dim=1, keepdim=True)], dim=1)
    if kind == "diagonal":
        return torch.cat([u, squares], dim=1)
    i, j = torch.triu_indices(u.shape[1], u.shape[1], device=u.device)
    return torch.cat([u, u[:, i] * u[:, j]], dim=1)


def _n_terms(kind: str, d: int) -> int:
    """Return the number of terms p of d features."""
    return {"linear": d, "isotropic": d + 1, "diagonal": 2 * d, "full": d * (d + 3) // 2}[kind]


def _has_maximum(slopes: Tensor, d: int) -> bool:
    """Whether a full quadratic with these slopes of the products falls in every direction."""
    return bool((torch.linalg.eigvalsh(_matrix("full", slopes, d)) < 0).all())


def _matrix(kind: str, slopes: Tensor, d: int) -> Tensor:
    """Return what multiplies squares (d,), or the symmetric matrix (d, d) of a full quadratic."""
    if kind == "linear":
        return slopes.new_zeros(d)
    if kind == "isotropic":
        return (slopes / d).expand(d).clone()
    if kind == "diagonal":
        return slopes
    i, j = torch.triu_indices(d, d, device=slopes.device)
    matrix = slopes.new_zeros(d, d)
    matrix[i, j] = slopes
    return (matrix + matrix.T) / 2
