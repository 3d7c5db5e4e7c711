"""Tri-mentoring: three networks climbed together; where two agree which design is better, the third
learns it.

Algorithm (Chen, Beckham, Liu, Liu and Pal, Parallel-mentoring for Offline Model-based Optimization,
NeurIPS 2023):
    1. Fit three networks f_1, f_2, f_3, the proxies, that differ in their first weights and the
       order of batches.
    2. Each design x has copies of the proxies of its own. At each step of the ascent:
           a. Draw neighbours x + noise * N(0, 1), and let the proxies vote which of two is higher.
           b. On pairs where a proxy dissents, its labels start as the majority's vote, 0 or 1, and
              take one step: y = clip(vote - label_step * g, 0, 1), with g the gradient, divided by
              its root mean square over these pairs, that the dissenter's error on visible rows has
              in y after step c.
           c. The dissenter takes a step of gradient descent down the mean over these pairs of the
              cross-entropy of y and sigmoid(f(x_i) - f(x_j)).
    3. Move each design up the mean of its three proxies: Adam, 200 steps of 1e-3, on categorical
       spaces 100 of 1e-1.

Differs from the paper: all designs climb at once, where the released program takes one after the
other. The default has 2 x 128 networks, a shorter training, ten times the rate for c., as narrower
networks learn less from a step, and for the error of b. 16 visible rows drawn anew. The released
step of the labels, taken with g as it is, hardly moves them (by less than 1e-4), as g has the
tuning rate of 1e-3 in it: `label_gradient` ``raw``. `paper` has both of these, all visible rows and
2 x 2048 networks, 13 GB of weights for 256 designs. The learning rate of 1 is 1e-3. Proposals are
ordered by the mean of the proxies of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.gradient.tuned import PROXIES, TunedAscent, TunedProxies, TuningConfig
from mbo_gym.envs.dynamics import Gradient
from mbo_gym.settings import require_at_least

__all__ = ["MentoredProxies", "TriMentoring", "TriMentoringConfig"]


@dataclass(frozen=True)
class TriMentoringConfig(TuningConfig):
    """Settings of tri-mentoring; the ascent's, the networks' and those of tuning are in
    `TuningConfig`.

    Args:
        label_step: Step of the labels; 0 to learn the votes as they are.
        label_gradient: The labels' gradient ``raw``, or ``unit``: divided by its root mean square.
    """

    neighbours: int = 10
    label_step: float = 0.1
    label_gradient: Gradient = "unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 2, "neighbours")
        require_at_least(self, 0, "label_step")


class MentoredProxies(TunedProxies):
    """Proxies that learn from their votes, see 2. of the module's docstring; the arguments are
    `TunedProxies`'."""

    _tuning: TriMentoringConfig

    def tune(self, z: Tensor) -> None:
        """Let each proxy of a design learn where the two others agree against it, around its
        features; (k, d)."""
        near = self.neighbours(z)
        vote, dissents = self.votes(near)
        label = self.labels(near, vote, dissents)
        learnt = self.stepped(self.layers(), lambda proxies: _loss(proxies, near, label, dissents))
        self.adopt([layer.detach() for layer in learnt])

    def votes(self, near: Tensor) -> tuple[Tensor, Tensor]:
        """Return the majority's votes on all pairs of each design's neighbours (k, n, d), and who
        dissents.

        Returns:
            (k, 1, P) bool, the first of the pair is higher; and (k, 3, P) bool, the proxy sees it
            the other way.
        """
        with torch.no_grad():
            higher = _differences(self, near) > 0
        majority = higher.sum(dim=1, keepdim=True) > PROXIES // 2
        return majority, higher != majority

    def labels(self, near: Tensor, vote: Tensor, dissents: Tensor) -> Tensor:
        """Return the labels (k, 3, P), in [0, 1], that proxies learn where they dissent, for what
        `votes` returned."""
        label, config = vote.float().expand_as(dissents), self._tuning
        if config.label_step == 0:
            return label
        slope = self.meta_gradient(
            self.layers(), lambda proxies, y: _loss(proxies, near, y, dissents), label
        )
        if config.label_gradient == "unit":
            slope = slope / _mean(slope.square(), dissents).sqrt().clamp_min(1e-12).unsqueeze(2)
        return (label - config.label_step * slope).clamp(0, 1)


def _differences(proxies: TunedProxies, near: Tensor) -> Tensor:
    """Return f(x_i) - f(x_j) of all pairs i < j of each design's neighbours (k, n, d); (k, 3, n (n
    - 1) / 2)."""
    f = proxies.at_own(near)
    i, j = torch.triu_indices(near.shape[1], near.shape[1], 1, device=near.device)
    return f[:, :, i] - f[:, :, j]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the means over the counted of values (k, 3, P); (k, 3), 0 where none counts."""
    return (values * counted).sum(dim=2) / counted.sum(dim=2).clamp_min(1)


def _loss(proxies: TunedProxies, near: Tensor, label: Tensor, dissents: Tensor) -> Tensor:
    """Return the mean cross-entropy () of each proxy's labels (k, 3, P) where it dissents, summed
    over all proxies."""
    loss = binary_cross_entropy_with_logits(_differences(proxies, near), label, reduction="none")
    return _mean(loss, dissents).sum()


class TriMentoring(TunedAscent):
    """Tri-mentoring; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = TriMentoringConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": TriMentoringConfig(
            hidden=2048,
            train_steps=46_400,  # 200 epochs of TFBind8
            batch_size=128,
            tuning_rate=1e-3,
            validation_rows=None,
            label_gradient="raw",
        ),
        "boxed": TriMentoringConfig(bounds="data"),
    }
    proxies: ClassVar[type[TunedProxies]] = MentoredProxies
