"""Synthetic tasks: functions by hand, constants recomputed, what version 1 does to the mean design,
and the basins of version 2."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.tasks.synthetic import (
    FUNCTIONS,
    HEIGHTS,
    ackley,
    branin,
    griewank,
    levy,
    make_synthetic,
    rastrigin,
    rosenbrock,
)

PUBLISHED = [name for name, facts in FUNCTIONS.items() if facts.range_60d]
"""Functions with versions 0 and 1."""


def test_levy_by_hand():
    assert levy(np.ones((1, 5)))[0] == pytest.approx(0, abs=1e-30)
    # x = (3, 3): w = 1.5; sin(1.5 pi)^2 = 1; .5^2 (1 + 10 sin(1.5 pi + 1)^2); .5^2 (1 + sin(3
    # pi)^2) = .25
    by_hand = 1 + 0.25 * (1 + 10 * np.cos(1) ** 2) + 0.25
    assert levy(np.array([[3.0, 3.0]]))[0] == pytest.approx(by_hand)


def test_ackley_by_hand():
    assert ackley(np.zeros((1, 5)))[0] == pytest.approx(0, abs=1e-14)
    # |x|^2 / 2 = 1 and cos(2 pi) = 1: 20 (1 - exp(-.2)); and cos(pi) = -1 in one of two features
    waves = 20 * (1 - np.exp(-0.2 * np.sqrt(0.125))) + np.e - 1
    found = ackley(np.array([[1.0, -1.0], [0.5, 0.0]]))
    assert found.tolist() == pytest.approx([20 * (1 - np.exp(-0.2)), waves])


def test_griewank_by_hand():
    assert griewank(np.zeros((1, 5)))[0] == 0
    # cos(x1) cos(x2 / sqrt 2): cos(pi) cos(2 pi) = -1
    x = np.array([[np.pi, 2 * np.pi * np.sqrt(2), 0.0], [600.0, 0.0, 0.0]])
    by_hand = [9 * np.pi**2 / 4000 + 2, 91 - np.cos(600)]
    assert griewank(x).tolist() == pytest.approx(by_hand)


def test_rastrigin_rosenbrock_and_branin_by_hand():
    assert rastrigin(np.array([[0.0, 0.0], [0.5, 1.0]])).tolist() == pytest.approx([0, 20.25 + 1])
    assert rosenbrock(np.array([[1.0, 1, 1], [-1, 1, 0]])).tolist() == pytest.approx([0, 4 + 100])
    least = branin(np.array([[-np.pi, 12.275], [np.pi, 2.275], [9.42478, 2.475]]))
    np.testing.assert_allclose(least, 5 / (4 * np.pi), atol=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
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
@pytest.mark.parametrize("name", PUBLISHED)
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


@pytest.mark.parametrize("name", PUBLISHED)
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


@pytest.mark.parametrize("name", PUBLISHED)
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


# name: y_min, y_max, score of the first visible row
V2 = {
    "Ackley": (-1.007827, -0.955367, -0.996785),
    "Griewank": (-1.394137, -0.378018, -0.885218),
    "Levy": (-1.517911, -0.303190, -0.827201),
    "Rastrigin": (-1.313373, -0.566114, -0.989724),
    "Rosenbrock": (-2.541262, -0.140455, -0.794959),
}


def basins_of_v2(name: str, dim: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centre (d,) and matrix (d, d) of each basin, by the recipe of version 2."""
    rng, w = np.random.RandomState([123, dim, *name.encode()]), FUNCTIONS[name].half_width
    squares = 30 ** np.linspace(0, 1, dim)
    basins = []
    for _ in range(3):
        c = w * rng.uniform(0.3, 0.7, size=dim) * rng.choice([-1.0, 1.0], size=dim)
        q, r = np.linalg.qr(rng.normal(size=(dim, dim)))
        rotation = q * np.sign(np.diag(r))
        basins.append((c, np.diag(np.sqrt(squares / squares.mean())) @ rotation))
    return basins


@pytest.mark.parametrize("name", V2)
def test_version_2_never_changes(name):
    task = mbo_gym.make_task(f"{name}-Exact-v2")
    row = task.dataset.y[0]
    assert (task.info.y_min, task.info.y_max, row) == pytest.approx(V2[name], abs=2e-6)
    assert task.info.n_visible == 15_000
    np.testing.assert_allclose(task.oracle()(task.dataset.x[:9]), task.dataset.y[:9], rtol=1e-6)


