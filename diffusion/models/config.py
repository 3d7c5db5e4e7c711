"""Settings that all diffusion methods share: noise levels, training and sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from diffusion.core.denoiser import Parameterisation
from diffusion.core.samplers import SAMPLERS, Denoise, euler_maruyama
from diffusion.core.schedule import (
    Cosine,
    Karras,
    Schedule,
    VPLinear,
    drawn_levels,
    log_normal_levels,
)
from mbo_gym.nn.training import TrainingConfig
from mbo_gym.settings import require_at_least

__all__ = ["SCHEDULES", "DiffusionConfig", "SamplerName", "ScheduleName", "Watch"]

ScheduleName = Literal["karras", "vp", "vp_mild", "cosine"]
SamplerName = Literal["heun", "ddim", "dpm_solver_2m", "euler_maruyama"]
Watch = Callable[[int, Tensor], None]

SCHEDULES: dict[ScheduleName, Schedule] = {
    "karras": Karras(0.01, 80.0),
    "vp": VPLinear(0.1, 20.0),
    "vp_mild": VPLinear(0.01, 2.0),
    "cosine": Cosine(),
}
"""Noise schedules by name; ``vp_mild`` is the one that DDOM's and DEMO's released programs run."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of noise, training and sampling.

    Args:
        encoder: Name of the encoder; None for ``z_score`` on continuous designs and
            ``z_score_one_hot`` on categorical ones.
        parameterisation: What the network returns, see `diffusion.core.denoiser`.
        schedule: Noise schedule.
        draw: Levels in training: ``log_normal``, or ``schedule`` for times drawn uniformly.
        level_mean: Of the logarithm of the level, for ``log_normal``.
        level_std: Of the same.
        drop_condition: Share of rows trained without their condition.
        flag: Tell the network which rows these are; without it they look like the mean (DDOM's
            program).
        train_steps: Gradient updates.
        batch_size: Rows an update.
        learning_rate: Adam's, at its highest.
        warm_up: Updates over which it rises to that.
        decay: Then ``cosine`` to 0, or ``none``.
        ema: Decay of the moving average of the weights that samples are drawn with; 0 for the last
            weights.
        clip: Largest norm of the gradient; 0 for no limit.
        precision: Of products in training: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 on a
            GPU alone.
        compile: Whether training goes through `torch.compile`; ``auto`` for on a GPU alone.
        guidance: w of classifier-free guidance, (1 + w) conditional - w unconditional.
        sampler: Name of the sampler.
        sample_steps: Its steps.
        bounds: ``data``: estimates are clipped at each step to the box that the visible designs
            span, or ``none``.
        checkpoints: Folder in which a stopped training leaves its state and goes on from; None for
            none.
    """

    encoder: str | None = None
    parameterisation: Parameterisation = "edm"
    schedule: ScheduleName = "karras"
    draw: Literal["log_normal", "schedule"] = "log_normal"
    level_mean: float = -0.5
    level_std: float = 1.6
    drop_condition: float = 0.15
    flag: bool = True
    train_steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 2e-3
    warm_up: int = 100
    decay: Literal["cosine", "none"] = "cosine"
    ema: float = 0.999
    clip: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    guidance: float = 2.0
    sampler: SamplerName = "heun"
    sample_steps: int = 18
    bounds: Literal["none", "data"] = "data"
    checkpoints: str | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "sample_steps")
        require_at_least(self, 0, "level_std", "guidance")
        if not 0 <= self.drop_condition < 1:
            raise ValueError(f"drop_condition is a share in [0, 1), got {self.drop_condition!r}")
        self.training()  # checks the rest

    def training(self) -> TrainingConfig:
        """Return the trainer's part of the settings."""
        shared = {f.name for f in fields(TrainingConfig)} & {
            f.name for f in fields(DiffusionConfig)
        }
        return TrainingConfig(
            steps=self.train_steps, **{name: getattr(self, name) for name in shared}
        )

    def draw_levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` noise levels for training; (n,)."""
        if self.draw == "schedule":
            return drawn_levels(SCHEDULES[self.schedule], n, generator)
        return log_normal_levels(n, generator, mean=self.level_mean, std=self.level_std)

    def sample(
        self,
        denoise: Denoise,
        z: Tensor,
        rungs: Tensor,
        generator: torch.Generator,
        watch: Watch | None = None,
    ) -> Tensor:
        """Follow a denoiser from z (B, ..) at the first of the levels to the last.

        Args:
            denoise: D with its guidance.
            z: (B, ..).
            rungs: Levels (n + 1,).
            generator: Source of randomness, on z's device.
            watch: Called with the number of the call and the estimates (B, ..) whenever D is.
        """
        seen = denoise if watch is None else _watched(denoise, watch)
        if self.sampler == "euler_maruyama":
            return euler_maruyama(seen, z, rungs, generator)
        return SAMPLERS[self.sampler](seen, z, rungs)


def _watched(denoise: Denoise, watch: Watch) -> Denoise:
    calls = 0

    def seen(z: Tensor, s: Tensor) -> Tensor:
        nonlocal calls
        estimate = denoise(z, s)
        watch(calls, estimate)
        calls += 1
        return estimate

    return seen
