"""Light models and three kinds of problems for the tests of batches."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.batch import models
from mbo_gym.problem.constraints import FixedSum, LinearLimit
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice


@pytest.fixture(autouse=True)
def light_models(monkeypatch):
    """Small models: the tests are about what is done with them."""
    monkeypatch.setattr(models, "N_TREES", 30)
    monkeypatch.setattr(models, "STEPS_BY_ROOT", 4)
    ensemble = Choice("mean_ensemble", {"hidden": 16, "members": 2, "learning_rate": 1e-2})
    monkeypatch.setattr(models, "ENSEMBLE", ensemble)


def continuous(n: int = 120, noise: float = 0.0) -> OfflineProblem:
    """Three numbers with one, two and no decimals; the score falls with the distance from a
    point."""
    rng = np.random.default_rng(0)
    low, high = np.array([20, 0, 100]), np.array([90, 1, 900])
    x = np.column_stack(
        [np.round(rng.uniform(a, b, n), d) for a, b, d in zip(low, high, (1, 2, 0), strict=True)]
    )
    z = (x - low) / (high - low)
    y = 10 - 20 * ((z - [0.6, 0.4, 0.5]) ** 2).sum(axis=1) + noise * rng.normal(size=n)
    space = ContinuousSpace(low, high, ("heat", "salt", "flow"))
    return OfflineProblem("test", space, OfflineDataset(x.astype(np.float32), y), (0.0, 1.0))


def categorical(n: int = 150) -> OfflineProblem:
    """Sequences of 5 letters; the score counts C, the first place twice."""
    rng = np.random.default_rng(1)
    space = CategoricalSpace(5, 4, tuple("ACGT"), "dna")
    x = space.sample(n, rng)
    y = (x == 1).sum(axis=1) + (x[:, 0] == 1) + 0.1 * rng.normal(size=n)
    return OfflineProblem("test", space, OfflineDataset(x, y), (0.0, 1.0))


def mixed(n: int = 150, *, failures: bool = False) -> OfflineProblem:
    """A recipe of three fractions, a temperature in steps, a count, words and levels."""
    rng = np.random.default_rng(2)
    space = MixedSpace(
        (
            Real("temperature", 20, 100, step=5),
            Category("catalyst", ("Pd", "Ni", "Cu")),
            Integer("count", 1, 6),
            Levels("order", (2, 4, 8)),
            Real("acid", 0, 1),
            Real("base", 0, 1),
            Real("water", 0, 1),
        ),
        (
            FixedSum(("acid", "base", "water"), 1.0),
            LinearLimit({"acid": 1.0, "base": 2.0}, high=1.2),
        ),
    )
    x = space.sample(n, rng)
    y = -(((x[:, 0] - 60) / 20) ** 2) + np.array([3.0, 1.0, 0.0])[x[:, 1].astype(int)] + x[:, 2]
    y += 0.1 * rng.normal(size=n)
    bad = x[:, 0] > 85 if failures else np.zeros(n, dtype=bool)
    data = OfflineDataset(x[~bad], y[~bad], failed=x[bad] if failures else None)
    return OfflineProblem("test", space, data, (0.0, 1.0))


def noise(n: int = 60) -> OfflineProblem:
    """Scores that have nothing to do with the designs."""
    rng = np.random.default_rng(9)
    x = rng.uniform(size=(n, 2)).astype(np.float32)
    space = ContinuousSpace(np.zeros(2), np.ones(2), ("a", "b"))
    return OfflineProblem("test", space, OfflineDataset(x, rng.normal(size=n)), (0.0, 1.0))


KINDS = {"continuous": continuous, "categorical": categorical, "mixed": mixed}
