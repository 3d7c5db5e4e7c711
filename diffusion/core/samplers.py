"""Samplers: pure functions that follow a denoiser from noise to designs.

All take z = x + s eps at the first of the levels s_0 > s_1 > .. > s_n >= 0 and return it at the
last. They follow the probability flow (EDM, equation 1 with s(t) = 1)

    dz/ds = (z - D(z; s)) / s

so with D exact, z at a lower level is distributed as noised data of that level. `denoise(z, s)` is
D with guidance wrapped around it (`diffusion.core.guidance`); an observer of the estimates wraps
it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = [
    "SAMPLERS",
    "Denoise",
    "ddim",
    "dpm_solver_2m",
    "euler_maruyama",
    "heun",
    "noised",
    "start_noise",
]

Denoise: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def noised(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Return x (B, ..) with noise of a level, where an edit starts."""
    return x + level * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def start_noise(
    shape: tuple[int, ...],
    level: float,
    generator: torch.Generator,
    *,
    sigma_data: float = 1.0,
    scale: float = 1.0,
) -> Tensor:
    """Draw the start of sampling, of standard deviation sqrt(sigma_data^2 + level^2).

    For a variance-preserving process this is the standard normal.

    Args:
        shape: (B, ..).
        level: The first level.
        generator: Source of randomness, on the device that the result is on.
        sigma_data: Standard deviation of the data.
        scale: Factor on all of it; GTG's released program starts at half.
    """
    width = scale * math.hypot(sigma_data, level)
    return width * torch.randn(shape, generator=generator, device=generator.device)


@torch.no_grad()
def euler_maruyama(
    denoise: Denoise,
    z: Tensor,
    levels: Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """Follow the reverse-time equation by Euler-Maruyama (Song et al. 2021, eq. 6).

    The equation is dz = -2 s score ds + sqrt(2 s) dw.

    The step to level 0 adds no noise.

    Args:
        denoise: D.
        z: (B, ..) at the first level.
        levels: (n + 1,).
        generator: Source of randomness, on z's device.
        temperature: Factor on the noise of each step.
    """
    for s, s_next in _steps(levels, z):
        estimate = denoise(z, s)
        z = estimate + (s_next / s) ** 2 * (
            z - estimate
        )  # z + (s^2 - s_next^2) score, exact at level 0
        if s_next > 0:
            fresh = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
            z = z + temperature * (s**2 - s_next**2).sqrt() * fresh
    return z


@torch.no_grad()
def ddim(
    denoise: Denoise,
    z: Tensor,
    levels: Tensor,
    generator: torch.Generator | None = None,
    *,
    eta: float = 0.0,
    temperature: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Follow DDIM (Song, Meng and Ermon, ICLR 2021, eq. 12).

    With eta 0 these are Euler's steps on the probability flow.

    Args:
        denoise: D.
        z: (B, ..) at the first level.
        levels: (n + 1,).
        generator: Source of randomness, on z's device; needed where eta > 0.
        eta: In [0, 1]; 0 adds no noise, 1 as much as ancestral sampling.
        temperature: Factor on the noise of a step, given its standard deviation and the next level;
            None for 1.

    Raises:
        ValueError: `eta` is out of range, or noise is wanted and there is no generator.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    if eta > 0 and generator is None:
        raise ValueError(f"DDIM with {eta=} adds noise: pass a generator to draw it from")
    for s, s_next in _steps(levels, z):
        estimate = denoise(z, s)
        fresh = eta * s_next * (1 - (s_next / s) ** 2).sqrt()
        kept = s_next * (1 - eta**2 + (eta * s_next / s) ** 2).sqrt()  # kept^2 + fresh^2 = s_next^2
        z = estimate + kept / s * (z - estimate)
        if eta > 0 and s_next > 0:
            if temperature is not None:
                fresh = fresh * temperature(fresh, s_next)
            z = z + fresh * torch.randn(
                z.shape, generator=generator, device=z.device, dtype=z.dtype
            )
    return z


@torch.no_grad()
def heun(denoise: Denoise, z: Tensor, levels: Tensor) -> Tensor:
    """Follow the probability flow by Heun's second-order steps (EDM, algorithm 1).

    D is called 2n - 1 times if the last level is 0.

    Args:
        denoise: D.
        z: (B, ..) at the first level.
        levels: (n + 1,).
    """
    for s, s_next in _steps(levels, z):
        estimate = denoise(z, s)
        slope = (z - estimate) / s
        ahead = (
            estimate + s_next * slope
        )  # at level 0 the estimate to the bit, so that its bounds and known parts hold
        if s_next == 0:
            z = ahead
        else:
            z = z + (s_next - s) * (slope + (ahead - denoise(ahead, s_next)) / s_next) / 2
    return z


@torch.no_grad()
def dpm_solver_2m(denoise: Denoise, z: Tensor, levels: Tensor) -> Tensor:
    """Follow DPM-Solver++ (2M) (Lu et al. 2022, algorithm 2, with alpha = 1).

    It is of second order at one call of D a step.

    The first step and a step to level 0 are of first order.

    Args:
        denoise: D.
        z: (B, ..) at the first level.
        levels: (n + 1,).
    """
    before, h_before = None, None
    for s, s_next in _steps(levels, z):
        estimate = denoise(z, s)
        h = (s / s_next).log()  # infinite where s_next is 0
        if before is None or h_before is None or s_next == 0:
            ahead = estimate
        else:
            ahead = estimate + h / (2 * h_before) * (estimate - before)
        z = s_next / s * z + (1 - s_next / s) * ahead
        before, h_before = estimate, h
    return z


SAMPLERS = {"heun": heun, "ddim": ddim, "dpm_solver_2m": dpm_solver_2m}
"""The deterministic ones by name; all are called alike."""


def _steps(levels: Tensor, z: Tensor) -> list[tuple[Tensor, Tensor]]:
    rungs = levels.to(z)
    return list(zip(rungs[:-1].unbind(), rungs[1:].unbind(), strict=True))
