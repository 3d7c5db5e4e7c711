"""What an action does, as pure functions of tensors; environments and trajectories use them.

Features z (B, d), actions a (B, d) in [-1, 1], surrogate f:

    step_vector     z' = clip(z + scale * a * grad f(z))    (PGS: a is a step size of each feature)
    displacement    z' = clip(z + scale * a)                (a is a step of a trajectory)

`clip` keeps z' in the box that the visible designs span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = [
    "ActionMode",
    "Dynamics",
    "Gradient",
    "Sign",
    "Step",
    "action_between",
    "check_action_mode",
    "default_action_scale",
    "feature_bounds",
    "transition",
    "unit_gradient",
]

ActionMode: TypeAlias = Literal["step_vector", "displacement"]
Gradient: TypeAlias = Literal["raw", "unit"]
"""The surrogate's gradient as it is, or divided by its root mean square over the features."""

Step: TypeAlias = Literal["vector", "scalar"]
"""An action is a step size of each feature, or one for all."""

Sign: TypeAlias = Literal["both", "positive"]
"""Actions in [-1, 1] are steps in [-1, 1], or in [0, 1]: never against the gradient."""

_UNIT_STEP = {"categorical": 0.5, "continuous": 0.1}


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What an action does to features: `transition` with a unit, a sign and a box.

    Args:
        scale: (d,) unit of an action.
        bounds: (d,), (d,) lowest and highest features, or None for no clipping.
        step: Whether an action has a step size of each feature, or one for all.
        sign: Steps that actions in [-1, 1] stand for.
    """

    scale: Tensor
    bounds: tuple[Tensor, Tensor] | None
    step: Step = "vector"
    sign: Sign = "both"

    @property
    def n_actions(self) -> int:
        """Numbers in an action, m: d, or 1."""
        return len(self.scale) if self.step == "vector" else 1

    def move(self, z: Tensor, direction: Tensor | None, action: Tensor) -> Tensor:
        """Return the next features (B, d) of actions (B, m).

        Args:
            z: (B, d) features.
            direction: (B, d) gradients, or None in displacement mode.
            action: (B, m) in [-1, 1]; larger values count as the nearest of these.
        """
        step = action if self.sign == "both" else (action.clamp(-1.0, 1.0) + 1) / 2
        return transition(z, step.expand_as(z), direction, self.scale, self.bounds)

    def action(self, step: Tensor) -> Tensor:
        """Return the actions in [-1, 1] of steps of any size, clipped to what `sign` allows."""
        return step.clamp(-1, 1) if self.sign == "both" else step.clamp(0, 1) * 2 - 1


def check_action_mode(action_mode: str) -> None:
    """Raise ValueError unless `action_mode` is one of the two."""
    if action_mode not in get_args(ActionMode):
        raise ValueError(f"action_mode must be one of {get_args(ActionMode)}, got {action_mode!r}")


def transition(
    z: Tensor,
    action: Tensor,
    gradient: Tensor | None,
    scale: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Return the next features z' (B, d).

    Args:
        z: (B, d) features.
        action: (B, d) in [-1, 1]; larger values count as the nearest of these.
        gradient: (B, d) of the surrogate at z in step_vector mode, None in displacement mode.
        scale: (d,) or a scalar, the unit of the action.
        bounds: (d,) lowest and highest features, or None for no clipping.
    """
    step = action.clamp(-1.0, 1.0) * scale
    moved = z + step if gradient is None else torch.addcmul(z, step, gradient)
    return moved if bounds is None else torch.minimum(torch.maximum(moved, bounds[0]), bounds[1])


def action_between(
    start: Tensor,
    end: Tensor,
    gradient: Tensor | None,
    scale: float | Tensor,
    outside: Literal["clip", "zero"],
) -> Tensor:
    """Return the actions (.., d) in [-1, 1] that lead from `start` to `end` (.., d).

    Args:
        start: (.., d) features.
        end: (.., d) features.
        gradient: (.., d) of the surrogate at `start` in step_vector mode, None in displacement
            mode.
        scale: The action's unit.
        outside: Components beyond [-1, 1] are clipped to the nearer end, or set to zero.
    """
    action = (end - start).div_(scale)
    if gradient is not None:
        action.div_(gradient)
    action.nan_to_num_(nan=0.0)  # 0 / 0: no step along a feature that the gradient does not move
    if gradient is not None:
        action.masked_fill_(gradient == 0, 0.0)
    if outside == "clip":
        return action.clamp_(-1.0, 1.0)
    return action.masked_fill_(action.abs() > 1, 0.0)


def feature_bounds(problem: OfflineProblem, encoder: Encoder) -> tuple[np.ndarray, np.ndarray]:
    """Return the box (d,), (d,) float32 that the features of the visible designs span.

    A feature that never varies gets one unit of room on both sides; decoding ignores it.
    """
    z = encoder.encode(problem.dataset.x)
    low, high = z.min(axis=0), z.max(axis=0)
    flat = low == high
    return np.where(flat, low - 1, low).astype(np.float32), np.where(flat, high + 1, high).astype(
        np.float32
    )


def unit_gradient(gradient: Tensor) -> Tensor:
    """Return gradients (B, d) divided by their root mean square over the features; 0 stays 0."""
    return gradient / gradient.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-12)


def default_action_scale(
    problem: OfflineProblem, encoder: Encoder, action_mode: ActionMode, gradient: Gradient = "raw"
) -> Tensor:
    """Return the default unit of an action, (d,) float32.

    step_vector: PGS's search step, 0.05 sqrt(d) for continuous and 2 sqrt(d) for categorical
    spaces; with unit gradients 0.1 and 0.5 standard deviations. displacement: the width of the
    observation box in each feature, so that any move between visible designs is an action within
    [-1, 1].
    """
    check_action_mode(action_mode)
    if action_mode == "displacement":
        low, high = feature_bounds(problem, encoder)
        return torch.from_numpy(high - low)
    categorical = isinstance(problem.space, CategoricalSpace)
    if gradient == "unit":
        return torch.full(
            (encoder.n_features,), _UNIT_STEP["categorical" if categorical else "continuous"]
        )
    return torch.full(
        (encoder.n_features,), (2.0 if categorical else 0.05) * encoder.n_features**0.5
    )
