"""Models of the score that judge data and designs: of a mean, trends, trees, kernels, networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.surrogates.sequence import SequenceRidgeConfig

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Committee",
    "Constant",
    "Ensemble",
    "Forest",
    "Kernel",
    "Letters",
    "Linear",
    "Model",
    "Trend",
    "default_models",
    "parameter_columns",
    "plain_features",
    "shares",
]

N_TREES = 100
RIDGE = tuple(np.logspace(-3, 3, 13))
"""Penalties that the linear model chooses from, by leave-one-out."""
ENSEMBLE = Choice("mean_ensemble", {"hidden": 64, "members": 3})
"""Surrogate of the ensemble: smaller than a method's, since it is fitted once a fold."""
STEPS_BY_ROOT = 16
"""Updates of the ensemble for each square root of the number of rows."""
MOST_OF_A_QUADRATIC = 20
"""Features of a full quadratic at most."""
KERNEL_ROWS = 1000
"""Rows that a kernel's settings are chosen on; it is fitted on twice as many."""
LEAST_WEIGHT = 0.05
"""Share below which a model is left out of the committee."""


def plain_features(space: DesignSpace, x: np.ndarray) -> np.ndarray:
    """Return designs (N, *shape) as numbers and 0/1 indicators of words and letters; (N, d)."""
    if isinstance(space, CategoricalSpace):
        letters = np.eye(space.n_categories, dtype=np.float32)
        width = space.length * space.n_categories
        return letters[np.asarray(x, dtype=np.int64)].reshape(len(x), width)
    if isinstance(space, MixedSpace):
        return space.features(x)
    return np.asarray(x, dtype=np.float32)


def parameter_columns(space: DesignSpace) -> dict[str, list[int]]:
    """Return the columns of `plain_features` that belong to each parameter, by name.

    A sequence counts as one parameter a site. Constants have no column and are left out.
    """
    if isinstance(space, CategoricalSpace):
        width = space.n_categories
        return {
            f"{space.name} {j + 1}": list(range(j * width, (j + 1) * width))
            for j in range(space.length)
        }
    if not isinstance(space, MixedSpace):
        return {name: [j] for j, name in enumerate(space.names)}
    found: dict[str, list[int]] = {}
    first = 0
    for parameter in space.parameters:
        alone = MixedSpace((parameter,))
        width = alone.n_features
        sites = parameter.size
        for site in range(sites if width else 0):
            name = parameter.name if sites == 1 else f"{parameter.name} {site + 1}"
            step = width // sites
            found[name] = list(range(first + site * step, first + (site + 1) * step))
        first += width
    return found


class Model(ABC):
    """A model of the score, fitted on rows of a problem.

    Attributes:
        name: Short name.
        title: Name for a table.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def fit(self, problem: OfflineProblem, rows: np.ndarray, seed: int) -> Model:
        """Fit on the visible rows (n,); returns itself."""

    @abstractmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the raw scores of designs (N, *shape), higher is better; (N,) float64."""


class Constant(Model):
    """The mean of the scores."""

    name = "constant"
    title = "Constant (the mean)"

    def fit(self, problem: OfflineProblem, rows: np.ndarray, seed: int) -> Constant:
        """Take the (weighted) mean."""
        y = problem.dataset.y[rows].astype(np.float64)
        self.value = float(np.average(y, weights=_weights(problem, rows)))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the mean for each design."""
        return np.full(len(x), self.value)


class Linear(Model):
    """Ridge regression on standardised features; the penalty is chosen by leave-one-out."""

    name = "linear"
    title = "Linear (ridge)"

    def fit(self, problem: OfflineProblem, rows: np.ndarray, seed: int) -> Linear:
        """Fit the coefficients."""
        from sklearn.linear_model import RidgeCV

        self.space = problem.space
        z = plain_features(problem.space, problem.dataset.x[rows]).astype(np.float64)
        self.mean = z.mean(axis=0)
        std = z.std(axis=0)
        self.std = np.where(std > 0, std, 1.0)
        y = problem.dataset.y[rows].astype(np.float64)
        self.model = RidgeCV(alphas=np.array(RIDGE) * len(rows) ** 0.5)
        self.model.fit((z - self.mean) / self.std, y, sample_weight=_weights(problem, rows))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict by the coefficients."""
        z = (plain_features(self.space, x) - self.mean) / self.std
        return np.asarray(self.model.predict(z), dtype=np.float64)


