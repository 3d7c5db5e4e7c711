"""Gradient ascent on a surrogate from the best visible designs: Grad, GradMean and GradMin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.methods.ascent import GradientAscent, ascend
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Bounds, Fitted
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.base import predict_in_pieces
from mbo_gym.surrogates.registry import make_surrogate

__all__ = [
    "LIGHT_SURROGATE",
    "ORDER",
    "AscentConfig",
    "Climb",
    "Grad",
    "GradConfig",
    "GradMean",
    "GradMin",
    "MeanConfig",
    "MinConfig",
    "ascend_from_best",
    "moved_or_climbed",
]

__getattr__ = forwarded(__name__)  # names that have moved


_PAPER = (
    "Trabucco et al. 2022, Design-Bench: Benchmarks for Data-Driven Offline Model-Based "
    "Optimization, arXiv 2202.08450"
)
_METRICS = {
    "ascent/prediction": "mean prediction of the designs at a step, in standard deviations of the "
    "visible scores",
    "ascent/diverged": "designs that became inf or NaN and were reset to their start",
}
ORDER = Difference(
    "all designs of the budget are scored, in no order",
    "proposals are ordered by the surrogate's prediction",
    "every method here proposes its best first",
)
"""Order of the proposals: what most methods of gradient ascent differ in from their papers."""

_NETWORK = Difference(
    "2 x 2048 units, LeakyReLU, Gaussian likelihood with a learned spread",
    "2 x 256 units, ReLU, squared error; preset `paper` has 2 x 2048, ReLU, squared error",
    "seconds in place of minutes on a CPU; one network for all methods",
)
_NETWORK_OF_MEMBERS = replace(
    _NETWORK,
    here="members of 2 x 128 units, ReLU, squared error; preset `paper` has 2 x 2048, ReLU, "
    "squared error",
)
_TRAINING = Difference(
    "100 epochs (Superconductor: 50), batches of 128, a constant learning rate of 3e-4",
    "3,000 updates, batches of 256, a rate that decays from 1e-3 to 0 along a cosine; preset "
    "`paper`: 11,600 updates (50 epochs of TFBind8), batches of 128, from 3e-4 along a cosine",
    "one training recipe for all surrogates; its time does not grow with the data",
)
_TRAINING_OF_MEMBERS = replace(_TRAINING, here=_TRAINING.here.replace("3,000", "1,500", 1))
_RECIPE = Difference(
    "plain steps of 0.01 sqrt(d) in design-baselines; Adam's of 1e-3 (categorical 1e-1) in BDI, "
    "ICT and DEMO",
    "both, by `ascent.optimiser`; plain by default",
    "published maxima of Grad on AntMorphology: 0.291 by the first, 0.927 by the second (8 seeds)",
)
_BOOTSTRAPS = Difference(
    "members are trained on bootstraps",
    "members differ in initial weights and order of batches; `surrogate.bootstrap=true` draws "
    "bootstraps",
    "one ensemble for all methods",
)
_MEAN = Difference(
    "the released program climbs the lowest member, for the mean too",
    "the mean of the members is climbed",
    "the mean is what the paper describes",
)


@dataclass(frozen=True)
class AscentConfig:
    """Settings of gradient ascent on any surrogate.

    Args:
        optimiser: ``plain``, or ``adam``.
        steps: Ascent steps; None for the recipe's: 200, and 100 for adam on categorical spaces.
        step_size: Size of a step; None for the recipe's: 0.01 sqrt(d) for plain, 1e-3 (categorical
            1e-1) for adam.
        bounds: ``none``, or ``data``: after each step, features are clipped to the box that the
            visible designs span.
    """

    optimiser: Literal["plain", "adam"] = "plain"
    steps: int | None = None
    step_size: float | None = None
    bounds: Bounds = "none"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "steps", "step_size")

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps and their size for a problem."""
        categorical = isinstance(problem.space, CategoricalSpace)
        if self.optimiser == "plain":
            steps, size = 200, 0.01 * n_features**0.5
        else:
            steps, size = (100, 1e-1) if categorical else (200, 1e-3)
        return (
            steps if self.steps is None else self.steps,
            size if self.step_size is None else self.step_size,
        )


