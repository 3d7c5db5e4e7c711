"""Choice among candidates: maximum determinant, spread, plates."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.batch.candidates import Pool, Taken
from mbo_gym.batch.geometry import Geometry
from mbo_gym.batch.plates import choose_plates, group_slot
from mbo_gym.batch.select import Chooser
from mbo_gym.batch.writing import Writing
from mbo_gym.errors import UnknownId
from mbo_gym.evaluation.distances import diversity, nearest_distances
from tests.mbo_gym.batch.conftest import KINDS, categorical, continuous, mixed


def chooser(problem, sharpness, measured=None):
    geometry = Geometry(problem.space, problem.dataset)
    measured = problem.dataset.x[:0] if measured is None else measured
    return Chooser(geometry, Writing(problem).same, sharpness, measured)


def worth_of(problem, x):
    if problem.space.kind == "categorical":
        return -(x**2.0).sum(axis=1)
    points = Geometry(problem.space, problem.dataset).points(x)
    return -np.abs(points).sum(axis=1).astype(float)


def candidates(problem, n=400):
    """Distinct designs of the grid, the best first by a value of their own."""
    x = Writing(problem).sample(n, np.random.default_rng(4))
    x = np.unique(x, axis=0)
    value = worth_of(problem, x)
    order = np.argsort(-value, kind="stable")
    return x[order], value[order]


@pytest.mark.parametrize("kind", KINDS)
def test_less_sharpness_gives_lower_values_and_more_distance(kind):
    problem = KINDS[kind]()
    x, value = candidates(problem)
    means, distances = [], []
    for sharpness in (np.inf, 2.0, 0.5):
        rows = chooser(problem, sharpness)(x, value, 20)
        assert len(np.unique(rows)) == 20
        means.append(value[rows].mean())
        distances.append(diversity(problem.space, problem.dataset, x[rows]))
    assert means[0] >= means[1] >= means[2]
    assert means[0] == pytest.approx(value[:20].mean())
    assert distances[0] < distances[2]
    assert distances[1] <= distances[2]


def test_the_greedy_determinant_is_the_largest_at_every_step():
    """Compared with determinants of the matrix itself."""
    problem = continuous()
    x, value = candidates(problem, 40)
    geometry = Geometry(problem.space, problem.dataset)
    rows = chooser(problem, 1.0)(x, value, 6)
    points = geometry.points(x).astype(float)
    between = ((points[:, None] - points) ** 2).sum(axis=2)
    unit = np.median(between[between > 0])
    quality = np.exp((value - value.mean()) / value.std())
    quality /= quality.max()
    kernel = quality[:, None] * np.exp(-between / unit) * quality
    kernel += 1e-6 * np.diag(quality**2)
    chosen: list[int] = []
    for row in rows:
        others = [i for i in range(len(x)) if i not in chosen]
        dets = [np.linalg.det(kernel[np.ix_([*chosen, i], [*chosen, i])]) for i in others]
        assert others[int(np.argmax(dets))] == row
        chosen.append(int(row))


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_values_are_equal_the_batch_is_spread(kind):
    problem = KINDS[kind]()
    x, _ = candidates(problem)
    measured = problem.dataset.x[:30]
    rows = chooser(problem, 2.0, measured)(x, np.zeros(len(x)), 10)
    geometry = Geometry(problem.space, problem.dataset)
    random = np.random.default_rng(0).choice(len(x), size=10, replace=False)

    def least(batch):
        points = geometry.points(np.concatenate([measured, batch]))
        between = geometry.distances(points, points)[30:]
        between[np.arange(len(batch)), 30 + np.arange(len(batch))] = np.inf
        return between.min()

    assert least(x[rows]) > least(x[random])


def test_designs_closer_than_a_step_are_not_taken_together():
    problem = continuous()
    x = np.array([[50, 0.5, 500], [50.05, 0.5, 500], [50.1, 0.5, 500], [60, 0.5, 500]], np.float32)
    value = np.array([4.0, 3.0, 2.0, 1.0])
    for sharpness in (np.inf, 2.0, 0.5):
        rows = chooser(problem, sharpness)(x, value, 4)
        assert sorted(rows.tolist()) == [0, 2, 3]
    rows = chooser(problem, 2.0)(x, value, 4, given=x[3:])
    assert sorted(rows.tolist()) == [0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_those_of_evaluation(kind):
    problem = KINDS[kind]()
    geometry = Geometry(problem.space, problem.dataset)
    x = problem.space.sample(50, np.random.default_rng(9))
    distance, row = geometry.nearest(x)
    expected = nearest_distances(problem.space, problem.dataset, x)
    np.testing.assert_allclose(distance, expected, atol=1e-5)
    one = nearest_distances(problem.space, problem.dataset.take(row[:1]), x[:1])
    if kind == "categorical":  # elsewhere the unit changes with the data
        assert one[0] == pytest.approx(distance[0])
    own, rows = geometry.nearest(problem.dataset.x[:10])
    np.testing.assert_allclose(own, 0, atol=1e-6)
    np.testing.assert_array_equal(problem.dataset.x[rows], problem.dataset.x[:10])
    assert geometry.reach() > 0


def plates(problem, k, size, group, given=None, flat=False):
    x, value = candidates(problem)
    value = np.zeros(len(x)) if flat else value
    taken = Taken(Writing(problem), problem.dataset.x)

    def worth(x):
        return np.zeros(len(x)) if flat else worth_of(problem, x)

    slot = group_slot(problem.space, group)
    given = x[:0] if given is None else given
    chosen = chooser(problem, 2.0)
    return choose_plates(Pool(x, value, 0, 0), k, slot, size, chosen, taken, worth, given), slot


@pytest.mark.parametrize(
    ("make", "group"), [(continuous, "heat"), (mixed, "temperature"), (mixed, "catalyst")]
)
def test_the_group_is_equal_within_a_plate(make, group):
    problem = make()
    found, slot = plates(problem, 20, 8, group)
    assert found.plate.tolist() == [1] * 8 + [2] * 8 + [3] * 4
    assert problem.space.contains(found.x).all()
    assert len(np.unique(found.x, axis=0)) == 20
    for number in (1, 2, 3):
        assert len(np.unique(found.x[found.plate == number, slot])) == 1


def test_plates_differ_where_nothing_was_learned():
    found, slot = plates(mixed(), 12, 4, "temperature", flat=True)
    assert len(np.unique(found.x[:, slot])) == 3


def test_wanted_designs_take_places_on_a_plate_of_their_value():
    problem = mixed()
    given = problem.space.sample(200, np.random.default_rng(7))
    given = given[given[:, 0] == given[0, 0]][:3]
    found, slot = plates(problem, 8, 4, "temperature", given=given)
    first = found.x[found.plate == 1]
    assert set(map(tuple, given.tolist())) <= set(map(tuple, first.tolist()))
    assert np.unique(first[:, slot]).tolist() == [given[0, 0]]
    spread = problem.space.sample(40, np.random.default_rng(8))
    with pytest.raises(ValueError, match=r"need .* plates, and a batch of 8 has 2 of 4"):
        plates(problem, 8, 4, "temperature", given=spread[:8])


def test_a_group_has_to_be_one_value():
    with pytest.raises(UnknownId, match=r"no parameter for group 'heet'\. Did you mean heat"):
        group_slot(continuous().space, "heet")
    with pytest.raises(ValueError, match="'dna' is a sequence"):
        group_slot(categorical().space, "dna")
    space = mbo_gym.MixedSpace((mbo_gym.Letters("dna", "AC", 3), mbo_gym.Real("t", 0, 1)))
    with pytest.raises(ValueError, match="'dna' is a sequence"):
        group_slot(space, "dna")
    assert group_slot(space, "t") == 3
