"""Actions and rewards of trajectories."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mbo_gym.envs.dynamics import (
    ActionMode,
    Gradient,
    action_between,
    check_action_mode,
    unit_gradient,
)
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.trajectories.batch import TrajectoryBatch

__all__ = ["with_actions"]


_PIECE = 1 << 13


def with_actions(
    batch: TrajectoryBatch,
    surrogate: Surrogate | None,
    action_mode: ActionMode = "step_vector",
    scale: float | Tensor = 1.0,
    *,
    reward: Literal["difference", "surrogate_difference"] = "difference",
    outside: Literal["clip", "zero"] = "clip",
    gradient: Gradient = "raw",
) -> TrajectoryBatch:
    """Add the actions along trajectories and their rewards, in the environment's units.

    step_vector: a = (z' - z) / (scale * direction(z)), with the surrogate's gradient as direction,
    component by component, 0 where the gradient's
    component is 0. displacement: a = (z' - z) / scale. The environment takes components in [-1, 1]
    only.

    Differs from the paper: PGS's released program sets components outside [-1, 1] to zero
    (``outside="zero"``), and has another unit in training (10) than in search; here one `scale`
    serves for both. As in the paper, the recorded next design of a step_vector is the one of the
    data, so a clipped action does not quite lead there.

    Args:
        batch: Trajectories.
        surrogate: Surrogate f, asked for its gradient once per distinct design; None where neither
            actions nor rewards need one (displacements with the data's scores).
        action_mode: ``step_vector`` or ``displacement``.
        scale: Action scale of the environment, a number or one per feature (d,); see
            `dynamics.default_action_scale`.
        reward: ``difference`` of the data's scores, as in the paper, or ``surrogate_difference``,
            the default of the environment.
        outside: Treatment of components outside [-1, 1]: ``clip`` or ``zero``.
        gradient: ``raw``, the paper's, or ``unit``: divided by its root mean square over the
            features, the default of the environment.

    Raises:
        ValueError: An argument is not one of those above, or there is no surrogate where one is
            needed.
    """
    check_action_mode(action_mode)
    if reward not in ("difference", "surrogate_difference"):
        raise ValueError(f"reward must be 'difference' or 'surrogate_difference', got {reward!r}")
    if outside not in ("clip", "zero"):
        raise ValueError(f"outside must be 'clip' or 'zero', got {outside!r}")
    if surrogate is None and (action_mode, reward) != ("displacement", "difference"):
        raise ValueError(f"{action_mode=} with {reward=} needs a fitted surrogate, got None")
    start, end = batch.z[:, :-1], batch.z[:, 1:]  # (B, T, d)
    first, inverse = _distinct(batch)
    flat = batch.z.flatten(0, 1)
    direction = None
    if action_mode == "step_vector":
        assert surrogate is not None
        table = torch.cat([surrogate.gradient(flat[part]) for part in torch.split(first, _PIECE)])
        table = unit_gradient(table) if gradient == "unit" else table
        direction = table[inverse[:, :-1]]
    actions = action_between(start, end, direction, scale, outside)
    if reward == "difference":
        value = batch.y
    else:
        assert surrogate is not None
        value = predict_in_pieces(surrogate.predict, flat[first])[inverse]
    meta = {
        **batch.meta,
        "action_mode": action_mode,
        "action_scale": scale.tolist() if isinstance(scale, Tensor) else float(scale),
        "reward": reward,
        "outside": outside,
        "gradient": gradient if action_mode == "step_vector" else None,
        "surrogate": (surrogate.name or surrogate.kind) if surrogate else None,
    }
    return replace(batch, actions=actions, rewards=value[:, 1:] - value[:, :-1], meta=meta)


def _distinct(batch: TrajectoryBatch) -> tuple[Tensor, Tensor]:
    """Return the places of distinct designs in the flattened batch (M,), and numbers (B, T+1)."""
    count = batch.y.numel()
    if batch.rows is None:
        return torch.arange(count), torch.arange(count).view(batch.y.shape)
    position = torch.full((int(batch.rows.max()) + 1,), -1)
    position[batch.rows.flatten()] = torch.arange(count)  # any one position of each row will do
    rows = torch.nonzero(position >= 0).squeeze(1)
    number = torch.empty_like(position)
    number[rows] = torch.arange(len(rows))
    return position[rows], number[batch.rows]
