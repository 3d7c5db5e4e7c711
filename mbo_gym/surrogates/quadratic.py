"""A quadratic surrogate: ridge regression on all features, their squares and products, in closed
form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import (
    CannotFit,
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
    require_fitted,
)
from mbo_gym.surrogates.ridge import ridge_regression

__all__ = ["QuadraticConfig", "QuadraticSurrogate"]


@dataclass(frozen=True)
class QuadraticConfig:
    """Settings of a quadratic surrogate.

    Args:
        max_features: Most features d that it is fitted on. There are d (d + 3) / 2 terms; time
            grows with d^6 and memory with d^4: 100 features take about a minute on one core and 1
            GB, 150 ten minutes and 5 GB.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    max_features: int = 100
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_features")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")


class QuadraticSurrogate(Surrogate):
    """f(z) = intercept + l . (z - m) + (z - m)' A (z - m), with m the mean of the rows it was
    fitted on.

    Ridge regression in float64. Features, terms and scores are brought to unit variance first, so
    that one ridge weight means the same for all of them; the intercept is not penalised, what is
    constant gets no weight. The ridge weight is the one of `RIDGES` with the least leave-one-out
    error on the rows that are fitted on, exact for terms of fixed scale (PRESS; Allen, 1974).
    Generalised cross-validation, which takes all rows for equally influential, does not see that a
    few rows with rare features are predicted wildly. The held-out rows play no part in it, and
    nothing is random but which rows they are.

    It is steep far away from the data, where nothing holds a parabola: search with it inside the
        data's box.

    Args:
        config: Settings.

    Attributes:
        ridge: The ridge weight that the last `fit` chose; None before.
    """

    kind: ClassVar[str] = "quadratic"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[QuadraticConfig]] = QuadraticConfig

    def __init__(self, config: QuadraticConfig | None = None) -> None:
        self.config = config or QuadraticConfig()
        self.ridge: float | None = None
        self._state: dict[str, Tensor] = {}

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`.

        Raises:
            CannotFit: There are more than `max_features` features.
        """
        started, d = time.perf_counter(), z.shape[1]
        if d > self.config.max_features:
            raise CannotFit(
                f"a quadratic surrogate takes at most max_features={self.config.max_features} "
                f"features, got {d}: it would have {d * (d + 3) // 2} terms, and time grows with "
                "d^6; take another one (light_ensemble, mlp), an encoder with fewer features, or "
                "raise max_features"
            )
        held, train = hold_out(
            len(z), self.config.held_out, torch.Generator(z.device).manual_seed(seed)
        )
        weight = None
        if self.row_weight is not None:
            weight = self.row_weight[train].double()
            weight = weight / weight.mean()
        self._state = self._regress(
            z[train].double(), y[train].double(), weight, progress or NullProgress(), z.dtype
        )
        self.report = held_out_report(
            self,
            z[held],
            y[held],
            n_train=len(train),
            steps=0,
            seconds=time.perf_counter() - started,
        )
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        state = require_fitted(self._state or None, self.kind)
        u = z - state["mean"]
        return state["intercept"] + ((u @ state["matrix"] + state["linear"]) * u).sum(dim=1)

    def state(self) -> dict[str, Tensor]:
        """Return intercept (), linear (d,), symmetric matrix (d, d) and mean (d,)."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)

    def _regress(
        self,
        z: Tensor,
        y: Tensor,
        weight: Tensor | None,
        progress: Progress,
        dtype: torch.dtype,
    ) -> dict[str, Tensor]:
        d, unit = z.shape[1], y.std(correction=0).clamp_min(1e-300)
        mean, scale = z.mean(dim=0), z.std(dim=0, correction=0)
        scale[scale <= 1e-9 * z.abs().amax(dim=0)] = (
            torch.inf
        )  # constant: 0 in every row, and no weight
        middle = y.mean() if weight is None else (weight * y).mean()
        i, j = torch.triu_indices(d, d, device=z.device)

        def terms(u: Tensor) -> Tensor:
            return torch.cat([u, u[:, i] * u[:, j]], dim=1)

        found = ridge_regression(
            (z - mean) / scale,
            terms,
            d + len(i),
            (y - middle) / unit,
            weight,
            progress,
            "fitting quadratic",
        )
        self.ridge = found.weight
        weights, centre = found.slopes * unit, found.centre
        matrix = z.new_zeros(d, d)
        matrix[i, j] = weights[d:]
        matrix = (matrix + matrix.T) / 2 / scale / scale.unsqueeze(1)
        fitted = {
            "intercept": middle - centre @ weights,
            "linear": weights[:d] / scale,
            "matrix": matrix,
        }
        return {key: value.to(dtype) for key, value in {**fitted, "mean": mean}.items()}
