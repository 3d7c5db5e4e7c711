"""Noise schedules: how much noise a design carries at each time t in [0, 1].

A schedule is two functions of time, x_t = alpha(t) x + sigma(t) eps. Everything else in this
package works with the noise level s = sigma / alpha, the standard deviation of the noise on a
signal of its own size: z = x_t / alpha = x + s eps. A process that shrinks the signal (variance
preserving, VP) and one that does not (Karras) are then the same process at other levels, and
denoisers, losses, samplers and guidance need not know which of them it is.

Sources: VP with linear beta: Song et al., ICLR 2021, equations 32 and 33; cosine: Nichol and
Dhariwal, ICML 2021, equation 17; Karras: Karras et al. (EDM), NeurIPS 2022, equation 5.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "Cosine",
    "Karras",
    "Schedule",
    "VPLinear",
    "drawn_levels",
    "levels",
    "log_normal_levels",
]

LEAST_TIME = 1e-5


class Schedule(Protocol):
    """A noise schedule over times t in [0, 1]; all maps go elementwise."""

    def alpha(self, t: Tensor) -> Tensor:
        """Return what is left of the signal, in (0, 1]."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise, rising with t."""
        ...

    def level(self, t: Tensor) -> Tensor:
        """Return sigma / alpha, the noise on a signal of its own size; rising with t."""
        ...

    def time(self, level: Tensor) -> Tensor:
        """Return the time at which the noise has that level, the inverse of `level`."""
        ...


class _VariancePreserving(ABC):
    """alpha^2 + sigma^2 = 1; a subclass writes `level` and `time`."""

    @abstractmethod
    def level(self, t: Tensor) -> Tensor:
        """Return sigma / alpha."""

    def alpha(self, t: Tensor) -> Tensor:
        """Return what is left of the signal."""
        return 1 / torch.sqrt(1 + self.level(t).square())

    def sigma(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise."""
        return self.level(t) * self.alpha(t)


@dataclass(frozen=True)
class VPLinear(_VariancePreserving):
    """Variance preserving, beta(t) = beta_min + (beta_max - beta_min) t.

    With 0.1 and 20 almost nothing of the signal is left at t = 1 (alpha .007). DDOM ran .01 and 2,
    where alpha(1) is .60: what starts from pure noise there is off the data's own path.

    Args:
        beta_min: At t = 0.
        beta_max: At t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def level(self, t: Tensor) -> Tensor:
        """Return sqrt(exp(integral of beta up to t) - 1)."""
        return torch.sqrt(
            torch.expm1(self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square())
        )

    def time(self, level: Tensor) -> Tensor:
        """Return the time of a level."""
        integral, rise = torch.log1p(level.square()), self.beta_max - self.beta_min
        if rise == 0:
            return integral / self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * rise * integral))


@dataclass(frozen=True)
class Cosine(_VariancePreserving):
    """Variance preserving, alpha(t)^2 falling along a squared cosine.

    Args:
        offset: Keeps the noise near t = 0 from vanishing too fast.
        max_level: Where the level is cut off; the cosine's own is infinite at t = 1.
    """

    offset: float = 0.008
    max_level: float = 100.0

    def level(self, t: Tensor) -> Tensor:
        """Return the level, at most `max_level`."""
        turned = t / (1 + self.offset) * (math.pi / 2)
        # (cos^2 of the first angle) / cos^2 - 1, written without the difference, which float32
        # loses near t = 0
        square = torch.sin(turned) * torch.sin(turned + 2 * self._first)
        return (square.sqrt() / torch.cos(turned + self._first).clamp_min(1e-12)).clamp_max(
            self.max_level
        )

    def time(self, level: Tensor) -> Tensor:
        """Return the time of a level; of `max_level`, the first time that has it."""
        angle = torch.arctan(
            torch.sqrt(level.square() + math.sin(self._first) ** 2) / math.cos(self._first)
        )
        return (angle - self._first) * (2 / math.pi) * (1 + self.offset)

    @property
    def _first(self) -> float:
        return self.offset / (1 + self.offset) * (math.pi / 2)


@dataclass(frozen=True)
class Karras:
    """Levels spaced evenly in their `rho`-th root; the signal keeps its size.

    Args:
        sigma_min: Level at t = 0.
        sigma_max: Level at t = 1.
        rho: Larger puts more of the steps at low levels.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the level."""
        return self.level(t)

    def level(self, t: Tensor) -> Tensor:
        """Return the level."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        scaled: Tensor = low + t * (high - low)
        return scaled.pow(self.rho)

    def time(self, level: Tensor) -> Tensor:
        """Return the time of a level."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        scaled: Tensor = (level.pow(1 / self.rho) - low) / (high - low)
        return scaled


def levels(schedule: Schedule, n: int, *, start: float | None = None) -> Tensor:
    """Return the levels (n + 1,) of `n` sampling steps, falling, the last one 0.

    Times are spaced evenly.

    Args:
        schedule: Whose times.
        n: Steps, at least 1.
        start: Level that the first step starts from, in the schedule's range; None for the one at t
            = 1.

    Raises:
        ValueError: `n` or `start` is out of range.
    """
    lowest, highest = schedule.level(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    if n < 1:
        raise ValueError(f"sampling takes at least one step, got {n}")
    if start is not None and not lowest < start <= highest * (1 + 1e-6):
        raise ValueError(
            f"a level to start from must lie in ({lowest:g}, {highest:g}] for {schedule}, got "
            f"{start:g}"
        )
    top = highest if start is None else start
    first = float(
        schedule.time(torch.tensor(top, dtype=torch.float64))
    )  # not 1 where the level is cut off before
    times = torch.linspace(first, 0.0, n if lowest > 0 and n > 1 else n + 1, dtype=torch.float64)
    rungs = schedule.level(times)
    rungs[0] = top
    if lowest > 0 and n > 1:
        return torch.cat([rungs, rungs.new_zeros(1)]).float()
    rungs[-1] = 0
    return rungs.float()


def drawn_levels(schedule: Schedule, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` training levels at times uniform in (0, 1); (n,).

    They are on the generator's device.
    """
    t = torch.rand(n, generator=generator, device=generator.device).clamp_min(LEAST_TIME)
    return schedule.level(t)


def log_normal_levels(
    n: int, generator: torch.Generator, *, mean: float = -1.2, std: float = 1.2
) -> Tensor:
    """Draw `n` training levels whose logarithms are normal (EDM, table 1); (n,).

    They are on the generator's device.
    """
    return torch.exp(mean + std * torch.randn(n, generator=generator, device=generator.device))