def ascend_from_best(fitted: Fitted, config: AscentConfig, k: int) -> Proposals:
    """Climb a surrogate from the `k` best visible designs; propose the ends, highest prediction
    first."""
    steps, size = config.recipe(fitted.problem, fitted.encoder.n_features)
    ends = ascend(
        fitted.surrogate,
        fitted.starts(k),
        config.optimiser,
        steps,
        size,
        box=fitted.box(config.bounds),
        progress=fitted.context.progress,
        watch=fitted.watch("ascent", steps),
    )
    return fitted.best(ends, k)


class Climb:
    """Gradient ascent from the `k` best visible designs, for a method that computes the gradient.

    Args:
        fitted: Encoder and surrogate; predictions of the surrogate order the ends.
        config: Settings of the ascent.
        k: Number of designs.

    Example:
        ::

            climb = Climb(fitted, config, k)
            for z in climb.steps():  # (k, d)
                climb.move(gradient(z))
            return climb.proposals()
    """

    def __init__(self, fitted: Fitted, config: AscentConfig, k: int) -> None:
        self._n_steps, size = config.recipe(fitted.problem, fitted.encoder.n_features)
        self._fitted = fitted
        self._ascent = GradientAscent(
            fitted.starts(k), config.optimiser, size, fitted.box(config.bounds)
        )
        self._watch = fitted.watch("ascent", self._n_steps)

    @property
    def z(self) -> Tensor:
        """Features (k, d) after the steps taken so far."""
        return self._ascent.z

    def steps(self) -> Iterator[Tensor]:
        """Yield the features (k, d) once a step, before it is taken."""
        surrogate = self._fitted.surrogate
        for step in self._fitted.context.progress.track(range(self._n_steps), "gradient ascent"):
            if self._watch.is_due(step):
                self._watch(step, self.z, predict_in_pieces(surrogate.predict, self.z))
            yield self.z

    def move(self, gradient: Tensor) -> None:
        """Take one step along a gradient (k, d)."""
        self._ascent.step(gradient)

    def proposals(self) -> Proposals:
        """Return the designs reached, the highest prediction first."""
        ends, diverged = self._ascent.ends()
        if diverged:
            self._fitted.context.progress.metrics("ascent", self._n_steps, diverged=diverged)
        prediction = predict_in_pieces(self._fitted.surrogate.predict, ends)
        self._watch(self._n_steps, ends, prediction)
        return self._fitted.best(ends, len(ends))


def moved_or_climbed(fitted: Fitted, moved: Tensor, config: AscentConfig, k: int) -> Proposals:
    """Propose the best of the designs that a fit has moved, highest prediction first.

    Where more are asked for, the next best visible designs climb the finished surrogate.

    Args:
        fitted: Encoder and surrogate.
        moved: (n, d) features of the designs moved, which started from the best visible ones.
        config: Settings of the further ascent.
        k: Number of designs.
    """
    if k <= len(moved):
        return fitted.best(moved, k)
    steps, size = config.recipe(fitted.problem, fitted.encoder.n_features)
    ends = ascend(
        fitted.surrogate,
        fitted.starts(k)[len(moved) :],
        config.optimiser,
        steps,
        size,
        box=fitted.box(config.bounds),
        progress=fitted.context.progress,
        watch=fitted.watch("ascent", steps),
    )
    return fitted.best(torch.cat([moved, ends]), k)


@dataclass(frozen=True)
class GradConfig:
    """Settings of `Grad`.

    Args:
        surrogate: Surrogate that is climbed.
        ascent: Settings of the ascent.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("mlp")
    ascent: AscentConfig = AscentConfig()
    encoder: str = "z_score"


@dataclass(frozen=True)
class MeanConfig:
    """Settings of `GradMean`.

    Args:
        surrogate: Surrogate that is climbed.
        ascent: Settings of the ascent.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("light_ensemble")
    ascent: AscentConfig = AscentConfig()
    encoder: str = "z_score"


