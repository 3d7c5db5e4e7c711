"""Networks on disk: one safetensors file each with its checksum inside, never pickle."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mbo_gym.errors import DamagedFile, MissingData
from mbo_gym.files import store

__all__ = ["load_weights", "read_weights", "save_weights"]

_CHECKSUM = "sha256"


def save_weights(
    path: Path, weights: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write tensors as one safetensors file, atomically, with `about` and a checksum in its
    header."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    header = {**(about or {}), _CHECKSUM: _checksum(tensors, about or {})}
    store.write_atomic(
        path, lambda partial: safetensors.torch.save_file(tensors, partial, metadata=header)
    )


def load_weights(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors that `save_weights` wrote, bit for bit; see `read_weights`."""
    tensors, _ = read_weights(path)
    return {key: value.to(device) for key, value in tensors.items()}


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors that `save_weights` wrote, bit for bit, and what it wrote about them.

    Raises:
        MissingData: There is no such file.
        DamagedFile: The file is not what was written.
    """
    path = Path(path)
    if not path.exists():
        raise MissingData(f"{path} is missing. Copy the whole folder that save() wrote.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            # Cloned: in the file they lie at any multiple of 8 bytes, and matrix products round by
            # alignment.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise DamagedFile(_damaged(path, str(error))) from error
    checksum = about.pop(_CHECKSUM, "")
    if not checksum:
        warnings.warn(
            f"{path} has no checksum: an older mbo_gym wrote it, or it is damaged. Save it again.",
            stacklevel=3,
        )
    elif checksum != _checksum(tensors, about):
        raise DamagedFile(_damaged(path, "its content differs from its checksum"))
    return tensors, about


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged: {reason}. Take an undamaged copy of it, or save it again."


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Return the sha256 of names, types, shapes and bytes of tensors, and of what is about them."""
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
