"""Grad, GradMean and GradMin: gradient ascent on a surrogate, from the best visible designs.

Algorithm (design-baselines "Gradient ascent"; Trabucco et al., Design-Bench, 2022):
    1. Fit a surrogate f on the visible designs' features.
    2. z <- the K best visible designs.
    3. Repeat `steps` times: z <- z + step_size * grad f(z)   (plain), or Adam's step on the same gradient (adam).
    4. Return z, the highest f(z) first.

Two recipes are in use, and they differ more than many methods do, so both are named:
    plain   200 plain steps of 0.01 sqrt(d)                                     (design-baselines)
    adam    200 steps of Adam 1e-3 (continuous), 100 of Adam 1e-1 (categorical)  (the line of BDI, ICT and DEMO)
`paper_plain`, by the name of `paper` that every method has too, and `paper_adam` are the same with the papers' 2 x 2048
network, trained for 50 epochs of TFBind8, where design-baselines has 100.

Differs from the papers: the default network is 2 x 256 and ReLU throughout; Grad in design-baselines uses LeakyReLU and
a Gaussian likelihood with a learned spread, the other line trains at 1e-1 with cosine decay; we use one plain recipe
for the network.

GradMean climbs the mean of five networks, GradMin the lowest of them. In design-baselines both climb the lowest (its
branch for the mean reduces by the minimum too), and members are trained on bootstraps; here they differ in their first
weights and the order of batches. They are 2 x 128 by default, trained half as long as 2 x 256: less error on held-out
rows of TFBind8 and Levy, and a little more on Superconductor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mbo_gym.methods.ascent import SearchWatch, ascend, best_first, start_features
from mbo_gym.methods.fitted import Bounds
from mbo_gym.methods.surrogate_search import SurrogateSearch
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import require_at_least

__all__ = ["Ascent", "AscentConfig", "SearchedWhileFitted"]


@dataclass(frozen=True)
class AscentConfig:
    """Settings of gradient ascent on any surrogate.

    Args:
        optimiser: ``plain`` or ``adam``.
        steps: Ascent steps; None for the recipe's: 200, and 100 for adam on categorical spaces.
        step_size: Of a step; None for the recipe's: 0.01 sqrt(d) for plain, 1e-3 (categorical 1e-1) for adam.
        bounds: ``none``, or ``data``: after each step, features are clipped to the box that the visible designs span.
        encoder: Name of the encoder.
    """

    optimiser: Literal["plain", "adam"] = "plain"
    steps: int | None = None
    step_size: float | None = None
    bounds: Bounds = "none"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "steps", "step_size")

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps and their size for a problem."""
        categorical = isinstance(problem.space, CategoricalSpace)
        if self.optimiser == "plain":
            steps, size = 200, 0.01 * n_features**0.5
        else:
            steps, size = (100, 1e-1) if categorical else (200, 1e-3)
        return (
            steps if self.steps is None else self.steps,
            size if self.step_size is None else self.step_size,
        )


class Ascent(SurrogateSearch):
    """Fits a surrogate and climbs it from the best visible designs.

    Args:
        config: Its settings, an `AscentConfig`.
    """

    def propose(self, k: int) -> np.ndarray:
        """Ascend from the `k` best visible designs; return the ends, the highest prediction first."""
        z = start_features(
            self._problem, self._encoder, k, torch.Generator().manual_seed(self._seed)
        ).to(self._device)
        steps, size = self.config.recipe(self._problem, self._encoder.n_features)
        watch = SearchWatch(self._problem, self._encoder, "ascent", steps, self._progress)
        best, self.criterion = best_first(self._surrogate, self.climb(z, steps, size, watch), k)
        return self._encoder.decode(best.cpu().numpy())

    def climb(self, z: Tensor, steps: int, size: float, watch: SearchWatch) -> Tensor:
        """Climb the surrogate from features z (k, d) in steps of a size; returns (k, d)."""
        box, progress = self.box(), self._progress
        return ascend(
            self._surrogate,
            z,
            self.config.optimiser,
            steps,
            size,
            box=box,
            progress=progress,
            watch=watch,
        )


class SearchedWhileFitted(Ascent):
    """An `Ascent` whose surrogate moves designs while it is fitted, and holds them as ``designs`` (n, d) afterwards."""

    def climb(self, z: Tensor, steps: int, size: float, watch: SearchWatch) -> Tensor:
        """Return the designs moved (n, d), and behind them the starts z (k, d) from the n-th on, climbed afterwards."""
        moved: Tensor = self._surrogate.designs  # type: ignore[attr-defined]
        if len(z) <= len(moved):
            return moved
        more, box, progress = z[len(moved) :], self.box(), self._progress
        ends = ascend(
            self._surrogate, more, "plain", steps, size, box=box, progress=progress, watch=watch
        )
        return torch.cat([moved, ends])
