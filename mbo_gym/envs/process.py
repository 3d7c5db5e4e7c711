"""The decision process of the environments and of policy-guided search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import (
    ActionMode,
    Dynamics,
    Gradient,
    Sign,
    Step,
    check_action_mode,
    default_action_scale,
    feature_bounds,
)
from mbo_gym.envs.observation import (
    DesignView,
    GuidedView,
    Judge,
    Look,
    Observation,
    observation_box,
)
from mbo_gym.errors import InvalidDesign
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.task import Drawing, OfflineProblem, Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import Choice, from_preset, require_at_least
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_guide_and_judge
from mbo_gym.tasks.registry import make_task

__all__ = ["EnvConfig", "Process", "Reward", "Start", "State"]

__getattr__ = forwarded(__name__)  # names that have moved

Reward: TypeAlias = Literal["surrogate", "oracle"]
Start: TypeAlias = Literal["top", "any"]
Box: TypeAlias = Literal["data", "none"]

LEAST_TRUST = 0.05
DEFAULT_SURROGATE = "auto"


@dataclass(frozen=True)
class EnvConfig:
    """Arguments of `gym.make` and `gym.make_vec`; `DesignEnv` has the environment's description.

    Args:
        task: Task id, a `Task`, or the `OfflineProblem` that a method gets, which has no oracle.
        task_options: Options of `make_task` where `task` is an id.
        action_mode: ``step_vector``: z' = z + scale * a * grad f(z); ``displacement``: z' = z +
            scale * a.
        reward: ``surrogate``: the improvement by the judge, or by the surrogate where there is no
            judge. ``oracle``: the improvement of the true score, an upper bound that costs oracle
            calls and is no offline method. In standard deviations of the visible scores.
        surrogate: Name of a surrogate f, or a `Choice` of one with settings (fitted once per data
            set and cached), a fitted `Surrogate`, or None for ``auto``, the race of families.
        start: ``top``: an episode starts at one of the `n_starts` best distinct visible designs;
            ``any``: at any visible row.
        n_starts: Number of start designs.
        horizon: T, steps until an episode is truncated. Gymnasium's `max_episode_steps` is the same
            number by another name, and counts where both are given.
        action_scale: Unit of an action, a number or one of each feature; None for
            `dynamics.default_action_scale`.
        gradient: In step_vector mode, grad f is the surrogate's gradient divided by its root mean
            square over the features (``unit``), so that steps are in standard deviations, or the
            gradient as it is (``raw``, the paper's).
        encoder: Name of an encoder, see `mbo_gym.encoders.registry.make_encoder`, or an `Encoder`.
        oracle_info: Put the oracle's score of every design visited into `info` (counted oracle
            calls).
        step: In step_vector mode, an action is a ``vector`` of step sizes, one of each feature, or
            a ``scalar`` for all features.
        sign: Actions in [-1, 1] are steps in [-1, 1] (``both``), or in [0, 1] (``positive``): never
            against the gradient.
        trust: Multiply the default unit of an action by the surrogate's rank correlation on
            held-out rows, at least 0.05: the worse the surrogate, the shorter the steps.
        bounds: ``data``: designs stay in the box that the visible features span; ``none``.
        observation: ``design``: the features z; ``guided``: (z, agreement of the gradients,
            prediction, spread, steps left).
        judge: Surrogate that rewards, by the design that z decodes to. ``same``: the surrogate
            itself; ``cross``: surrogate and judge are fitted on a half of the visible rows each; or
            a fitted `Surrogate`. None: the surrogate rewards, by z itself.
        pessimism: Standard deviations of the judge's members that are subtracted from a value. None
            for 2, and for 0 with a surrogate without members.
        surrogate_seed: Seed of the surrogates that are fitted.
    """

    task: str | Task | OfflineProblem
    task_options: Mapping[str, Any] | None = None
    action_mode: ActionMode = "step_vector"
    reward: Reward = "surrogate"
    surrogate: str | Choice | Surrogate | None = None
    start: Start = "top"
    n_starts: int = 128
    horizon: int = 50
    action_scale: float | Sequence[float] | None = None
    gradient: Gradient = "unit"
    encoder: str | Encoder = "z_score"
    oracle_info: bool = False
    step: Step = "vector"
    sign: Sign = "both"
    trust: bool = False
    bounds: Box = "data"
    observation: Observation = "design"
    judge: str | Surrogate | None = None
    pessimism: float | None = None
    surrogate_seed: int = 0

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"surrogate": "mlp_paper", "gradient": "raw", "bounds": "none"},
    }
    """Named arguments: ``paper`` has the environment of PGS."""

    @classmethod
    def of(cls, preset: str | None = None, **arguments: Any) -> EnvConfig:
        """Return the config of a preset, with further arguments; those count where both are given.

        Raises:
            UnknownId: No preset has that name.
        """
        return from_preset(cls, "the environment", preset, arguments)

    def __post_init__(self) -> None:
        check_action_mode(self.action_mode)
        choices: Mapping[str, Any] = {
            "reward": Reward,
            "start": Start,
            "gradient": Gradient,
            "step": Step,
            "sign": Sign,
            "bounds": Box,
            "observation": Observation,
        }
        for name, kind in choices.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}, got {value!r}")
        if self.horizon < 1 or self.n_starts < 1:
            raise ValueError(
                f"horizon and n_starts must be at least 1, got {self.horizon=} and {self.n_starts=}"
            )
        require_at_least(self, 0, "pessimism")
        self._check_combinations()

    def _check_combinations(self) -> None:
        along = {"step": "vector", "sign": "both", "trust": False}
        for name, plain in along.items():
            value = getattr(self, name)
            if self.action_mode == "displacement" and value != plain:
                raise ValueError(
                    f"{name}={value!r} needs a gradient; pass action_mode='step_vector'"
                )
        if isinstance(self.judge, str) and self.judge not in ("same", "cross"):
            raise ValueError(
                f"judge must be 'same', 'cross', a fitted Surrogate or None, got {self.judge!r}"
            )
        if self.judge is None and self.pessimism is not None:
            raise ValueError(
                f"pessimism={self.pessimism:g} needs a judge; pass judge='same' or judge='cross'"
            )
        if self.judge == "cross" and isinstance(self.surrogate, Surrogate):
            raise ValueError(
                "judge='cross' fits two surrogates, but surrogate is a fitted one; pass the name "
                "of a surrogate, or a fitted judge"
            )

    @property
    def uses_surrogate(self) -> bool:
        """Whether actions, rewards or observations need a surrogate."""
        return self.needs_gradient or self.reward == "surrogate"

    @property
    def needs_gradient(self) -> bool:
        """Whether actions or observations need the surrogate's gradient."""
        return self.action_mode == "step_vector" or self.observation == "guided"

    @property
    def asks_oracle(self) -> bool:
        """Whether the oracle scores the designs visited."""
        return self.reward == "oracle" or self.oracle_info


