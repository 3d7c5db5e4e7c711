"""Trajectories as d3rlpy's replay buffer, and as the HDF5 file that it reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym._moved import forwarded
from mbo_gym.errors import DamagedFile, InvalidData
from mbo_gym.export.npz import meta_as_json, transition_arrays
from mbo_gym.files import store
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["HDF5", "read_meta", "save_d3rlpy", "to_d3rlpy"]

HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file."""
_ABOUT = "mbo_gym"
_AGAIN = "Export it again with `mbo-gym export TASK --to d3rlpy --output PATH`."

__getattr__ = forwarded(__name__)  # names that have moved


def to_d3rlpy(batch: TrajectoryBatch, *, terminal: bool = False) -> Any:
    """Return a `d3rlpy.dataset.ReplayBuffer` of B episodes with all B x T transitions.

    Actions count as continuous, also where they happen to be whole numbers. The observations are
    views of the batch where it lies on the CPU.

    Args:
        batch: Trajectories with actions.
        terminal: What ends an episode. False: a time-out, as in the environment, so that the value
            of the last design is bootstrapped; d3rlpy would drop the last transition, therefore
            each episode has one more row (final observation, zero action, zero reward). True: the
            last transition is terminal, as in PGS's released program; d3rlpy then gives zeros for
            its next observation, and the batch's final designs appear nowhere.

    Raises:
        MissingDependency: d3rlpy is not installed.
        ValueError: The batch has no actions yet, or no transition.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    dataset = d3rlpy.dataset
    episodes = _episodes(d3rlpy, batch, terminal)
    return dataset.ReplayBuffer(
        dataset.InfiniteBuffer(),
        episodes=episodes,
        # Everything is given: what d3rlpy has to find out for itself it also writes to stdout.
        observation_signature=episodes[0].observation_signature,
        action_signature=episodes[0].action_signature,
        reward_signature=episodes[0].reward_signature,
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
        action_size=batch.z.shape[2],
    )


def save_d3rlpy(
    batch: TrajectoryBatch,
    path: str | os.PathLike[str],
    *,
    terminal: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the HDF5 file that d3rlpy's replay buffer reads, atomically.

    Read it with ``d3rlpy.dataset.ReplayBuffer.load(path, InfiniteBuffer())``. What d3rlpy does not
    read is the text ``mbo_gym``, from which `mbo_gym.export.recover_environment` makes the
    environment.

    The file cannot say that actions are continuous; d3rlpy guesses it from the first episode and
    takes whole numbers for discrete (one-hot displacements are whole). Where all of that episode's
    are whole, one number is written one float32 step nearer to zero (2^-24 for zero): in the row
    that is no transition, or in the last transition where `terminal` leaves no such row.

    Args:
        batch: Trajectories with actions.
        path: The file; one of that name is replaced.
        terminal: What ends an episode, see `to_d3rlpy`.
        progress: Progress reporter, or None.

    Returns:
        The path.

    Raises:
        MissingDependency: d3rlpy is not installed.
        ValueError: The batch has no actions yet, or no transition.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    episodes = _Watched(_episodes(d3rlpy, batch, terminal))
    episodes.progress = progress or NullProgress()
    first = episodes[0]
    if not np.mod(first.actions, 1).any():
        actions = first.actions.copy()
        actions[-1, 0] = np.nextafter(actions[-1, 0], np.float32(0)) if actions[-1, 0] else 2.0**-24
        episodes[0] = d3rlpy.dataset.Episode(
            first.observations, actions, first.rewards, first.terminated
        )
    about = {"meta": json.loads(meta_as_json(batch)), "horizon": batch.horizon}
    h5py = optional_import("h5py", "rl")

    def write(partial: Path) -> None:
        d3rlpy.dataset.dump(episodes, str(partial))
        with h5py.File(partial, "r+") as file:
            file[_ABOUT] = json.dumps({**about, "sha256": _checksum(file, about)})

    return store.write_atomic(Path(path), write)


def read_meta(path: Path) -> tuple[dict[str, Any], int]:
    """Return a batch's `meta` and its horizon from a file that `save_d3rlpy` wrote.

    The whole file is checked against its sha256, which d3rlpy does not do.

    Raises:
        MissingDependency: h5py is not installed.
        DamagedFile: The file is not what was written.
        InvalidData: The file is damaged, or another program or an older mbo_gym wrote it.
    """
    h5py = optional_import("h5py", "rl")
    try:
        with h5py.File(path, "r") as file:
            about = json.loads(file[_ABOUT][()])
            known = about.pop("sha256")
            same = known == _checksum(file, about)
        meta, horizon = dict(about["meta"]), int(about["horizon"])
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InvalidData(
            f"{path} does not say which environment it belongs to: it is damaged, or another "
            f"program or an older mbo_gym wrote it ({type(error).__name__}). {_AGAIN}"
        ) from error
    if not same:
        raise DamagedFile(f"{path} is damaged: its content differs from its checksum. {_AGAIN}")
    return meta, horizon


def _checksum(file: Any, about: Mapping[str, Any]) -> str:
    """Return the sha256 of the arrays of an HDF5 file, and of what is about them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(set(file) - {_ABOUT}):
        value = np.asarray(file[name][()])
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
    return digest.hexdigest()


class _Watched(list[Any]):
    """Episodes that report how far a loop over them is, since d3rlpy's `dump` does not."""

    progress: Progress

    def __iter__(self) -> Iterator[Any]:
        return self.progress.track(super().__iter__(), "writing HDF5", len(self))


def _episodes(d3rlpy: Any, batch: TrajectoryBatch, terminal: bool) -> list[Any]:
    """Return B of d3rlpy's episodes: T rows where the last is terminal, else T + 1."""
    z, actions, rewards = transition_arrays(batch)
    rewards = rewards[:, :, None]  # (B, T, 1)
    if terminal:
        z = z[:, :-1]
    else:
        pad = ((0, 0), (0, 1), (0, 0))
        actions, rewards = np.pad(actions, pad), np.pad(rewards, pad)  # (B, T+1, ..)
    episode = d3rlpy.dataset.Episode
    return [episode(*rows, terminated=terminal) for rows in zip(z, actions, rewards, strict=True)]
