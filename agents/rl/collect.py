"""Episodes for the offline-RL learner of policy-guided search, from the data or from random steps.

From the data: trajectories of visible designs (`mbo_gym.trajectories`) with the steps that would
lead along them. Their scores are true, but most such steps are larger than an action can be, so
that the recorded next state is not where the action leads. From random steps (``rollout``): the
action did lead to the next state, and the judge says what that was worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agents.rl.data import Episodes
from agents.rl.process import SearchProcess
from mbo_gym.encoders.base import Encoder
from mbo_gym.envs.dynamics import action_between
from mbo_gym.problem.task import OfflineProblem
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
            the scores of visible designs.
        p: Percent of the visible designs, the best ones, that episodes come from or start at.
        horizon: T, steps of an episode.
        n_trajectories: Number of episodes.
        reward: ``difference`` of the visible scores (the paper's; not with rollouts, whose designs
            have none), ``surrogate_difference`` of the judge's values, ``distance_to_best``: how
            much nearer the best visible design is, in root mean square standard deviations,
            ``n_step``: the difference, added up over `n_step` steps.
        standardise_rewards: Divide rewards by their standard deviation.
        outside: Steps that are too large: ``clip``, or ``zero`` as in the released program.
        train_scale: Largest step in the trajectories where it is not that of the search, as in the
            released program.
        terminal: Whether an episode's last transition ends the world.
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
                f"reward={self.reward!r} needs scores, which only visible designs have: with trajectories='rollout' it "
                "can be 'surrogate_difference' or 'distance_to_best'"
            )

    @property
    def needs_scores(self) -> bool:
        """Whether the reward is made of the scores of visible designs."""
        return self.reward in ("difference", "n_step")


def make_episodes(
    problem: OfflineProblem,
    encoder: Encoder,
    process: SearchProcess,
    config: EpisodeConfig,
    generator: torch.Generator,
) -> Episodes:
    """Return `config.n_trajectories` episodes on the CPU.

    Args:
        problem: What a method may know.
        encoder: Maps designs to features.
        process: What steps do and are worth.
        config: See `EpisodeConfig`.
        generator: Source of randomness, on the CPU.

    Raises:
        InvalidData: The best `p` percent hold too few designs.
    """
    trajectories = config.trajectories or ("random" if config.needs_scores else "rollout")
    best = torch.from_numpy(encoder.encode(problem.dataset.x[problem.dataset.top_rows(1)])).to(
        process.device
    )
    if trajectories == "rollout":
        observations, actions, worth = _roll_out(problem, encoder, process, config, generator, best)
    else:
        sampler = SAMPLERS[_SAMPLER[trajectories]]
        batch = sampler(
            problem, encoder, config.p, config.n_trajectories, config.horizon, generator
        )
        observations, actions, worth = _along(batch, process, config, best)
    rewards = worth.diff(dim=1)
    if config.standardise_rewards:
        rewards = rewards / rewards.std().clamp_min(1e-12)
    return Episodes(observations.cpu(), actions.cpu(), rewards.cpu(), terminal=config.terminal)


def _roll_out(
    problem: OfflineProblem,
    encoder: Encoder,
    process: SearchProcess,
    config: EpisodeConfig,
    generator: torch.Generator,
    best: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take random steps: each episode has a mean step in [0, 1] of its own and a share of noise of
    its own."""
    top = top_rows_of_percentile(problem, config.p)
    rows = top[torch.randint(len(top), (config.n_trajectories,), generator=generator).numpy()]
    z = torch.from_numpy(encoder.encode(problem.dataset.x[rows])).to(process.device)
    mean, noise = torch.rand(2, len(z), 1, generator=generator)
    low = 0.0 if process.config.sign == "positive" else -1.0
    observations, actions, worth = [], [], [_worth(z, process, config, best)]
    for t in range(config.horizon):
        observation, direction = process.look(z, 1 - t / config.horizon)
        uniform = low + (1 - low) * torch.rand(len(z), process.n_actions, generator=generator)
        action = process.action(mean * (1 - noise) + noise * uniform)
        z = process.move(z, direction, action.to(process.device))
        observations.append(observation.cpu())
        actions.append(action)
        worth.append(_worth(z, process, config, best))
    observations.append(process.look(z, 0.0)[0].cpu())
    return torch.stack(observations, dim=1), torch.stack(actions, dim=1), torch.stack(worth, dim=1)


def _along(
    batch: TrajectoryBatch, process: SearchProcess, config: EpisodeConfig, best: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the policy would see along trajectories of visible designs, and the steps that
    lead along them."""
    assert batch.rows is not None
    rows, number = torch.unique(batch.rows, return_inverse=True)  # each design is looked at once
    table = batch.z.new_empty(len(rows), batch.z.shape[2])
    table[number] = batch.z
    table = table.to(process.device)
    looks = [process.look(part, 0.0) for part in torch.split(table, 1 << 13)]
    observations = torch.cat([observation for observation, _ in looks]).cpu()[number]  # (B, T+1, o)
    if process.config.state == "guided":
        observations[..., -1] = torch.linspace(1, 0, config.horizon + 1)
    direction = torch.cat([direction for _, direction in looks]).cpu()[number[:, :-1]]  # (B, T, d)
    scale = process.scale.cpu() if config.train_scale is None else torch.tensor(config.train_scale)
    start, end = batch.z[:, :-1], batch.z[:, 1:]
    if process.config.step == "vector":
        step = action_between(start, end, direction, scale, config.outside)
    else:  # the step along the direction that ends nearest to the next design
        reach = scale * direction
        length = reach.square().sum(dim=2, keepdim=True).clamp_min(1e-12)
        step = ((end - start) * reach).sum(dim=2, keepdim=True) / length
        if config.outside == "zero":
            step = torch.where(step.abs() > 1, 0.0, step)
    if config.needs_scores:
        return observations, process.action(step), batch.y
    return observations, process.action(step), _worth(table, process, config, best).cpu()[number]


def _worth(z: Tensor, process: SearchProcess, config: EpisodeConfig, best: Tensor) -> Tensor:
    """Return (B,) whose differences are the rewards: the judge's value, or minus the distance to
    the best design."""
    if config.reward == "distance_to_best":
        return -(z - best).square().mean(dim=1).sqrt().cpu()
    return process.value(z).cpu()
