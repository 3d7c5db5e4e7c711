"""ICT: three networks climbed together; at every step each one labels designs nearby, from which
the others learn.

Algorithm (Yuan, Chen, Liu, Neiswanger and Liu, Importance-aware Co-teaching for Offline Model-based
Optimization, NeurIPS 2023):
    1. Fit three networks f_1, f_2, f_3, the proxies, that differ in their first weights and the
       order of batches.
    2. Each design x has copies of the proxies of its own. At each step of the ascent, and with each
       of its proxies t in turn as the teacher, the other two as students:
           a. Draw neighbours x + noise * N(0, 1), and label them by f_t.
           b. Each student finds the neighbours on which it errs least; the other student learns
              from these.
           c. Weigh these: w = 1 - clip(weight_step * g, -.2, .2), with g the gradient, divided by
              its root mean square, that the error on visible rows has in w after step d, at w = 1.
           d. Each student takes a step of gradient descent down its weighted squared error.
    3. Move each design up the mean of its three proxies: Adam, 200 steps of 1e-3, on categorical
       spaces 100 of 1e-1.

Differs from the paper: all designs climb at once, where the released program serves one. The
default has 2 x 128 networks, a shorter training, 8 neighbours, three times the rate for d., as
narrower networks learn less from a step (at ten times the networks of some designs of Levy and
Superconductor diverge), and for the error of c. 16 visible rows drawn anew; `paper` has 2 x 2048,
128 neighbours, the rate of 1e-3 and all rows, and holds 13 GB of weights for 256 designs. Half of
the neighbours are kept, and weight_step is .2: the published settings run from 8 to 64 of 128 and
from .1 to .3. The released program adds one and the same number to all features of a neighbour,
which leaves a line to search on; here each has its own, and `released` has theirs. Steps d. are
plain, so that c. looks ahead to the step that is taken. The learning rate of 1 is 1e-3. Proposals
are ordered by the mean of the proxies of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient._old_stacked import EnsembleSurrogate
from agents.gradient.tuned import PROXIES, TunedAscent, TunedProxies, TuningConfig
from mbo_gym.settings import require_at_least

__all__ = ["ICT", "CoTaughtProxies", "ICTConfig"]

_MOST_CHANGE = 0.2  # of a neighbour's weight


@dataclass(frozen=True)
class ICTConfig(TuningConfig):
    """Settings of ICT; the ascent's, the networks' and those of tuning are in `TuningConfig`.

    Args:
        kept: Neighbours of a design that a student learns from.
        weight_step: Step of their weights; 0 to weigh all the same.
        neighbour_noise: ``own``: a number for each feature of a neighbour; ``shared``: one for all
            its features.
    """

    tuning_rate: float = 3e-3
    kept: int = 4
    weight_step: float = 0.2
    neighbour_noise: Literal["own", "shared"] = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "kept")
        require_at_least(self, 0, "weight_step")
        if self.kept > self.neighbours:
            raise ValueError(f"kept is at most neighbours ({self.neighbours}), got {self.kept}")


class CoTaughtProxies(TunedProxies):
    """Proxies that teach each other, see 2. of the module's docstring; the arguments are
    `TunedProxies`'."""

    _tuning: ICTConfig

    def tune(self, z: Tensor) -> None:
        """Let each design's proxies be the teacher once, around its features; (k, d)."""
        for teacher in range(PROXIES):
            students = torch.tensor([m for m in range(PROXIES) if m != teacher], device=z.device)
            rows = (
                PROXIES * torch.arange(len(z), device=z.device).unsqueeze(1) + students
            ).flatten()
            own = [layer[rows] for layer in self.layers()]
            x, y = self.lesson(z, teacher, students)
            learnt = self.stepped(own, partial(_error, x=x, y=y, weight=self.weight(own, x, y)))
            self.adopt(
                [
                    a.index_copy(0, rows, b.detach())
                    for a, b in zip(self.layers(), learnt, strict=True)
                ]
            )

    def neighbours(self, z: Tensor, n_numbers: int | None = None) -> Tensor:
        """Draw neighbours of features (k, d), (k, neighbours, d), as `neighbour_noise` says."""
        return super().neighbours(z, 1 if self._tuning.neighbour_noise == "shared" else n_numbers)

    def lesson(self, z: Tensor, teacher: int, students: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each design's students learn around features (k, d): (2 k, kept, d) and
        labels (2 k, kept)."""
        near = self.neighbours(z)
        with torch.no_grad():
            said = self.at_own(near)  # (k, 3, neighbours)
        error = (said[:, students] - said[:, teacher, None]).square()
        chosen = error.topk(self._tuning.kept, dim=2, largest=False).indices.flip(
            1
        )  # the other student's choice
        x = torch.take_along_dim(near.unsqueeze(1), chosen.unsqueeze(3), dim=2)
        y = torch.take_along_dim(said[:, teacher, None], chosen, dim=2)
        return x.flatten(0, 1), y.flatten(0, 1)

    def weight(self, layers: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the weights (M, n), in [.8, 1.2], for students of these layers and lessons (M, n,
        d), (M, n)."""
        weight, step = torch.ones_like(y), self._tuning.weight_step
        if step == 0:
            return weight
        slope = self.meta_gradient(layers, lambda proxies, w: _error(proxies, x, y, w), weight)
        unit = slope / slope.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
        return weight - (step * unit).clamp(-_MOST_CHANGE, _MOST_CHANGE)


def _error(proxies: EnsembleSurrogate, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the mean weighted squared error () at features (M, n, d), labels and weights (M, n),
    summed over M."""
    return (weight * (proxies.outputs(x) - y).square()).mean(dim=1).sum()


_PAPER: Mapping[str, Any] = {
    "hidden": 2048,
    "train_steps": 46_400,  # 200 epochs of TFBind8
    "batch_size": 128,
    "neighbours": 128,
    "kept": 64,
    "tuning_rate": 1e-3,
    "validation_rows": None,
}


class ICT(TunedAscent):
    """Importance-aware co-teaching; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = ICTConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": ICTConfig(**_PAPER),
        "released": ICTConfig(**_PAPER, neighbour_noise="shared"),
        "boxed": ICTConfig(bounds="data"),
    }
    proxies: ClassVar[type[TunedProxies]] = CoTaughtProxies
