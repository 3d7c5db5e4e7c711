"""The loss that denoisers are trained by."""

from __future__ import annotations

from torch import Tensor

from diffusion.core.denoiser import Denoiser

__all__ = ["denoising_loss"]


def denoising_loss(
    denoiser: Denoiser,
    x: Tensor,
    level: Tensor,
    noise: Tensor,
    *,
    condition: Tensor | None = None,
    keep: Tensor | None = None,
    extra: Tensor | None = None,
    known: Tensor | None = None,
    row_weight: Tensor | None = None,
    channel_weight: Tensor | None = None,
) -> Tensor:
    """Return the loss of the network's own output, E w ||F - target||^2 per feature.

    In the denoiser's terms this is ||D(x + level * noise) - x||^2 / c_out^2: plain error of the
    noise for ``eps``, unit weight at every level for ``edm`` (EDM, equation 8).

    Args:
        denoiser: D.
        x: (B, ..) clean designs or trajectories.
        level: (B,) noise levels.
        noise: Standard normal, of x's shape.
        condition: (B, c); None for none.
        keep: (B,) bool, rows whose condition the denoiser is shown.
        extra: What the network sees beside, see `Denoiser`.
        known: Bool, of x's shape or one that extends to it: what stays clean in the input and
            counts 0 in the mean.
        row_weight: (B,) weight of each row.
        channel_weight: Weights along x's last dimension.
    """
    per_row = (-1, *(1,) * (x.ndim - 1))
    z = x + level.view(per_row) * noise
    if known is not None:
        z = x.where(known, z)
    error: Tensor = (denoiser(z, level, condition, keep, extra) - x) / denoiser.coefficients(level)[
        1
    ].view(per_row)
    square = error.square()
    if channel_weight is not None:
        square = square * channel_weight
    if known is not None:
        square = square.masked_fill(known, 0.0)
    loss = square.flatten(1).mean(dim=1)
    return (loss if row_weight is None else loss * row_weight).mean()
