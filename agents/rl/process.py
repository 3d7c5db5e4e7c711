"""The decision process of policy-guided search: what the policy sees, what an action does, what a
design is worth.

    look    s = z, or (z, agreement, prediction, spread, steps left);   direction = grad f(z), or
    the same at unit size move    z' = clip(z + scale * step * direction) value   V(z) = g(x) -
    pessimism * spread of g at x,                 x = the design that z decodes to

f, the guide, gives the direction; g, the judge, gives rewards and orders proposals. They are one
surrogate, or two that
were fitted on different halves of the visible data: then an error of f is not paid for by the same
error in g.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.envs.dynamics import (
    Gradient,
    default_action_scale,
    feature_bounds,
    transition,
    unit_gradient,
)
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["ProcessConfig", "SearchProcess", "fit_surrogates"]

LEAST_TRUST = 0.05


@dataclass(frozen=True)
class ProcessConfig:
    """Settings of the decision process.

    Args:
        step: An action is a ``vector`` of step sizes, one for each feature (the paper's), a
            ``scalar`` for all, or ``constant``: always the largest step and nothing to learn (both
            ablations).
        sign: ``both``: steps in [-1, 1] units (the paper's); ``positive``: in [0, 1], never against
            the gradient.
        gradient: ``raw`` (the paper's), or ``unit``: divided by its root mean square over the
            features.
        action_scale: Largest step, in gradients. None for the paper's search step with raw
            gradients, 0.05 sqrt(d), categorical 2 sqrt(d); with unit gradients for 0.1, categorical
            0.5, standard deviations, times the guide's rank correlation on rows that it was not
            fitted on: the less it knows, the shorter the search.
        state: The policy sees the ``design`` (the paper's), or is ``guided``: also by the agreement
            of guide and judge (the product of their gradients, each at unit size, feature by
            feature), the guide's prediction, the judge's spread and the share of steps left.
        judge: ``same``: the guide judges itself; ``cross``: each is fitted on its own half of the
            visible data.
        pessimism: Standard deviations of an ensemble's members that are taken off a value. None for
            2, and for 0 with a surrogate that has no members.
        bounds: ``data``: the search stays in the box of the visible features; ``none`` (the
            paper's).
        surrogate: Name of the surrogate; the judge is of the same kind.
    """

    step: Literal["vector", "scalar", "constant"] = "vector"
    sign: Literal["both", "positive"] = "positive"
    gradient: Gradient = "unit"
    action_scale: float | None = None
    state: Literal["design", "guided"] = "guided"
    judge: Literal["same", "cross"] = "cross"
    pessimism: float | None = None
    bounds: Literal["data", "none"] = "data"
    surrogate: str = "light_ensemble"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "action_scale", "pessimism")


class SearchProcess:
    """States, transitions and values for batches of features (B, d), on one device.

    Args:
        problem: What a method may know.
        encoder: Maps designs to features.
        surrogates: Guide and judge, fitted.
        config: See `ProcessConfig`.
        device: Where the tensors live.

    Raises:
        ValueError: Pessimism is asked of a surrogate without members.
    """

    def __init__(
        self,
        problem: OfflineProblem,
        encoder: Encoder,
        surrogates: tuple[Surrogate, Surrogate],
        config: ProcessConfig,
        device: str,
    ) -> None:
        self.config, self.encoder, self.device = config, encoder, device
        self.guide, self.judge = surrogates
        self._spread = getattr(self.judge, "spread", None)
        self.pessimism = (
            (2.0 if self._spread else 0.0) if config.pessimism is None else config.pessimism
        )
        if self.pessimism > 0 and self._spread is None:
            raise ValueError(
                f"pessimism={self.pessimism:g} needs an ensemble's spread, which surrogate={config.surrogate!r} has "
                "not; use mean_ensemble or min_ensemble, or pessimism=0"
            )
        self.n_actions = encoder.n_features if config.step == "vector" else 1
        self.scale = _scale(problem, encoder, self.guide, config).to(device)
        low, high = feature_bounds(problem, encoder)
        box = torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)
        self.bounds = box if config.bounds == "data" else None

    def look(self, z: Tensor, left: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return observations (B, o) and directions (B, d) at features (B, d), `left` the share of
        steps left."""
        prediction, gradient = self.guide.value_and_gradient(z)
        unit = unit_gradient(gradient)
        direction = unit if self.config.gradient == "unit" else gradient
        if self.config.state == "design":
            return z, direction
        agreement = unit * (
            unit if self.judge is self.guide else unit_gradient(self.judge.gradient(z))
        )
        spread = torch.zeros_like(prediction) if self._spread is None else self._spread(z).detach()
        rest = torch.as_tensor(left, device=z.device, dtype=z.dtype).expand(len(z))
        return torch.cat(
            [z, agreement, torch.stack([prediction, spread, rest], dim=1)], dim=1
        ), direction

    def move(self, z: Tensor, direction: Tensor, action: Tensor) -> Tensor:
        """Return the next features (B, d) of actions (B, m) in [-1, 1]."""
        step = action if self.config.sign == "both" else (action + 1) / 2
        return transition(z, step.expand_as(z), direction, self.scale, self.bounds)

    def action(self, step: Tensor) -> Tensor:
        """Return the actions in [-1, 1] for steps of any size, clipped to what `sign` allows."""
        return step.clamp(-1, 1) if self.config.sign == "both" else step.clamp(0, 1) * 2 - 1

    def value(self, z: Tensor) -> Tensor:
        """Return V (N,) of features (N, d), in bounded memory."""
        return predict_in_pieces(self._value, z)

    def _value(self, z: Tensor) -> Tensor:
        z = self.encoder.encode_tensor(self.encoder.decode_tensor(z))
        value = self.judge.predict(z)
        if self.pessimism > 0:
            assert self._spread is not None
            value = value - self.pessimism * self._spread(z)
        return value


def fit_surrogates(
    problem: OfflineProblem,
    encoder: Encoder,
    config: ProcessConfig,
    *,
    seed: int,
    device: str,
    progress: Progress,
) -> tuple[Surrogate, Surrogate]:
    """Fit guide and judge, see `ProcessConfig.judge`; the halves are drawn by the seed."""
    z = torch.from_numpy(encoder.encode(problem.dataset.x)).to(device)
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(device)
    guide = make_surrogate(config.surrogate)
    if config.judge == "same":
        guide.fit(z, y, seed=seed, progress=progress)
        return guide, guide
    judge = make_surrogate(config.surrogate)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(device)
    for surrogate, half, own in ((guide, order[::2], 0), (judge, order[1::2], 1)):
        surrogate.fit(z[half], y[half], seed=2 * seed + own, progress=progress)
    return guide, judge


def _scale(
    problem: OfflineProblem, encoder: Encoder, guide: Surrogate, config: ProcessConfig
) -> Tensor:
    if config.action_scale is not None:
        return torch.full((encoder.n_features,), config.action_scale)
    largest = default_action_scale(problem, encoder, "step_vector", config.gradient)
    if config.gradient == "raw":
        return largest
    known = guide.report.rank_correlation if guide.report else 1.0
    trust = 1.0 if math.isnan(known) else max(known, LEAST_TRUST)  # NaN: too few rows to tell
    return largest * trust
