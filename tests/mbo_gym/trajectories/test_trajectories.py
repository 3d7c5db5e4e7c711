"""Trajectories: drawn uniformly without repeats, with actions and rewards computed by hand."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import default_action_scale, feature_bounds, transition
from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.samplers import (
    SAMPLERS,
    _draw_distinct,
    random_top,
    sorted_top,
    top_rows_of_percentile,
)


class Linear(Surrogate):
    """f(z) = w . z, which remembers how many gradients it was asked for."""

    kind = "linear"

    def __init__(self, w: list[float]) -> None:
        self.w, self.asked = torch.tensor(w), 0

    def fit(self, z, y, *, seed, progress=None):
        raise NotImplementedError

    def predict(self, z: Tensor) -> Tensor:
        return z @ self.w

    def gradient(self, z: Tensor) -> Tensor:
        self.asked += len(z)
        return self.w.expand_as(z)

    def state(self):
        return {}

    def load_state(self, state):
        pass


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem_of(y, x=None) -> OfflineProblem:
    y = np.asarray(y, dtype=np.float32)
    x = (
        np.arange(len(y), dtype=np.float32)[:, None]
        if x is None
        else np.asarray(x, dtype=np.float32)
    )
    bound = np.full(x.shape[1], np.inf)
    return OfflineProblem(
        "made-up", ContinuousSpace(-bound, bound), OfflineDataset(x, y), (0.0, 1.0)
    )


@pytest.fixture(scope="module")
def tfbind8() -> OfflineProblem:
    return mbo_gym.make_task("TFBind8-Exact-v0").problem()


def test_draws_are_distinct_and_in_range():
    drawn = _draw_distinct(4000, 51, 60, seeded())
    assert drawn.shape == (4000, 51)
    assert (drawn.min(), drawn.max()) == (0, 59)
    assert all(len(set(row)) == 51 for row in drawn.tolist())
    everything = _draw_distinct(500, 7, 7, seeded())
    assert (everything.sort(dim=1).values == torch.arange(7)).all()


def test_all_ordered_draws_are_equally_likely():
    n, k, m = 120_000, 3, 5
    counts = Counter(map(tuple, _draw_distinct(n, k, m, seeded(1)).tolist()))
    expected = n / 60  # 5 * 4 * 3 ordered samples
    statistic = sum((counts[p] - expected) ** 2 / expected for p in permutations(range(m), k))
    assert sum(counts.values()) == n
    assert 1e-3 < chi2.sf(statistic, df=59) < 1 - 1e-3


def test_top_rows_by_hand():
    # 11 scores 0 .. 10: the best 20 % are those at or above percentile 80, which is 8
    order = [3, 10, 0, 8, 7, 9, 1, 2, 4, 5, 6]
    problem = problem_of(order)
    assert top_rows_of_percentile(problem, 20).tolist() == [1, 5, 3]
    assert len(top_rows_of_percentile(problem, 100)) == 11
    assert top_rows_of_percentile(problem, 0.1).tolist() == [1]
    for p in (0, -1, 101):
        with pytest.raises(ValueError, match="percentage"):
            top_rows_of_percentile(problem, p)


def test_a_repeated_design_counts_once_with_its_best_score():
    problem = problem_of([1, 5, 3, 4], x=[[0], [1], [1], [2]])
    assert top_rows_of_percentile(problem, 100).tolist() == [1, 3, 0]


def test_random_top_draws_whole_designs_of_the_best_percent(tfbind8):
    encoder = make_encoder(tfbind8)
    batch = random_top(tfbind8, encoder, 20, 50, 30, seeded())
    assert (batch.z.shape, batch.y.shape, batch.horizon, len(batch)) == (
        (50, 31, 24),
        (50, 31),
        30,
        50,
    )
    rows = batch.rows.numpy()
    y = tfbind8.dataset.y
    assert y[rows].min() >= np.percentile(y, 80)
    np.testing.assert_array_equal(
        batch.z.numpy(), encoder.encode(tfbind8.dataset.x[rows.ravel()]).reshape(50, 31, 24)
    )
    np.testing.assert_array_equal(batch.y.numpy(), tfbind8.dataset.score_scale.standardise(y[rows]))
    codes = {tuple(x) for x in tfbind8.dataset.x[rows[0]]}
    assert len(codes) == 31
    assert dict(batch.meta) == {
        "task_id": "TFBind8-Exact-v0",
        "task_options": {},
        "encoder": "z_score",
        "sampler": "random_top",
        "p": 20,
    }


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_generator_decides_everything(tfbind8, name):
    encoder = make_encoder(tfbind8)
    one, same, other = (
        SAMPLERS[name](tfbind8, encoder, 10, 5, 8, seeded(s)).rows for s in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_sorted_top_holds_the_same_designs_worst_first(tfbind8):
    encoder = make_encoder(tfbind8)
    loose, ordered = (
        random_top(tfbind8, encoder, 20, 40, 20, seeded()),
        sorted_top(tfbind8, encoder, 20, 40, 20, seeded()),
    )
    assert (ordered.y.diff(dim=1) >= 0).all()
    assert torch.equal(loose.rows.sort(dim=1).values, ordered.rows.sort(dim=1).values)
    again = encoder.encode(tfbind8.dataset.x[ordered.rows.flatten().numpy()])
    np.testing.assert_array_equal(ordered.z.flatten(0, 1).numpy(), again)
    assert ordered.meta["sampler"] == "sorted_top"


def test_too_few_designs_for_a_trajectory_is_an_error():
    problem = problem_of(np.arange(100))
    encoder = make_encoder(problem)
    assert random_top(problem, encoder, 20, 3, 19, seeded()).z.shape == (3, 20, 1)
    with pytest.raises(InvalidData, match="needs 21 distinct designs, the best 20 % hold 20"):
        random_top(problem, encoder, 20, 3, 20, seeded())


# Two trajectories of two steps over four designs; row 1 stands in both.
Z = torch.tensor([[[0.0, 0.0], [1.0, -4.0], [1.0, 0.0]], [[1.0, -4.0], [0.0, 3.0], [2.0, 3.0]]])
Y = torch.tensor([[0.0, 2.0, 1.5], [2.0, -1.0, 0.0]])
ROWS = torch.tensor([[0, 1, 2], [1, 3, 4]])


def test_displacement_actions_and_rewards_by_hand():
    done = with_actions(TrajectoryBatch(Z, Y, rows=ROWS), Linear([2.0, 0.5]), "displacement", 2.0)
    expected = [
        [[0.5, -1.0], [0.0, 1.0]],
        [[-0.5, 1.0], [1.0, 0.0]],
    ]  # -4 / 2, 4 / 2 and 7 / 2 are clipped
    torch.testing.assert_close(done.actions, torch.tensor(expected))
    torch.testing.assert_close(done.rewards, torch.tensor([[2.0, -0.5], [-3.0, 1.0]]))
    wide = with_actions(
        TrajectoryBatch(Z, Y), Linear([2.0, 0.5]), "displacement", torch.tensor([1.0, 8.0])
    )
    expected = [[[1.0, -0.5], [0.0, 0.5]], [[-1.0, 0.875], [1.0, 0.0]]]
    torch.testing.assert_close(wide.actions, torch.tensor(expected))
    assert wide.meta["action_scale"] == [1.0, 8.0]


def test_step_vector_actions_by_hand():
    surrogate = Linear([2.0, 0.0])
    done = with_actions(TrajectoryBatch(Z, Y, rows=ROWS), surrogate, "step_vector", 1.0)
    # steps of feature 0 are 1, 0, -1, 2 over a gradient of 2; feature 1 has no gradient, so no
    # action
    torch.testing.assert_close(
        done.actions, torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[-0.5, 0.0], [1.0, 0.0]]])
    )
    short = with_actions(TrajectoryBatch(Z, Y), surrogate, "step_vector", 0.25, outside="zero")
    torch.testing.assert_close(short.actions, torch.zeros(2, 2, 2))  # 2, -2 and 4 lie outside
    half = with_actions(TrajectoryBatch(Z, Y), surrogate, "step_vector", 0.5, outside="zero")
    torch.testing.assert_close(half.actions[:, :, 0], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))


def test_surrogate_rewards_by_hand():
    done = with_actions(
        TrajectoryBatch(Z, Y, rows=ROWS),
        Linear([2.0, 0.5]),
        "displacement",
        reward="surrogate_difference",
    )
    torch.testing.assert_close(
        done.rewards, torch.tensor([[0.0, 2.0], [1.5, 4.0]])
    )  # f: 0, 0, 2 and 0, 1.5, 5.5


def test_the_gradient_of_a_repeated_design_is_computed_once():
    surrogate = Linear([2.0, 1.0])
    with_rows = with_actions(TrajectoryBatch(Z, Y, rows=ROWS), surrogate)
    assert surrogate.asked == 5
    without = with_actions(TrajectoryBatch(Z, Y), surrogate)
    assert surrogate.asked == 5 + 6
    torch.testing.assert_close(with_rows.actions, without.actions)


def test_gradients_belong_to_their_designs(tfbind8):
    encoder = make_encoder(tfbind8)
    surrogate = fit_surrogate(
        tfbind8, encoder, MLPSurrogate(MLPConfig(hidden=16, train_steps=20)), seed=0
    )
    batch = random_top(tfbind8, encoder, 1, 30, 12, seeded())
    scale = 500.0  # so large that hardly any action is clipped
    done = with_actions(batch, surrogate, "step_vector", scale)
    gradient = surrogate.gradient(batch.z[:, :-1].flatten(0, 1)).view(30, 12, 24)
    steps = done.actions * scale * gradient
    free = (done.actions.abs() < 1) & (gradient != 0)
    assert free.float().mean() > 0.5
    torch.testing.assert_close(
        steps[free], (batch.z[:, 1:] - batch.z[:, :-1])[free], rtol=1e-3, atol=1e-4
    )


def test_displacements_in_the_default_unit_replay_exactly(tfbind8):
    encoder = make_encoder(tfbind8)
    scale = default_action_scale(tfbind8, encoder, "displacement")
    done = with_actions(
        random_top(tfbind8, encoder, 20, 20, 10, seeded()),
        Linear([0.0] * 24),
        "displacement",
        scale,
    )
    bounds = tuple(torch.from_numpy(side) for side in feature_bounds(tfbind8, encoder))
    z = done.z[:, 0]
    for t in range(10):
        z = transition(z, done.actions[:, t], None, scale, bounds)
        torch.testing.assert_close(z, done.z[:, t + 1], rtol=0, atol=1e-5)
        assert np.array_equal(encoder.decode(z.numpy()), encoder.decode(done.z[:, t + 1].numpy()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action_mode": "jump"}, "action_mode"),
        ({"reward": "oracle"}, "reward"),
        ({"outside": "wrap"}, "outside"),
    ],
)
def test_unknown_words_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        with_actions(TrajectoryBatch(Z, Y), Linear([1.0, 1.0]), **arguments)


@pytest.mark.parametrize(
    "parts",
    [
        {"y": torch.zeros(2, 2)},
        {"z": torch.zeros(2, 3)},
        {"actions": torch.zeros(2, 3, 2)},
        {"rewards": torch.zeros(2, 2, 1)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(parts):
    with pytest.raises(ValueError, match="need"):
        TrajectoryBatch(**{"z": Z, "y": Y, **parts})


def test_actions_are_asked_for_before_they_exist():
    with pytest.raises(ValueError, match="with_actions"):
        TrajectoryBatch(Z, Y).require_actions()
    done = with_actions(TrajectoryBatch(Z, Y), Linear([1.0, 1.0]))
    assert done.require_actions() == (done.actions, done.rewards)


def test_numpys_generators_serve_as_well():
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    encoder = make_encoder(problem)
    one, same = (random_top(problem, encoder, 20, 4, 5, np.random.default_rng(3)) for _ in range(2))
    other = random_top(problem, encoder, 20, 4, 5, np.random.default_rng(4))
    assert torch.equal(one.rows, same.rows)
    assert not torch.equal(one.rows, other.rows)
