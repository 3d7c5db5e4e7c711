"""Offline reinforcement learning by d3rlpy, on episodes that are tensors.

The updates are d3rlpy's. Mini-batches are cut from the tensors directly, without a Python object
for each transition.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
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
from agents.rl.transformer import create_transformer, episode_batch
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.nn.checkpoints import next_folder
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import Progress

__all__ = [
    "load_policy",
    "policy_actions",
    "policy_network",
    "save_policy",
    "third_party_seed",
    "train_offline",
]

WEIGHTS_FILE = "policy.safetensors"


def train_offline(
    episodes: Episodes,
    config: OfflineConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
    snapshots: dict[int, Any] | None = None,
    watch: Callable[[Any, int], None] | None = None,
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
        watch: Function that is called with the algorithm and the number of updates, about ten times
            and at the start; it draws no random numbers.

    Returns:
        The trained d3rlpy algorithm.

    Raises:
        MissingDependency: d3rlpy is not installed.
        ValueError: The folder of checkpoints holds those of another training, or lacks a snapshot.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    with third_party_seed(seed):
        algo = _create(d3rlpy, config, device, episodes.actions.shape[1])
        algo.create_impl((episodes.observations.shape[2],), episodes.actions.shape[2])
        cut = episode_batch if config.algorithm == "dt" else _mini_batch
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
        tenth = max(1, config.train_steps // 10)
        if watch:
            _watch_again(algo, watch, saved, range(0, done + 1, tenth), done)
        for step in progress.track(
            range(done + 1, config.train_steps + 1), f"training {config.algorithm}"
        ):
            losses = algo.update(cut(d3rlpy, episodes, config, rng))
            if step % every == 0:
                values = {key: float(value) for key, value in losses.items()}
                progress.metrics("offline_rl", step, **values)
                if adapter:
                    for key, value in values.items():
                        adapter.write_metric(step, step, key, value)
            if snapshots is not None and step in snapshots:
                snapshots[step] = {
                    key: value.clone() for key, value in policy_network(algo).state_dict().items()
                }
                if saved:
                    saved.keep_snapshot(step, snapshots[step])
            if watch and step % tenth == 0:
                if saved:
                    saved.keep_snapshot(step, policy_network(algo).state_dict())
                watch(algo, step)
            last = step == config.train_steps
            due = last or step % tenth == 0
            if saved and (due if pace is None else pace.due(end=last)):
                saved.save(algo, rng, step)
        if adapter:
            adapter.close()
    return algo


def _watch_again(
    algo: Any,
    watch: Callable[[Any, int], None],
    saved: Checkpoints | None,
    steps: range,
    done: int,
) -> None:
    """Show the policy at the start; of a resumed training, at each step that was shown before."""
    if saved is None:
        watch(algo, 0)
        return
    network = policy_network(algo)
    if not done:
        saved.keep_snapshot(0, network.state_dict())
        watch(algo, 0)
        return
    now = {key: value.clone() for key, value in network.state_dict().items()}
    shown: dict[int, Any] = dict.fromkeys(steps)
    saved.read_snapshots(shown, done)
    for step, weights in shown.items():
        network.load_state_dict(weights)
        watch(algo, step)
    network.load_state_dict(now)


def save_policy(algo: Any, folder: Path) -> None:
    """Write a trained policy three times: weights, d3rlpy's own file, and TorchScript.

    A decision transformer is written twice: as a function of one step alone it has no TorchScript.

    ``policy.safetensors`` is what `load_policy` reads, ``policy.d3`` what `d3rlpy.load_learnable`
    reads, ``policy.pt`` what `torch.jit.load` reads.

    ``policy.d3`` is a pickle, d3rlpy's own format: loading one runs whatever program is in it. Load
    files of your own only, and share the others.
    """
    save_weights(folder / WEIGHTS_FILE, policy_network(algo).state_dict())
    algo.save(str(folder / "policy.d3"))
    if hasattr(algo.impl, "policy"):
        algo.save_policy(str(folder / "policy.pt"))


def policy_network(algo: Any) -> Any:
    """Return the network that acts: the policy, or the decision transformer."""
    impl = algo.impl
    return impl.policy if hasattr(impl, "policy") else impl.modules.transformer


def load_policy(
    folder: Path,
    config: OfflineConfig,
    n_observed: int,
    n_actions: int,
    device: str,
    horizon: int = 1,
) -> Any:
    """Return a d3rlpy algorithm with the policy that `save_policy` wrote; its critics are new.

    Args:
        folder: Folder of the weights.
        config: Settings that it was trained with.
        n_observed: Numbers in an observation.
        n_actions: Numbers in an action.
        device: Device of the networks.
        horizon: Steps of an episode; counts for a decision transformer.

    Raises:
        MissingDependency: d3rlpy is not installed.
    """
    d3rlpy = optional_import("d3rlpy", "rl")
    with third_party_seed(0):
        algo = _create(d3rlpy, config, device, horizon)
        algo.create_impl((n_observed,), n_actions)
    policy_network(algo).load_state_dict(load_weights(folder / WEIGHTS_FILE))
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


def _create(d3rlpy: Any, config: OfflineConfig, device: str, horizon: int) -> Any:
    if config.algorithm == "dt":
        return create_transformer(d3rlpy, config, horizon, device)
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
        settings = algos.IQLConfig(
            **shared,
            value_encoder_factory=encoder,
            expectile=config.expectile,
            weight_temp=config.inverse_temperature,
        )
    elif config.algorithm == "awac":
        settings = algos.AWACConfig(**shared, lam=config.temperature)
    elif config.algorithm == "td3bc":
        settings = algos.TD3PlusBCConfig(**shared, alpha=config.greed)
    elif config.algorithm == "rebrac":
        settings = algos.ReBRACConfig(
            **shared, actor_beta=config.actor_penalty, critic_beta=config.critic_penalty
        )
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
