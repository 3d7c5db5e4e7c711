"""Local trajectories: the same, design by design, as a slow program that is easy to see right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.neighbours import NearestPlaces, walk
from mbo_gym.trajectories.samplers import local_improving


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def continuous(x, y, score_range=(0.0, 1.0)) -> OfflineProblem:
    x = np.asarray(x, dtype=np.float32)
    bound = np.full(x.shape[1], np.inf)
    return OfflineProblem(
        "made-up", ContinuousSpace(-bound, bound), OfflineDataset(x, np.asarray(y)), score_range
    )


def categorical(x, y, n_categories: int, score_range=(0.0, 1.0)) -> OfflineProblem:
    space = CategoricalSpace(np.asarray(x).shape[1], n_categories)
    return OfflineProblem(
        "made-up", space, OfflineDataset(np.asarray(x), np.asarray(y)), score_range
    )


def draw(
    problem: OfflineProblem, p: float, n: int, horizon: int, seed: int = 0, **settings
) -> TrajectoryBatch:
    return local_improving(problem, make_encoder(problem), p, n, horizon, seeded(seed), **settings)


def squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    total = 0.0
    for u, v in zip(a, b, strict=True):
        total += (u - v) * (u - v)
    return total


def slowly_nearest(
    features: Tensor, here: int, allowed: list[int], ties: list[int], k: int
) -> list[int]:
    rows = features.tolist()
    return sorted(allowed, key=lambda i: (squared_distance(rows[here], rows[i]), ties[i]))[:k]


def slowly_drawn(
    problem, features, p, n, horizon, generator, k, eps
) -> tuple[list[list[int]], int]:
    """Return the rows of the trajectories and how many steps were stuck; `features` are those of
    all rows."""
    y = problem.dataset.y.astype(float).tolist()
    low, high = problem.score_range
    rows: list[int] = []
    for row in sorted(range(len(y)), key=lambda i: (-y[i], i)):
        if not any((problem.dataset.x[row] == problem.dataset.x[other]).all() for other in rows):
            rows.append(row)
    n_starts = sum(y[row] >= np.percentile(problem.dataset.y, 100 - p) for row in rows)
    paths = [[int(i)] for i in torch.randint(n_starts, (n,), generator=generator)]
    n_stuck = 0
    for _ in range(horizon):
        ties = torch.randperm(len(rows), generator=generator).tolist()
        for path, u in zip(
            paths, torch.rand(n, generator=generator, dtype=torch.float64).tolist(), strict=True
        ):
            best = max(y[rows[i]] for i in path)
            new = [i for i in range(len(rows)) if i not in path]
            good = [i for i in new if y[rows[i]] >= best - eps * (high - low)]
            near = slowly_nearest(features[rows], path[-1], good or new, ties, k)
            path.append(near[int(u * len(near))] if good else min(near))
            n_stuck += not good
    return [[rows[i] for i in path] for path in paths], n_stuck


def lattice() -> Tensor:
    return torch.randint(0, 4, (400, 3), generator=seeded()).double()


FEATURES = {
    "normal": lambda: torch.randn(400, 5, generator=seeded()).double(),
    "whole numbers, many ties": lattice,
    "whole numbers too large for single precision": lambda: lattice().float() * 10_001,
    "tenths, whose ties rounding breaks": lambda: lattice() * 0.1,
    "far from the origin, where products are off": lambda: (
        1e6 + torch.randn(400, 2, generator=seeded()).double()
    ),
    "single precision": lambda: 100 + torch.randn(400, 3, generator=seeded()).float(),
    "indicators": lambda: torch.nn.functional.one_hot(lattice().long(), 4).flatten(1).float(),
    "all alike": lambda: torch.ones(400, 2).double(),
}


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("k", [1, 3, 20])  # 1 and 3 go by groups
def test_the_nearest_are_those_of_a_slow_search_for_any_block(name: str, k: int) -> None:
    features = FEATURES[name]()
    here, ties = (
        torch.randint(400, (30,), generator=seeded(1)),
        torch.randperm(400, generator=seeded(2)),
    )
    limit = torch.tensor([400, 399, 5, 1, 64, 65] * 5)
    left_out = torch.stack([torch.randperm(400, generator=seeded(s))[:4] for s in range(30)])
    left_out[2] = torch.arange(4)  # one remains of five
    found = [
        NearestPlaces(features, block=block).find(here, limit, left_out, ties, k)
        for block in (1, 997, 1 << 22)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    for row in range(30):
        allowed = [i for i in range(int(limit[row])) if i not in left_out[row].tolist()]
        expected = slowly_nearest(features, int(here[row]), allowed, ties.tolist(), k)
        assert found[0][row].tolist() == expected + [400] * (k - len(expected))


def test_walks_do_not_depend_on_the_block() -> None:
    features, reach = lattice(), (torch.arange(400) + 10).clamp(max=400)
    start = torch.arange(0, 400, 7)
    one, other = (
        walk(
            NearestPlaces(features, block=block), reach, start, horizon=25, generator=seeded(), k=5
        )
        for block in (100, 1 << 20)
    )
    assert torch.equal(one[0], other[0])
    assert one[1] == other[1] > 0


@pytest.mark.parametrize("eps", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("distance", ["hamming", "z_score", "raw"])
def test_trajectories_are_those_of_a_slow_program(distance: str, eps: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=80).round(1)  # equal scores too
    if distance == "hamming":
        x = rng.integers(0, 3, size=(80, 4))  # of 81 designs: some stand there twice
        problem = categorical(x, y, 3, (-2.0, 6.0))
        features = torch.nn.functional.one_hot(torch.from_numpy(x), 3).flatten(1).double()
    else:
        x = (rng.normal(size=(80, 3)) * [1, 10, 100]).round()
        x[1] = x[0]
        problem = continuous(x, y, (-2.0, 6.0))
        features = torch.from_numpy(x)
        if distance == "z_score":
            features = torch.from_numpy(
                make_encoder(problem, "z_score").encode(problem.dataset.x)
            ).double()
    for k in (1, 6):
        batch = draw(problem, 60, 15, 20, k=k, eps=eps, distance=distance)
        expected, n_stuck = slowly_drawn(problem, features, 60, 15, 20, seeded(), k, eps)
        assert batch.rows.tolist() == expected
        assert batch.meta["stuck_steps"] == n_stuck
        assert (n_stuck > 0) == (eps < 1)


@pytest.mark.parametrize("task_id", ["TFBind8-Exact-v0", "Branin-Exact-v0"])
def test_designs_are_new_and_never_far_below_the_best_so_far(task_id: str) -> None:
    problem = mbo_gym.make_task(task_id).problem()
    encoder = make_encoder(problem, "min_max")
    batch = local_improving(problem, encoder, 80, 100, 63, seeded(), k=20, eps=0.02)
    rows, y = batch.rows.numpy(), problem.dataset.y
    assert rows.shape == (100, 64)
    assert all(len(np.unique(problem.dataset.x[row], axis=0)) == 64 for row in rows)
    low, high = problem.score_range
    normalised = (y[rows].astype(float) - low) / (high - low)
    below = np.maximum.accumulate(normalised, axis=1)[:, :-1] - normalised[:, 1:]
    assert 0 < below.max() <= 0.02 + 1e-12
    assert y[rows[:, 0]].min() >= np.percentile(y, 20) > y.min()
    assert normalised[:, -8:].mean() > normalised[:, 0].mean() + 0.02
    np.testing.assert_array_equal(
        batch.z.flatten(0, 1).numpy(), encoder.encode(problem.dataset.x[rows.ravel()])
    )
    np.testing.assert_array_equal(batch.y.numpy(), problem.dataset.score_scale.standardise(y[rows]))
    assert dict(batch.meta) == {
        "task_id": task_id,
        "task_options": {},
        "encoder": "min_max",
        "sampler": "local_improving",
        "p": 80,
        "k": 20,
        "eps": 0.02,
        "distance": "hamming" if task_id.startswith("TF") else "z_score",
        "stuck_steps": 0,
    }


def test_steps_are_local() -> None:
    problem = mbo_gym.make_task("TFBind8-Exact-v0").problem()
    x = problem.dataset.x[draw(problem, 80, 50, 20).rows.numpy()]
    assert (x[:, 1:] != x[:, :-1]).sum(axis=2).mean() < 2.5  # 6 for random pairs


# Designs on a line, the best at 0.
LINE = continuous([[0.0], [1.0], [2.0], [3.0], [-10.0]], [5.0, 4.0, 3.9, 0.0, 4.5], (0.0, 10.0))


def test_eps_is_a_share_of_the_score_range_and_its_bound_counts() -> None:
    assert set(draw(LINE, 1, 200, 1, eps=0.1).rows[:, 1].tolist()) == {1, 4}
    assert set(draw(LINE, 1, 200, 1, eps=0.05).rows[:, 1].tolist()) == {4}
    assert set(draw(LINE, 1, 200, 1, eps=0.11).rows[:, 1].tolist()) == {1, 2, 4}


def test_without_a_candidate_the_best_of_the_nearest_follows() -> None:
    batch = draw(LINE, 1, 3, 4, k=3, eps=0.0)
    # from 0 the nearest three are 1, 2, 3; from 1 they are 2, 3, -10; from -10 only 2 and 3 are
    # left
    assert batch.rows.tolist() == [[0, 1, 4, 2, 3]] * 3
    assert batch.meta["stuck_steps"] == 12


def test_the_k_nearest_are_equally_likely() -> None:
    problem = continuous(np.arange(30.0)[:, None], [1.0] + [0.99] * 29)
    following = draw(problem, 1, 20_000, 1, k=7).rows[:, 1]
    counts = torch.bincount(following, minlength=30)
    assert (counts[[0, *range(8, 30)]] == 0).all()
    assert chisquare(counts[1:8]).pvalue > 1e-3


def test_which_of_equally_distant_designs_is_nearer_is_drawn() -> None:
    star = categorical(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], [1.0, 0.99, 0.98, 0.97, 0.995], 2
    )
    following = torch.stack([draw(star, 1, 2, 1, seed=seed, k=1).rows[:, 1] for seed in range(300)])
    counts = torch.bincount(following[:, 0], minlength=5)
    assert (counts[[0, 4]] == 0).all()
    assert chisquare(counts[1:4]).pvalue > 1e-3


def test_raw_distances_are_ruled_by_the_unit() -> None:
    x = [[0.0, 0.0], [1.0, 200.0], [6.0, 1.0], [-7.0, -500.0]]
    problem = continuous(x, [1.0, 0.99, 0.98, 0.0])
    assert draw(problem, 1, 1, 1, k=1).rows.tolist() == [[0, 1]]
    assert draw(problem, 1, 1, 1, k=1, distance="raw").rows.tolist() == [[0, 2]]


def test_the_generator_may_be_numpys() -> None:
    encoder = make_encoder(LINE)
    one, same = (
        local_improving(LINE, encoder, 80, 20, 3, np.random.default_rng(3)) for _ in range(2)
    )
    other = local_improving(LINE, encoder, 80, 20, 3, np.random.default_rng(4))
    assert torch.equal(one.rows, same.rows)
    assert not torch.equal(one.rows, other.rows)


def test_too_few_designs_are_an_error() -> None:
    assert draw(LINE, 1, 2, 4).rows.sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 2
    with pytest.raises(
        InvalidData, match="needs 6 distinct designs, the data hold 5; shorten the horizon"
    ):
        draw(LINE, 1, 2, 5)
    twice = continuous([[0.0], [0.0], [1.0]], [1.0, 2.0, 3.0])
    with pytest.raises(InvalidData, match="needs 3 distinct designs, the data hold 2"):
        draw(twice, 100, 1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"eps": -0.1}, "eps finite and not negative"),
        ({"eps": float("nan")}, "eps finite and not negative"),
        (
            {"distance": "hamming"},
            "'z_score' or 'raw' or None where designs are continuous, got 'hamming'",
        ),
        ({"distance": "euclidean"}, "got 'euclidean'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(LINE, 50, 2, 2, **settings)


def test_sequences_have_only_hammings_distance() -> None:
    with pytest.raises(
        ValueError, match="'hamming' or None where designs are categorical, got 'raw'"
    ):
        draw(categorical([[0, 1], [1, 1]], [0.0, 1.0], 2), 50, 1, 1, distance="raw")


def test_a_share_of_no_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="percentage"):
        draw(LINE, 0, 2, 2)
