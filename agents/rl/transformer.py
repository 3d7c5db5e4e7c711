"""The decision transformer of d3rlpy, on episodes that are tensors and on batches of designs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rl.data import Episodes
from agents.rl.learner_config import OfflineConfig
from mbo_gym.envs.process import State

__all__ = ["TransformerPolicy", "create_transformer", "episode_batch", "most_return"]


def create_transformer(d3rlpy: Any, config: OfflineConfig, horizon: int, device: str) -> Any:
    """Return an untrained decision transformer of d3rlpy.

    Args:
        d3rlpy: The library.
        config: Settings of the learner.
        horizon: T, the largest number of steps of an episode.
        device: Device of the network.
    """
    settings = d3rlpy.algos.DecisionTransformerConfig(
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        encoder_factory=d3rlpy.models.VectorEncoderFactory(
            [config.hidden], exclude_last_activation=True
        ),
        context_size=config.context,
        max_timestep=horizon,
    )
    return settings.create(device=device)


def most_return(episodes: Episodes) -> float:
    """Return the largest sum of rewards of an episode."""
    return float(episodes.rewards.sum(dim=1).max())


def episode_batch(
    d3rlpy: Any, episodes: Episodes, config: OfflineConfig, rng: np.random.Generator
) -> Any:
    """Cut random pieces of episodes, each of up to `config.context` steps before a random step.

    Where a piece begins with the episode, the steps before it are masked.
    """
    b, horizon, _ = episodes.actions.shape
    row = torch.from_numpy(rng.integers(b, size=(config.batch_size, 1)))
    last = torch.from_numpy(rng.integers(horizon, size=(config.batch_size, 1)))
    t = last + torch.arange(1 - config.context, 1)  # (B, L)
    known = t >= 0
    at = t.clamp_min(0)
    to_go = episodes.rewards.flip(1).cumsum(1).flip(1)  # (B, T)

    def cut(values: Tensor) -> np.ndarray:
        part = values[row, at]  # (B, L) or (B, L, n)
        mask = known if part.dim() == 2 else known.unsqueeze(2)
        return np.asarray((part * mask).unsqueeze(2) if part.dim() == 2 else part * mask)

    steps = np.asarray((at + 1) * known, dtype=np.float32)
    return d3rlpy.dataset.TrajectoryMiniBatch(
        observations=cut(episodes.observations),
        actions=cut(episodes.actions),
        rewards=cut(episodes.rewards),
        returns_to_go=cut(to_go),
        terminals=np.zeros((*steps.shape, 1), dtype=np.float32),
        timesteps=steps,
        masks=known.numpy().astype(np.float32),
        length=config.context,
    )


class TransformerPolicy:
    """Policy of a decision transformer for a batch of designs, asked for a return.

    `see` is given each state before the policy acts there: it keeps the context, and takes what was
    earned off the return that is left.

    Args:
        algo: Trained decision transformer of d3rlpy.
        target: Return that it is asked for, in the unit of the episodes' rewards.
        unit: Reward of the environment that is 1 in the episodes.
    """

    def __init__(self, algo: Any, target: float, unit: float = 1.0) -> None:
        self._network = algo.impl.modules.transformer
        self._context = algo.config.context_size
        self._last_step = algo.config.max_timestep  # it has no embedding of a later one
        self._device = next(self._network.parameters()).device
        self._target = target
        self._unit = unit
        self._states: list[State] = []
        self._actions: list[Tensor] = []

    def see(self, state: State) -> None:
        """Take over the state that the next action is asked for."""
        self._states.append(state)

    def __call__(self, observations: Tensor) -> Tensor:
        """Return actions (B, m) at observations (B, o), which are those of the last state."""
        states = self._states[-self._context :]
        first = len(self._states) - len(states)
        start = self._states[0].value
        to_go = [self._target - (state.value - start) / self._unit for state in states]
        # the last action is not known yet; the network does not look at it
        actions = self._actions[first:]
        blank = torch.zeros(len(observations), self._n_actions, device=self._device)
        steps = torch.arange(first + 1, first + len(states) + 1, device=self._device)
        steps = steps.clamp_max(self._last_step)
        self._network.eval()
        with torch.no_grad():
            predicted = self._network(
                torch.stack([state.observation for state in states], dim=1),
                torch.stack([*actions, blank], dim=1),
                torch.stack(to_go, dim=1).unsqueeze(2).to(torch.float32),
                steps.expand(len(observations), -1),
                torch.zeros(len(observations), len(states), device=self._device),
            )
        action: Tensor = predicted[:, -1]
        self._actions.append(action)
        return action

    @property
    def _n_actions(self) -> int:
        return int(self._network._output.out_features)
