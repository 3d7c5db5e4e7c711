"""Export: trajectories for other programs, as d3rlpy's, Minari's or a plain npz data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mbo_gym.errors import UnknownId
from mbo_gym.export.d3rlpy import save_d3rlpy, to_d3rlpy
from mbo_gym.export.minari import check_new_dataset, to_minari
from mbo_gym.export.npz import load_npz, save_npz
from mbo_gym.export.recover import env_spec_of, recover_environment
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import absolute_path, typed_fields
from mbo_gym.tasks.registry import make_task
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.recipe import TrajectoryRecipe, TrajectoryReward, make_trajectories

__all__ = [
    "FORMATS",
    "Exported",
    "TrajectoryReward",
    "env_spec_of",
    "export",
    "export_task",
    "load_npz",
    "recover_environment",
    "save_d3rlpy",
    "save_npz",
    "to_d3rlpy",
    "to_minari",
]


@dataclass(frozen=True)
class Exported:
    """What was written; as a string, a sentence that says so.

    Args:
        to: Format.
        output: Path of the file, or id of the Minari data set.
        episodes: Number of trajectories, B.
        transitions: Number of transitions, B x T.
    """

    to: str
    output: str
    episodes: int
    transitions: int

    def __str__(self) -> str:
        output = self.output if self.to == "minari" else absolute_path(self.output)
        return (
            f"Wrote {self.episodes} trajectories with {self.transitions} transitions; "
            f"read them with {FORMATS[self.to].read.format(repr(output))}."
        )


@dataclass(frozen=True)
class _Format:
    """How to write a format, what can be checked before any work, and how it is read."""

    write: Callable[[TrajectoryBatch, str, bool, Progress | None], Any]
    check: Callable[[str], Any]
    read: str


FORMATS: Mapping[str, _Format] = {
    "d3rlpy": _Format(
        lambda batch, path, terminal, progress: save_d3rlpy(
            batch, path, terminal=terminal, progress=progress
        ),
        check=lambda path: optional_import("d3rlpy", "rl"),
        read="d3rlpy.dataset.ReplayBuffer.load({}, d3rlpy.dataset.InfiniteBuffer())",
    ),
    "minari": _Format(
        lambda batch, path, terminal, progress: to_minari(
            batch, path, terminal=terminal, progress=progress
        ),
        check=check_new_dataset,
        read="minari.load_dataset({})",
    ),
    "npz": _Format(
        lambda batch, path, terminal, progress: save_npz(batch, path),
        check=lambda path: None,
        read="mbo_gym.export.load_npz({})",
    ),
}
"""Formats by name."""


def export(
    batch: TrajectoryBatch,
    *,
    to: str,
    path: str | os.PathLike[str],
    terminal: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write trajectories for another program.

    Args:
        batch: Trajectories with actions, e.g. from `mbo_gym.make_trajectories`.
        to: ``d3rlpy`` (the HDF5 file of its replay buffer), ``minari`` or ``npz``.
        path: File, which is replaced if it exists; for ``minari`` the id of a new data set.
        terminal: Whether the last transition of an episode is terminal, as in PGS's released
            program, instead of a time-out.
        progress: Progress reporter, or None.

    Raises:
        UnknownId: There is no such format.
        MissingDependency: The format's library is not installed.
        ValueError: `terminal` is asked of npz, which has no such mark; or the batch has no actions.
    """
    path = os.fspath(path)
    _check(to, path, terminal)
    FORMATS[to].write(batch, path, terminal, progress)
    return Exported(to, path, len(batch), len(batch) * batch.horizon)


def export_task(
    task_id: str,
    recipe: TrajectoryRecipe | None = None,
    *,
    to: str,
    path: str | os.PathLike[str] | None = None,
    terminal: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **old: Any,
) -> Exported:
    """Make trajectories of a task and write them.

    Args:
        task_id: Id of the task, see `mbo_gym.make_task`.
        recipe: What the trajectories are made from; None for the defaults.
        to: Format, see `export`.
        path: File or data set, see `export`.
        terminal: Whether the last transition of an episode is terminal.
        options: Options of the task.
        progress: Progress reporter, or None.
        **old: Fields of the recipe, `output` for `path` and `trajectories` for `n`, as in version
            0.1; deprecated.

    Raises:
        UnknownId: Nothing has that name.
        MissingDependency: The format's library is not installed.
        ValueError: An argument is out of range.
    """
    if old:
        recipe, path = _from_old(recipe, path, old)
    if path is None:
        raise TypeError("export_task needs path=, the file or the id of the data set to write")
    recipe = recipe or TrajectoryRecipe()
    _check(to, os.fspath(path), terminal)
    problem = make_task(task_id, **(options or {})).problem()
    batch = make_trajectories(problem, recipe, progress=progress)
    return export(batch, to=to, path=path, terminal=terminal, progress=progress)


def _check(to: str, path: str, terminal: bool) -> None:
    """Refuse before any work what cannot be written."""
    if to not in FORMATS:
        raise UnknownId("export format", to, FORMATS)
    if terminal and to == "npz":
        raise ValueError(
            "an npz file holds whole trajectories and marks no step as terminal; leave terminal out"
        )
    FORMATS[to].check(path)


def _from_old(
    recipe: TrajectoryRecipe | None, path: str | os.PathLike[str] | None, old: dict[str, Any]
) -> tuple[TrajectoryRecipe | None, str | os.PathLike[str] | None]:
    """Return recipe and path of a call in the way of version 0.1."""
    warnings.warn(
        f"export_task({', '.join(f'{name}=' for name in old)}) is the old way. Pass "
        "export_task(task_id, TrajectoryRecipe(...), to=..., path=...).",
        DeprecationWarning,
        stacklevel=3,
    )
    fields = {"n" if name == "trajectories" else name: value for name, value in old.items()}
    path = fields.pop("output", path)
    if fields and recipe is not None:
        raise TypeError(f"{', '.join(fields)} belong into the recipe. Pass them there only.")
    if recipe is not None:
        return recipe, path
    fields.setdefault("sampler", "random_top")  # the default of that version
    return TrajectoryRecipe(**typed_fields(TrajectoryRecipe, fields)), path
