"""The denoiser: preconditioning, parameterisation and conditioning of a network.

With z = x + s eps and a network F (EDM, Karras et al. 2022, equation 7):

    D(z; s) = c_skip(s) z + c_out(s) F(c_in(s) z, noise(s), condition)

The parameterisation names the target of F:

    eps   the noise (Ho et al. 2020)
    x0    the design itself
    v     alpha eps - sigma x (Salimans and Ho 2022)
    edm   EDM's mixture, of unit variance at each level (EDM, table 1)

`eps`, `x0` and `v` see z scaled to a variance-preserving process, c_in = 1 / sqrt(1 + s^2).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from diffusion.core.schedule import Schedule

__all__ = ["Denoiser", "Parameterisation"]

Parameterisation = Literal["eps", "x0", "v", "edm"]


class Denoiser(nn.Module):
    """Estimates the designs under noise.

    Args:
        network: F, called as ``network(z, noise, condition, extra)`` with z (B, ..), noise (B,),
            condition (B, c) or None, and what else it sees or None; returns a tensor of z's shape.
        parameterisation: What F returns.
        sigma_data: Standard deviation of the features, for ``edm``.
        time: The network sees this schedule's time t of a level; None: a quarter of the level's
            logarithm.
        n_conditions: Numbers that a design may be conditioned on; 0 for none.
        flag: A dropped condition is zeros, and one more column says which are dropped. Without it,
            zeros stand for themselves and for nothing known, as in DDOM's released program.
        per_step: Whether each step of a trajectory has a condition of its own, (B, H, c).
    """

    def __init__(
        self,
        network: nn.Module,
        parameterisation: Parameterisation = "edm",
        *,
        sigma_data: float = 1.0,
        time: Schedule | None = None,
        n_conditions: int = 0,
        flag: bool = True,
        per_step: bool = False,
    ) -> None:
        super().__init__()
        if parameterisation not in get_args(Parameterisation):
            raise ValueError(
                f"parameterisation must be one of {get_args(Parameterisation)}, got "
                f"{parameterisation!r}"
            )
        self.network, self.parameterisation, self.sigma_data = network, parameterisation, sigma_data
        self.n_conditions, self._time, self._flag, self._per_step = (
            n_conditions,
            time,
            flag,
            per_step,
        )

    def forward(
        self,
        z: Tensor,
        level: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Estimate the designs x in z = x + level * noise; of z's shape.

        Args:
            z: (B, ..).
            level: (B,), or one for all.
            condition: (B, c), or (B, H, c) where steps have their own; None: unknown in every row.
            keep: (B,) bool, rows whose condition is known; None: all.
            extra: What the network sees beside z, neither noised nor scaled.
        """
        level = level.expand(len(z))
        skip, out, scale = self.coefficients(level)
        noise = level.log() / 4 if self._time is None else self._time.time(level)
        given = self._with_flag(z, condition, keep)
        f: Tensor = self.network(_like(scale, z) * z, noise.to(z.dtype), given, extra)
        return _like(skip, z) * z + _like(out, z) * f

    def coefficients(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return c_skip, c_out and c_in of levels."""
        if self.parameterisation == "edm":
            data = self.sigma_data
            total = level.square() + data**2
            return data**2 / total, level * data / total.sqrt(), total.rsqrt()
        total = 1 + level.square()
        if self.parameterisation == "eps":
            return torch.ones_like(level), -level, total.rsqrt()
        if self.parameterisation == "x0":
            return torch.zeros_like(level), torch.ones_like(level), total.rsqrt()
        return 1 / total, -level * total.rsqrt(), total.rsqrt()

    def _with_flag(self, z: Tensor, condition: Tensor | None, keep: Tensor | None) -> Tensor | None:
        if self.n_conditions == 0:
            if condition is not None:
                raise ValueError(
                    f"this denoiser has no condition, got one of shape {tuple(condition.shape)}"
                )
            return None
        if condition is None:
            shape = (
                (*z.shape[:-1], self.n_conditions)
                if self._per_step
                else (len(z), self.n_conditions)
            )
            condition, keep = (
                z.new_zeros(shape),
                torch.zeros(len(z), dtype=torch.bool, device=z.device),
            )
        known = torch.ones_like(condition[..., :1])
        if keep is not None:
            known = known * _like(keep.to(z), condition)
        condition = torch.where(known > 0, condition, 0.0)
        return torch.cat([condition, known], dim=-1) if self._flag else condition


def _like(value: Tensor, z: Tensor) -> Tensor:
    """Shape (B,) to (B, 1, ..) for products with z."""
    return value.view(-1, *(1,) * (z.ndim - 1))
