"""The encoder base class: a map between designs and features."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Encoder", "require_categorical"]


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


def require_categorical(problem: OfflineProblem) -> CategoricalSpace:
    """Return a problem's categorical space.

    Raises:
        ValueError: It is continuous.
    """
    if not isinstance(problem.space, CategoricalSpace):
        raise ValueError(f"this encoder needs a categorical space, {problem.task_id} is continuous; use 'z_score'")
    return problem.space
