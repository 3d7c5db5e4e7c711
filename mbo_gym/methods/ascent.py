"""Gradient ascent on a surrogate: start designs, steps, trace and order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.envs.dynamics import unit_gradient
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces

__all__ = [
    "GradientAscent",
    "SearchWatch",
    "ascend",
    "best_distinct",
    "best_first",
    "best_rows",
    "start_features",
]

EXTRA_START_NOISE = 0.1


class SearchWatch:
    """Reports a search to the progress, at about 20 of its steps and at the end.

    Args:
        problem: Problem that is searched.
        encoder: Encoder of the features.
        stage: Name of the search.
        steps: Number of its steps.
        progress: Observer of designs and mean predictions.
    """

    def __init__(
        self, problem: OfflineProblem, encoder: Encoder, stage: str, steps: int, progress: Progress
    ) -> None:
        self._scale, self._encoder = problem.dataset.score_scale, encoder
        self._stage, self._steps, self._progress = stage, steps, progress
        self._every = max(1, steps // 20)

    def is_due(self, step: int) -> bool:
        """Whether a step is one of those that are shown."""
        return step % self._every == 0 or step == self._steps

    def __call__(self, step: int, z: Tensor, prediction: Tensor) -> None:
        """Report features (k, d) before a step, and their predictions.

        After the last step, `step` is `steps`.
        """
        if not self.is_due(step):
            return
        values = prediction.detach().cpu().numpy()
        x = self._encoder.decode(z.detach().cpu().numpy())
        self._progress.designs(self._stage, step, x, self._scale.restore(values))
        self._progress.metrics(self._stage, step, prediction=float(values.mean()))


def start_features(
    problem: OfflineProblem, encoder: Encoder, k: int, generator: torch.Generator
) -> Tensor:
    """Return the features (k, d) of the `k` best distinct visible designs, best first.

    Where the data hold fewer than `k`, they are repeated with Gaussian noise of 0.1 standard
    deviations, so that searches from them part ways.
    """
    rows = problem.dataset.top_rows(k)
    z = torch.from_numpy(encoder.encode(problem.dataset.x[rows]))
    if len(z) < k:
        more = z[torch.arange(len(z), k) % len(z)]
        z = torch.cat([z, more + EXTRA_START_NOISE * torch.randn(more.shape, generator=generator)])
    return z


class GradientAscent:
    """Features that take steps along gradients, all rows at once, each on its own.

    Args:
        starts: (B, d) features to start from, which stay as they are.
        optimiser: ``plain``: z + size * gradient; ``unit``: the same with the gradient's root mean
            square at 1; ``adam``: Adam's step with learning rate `size`.
        size: Step size, see `optimiser`.
        box: Lowest and highest features (d,), (d,) that z is clipped to after each step, or None.

    Attributes:
        z: (B, d) features after the steps taken so far.
    """

    def __init__(
        self,
        starts: Tensor,
        optimiser: Literal["plain", "unit", "adam"],
        size: float,
        box: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.z = starts.clone()
        self._starts = starts
        self._unit = optimiser == "unit"
        self._size = size
        self._box = box
        self._adam = (
            torch.optim.Adam([self.z], lr=size, maximize=True) if optimiser == "adam" else None
        )

    def step(self, gradient: Tensor) -> None:
        """Move z by one step along a gradient (B, d)."""
        if self._adam is None:
            self.z.add_(unit_gradient(gradient) if self._unit else gradient, alpha=self._size)
        else:
            self.z.grad = gradient
            self._adam.step()
        if self._box is not None:
            self.z.clamp_(*self._box)

    def ends(self) -> tuple[Tensor, int]:
        """Return the features (B, d) and how many rows diverged (inf or NaN) and are reset to their
        start."""
        finite = self.z.isfinite().all(dim=1, keepdim=True)
        return torch.where(finite, self.z, self._starts), int((~finite).sum())


def ascend(
    surrogate: Surrogate,
    z: Tensor,
    optimiser: Literal["plain", "unit", "adam"],
    steps: int,
    size: float,
    *,
    box: tuple[Tensor, Tensor] | None,
    progress: Progress,
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Climb a surrogate from features z (B, d), all rows at once; returns (B, d).

    Rows that diverge (inf or NaN) are reset to their start; a watched search logs their number as
    ``diverged``.

    Args:
        surrogate: f.
        z: Starts.
        optimiser: See `GradientAscent`.
        steps: Number of steps.
        size: Step size.
        box: Lowest and highest features (d,), (d,) that z is clipped to after each step, or None.
        progress: Shows how far it is.
        watch: Called with the step, z and the predictions (B,) before each step and after the last.
    """
    ascent = GradientAscent(z, optimiser, size, box)
    for step in progress.track(range(steps), "gradient ascent"):
        value, gradient = surrogate.value_and_gradient(ascent.z)
        if watch is not None:
            watch(step, ascent.z, value)
        ascent.step(gradient)
    ends, diverged = ascent.ends()
    if watch is not None:
        if diverged:
            progress.metrics("ascent", steps, diverged=diverged)
        watch(steps, ends, predict_in_pieces(surrogate.predict, ends))
    return ends


def best_first(surrogate: Surrogate, z: Tensor, k: int) -> tuple[Tensor, np.ndarray]:
    """Return the `k` rows of features with the highest predictions, best first.

    The second result is the predictions (k,).
    """
    prediction = predict_in_pieces(surrogate.predict, z)
    order = prediction.argsort(descending=True, stable=True)[:k]
    return z[order], prediction[order].cpu().numpy()


def best_rows(z: Tensor, y: Tensor, n: int) -> Tensor:
    """Return the rows of the `n` best scores among distinct features; int64.

    They are ordered best first, ties in file order.

    Args:
        z: (N, d) features; equal ones count once, with their best score.
        y: (N,) scores.
        n: Number of rows; fewer come back where there are fewer distinct ones.
    """
    order = y.argsort(descending=True, stable=True)
    first = first_of_each_design(z[order].cpu().numpy())[:n]
    return order[torch.from_numpy(first).to(order.device)]


def best_distinct(x: np.ndarray, value: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` distinct designs with the highest values, best first.

    The results are designs (k, *shape) and values (k,).

    Where there are fewer than `k` distinct ones, each comes several times.

    Args:
        x: (N, *shape) designs.
        value: (N,) what they are ordered by.
        k: Number of designs.
    """
    order = np.argsort(-value, kind="stable")
    order = order[first_of_each_design(x[order])]
    order = order[np.sort(np.arange(k) % len(order))]
    return x[order], value[order]