@pytest.mark.parametrize("dim", [3, 60])
@pytest.mark.parametrize("name", V2)
def test_version_2_has_its_optimum_in_the_first_of_three_basins(name, dim):
    task = make_synthetic(name, version=2, dim=dim)
    centres = np.array([c for c, _ in basins_of_v2(name, dim)])
    inside = np.abs(centres) / FUNCTIONS[name].half_width
    assert (inside > 0.3).all()
    assert (inside < 0.7).all()
    oracle = task.oracle()
    at_centres = oracle(centres.astype(np.float32))
    assert at_centres[0] == pytest.approx(0, abs=1e-6)
    assert (at_centres > -np.array(HEIGHTS) - 1e-6).all()  # in 3-d, basins can overlap
    if dim == 60:
        np.testing.assert_allclose(at_centres, -np.array(HEIGHTS), atol=1e-5)
    assert task.ceiling.exact
    assert task.ceiling.scores.tolist() == [0]
    spread = 0.01 * FUNCTIONS[name].half_width
    around = centres[0] + spread * np.random.default_rng(0).normal(size=(200, dim))
    assert (oracle(task.space.clip(around)) < at_centres[0]).all()
    rng = np.random.default_rng(1)
    assert (oracle(task.space.sample(2000, rng)) < 0).all()


@pytest.mark.parametrize("dim", [2, 60])
def test_version_2_is_thirty_times_as_curved_one_way_as_another(dim):
    task = make_synthetic("Rastrigin", version=2, dim=dim)
    c, a = basins_of_v2("Rastrigin", dim)[0]
    axes = a / np.linalg.norm(a, axis=1)[:, None]
    assert np.abs(axes).max() < 0.99  # rotated
    flat, steep = -task.oracle()((c + 0.01 * axes[[0, -1]]).astype(np.float32))
    assert steep / flat == pytest.approx(30, rel=0.05)  # unrotated, all axes are equal


def test_every_basin_of_version_2_is_the_least_in_a_part_of_the_box():
    name, dim = "Rastrigin", 60
    task, facts = make_synthetic(name, version=2, dim=dim), FUNCTIONS[name]
    x = task.dataset.x.astype(np.float64)
    values = np.stack([facts.f((x - c) @ a.T) for c, a in basins_of_v2(name, dim)])
    u = np.random.RandomState(123).uniform(size=(30_000, dim))
    samples = facts.half_width * (2 * u - 1)
    means = [facts.f((samples - c) @ a.T).mean() for c, a in basins_of_v2(name, dim)]
    heights = np.array(HEIGHTS)[:, None]
    of_each = (1 - heights) * values / np.array(means)[:, None] + heights
    np.testing.assert_allclose(-of_each.min(axis=0), task.dataset.y, rtol=1e-4)
    share = np.bincount(of_each.argmin(axis=0), minlength=3) / len(x)
    assert (share > 0.2).all()


@pytest.mark.parametrize("name", V2)
def test_neither_mean_design_nor_a_linear_fit_solves_version_2(name):
    task = mbo_gym.make_task(f"{name}-Exact-v2")
    x, y = task.dataset.x.astype(np.float64), task.dataset.y
    slope = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=None)[0]
    corner = np.where(slope > 0, x.max(axis=0), x.min(axis=0))
    scores = task.normalise(task.oracle()(np.stack([x.mean(axis=0), corner]).astype(np.float32)))
    best, ceiling = task.info.d_best, task.normalise(task.ceiling.scores[:1])[0]
    assert scores[0] < 1  # the best of the samples, half of which are hidden
    assert (scores - best < 0.5 * (ceiling - best)).all()
    assert scores[1] < best


@pytest.mark.parametrize("name", V2)
@pytest.mark.parametrize("dim", [1, 2])
def test_version_2_in_few_dimensions(name, dim):
    if dim < FUNCTIONS[name].least_dim:
        with pytest.raises(ValueError, match="dim >= 2"):
            mbo_gym.make_task(f"{name}-Exact-v2", dim=dim)
        return
    task = mbo_gym.make_task(f"{name}-Exact-v2", dim=dim)
    assert task.dataset.x.shape == (15_000, dim)
    assert task.oracle()(basins_of_v2(name, dim)[0][0][None].astype(np.float32))[0] > -1e-5
    assert task.normalise(task.ceiling.scores[:1])[0] >= 1


def test_ackley_and_griewank_have_version_2_alone():
    names = [i for i in mbo_gym.list_tasks() if i.startswith(("Ackley", "Griewank"))]
    assert names == ["Ackley-Exact-v2", "Griewank-Exact-v2"]
    for task_id in names:
        assert [line[:2] for line in mbo_gym.task_info(task_id).version_history] == ["v2"]
    assert len(mbo_gym.task_info("Levy-Exact-v2").version_history) == 3


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
