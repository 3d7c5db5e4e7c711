"""Recipes: everything that a batch of trajectories with actions is made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mbo_gym.encoders.registry import ENCODERS, make_encoder
from mbo_gym.envs.dynamics import ActionMode, check_action_mode, default_action_scale
from mbo_gym.errors import UnknownId
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import SAMPLERS

__all__ = ["TrajectoryRecipe", "TrajectoryReward", "make_trajectories"]

TrajectoryReward: TypeAlias = Literal["difference", "surrogate_difference"]
"""Reward of a transition: difference of the data's scores, or of the surrogate's predictions."""
Outside: TypeAlias = Literal["clip", "zero"]
"""Treatment of action components outside [-1, 1]."""


@dataclass(frozen=True)
class TrajectoryRecipe:
    """Everything that a batch of trajectories with actions is made from.

    Args:
        sampler: ``random_top``, ``sorted_top`` or ``local_improving``, see
            `mbo_gym.trajectories.SAMPLERS`.
        n: Number of trajectories, B.
        horizon: Steps of each trajectory, T.
        p: Percentage of best visible rows that take part; in ``local_improving`` trajectories start
            there.
        action_mode: ``displacement`` or ``step_vector``.
        reward: ``difference`` of the data's scores, or ``surrogate_difference`` of the predictions.
        action_scale: Unit of an action; none for the environment's default.
        outside: Treatment of action components outside [-1, 1]: ``clip`` or ``zero``.
        surrogate: Surrogate that gives gradients and predictions; fitted only where actions or
            rewards need one, and cached.
        encoder: Encoder of the designs.
        seed: Seed of the sampler. Encoder and surrogate have seed 0, as in the environments.

    Raises:
        UnknownId: No sampler, surrogate or encoder has that name.
        ValueError: A field is out of range.

    Example:
        >>> import mbo_gym
        >>> mbo_gym.TrajectoryRecipe(n=100, horizon=20).sampler
        'random_top'
    """

    sampler: str = "random_top"
    n: int = 1000
    horizon: int = 50
    p: float = 20.0
    action_mode: ActionMode = "displacement"
    reward: TrajectoryReward = "difference"
    action_scale: float | None = None
    outside: Outside = "clip"
    surrogate: str = "mlp"
    encoder: str = "z_score"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UnknownId("sampler", self.sampler, SAMPLERS)
        SURROGATES.spec(self.surrogate)
        ENCODERS.spec(self.encoder)
        check_action_mode(self.action_mode)
        if self.reward not in get_args(TrajectoryReward):
            raise ValueError(
                f"reward must be one of {get_args(TrajectoryReward)}, got {self.reward!r}"
            )
        if self.outside not in get_args(Outside):
            raise ValueError(f"outside must be one of {get_args(Outside)}, got {self.outside!r}")
        if self.n < 1 or self.horizon < 1:
            raise ValueError(f"n and horizon must be positive, got {self.n} and {self.horizon}")
        if self.action_scale is not None and not self.action_scale > 0:
            raise ValueError(f"action_scale must be positive or None, got {self.action_scale}")

    @property
    def needs_surrogate(self) -> bool:
        """Whether actions or rewards need a surrogate."""
        return (self.action_mode, self.reward) != ("displacement", "difference")


def make_trajectories(
    problem: OfflineProblem,
    recipe: TrajectoryRecipe | None = None,
    *,
    progress: Progress | None = None,
) -> TrajectoryBatch:
    """Make trajectories of visible designs with the actions and rewards of the environment.

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
        >>> recipe = mbo_gym.TrajectoryRecipe(n=10, horizon=5)
        >>> mbo_gym.make_trajectories(problem, recipe).actions.shape
        torch.Size([10, 5, 2])
    """
    recipe = recipe or TrajectoryRecipe()
    encoder = make_encoder(problem, recipe.encoder, progress=progress)
    generator = torch.Generator().manual_seed(recipe.seed)
    sample = SAMPLERS[recipe.sampler]
    batch = sample(problem, encoder, recipe.p, recipe.n, recipe.horizon, generator)
    scale: float | Tensor | None = recipe.action_scale
    if scale is None:
        scale = default_action_scale(problem, encoder, recipe.action_mode)
    surrogate = None
    if recipe.needs_surrogate:
        climbed = recipe.action_mode == "step_vector"
        surrogate = fitted_surrogate(
            problem, encoder, recipe.surrogate, progress=progress, climbed=climbed
        )
    batch = with_actions(
        batch, surrogate, recipe.action_mode, scale, reward=recipe.reward, outside=recipe.outside
    )
    return replace(batch, meta={**batch.meta, "recipe": asdict(recipe)})
