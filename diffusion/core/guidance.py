"""Guidance: functions from a denoiser to the `denoise(z, s)` that samplers call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.core.denoiser import Denoiser
from diffusion.core.samplers import Denoise

__all__ = ["clipped", "conditional", "energy_guided", "inpainted", "unconditional"]


def unconditional(denoiser: Denoiser, *, extra: Tensor | None = None) -> Denoise:
    """Return D(z; s) with the condition unknown."""
    return lambda z, s: denoiser(z, s, None, None, extra)


def conditional(
    denoiser: Denoiser, condition: Tensor, *, weight: float = 0.0, extra: Tensor | None = None
) -> Denoise:
    """Return classifier-free guidance, (1 + w) D(z; s | condition) - w D(z; s).

    Both terms are one call on 2B rows.

    Source: Ho and Salimans 2022, equation 6, there and in DDOM and DEMO for the score or the noise;
    the estimate is linear in both, so it is the same. GTG's weight is 1 + w in these terms.

    Args:
        denoiser: Trained with the condition dropped now and then.
        condition: (B, c).
        weight: w >= 0; 0 is plain conditioning, and one call on B rows.
        extra: What the network sees beside z.
    """
    if weight == 0:
        return lambda z, s: denoiser(z, s, condition, None, extra)
    both = torch.cat([condition, condition])
    keep = torch.arange(len(both), device=both.device) < len(condition)
    extras = None if extra is None else torch.cat([extra, extra])

    def denoise(z: Tensor, s: Tensor) -> Tensor:
        known, unknown = denoiser(torch.cat([z, z]), s, both, keep, extras).chunk(2)
        return torch.lerp(unknown, known, 1 + weight)

    return denoise


def energy_guided(
    denoise: Denoise,
    energy: Callable[[Tensor], Tensor] | None,
    scale: float,
    *,
    gradient: Callable[[Tensor], Tensor] | None = None,
    through_denoiser: bool = False,
    max_norm: float | None = None,
    max_level: float | None = None,
) -> Denoise:
    """Return D(z; s) - scale * s^2 * gradient of energy(D(z; s)) in z.

    It tilts the data to p(x) exp(-scale * energy(x)).

    Source: DGID (arXiv 2309.02040), where the noise estimate gains scale * sqrt(1 - abar) *
    gradient; the same in terms of D and of the level. The estimate stands in for the designs under
    the noise: the tilt is exact for a linear energy of Gaussian data, and elsewhere only as s goes
    to 0.

    Differs from the paper in the cheaper form: the gradient with respect to the estimate is
    multiplied by 1 / (1 + s^2), the denoiser's Jacobian for data of unit variance. Without it the
    shift grows with the first level.

    Args:
        denoise: D, guided otherwise or not.
        energy: (B, ..) estimates to (B,), differentiable; lower is better. None where `gradient` is
            given.
        scale: Inverse temperature.
        gradient: (B, ..) estimates to gradients of the energy (B, ..), for an energy without
            autograd, such as smoothed differences of a simulator.
        through_denoiser: The gradient goes through D, at about the cost of a second call. Otherwise
            the cheaper form, which suits features of about unit variance.
        max_norm: Longest shift of a row, in standard deviations of the features; None for no limit.
        max_level: Highest noise level that is guided; None for no limit. Above it D is returned as
            it is, and no gradient is computed.

    Raises:
        ValueError: Not just one of `energy` and `gradient` is given, or a gradient without an
            energy is to go through D.
    """
    if (energy is None) == (gradient is None):
        raise ValueError("energy guidance needs either an energy or a gradient. Pass one of them.")
    if gradient is not None and through_denoiser:
        raise ValueError(
            "a gradient of the estimates cannot go through the denoiser. Pass an energy, or "
            "through_denoiser=False."
        )

    def guided(z: Tensor, s: Tensor) -> Tensor:
        if max_level is not None and float(s) > max_level:
            return denoise(z, s)
        leaf = (z if through_denoiser else denoise(z, s)).detach()
        if gradient is not None:
            estimate = leaf
            slope = gradient(estimate)
        else:
            assert energy is not None
            leaf.requires_grad_(True)
            with torch.enable_grad():
                estimate = denoise(leaf, s) if through_denoiser else leaf
                (slope,) = torch.autograd.grad(energy(estimate).sum(), leaf)
        shift = scale * (s**2 if through_denoiser else s**2 / (1 + s**2)) * slope
        if max_norm is not None:
            length = shift.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *(1,) * (z.ndim - 1))
            shift = shift * (max_norm / length).clamp_max(1.0)
        return estimate.detach() - shift

    return guided


def inpainted(denoise: Denoise, known: Tensor, mask: Tensor, noise: Tensor) -> Denoise:
    """Return a D that holds the part under `mask` to `known`.

    The known part enters with noise of the level of the rest.

    At each level the known part looks as it did in training, and D gives it back clean, so a
    deterministic sampler that starts from known + s_0 noise there keeps to known + s noise. The
    rest is pulled towards it only through D, which sees the known part as noisy as the rest, so
    what comes out is not the conditional distribution (Lugmayr et al. 2022 repeat steps to come
    nearer). For two Gaussian features the rest's mean moves a third of the way to the conditional
    mean at small correlation, .43 at .8 and .69 at .99; with `euler_maruyama` .50, .63 and .88. A
    network that sees the known part clean, as `extra`, has no such loss.

    Args:
        denoise: D.
        known: (B, ..) clean values; those outside the mask do not matter.
        mask: Bool, of known's shape or one that extends to it.
        noise: Standard normal, of known's shape.
    """

    def held(z: Tensor, s: Tensor) -> Tensor:
        return known.where(mask, denoise((known + s * noise).where(mask, z), s))

    return held


def clipped(denoise: Denoise, low: Tensor | float, high: Tensor | float) -> Denoise:
    """Return a D whose estimates are clipped to a box."""
    low, high = torch.as_tensor(low), torch.as_tensor(high)
    return lambda z, s: torch.maximum(torch.minimum(denoise(z, s), high.to(z)), low.to(z))
