"""Standard errors of scores reach CbAS' own ensemble, and the rows that judge tuned proxies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from agents.generative.cbas import ScoreModel
from agents.gradient.tuned import VisibleRows, meta_gradient, stepped
from helpers import network, trained_proxies, visible_rows
from mbo_gym.encoders.base import encoded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.base import Context
from mbo_gym.methods.fitted import Fitted
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.fitting import row_weights
from mbo_gym.surrogates.mlp import EnsembleConfig, squared_error

N = 200
RISING = np.arange(N) % 2 == 0


def problem(error: np.ndarray | None) -> OfflineProblem:
    """Half of the rows rise with the first feature, half fall."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(N, 2)).astype(np.float32)
    y = np.where(RISING, x[:, 0], -x[:, 0])
    space = ContinuousSpace(np.full(2, -1), np.full(2, 1))
    return OfflineProblem("own", space, OfflineDataset(x, y, error), (-1, 1))


def precise(rows: np.ndarray) -> np.ndarray:
    return np.where(rows, 0.01, 5).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "more"), [("cbas", {}), ("autofocused_cbas", {"refine_steps": 100})]
)
def test_precise_rows_count_more_in_the_ensemble(name, more):
    for rows, sign in ((RISING, 1), (~RISING, -1)):
        data = problem(precise(rows))
        settings = {"surrogate.train_steps": 150, "surrogate.learning_rate": 3e-3, **more}
        method = mbo_gym.make_method(name, preset="light", **settings)
        method.fit(data, Context(seed=0))
        z = make_encoder(data).features(data.dataset.x)
        predicted = method.scores.members(z).mean(dim=1).numpy()
        assert sign * np.corrcoef(data.dataset.x[:, 0], predicted)[0, 1] > 0.4


def test_the_held_out_error_counts_precise_rows_more():
    data = problem(precise(RISING))
    made = encoded(data, make_encoder(data))
    weight = row_weights(data)
    config = EnsembleConfig(hidden=16, train_steps=150, learning_rate=3e-3, held_out=0.3)
    model = ScoreModel.fit(made, config, Context(seed=0), weight)
    even = model.held_out_error(made, torch.ones(N))
    assert float(model.error) == float(model.held_out_error(made, weight))
    assert float(model.error) < 0.7 * float(even)


@pytest.mark.parametrize("name", ["cbas", "autofocused_cbas", "ict", "tri_mentoring"])
def test_errors_that_are_all_equal_change_next_to_nothing(name):
    found = []
    for error in (None, np.full(N, 0.5)):
        method = mbo_gym.make_method(name, preset="light")
        method.fit(problem(error), Context(seed=0))
        found.append(method.propose(5).x)
    np.testing.assert_allclose(*found, atol=1e-3)


def test_visible_rows_keep_their_weights():
    data = problem(precise(RISING))
    trained = trained_proxies()
    fitted = Fitted(data, make_encoder(data), trained, Context())
    rows = VisibleRows.of(fitted, trained.model.unit.float())
    torch.testing.assert_close(rows.weight, row_weights(data))
    drawn = rows.draw(50, torch.Generator().manual_seed(0))
    for z, weight in zip(drawn.z, drawn.weight, strict=True):
        (row,) = (rows.z == z).all(dim=1).nonzero()[:, 0].tolist()
        assert float(weight) == float(rows.weight[row])
    assert (
        VisibleRows.of(Fitted(problem(None), *vars_of(fitted)), trained.model.unit).weight is None
    )


def vars_of(fitted: Fitted) -> tuple:
    return fitted.encoder, fitted.surrogate, fitted.context


def test_the_step_of_tuning_is_judged_by_the_weighted_error():
    trained = trained_proxies()
    rows = visible_rows(trained)
    weight = torch.linspace(0, 2, len(rows.z), dtype=torch.float64)
    layers = trained.model.network.layers()
    x = rows.z[:6]
    target = torch.zeros(3, 6, dtype=torch.float64)

    def loss(at, label):
        outputs = torch.stack([network(at, m, x) for m in range(3)])
        return (outputs - label).square().mean(dim=1).sum()

    def error_after(label, counted):
        after = stepped(layers, lambda at: loss(at, label), 0.05)
        outputs = torch.stack([network(after, m, rows.z) for m in range(3)])
        return float(squared_error(outputs, rows.y, counted))

    for counted in (None, weight):
        seen = VisibleRows(rows.z, rows.y, counted)
        slope = meta_gradient(layers, loss, target, 0.05, lambda seen=seen: seen)
        for place in ((0, 0), (1, 3), (2, 5)):
            ends = []
            for change in (1e-4, -1e-4):
                moved = target.clone()
                moved[place] += change
                ends.append(error_after(moved, counted))
            assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)
