"""Nudge: the best visible designs with noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import mbo_gym


@dataclass(frozen=True)
class NudgeConfig:
    """Settings of Nudge.

    Args:
        noise: Standard deviation of the noise.
    """

    noise: float = 0.1


class Nudge(mbo_gym.Method):
    """Nudge: the best visible designs with noise."""

    info: ClassVar = mbo_gym.MethodInfo(title="Nudge: the best designs with noise", kind="own")
    Config: ClassVar = NudgeConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NudgeConfig()}

    def fit(self, problem, context=mbo_gym.Context()):
        self.start(problem, context)  # keeps problem and context

    def propose(self, k):
        data = self.problem.dataset
        rows = data.top_rows(k)
        rng = np.random.default_rng(self.context.seed)
        noise = self.config.noise * rng.normal(size=data.x[rows].shape)
        x = self.problem.space.clip(data.x[rows] + noise)
        return mbo_gym.Proposals(x, criterion=data.y[rows])
