"""Searches without a policy, in the environment of the agents: constant and random steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from agents.rl.search import AgentEnvConfig, fit_surrogate_of, search_ends
from mbo_gym.envs.process import Process
from mbo_gym.envs.rollout import RandomSteps, constant_steps
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.problem.task import OfflineProblem

__all__ = ["ConstantStep", "RandomStep", "StepConfig"]

_METRICS = {
    "surrogate/loss": "training loss of the surrogate, where it has one",
    "search/prediction": "mean prediction of the designs at a step of the search",
}


@dataclass(frozen=True)
class StepConfig:
    """Settings of `ConstantStep` and `RandomStep`.

    Args:
        env: Settings of the environment.
    """

    env: AgentEnvConfig = AgentEnvConfig()


_PRESETS = {"light": StepConfig(AgentEnvConfig(surrogate=LIGHT_SURROGATE, horizon=5))}


class _Steps:
    """Fit, save and load of a search without a policy."""

    config: StepConfig
    problem: OfflineProblem
    context: Context
    fitted: Fitted
    process: Process

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate of the environment."""
        self.start(problem, context)  # type: ignore[attr-defined]
        self.take(fit_surrogate_of(self.config.env, problem, context))

    def take(self, fitted: Fitted) -> None:
        """Search in the environment of a fitted surrogate."""
        self.fitted = fitted
        self.process = self.config.env.process(fitted)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.take(Fitted.load(folder, self.problem, self.config.env.encoder, self.context))


class ConstantStep(_Steps, Method):
    """Constant step: the largest action, in the environment of the agents.

    What an agent has to beat: gradient ascent on the same surrogate with the same unit of step.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. from the K best visible designs, take T steps of the largest size along the gradient
        3. propose the ends, the highest f(z) first

    Args:
        config: Settings of the environment.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("constant_step", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Constant step: the largest action in the environment of the agents",
        kind="own",
        metrics=_METRICS,
        equations=(r"z_{t+1} = z_t + s \, \nabla f(z_t)",),
    )
    Config: ClassVar[type[Any]] = StepConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _PRESETS
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        return search_ends(self.fitted, self.process, constant_steps(self.process), k)


class RandomStep(_Steps, Method):
    """Random steps: the behaviour that agents are trained on, in their environment.

    What an agent has to beat: a policy that learned nothing from the rewards.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. from the K best visible designs, take T random steps along the gradient, see
           `mbo_gym.envs.rollout.RandomSteps`
        3. propose the ends, the highest f(z) first

    Args:
        config: Settings of the environment.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("random_step", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Random steps: the behaviour that agents are trained on",
        kind="own",
        metrics=_METRICS,
        equations=(r"z_{t+1} = z_t + s \, u_t \odot \nabla f(z_t)",),
    )
    Config: ClassVar[type[Any]] = StepConfig
    PRESETS: ClassVar[Mapping[str, Any]] = _PRESETS
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2.0)

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs; the criterion is the prediction."""
        generator = torch.Generator().manual_seed(self.context.seed)
        steps = RandomSteps(self.process, k, generator)
        return search_ends(self.fitted, self.process, steps, k)
