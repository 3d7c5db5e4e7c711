"""Settings that all diffusion methods share: noise levels and sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffusion.core.samplers import SAMPLERS, Denoise, euler_maruyama
from diffusion.core.schedule import (
    Cosine,
    Karras,
    Schedule,
    VPLinear,
    drawn_levels,
    log_normal_levels,
)
from mbo_gym.settings import require_at_least

__all__ = ["SCHEDULES", "NoiseConfig", "SamplerName", "SamplingConfig", "ScheduleName", "Watch"]

ScheduleName = Literal["karras", "vp", "vp_mild", "cosine"]
SamplerName = Literal["heun", "ddim", "dpm_solver_2m", "euler_maruyama"]
Watch = Callable[[int, Tensor], None]

SCHEDULES: dict[ScheduleName, Schedule] = {
    "karras": Karras(0.01, 80.0),
    "vp": VPLinear(0.1, 20.0),
    "vp_mild": VPLinear(0.01, 2.0),
    "cosine": Cosine(),
}
"""Noise schedules by name; the released programs of DDOM and DEMO use ``vp_mild``."""


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of the noise levels.

    Args:
        schedule: Noise schedule.
        draw: Levels in training: ``log_normal``, or ``schedule`` for times drawn uniformly.
        level_mean: Mean of the logarithm of the level, for ``log_normal``.
        level_std: Standard deviation of the logarithm of the level, for ``log_normal``.
    """

    schedule: ScheduleName = "karras"
    draw: Literal["log_normal", "schedule"] = "log_normal"
    level_mean: float = -0.5
    level_std: float = 1.6

    def __post_init__(self) -> None:
        require_at_least(self, 0, "level_std")

    def draw_levels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` noise levels for training; (n,)."""
        if self.draw == "schedule":
            return drawn_levels(SCHEDULES[self.schedule], n, generator)
        return log_normal_levels(n, generator, mean=self.level_mean, std=self.level_std)


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of the sampling.

    Args:
        guidance: Weight w of classifier-free guidance, (1 + w) conditional - w unconditional.
        sampler: Name of the sampler.
        sample_steps: Steps of the sampler.
        bounds: ``data``: estimates are clipped at each step to the box that the designs trained on
            span, or ``none``.
    """

    guidance: float = 2.0
    sampler: SamplerName = "heun"
    sample_steps: int = 18
    bounds: Literal["none", "data"] = "data"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "sample_steps")
        require_at_least(self, 0, "guidance")

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
            denoise: Denoiser D with its guidance.
            z: (B, ..) start.
            rungs: Levels (n + 1,).
            generator: Source of randomness, on the device of z.
            watch: Called whenever D is, with the number of the call and the estimates (B, ..).
        """
        seen = denoise if watch is None else _watched(denoise, watch)
        if self.sampler == "euler_maruyama":
            return euler_maruyama(seen, z, rungs, generator)
        return SAMPLERS[self.sampler](seen, z, rungs)


def require_share(config: object, *names: str) -> None:
    """Raise ValueError unless the named fields of a config lie in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ValueError(f"{name} is a share in [0, 1), got {value!r}")


def _watched(denoise: Denoise, watch: Watch) -> Denoise:
    calls = 0

    def seen(z: Tensor, s: Tensor) -> Tensor:
        nonlocal calls
        estimate = denoise(z, s)
        watch(calls, estimate)
        calls += 1
        return estimate

    return seen
