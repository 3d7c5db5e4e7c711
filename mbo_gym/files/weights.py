"""Networks on disk: one safetensors file each, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from mbo_gym.files import store

__all__ = ["save_weights"]


def save_weights(
    path: Path, weights: Mapping[str, Tensor], about: dict[str, str] | None = None
) -> None:
    """Write tensors as one safetensors file, atomically, with `about` in its header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    store.write_atomic(
        path, lambda partial: safetensors.torch.save_file(tensors, partial, metadata=about)
    )
