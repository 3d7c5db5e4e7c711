"""Offline reinforcement learning through d3rlpy, on trajectories that are tensors already.

The updates are d3rlpy's own; only its mini-batches are cut straight from the trajectory tensors, which spares a Python
object for each transition.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mbo_gym.export.d3rlpy import import_d3rlpy
from mbo_gym.progress import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories import TrajectoryBatch

__all__ = ["OfflineConfig", "policy_actions", "third_party_seed", "train_offline"]


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of the offline-RL learner.

    Args:
        algorithm: ``cql`` (conservative Q-learning) or ``iql`` (implicit Q-learning).
        train_steps: Updates.
        batch_size: Transitions an update.
        learning_rate: Of policy and critics.
        discount: gamma.
        conservative_weight: CQL's alpha, weight of the gap between sampled and data actions.
        n_action_samples: Actions that CQL samples from each of its three sources to estimate that gap; the paper uses
            10, 4 trains about twice as fast.
        hidden: Width of the two hidden layers of policy and critics.
    """

    algorithm: Literal["cql", "iql"] = "cql"
    train_steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 3e-4
    discount: float = 0.99
    conservative_weight: float = 5.0
    n_action_samples: int = 4
    hidden: int = 256

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "n_action_samples", "hidden")
        require_at_least(self, 0, "train_steps", "learning_rate", "discount", "conservative_weight")


def train_offline(
    batch: TrajectoryBatch, config: OfflineConfig, *, seed: int, device: str, progress: Progress, terminal: bool = False
) -> Any:
    """Train a d3rlpy algorithm on trajectories with actions.

    Args:
        batch: (B, T) transitions.
        config: The learner's settings.
        seed: Of network initialisation and mini-batches; the global random states are put back afterwards.
        device: ``cpu``, ``cuda``, ..
        progress: Gets the losses.
        terminal: Count the last transition of each trajectory as the end of the world, as PGS's released program does;
            else as a time limit.

    Returns:
        The trained d3rlpy algorithm.

    Raises:
        MissingDependency: d3rlpy is not installed.
    """
    d3rlpy = import_d3rlpy()
    actions, _ = batch.require_actions()
    b, horizon, d = actions.shape
    with third_party_seed(seed):
        algo = _create(d3rlpy, config, device)
        algo.create_impl((batch.z.shape[2],), d)
        rng = np.random.default_rng(seed)
        every = max(1, config.train_steps // 100)
        for step in progress.track(range(1, config.train_steps + 1), f"training {config.algorithm}"):
            row, t = rng.integers(b, size=config.batch_size), rng.integers(horizon, size=config.batch_size)
            losses = algo.update(_mini_batch(d3rlpy, batch, torch.from_numpy(row), torch.from_numpy(t), terminal))
            if step % every == 0:
                progress.metrics("offline_rl", step, **{key: float(value) for key, value in losses.items()})
    return algo


def policy_actions(algo: Any, z: Tensor) -> Tensor:
    """Return the policy's deterministic actions (B, d) for features (B, d), on their device."""
    with torch.no_grad():
        actions: Tensor = algo.impl.predict_best_action(z)
    return actions


@contextmanager
def third_party_seed(seed: int) -> Iterator[None]:
    """Seed the global random states for libraries that use them, and put them back as they were afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (theirs, not ours)
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
    shared = {
        "actor_learning_rate": config.learning_rate,
        "critic_learning_rate": config.learning_rate,
        "batch_size": config.batch_size,
        "gamma": config.discount,
        "actor_encoder_factory": encoder,
        "critic_encoder_factory": encoder,
    }
    if config.algorithm == "iql":
        return d3rlpy.algos.IQLConfig(**shared, value_encoder_factory=encoder).create(device=device)
    return d3rlpy.algos.CQLConfig(
        **shared,
        temp_learning_rate=config.learning_rate,
        conservative_weight=config.conservative_weight,
        n_action_samples=config.n_action_samples,
        alpha_learning_rate=0.0,  # no Lagrange multiplier, as in PGS
        initial_alpha=1.0,
        alpha_threshold=0.0,
    ).create(device=device)


def _mini_batch(d3rlpy: Any, batch: TrajectoryBatch, row: Tensor, t: Tensor, terminal: bool) -> Any:
    actions, rewards = batch.require_actions()
    last = t == actions.shape[1] - 1
    following = (t + 1).clamp_max(actions.shape[1] - 1)  # the action after the last one is never used
    return d3rlpy.dataset.TransitionMiniBatch(
        observations=batch.z[row, t].numpy(),
        actions=actions[row, t].numpy(),
        rewards=rewards[row, t].unsqueeze(1).numpy(),
        next_observations=batch.z[row, t + 1].numpy(),
        next_actions=actions[row, following].numpy(),
        terminals=(last & terminal).float().unsqueeze(1).numpy(),
        intervals=np.ones((len(row), 1), dtype=np.float32),
        transitions=[],
    )
