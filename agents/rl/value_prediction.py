"""Value-prediction network: an embedding of designs, learned from trajectories.

PGS compares designs in it to choose a policy offline, see `agents.rl.selection`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mbo_gym.nn.training import Trainer, TrainingConfig
from mbo_gym.nn.weights import build
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["VPNConfig", "ValuePredictionNetwork", "train_value_prediction"]


@dataclass(frozen=True)
class VPNConfig:
    """Settings of a value-prediction network.

    Args:
        embedding: e, numbers in an embedding; None for the paper's 32, on categorical spaces 8.
        hidden: Width of the two hidden layers (swish) of the encoder and of each head; the paper
            has 256.
        unroll: k, steps of a window.
        discount: Discount gamma.
        steps: Number of updates; 2,500 take about 20 s on one thread.
        batch_size: Windows in an update.
        learning_rate: Learning rate of Adam; the paper has 1e-4, for a longer training.
        target_every: Updates between two copies of the network for the targets; the paper has
            1,000.
    """

    embedding: int | None = None
    hidden: int = 128
    unroll: int = 8
    discount: float = 0.95
    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 1e-3
    target_every: int = 100

    def __post_init__(self) -> None:
        require_at_least(self, 1, "embedding", "hidden", "unroll", "batch_size", "target_every")
        require_at_least(self, 0, "discount", "steps", "learning_rate")
        if self.discount >= 1:
            raise ValueError(f"discount lies in [0, 1), got {self.discount}")


class ValuePredictionNetwork(nn.Module):
    """Value-prediction network (Oh, Singh, Lee, NeurIPS 2017): encoder, transition and two heads.

    Algorithm, for windows of k steps that start anywhere in the trajectories:
        1. Encode the first design: e_0 = enc(z_t).
        2. Unroll the latent with the recorded actions: e_{l+1} = e_l + trans(e_l, a_{t+l}).
        3. Fit the reward head, reward(e_l, a_{t+l}) to r_{t+l}, and the value head, value(e_l) to
           R_{t+l}, for l < k.
        4. The value target is the n-step return to the window's end, continued by a slow copy of
           the network: R_{t+l} = (1 - gamma) r_{t+l} + gamma R_{t+l+1},
           R_{t+k} = value'(enc'(z_{t+k})). The factor 1 - gamma keeps values in the unit of the
           rewards.
    Steps past a trajectory's end count in neither loss.

    Differs from the papers: Oh et al. plan with the network and learn a discount for each option;
    here, as in PGS, actions are the recorded ones, the discount is fixed, and only the embedding is
    used. The default network is half as wide and its training short (`VPNConfig` names the paper's
    numbers): on TFBind8 it embeds better in the same time.

    Args:
        n_features: d, of designs and actions alike.
        embedding: e, numbers in an embedding.
        hidden: Width of the hidden layers.
        generator: Source of the initial weights, on the network's device.

    References:
        Oh, Singh, Lee 2017, Value Prediction Network, arXiv 1707.03497.
        Chemingui, Deshwal, Hoang, Doppa 2024, Offline Model-Based Optimization via Policy-Guided
        Gradient Search, arXiv 2405.05349.
    """

    def __init__(
        self, n_features: int, embedding: int, hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__()

        def perceptron(n_in: int, n_out: int) -> nn.Sequential:
            return build(lambda: _perceptron([n_in, hidden, hidden, n_out]), generator)

        self.encoder = perceptron(n_features, embedding)
        self.transition = perceptron(embedding + n_features, embedding)
        self.reward_head = perceptron(embedding + n_features, 1)
        self.value_head = perceptron(embedding, 1)

    def embed(self, z: Tensor) -> Tensor:
        """Return the embeddings of features (B, d); (B, e)."""
        embedding: Tensor = self.encoder(z)
        return embedding

    def value(self, z: Tensor) -> Tensor:
        """Return (1 - gamma) times the expected discounted rewards (B,) from features (B, d) on."""
        value: Tensor = self.value_head(self.embed(z)).squeeze(1)
        return value

    def unroll(self, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Predict rewards and values along actions.

        Args:
            z: (B, d) features.
            actions: (B, k, d) actions.

        Returns:
            Rewards (B, k), and values before each action (B, k).
        """
        latent = [self.embed(z)]  # (B, e) each
        for action in actions[:, :-1].unbind(1):
            latent.append(latent[-1] + self.transition(torch.cat([latent[-1], action], dim=1)))
        latents = torch.stack(latent, dim=1)  # (B, k, e)
        rewards = self.reward_head(torch.cat([latents, actions], dim=2))  # (B, k, 1)
        return rewards.squeeze(2), self.value_head(latents).squeeze(2)


