"""Particle search in the base distribution: better noise to start the sampling from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["particle_search", "particle_weights", "perturbed", "systematic_rows"]


def particle_search(
    sample: Callable[[Tensor], Tensor],
    energy: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    rounds: int,
    temperature: float,
    perturbation: float,
    width: float,
    generator: torch.Generator,
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Return base noise (N, ..) whose samples have a lower energy than those of `z`.

    In each of K rounds every particle is sampled in few steps, the energy of the estimate gives it
    a weight, particles are drawn again by their weights, and are perturbed so that copies part
    ways. N * K energies are computed.

    Source: DGID (arXiv 2309.02040), section 2.3. The paper's rule of perturbation and its numbers
    are not known to us; both are our own.

    Args:
        sample: Few-step sampler from base noise (N, ..) to estimates (N, ..); deterministic.
        energy: Function from estimates (N, ..) to energies (N,); lower is better.
        z: (N, ..) base noise to begin with.
        rounds: K, at least 0; 0 returns `z`.
        temperature: tau of `particle_weights`.
        perturbation: s of `perturbed`.
        width: Standard deviation of base noise.
        generator: Source of randomness, on the device of `z`.
        watch: Called in each round with its number, the estimates (N, ..) and their energies (N,).
    """
    for k in range(rounds):
        estimate = sample(z)
        found = energy(estimate)
        if watch is not None:
            watch(k, estimate, found)
        rows = systematic_rows(particle_weights(found, temperature), generator)
        z = perturbed(z[rows], perturbation, width, generator)
    return z


def particle_weights(energy: Tensor, temperature: float) -> Tensor:
    """Return softmax(-energy / temperature), (N,) float64; a particle without an energy has 0.

    Args:
        energy: (N,) energies; NaN and infinity count as the worst.
        temperature: tau > 0; the lower it is, the more the best particles count.

    Raises:
        ValueError: The temperature is not above 0, or no energy is finite.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature!r}")
    finite = energy.isfinite()
    if not finite.any():
        raise ValueError(
            f"none of {len(energy)} particles has a finite energy. Lower the scale of the energy "
            "guidance, or fit the surrogate on data without outliers."
        )
    logits = torch.where(finite, -energy.double() / temperature, -torch.inf)
    return logits.softmax(dim=0)


def systematic_rows(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N rows by their weights with one random number; (N,) int64, ascending.

    Systematic resampling: row i is drawn floor(N w_i) or ceil(N w_i) times, N w_i on average.

    Args:
        weights: (N,) float64, at least 0, of sum 1.
        generator: Source of randomness, on the device of the weights.
    """
    n = len(weights)
    first = torch.rand(1, generator=generator, device=weights.device, dtype=weights.dtype)
    places = (torch.arange(n, device=weights.device) + first) / n
    ends = weights.cumsum(dim=0)
    ends = ends / ends[-1]  # exactly 1 at the end, so that no place lies beyond
    return torch.searchsorted(ends, places, right=True).clamp_max(n - 1)


def perturbed(z: Tensor, s: float, width: float, generator: torch.Generator) -> Tensor:
    """Return sqrt(1 - s^2) z + s * noise, distributed as `z` if that is base noise.

    Args:
        z: (N, ..) base noise.
        s: Share of fresh noise, in [0, 1].
        width: Standard deviation of base noise.
        generator: Source of randomness, on the device of `z`.

    Raises:
        ValueError: s is out of range.
    """
    if not 0 <= s <= 1:
        raise ValueError(f"perturbation must lie in [0, 1], got {s!r}")
    fresh = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    kept: float = (1 - s * s) ** 0.5
    return kept * z + s * width * fresh
