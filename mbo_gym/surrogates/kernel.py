"""Kernel ridge regression with a Gaussian kernel; its settings by leave-one-out."""

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

__all__ = ["KernelConfig", "KernelSurrogate"]

_TINY = 1e-12


@dataclass(frozen=True)
class KernelConfig:
    """Settings of a kernel surrogate.

    Args:
        max_rows: Rows that it is fitted on, drawn at random where there are more: memory grows with
            their square, and time with their cube.
        chosen_on: Rows of these that width and ridge weight are chosen on, which takes as long as a
            fit on about four times as many.
        widths: Squared widths to choose from, as multiples of the median squared distance of rows.
        noises: Ridge weights to choose from, beside scores of unit variance.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    max_rows: int = 6000
    chosen_on: int = 2000
    widths: tuple[float, ...] = (0.3, 1.0, 4.0)
    noises: tuple[float, ...] = (0.01, 0.1, 0.5, 2.0)
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 2, "max_rows", "chosen_on")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        for name in ("widths", "noises"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be numbers above 0, got {list(values)}")


class KernelSurrogate(Surrogate):
    """f(z) = mean + sum_i a_i exp(-|z - z_i|^2 / width) over rows z_i: the mean of a Gaussian
    process.

    A row of weight w has the noise of 1 / w rows. Width and noise are those with the least
    leave-one-out error. Far from all rows it returns to the mean of the scores, which is a
    pessimism of its own: a search gains nothing there. Differentiable.

    Args:
        config: Settings.

    Attributes:
        width: Squared width of the last fit; NaN before.
        noise: Ridge weight of the last fit; NaN before.
    """

    kind: ClassVar[str] = "kernel"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[KernelConfig]] = KernelConfig

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.config = config or KernelConfig()
        self.width = self.noise = float("nan")
        self._state: dict[str, Tensor] = {}

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`.

        Raises:
            CannotFit: There are fewer than 2 rows.
        """
        config, started = self.config, time.perf_counter()
        generator = torch.Generator(z.device).manual_seed(seed)
        held, train = hold_out(len(z), config.held_out, generator)
        train = train[: config.max_rows]  # they come in random order
        if len(train) < 2:
            raise CannotFit(f"a kernel surrogate needs 2 rows at least, got {len(train)}")
        rows, scores = z[train].double(), y[train].double()
        weight = torch.ones_like(scores)
        if self.row_weight is not None:
            weight = self.row_weight[train].double()
            weight = weight / weight.mean()
        middle = (weight * scores).mean()
        unit = (weight * (scores - middle).square()).mean().sqrt().clamp_min(_TINY)
        root = weight.sqrt()
        target = root * (scores - middle) / unit
        few = slice(config.chosen_on)
        slopes = self._choose(rows[few], target[few], root[few], progress or NullProgress())
        if len(rows) > config.chosen_on:
            gram = root * torch.exp(-_squared_distances(rows, rows) / self.width) * root[:, None]
            gram.diagonal().add_(self.noise)
            factor = torch.linalg.cholesky(gram)
            slopes = torch.cholesky_solve(target[:, None], factor)[:, 0]
        found = root * slopes
        self._state = {
            "rows": rows.to(z.dtype),
            "weight": (unit * found).to(z.dtype),
            "mean": middle.to(z.dtype),
            "width": torch.tensor(self.width, dtype=z.dtype, device=z.device),
            "noise": torch.tensor(self.noise, dtype=z.dtype, device=z.device),
        }
        seconds = time.perf_counter() - started
        self.report = held_out_report(
            self, z[held], y[held], n_train=len(train), steps=0, seconds=seconds
        )
        return self.report

    def _choose(self, rows: Tensor, target: Tensor, root: Tensor, progress: Progress) -> Tensor:
        """Choose width and noise by leave-one-out, and return the slopes (n,) that belong to them.

        Args:
            rows: (n, d) float64.
            target: (n,) scores of unit variance, times `root`.
            root: (n,) square roots of the weights of rows.
            progress: Gets a bar.
        """
        distance = _squared_distances(rows, rows)
        apart = distance[distance > _TINY]
        median = float(apart.median()) if len(apart) else 1.0
        best = torch.inf
        found = torch.zeros_like(target)
        for factor in progress.track(self.config.widths, "fitting kernel"):
            gram = torch.exp(-distance / (factor * median))
            values, vectors = torch.linalg.eigh(root * gram * root[:, None])
            along, squares = vectors.T @ target, vectors.square()
            for noise in self.config.noises:
                shrunk = 1 / (values.clamp_min(0) + noise)
                slopes = vectors @ (shrunk * along)
                error = float((slopes / (squares @ shrunk)).square().mean())  # each row left out
                if error < best:
                    best = error
                    self.width, self.noise = factor * median, noise
                    found = slopes
        return found

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), differentiable in `z`."""
        state = require_fitted(self._state or None, self.kind)
        distance = _squared_distances(z, state["rows"])
        return state["mean"] + torch.exp(-distance / state["width"]) @ state["weight"]

    def state(self) -> dict[str, Tensor]:
        """Return rows (n, d), their weights (n,), mean, width and noise ()."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)
        self.width, self.noise = float(state["width"]), float(state["noise"])


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared distances (A, B) of rows (A, d) and (B, d)."""
    lengths = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return (lengths - 2 * a @ b.T).clamp_min(0)