def train_value_prediction(
    batch: TrajectoryBatch,
    space: DesignSpace,
    config: VPNConfig | None = None,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
    terminal: bool = False,
) -> ValuePredictionNetwork:
    """Train a value-prediction network on trajectories with actions.

    Train it on trajectories through all visible designs (p = 100), whatever percentiles are
    compared: in a narrow top band the scores hardly differ, so a short training learns nothing. On
    a CPU the same seed gives the same network.

    Args:
        batch: (B, T) transitions with features (d).
        space: Design space; decides the default length of an embedding.
        config: Settings; None for the defaults.
        seed: Seed of initial weights and mini-batches. No global random state changes.
        device: Device of the network: ``cpu``, ``cuda``, ...
        progress: Observer of the training; gets the losses.
        terminal: Whether the last transition of a trajectory is terminal, with value 0 (otherwise
            it is a time-out, where the value of the slow copy counts).

    Returns:
        The trained network on `device`, its weights frozen.

    Raises:
        ValueError: The trajectories have no actions.
    """
    config = config or VPNConfig()
    actions, _ = batch.require_actions()
    b, horizon, d = actions.shape
    size = config.embedding or (8 if isinstance(space, CategoricalSpace) else 32)
    weights = torch.Generator(device).manual_seed(seed)
    network = ValuePredictionNetwork(d, size, config.hidden, weights)
    if config.steps == 0:
        return network.requires_grad_(False)
    generator = torch.Generator(actions.device).manual_seed(seed)
    trainer = Trainer(
        network,
        TrainingConfig.plain(config.steps, config.batch_size, config.learning_rate, decay="none"),
        stage="value_prediction",
        description="training value prediction",
        progress=progress,
    )
    n = (config.batch_size,)
    slow = network
    for step in trainer.steps():
        if step % config.target_every == 0:
            slow = copy.deepcopy(network).requires_grad_(False)
        row = torch.randint(b, n, generator=generator, device=actions.device)
        t = torch.randint(horizon, n, generator=generator, device=actions.device)
        windows = _windows(batch, row, t, config.unroll).to(device)
        reward_loss, value_loss = _losses(network, slow, windows, config.discount, terminal)
        trainer.update(reward_loss + value_loss, reward_loss=reward_loss, value_loss=value_loss)
    trainer.finish()
    return network


@dataclass(frozen=True, eq=False)
class _Windows:
    """n windows of k steps; actions and rewards past a trajectory's end are not valid."""

    start: Tensor  # (n, d) first design
    actions: Tensor  # (n, k, d)
    rewards: Tensor  # (n, k)
    valid: Tensor  # (n, k) whether the step lies within the trajectory
    end: Tensor  # (n, d) design after the last valid step
    ended: Tensor  # (n,) whether that is the trajectory's last

    def to(self, device: str) -> _Windows:
        return _Windows(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def _windows(batch: TrajectoryBatch, row: Tensor, t: Tensor, k: int) -> _Windows:
    """Cut windows that start at step t (n,) of trajectories row (n,)."""
    actions, rewards = batch.require_actions()
    horizon = batch.horizon
    steps = t.unsqueeze(1) + torch.arange(k, device=t.device)  # (n, k)
    inside, rows = steps.clamp_max(horizon - 1), row.unsqueeze(1)
    end = (t + k).clamp_max(horizon)
    return _Windows(
        batch.z[row, t],
        actions[rows, inside],
        rewards[rows, inside],
        steps < horizon,
        batch.z[row, end],
        end == horizon,
    )


def _losses(
    network: ValuePredictionNetwork,
    slow: ValuePredictionNetwork,
    windows: _Windows,
    discount: float,
    terminal: bool,
) -> tuple[Tensor, Tensor]:
    """Return the mean squared errors () of rewards and values over the valid steps."""
    with torch.no_grad():
        beyond = slow.value(windows.end)
        if terminal:
            beyond = beyond.masked_fill(windows.ended, 0.0)
        target = _value_targets(windows.rewards, windows.valid, beyond, discount)
    rewards, values = network.unroll(windows.start, windows.actions)
    weight = windows.valid / windows.valid.sum()
    return ((rewards - windows.rewards).square() * weight).sum(), (
        (values - target).square() * weight
    ).sum()


def _value_targets(rewards: Tensor, valid: Tensor, beyond: Tensor, discount: float) -> Tensor:
    """Return the scaled n-step returns (n, k).

    Args:
        rewards: (n, k) rewards.
        valid: (n, k) whether a step lies within the trajectory.
        beyond: (n,) values after the valid steps.
        discount: Discount gamma.
    """
    targets = []
    for reward, inside in zip(reversed(rewards.unbind(1)), reversed(valid.unbind(1)), strict=True):
        beyond = torch.where(inside, (1 - discount) * reward + discount * beyond, beyond)
        targets.append(beyond)
    return torch.stack(targets[::-1], dim=1)


def _perceptron(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
