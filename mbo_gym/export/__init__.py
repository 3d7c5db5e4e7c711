"""Trajectories for other programs: d3rlpy, Minari, or one npz file; the libraries are imported on
use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import ActionMode, check_action_mode, default_action_scale
from mbo_gym.errors import UnknownId
from mbo_gym.export.d3rlpy import save_d3rlpy, to_d3rlpy
from mbo_gym.export.minari import check_new_dataset, to_minari
from mbo_gym.export.npz import load_npz, save_npz
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.tasks.registry import make_task
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import SAMPLERS

__all__ = [
    "FORMATS",
    "Exported",
    "TrajectoryReward",
    "export_task",
    "load_npz",
    "save_d3rlpy",
    "save_npz",
    "to_d3rlpy",
    "to_minari",
]

TrajectoryReward: TypeAlias = Literal["difference", "surrogate_difference"]
"""What a transition earns: the difference of the data's scores, or of the surrogate's
predictions."""


@dataclass(frozen=True)
class Exported:
    """What `export_task` wrote; as a string, a sentence that says so.

    Args:
        to: The format.
        output: The file's path, or the id of the Minari data set.
        episodes: B, number of trajectories.
        transitions: B x T.
    """

    to: str
    output: str
    episodes: int
    transitions: int

    def __str__(self) -> str:
        return (
            f"Wrote {self.episodes} trajectories with {self.transitions} transitions; "
            f"read them with {FORMATS[self.to].read.format(repr(self.output))}."
        )


@dataclass(frozen=True)
class _Format:
    """How to write a format, what can be checked before any work, and how it is read."""

    write: Callable[[TrajectoryBatch, str, bool, Progress | None], Any]
    check: Callable[[str], Any]
    read: str


FORMATS: Mapping[str, _Format] = {
    "d3rlpy": _Format(
        lambda batch, output, terminal, progress: save_d3rlpy(
            batch, output, terminal=terminal, progress=progress
        ),
        check=lambda output: optional_import("d3rlpy", "rl"),
        read="d3rlpy.dataset.ReplayBuffer.load({}, d3rlpy.dataset.InfiniteBuffer())",
    ),
    "minari": _Format(
        lambda batch, output, terminal, progress: to_minari(
            batch, output, terminal=terminal, progress=progress
        ),
        check=check_new_dataset,
        read="minari.load_dataset({})",
    ),
    "npz": _Format(
        lambda batch, output, terminal, progress: save_npz(batch, output),
        check=lambda output: None,
        read="mbo_gym.export.load_npz({})",
    ),
}
"""The formats by name."""


def export_task(
    task_id: str,
    *,
    to: str,
    output: str | os.PathLike[str],
    sampler: str = "random_top",
    trajectories: int = 1000,
    horizon: int = 50,
    p: float = 20.0,
    action_mode: ActionMode = "displacement",
    reward: TrajectoryReward = "difference",
    action_scale: float | None = None,
    terminal: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    surrogate: str = "mlp",
    progress: Progress | None = None,
) -> Exported:
    """Make an offline-RL data set of a task's visible designs and write it.

    Args:
        task_id: See `mbo_gym.make_task`.
        to: ``d3rlpy`` (the HDF5 file of its replay buffer), ``minari`` or ``npz``.
        output: The file, which is replaced if it exists; for ``minari`` the id of a new data set.
        sampler: A name in `mbo_gym.trajectories.samplers.SAMPLERS`.
        trajectories: B.
        horizon: T.
        p: The best `p` percent of the visible rows take part; in ``local_improving`` trajectories
            start there.
        action_mode: ``displacement`` or ``step_vector``.
        reward: Differences of the data's scores, or of the surrogate's predictions.
        action_scale: The unit of an action; None for `dynamics.default_action_scale`.
        terminal: The last transition of an episode is terminal, as in PGS's released program,
            instead of a timeout.
        seed: Of the trajectories. The surrogate's is 0, as in the environments.
        options: Of the task.
        surrogate: A surrogate's name; it is fitted only where actions or rewards need one, and
            cached.
        progress: What is told how far it is.

    Raises:
        UnknownId: Nothing has that name.
        MissingDependency: The format's library is not installed.
        ValueError: An argument is out of range, or `terminal` is asked of npz, which has no such
            mark.
    """
    output = os.fspath(output)
    _check_names(to, sampler, action_mode, reward, surrogate)
    if trajectories < 1 or horizon < 1 or (action_scale is not None and action_scale <= 0):
        raise ValueError(
            f"these must be positive, got {trajectories=}, {horizon=} and {action_scale=}"
        )
    if terminal and to == "npz":
        raise ValueError(
            "an npz file holds whole trajectories and marks no step as terminal; leave terminal out"
        )
    FORMATS[to].check(output)
    problem = make_task(task_id, **(options or {})).problem()
    encoder = make_encoder(problem)
    batch = SAMPLERS[sampler](
        problem, encoder, p, trajectories, horizon, torch.Generator().manual_seed(seed)
    )
    scale = (
        default_action_scale(problem, encoder, action_mode)
        if action_scale is None
        else action_scale
    )
    needed = (action_mode, reward) != ("displacement", "difference")
    model = fitted_surrogate(problem, encoder, surrogate, progress=progress) if needed else None
    batch = with_actions(batch, model, action_mode, scale, reward=reward)
    FORMATS[to].write(batch, output, terminal, progress)
    return Exported(to, output, len(batch), len(batch) * batch.horizon)


def _check_names(to: str, sampler: str, action_mode: str, reward: str, surrogate: str) -> None:
    """Refuse unknown names before any work."""
    for kind, name, known in (("export format", to, FORMATS), ("sampler", sampler, SAMPLERS)):
        if name not in known:
            raise UnknownId(kind, name, known)
    SURROGATES.spec(surrogate)
    check_action_mode(action_mode)
    if reward not in get_args(TrajectoryReward):
        raise ValueError(f"reward must be one of {get_args(TrajectoryReward)}, got {reward!r}")
