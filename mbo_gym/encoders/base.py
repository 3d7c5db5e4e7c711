"""The encoder base class: a map between designs and features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Encoded", "Encoder", "encoded", "require_categorical", "require_continuous"]


class Encoder(ABC):
    """A map design <-> features. A subclass writes the two tensor methods.

    Attributes:
        space: The design space that `decode` lands in.
        n_features: d, the number of features.
        name: The name by which `make_encoder` makes the same encoder without further arguments;
            empty for another one.
    """

    space: DesignSpace
    n_features: int
    name: str = ""

    @property
    def fingerprint(self) -> str:
        """Part of the cache keys that stands for this encoder, beside its data."""
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
        """Map features (N, d) to native designs (N, *shape) inside the space."""
        x = self.decode_tensor(torch.tensor(np.asarray(z, dtype=np.float32)))
        return np.asarray(x.numpy(), dtype=self.space.dtype)

    def designs(self, z: Tensor) -> np.ndarray:
        """Map features (N, d) on any device to native designs inside the space."""
        return self.decode(z.cpu().numpy())

    def features(self, x: np.ndarray, device: str = "cpu") -> Tensor:
        """Map native designs (N, *shape) to features (N, d) float32 on a device."""
        return torch.from_numpy(self.encode(x)).to(device)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Visible designs and scores as tensors: what models are fitted on.

    Args:
        z: (N, d) features.
        y: (N,) scores in standard deviations above the visible mean.
    """

    z: Tensor
    y: Tensor


def encoded(
    problem: OfflineProblem,
    encoder: Encoder,
    device: str = "cpu",
    rows: np.ndarray | None = None,
) -> Encoded:
    """Encode a problem's visible designs and standardise their scores.

    Args:
        problem: Problem whose visible data are encoded.
        encoder: Encoder fitted on it.
        device: Device of the tensors.
        rows: (n,) visible rows to take; None for all. The scale of the scores is that of all rows.
    """
    dataset = problem.dataset
    z = encoder.features(dataset.x)
    y = torch.from_numpy(dataset.score_scale.standardise(dataset.y))
    if rows is not None:  # encoded as a whole: a learned encoder may round by the size of a batch
        chosen = torch.from_numpy(np.ascontiguousarray(rows))
        z = z[chosen]
        y = y[chosen]
    return Encoded(z.to(device), y.to(device))


def require_categorical(problem: OfflineProblem) -> CategoricalSpace:
    """Return a problem's categorical space.

    Raises:
        ValueError: It is continuous or mixed.
    """
    if not isinstance(problem.space, CategoricalSpace):
        raise ValueError(
            f"this encoder needs a categorical space, {problem.task_id} is "
            f"{problem.space.kind}; use 'z_score'"
        )
    return problem.space


def require_continuous(problem: OfflineProblem) -> ContinuousSpace:
    """Return a problem's continuous space.

    Raises:
        ValueError: It is of another kind.
    """
    if not isinstance(problem.space, ContinuousSpace):
        raise ValueError(
            f"this encoder needs a continuous space, {problem.task_id} is "
            f"{problem.space.kind}; use 'z_score'"
        )
    return problem.space
