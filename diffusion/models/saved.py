"""Denoisers on disk: weights, and the box that samples are clipped to."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from diffusion.core.denoiser import Denoiser
from mbo_gym.files.weights import load_weights, save_weights

__all__ = ["Box", "load_denoiser", "save_denoiser"]

Box: TypeAlias = tuple[Tensor, Tensor]
"""Lowest and highest values (d,), (d,) of estimates."""

DENOISER_FILE = "denoiser.safetensors"


def save_denoiser(folder: Path, denoiser: Denoiser, box: Box | None) -> None:
    """Write a denoiser and its box into a folder."""
    tensors = dict(denoiser.state_dict())
    if box is not None:
        tensors |= {"box.low": box[0], "box.high": box[1]}
    save_weights(folder / DENOISER_FILE, tensors)


def load_denoiser(folder: Path, denoiser: Denoiser, device: str) -> Box | None:
    """Read the weights that `save_denoiser` wrote into a denoiser; return the box.

    Args:
        folder: Folder.
        denoiser: Denoiser of the same settings; it goes into evaluation mode, without gradients.
        device: Device of the box.
    """
    tensors = load_weights(folder / DENOISER_FILE, device)
    low = tensors.pop("box.low", None)
    high = tensors.pop("box.high", None)
    denoiser.load_state_dict(tensors)
    denoiser.eval().requires_grad_(False)
    return None if low is None or high is None else (low, high)