class Forest(Model):
    """Random forest on numbers and indicators."""

    name = "forest"
    title = f"Forest ({N_TREES} trees)"

    def fit(self, problem: OfflineProblem, rows: np.ndarray, seed: int) -> Forest:
        """Grow the trees."""
        from sklearn.ensemble import RandomForestRegressor

        self.space = problem.space
        self.model = RandomForestRegressor(
            N_TREES, max_features=0.5, min_samples_leaf=1, random_state=seed, n_jobs=1
        )
        z = plain_features(problem.space, problem.dataset.x[rows])
        self.model.fit(z, problem.dataset.y[rows], sample_weight=_weights(problem, rows))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the mean of the trees."""
        return np.asarray(self.model.predict(plain_features(self.space, x)), dtype=np.float64)


class _OfSurrogate:
    """What models share that are one of mbo_gym's surrogates, on z-scored features.

    Predictions end at the range of the fitted scores, widened by half of it on each side: networks
    and trends extrapolate without limit.
    """

    def fit(self, problem: OfflineProblem, rows: np.ndarray, seed: int) -> Self:
        """Fit the surrogate."""
        self.encoder = make_encoder(problem)
        self.scale = problem.dataset.score_scale
        surrogate = self.make(len(rows))
        self.surrogate = fit_surrogate(problem, self.encoder, surrogate, seed=seed, rows=rows)
        y = problem.dataset.y[rows].astype(np.float64)
        room = 0.5 * float(np.ptp(y))
        self.ends = (float(y.min()) - room, float(y.max()) + room)
        return self

    @abstractmethod
    def make(self, n: int) -> Surrogate:
        """Make the surrogate for `n` rows."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the surrogate's prediction, inside the ends."""
        z = self.encoder.features(x)
        value = self.scale.restore(predict_in_pieces(self.surrogate.predict, z).cpu().numpy())
        return np.asarray(np.clip(value, *self.ends))


class Trend(_OfSurrogate, Model):
    """The polynomial of degree 1 or 2 with the least leave-one-out error."""

    name = "trend"
    title = "Trend (polynomial)"

    def make(self, n: int) -> Surrogate:
        """Make the trend; a full quadratic where its terms are few."""
        return make_surrogate("trend", held_out=0.0, max_features=MOST_OF_A_QUADRATIC)


class Kernel(_OfSurrogate, Model):
    """Kernel ridge regression, the mean of a Gaussian process."""

    name = "kernel"
    title = "Kernel (Gaussian)"

    def make(self, n: int) -> Surrogate:
        """Make the kernel."""
        return make_surrogate(
            "kernel", held_out=0.0, max_rows=2 * KERNEL_ROWS, chosen_on=KERNEL_ROWS
        )


class Letters(_OfSurrogate, Model):
    """Ridge regression on letters at sites, pairs of them and gapped triples."""

    name = "letters"
    title = "Letters (pairs, triples)"

    def make(self, n: int) -> Surrogate:
        """Make the regression."""
        return make_surrogate("sequence_ridge", held_out=0.0)


class Ensemble(_OfSurrogate, Model):
    """Mean of the networks of mbo_gym's ensemble surrogate."""

    name = "ensemble"
    title = "Ensemble (networks)"

    def make(self, n: int) -> Surrogate:
        """Make the networks, which train longer on more rows."""
        steps = int(STEPS_BY_ROOT * n**0.5)
        return make_surrogate(ENSEMBLE, held_out=0.0, train_steps=steps)


@dataclass(frozen=True, eq=False)
class Committee:
    """Weighted mean of models.

    Args:
        models: Fitted models.
        weights: (models,) share of each, sum 1.
    """

    models: tuple[Model, ...]
    weights: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the raw scores of designs (N, *shape); (N,) float64."""
        return np.asarray(self.weights @ self.each(x))

    def each(self, x: np.ndarray) -> np.ndarray:
        """Return the prediction of every model, (models, N) float64."""
        return np.stack([model.predict(x) for model in self.models])


def default_models(space: DesignSpace) -> tuple[type[Model], ...]:
    """Return the kinds that health compares on a space, the constant first.

    The families that race in `mbo_gym.surrogates.auto`, where they are quick enough to be fitted
    once a fold.
    """
    if not isinstance(space, CategoricalSpace):
        return (Constant, Linear, Trend, Forest, Kernel, Ensemble)
    few = space.length * (space.n_categories - 1) <= SequenceRidgeConfig().max_terms
    return (Constant, Linear, *((Letters,) if few else ()), Forest, Kernel, Ensemble)


def shares(r2: np.ndarray) -> np.ndarray:
    """Return the committee's share of each model by its held-out R2, (models,); sum 1 or 0.

    A share goes by (R2 / best R2)^2 times the squared ratio of the least unexplained share 1 - R2
    to the model's own. Shares below 0.05 of the best one's are 0, and so is that of a model with R2
    of at most 0.
    """
    good = np.clip(np.nan_to_num(r2, nan=0.0), 0.0, 1.0)
    if not good.any():
        return np.zeros(len(r2))
    unexplained = 1.0 - good + 1e-6
    weight = (good / good.max()) ** 2 * (unexplained.min() / unexplained) ** 2
    weight[weight < LEAST_WEIGHT] = 0.0
    return np.asarray(weight / weight.sum())


def _weights(problem: OfflineProblem, rows: np.ndarray) -> np.ndarray | None:
    weights = problem.dataset.weights()
    return None if weights is None else weights[rows].astype(np.float64)
