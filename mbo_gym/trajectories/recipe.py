"""Recipes: everything that a batch of trajectories with actions is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mbo_gym.encoders.registry import ENCODERS, make_encoder
from mbo_gym.envs.dynamics import (
    ActionMode,
    Gradient,
    check_action_mode,
    default_action_scale,
)
from mbo_gym.envs.process import DEFAULT_SURROGATE, EnvConfig, Process
from mbo_gym.errors import UnknownId
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import from_preset
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.rollouts import random_rollouts, rollout_batch
from mbo_gym.trajectories.samplers import SAMPLERS

__all__ = ["TrajectoryRecipe", "TrajectoryReward", "make_trajectories"]

TrajectoryReward: TypeAlias = Literal["difference", "surrogate_difference"]
"""Reward of a transition: difference of the data's scores, or of the surrogate's predictions."""
Outside: TypeAlias = Literal["clip", "zero"]
"""Treatment of action components outside [-1, 1]."""


@dataclass(frozen=True)
class TrajectoryRecipe:
    """Everything that a batch of trajectories with actions is made from.

    ``rollout``, the default, takes random steps in the environment that `env_arguments` describes:
    every recorded action leads to the recorded next design, and the surrogate rewards it. The other
    samplers order visible designs, whose scores are true, and compute the actions between them.

    Args:
        sampler: ``rollout``, see `mbo_gym.trajectories.random_rollouts`; or ``random_top``,
            ``sorted_top`` or ``local_improving``, see `mbo_gym.trajectories.SAMPLERS`.
        n: Number of trajectories, B.
        horizon: Steps of each trajectory, T.
        p: Percentage of best visible rows that take part; in ``rollout`` and ``local_improving``
            trajectories start there.
        action_mode: ``step_vector`` or ``displacement``; none for step_vector with rollouts, and
            for displacement elsewhere.
        reward: ``difference`` of the data's scores, or ``surrogate_difference`` of the predictions;
            none for surrogate_difference with rollouts, which have no other, and for difference
            elsewhere.
        action_scale: Unit of an action; none for the environment's default.
        outside: Treatment of action components outside [-1, 1]: ``clip`` or ``zero``.
        surrogate: Surrogate that gives gradients and predictions; fitted only where actions or
            rewards need one, and cached.
        encoder: Encoder of the designs.
        seed: Seed of the sampler. Encoder and surrogate have seed 0, as in the environments.
        gradient: ``unit`` or ``raw``, as in the environment.

    Raises:
        UnknownId: No sampler, surrogate or encoder has that name.
        ValueError: A field is out of range, or fields do not go together.

    Example:
        >>> import mbo_gym
        >>> mbo_gym.TrajectoryRecipe(n=100, horizon=20).action_mode
        'step_vector'
    """

    sampler: str = "rollout"
    n: int = 1000
    horizon: int = 50
    p: float = 20.0
    action_mode: ActionMode | None = None
    reward: TrajectoryReward | None = None
    action_scale: float | None = None
    outside: Outside = "clip"
    surrogate: str = DEFAULT_SURROGATE
    encoder: str = "z_score"
    seed: int = 0
    gradient: Gradient = "unit"

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "sampler": "random_top",
            "n": 20_000,
            "action_mode": "step_vector",
            "surrogate": "mlp_paper",
            "gradient": "raw",
        },
    }
    """Named fields: ``paper`` has the trajectories of PGS."""

    @classmethod
    def of(cls, preset: str | None = None, **fields: Any) -> TrajectoryRecipe:
        """Return the recipe of a preset, with further fields; those count where both are given.

        Raises:
            UnknownId: No preset has that name.
        """
        return from_preset(cls, "trajectories", preset, fields)

    def __post_init__(self) -> None:
        if self.sampler != "rollout" and self.sampler not in SAMPLERS:
            raise UnknownId("sampler", self.sampler, ["rollout", *SAMPLERS])
        rollout = self.sampler == "rollout"
        if self.action_mode is None:
            object.__setattr__(self, "action_mode", "step_vector" if rollout else "displacement")
        if self.reward is None:
            reward = "surrogate_difference" if rollout else "difference"
            object.__setattr__(self, "reward", reward)
        SURROGATES.spec(self.surrogate)
        ENCODERS.spec(self.encoder)
        check_action_mode(self.require_action_mode())
        choices = {"reward": TrajectoryReward, "outside": Outside, "gradient": Gradient}
        for name, kind in choices.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}, got {value!r}")
        if rollout and self.reward == "difference":
            raise ValueError(
                "reward='difference' needs measured scores, which the designs of a rollout do not "
                "have. Pass reward='surrogate_difference', or a sampler of visible designs: "
                f"{', '.join(SAMPLERS)}."
            )
        if self.n < 1 or self.horizon < 1:
            raise ValueError(f"n and horizon must be positive, got {self.n} and {self.horizon}")
        if self.action_scale is not None and not self.action_scale > 0:
            raise ValueError(f"action_scale must be positive or None, got {self.action_scale}")

    @property
    def needs_surrogate(self) -> bool:
        """Whether actions or rewards need a surrogate."""
        return (self.action_mode, self.reward) != ("displacement", "difference")

    def require_action_mode(self) -> ActionMode:
        """Return the action mode, which is known after the recipe was made."""
        assert self.action_mode is not None
        return self.action_mode

    def env_arguments(self) -> dict[str, Any]:
        """Return the arguments of `gym.make` for the environment that the trajectories belong to.

        A policy that was trained on them searches there.
        """
        return {
            "action_mode": self.action_mode,
            "surrogate": self.surrogate,
            "gradient": self.gradient,
            "encoder": self.encoder,
            "action_scale": self.action_scale,
            "horizon": self.horizon,
        }


def make_trajectories(
    problem: OfflineProblem,
    recipe: TrajectoryRecipe | None = None,
    *,
    progress: Progress | None = None,
) -> TrajectoryBatch:
    """Make trajectories with the actions and rewards of the environment.

    Args:
        problem: All that a method may know.
        recipe: What they are made from; None for the defaults.
        progress: Progress reporter, or None.

    Returns:
        The batch; its `meta` holds the recipe under ``recipe``.

    Raises:
        InvalidData: The data hold too few distinct designs for the horizon.

    Example:
        >>> import mbo_gym
        >>> problem = mbo_gym.make_task("Branin-Exact-v0").problem()
        >>> recipe = mbo_gym.TrajectoryRecipe(n=10, horizon=5, surrogate="quadratic")
        >>> mbo_gym.make_trajectories(problem, recipe).actions.shape
        torch.Size([10, 5, 2])
    """
    recipe = recipe or TrajectoryRecipe()
    generator = torch.Generator().manual_seed(recipe.seed)
    if recipe.sampler == "rollout":
        process = _process(problem, recipe, progress)
        rollout = random_rollouts(process, recipe.p, recipe.n, recipe.horizon, generator)
        batch = rollout_batch(process, rollout, recipe.p)
    else:
        batch = _between_designs(problem, recipe, generator, progress)
    return replace(batch, meta={**batch.meta, "recipe": asdict(recipe)})


def _process(
    problem: OfflineProblem, recipe: TrajectoryRecipe, progress: Progress | None
) -> Process:
    """Return the decision process of the environment that a recipe describes."""
    config = EnvConfig(problem, **recipe.env_arguments())
    return Process(config, progress=progress or NullProgress())


def _between_designs(
    problem: OfflineProblem,
    recipe: TrajectoryRecipe,
    generator: torch.Generator,
    progress: Progress | None,
) -> TrajectoryBatch:
    """Order visible designs, and compute the actions between them."""
    encoder = make_encoder(problem, recipe.encoder, progress=progress)
    sample = SAMPLERS[recipe.sampler]
    batch = sample(problem, encoder, recipe.p, recipe.n, recipe.horizon, generator)
    mode = recipe.require_action_mode()
    surrogate = _process(problem, recipe, progress).surrogate if recipe.needs_surrogate else None
    scale: float | Tensor | None = recipe.action_scale
    if scale is None:
        scale = default_action_scale(problem, encoder, mode, recipe.gradient)
    return with_actions(
        batch,
        surrogate,
        mode,
        scale,
        reward=recipe.reward or "difference",
        outside=recipe.outside,
        gradient=recipe.gradient,
    )
