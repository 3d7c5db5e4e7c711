"""Offline reinforcement learning by d3rlpy, on episodes that are tensors.

The updates are d3rlpy's. Mini-batches are cut from the tensors directly, without a Python object
for each transition.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rl.checkpoints import Checkpoints
from agents.rl.data import Episodes
from agents.rl.learner_config import OfflineConfig
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.nn.checkpoints import next_folder
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import Progress

__all__ = ["load_policy", "policy_actions", "save_policy", "third_party_seed", "train_offline"]

WEIGHTS_FILE = "policy.safetensors"


def train_offline(
    episodes: Episodes,
    config: OfflineConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
    snapshots: dict[int, Any] | None = None,
) -> Any:
    """Train a d3rlpy algorithm on episodes.

    Args:
        episodes: Data set.
        config: Settings of the learner.
        seed: Seed of initial weights and mini-batches; global random states are restored
            afterwards.
        device: Device of the networks: ``cpu``, ``cuda``, ...
        progress: Observer of the training; gets the losses.
        snapshots: Numbers of updates; their values are set to the policy's weights after them.

    Returns:
        The trained d3rlpy algorithm.

    Raises:
        MissingDependency: d3rlpy is not installed.
        ValueError: The folder of checkpoints holds those of another training, or lacks a snapshot.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    with third_party_seed(seed):
        algo = _create(d3rlpy, config, device)
        algo.create_impl((episodes.observations.shape[2],), episodes.actions.shape[2])
        rng = np.random.default_rng(seed)
        folder, pace = config.checkpoints, None
        if folder is None and (kept := next_folder()) is not None:
            folder, pace = str(kept[0]), kept[1]
        strict = config.checkpoints is not None
        saved = Checkpoints(folder, config, seed, episodes, strict=strict) if folder else None
        done = saved.resume(algo, rng) if saved else 0
        if saved and snapshots:
            saved.read_snapshots(snapshots, done)
        adapter = _adapter(d3rlpy, algo, config)
        every = max(1, config.train_steps // 100)
        for step in progress.track(
            range(done + 1, config.train_steps + 1), f"training {config.algorithm}"
        ):
            losses = algo.update(_mini_batch(d3rlpy, episodes, config, rng))
            if step % every == 0:
                values = {key: float(value) for key, value in losses.items()}
                progress.metrics("offline_rl", step, **values)
                if adapter:
                    for key, value in values.items():
                        adapter.write_metric(step, step, key, value)
            if snapshots is not None and step in snapshots:
                snapshots[step] = {
                    key: value.clone() for key, value in algo.impl.policy.state_dict().items()
                }
                if saved:
                    saved.keep_snapshot(step, snapshots[step])
            last = step == config.train_steps
            tenth = last or step % max(1, config.train_steps // 10) == 0
            if saved and (tenth if pace is None else pace.due(end=last)):
                saved.save(algo, rng, step)
        if adapter:
            adapter.close()
    return algo


def save_policy(algo: Any, folder: Path) -> None:
    """Write a trained policy three times: weights, d3rlpy's own file, and TorchScript.

    ``policy.safetensors`` is what `load_policy` reads, ``policy.d3`` what `d3rlpy.load_learnable`
    reads, ``policy.pt`` what `torch.jit.load` reads.

    ``policy.d3`` is a pickle, d3rlpy's own format: loading one runs whatever program is in it. Load
    files of your own only, and share the others.
    """
    save_weights(folder / WEIGHTS_FILE, algo.impl.policy.state_dict())
    algo.save(str(folder / "policy.d3"))
    algo.save_policy(str(folder / "policy.pt"))


def load_policy(
    folder: Path, config: OfflineConfig, n_observed: int, n_actions: int, device: str
) -> Any:
    """Return a d3rlpy algorithm with the policy that `save_policy` wrote; its critics are new.

    Args:
        folder: Folder of the weights.
        config: Settings that it was trained with.
        n_observed: Numbers in an observation.
        n_actions: Numbers in an action.
        device: Device of the networks.

    Raises:
        MissingDependency: d3rlpy is not installed.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    with third_party_seed(0):
        algo = _create(d3rlpy, config, device)
        algo.create_impl((n_observed,), n_actions)
    algo.impl.policy.load_state_dict(load_weights(folder / WEIGHTS_FILE))
    return algo


def policy_actions(algo: Any, observations: Tensor) -> Tensor:
    """Return the policy's deterministic actions (B, m) at observations (B, o)."""
    with torch.no_grad():
        actions: Tensor = algo.impl.predict_best_action(observations)
    return actions


@contextmanager
def third_party_seed(seed: int) -> Iterator[None]:
    """Seed the global random states for libraries that use them, and restore them afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _create(d3rlpy: Any, config: OfflineConfig, device: str) -> Any:
    encoder = d3rlpy.models.VectorEncoderFactory([config.hidden, config.hidden])
    algos, rate = d3rlpy.algos, config.learning_rate
    if config.algorithm == "bc":
        cloning = algos.BCConfig(
            batch_size=config.batch_size, learning_rate=rate, encoder_factory=encoder
        )
        return cloning.create(device=device)
    shared = {
        "actor_learning_rate": rate,
        "critic_learning_rate": rate,
        "batch_size": config.batch_size,
        "gamma": config.discount,
        "actor_encoder_factory": encoder,
        "critic_encoder_factory": encoder,
    }
    if config.algorithm == "iql":
        settings = algos.IQLConfig(**shared, value_encoder_factory=encoder)
    elif config.algorithm == "td3bc":
        settings = algos.TD3PlusBCConfig(**shared, alpha=config.greed)
    elif config.algorithm == "rebrac":
        settings = algos.ReBRACConfig(**shared)
    elif config.algorithm == "sac":
        settings = algos.SACConfig(**shared, temp_learning_rate=rate)
    else:
        settings = algos.CQLConfig(
            **shared,
            temp_learning_rate=rate,
            conservative_weight=config.conservative_weight,
            n_action_samples=config.n_action_samples,
            alpha_learning_rate=0.0,  # no Lagrange multiplier, as in PGS
            initial_alpha=1.0,
            alpha_threshold=0.0,
        )
    return settings.create(device=device)


def _mini_batch(
    d3rlpy: Any, episodes: Episodes, config: OfflineConfig, rng: np.random.Generator
) -> Any:
    """Cut a random mini-batch; at the end of an episode fewer than `n_step` rewards are left."""
    b, horizon, _ = episodes.actions.shape
    row = torch.from_numpy(rng.integers(b, size=config.batch_size))
    t = torch.from_numpy(rng.integers(horizon, size=config.batch_size))
    end = (t + config.n_step).clamp_max(horizon)
    rewards = torch.zeros(config.batch_size)
    for i in range(config.n_step):
        at = (t + i).clamp_max(horizon - 1)
        rewards += torch.where(t + i < horizon, config.discount**i * episodes.rewards[row, at], 0.0)
    terminals = ((end == horizon) & episodes.terminal).float()
    if config.average_rewards:
        rewards, terminals = (
            rewards.mean().expand_as(rewards),
            terminals.mean().expand_as(terminals),
        )
    return d3rlpy.dataset.TransitionMiniBatch(
        observations=episodes.observations[row, t].numpy(),
        actions=episodes.actions[row, t].numpy(),
        rewards=rewards.unsqueeze(1).numpy(),
        next_observations=episodes.observations[row, end].numpy(),
        next_actions=episodes.actions[row, end.clamp_max(horizon - 1)].numpy(),  # unused at the end
        terminals=terminals.unsqueeze(1).numpy(),
        intervals=(end - t).float().unsqueeze(1).numpy(),
        transitions=[],
    )


def _adapter(d3rlpy: Any, algo: Any, config: OfflineConfig) -> Any:
    """Return d3rlpy's TensorBoard adapter, or None without a folder for it."""
    if config.tensorboard is None:
        return None
    name = f"{config.algorithm}_{datetime.now().astimezone():%Y%m%d%H%M%S}"
    return d3rlpy.logging.TensorboardAdapterFactory(config.tensorboard).create(
        algo, name, n_steps_per_epoch=1
    )
