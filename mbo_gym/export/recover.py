"""The environment that an exported data set belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.export.d3rlpy import HDF5, read_meta
from mbo_gym.export.npz import load_npz, meta_as_json
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.tasks.registry import NAMESPACE
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["env_spec_of", "recover_environment"]


def recover_environment(path: str | os.PathLike[str], **kwargs: Any) -> gym.Env[Any, Any]:
    """Make the environment that an exported npz or d3rlpy file belongs to.

    Minari's data sets have a `recover_environment` of their own, which makes the same.

    Args:
        path: File that `mbo_gym.export` wrote.
        **kwargs: Arguments of `gym.make` that replace the recorded ones; for a table that has
            moved, ``task_options`` with the recorded ones (`env_spec_of`) and the new path.

    Raises:
        MissingData: There is no such file, or a file that the task is made of is missing.
        InvalidData: The file is damaged or does not say its environment, or a file that the task
            is made of has changed; the message has both hashes.

    Example:
        >>> import tempfile, mbo_gym
        >>> from mbo_gym.export import export, recover_environment
        >>> problem = mbo_gym.make_task("Branin-Exact-v0", max_rows=60).problem()
        >>> batch = mbo_gym.make_trajectories(problem, mbo_gym.TrajectoryRecipe(n=4, horizon=3))
        >>> path = tempfile.mkdtemp() + "/branin.npz"
        >>> _ = export(batch, to="npz", path=path)
        >>> recover_environment(path, surrogate="quadratic").spec.max_episode_steps
        3
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingData(f"There is no file {path}. Name a file that mbo_gym.export wrote.")
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5)) == HDF5
    meta: Mapping[str, Any]
    if is_hdf5:
        meta, horizon = read_meta(path)
    else:
        batch = load_npz(path)
        meta, horizon = batch.meta, batch.horizon
    env: gym.Env[Any, Any] = gym.make(_spec(meta, horizon), **kwargs)
    return env


def env_spec_of(batch: TrajectoryBatch) -> gym.envs.registration.EnvSpec:
    """Return the spec of the environment that a batch's transitions belong to.

    Its kwargs are plain JSON values. Its reward is always ``surrogate``: the data's score
    differences are known at the visible designs only. The surrogate is fitted by name, with seed 0;
    a batch whose surrogate was built with other settings earns other rewards there.

    Raises:
        InvalidData: The batch's meta lacks what it takes.
        UnknownId: Its task or surrogate is not registered.
    """
    return _spec(json.loads(meta_as_json(batch)), batch.horizon)


def _spec(meta: Mapping[str, Any], horizon: int) -> gym.envs.registration.EnvSpec:
    if missing := [
        key for key in ("task_id", "encoder", "action_mode", "action_scale") if not meta.get(key)
    ]:
        raise InvalidData(
            "the batch does not say which environment it belongs to: its meta lacks "
            f"{', '.join(missing)}. Batches from mbo_gym.make_trajectories say it"
        )
    kwargs = {key: meta[key] for key in ("encoder", "action_mode", "action_scale")}
    kwargs |= {"reward": "surrogate", "horizon": horizon}
    if meta["action_mode"] == "step_vector":  # batches of older versions name no gradient
        kwargs["gradient"] = meta.get("gradient") or "raw"
    if meta.get("task_options"):
        kwargs["task_options"] = meta["task_options"]
    if meta.get("surrogate"):
        kwargs["surrogate"] = SURROGATES.spec(meta["surrogate"]).id
    registered = gym.spec(f"{NAMESPACE}/{meta['task_id']}")
    # A new one: the registered specs of v1 deny their version, so that Gymnasium does not call v0
    # out of date.
    return gym.envs.registration.EnvSpec(
        id=registered.id,
        entry_point=registered.entry_point,
        vector_entry_point=registered.vector_entry_point,
        kwargs={**registered.kwargs, **kwargs},
    )
