"""NEMO: the discretised logistic and the normalised likelihood by slow references, what queries do
to it, its files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.nemo import (
    NEMO,
    NEMOConfig,
    NEMOSurrogate,
    NEMOSurrogateConfig,
)
from helpers import assert_reads_what_it_saved, with_leaves
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import ascend
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress

SMALL = {"hidden": 16, "train_steps": 150, "batch_size": 64, "bins": 5, "designs": 12, "steps": 20}


def data(n: int = 300, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    return z, 2 + 3 * z[:, 0] - z[:, 1].square()


def fitted(seed: int = 0, **settings) -> NEMOSurrogate:
    surrogate = NEMOSurrogate(NEMOSurrogateConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=seed)
    return surrogate


@pytest.fixture(scope="module")
def surrogate() -> NEMOSurrogate:
    return fitted()


def model_by_hand(surrogate: NEMOSurrogate, k: int, z: np.ndarray) -> np.ndarray:
    """Return the probabilities (K,) that model k gives to the bins of one design, from the saved
    weights."""
    state = {key: value.double().numpy() for key, value in surrogate.state().items()}
    h = z
    for i in range(3):
        h = (np.maximum(h, 0) if i else h) @ state[f"weight.{i}"][k] + state[f"bias.{i}"][k, 0]
    inner = (state["edges"][1:-1] - h[0]) / math.exp(state["log_scale"][k, 0])
    return np.diff([0, *(1 / (1 + np.exp(-inner))), 1])


def test_each_model_is_a_discretised_logistic(surrogate):
    z = data()[0][:6]
    for k in range(5):
        label = torch.full((5, 1), k)
        got = surrogate.models.log_likelihood(z.expand(5, -1, -1), label).exp()  # (models, designs)
        expected = [
            [model_by_hand(surrogate, m, row)[k] for row in z.double().numpy()] for m in range(5)
        ]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


def test_the_likelihood_of_far_bins_has_a_finite_logarithm_and_gradient(surrogate):
    z = (1000 * data()[0][:4]).requires_grad_()
    own = torch.arange(5).unsqueeze(1)
    for k in range(5):
        log_p = surrogate.models.log_likelihood(z.expand(5, -1, -1), (own + k) % 5)
        (gradient,) = torch.autograd.grad(log_p.sum(), z)
        assert log_p.isfinite().all()
        assert gradient.isfinite().all()


def test_the_prediction_is_the_expectation_under_the_normalised_likelihood(surrogate):
    z, y = data()
    unit, edges = (y.mean().item(), y.std(correction=0).item()), surrogate.state()["edges"].numpy()
    values = unit[0] + unit[1] * (edges[1:] + edges[:-1]) / 2
    expected = []
    for row in z[:10].double().numpy():
        own = np.array([model_by_hand(surrogate, k, row)[k] for k in range(5)])
        expected.append(values @ own / own.sum())
    np.testing.assert_allclose(surrogate.predict(z[:10]), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(surrogate.models.normalised(z).sum(dim=0), torch.ones(len(z)))


def test_bins_span_the_scores_evenly(surrogate):
    y = data()[1]
    standard = (y - y.mean()) / y.std(correction=0)
    low, high = standard.min().item(), standard.max().item()
    np.testing.assert_allclose(
        surrogate.state()["edges"], np.linspace(low, high, 6), rtol=1e-5, atol=1e-6
    )
    middle = np.linspace(low, high, 11)[1::2]
    assert surrogate.models.bin_of(torch.tensor([low - 9, *middle, high + 9])).tolist() == [
        0,
        0,
        1,
        2,
        3,
        4,
        4,
    ]


def test_without_steps_all_models_are_the_one_trained_on_the_data():
    surrogate = fitted(steps=0, query_rate=0.0)
    z = data()[0][:5]
    together = surrogate.models.normalised(z)
    for j, row in enumerate(z.double().numpy()):
        np.testing.assert_allclose(
            together[:, j], model_by_hand(surrogate, 0, row), rtol=1e-4, atol=1e-6
        )
    torch.testing.assert_close(surrogate.designs, z_of_the_best(12))


def z_of_the_best(n: int) -> torch.Tensor:
    z, y = data()
    return z[y.argsort(descending=True)[:n]]


def test_queries_pull_each_model_to_its_label_unless_they_weigh_nothing():
    alike, apart = (
        fitted(query_weight=0.0, query_rate=1e-2),
        fitted(query_weight=1.0, query_rate=1e-2),
    )
    mean = alike.models.network.outputs(alike.designs)
    torch.testing.assert_close(mean, mean[:1].expand(5, -1))
    mean = apart.models.network.outputs(apart.designs).mean(dim=1)
    assert mean.argsort().tolist() == [0, 1, 2, 3, 4]


def test_designs_far_from_the_data_are_less_believed_with_their_queries():
    settings = {"step_size": 2.0, "query_rate": 1e-2, "steps": 60}
    trusting, doubting = fitted(query_weight=0.0, **settings), fitted(query_weight=0.1, **settings)
    far = trusting.designs
    assert float(far.norm(dim=1).mean()) > 1.3 * float(z_of_the_best(12).norm(dim=1).mean())
    entropy = [
        -(p * p.log()).sum(dim=0).mean()
        for p in (trusting.models.normalised(far), doubting.models.normalised(far))
    ]
    assert float(entropy[1]) > float(entropy[0])
    assert float(doubting.predict(far).mean()) < float(trusting.predict(far).mean())


def test_queries_climb_the_expected_value():
    surrogate = fitted(
        query_rate=0.0, steps=9, step_size=0.03
    )  # the models stand still: plain ascent
    ends = ascend(surrogate, z_of_the_best(12), "plain", 9, 0.03, box=None, progress=NullProgress())
    torch.testing.assert_close(surrogate.designs, ends)
    assert float(surrogate.predict(ends).mean()) > float(
        surrogate.predict(z_of_the_best(12)).mean()
    )


def test_the_data_box_holds_the_queries():
    z = data()[0]
    free, boxed = fitted(step_size=3.0), fitted(step_size=3.0, bounds="data")
    assert float(free.designs.max()) > float(z.max())
    assert (boxed.designs <= z.amax(dim=0)).all()
    assert (boxed.designs >= z.amin(dim=0)).all()


def test_the_searched_designs_are_shown_in_the_score_unit_of_the_data():
    seen = []
    surrogate = NEMOSurrogate(
        NEMOSurrogateConfig(**SMALL), lambda step, z, value: seen.append((step, z.clone(), value))
    )
    surrogate.fit(*data(), seed=0)
    assert [step for step, _, _ in seen] == [*range(21)]
    torch.testing.assert_close(seen[0][1], z_of_the_best(12))
    torch.testing.assert_close(seen[-1][1], surrogate.designs)
    assert (
        2 < float(seen[0][2].mean()) < 10
    )  # the scores of the best rows; standardised, they are below 2


def test_scores_that_are_all_alike_are_predicted():
    surrogate = NEMOSurrogate(NEMOSurrogateConfig(**SMALL))
    surrogate.fit(data()[0], torch.zeros(300), seed=0)  # as they come when standardised
    np.testing.assert_allclose(surrogate.predict(data()[0]), 0, atol=1e-6)


def test_it_predicts_held_out_rows_and_more_training_helps():
    short, long = fitted(train_steps=1), fitted(train_steps=600)
    assert long.report.rank_correlation > 0.9
    assert long.report.rmse < short.report.rmse


def test_saved_and_read_it_predicts_the_same(tmp_path):
    assert_reads_what_it_saved(
        "nemo", NEMOSurrogate, SMALL, *data(), tmp_path / "model.safetensors"
    )


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()


def test_it_proposes_the_queries_and_climbs_more_where_more_are_asked_for(branin):
    method = NEMO(NEMOConfig(NEMOSurrogateConfig(**SMALL)))
    method.fit(branin, Context(0))
    encoder = make_encoder(branin)
    queries = encoder.decode(method.surrogate.designs.numpy())
    x = method.propose(12).x
    assert {tuple(row) for row in x} == {tuple(row) for row in queries}
    few = method.propose(3).x
    np.testing.assert_array_equal(few, x[:3])
    proposals = method.propose(30)
    many = proposals.x
    assert {tuple(row) for row in queries} < {tuple(row) for row in many}
    assert proposals.criterion.shape == (30,)
    assert (np.diff(proposals.criterion) <= 0).all()
    starts = {tuple(row) for row in encoder.decode(encoder.encode(branin.dataset.top(30).x))}
    assert not starts & {tuple(row) for row in many}  # all have moved


def test_the_steps_and_the_published_settings():
    assert NEMOSurrogateConfig().steps == 500
    assert NEMOSurrogateConfig().step(25) == pytest.approx(0.05)
    assert NEMOSurrogateConfig(step_size=0.5).step(25) == 0.5
    paper = NEMO.PRESETS["paper"].surrogate
    assert (paper.hidden, paper.layers, paper.bins) == (256, 2, 40)


def test_designs_beyond_the_queries_climb_with_the_settings_of_the_queries(branin):
    method = NEMO(NEMOConfig(NEMOSurrogateConfig(**{**SMALL, "steps": 7, "step_size": 0.1})))
    method.fit(branin, Context(0))
    encoder = make_encoder(branin)
    starts = torch.from_numpy(encoder.encode(branin.dataset.top(20).x))[12:]
    ends = ascend(method.surrogate, starts, "plain", 7, 0.1, box=None, progress=NullProgress())
    climbed = {tuple(row) for row in encoder.decode(ends.numpy())}
    assert climbed < {tuple(row) for row in method.propose(20).x}


def test_a_loaded_method_proposes_the_queries_and_climbs_on_as_before(branin, tmp_path):
    method = NEMO(NEMOConfig(NEMOSurrogateConfig(**SMALL)))
    method.fit(branin, Context(0))
    method.save(tmp_path)
    again = mbo_gym.load_method(tmp_path)
    assert torch.equal(again.surrogate.designs, method.surrogate.designs)
    for k in (3, 12, 30):
        np.testing.assert_array_equal(again.propose(k).x, method.propose(k).x)


@pytest.mark.parametrize(
    "settings", [{"bins": 1}, {"designs": 0}, {"query_weight": -1.0}, {"hidden": 0}]
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        with_leaves(NEMOConfig(), **settings)
