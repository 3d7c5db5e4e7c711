"""Episodes for the offline-RL learner of policy-guided search, from data or from random steps.

From data: trajectories of visible designs with the steps that would lead along them. Their scores
are true, but most steps are larger than an action can be, so the action does not lead to the
recorded next state. From random steps (``rollout``): the action leads to the next state, and the
judge rewards it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agents.rl.data import Episodes
from mbo_gym.envs.dynamics import action_between
from mbo_gym.envs.process import Process
from mbo_gym.envs.rollout import roll_out
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import SAMPLERS, top_rows_of_percentile

__all__ = ["EpisodeConfig", "make_episodes"]

_SAMPLER = {"random": "random_top", "sorted": "sorted_top", "local": "local_improving"}


@dataclass(frozen=True)
class EpisodeConfig:
    """Settings of the episodes.

    Args:
        trajectories: ``random`` (the paper's): designs of the best `p` percent in random order;
            ``sorted``: the same, worst first; ``local``: near neighbours that improve; ``rollout``:
            random steps from such designs. None for rollout, and for random where the reward needs
            visible scores.
        p: Percent of the visible designs, the best ones, that episodes come from or start at.
        horizon: T, steps of an episode.
        n_trajectories: Number of episodes.
        reward: ``difference`` of the visible scores (the paper's; not with rollouts, whose designs
            have none); ``surrogate_difference`` of the judge's values; ``distance_to_best``: the
            approach to the best visible design, in root mean square standard deviations;
            ``n_step``: the difference, added up over the learner's `n_step` steps.
        standardise_rewards: Whether rewards are divided by their standard deviation.
        outside: Steps that are too large are clipped (``clip``) or set to 0 (``zero``, the released
            program's).
        train_scale: Largest step in the trajectories; None for that of the environment. The
            released program has another.
        terminal: Whether the last transition of an episode is terminal (otherwise it is a
            time-out).
    """

    trajectories: Literal["random", "sorted", "local", "rollout"] | None = None
    p: float = 20.0
    horizon: int = 50
    n_trajectories: int = 1000
    reward: Literal["difference", "surrogate_difference", "distance_to_best", "n_step"] = (
        "surrogate_difference"
    )
    standardise_rewards: bool = True
    outside: Literal["clip", "zero"] = "clip"
    train_scale: float | None = None
    terminal: bool = False

    def __post_init__(self) -> None:
        require_at_least(self, 1, "horizon", "n_trajectories")
        if not 0 < self.p <= 100:
            raise ValueError(f"p is a percentage in (0, 100], got {self.p}")
        if self.train_scale is not None and self.train_scale <= 0:
            raise ValueError(f"train_scale must be positive, got {self.train_scale}")
        if self.trajectories == "rollout" and self.needs_scores:
            raise ValueError(
                f"reward={self.reward!r} needs scores, which only visible designs have: with "
                "trajectories='rollout' it can be 'surrogate_difference' or 'distance_to_best'"
            )

    @property
    def needs_scores(self) -> bool:
        """Whether the reward is a difference of visible scores."""
        return self.reward in ("difference", "n_step")


def make_episodes(process: Process, config: EpisodeConfig, generator: torch.Generator) -> Episodes:
    """Return `config.n_trajectories` episodes on the CPU.

    Args:
        process: Decision process of the environment.
        config: Settings.
        generator: Source of randomness, on the CPU.

    Raises:
        InvalidData: The best `p` percent hold too few designs.
    """
    trajectories = config.trajectories or ("random" if config.needs_scores else "rollout")
    if trajectories == "rollout":
        observations, actions, worth = _roll_out(process, config, generator)
    else:
        sampler = SAMPLERS[_SAMPLER[trajectories]]
        batch = sampler(
            process.problem,
            process.encoder,
            config.p,
            config.n_trajectories,
            config.horizon,
            generator,
        )
        observations, actions, worth = _along(batch, batch.require_rows(), process, config)
    rewards = worth.diff(dim=1)
    if config.standardise_rewards:
        rewards = rewards / rewards.std().clamp_min(1e-12)
    return Episodes(observations.cpu(), actions.cpu(), rewards.cpu(), terminal=config.terminal)


def _roll_out(
    process: Process, config: EpisodeConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Take random steps; each episode has its own mean step in [0, 1] and share of noise.

    Returns:
        Observations (B, T+1, o), actions (B, T, m), and what rewards are differences of (B, T+1).
    """
    problem = process.problem
    top = top_rows_of_percentile(problem, config.p)
    rows = top[torch.randint(len(top), (config.n_trajectories,), generator=generator).numpy()]
    z = torch.from_numpy(process.encoder.encode(problem.dataset.x[rows])).to(process.device)
    mean, noise = torch.rand(2, len(z), 1, generator=generator)  # (B, 1) each
    low = 0.0 if process.config.sign == "positive" else -1.0

    def steps(observations: Tensor) -> Tensor:
        uniform = low + (1 - low) * torch.rand(len(z), process.n_actions, generator=generator)
        return process.dynamics.action(mean * (1 - noise) + noise * uniform)

    state = process.at(z, horizon=config.horizon)
    taken, _ = roll_out(process, state, steps, config.horizon)
    worth = taken.values
    if config.reward == "distance_to_best":
        worth = _nearness(taken.z.flatten(0, 1), _best(process)).view(worth.shape)
    return taken.observations.cpu(), taken.actions.cpu(), worth.cpu()


def _along(
    batch: TrajectoryBatch, rows: Tensor, process: Process, config: EpisodeConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return observations along trajectories of visible designs, and the steps that lead along.

    Args:
        batch: Trajectories.
        rows: (B, T+1) visible rows of their designs.
        process: Decision process of the environment.
        config: Settings.
    """
    distinct, number = torch.unique(rows, return_inverse=True)  # each design is looked at once
    table = batch.z.new_empty(len(distinct), batch.z.shape[2])  # (N, d)
    table[number] = batch.z
    table = table.to(process.device)
    looks = [process.look(part, 0.0) for part in torch.split(table, 1 << 13)]
    observations = torch.cat([look.observation for look in looks]).cpu()[number]  # (B, T+1, o)
    if process.config.observation == "guided":
        observations[..., -1] = torch.linspace(1, 0, config.horizon + 1)
    directions = torch.cat([look.direction for look in looks if look.direction is not None])
    direction = directions.cpu()[number[:, :-1]]  # (B, T, d)
    scale = process.scale.cpu() if config.train_scale is None else torch.tensor(config.train_scale)
    start = batch.z[:, :-1]
    end = batch.z[:, 1:]
    if process.config.step == "vector":
        step = action_between(start, end, direction, scale, config.outside)  # (B, T, d)
    else:
        step = _scalar_step(end - start, scale * direction, config.outside)  # (B, T, 1)
    if config.needs_scores:
        worth = batch.y
    elif config.reward == "distance_to_best":
        worth = _nearness(table, _best(process)).cpu()[number]
    else:
        worth = process.value(table).cpu()[number]
    return observations, process.dynamics.action(step), worth


def _scalar_step(way: Tensor, reach: Tensor, outside: Literal["clip", "zero"]) -> Tensor:
    """Return the share (.., 1) of `reach` (.., d) that ends nearest to the end of `way` (.., d)."""
    length = reach.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)
    step = (way * reach).sum(dim=-1, keepdim=True) / length
    return torch.where(step.abs() > 1, 0.0, step) if outside == "zero" else step


def _best(process: Process) -> Tensor:
    """Return the features (1, d) of the best visible design."""
    dataset = process.problem.dataset
    z = process.encoder.encode(dataset.x[dataset.top_rows(1)])
    return torch.from_numpy(z).to(process.device)


def _nearness(z: Tensor, best: Tensor) -> Tensor:
    """Return minus the distance (N,) of features (N, d) to the best visible design (1, d)."""
    return -(z - best).square().mean(dim=1).sqrt()
