"""Per-feature scalings: z-score and min-max."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder, require_categorical, require_continuous
from mbo_gym.encoders.letters import Logits, OneHot
from mbo_gym.encoders.mixed import MixedFeatures
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Chain", "MinMax", "ZScore", "min_max", "z_score", "z_score_one_hot"]


class _Affine:
    """z = (x - shift) / scale for each feature, and back into the box of a space.

    A scale of zero (a feature that never varies) maps to 0 and back to the shift.

    Args:
        space: Box that `backward` clips to.
        shift: (d,) of each feature.
        scale: (d,) of each feature, at least 0.
    """

    def __init__(self, space: ContinuousSpace, shift: np.ndarray, scale: np.ndarray) -> None:
        self.low = torch.tensor(space.low)
        self.high = torch.tensor(space.high)
        self.shift = torch.tensor(shift, dtype=torch.float64)
        self.scale = torch.tensor(scale, dtype=torch.float64)
        self._cache: dict[torch.device, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if device not in self._cache:
            self._cache[device] = (
                self.shift.to(device, torch.float32),
                self.scale.to(device, torch.float32),
                self.low.to(device),
                self.high.to(device),
            )
        return self._cache[device]

    def forward(self, x: Tensor) -> Tensor:
        """Map designs (N, d) to features (N, d)."""
        shift = self.shift.to(x.device)
        scale = self.scale.to(x.device)
        return ((x.double() - shift) / torch.where(scale > 0, scale, 1.0)).float()

    def backward(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, d) in the box; NaN counts as 0."""
        shift, scale, low, high = self._on(z.device)
        x = torch.nan_to_num(
            torch.addcmul(shift, scale, z)
        )  # infinities: the largest float, then the bound
        return torch.minimum(torch.maximum(x, low), high)


class ZScore(Encoder):
    """Mean 0 and standard deviation 1 over the visible designs, feature by feature.

    A feature that never varies encodes to 0 and decodes to its constant.

    Args:
        space: A continuous space.
        x: (N, d) visible designs.
    """

    space: ContinuousSpace

    def __init__(self, space: ContinuousSpace, x: np.ndarray) -> None:
        x = np.asarray(x)
        self.space = space
        self.n_features = space.low.size
        std = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0, dtype=np.float64), 0.0)
        first = x[0].astype(np.float64)
        mean = x.mean(axis=0, dtype=np.float64) if std.any() else first
        self._affine = _Affine(space, np.where(std == 0, first, mean), std)

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, d) to features (N, d)."""
        return self._affine.forward(x)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, d) in the bounds; NaN counts as 0."""
        return self._affine.backward(z)


class MinMax(Encoder):
    """The visible range of each feature mapped to [-1, 1] (GTG's scaling).

    A feature that never varies encodes to 0 and decodes to its constant.

    Args:
        space: A continuous space.
        x: (N, d) visible designs.
    """

    space: ContinuousSpace

    def __init__(self, space: ContinuousSpace, x: np.ndarray) -> None:
        self.space = space
        self.n_features = space.low.size
        low = np.asarray(x).min(axis=0).astype(np.float64)
        high = np.asarray(x).max(axis=0).astype(np.float64)
        self._affine = _Affine(space, (low + high) / 2, (high - low) / 2)

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, d) to features (N, d)."""
        return self._affine.forward(x)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, d) in the bounds; NaN counts as 0."""
        return self._affine.backward(z)


class Chain(Encoder):
    """An encoder followed by a per-feature scaling of its features.

    Z-scored logits are ``Chain(Logits(space), x)``.

    Args:
        first: The encoder that reads designs.
        x: (N, *shape) visible designs, to fit the scaling on.
        scaling: ZScore or MinMax.
    """

    def __init__(
        self, first: Encoder, x: np.ndarray, scaling: type[ZScore] | type[MinMax] = ZScore
    ) -> None:
        self.first, self.space, self.n_features = first, first.space, first.n_features
        anywhere = np.full(first.n_features, np.inf, dtype=np.float32)
        self._scaler = scaling(ContinuousSpace(-anywhere, anywhere), first.encode(x))

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, *shape) to scaled features (N, d)."""
        return self._scaler.encode_tensor(self.first.encode_tensor(x))

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map scaled features (N, d) to designs (N, *shape) inside the space."""
        return self.first.decode_tensor(self._scaler.decode_tensor(z))


def z_score(problem: OfflineProblem, **_: Any) -> Encoder:
    """Return z-scored designs: of logits on categorical, of `MixedFeatures` on mixed spaces."""
    if isinstance(problem.space, MixedSpace):
        return Chain(MixedFeatures(problem.space), problem.dataset.x, ZScore)
    if isinstance(problem.space, CategoricalSpace):
        return Chain(Logits(problem.space), problem.dataset.x, ZScore)
    return ZScore(require_continuous(problem), problem.dataset.x)


def min_max(problem: OfflineProblem, **_: Any) -> Encoder:
    """Return designs scaled to [-1, 1]: logits on categorical, `MixedFeatures` on mixed spaces."""
    if isinstance(problem.space, MixedSpace):
        return Chain(MixedFeatures(problem.space), problem.dataset.x, MinMax)
    if isinstance(problem.space, CategoricalSpace):
        return Chain(Logits(problem.space), problem.dataset.x, MinMax)
    return MinMax(require_continuous(problem), problem.dataset.x)


def z_score_one_hot(problem: OfflineProblem, **_: Any) -> Encoder:
    """Return z-scored indicators of the letters."""
    return Chain(OneHot(require_categorical(problem)), problem.dataset.x)