@dataclass(frozen=True)
class MinConfig:
    """Settings of `GradMin`.

    Args:
        surrogate: Surrogate that is climbed.
        ascent: Settings of the ascent.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("light_min_ensemble")
    ascent: AscentConfig = AscentConfig()
    encoder: str = "z_score"


_ADAM = AscentConfig(optimiser="adam")
_BOXED = AscentConfig(bounds="data")
_LIGHT_ENSEMBLE = {"members": 3, "hidden": 16, "train_steps": 40, "batch_size": 64}


class Grad(Method):
    """Grad: gradient ascent on one network (Trabucco et al., Design-Bench, 2022).

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. z <- the features of the K best visible designs
        3. repeat: z <- z + step_size * grad f(z)   (plain), or Adam's step on this gradient (adam)
        4. propose z, the highest f(z) first

    Args:
        config: Settings; preset `paper` (also `paper_plain`) has design-baselines' network and
            plain recipe, `paper_adam` the other recipe.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("grad", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Trabucco et al. 2022, Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Grad: gradient ascent on one network",
        paper=_PAPER,
        differences=(_NETWORK, _TRAINING, _RECIPE, ORDER),
        metrics=_METRICS,
        equations=(r"z_{t+1} = z_t + \eta \nabla f(z_t)",),
    )
    Config: ClassVar[type[Any]] = GradConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "plain": GradConfig(),
        "adam": GradConfig(ascent=_ADAM),
        "boxed": GradConfig(ascent=_BOXED),
        "paper": GradConfig(surrogate=Choice("mlp_paper")),
        "paper_plain": GradConfig(surrogate=Choice("mlp_paper")),
        "paper_adam": GradConfig(surrogate=Choice("mlp_paper"), ascent=_ADAM),
        "light": GradConfig(surrogate=LIGHT_SURROGATE, ascent=AscentConfig(steps=20)),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context, climbed=True)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        return ascend_from_best(self.fitted, self.config.ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)


class GradMean(Method):
    """GradMean: gradient ascent on the mean of five networks (Trabucco et al., Design-Bench, 2022).

    By default, members are 2 x 128, trained half as long as the network of `Grad`: less error on
    held-out rows of TFBind8 and Levy, slightly more on Superconductor.

    Algorithm:
        1. fit five networks f_m on the features of the visible designs; they differ in initial
           weights and order of batches; f <- their mean
        2. z <- the features of the K best visible designs
        3. repeat: z <- z + step_size * grad f(z)   (plain), or Adam's step on this gradient (adam)
        4. propose z, the highest f(z) first

    Args:
        config: Settings; preset `paper` has members of 2 x 2048.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("grad_mean", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Trabucco et al. 2022, Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="GradMean: gradient ascent on the mean of an ensemble",
        paper=_PAPER,
        differences=(_MEAN, _BOOTSTRAPS, _NETWORK_OF_MEMBERS, _TRAINING_OF_MEMBERS, ORDER),
        metrics=_METRICS,
        equations=(r"z_{t+1} = z_t + \eta \nabla \tfrac{1}{M} \sum_m f_m(z_t)",),
    )
    Config: ClassVar[type[Any]] = MeanConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": MeanConfig(surrogate=Choice("mean_ensemble_paper")),
        "boxed": MeanConfig(ascent=_BOXED),
        "light": MeanConfig(
            surrogate=Choice("mean_ensemble", _LIGHT_ENSEMBLE), ascent=AscentConfig(steps=20)
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ensemble."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context, climbed=True)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        return ascend_from_best(self.fitted, self.config.ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the ensemble."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the ensemble."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)


class GradMin(Method):
    """GradMin: gradient ascent on the lowest of five networks (Trabucco et al., Design-Bench,
    2022).

    Members are those of `GradMean`.

    Algorithm:
        1. fit five networks f_m on the features of the visible designs; they differ in initial
           weights and order of batches; f(z) <- the lowest f_m(z), chosen anew at each z
        2. z <- the features of the K best visible designs
        3. repeat: z <- z + step_size * grad f(z)   (plain), or Adam's step on this gradient (adam)
        4. propose z, the highest f(z) first

    Args:
        config: Settings; preset `paper` has members of 2 x 2048.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("grad_min", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Trabucco et al. 2022, Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="GradMin: gradient ascent on the minimum of an ensemble",
        paper=_PAPER,
        differences=(_BOOTSTRAPS, _NETWORK_OF_MEMBERS, _TRAINING_OF_MEMBERS, ORDER),
        metrics=_METRICS,
        equations=(r"z_{t+1} = z_t + \eta \nabla \min_m f_m(z_t)",),
    )
    Config: ClassVar[type[Any]] = MinConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": MinConfig(surrogate=Choice("min_ensemble_paper")),
        "boxed": MinConfig(ascent=_BOXED),
        "light": MinConfig(
            surrogate=Choice("min_ensemble", _LIGHT_ENSEMBLE), ascent=AscentConfig(steps=20)
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ensemble."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context, climbed=True)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        return ascend_from_best(self.fitted, self.config.ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the ensemble."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the ensemble."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)
