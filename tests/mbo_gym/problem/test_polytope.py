"""Projections and walks in a box cut by linear constraints, against SLSQP of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from mbo_gym.problem.polytope import Polytope

N_POINTS = 3
FEASIBLE = 1e-9
"""Residual of a constraint that counts as none: EXACT = 1e-10 of its terms, which are below 10."""
SLSQP = 1e-12
"""Its tolerance on the objective, in which it stops."""


def problem(seed: int) -> tuple[Polytope, np.ndarray, np.ndarray, np.ndarray]:
    """A random polytope that holds a point, with its box and units."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 9))
    n_equal = int(rng.integers(0, min(3, d)))
    m = n_equal + int(rng.integers(0, 4))
    low = -rng.random(d)
    high = rng.random(d)
    inside = low + (high - low) * rng.random(d)
    matrix = rng.normal(size=(m, d)) * (rng.random((m, d)) < 0.8)
    matrix[matrix.any(axis=1) == 0, 0] = 1.0
    limits = matrix @ inside
    limits[n_equal:] += rng.random(m - n_equal) * (rng.random(m - n_equal) < 0.7)
    return Polytope(matrix, limits, n_equal), low, high, rng.uniform(0.2, 3, size=d)


def slsqp(polytope: Polytope, v, low, high, scale) -> np.ndarray:
    k = polytope.n_equal
    a, b = polytope.matrix, polytope.limits
    constraints = []
    if k:
        constraints.append({"type": "eq", "fun": lambda x: a[:k] @ x - b[:k]})
    if len(a) > k:
        constraints.append({"type": "ineq", "fun": lambda x: b[k:] - a[k:] @ x})
    found = minimize(
        lambda x: (((x - v) / scale) ** 2).sum(),
        np.clip(v, low, high),
        jac=lambda x: 2 * (x - v) / scale**2,
        bounds=list(zip(low, high, strict=True)),
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": SLSQP},
    )
    return np.asarray(found.x)


@pytest.mark.parametrize("seed", range(60))
def test_the_projection_is_that_of_slsqp(seed):
    polytope, low, high, scale = problem(seed)
    v = np.random.default_rng(seed + 1000).normal(size=(N_POINTS, len(low)))
    lows, highs = np.tile(low, (N_POINTS, 1)), np.tile(high, (N_POINTS, 1))
    x, found = polytope.project(v, lows, highs, scale)
    assert found.all()
    assert (polytope.excess(x) <= FEASIBLE).all()
    assert ((x >= low - FEASIBLE) & (x <= high + FEASIBLE)).all()
    for ours, point in zip(x, v, strict=True):
        theirs = slsqp(polytope, point, low, high, scale)
        if polytope.excess(theirs[None]).max(initial=0) > 1e-6:
            continue  # it gave up
        cost = (((np.stack([ours, theirs]) - point) / scale) ** 2).sum(axis=1)
        # Ours is not worse. The objective is 2-strongly convex: points whose costs differ by e
        # from the least lie within sqrt(e) of it. SLSQP stops at e of 1e-12, and breaks
        # constraints by up to 1e-6, which is worth that times a multiplier of some tens.
        assert cost[0] <= cost[1] + 1e-5
        assert np.abs((ours - theirs) / scale).max() <= 1e-2


@pytest.mark.parametrize("seed", range(20))
def test_the_projection_satisfies_the_conditions_of_an_optimum(seed):
    """No direction to another point of the polytope is a descent: (v - x).(p - x) <= 0."""
    polytope, low, high, scale = problem(seed)
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(50, len(low)))
    lows, highs = np.tile(low, (50, 1)), np.tile(high, (50, 1))
    x, found = polytope.project(v, lows, highs, scale)
    others, _ = polytope.project(rng.normal(size=v.shape), lows, highs, scale)
    slope = np.einsum("id,jid->ji", (v - x) / scale, (others[:, None] - x[None]) / scale)
    assert found.all()
    assert slope.max() <= 1e-7


def test_points_inside_stay_and_rows_do_not_depend_on_each_other():
    polytope, low, high, scale = problem(7)
    v = np.random.default_rng(0).normal(size=(40, len(low)))
    lows, highs = np.tile(low, (40, 1)), np.tile(high, (40, 1))
    x, _ = polytope.project(v, lows, highs, scale)
    again, _ = polytope.project(x, lows, highs, scale)
    np.testing.assert_allclose(again, x, atol=1e-9)
    alone = [
        polytope.project(v[i : i + 1], lows[:1], highs[:1], scale)[0][0] for i in range(0, 40, 8)
    ]
    np.testing.assert_allclose(alone, x[::8], atol=1e-9)


def test_an_empty_polytope_is_not_found():
    polytope = Polytope(np.ones((1, 2)), np.array([5.0]), 1)
    _, found = polytope.project(np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2)), np.ones(2))
    assert not found.any()


def test_infinite_sides_and_far_points():
    polytope = Polytope(np.array([[1.0, 1.0]]), np.array([1.0]), 1)
    v = np.array([[3.0, 4.0], [1e5, -1e5]])
    free = np.full((2, 2), np.inf)
    x, found = polytope.project(v, -free, free, np.ones(2))
    assert found.all()
    np.testing.assert_allclose(x, [[0.0, 1.0], [1e5 + 0.5, -1e5 + 0.5]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_walks_stay_inside(seed):
    polytope, low, high, scale = problem(seed)
    v = np.random.default_rng(seed).normal(size=(30, len(low)))
    lows, highs = np.tile(low, (30, 1)), np.tile(high, (30, 1))
    x, _ = polytope.project(v, lows, highs, scale)
    walked = polytope.walk(x, lows, highs, scale, np.random.default_rng(0))
    assert (polytope.excess(walked) <= 1e-8).all()
    assert ((walked >= low) & (walked <= high)).all()


def test_walks_of_a_triangle_tend_to_the_uniform_distribution():
    """x + y <= 1 in the unit square: the mean is 1/3, and each half of the area has half of all."""
    polytope = Polytope(np.ones((1, 2)), np.array([1.0]), 0)
    n = 4000
    start = np.full((n, 2), 0.01)
    for seed in range(3):  # three walks one after the other
        start = polytope.walk(
            start, np.zeros((n, 2)), np.ones((n, 2)), np.ones(2), np.random.default_rng(seed)
        )
    deviation = np.sqrt(1 / 18 / n)  # variance of a coordinate: 1/18
    np.testing.assert_allclose(start.mean(axis=0), 1 / 3, atol=5 * deviation)
    share = (start[:, 0] > start[:, 1]).mean()
    assert abs(share - 0.5) < 5 * np.sqrt(0.25 / n)
