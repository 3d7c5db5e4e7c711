"""The environment that agents and their controls share, and the search with a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mbo_gym.envs.dynamics import Gradient
from mbo_gym.envs.process import EnvConfig, Process, State
from mbo_gym.envs.rollout import Policy, roll_out
from mbo_gym.methods.base import Context, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import LEARNING
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["AgentEnvConfig", "See", "fit_surrogate_of", "learning_curve", "search_ends"]

N_CURVE = 64
"""Designs of a point of the learning curve."""

See: TypeAlias = Callable[[State], None]
"""Function that is called with each state, before the policy acts there."""


@dataclass(frozen=True)
class AgentEnvConfig:
    """Settings of the environment, arguments of `gym.make` by the same names.

    Args:
        surrogate: Surrogate that gives gradients and rewards.
        encoder: Name of the encoder.
        gradient: ``unit``: divided by its root mean square over the features, or ``raw``.
        action_scale: Largest step, in gradients; None for that of the environment.
        horizon: T, steps of an episode and of the search.
    """

    surrogate: Choice = Choice("auto")
    encoder: str = "z_score"
    gradient: Gradient = "unit"
    action_scale: float | None = None
    horizon: int = 50

    def __post_init__(self) -> None:
        require_at_least(self, 1, "horizon")
        require_at_least(self, 0, "action_scale")

    def process(self, fitted: Fitted) -> Process:
        """Return the decision process of the environment of a fitted surrogate."""
        config = EnvConfig(
            task=fitted.problem,
            encoder=fitted.encoder,
            surrogate=fitted.surrogate,
            gradient=self.gradient,
            action_scale=self.action_scale,
            horizon=self.horizon,
        )
        return Process(config, fitted.context.device)


def fit_surrogate_of(config: AgentEnvConfig, problem: OfflineProblem, context: Context) -> Fitted:
    """Fit the surrogate of an environment.

    Raises:
        NotDifferentiable: It has no gradient.
    """
    surrogate = make_surrogate(config.surrogate)
    return Fitted.fit(problem, surrogate, config.encoder, context, climbed=True)


def search_ends(
    fitted: Fitted, process: Process, policy: Policy, k: int, see: See | None = None
) -> Proposals:
    """Follow a policy from the `k` best visible designs; propose the ends, best prediction first.

    Args:
        fitted: Encoder and surrogate.
        process: Decision process of the environment; the search has its horizon.
        policy: Policy.
        k: Number of proposals.
        see: Function that is called with each state, before the policy acts there.
    """
    steps = process.config.horizon
    watch = fitted.watch("search", steps)
    advance = fitted.context.progress.bar("search with the policy", steps)

    def look(state: State) -> None:
        if see:
            see(state)
        watch(state.step, state.z, state.prediction)
        advance(state.step)

    _, end = roll_out(process, process.at(fitted.starts(k)), policy, steps, look)
    return fitted.best(end.z, k)


def learning_curve(
    fitted: Fitted, process: Process, make_policy: Callable[[Any], tuple[Policy, See | None]]
) -> Callable[[Any, int], None]:
    """Return an observer of a training: it records the designs that the policy reaches.

    They are the ends of a search from the 64 best visible designs, as the stage ``learning``. The
    oracle scores them after the proposals were made, for the learning curve of the report.

    Args:
        fitted: Encoder and surrogate.
        process: Decision process of the environment.
        make_policy: Function of the learner that returns its policy, and what is to be called with
            each state before the policy acts there, or None.
    """
    steps = process.config.horizon
    starts = fitted.starts(N_CURVE)
    scale = fitted.problem.dataset.score_scale
    progress = fitted.context.progress

    def watch(learner: Any, step: int) -> None:
        policy, see = make_policy(learner)
        _, end = roll_out(process, process.at(starts), policy, steps, see)
        prediction = scale.restore(end.prediction.cpu().numpy())
        progress.designs(LEARNING, step, process.designs(end.z), prediction)
        progress.metrics(LEARNING, step, prediction=float(end.prediction.mean()))

    return watch
