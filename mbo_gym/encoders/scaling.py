"""Per-feature scalings: z-score and min-max."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.space import ContinuousSpace

__all__ = ["Chain", "MinMax", "ZScore"]


class _Affine:
    """z = (x - shift) / scale for each feature; a scale of zero (a feature that never varies) maps to 0 and back."""

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        self.shift = torch.tensor(shift, dtype=torch.float64)
        self.scale = torch.tensor(scale, dtype=torch.float64)
        self._cache: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._cache:
            self._cache[device] = (self.shift.to(device, torch.float32), self.scale.to(device, torch.float32))
        return self._cache[device]

    def forward(self, x: Tensor) -> Tensor:
        shift, scale = self.shift.to(x.device), self.scale.to(x.device)
        return ((x.double() - shift) / torch.where(scale > 0, scale, 1.0)).float()

    def backward(self, z: Tensor) -> Tensor:
        shift, scale = self._on(z.device)
        return torch.addcmul(shift, scale, z)


class _FeatureScaler(Encoder):
    """Shared by the two per-feature scalings of a continuous space; a subclass says what shift and scale are."""

    space: ContinuousSpace

    def __init__(self, space: ContinuousSpace, shift: np.ndarray, scale: np.ndarray) -> None:
        self.space = space
        self.n_features = space.low.size
        self._affine = _Affine(shift, scale)
        self._bounds: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, d) to features (N, d)."""
        return self._affine.forward(x)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, d), clipped to the space's bounds; NaN counts as 0 before that."""
        if z.device not in self._bounds:
            low, high = torch.tensor(self.space.low).to(z.device), torch.tensor(self.space.high).to(z.device)
            self._bounds[z.device] = (low, high)
        low, high = self._bounds[z.device]
        x = torch.nan_to_num(self._affine.backward(z))  # infinities become the largest float, then the bound
        return torch.minimum(torch.maximum(x, low), high)


class ZScore(_FeatureScaler):
    """Mean 0 and standard deviation 1 over the visible designs, feature by feature.

    A feature that never varies encodes to 0 and decodes to its constant.

    Args:
        space: A continuous space.
        x: (N, d) visible designs.
    """

    def __init__(self, space: ContinuousSpace, x: np.ndarray) -> None:
        x = np.asarray(x)
        std = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0, dtype=np.float64), 0.0)
        super().__init__(space, x.mean(axis=0, dtype=np.float64) if std.any() else x[0].astype(np.float64), std)
        constant = std == 0
        self._affine.shift[constant] = torch.tensor(x[0].astype(np.float64))[constant]


class MinMax(_FeatureScaler):
    """The visible range of each feature mapped to [-1, 1] (GTG's scaling).

    A feature that never varies encodes to 0 and decodes to its constant.

    Args:
        space: A continuous space.
        x: (N, d) visible designs.
    """

    def __init__(self, space: ContinuousSpace, x: np.ndarray) -> None:
        low, high = np.asarray(x).min(axis=0).astype(np.float64), np.asarray(x).max(axis=0).astype(np.float64)
        super().__init__(space, (low + high) / 2, (high - low) / 2)


class Chain(Encoder):
    """One encoder, then a per-feature scaling of its features: z-scored logits are ``Chain(Logits(space), x)``.

    Args:
        first: The encoder that reads designs.
        x: (N, *shape) visible designs, to fit the scaling on.
        scaling: ZScore or MinMax.
    """

    def __init__(self, first: Encoder, x: np.ndarray, scaling: type[ZScore] | type[MinMax] = ZScore) -> None:
        self.first, self.space, self.n_features = first, first.space, first.n_features
        anywhere = np.full(first.n_features, np.inf, dtype=np.float32)
        self._scaler = scaling(ContinuousSpace(-anywhere, anywhere), first.encode(x))

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, *shape) to scaled features (N, d)."""
        return self._scaler.encode_tensor(self.first.encode_tensor(x))

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map scaled features (N, d) to designs (N, *shape) inside the space."""
        return self.first.decode_tensor(self._scaler.decode_tensor(z))
