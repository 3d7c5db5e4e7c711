"""The environment that agents of d3rlpy and their controls share, and the search with a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import Gradient
from mbo_gym.envs.process import EnvConfig, Process, State
from mbo_gym.envs.rollout import Policy, roll_out
from mbo_gym.methods.ascent import SearchWatch, start_features
from mbo_gym.methods.base import Context, Proposals
from mbo_gym.methods.distinct import distinct_proposals
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import LEARNING
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_guide_and_judge
from mbo_gym.surrogates.registry import load_surrogate

__all__ = [
    "AgentEnvConfig",
    "fit_process",
    "learning_curve",
    "load_process",
    "save_process",
    "search_ends",
]

SURROGATE_FILE = "surrogate.safetensors"
N_CURVE = 64
"""Designs of a point of the learning curve."""

See = Callable[[State], None]


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

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `gym.make`, without the surrogate and the encoder."""
        return {
            "gradient": self.gradient,
            "action_scale": self.action_scale,
            "horizon": self.horizon,
        }


def fit_process(problem: OfflineProblem, config: AgentEnvConfig, context: Context) -> Process:
    """Fit the surrogate, and return the decision process of the environment."""
    encoder = make_encoder(
        problem, config.encoder, device=context.device, progress=context.progress
    )
    surrogate, _ = fit_guide_and_judge(
        problem,
        encoder,
        config.surrogate,
        "same",
        seed=context.seed,
        device=context.device,
        progress=context.progress,
    )
    return _process(problem, config, context, encoder, surrogate)


def save_process(process: Process, folder: Path) -> None:
    """Write the surrogate."""
    assert process.surrogate is not None
    process.surrogate.save(folder / SURROGATE_FILE)


def load_process(
    problem: OfflineProblem, config: AgentEnvConfig, context: Context, folder: Path
) -> Process:
    """Return the process of the surrogate that `save_process` wrote."""
    encoder = make_encoder(problem, config.encoder, device=context.device)
    surrogate = load_surrogate(folder / SURROGATE_FILE).to(context.device)
    return _process(problem, config, context, encoder, surrogate)


def search_ends(
    process: Process, policy: Policy, k: int, context: Context, see: See | None = None
) -> Proposals:
    """Follow a policy from the `k` best visible designs; propose the ends, best first.

    Args:
        process: Decision process of the environment.
        policy: Policy.
        k: Number of proposals.
        context: Seed and progress.
        see: Function that is called with each state before the policy acts there.
    """
    problem = process.problem
    steps = process.config.horizon
    generator = torch.Generator().manual_seed(context.seed)
    z = start_features(problem, process.encoder, k, generator).to(process.device)
    watch = SearchWatch(problem, process.encoder, "search", steps, context.progress)
    advance = context.progress.bar("search with the policy", steps)

    def look(state: State) -> None:
        if see:
            see(state)
        watch(state.step, state.z, state.value)
        advance(state.step)

    _, end = roll_out(process, process.at(z, horizon=steps), policy, steps, look)
    x = process.designs(end.z)
    value = end.value.cpu().numpy()
    unit = "deviations" if process.surrogate and process.surrogate.predicts_scores else "own"
    if isinstance(problem.space, MixedSpace):

        def values(x: np.ndarray) -> np.ndarray:
            features = process.encoder.features(x, str(process.device))
            return np.asarray(process.value(features).cpu().numpy())

        found = distinct_proposals(problem, x, k, seed=context.seed, predict=values)
        return Proposals(found.x, found.criterion, unit=unit)
    order = np.argsort(-value, kind="stable")
    return Proposals(x[order], value[order], unit=unit)


def learning_curve(
    process: Process, make_policy: Callable[[Any], tuple[Policy, See | None]], context: Context
) -> Callable[[Any, int], None]:
    """Return an observer of a training: it records the designs that the policy reaches.

    They are the ends of a search from the 64 best visible designs, as the stage ``learning``. The
    oracle scores them after the proposals were made, for the learning curve of the report.

    Args:
        process: Decision process of the environment.
        make_policy: Function of the learner that returns its policy, and what is to be called with
            each state before the policy acts there, or None.
        context: Progress.
    """
    steps = process.config.horizon
    problem = process.problem
    generator = torch.Generator().manual_seed(context.seed)
    starts = start_features(problem, process.encoder, N_CURVE, generator).to(process.device)

    def watch(learner: Any, step: int) -> None:
        policy, see = make_policy(learner)
        _, end = roll_out(process, process.at(starts, horizon=steps), policy, steps, see)
        prediction = problem.dataset.score_scale.restore(end.value.cpu().numpy())
        context.progress.designs(LEARNING, step, process.designs(end.z), prediction)
        context.progress.metrics(LEARNING, step, prediction=float(end.value.mean()))

    return watch


def _process(
    problem: OfflineProblem,
    config: AgentEnvConfig,
    context: Context,
    encoder: Any,
    surrogate: Surrogate,
) -> Process:
    arguments = config.arguments()
    env = EnvConfig(task=problem, encoder=encoder, surrogate=surrogate, **arguments)
    return Process(env, context.device)
