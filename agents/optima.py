"""Controls with a model in closed form: its optimum is what any method has to beat.

On most tasks of the literature they beat the published methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, search
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.surrogates.sequence import SequenceRidgeConfig, SequenceRidgeSurrogate
from mbo_gym.surrogates.trend import TrendConfig, TrendSurrogate

__all__ = [
    "KernelCrossover",
    "KernelCrossoverConfig",
    "LinearCorner",
    "OptimumConfig",
    "PairRidge",
    "TrendOptimum",
]

_ENCODER = "z_score"


@dataclass(frozen=True)
class OptimumConfig:
    """Settings of a search for the optimum of a model.

    Args:
        search: Settings of the search.
    """

    search: SearchConfig = SearchConfig()


@dataclass(frozen=True)
class KernelCrossoverConfig:
    """Settings of `KernelCrossover`.

    Args:
        surrogate: Kernel surrogate.
        search: Settings of the search.
    """

    surrogate: Choice = Choice("kernel")
    search: SearchConfig = SearchConfig()


_LIGHT = OptimumConfig(SearchConfig(generations=2, children=128, population=32, ascent_steps=50))


class _Optimum:
    """What the controls of this module share: one model, and the search that the space allows."""

    config: Any
    problem: OfflineProblem
    context: Context
    fitted: Fitted
    climb: ClassVar[bool] = True
    _model: Callable[[], Surrogate]  # a subclass's method: the unfitted model

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the model."""
        self.start(problem, context)  # type: ignore[attr-defined]
        self.fitted = Fitted.fit(problem, self._model(), _ENCODER, context)

    def propose(self, k: int) -> Proposals:
        """Return the `k` best new designs found; the criterion is the prediction."""
        return search(self.fitted, k, self.config.search, climb=self.climb)[0]

    def write_state(self, folder: Path) -> None:
        """Write the model."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the model."""
        self.fitted = Fitted.load(folder, self.problem, _ENCODER, self.context, self._model())


class LinearCorner(_Optimum, Method):
    """LinearCorner: the best corner of the data's box by linear regression.

    Algorithm:
        1. regress the scores on the features of the visible designs (ridge regression; its weight
           by leave-one-out)
        2. take the designs where the line is highest: climb to the corner of the box that the
           visible designs span; where all designs can be listed, take the best of them
        3. propose the K best that were not measured; near the corner there are always more

    Args:
        config: Settings of the search.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("linear_corner", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="LinearCorner: the best corner of the data's box by linear regression",
        kind="control",
    )
    Config: ClassVar[type[Any]] = OptimumConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": _LIGHT}
    CONTROL: ClassVar[bool] = True

    def _model(self) -> Surrogate:
        return TrendSurrogate(TrendConfig(("linear",)))


class TrendOptimum(_Optimum, Method):
    """TrendOptimum: the optimum of an isotropic quadratic in the data's box.

    It has one number more than a line, and is right wherever the score falls off evenly from one
    place.

    Algorithm:
        1. regress the scores on the features u of the visible designs and on |u|^2 (ridge
           regression; its weight by leave-one-out)
        2. climb that quadratic inside the box that the visible designs span; where all designs can
           be listed, take the best of them
        3. propose the K best that were not measured

    Args:
        config: Settings of the search.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("trend", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="TrendOptimum: the optimum of an isotropic quadratic in the data's box",
        kind="control",
    )
    Config: ClassVar[type[Any]] = OptimumConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": _LIGHT}
    CONTROL: ClassVar[bool] = True

    def _model(self) -> Surrogate:
        return TrendSurrogate(TrendConfig(("isotropic",)))


class PairRidge(_Optimum, Method):
    """PairRidge: the best designs by ridge regression on pairs.

    Algorithm:
        1. regress the scores on letters at sites and on pairs of them; on spaces with numbers, on
           features, their squares and products (squares alone beyond 60 features); the ridge weight
           by leave-one-out
        2. search the model: all designs where they can be listed, the data's box otherwise
        3. propose the K best that were not measured

    Args:
        config: Settings of the search.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("pair_ridge", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="PairRidge: the best designs by ridge regression on pairs", kind="control"
    )
    Config: ClassVar[type[Any]] = OptimumConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": _LIGHT}
    CONTROL: ClassVar[bool] = True

    def _model(self) -> Surrogate:
        if isinstance(self.problem.space, CategoricalSpace):
            return SequenceRidgeSurrogate(SequenceRidgeConfig(("pairs",)))
        return TrendSurrogate(TrendConfig(("diagonal", "full"), concave=False))


class KernelCrossover(_Optimum, Method):
    """KernelCrossover: designs crossed from the best visible ones, by kernel ridge regression.

    Far from the data a Gaussian kernel predicts the mean, so the search stays where it knows.

    Algorithm:
        1. fit ridge regression with a Gaussian kernel (`KernelSurrogate`)
        2. cross and change the best visible designs for ten generations (`search`); where all
           designs can be listed, take the best of them
        3. propose the K best that were not measured

    Args:
        config: Settings; the surrogate and the search.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("kernel_crossover", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="KernelCrossover: crossed designs, filtered by kernel ridge regression",
        kind="control",
    )
    Config: ClassVar[type[Any]] = KernelCrossoverConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "light": KernelCrossoverConfig(Choice("light_kernel"), _LIGHT.search)
    }
    CONTROL: ClassVar[bool] = True
    climb: ClassVar[bool] = False

    def _model(self) -> Surrogate:
        return make_surrogate(self.config.surrogate)
