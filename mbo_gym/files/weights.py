"""Networks on disk: one safetensors file each, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from mbo_gym.errors import MissingData
from mbo_gym.files import store

__all__ = ["load_weights", "save_weights"]


def save_weights(
    path: Path, weights: Mapping[str, Tensor], about: dict[str, str] | None = None
) -> None:
    """Write tensors as one safetensors file, atomically, with `about` in its header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    store.write_atomic(
        path, lambda partial: safetensors.torch.save_file(tensors, partial, metadata=about)
    )


def load_weights(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors that `save_weights` wrote, bit for bit.

    Raises:
        MissingData: There is no such file.
    """
    if not path.exists():
        raise MissingData(f"{path} is missing. Copy the whole folder that save() wrote.")
    with safetensors.safe_open(path, framework="pt") as file:
        # Cloned: in the file they lie at any multiple of 8 bytes, and matrix products round by
        # alignment.
        return {key: file.get_tensor(key).clone().to(device) for key in file.keys()}  # noqa: SIM118 (not a dict)
