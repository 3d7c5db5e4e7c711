"""What a policy sees of a design, what the design is worth, and the box of observations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.envs.dynamics import Gradient, unit_gradient
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces

__all__ = ["DesignView", "GuidedView", "Judge", "Look", "Observation", "observation_box"]

Observation: TypeAlias = Literal["design", "guided"]
"""The features of the design, or also what the surrogates say of it."""

DEFAULT_PESSIMISM = 2.0
_LARGEST = float(np.finfo(np.float32).max)


class Look(NamedTuple):
    """What is known of features (B, d) before an action.

    Args:
        observation: (B, o) input of a policy.
        direction: (B, d) gradient that an action multiplies, or None in displacement mode.
        prediction: (B,) prediction of the surrogate; NaN where none is used.
    """

    observation: Tensor
    direction: Tensor | None
    prediction: Tensor


class Judge:
    """Value of a design: V(z) = g(x) - pessimism * spread of g at x, where z decodes to x.

    Args:
        surrogate: Fitted surrogate g.
        encoder: Map between designs and features.
        pessimism: Standard deviations of an ensemble's members that are subtracted; None for 2, and
            for 0 with a surrogate without members.

    Raises:
        ValueError: The surrogate has no members, and `pessimism` is positive.
    """

    def __init__(self, surrogate: Surrogate, encoder: Encoder, pessimism: float | None) -> None:
        self.surrogate = surrogate
        self.encoder = encoder
        self._spread = getattr(surrogate, "spread", None)
        default = 0.0 if self._spread is None else DEFAULT_PESSIMISM
        self.pessimism = default if pessimism is None else pessimism
        if self.pessimism > 0 and self._spread is None:
            raise ValueError(
                f"pessimism={self.pessimism:g} needs an ensemble's spread, which the surrogate "
                f"{surrogate.name or surrogate.kind!r} has not; use mean_ensemble or min_ensemble, "
                "or pessimism=0"
            )

    def value(self, z: Tensor) -> Tensor:
        """Return V (N,) of features (N, d), in bounded memory."""
        return predict_in_pieces(self._value, z)

    def spread(self, z: Tensor) -> Tensor:
        """Return the spread (B,) of the members at features (B, d); 0 without members."""
        if self._spread is None:
            return torch.zeros_like(z[:, 0])
        spread: Tensor = self._spread(z).detach()
        return spread

    def _value(self, z: Tensor) -> Tensor:
        z = self.encoder.encode_tensor(self.encoder.decode_tensor(z))
        value = self.surrogate.predict(z)
        if self.pessimism > 0:
            value = value - self.pessimism * self.spread(z)
        return value


@dataclass(frozen=True, eq=False)
class DesignView:
    """Observation of the features alone.

    Args:
        guide: Surrogate that predicts and gives the gradient, or None.
        gradient: Kind of gradient that an action multiplies; None in displacement mode.
    """

    guide: Surrogate | None
    gradient: Gradient | None

    def __call__(self, z: Tensor, left: Tensor | float) -> Look:
        """Look at features (B, d); the share of steps left is not seen."""
        if self.guide is None:
            return Look(z, None, torch.full_like(z[:, 0], math.nan))
        if self.gradient is None:
            with torch.no_grad():
                return Look(z, None, self.guide.predict(z))
        prediction, gradient = self.guide.value_and_gradient(z)
        unit = self.gradient == "unit"
        return Look(z, unit_gradient(gradient) if unit else gradient, prediction)


@dataclass(frozen=True, eq=False)
class GuidedView:
    """Observation (z, agreement, prediction, spread, steps left), 2 d + 3 numbers.

    The agreement is the product of the gradients of guide and judge, each at unit size, feature by
    feature. The prediction is the guide's, the spread that of the judge's members.

    Args:
        guide: Surrogate that predicts and gives the gradient.
        judge: Surrogate that rewards.
        gradient: Kind of gradient that an action multiplies; None in displacement mode.
    """

    guide: Surrogate
    judge: Judge
    gradient: Gradient | None

    def __call__(self, z: Tensor, left: Tensor | float) -> Look:
        """Look at features (B, d), `left` the share of steps left, a number or (B,)."""
        prediction, gradient = self.guide.value_and_gradient(z)
        unit = unit_gradient(gradient)
        judge = self.judge.surrogate
        judged = unit if judge is self.guide else unit_gradient(judge.gradient(z))
        rest = torch.as_tensor(left, device=z.device, dtype=z.dtype).expand(len(z))
        known = torch.stack([prediction, self.judge.spread(z), rest], dim=1)  # (B, 3)
        observation = torch.cat([z, unit * judged, known], dim=1)  # (B, 2 d + 3)
        along = {"unit": unit, "raw": gradient, None: None}[self.gradient]
        return Look(observation, along, prediction)


def observation_box(
    kind: Observation, low: np.ndarray, high: np.ndarray, *, bounded: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the box (o,), (o,) float32 that observations lie in.

    An agreement lies in [-d, d], for a gradient at unit size has no component above sqrt(d). What
    has no bounds gets the largest float32.

    Args:
        kind: Kind of observation.
        low: (d,) lowest features of the visible designs.
        high: (d,) highest features of the visible designs.
        bounded: Whether the features stay in that box.
    """
    if not bounded:
        low = np.full_like(low, -_LARGEST)
        high = np.full_like(high, _LARGEST)
    if kind == "design":
        return low, high
    agreement = np.full_like(low, 1.001 * len(low))  # room for rounding
    known_low = np.array([-_LARGEST, 0, 0], dtype=np.float32)
    known_high = np.array([_LARGEST, _LARGEST, 1], dtype=np.float32)
    return (
        np.concatenate([low, -agreement, known_low]),
        np.concatenate([high, agreement, known_high]),
    )
