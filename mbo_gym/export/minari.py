"""Trajectories as a Minari data set, with the environment they belong to."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from mbo_gym._version import __version__
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.envs.process import EnvConfig
from mbo_gym.errors import InvalidData, MboGymError
from mbo_gym.export.npz import meta_as_json, transition_arrays
from mbo_gym.export.recover import env_spec_of
from mbo_gym.files import store
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.tasks.registry import make_task
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["DatasetExists", "check_new_dataset", "env_spec_of", "to_minari"]


class DatasetExists(MboGymError, FileExistsError):
    """Minari has a data set of that id already; nothing was changed."""


def to_minari(
    batch: TrajectoryBatch,
    dataset_id: str,
    *,
    terminal: bool = False,
    progress: Progress | None = None,
    **metadata: Any,
) -> Any:
    """Write a batch as a Minari data set and return its `MinariDataset`.

    It lies in ``$MINARI_DATASETS_PATH``, else in ``~/.minari/datasets``.

    Each episode has T steps and T + 1 observations. The data set carries the environment's spec
    (see `env_spec_of`), so that its `recover_environment` makes the environment, and the batch's
    `meta` with its recipe under ``mbo_gym`` in its metadata. In displacement mode, with the default
    scale and the surrogate's rewards, the environment started at an episode's first design and
    given its actions repeats its observations and rewards; the description says where that is not
    so.

    Args:
        batch: Trajectories with actions, made from a registered task.
        dataset_id: ``(namespace/)name-v<N>``, where no such data set exists yet; a namespace has
            two letters at least.
        terminal: The last step of an episode terminates it (as in PGS's released program) instead
            of truncating it.
        progress: Progress reporter, or None.
        **metadata: Arguments of `minari.create_dataset_from_buffers`: `author`, `author_email`,
            `code_permalink`, ..; a `description` is put before ours.

    Raises:
        MissingDependency: minari or h5py is not installed.
        DatasetExists: There is a data set of that id.
        InvalidData: The batch does not say which environment it belongs to, or does not fit into
            it.
        ValueError: The id is malformed, or the batch has no actions yet, or no transition.
    """
    check_new_dataset(dataset_id)
    env = _DescribedEnv(batch)
    z, actions, rewards = transition_arrays(batch)
    low, high = z.min(axis=(0, 1)), z.max(axis=(0, 1))
    if not (env.observation_space.contains(low) and env.observation_space.contains(high)):
        raise InvalidData(
            "the batch leaves the observations of the environment, the box that the visible "
            "designs span; its meta['task_options'] or meta['encoder'] are not those it was made "
            "with"
        )
    episodes = (progress or NullProgress()).track(
        _buffers(z, actions, rewards, terminal), "writing Minari", len(z)
    )
    described = {
        "algorithm_name": f"mbo_gym.trajectories.{batch.meta.get('sampler', 'unknown')}",
        "requirements": [f"mbo-gym>={__version__}"],
        **metadata,
        "description": " ".join(
            filter(None, [metadata.get("description"), _description(batch, terminal)])
        ),
    }
    return _create(dataset_id, episodes, env, described, json.loads(meta_as_json(batch)))


def check_new_dataset(dataset_id: str) -> Path:
    """Return the folder that a new Minari data set will have.

    Raises:
        MissingDependency: minari or h5py is not installed.
        ValueError: The id is malformed.
        DatasetExists: There is one of that id.
    """
    optional_import("h5py", "rl")
    optional_import("minari", "rl")
    try:
        import_module("minari.dataset.minari_dataset").parse_dataset_id(dataset_id)
    except (ValueError, TypeError):  # Minari's own answer to an id without version is a TypeError
        raise ValueError(
            "a Minari data set's id is (namespace/)name-v<N>, e.g. 'mbo_gym/tfbind8-v0', and a "
            f"namespace has two letters at least; got {dataset_id!r}"
        ) from None
    path: Path = import_module("minari.storage").get_dataset_path(dataset_id)
    if path.exists():
        raise DatasetExists(
            f"There is a Minari data set {dataset_id!r} already, in {path}. Take another id (say, "
            f"the next version), or remove it first: minari.delete_dataset({dataset_id!r})"
        )
    return path


class _DescribedEnv(gym.Env[np.ndarray, np.ndarray]):
    """Spec and spaces of an environment, for Minari to read without fitting a surrogate."""

    def __init__(self, batch: TrajectoryBatch) -> None:
        self.spec = env_spec_of(batch)
        config = EnvConfig(**self.spec.kwargs)
        assert isinstance(config.task, str)
        problem = make_task(config.task, **(config.task_options or {})).problem()
        assert isinstance(config.encoder, str)
        low, high = feature_bounds(problem, make_encoder(problem, config.encoder))
        if low.shape != batch.z.shape[2:]:
            raise InvalidData(
                f"the features of {self.spec.id} are {low.shape}, the batch has {batch.z.shape=}"
            )
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, shape=low.shape, dtype=np.float32)


def _buffers(
    z: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminal: bool
) -> Iterator[Any]:
    """Yield an episode of Minari's for each trajectory."""
    buffer = import_module("minari.data_collector").EpisodeBuffer
    last = np.arange(rewards.shape[1]) == rewards.shape[1] - 1  # (T,)
    ends = {"terminations": last & terminal, "truncations": last & (not terminal)}
    for observations, a, r in zip(z, actions, rewards, strict=True):
        yield buffer(observations=observations, actions=a, rewards=r, **ends)


def _create(
    dataset_id: str,
    episodes: Iterator[Any],
    env: _DescribedEnv,
    described: dict[str, Any],
    meta: dict[str, Any],
) -> Any:
    """Write the data set; what a failure leaves behind is removed."""
    minari = optional_import("minari", "rl")
    with store.lock(f"minari-{dataset_id.replace('/', '_')}"), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"`\w+` is set to None", UserWarning
        )  # metadata that only the user can give
        path = check_new_dataset(dataset_id)
        try:
            dataset = minari.create_dataset_from_buffers(dataset_id, episodes, env=env, **described)
            dataset.storage.update_metadata({"mbo_gym": meta})
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
    return dataset


def _description(batch: TrajectoryBatch, terminal: bool) -> str:
    """Say what the data are, and how they differ from what the recovered environment would give."""
    meta = batch.meta
    size = f"{len(batch)} trajectories of {batch.horizon} steps"
    rollout = meta.get("sampler") == "rollout"
    where = "in the environment" if rollout else "between visible designs"
    parts = [f"{size} {where} of {meta['task_id']}, made with mbo_gym {__version__}."]
    whose = (
        "the data's scores" if meta.get("reward") == "difference" else "the surrogate's predictions"
    )
    parts.append(
        f"A reward is a difference of {whose}, in standard deviations of the visible scores."
    )
    if meta.get("reward") == "difference":
        parts.append("The recovered environment pays the surrogate's differences instead.")
    if meta["action_mode"] == "step_vector" and not rollout:
        parts.append(
            "Actions end at -1 and 1, so the environment does not quite arrive at the recorded "
            "next design."
        )
    if terminal:
        parts.append("The last step is marked as terminal, where the environment truncates.")
    return " ".join(parts)
