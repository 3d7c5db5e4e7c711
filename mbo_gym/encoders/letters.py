"""Encoders of sequences of letters: one-hot and logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder, require_categorical
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Logits", "OneHot", "logits", "one_hot"]


class OneHot(Encoder):
    """One-hot indicators of L sites and A letters, flattened to L A features.

    Decoding takes the largest indicator of each site, the first one on ties.

    Args:
        space: A categorical space of L sites and A letters.
    """

    space: CategoricalSpace

    def __init__(self, space: CategoricalSpace) -> None:
        self.space = space
        self.n_features = space.length * space.n_categories

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, L) to indicators (N, L A)."""
        return torch.nn.functional.one_hot(x.long(), self.space.n_categories).flatten(1).float()

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, L A) to designs (N, L) int64."""
        return z.view(len(z), self.space.length, self.space.n_categories).argmax(dim=2)


class Logits(Encoder):
    """Design-Bench's logits: A - 1 reals a site, flattened.

    The one-hot of each letter is mixed with the uniform distribution, p = m onehot + (1 - m) / A,
    and written as the logarithms of p against its first letter's, which is then left out. Decoding
    takes the most probable letter.

    Args:
        space: A categorical space of L sites and A letters.
        mixing: m in (0, 1); Design-Bench uses 0.6.
    """

    space: CategoricalSpace

    def __init__(self, space: CategoricalSpace, mixing: float = 0.6) -> None:
        if not 0 < mixing < 1:
            raise ValueError(f"mixing must lie strictly between 0 and 1, got {mixing}")
        self.space = space
        self.n_features = space.length * (space.n_categories - 1)
        rest = (1 - mixing) / space.n_categories
        log_p = torch.log(
            torch.eye(space.n_categories, dtype=torch.float64) * mixing + rest
        )  # (A, A)
        self._rows = (log_p[:, 1:] - log_p[:, :1]).float()  # letter -> its A - 1 logits
        self._on_device: dict[torch.device, Tensor] = {}

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, L) to logits (N, L (A - 1))."""
        if x.device not in self._on_device:
            self._on_device[x.device] = self._rows.to(x.device)
        return self._on_device[x.device][x.long()].flatten(1)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map logits (N, L (A - 1)) to designs (N, L) int64.

        The first letter, which is left out, has logit 0 and wins ties.
        """
        value, letter = z.view(len(z), self.space.length, self.space.n_categories - 1).max(dim=2)
        return torch.where(value > 0, letter + 1, 0)


def logits(problem: OfflineProblem, **_: Any) -> Encoder:
    """Return Design-Bench's logits of the letters."""
    return Logits(require_categorical(problem))


def one_hot(problem: OfflineProblem, **_: Any) -> Encoder:
    """Return indicators of the letters."""
    return OneHot(require_categorical(problem))
