"""Synthetic tasks: functions by hand, constants recomputed, and what version 1 does to the mean
design."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.tasks.synthetic import FUNCTIONS, branin, levy, make_synthetic, rastrigin, rosenbrock


def test_levy_by_hand():
    assert levy(np.ones((1, 5)))[0] == pytest.approx(0, abs=1e-30)
    # x = (3, 3): w = 1.5; sin(1.5 pi)^2 = 1; .5^2 (1 + 10 sin(1.5 pi + 1)^2); .5^2 (1 + sin(3
    # pi)^2) = .25
    by_hand = 1 + 0.25 * (1 + 10 * np.cos(1) ** 2) + 0.25
    assert levy(np.array([[3.0, 3.0]]))[0] == pytest.approx(by_hand)


def test_rastrigin_rosenbrock_and_branin_by_hand():
    assert rastrigin(np.array([[0.0, 0.0], [0.5, 1.0]])).tolist() == pytest.approx([0, 20.25 + 1])
    assert rosenbrock(np.array([[1.0, 1, 1], [-1, 1, 0]])).tolist() == pytest.approx([0, 4 + 100])
    least = branin(np.array([[-np.pi, 12.275], [np.pi, 2.275], [9.42478, 2.475]]))
    np.testing.assert_allclose(least, 5 / (4 * np.pi), atol=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_fixed_constants_follow_from_the_recipe(name):
    facts = FUNCTIONS[name]
    w = facts.half_width
    x = (-w + 2 * w * np.random.RandomState(123).uniform(size=(30_000, 60))).astype(np.float32)
    x = np.clip(x, -w + 1e-6, w - 1e-6).astype(np.float32)
    y = -facts.f(x.astype(np.float64))
    np.testing.assert_allclose((y.min(), y.max()), facts.range_60d, rtol=1e-13)
    task = mbo_gym.make_task(f"{name}-Exact-v0")
    keep = y.astype(np.float32) <= np.percentile(y.astype(np.float32), 50)
    np.testing.assert_array_equal(task.dataset.x, x[keep])
    np.testing.assert_array_equal(task.dataset.y, y[keep].astype(np.float32))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Levy", -3773.1825236823356, -835.9113047098986),
        ("Rastrigin", -2837.1258311662414, -1336.7362033907395),
        ("Rosenbrock", -1011289.60076324, -94847.59653192715),
    ],
)
def test_version_1_never_changes(name, low, high):
    info = mbo_gym.make_task(f"{name}-Exact-v1").info
    np.testing.assert_allclose((info.y_min, info.y_max), (low, high), rtol=1e-9)


def optimum_of_v1(name: str, dim: int) -> np.ndarray:
    """The place that the recipe of version 1 moves the optimum to."""
    rng, w = np.random.RandomState(123 + dim), FUNCTIONS[name].half_width
    return w * rng.uniform(0.6, 0.9, size=dim) * rng.choice([-1.0, 1.0], size=dim)


@pytest.mark.parametrize("dim", [3, 60])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_version_1_moves_the_optimum_away_from_the_centre(name, dim):
    task = make_synthetic(name, version=1, dim=dim)
    c, oracle = optimum_of_v1(name, dim), task.oracle()
    assert (np.abs(c) > 0.6 * FUNCTIONS[name].half_width).all()
    at_optimum = oracle(c[None].astype(np.float32))[0]
    assert at_optimum == pytest.approx(
        task.ceiling.scores[0], abs=1e-6 * (task.info.y_max - task.info.y_min)
    )
    rng = np.random.default_rng(0)
    assert (oracle(task.space.clip(c + 0.05 * rng.normal(size=(200, dim)))) < at_optimum).all()
    assert task.normalise(np.array([at_optimum]))[0] > 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_version_1_is_rotated(name):
    task = make_synthetic(name, version=1, dim=4)
    c, step = optimum_of_v1(name, 4), 0.08 * FUNCTIONS[name].half_width
    along = task.oracle()((c + step * np.eye(4)).astype(np.float32))
    assert (
        len(set(np.round(along, 2))) == 4
    )  # unrotated Levy and Rastrigin treat (nearly) all axes alike
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    around = task.oracle()((c + step * directions).astype(np.float32))
    assert (around < 0).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_mean_design_all_but_solves_v0_and_does_not_solve_v1(name):
    way = {}
    for version in (0, 1):
        task = mbo_gym.make_task(f"{name}-Exact-v{version}")
        mean = task.normalise(task.oracle()(task.dataset.x.mean(axis=0, dtype=np.float64)[None]))[0]
        best = task.normalise(task.ceiling.scores[:1])[0]
        way[version] = (mean - task.info.d_best) / (best - task.info.d_best)
        # In 60 dimensions the centre is nearer to any place than uniform samples are, so it still
        # beats them.
        assert mean > task.info.d_best
        assert (mean > 1) == (version == 0)
    assert way[0] > 0.99 - 0.01 * (name == "Rastrigin")
    assert way[1] < 0.5


def test_any_dimension_has_constants_of_its_own_samples():
    task = mbo_gym.make_task("Rastrigin-Exact-v0", dim=5)
    assert task.dataset.x.shape == (15_000, 5)
    assert (task.info.y_min, task.info.y_max) != FUNCTIONS["Rastrigin"].range_60d
    assert task.normalise(task.dataset.y).min() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="dim >= 2"):
        mbo_gym.make_task("Rosenbrock-Exact-v0", dim=1)
    assert mbo_gym.make_task("Levy-Exact-v1", dim=1).dataset.x.shape == (15_000, 1)


def test_branin_is_what_its_three_minima_say():
    task = mbo_gym.make_task("Branin-Exact-v0")
    assert (task.info.n_full, task.info.n_visible) == (5_000, 2_500)
    assert task.space.low.tolist() == [-5, 0]
    assert task.space.high.tolist() == [10, 15]
    scores = task.oracle()(np.array([[-np.pi, 12.275], [np.pi, 2.275], [9.42478, 2.475]]))
    np.testing.assert_allclose(scores, task.ceiling.scores[0], atol=1e-5)
    assert task.normalise(task.oracle()(task.dataset.x.mean(axis=0)[None]))[0] < task.info.d_best