@dataclass(frozen=True)
class State:
    """B states: features and what is known of them.

    Scores are in standard deviations of the visible scores.

    Args:
        z: (B, d) features.
        observation: (B, o) input of a policy.
        direction: (B, d) gradient that an action multiplies; None in displacement mode.
        prediction: (B,) prediction of the surrogate; NaN where none is used.
        score: (B,) score by the oracle; NaN where it is not asked.
        value: (B,) what rewards are differences of.
        step: Steps taken.
        horizon: Steps of an episode.
    """

    z: Tensor
    observation: Tensor
    direction: Tensor | None
    prediction: Tensor
    score: Tensor
    value: Tensor
    step: int = 0
    horizon: int = 0


class Process:
    """Starts, observations, transitions and values of batches of designs, on one device.

    Both environments and policy-guided search are made of it:

        observation    s = look(z)
        transition     z' = clip(z + scale * step * direction(z)), `mbo_gym.envs.dynamics`
        reward         r = value(z') - value(z)

    Args:
        config: Arguments of the environment.
        device: Device of the tensors.
        progress: Observer of the fit of surrogates; None for a progress bar where the error stream
            is a terminal.

    Attributes:
        problem: What a method may know.
        encoder: Map between designs and features.
        surrogate: Surrogate that predicts and gives gradients; None where none is used.
        judge: Surrogate that rewards; the surrogate itself where no other is asked for.
        dynamics: What an action does.
        starts: (n, d) features of the start designs.

    Raises:
        ValueError: Arguments do not go together.
        UnknownId: No task, surrogate or encoder has that name.

    Example:
        >>> from mbo_gym.envs.process import EnvConfig, Process
        >>> process = Process(EnvConfig("Branin-Exact-v0", surrogate="quadratic"))
        >>> state = process.at(process.starts[:4])
        >>> process.step(state, 0.1 * state.z)[1].shape
        torch.Size([4])
    """

    def __init__(
        self, config: EnvConfig, device: str = "cpu", progress: Progress | None = None
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        task = _make_task(config)
        self._task = task if isinstance(task, Task) else None
        self.problem: OfflineProblem = task.problem() if isinstance(task, Task) else task
        self.oracle = self.task.oracle() if config.asks_oracle else None
        self.encoder = (
            config.encoder
            if isinstance(config.encoder, Encoder)
            else make_encoder(self.problem, config.encoder)
        )
        self.score_scale = self.problem.dataset.score_scale
        self.low, self.high = feature_bounds(self.problem, self.encoder)
        self.surrogate: Surrogate | None = None
        self.judge: Surrogate | None = None
        self._judge: Judge | None = None
        gradient = config.gradient if config.action_mode == "step_vector" else None
        self._view: DesignView | GuidedView = DesignView(None, gradient)
        if config.uses_surrogate:
            self._take_surrogates(*self._surrogates(progress), gradient)
        self.dynamics = Dynamics(self._scale(), self._box(), config.step, config.sign)
        self.starts = self._starts()

    @property
    def drawing(self) -> Drawing | None:
        """What draws designs as what they are, where the task has it."""
        return self._task.drawing if self._task else None

    @property
    def task(self) -> Task:
        """The task, with its oracle and its facts.

        Raises:
            ValueError: The environment was given an `OfflineProblem`, which has neither.
        """
        if self._task is None:
            raise ValueError(
                f"the oracle and the facts of {self.problem.task_id} belong to its Task; this "
                "environment was given an OfflineProblem, which has neither. Pass the id of the "
                "task or its Task, or leave reward='surrogate' and oracle_info=False."
            )
        return self._task

    @property
    def scale(self) -> Tensor:
        """Unit of an action, (d,)."""
        return self.dynamics.scale

    @property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Box (d,), (d,) that designs stay in, or None."""
        return self.dynamics.bounds

    @property
    def n_actions(self) -> int:
        """Numbers in an action, m."""
        return self.dynamics.n_actions

    def observation_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest observations (o,), (o,)."""
        bounded = self.config.bounds == "data"
        return observation_box(self.config.observation, self.low, self.high, bounded=bounded)

    def start(
        self,
        n: int,
        rng: np.random.Generator,
        options: Mapping[str, Any] | None = None,
        horizon: int | None = None,
    ) -> State:
        """Return `n` first states, drawn from the start designs or given.

        Args:
            n: B.
            rng: Source of the draw.
            options: ``{"design": array of shape (*shape) or (n, *shape)}`` starts there instead; on
                mixed spaces also a mapping by name, or a list of them.
            horizon: Steps of an episode; None for that of the config.

        Raises:
            InvalidDesign: A given design lies outside the space.
        """
        if options and "design" in options:
            return self.at(self._given(n, options["design"]), horizon=horizon)
        rows = torch.from_numpy(rng.integers(len(self.starts), size=n)).to(self.device)
        return self.at(self.starts[rows], horizon=horizon)

    def at(self, z: Tensor, step: int = 0, horizon: int | None = None) -> State:
        """Return the states at features (B, d).

        Args:
            z: (B, d) features on the device.
            step: Steps taken.
            horizon: Steps of an episode; None for that of the config.
        """
        horizon = self.config.horizon if horizon is None else horizon
        look = self.look(z, 1 - step / max(horizon, 1))
        score = self._score(z)
        if self.config.reward == "oracle":
            value = score
        elif self.config.judge is None:
            value = look.prediction
        else:
            value = self.value(z)
        return State(z, *look, score, value, step, horizon)

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor]:
        """Return the next states and the rewards (B,) of actions (B, m)."""
        z = self.move(state.z, state.direction, action)
        after = self.at(z, state.step + 1, state.horizon)
        return after, after.value - state.value

    def look(self, z: Tensor, left: Tensor | float) -> Look:
        """Return observation, direction and prediction at features (B, d).

        Args:
            z: (B, d) features.
            left: Share of steps left, a number or (B,).
        """
        return self._view(z, left)

    def move(self, z: Tensor, direction: Tensor | None, action: Tensor) -> Tensor:
        """Return the next features (B, d) of actions (B, m), see `Dynamics.move`."""
        return self.dynamics.move(z, direction, action)

    def value(self, z: Tensor) -> Tensor:
        """Return what rewards are differences of, (N,), of features (N, d), in bounded memory."""
        if self.config.reward == "oracle":
            return self._score(z)
        if self._judge is not None and self.config.judge is not None:
            return self._judge.value(z)
        view = DesignView(self.surrogate, None)
        return predict_in_pieces(lambda part: view(part, 0.0).prediction, z)

    def designs(self, z: Tensor) -> np.ndarray:
        """Return the native designs (B, *shape) of features (B, d)."""
        x = self.encoder.decode_tensor(z).cpu().numpy()
        return x.astype(self.problem.space.dtype, copy=False)

    def design(self, z: Tensor) -> Any:
        """Return the design of features (d,): numbers, on mixed spaces the user's terms by name."""
        x = self.designs(z[None])
        space = self.problem.space
        return space.values(x)[0] if isinstance(space, MixedSpace) else x[0]

    def _given(self, n: int, design: Any) -> Tensor:
        """Return the features (n, d) of given designs, clipped to the box."""
        space = self.problem.space
        if isinstance(design, Mapping):
            design = self._parsed([design])[0]
        elif isinstance(design, (list, tuple)) and any(isinstance(d, Mapping) for d in design):
            design = self._parsed(design)
        x = np.asarray(design)
        x = np.broadcast_to(x, (n, *space.shape)) if x.ndim == 1 else x
        inside = space.contains(x)
        if not inside.all() or len(x) != n:
            row = int(np.argmin(inside))
            reason = "" if inside.all() else f"; row {row}: {space.why_not(x[row])}"
            raise InvalidDesign(
                f"need {n} designs inside the space to start from, got {len(x)} of which "
                f"{int(inside.sum())} are{reason}"
            )
        z = torch.from_numpy(self.encoder.encode(x)).to(self.device)
        if self.bounds is None:
            return z
        return torch.minimum(torch.maximum(z, self.bounds[0]), self.bounds[1])

    def _parsed(self, designs: Sequence[Any]) -> np.ndarray:
        """Return designs given by name as rows (n, slots)."""
        space = self.problem.space
        if not isinstance(space, MixedSpace):
            raise InvalidDesign(
                f"{self.problem.task_id} has a {space.kind} space, whose designs have no names; "
                f"pass an array of shape {space.shape}"
            )
        if not all(isinstance(design, Mapping) for design in designs):
            raise InvalidDesign("start designs are all mappings by name, or all rows of numbers")
        return space.parse(designs)

    def _score(self, z: Tensor) -> Tensor:
        """Return the standardised score (B,) by the oracle, NaN where it is not asked."""
        if self.oracle is None:
            return torch.full_like(z[:, 0], math.nan)
        raw = self.oracle.score_tensor(self.encoder.decode_tensor(z))
        return (raw - self.score_scale.mean) / self.score_scale.std

    def _surrogates(self, progress: Progress | None) -> tuple[Surrogate, Surrogate]:
        """Return guide and judge: the given ones, or fitted by name."""
        if progress is None and not isinstance(self.config.surrogate, Surrogate):
            with RichProgress() as progress:
                return self._surrogates(progress)
        config = self.config
        if isinstance(config.surrogate, Surrogate):
            guide = config.surrogate.to(self.device)
            judge = guide
            if config.needs_gradient:
                guide.require_gradient()
        else:
            guide, judge = fit_guide_and_judge(
                self.problem,
                self.encoder,
                config.surrogate or DEFAULT_SURROGATE,
                "cross" if config.judge == "cross" else "same",
                seed=config.surrogate_seed,
                device=str(self.device),
                progress=progress,
                cached=True,
                climbed=config.needs_gradient,
            )
        if isinstance(config.judge, Surrogate):
            judge = config.judge.to(self.device)
        return guide, judge

    def _take_surrogates(
        self, guide: Surrogate, judge: Surrogate, gradient: Gradient | None
    ) -> None:
        """Build what looks and judges."""
        self.surrogate = guide
        self.judge = judge
        self._judge = Judge(
            judge, self.encoder, 0.0 if self.config.judge is None else self.config.pessimism
        )
        if self.config.observation == "guided":
            self._view = GuidedView(guide, self._judge, gradient)
        else:
            self._view = DesignView(guide, gradient)

    def _scale(self) -> Tensor:
        """Return the unit of an action, (d,)."""
        config = self.config
        scale: Tensor = default_action_scale(
            self.problem, self.encoder, config.action_mode, config.gradient
        )
        if config.action_scale is not None:
            given = torch.as_tensor(config.action_scale, dtype=torch.float32)
            scale = given.expand(self.encoder.n_features)
        elif config.trust and self.surrogate is not None and self.surrogate.report:
            known = self.surrogate.report.rank_correlation
            scale = scale * (1.0 if math.isnan(known) else max(known, LEAST_TRUST))
        scale = scale.to(self.device)
        if not bool((scale > 0).all()):
            raise ValueError(f"action_scale must be positive, got {config.action_scale}")
        return scale

    def _box(self) -> tuple[Tensor, Tensor] | None:
        """Return the box that designs are clipped to, or None."""
        if self.config.bounds == "none":
            return None
        low = torch.from_numpy(self.low).to(self.device)
        return low, torch.from_numpy(self.high).to(self.device)

    def _starts(self) -> Tensor:
        """Return the features (n, d) of the start designs."""
        dataset = self.problem.dataset
        rows = (
            dataset.top_rows(self.config.n_starts)
            if self.config.start == "top"
            else np.arange(len(dataset))
        )
        return torch.from_numpy(self.encoder.encode(dataset.x[rows])).to(self.device)


def _make_task(config: EnvConfig) -> Task | OfflineProblem:
    """Return the task of an environment, made where it is an id."""
    if isinstance(config.task, str):
        return make_task(config.task, **(config.task_options or {}))
    if config.task_options:
        given = type(config.task).__name__
        raise ValueError(f"task_options belong to a task id; this environment was given a {given}")
    return config.task
