"""Trajectories as one npz file that needs nothing but numpy to read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files import store
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["load_npz", "meta_as_json", "save_npz", "transition_arrays"]

FORMAT = "mbo_gym.TrajectoryBatch/1"
_FIELDS = ("z", "y", "actions", "rewards", "rows")


def save_npz(batch: TrajectoryBatch, path: str | os.PathLike[str]) -> Path:
    """Write a batch to a file atomically; a file of that name is replaced.

    The arrays stand under the names of `TrajectoryBatch`'s fields, those that are None are left
    out; ``meta`` is a JSON string. Nothing is pickled.

    Args:
        batch: Trajectories, with or without actions.
        path: The file, under exactly this name (numpy's own ".npz" is not appended).

    Returns:
        The path.

    Raises:
        TypeError: `meta` holds something that JSON has no form for.
    """
    tensors = {name: getattr(batch, name) for name in _FIELDS}
    arrays = {
        name: tensor.detach().cpu().numpy()
        for name, tensor in tensors.items()
        if tensor is not None
    }
    arrays |= {"format": np.array(FORMAT), "meta": np.array(meta_as_json(batch))}

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, **arrays)

    return store.write_atomic(Path(path), write)


def load_npz(path: str | os.PathLike[str]) -> TrajectoryBatch:
    """Read a batch that `save_npz` wrote, onto the CPU.

    Raises:
        MissingData: There is no such file.
        InvalidData: It is truncated, damaged or another file.
    """
    path = Path(path)
    remedy = (
        "Write it again with mbo_gym.export.save_npz, or with "
        "`mbo-gym export TASK --to npz --output PATH`."
    )
    if not path.exists():
        raise MissingData(f"There is no file {path}. {remedy}")
    with path.open("rb") as file:
        try:
            return _read(file)
        except store.ARRAY_DAMAGE as error:
            raise InvalidData(
                f"{path} is not a whole trajectory file of mbo_gym: it is truncated, damaged or "
                f"another file ({path.stat().st_size} bytes, {type(error).__name__}). {remedy}"
            ) from error


def meta_as_json(batch: TrajectoryBatch) -> str:
    """Return a batch's `meta` as a JSON text; paths become strings, tuples lists."""
    return json.dumps(dict(batch.meta), default=os.fspath)


def transition_arrays(batch: TrajectoryBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return observations (B, T+1, d), actions (B, T, d) and rewards (B, T) float32.

    They are views of the batch where possible.

    Raises:
        ValueError: The batch has no actions yet, or no transition.
    """
    actions, rewards = batch.require_actions()
    if rewards.numel() == 0:
        raise ValueError(f"there is no transition to export, got {batch.z.shape=}")
    z, a, r = (
        t.detach().to("cpu", torch.float32).contiguous().numpy()
        for t in (batch.z, actions, rewards)
    )
    return z, a, r


def _read(file: BinaryIO) -> TrajectoryBatch:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("one array, not an archive of several")
    if (found := str(archive["format"])) != FORMAT:
        raise ValueError(f"the format is {found!r}, expected {FORMAT!r}")
    unknown = set(archive.files) - {"format", "meta", *_FIELDS}
    if unknown:  # a field under a damaged name must not count as absent
        raise ValueError(f"unknown arrays {sorted(unknown)}")
    tensors = {name: torch.from_numpy(archive[name]) for name in _FIELDS if name in archive.files}
    return TrajectoryBatch(**tensors, meta=json.loads(str(archive["meta"])))
