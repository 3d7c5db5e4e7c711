"""The diffusion model of trajectories that GTG samples from: p(steps | scores, first steps)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffusion.core.denoiser import Denoiser
from diffusion.core.guidance import clipped, conditional, inpainted, unconditional
from diffusion.core.losses import denoising_loss
from diffusion.core.networks import TemporalUNet
from diffusion.core.samplers import Denoise, ddim, start_noise
from diffusion.core.schedule import levels
from diffusion.models.config import SCHEDULES, DiffusionConfig, SamplerName
from mbo_gym.files.weights import save_weights
from mbo_gym.nn.training import train
from mbo_gym.nn.weights import seeded
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["TrajectoryModel", "TrajectoryModelConfig"]


@dataclass(frozen=True)
class TrajectoryModelConfig(DiffusionConfig):
    """Settings of a model of trajectories: its network, what it is given, and what all diffusion
    methods share.

    Args:
        horizon: H, designs of a trajectory.
        width: Channels of the network's finest level.
        multipliers: Of the width, for each coarser level.
        score_channel: Whether scores are a channel of the trajectories beside the features, sampled
            with them (the paper's). Guidance then fades as noise goes: once a high score stands in
            the channel, the model without condition sees it too. `condition` "none" needs it for
            nothing, ``mean`` and ``profile`` do without.
        score_weight: Weight of the score's channel in the loss; features have 1.
        condition: What scores the model is given: the ``mean`` over the trajectory (the paper's),
            each step's own (``profile``), or ``none`` (what every configuration of the released
            program does: its guidance is never switched on).
        context: How the model knows the first steps: ``trained`` (they stand clean beside the
            noised ones, in training for a length drawn anew for each trajectory), ``renoised`` (in
            sampling alone, with the noise of the level), ``clean`` (the released program: clean
            values among noised ones, as the model never saw them), or ``none``.
        context_length: C, below the horizon.
        start_scale: Factor on the noise that sampling starts from.
        released_noise: Sample in ancestral steps with half the noise times its own deviation (the
            released program's).
    """

    drop_condition: float = 0.25
    train_steps: int = 800
    batch_size: int = 64
    learning_rate: float = 2e-3
    sampler: SamplerName = "dpm_solver_2m"
    sample_steps: int = 10
    guidance: float = 4.0
    horizon: int = 16
    width: int = 96
    multipliers: tuple[int, ...] = (1,)
    score_channel: bool = False
    score_weight: float = 1.0
    condition: Literal["profile", "mean", "none"] = "profile"
    context: Literal["trained", "renoised", "clean", "none"] = "trained"
    context_length: int = 8
    start_scale: float = 1.0
    released_noise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "horizon", "width")
        require_at_least(self, 0, "score_weight", "context_length")
        if self.context_length >= self.horizon:
            raise ValueError(
                f"context_length must be below {self.horizon=}, got {self.context_length}"
            )


class TrajectoryModel:
    """A denoiser of trajectories, trained once and then sampled after contexts and under scores.

    Trajectories are (N, H, d + 1): d features and, last, the standardised score.

    Args:
        config: Its settings.
        n_features: d.
        seed: Of the first weights and of the training.
        device: Where it lives.
    """

    def __init__(
        self, config: TrajectoryModelConfig, n_features: int, *, seed: int, device: str
    ) -> None:
        self._config, self._n_features, self._seed, self._device = config, n_features, seed, device
        self._channels = n_features + config.score_channel
        conditional = config.condition != "none"
        with seeded(seed):
            network = TemporalUNet(
                self._channels,
                width=config.width,
                multipliers=config.multipliers,
                n_conditions=(2 if config.flag else 1) if conditional else 0,
                n_extra=self._channels + 1 if config.context == "trained" else 0,
            )
        self._denoiser = Denoiser(
            network,
            config.parameterisation,
            n_conditions=1 if conditional else 0,
            flag=config.flag,
            per_step=config.condition == "profile",
        ).to(device)
        self._box: tuple[Tensor, Tensor] | None = None

    def fit(
        self, trajectories: Tensor, box: tuple[Tensor, Tensor], *, data: str, progress: Progress
    ) -> None:
        """Train on trajectories (N, H, d + 1).

        Args:
            trajectories: On the model's device.
            box: Lowest and highest features (d,), (d,) of the visible designs.
            data: What tells these data from others, e.g. their hash: a checkpoint of other data is
                refused.
            progress: Shows how far it is.
        """
        config, score, data_of = (
            self._config,
            trajectories[:, :, -1:],
            trajectories[:, :, : self._channels],
        )
        if config.bounds == "data":
            free = box[0].new_full(
                (self._channels - self._n_features,), torch.inf
            )  # the score's channel
            self._box = torch.cat([box[0], -free]), torch.cat([box[1], free])
        weight = torch.ones(self._channels, device=self._device)
        if config.score_channel:
            weight[-1] = config.score_weight

        def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            x, n = data_of[rows], len(rows)
            keep = None
            if config.condition != "none":
                keep = torch.rand(n, generator=generator, device=x.device) >= config.drop_condition
            known, extra = None, None
            if config.context == "trained":
                length = torch.randint(
                    config.context_length + 1, (n,), generator=generator, device=x.device
                )
                known = (torch.arange(config.horizon, device=x.device) < length[:, None])[
                    :, :, None
                ]
                extra = _context_channels(x, known)
            return denoising_loss(
                self._denoiser,
                x,
                config.draw_levels(n, generator),
                torch.randn(x.shape, generator=generator, device=x.device),
                condition=self._condition(score[rows]),
                keep=keep,
                extra=extra,
                known=known,
                channel_weight=weight,
            )

        train(
            self._denoiser,
            loss,
            len(trajectories),
            config.training(),
            seed=self._seed,
            device=self._device,
            progress=progress,
            checkpoints=None if config.checkpoints is None else Path(config.checkpoints),
            facts={**asdict(config), "data": data},
        )

    def sample(self, context: Tensor, target: float, generator: torch.Generator) -> Tensor:
        """Sample what follows on contexts, under a score.

        Args:
            context: (n, H, d + 1) trajectories whose first C steps are given; the rest is not
                looked at.
            target: Standardised score asked for at every further step.
            generator: Source of randomness, on the model's device.

        Returns:
            (n, H, d) trajectories, contexts included, or (n, H, d + 1) with a channel of scores.
        """
        config = self._config
        known = torch.arange(config.horizon, device=self._device)[:, None] < config.context_length
        if config.context == "none":
            known = torch.zeros_like(known)
        score = torch.where(known, context[:, :, -1:], target)
        context = context[:, :, : self._channels]
        rungs = levels(SCHEDULES[config.schedule], config.sample_steps)
        noise = torch.randn(context.shape, generator=generator, device=self._device)
        z = start_noise(tuple(context.shape), float(rungs[0]), generator, scale=config.start_scale)
        denoise = self._guided(self._condition(score), context, known, noise)
        if config.released_noise:
            out = ddim(denoise, z, rungs, generator, eta=1.0, temperature=_released_temperature)
        else:
            out = config.sample(denoise, z, rungs, generator)
        return context.where(known, out)

    def _condition(self, score: Tensor) -> Tensor | None:
        """Return what the model is given of scores (B, H, 1)."""
        if self._config.condition == "none":
            return None
        return score if self._config.condition == "profile" else score.mean(dim=1)

    def _guided(
        self, condition: Tensor | None, context: Tensor, known: Tensor, noise: Tensor
    ) -> Denoise:
        """Return the denoiser with guidance and context."""
        config = self._config
        extra = (
            _context_channels(context, known.expand(*context.shape[:2], 1))
            if config.context == "trained"
            else None
        )
        if condition is None:
            denoise = unconditional(self._denoiser, extra=extra)
        else:
            denoise = conditional(self._denoiser, condition, weight=config.guidance, extra=extra)
        if self._box is not None:
            denoise = clipped(denoise, *self._box)
        if config.context == "trained":
            return lambda z, s: context.where(known, denoise(context.where(known, z), s))
        if config.context == "clean":
            return lambda z, s: denoise((context * (1 + s**2).sqrt()).where(known, z), s)
        if config.context == "renoised":
            return inpainted(denoise, context, known, noise)
        return denoise

    def save(self, folder: Path) -> None:
        """Write the weights that samples are drawn with."""
        save_weights(folder / "denoiser.safetensors", self._denoiser.state_dict())


def _released_temperature(deviation: Tensor, level: Tensor) -> Tensor:
    """Return half the deviation that a step's noise has in the variance-preserving process."""
    return 0.5 * deviation / (1 + level**2).sqrt()


def _context_channels(x: Tensor, known: Tensor) -> Tensor:
    """Return the clean values of known steps, zeros elsewhere, and which they are; (B, H, C +
    1)."""
    return torch.cat([x * known, known.to(x)], dim=2)
