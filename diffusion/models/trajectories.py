"""The diffusion model of trajectories of GTG: p(steps | scores, first steps)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffusion.core.denoiser import Denoiser, Parameterisation
from diffusion.core.guidance import clipped, conditional, inpainted, unconditional
from diffusion.core.losses import denoising_loss
from diffusion.core.networks import TemporalUNet
from diffusion.core.samplers import Denoise, ddim, start_noise
from diffusion.core.schedule import levels
from diffusion.models.config import SCHEDULES, NoiseConfig, SamplingConfig, require_share
from diffusion.models.saved import Box, load_denoiser, save_denoiser
from mbo_gym.methods.base import Context
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.nn.weights import seeded
from mbo_gym.settings import require_at_least

__all__ = ["SAMPLING", "TRAINING", "TrajectoryModel", "TrajectoryModelConfig"]

TRAINING = TrainingConfig(steps=800, batch_size=64, learning_rate=2e-3)
"""Default settings of the training of a `TrajectoryModel`."""

SAMPLING = SamplingConfig(guidance=4.0, sampler="dpm_solver_2m", sample_steps=10)
"""Default settings of the sampling from a `TrajectoryModel`."""


@dataclass(frozen=True)
class TrajectoryModelConfig:
    """Settings of a model of trajectories.

    Args:
        horizon: H, designs of a trajectory.
        width: Channels of the finest level of the network.
        multipliers: Factors on the width, for each coarser level.
        parameterisation: Output of the network, see `diffusion.core.denoiser`.
        drop_condition: Share of trajectories trained without their scores.
        flag: Whether the network is told which trajectories these are; without it they look like
            ones of the mean score.
        score_channel: Whether scores are a channel of the trajectories beside the features, sampled
            with them (the paper). Guidance then fades as noise goes: the model without condition
            sees a high score in the channel too.
        score_weight: Weight of the channel of scores in the loss; features have 1.
        condition: Scores that the model is given: the ``mean`` over the trajectory (the paper),
            that of each step (``profile``), or ``none`` (every configuration of the released
            program; its guidance is never switched on).
        context: Treatment of the first steps: ``trained`` (clean beside the noised ones, in
            training for a length drawn anew for each trajectory), ``renoised`` (in sampling alone,
            with the noise of the level), ``clean`` (the released program: clean values among noised
            ones, which the model never saw), or ``none``.
        context_length: C, number of first steps that are given; below the horizon.
        start_scale: Factor on the noise that sampling starts from.
        released_noise: Whether sampling takes ancestral steps with half the noise times its own
            deviation (the released program).
    """

    horizon: int = 16
    width: int = 96
    multipliers: tuple[int, ...] = (1,)
    parameterisation: Parameterisation = "edm"
    drop_condition: float = 0.25
    flag: bool = True
    score_channel: bool = False
    score_weight: float = 1.0
    condition: Literal["profile", "mean", "none"] = "profile"
    context: Literal["trained", "renoised", "clean", "none"] = "trained"
    context_length: int = 8
    start_scale: float = 1.0
    released_noise: bool = False

    def __post_init__(self) -> None:
        require_at_least(self, 1, "horizon", "width")
        require_at_least(self, 0, "score_weight", "context_length")
        require_share(self, "drop_condition")
        if self.context_length >= self.horizon:
            raise ValueError(
                f"context_length must be below {self.horizon=}, got {self.context_length}"
            )


class TrajectoryModel:
    """A denoiser of trajectories, sampled after contexts and under scores.

    Trajectories are (N, H, d + 1): d features and, last, the standardised score.

    Args:
        config: Settings of the model.
        noise: Settings of the noise levels.
        sampling: Settings of the sampling.
        n_features: Number of features d.
        context: Seed, device and progress of the training.
    """

    def __init__(
        self,
        config: TrajectoryModelConfig,
        noise: NoiseConfig,
        sampling: SamplingConfig,
        n_features: int,
        context: Context,
    ) -> None:
        self.config = config
        self.noise = noise
        self.sampling = sampling
        self.n_features = n_features
        self.context = context
        self._channels = n_features + config.score_channel
        conditional = config.condition != "none"
        with seeded(context.seed):
            network = TemporalUNet(
                self._channels,
                width=config.width,
                multipliers=config.multipliers,
                n_conditions=(2 if config.flag else 1) if conditional else 0,
                n_extra=self._channels + 1 if config.context == "trained" else 0,
            )
        self.denoiser = Denoiser(
            network,
            config.parameterisation,
            n_conditions=1 if conditional else 0,
            flag=config.flag,
            per_step=config.condition == "profile",
        ).to(context.device)
        self.box: Box | None = None

    def fit(
        self,
        trajectories: Tensor,
        box: Box,
        training: TrainingConfig,
        *,
        checkpoints: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on trajectories (N, H, d + 1).

        Args:
            trajectories: (N, H, d + 1) trajectories, on the device of the model.
            box: Lowest and highest features (d,), (d,) of the visible designs.
            training: Settings of the training.
            checkpoints: Folder of the checkpoint; None for none.
            facts: Everything else that decides the outcome; a checkpoint of others is refused.
        """
        config = self.config
        score = trajectories[:, :, -1:]  # (N, H, 1)
        clean = trajectories[:, :, : self._channels]  # (N, H, C)
        if self.sampling.bounds == "data":
            # Scores, where they are a channel, are not clipped.
            free = box[0].new_full((self._channels - self.n_features,), torch.inf)
            self.box = torch.cat([box[0], -free]), torch.cat([box[1], free])
        weight = torch.ones(self._channels, device=self.context.device)
        if config.score_channel:
            weight[-1] = config.score_weight

        def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            x = clean[rows]  # (B, H, C)
            n = len(rows)
            keep = None
            if config.condition != "none":
                keep = torch.rand(n, generator=generator, device=x.device) >= config.drop_condition
            known, extra = None, None
            if config.context == "trained":
                length = torch.randint(
                    config.context_length + 1, (n,), generator=generator, device=x.device
                )
                known = torch.arange(config.horizon, device=x.device) < length[:, None]
                known = known[:, :, None]  # (B, H, 1)
                extra = _context_channels(x, known)
            return denoising_loss(
                self.denoiser,
                x,
                self.noise.draw_levels(n, generator),
                torch.randn(x.shape, generator=generator, device=x.device),
                condition=self._condition(score[rows]),
                keep=keep,
                extra=extra,
                known=known,
                channel_weight=weight,
            )

        train(
            self.denoiser,
            loss,
            len(trajectories),
            training,
            seed=self.context.seed,
            device=self.context.device,
            progress=self.context.progress,
            checkpoints=None if checkpoints is None else Path(checkpoints),
            facts=facts,
        )

    def sample(self, context: Tensor, target: float, generator: torch.Generator) -> Tensor:
        """Sample the steps after contexts, under a score.

        Args:
            context: (n, H, d + 1) trajectories whose first C steps are given; the rest is ignored.
            target: Standardised score asked for at every further step.
            generator: Source of randomness, on the device of the model.

        Returns:
            (n, H, d) trajectories, contexts included, or (n, H, d + 1) with a channel of scores.
        """
        config = self.config
        device = self.context.device
        known = torch.arange(config.horizon, device=device)[:, None] < config.context_length
        if config.context == "none":
            known = torch.zeros_like(known)
        score = torch.where(known, context[:, :, -1:], target)
        context = context[:, :, : self._channels]
        rungs = levels(SCHEDULES[self.noise.schedule], self.sampling.sample_steps)
        noise = torch.randn(context.shape, generator=generator, device=device)
        z = start_noise(tuple(context.shape), float(rungs[0]), generator, scale=config.start_scale)
        denoise = self._guided(self._condition(score), context, known, noise)
        if config.released_noise:
            out = ddim(denoise, z, rungs, generator, eta=1.0, temperature=_released_temperature)
        else:
            out = self.sampling.sample(denoise, z, rungs, generator)
        return context.where(known, out)

    def _condition(self, score: Tensor) -> Tensor | None:
        """Return the condition of scores (B, H, 1)."""
        if self.config.condition == "none":
            return None
        return score if self.config.condition == "profile" else score.mean(dim=1)

    def _guided(
        self, condition: Tensor | None, context: Tensor, known: Tensor, noise: Tensor
    ) -> Denoise:
        """Return the denoiser with guidance and context."""
        config = self.config
        extra = (
            _context_channels(context, known.expand(*context.shape[:2], 1))
            if config.context == "trained"
            else None
        )
        if condition is None:
            denoise = unconditional(self.denoiser, extra=extra)
        else:
            denoise = conditional(
                self.denoiser, condition, weight=self.sampling.guidance, extra=extra
            )
        if self.box is not None:
            denoise = clipped(denoise, *self.box)
        if config.context == "trained":
            return lambda z, s: context.where(known, denoise(context.where(known, z), s))
        if config.context == "clean":
            return lambda z, s: denoise((context * (1 + s**2).sqrt()).where(known, z), s)
        if config.context == "renoised":
            return inpainted(denoise, context, known, noise)
        return denoise

    def save(self, folder: Path) -> None:
        """Write the weights and the box that samples are clipped to."""
        save_denoiser(folder, self.denoiser, self.box)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.box = load_denoiser(folder, self.denoiser, self.context.device)


def _released_temperature(deviation: Tensor, level: Tensor) -> Tensor:
    """Return half the deviation that a step's noise has in the variance-preserving process."""
    return 0.5 * deviation / (1 + level**2).sqrt()


def _context_channels(x: Tensor, known: Tensor) -> Tensor:
    """Return the clean values of known steps, zeros elsewhere, and which they are; (B, H, C +
    1)."""
    return torch.cat([x * known, known.to(x)], dim=2)
