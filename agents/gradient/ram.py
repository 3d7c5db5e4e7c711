"""RaM: gradient ascent on a network that was trained to put designs in order, not to predict their
scores.

Algorithm (Tan et al., Offline Model-Based Optimization by Learning to Rank, ICLR 2025, arXiv
2410.11502):
    1. Draw lists of m visible designs and train the network by how it orders each of them: listnet
           - sum_i softmax(y)_i log softmax(f)_i      (cross-entropy of the two softmaxes over the
           list) rankcosine   1 - cos(y, f)
       with y the standardised scores.
    2. Standardise f by the mean and the deviation of its outputs on the rows that it was trained
       on.
    3. Climb f from the K best visible designs by Adam: 200 steps of 1e-3, on categorical spaces 100
       of 1e-1.

Each update draws a list of its own, so that no lists are ever held in memory; the released program
makes all its lists at the start, 10,000 of 1,000.

Differs from the paper: the default network is 2 x 256, its lists are of 256 and its training is
shorter. `paper` has 2 x 2048 and lists of 1,000, and sees 10,000 of them once, where the paper goes
through its 10,000 for 200 epochs. The last network is kept, after a learning rate that decays along
a cosine, not the best one on validation lists. As a surrogate it predicts in the unit of the scores
that it was given, so that it can stand wherever one is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient._old_ascent import Ascent, AscentConfig
from agents.gradient._old_stacked import StackedMLP
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.mlp import MLPConfig

__all__ = [
    "RaMListNet",
    "RaMListNetConfig",
    "RaMRankCosine",
    "RaMRankCosineConfig",
    "RankingConfig",
    "RankingSurrogate",
    "ram_listnet_surrogate",
    "ram_rankcosine_surrogate",
    "ram_surrogate",
]


@dataclass(frozen=True)
class RankingConfig(MLPConfig):
    """Settings of a ranking network; those of the network are in `MLPConfig`, whose `batch_size` is
    the list's length.

    Args:
        loss: ``listnet`` or ``rankcosine``.
        weight_decay: c: c / 2 times the sum of all squared weights is added to the loss.
    """

    loss: Literal["listnet", "rankcosine"] = "listnet"
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "weight_decay")


class RankingSurrogate(StackedMLP):
    """A perceptron trained by the order of lists; see the module's docstring.

    Args:
        config: Its settings.
    """

    kind: ClassVar[str] = "ram"
    config: RankingConfig

    def __init__(self, config: RankingConfig | None = None) -> None:
        super().__init__(config or RankingConfig(), members=1)

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss () of one list."""
        f = self.outputs(z)
        if self.config.loss == "listnet":
            loss = -(y.softmax(dim=1) * f.log_softmax(dim=1)).sum()
        else:
            loss = 1 - torch.cosine_similarity(y, f, dim=1).sum()
        squares = sum(weight.square().sum() for weight in [*self._weights, *self._biases])
        return loss + self.config.weight_decay / 2 * squares

    def finish(self, z: Tensor, y: Tensor) -> None:
        """Standardise the outputs by those on the rows trained on (n, d), through the last layer's
        weights."""
        f = predict_in_pieces(lambda part: self.outputs(self._for_members(part))[0], z)
        mean, std = f.mean(), f.std(correction=0).clamp_min(1e-12)
        self._weights[-1], self._biases[-1] = (
            self._weights[-1] / std,
            (self._biases[-1] - mean) / std,
        )


def ram_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted `RankingSurrogate` of these fields of its config."""
    return RankingSurrogate(RankingConfig(**config))


def ram_listnet_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted `RankingSurrogate` with the loss ListNet."""
    return ram_surrogate(**{"loss": "listnet", **config})


def ram_rankcosine_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted `RankingSurrogate` with the loss RankCosine."""
    return ram_surrogate(**{"loss": "rankcosine", **config})


@dataclass(frozen=True)
class RaMListNetConfig(AscentConfig, RankingConfig):
    """Settings of RaM: the ascent's (`AscentConfig`) and the network's (`RankingConfig`)."""

    optimiser: Literal["plain", "adam"] = "adam"

    def __post_init__(self) -> None:
        AscentConfig.__post_init__(self)
        RankingConfig.__post_init__(self)


_PAPER: Mapping[str, Any] = {
    "hidden": 2048,
    "batch_size": 1000,
    "train_steps": 10_000,
    "learning_rate": 3e-4,
}


class RaMListNet(Ascent):
    """RaM with the loss ListNet; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = RaMListNetConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": RaMListNetConfig(**_PAPER),
        "boxed": RaMListNetConfig(bounds="data"),
    }

    def new_surrogate(self) -> Surrogate:
        """Return the ranking network."""
        return RankingSurrogate(part_of(self.config, RankingConfig))


@dataclass(frozen=True)
class RaMRankCosineConfig(RaMListNetConfig):
    """Settings of `RaMRankCosine`: `RaMListNetConfig`'s."""

    loss: Literal["listnet", "rankcosine"] = "rankcosine"


class RaMRankCosine(RaMListNet):
    """RaM with the loss RankCosine; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = RaMRankCosineConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": RaMRankCosineConfig(**_PAPER),
        "boxed": RaMRankCosineConfig(bounds="data"),
    }
