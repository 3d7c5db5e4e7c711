"""Encoders: maps between designs x and features z in R^d, fitted once on the visible designs, then fixed.

All are invertible but the learned one (`mbo_gym.vae_encoder`). An encoder works on tensors of any device
(`encode_tensor`, `decode_tensor`); `encode` and `decode` are the same two maps for numpy arrays. Decoding always lands
inside the design space, whatever the features are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mbo_gym.errors import UnknownId
from mbo_gym.progress import Progress
from mbo_gym.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.task import OfflineProblem

__all__ = [
    "ENCODERS",
    "Chain",
    "Encoder",
    "Logits",
    "MinMax",
    "OneHot",
    "ZScore",
    "make_encoder",
    "require_categorical",
]


class Encoder(ABC):
    """A map design <-> features. A subclass writes the two tensor methods.

    Attributes:
        space: The design space that `decode` lands in.
        n_features: d, the number of features.
        name: The name by which `make_encoder` makes the same encoder without further arguments; empty for another one.
    """

    space: DesignSpace
    n_features: int
    name: str = ""

    @property
    def fingerprint(self) -> str:
        """What stands for this encoder in the names of cached files, beside the data it was fitted on."""
        return self.name

    @abstractmethod
    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, *shape) to features (N, d) float32 on the same device."""

    @abstractmethod
    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, d) to designs (N, *shape) inside the space, on the same device."""

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Map designs (N, *shape) to features (N, d) float32."""
        return np.asarray(self.encode_tensor(torch.tensor(np.asarray(x))).numpy())

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Map features (N, d) to designs (N, *shape) of the space's own type, always inside the space."""
        x = self.decode_tensor(torch.tensor(np.asarray(z, dtype=np.float32)))
        return np.asarray(x.numpy(), dtype=self.space.dtype)


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


class OneHot(Encoder):
    """L x A indicators, flattened; decoding takes the largest of each site (the first one on ties).

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

    The one-hot of each letter is mixed with the uniform distribution, p = m onehot + (1 - m) / A, and written as the
    logarithms of p against its first letter's, which is then left out. Decoding takes the most probable letter.

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
        log_p = torch.log(torch.eye(space.n_categories, dtype=torch.float64) * mixing + rest)  # (A, A)
        self._rows = (log_p[:, 1:] - log_p[:, :1]).float()  # letter -> its A - 1 logits
        self._on_device: dict[torch.device, Tensor] = {}

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, L) to logits (N, L (A - 1))."""
        if x.device not in self._on_device:
            self._on_device[x.device] = self._rows.to(x.device)
        return self._on_device[x.device][x.long()].flatten(1)

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map logits (N, L (A - 1)) to designs (N, L) int64; the left-out first letter has logit 0 and wins ties."""
        value, letter = z.view(len(z), self.space.length, self.space.n_categories - 1).max(dim=2)
        return torch.where(value > 0, letter + 1, 0)


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


class _Maker(Protocol):
    def __call__(self, problem: OfflineProblem, **training: Any) -> Encoder: ...


def require_categorical(problem: OfflineProblem) -> CategoricalSpace:
    """Return a problem's categorical space.

    Raises:
        ValueError: It is continuous.
    """
    if not isinstance(problem.space, CategoricalSpace):
        raise ValueError(f"this encoder needs a categorical space, {problem.task_id} is continuous; use 'z_score'")
    return problem.space


def _either(scaling: type[ZScore] | type[MinMax]) -> _Maker:
    def make(problem: OfflineProblem, **_: Any) -> Encoder:
        if isinstance(problem.space, CategoricalSpace):
            return Chain(Logits(problem.space), problem.dataset.x, scaling)
        return scaling(problem.space, problem.dataset.x)

    return make


def _vae(problem: OfflineProblem, **training: Any) -> Encoder:
    from mbo_gym.vae_encoder import cached_vae_encoder  # it imports this module

    return cached_vae_encoder(problem, **training)


ENCODERS: dict[str, _Maker] = {
    "z_score": _either(ZScore),
    "min_max": _either(MinMax),
    "logits": lambda problem, **_: Logits(require_categorical(problem)),
    "one_hot": lambda problem, **_: OneHot(require_categorical(problem)),
    "z_score_one_hot": lambda problem, **_: Chain(OneHot(require_categorical(problem)), problem.dataset.x),
    "vae": _vae,
}


def make_encoder(
    problem: OfflineProblem,
    name: str = "z_score",
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Encoder:
    """Fit the named encoder on a problem's visible designs.

    Args:
        problem: What a method may know.
        name: ``z_score`` (the default of every method; on categorical spaces z-scored logits), ``min_max``, or, on
            categorical spaces only, ``logits``, ``one_hot``, ``z_score_one_hot`` or ``vae``. A ``vae`` is trained the
            first time, on the CPU (a minute for 8 sites, more for longer designs), and read from the cache afterwards.
        seed: Of a learned encoder. Environments and exports use 0; an encoder of another seed has other features and no
            `name`, so that nothing made with it can claim to belong to theirs.
        device: Where a learned encoder computes what it is given as numpy arrays.
        progress: Is told of a learned encoder's training.

    Raises:
        UnknownId: No encoder has that name.
        ValueError: The encoder needs a categorical space and the problem's is continuous.
    """
    if name not in ENCODERS:
        raise UnknownId("encoder", name, ENCODERS)
    encoder = ENCODERS[name](problem, seed=seed, device=device, progress=progress)
    encoder.name = name if name != "vae" or seed == 0 else ""
    return encoder
