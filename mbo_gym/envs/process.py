"""The decision process behind both environments: a task, an encoder, a surrogate, and batched
states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import (
    ActionMode,
    Gradient,
    check_action_mode,
    default_action_scale,
    feature_bounds,
    transition,
    unit_gradient,
)
from mbo_gym.errors import InvalidDesign
from mbo_gym.problem.task import OfflineProblem, Task
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.tasks.registry import make_task

__all__ = ["DesignProcess", "EnvConfig", "Reward", "Start", "State"]

Reward: TypeAlias = Literal["surrogate", "oracle"]
Start: TypeAlias = Literal["top", "any"]


@dataclass(frozen=True)
class EnvConfig:
    """What both environments are built from; every field is an argument of `gym.make` and
    `gym.make_vec`.

    Args:
        task: A task id, a `Task`, or the `OfflineProblem` that a method gets, which has no oracle.
        task_options: Options for `make_task` where `task` is an id.
        action_mode: ``step_vector``: z' = z + scale * a * grad f(z); ``displacement``: z' = z +
            scale * a.
        reward: ``surrogate``: f(z') - f(z), honestly offline. ``oracle``: the true score's
            difference, an upper bound that costs oracle calls and is no offline method. Both in
            standard deviations of the visible scores.
        surrogate: A surrogate's name (fitted once per data set and cached), a fitted `Surrogate`,
            or None for ``mlp``.
        start: ``top``: an episode starts at one of the `n_starts` best distinct visible designs;
            ``any``: at any visible row.
        n_starts: See `start`.
        horizon: T, steps until an episode is truncated. (`gym.make`'s own `max_episode_steps` can
            only shorten it.)
        action_scale: The unit of an action, a number or one for each feature; None for
            `dynamics.default_action_scale`.
        gradient: In step_vector mode, grad f is the surrogate's gradient as it is (``raw``, the
            paper's), or divided by its root mean square over the features (``unit``), so that steps
            are in standard deviations.
        encoder: An encoder's name, see `mbo_gym.encoders.registry.make_encoder`.
        oracle_info: Put the oracle's score of every design visited into `info` (counted oracle
            calls).
    """

    task: str | Task | OfflineProblem
    task_options: Mapping[str, Any] | None = None
    action_mode: ActionMode = "step_vector"
    reward: Reward = "surrogate"
    surrogate: str | Surrogate | None = None
    start: Start = "top"
    n_starts: int = 128
    horizon: int = 50
    action_scale: float | Sequence[float] | None = None
    gradient: Gradient = "raw"
    encoder: str = "z_score"
    oracle_info: bool = False

    def __post_init__(self) -> None:
        check_action_mode(self.action_mode)
        choices = (
            ("reward", self.reward, Reward),
            ("start", self.start, Start),
            ("gradient", self.gradient, Gradient),
        )
        for name, value, allowed in (
            (name, value, get_args(kind)) for name, value, kind in choices
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
        if self.horizon < 1 or self.n_starts < 1:
            raise ValueError(
                f"horizon and n_starts must be at least 1, got {self.horizon=} and {self.n_starts=}"
            )


@dataclass(frozen=True)
class State:
    """B states: features and what is known of them. Scores are in standard deviations of the
    visible scores.

    Args:
        z: (B, d) features.
        prediction: (B,) the surrogate's value, where the process uses a surrogate.
        gradient: (B, d) the surrogate's gradient, in step_vector mode.
        score: (B,) the oracle's value, where it is asked.
    """

    z: Tensor
    prediction: Tensor | None
    gradient: Tensor | None
    score: Tensor | None


class DesignProcess:
    """Starts and transitions for batches of designs, as tensors on one device.

    Args:
        config: See `EnvConfig`.
        device: Where the tensors live.
    """

    def __init__(self, config: EnvConfig, device: str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        if config.task_options and not isinstance(config.task, str):
            given = type(config.task).__name__
            raise ValueError(
                f"task_options belong to a task id; this environment was given a {given}"
            )
        task = (
            make_task(config.task, **(config.task_options or {}))
            if isinstance(config.task, str)
            else config.task
        )
        self._task = task if isinstance(task, Task) else None
        self.problem: OfflineProblem = task.problem() if isinstance(task, Task) else task
        problem = self.problem
        self.asks_oracle = config.reward == "oracle" or config.oracle_info
        self.oracle = self.task.oracle() if self.asks_oracle else None
        self.encoder = make_encoder(problem, config.encoder)
        self.score_scale = problem.dataset.score_scale
        self.low, self.high = feature_bounds(problem, self.encoder)
        self.bounds = (
            torch.from_numpy(self.low).to(self.device),
            torch.from_numpy(self.high).to(self.device),
        )
        scale: Tensor = default_action_scale(
            problem, self.encoder, config.action_mode, config.gradient
        )
        if config.action_scale is not None:
            scale = torch.as_tensor(config.action_scale, dtype=torch.float32).expand(
                self.encoder.n_features
            )
        self.scale = scale.to(self.device)
        if not bool((self.scale > 0).all()):
            raise ValueError(f"action_scale must be positive, got {config.action_scale}")
        self.uses_surrogate = config.action_mode == "step_vector" or config.reward == "surrogate"
        self.surrogate = self._surrogate() if self.uses_surrogate else None
        rows = (
            problem.dataset.top_rows(config.n_starts)
            if config.start == "top"
            else np.arange(len(problem.dataset))
        )
        self.starts = torch.from_numpy(self.encoder.encode(problem.dataset.x[rows])).to(self.device)

    @property
    def task(self) -> Task:
        """The task, with its oracle and its facts.

        Raises:
            ValueError: The environment was given an `OfflineProblem`, which has neither.
        """
        if self._task is None:
            raise ValueError(
                f"the oracle and the facts of {self.problem.task_id} belong to its Task; this environment was given an "
                "OfflineProblem, which has neither. Give the task's id or its Task, or leave reward='surrogate' and "
                "oracle_info=False."
            )
        return self._task

    def _surrogate(self) -> Surrogate:
        given = self.config.surrogate
        if isinstance(given, Surrogate):
            return given.to(self.device)
        return fitted_surrogate(self.problem, self.encoder, given or "mlp", device=str(self.device))

    def start(
        self, n: int, rng: np.random.Generator, options: Mapping[str, Any] | None = None
    ) -> State:
        """Return `n` first states: drawn from the start designs, or the native designs in
        ``options["design"]``.

        Args:
            n: B.
            rng: Source of the draw.
            options: ``{"design": array of shape (*shape) or (n, *shape)}`` starts there instead.

        Raises:
            InvalidDesign: A given design lies outside the space.
        """
        if options and "design" in options:
            x = np.asarray(options["design"])
            x = np.broadcast_to(x, (n, *self.problem.space.shape)) if x.ndim == 1 else x
            if not (ok := self.problem.space.contains(x)).all() or len(x) != n:
                raise InvalidDesign(
                    f"need {n} designs inside the space to start from, got {len(x)} of which {int(ok.sum())} are"
                )
            z = torch.from_numpy(self.encoder.encode(x)).to(self.device)
            return self._at(torch.minimum(torch.maximum(z, self.bounds[0]), self.bounds[1]))
        rows = torch.from_numpy(rng.integers(len(self.starts), size=n)).to(self.device)
        return self._at(self.starts[rows])

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor]:
        """Return the next states and the rewards (B,) of actions (B, d)."""
        after = self._at(transition(state.z, action, state.gradient, self.scale, self.bounds))
        if self.config.reward == "oracle":
            assert after.score is not None
            assert state.score is not None
            return after, after.score - state.score
        assert after.prediction is not None
        assert state.prediction is not None
        return after, after.prediction - state.prediction

    def designs(self, z: Tensor) -> np.ndarray:
        """Return the native designs (B, *shape) of features (B, d)."""
        return (
            self.encoder.decode_tensor(z).cpu().numpy().astype(self.problem.space.dtype, copy=False)
        )

    def _at(self, z: Tensor) -> State:
        prediction, gradient, score = None, None, None
        if self.surrogate is not None:
            if self.config.action_mode == "step_vector":
                prediction, gradient = self.surrogate.value_and_gradient(z)
                if self.config.gradient == "unit":
                    gradient = unit_gradient(gradient)
            else:
                with torch.no_grad():
                    prediction = self.surrogate.predict(z)
        if self.oracle is not None:
            raw = self.oracle.score_tensor(self.encoder.decode_tensor(z))
            score = (raw - self.score_scale.mean) / self.score_scale.std
        return State(z, prediction, gradient, score)
