"""Intervals from hidden best rows, and chances."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.batch.health import check_health
from mbo_gym.batch.intervals import Intervals, fit_intervals
from mbo_gym.batch.models import Constant, Forest, Linear
from mbo_gym.batch.study import SEEN
from tests.mbo_gym.batch.conftest import KINDS, continuous, noise

LIGHT = (Constant, Linear, Forest)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_are_those_of_the_hidden_best_fifth(kind):
    problem = KINDS[kind]()
    health = check_health(problem, kinds=LIGHT)
    found = fit_intervals(problem, health, 0, LIGHT)
    n = len(problem.dataset)
    assert len(found.residuals) == len(found.top_errors) == -(-n // 5)
    assert (np.diff(found.residuals) >= 0).all()
    assert found.best == problem.dataset.y.max()
    inside = (found.residuals <= found.half_width).mean()
    assert inside >= 0.9


def test_the_hidden_rows_are_not_seen():
    """The constant's residuals are the distances from the mean of the low rows."""
    problem = noise(50)
    health = check_health(problem, kinds=LIGHT)
    found = fit_intervals(problem, health, 0, LIGHT)
    y = np.sort(problem.dataset.y)
    np.testing.assert_allclose(found.residuals, np.sort(np.abs(y[40:] - y[:40].mean())), rtol=1e-4)


def test_the_half_width_is_the_conformal_quantile():
    residuals = np.arange(1.0, 20.0)
    assert Intervals(residuals, np.zeros(1), 0.0).half_width == 18  # ceil(.9 * 20) of 19
    assert Intervals(residuals[:5], np.zeros(1), 0.0).half_width == 5


def test_the_chance_rises_with_the_prediction_from_0_to_1():
    found = Intervals(np.array([1.0, 2.0, 4.0]), np.array([-1.0, 1.0]), best=10.0)
    chance = found.chance(np.array([0.0, 8.5, 10.0, 11.5, 20.0]))
    np.testing.assert_allclose(chance, [0, (2 / 6 + 0) / 2, (0.5 + 0.5) / 2, (4 / 6 + 1) / 2, 1])


def test_without_rows_there_are_no_intervals():
    problem = continuous(5)
    found = fit_intervals(problem, check_health(problem), 0)
    assert np.isnan(found.half_width)
    assert np.isnan(found.chance(np.zeros(2))).all()
    assert "no intervals" in found.in_words


def test_the_words_say_what_is_not_covered():
    words = Intervals(np.ones(9), np.zeros(1), 0.0).in_words
    for seen in SEEN:
        assert f"{seen.covered} % where {seen.case}" in words
    assert min(seen.covered for seen in SEEN) < 80
    assert "it is not covered" in words
