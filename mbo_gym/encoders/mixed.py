"""Encoder of mixed spaces: numbers as they are, one-hot words and letters."""

from __future__ import annotations

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.mixed import MixedSpace

__all__ = ["MixedFeatures"]


class MixedFeatures(Encoder):
    """The features of a mixed space, see `MixedSpace.features`.

    Decoding takes the largest indicator of each word or letter, rounds numbers to their steps, and
    ends at the nearest design inside all constraints. It is computed on the CPU.

    Args:
        space: A mixed space.
    """

    space: MixedSpace

    def __init__(self, space: MixedSpace) -> None:
        self.space = space
        self.n_features = space.n_features

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, slots) to features (N, d)."""
        return torch.from_numpy(self.space.features(x.cpu().numpy())).to(x.device)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, slots) inside the space."""
        return torch.from_numpy(self.space.from_features(z.cpu().numpy())).to(z.device)
