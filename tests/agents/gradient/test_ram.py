"""RaM: the two losses by their formulas, predictions in the unit of the scores, the order that is
learnt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import mbo_gym
from agents.gradient import ram
from agents.gradient.ram import (
    LOSSES,
    RaMListNet,
    RaMListNetConfig,
    RaMRankCosine,
    RaMRankCosineConfig,
    RankingConfig,
    RankingSurrogate,
    listnet,
)
from mbo_gym.methods.registry import make_method
from mbo_gym.surrogates.base import hold_out
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

SMALL = {"hidden": 16, "train_steps": 60, "batch_size": 64}
NAMES = ("ram", "ram_listnet", "ram_rankcosine")
each_loss = pytest.mark.parametrize("loss", ["listnet", "rankcosine"])


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def data(n: int = 400, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    return z, 4.0 + 3.0 * (z[:, 0] - z[:, 1].abs())


def fitted(**settings) -> RankingSurrogate:
    surrogate = RankingSurrogate(RankingConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=0)
    return surrogate


def loss_of(f: list[float], y: list[float], loss: str) -> float:
    return float(LOSSES[loss](torch.tensor([f]), torch.tensor([y])))


F, Y = [0.3, -1.2, 2.0, 0.5], [1.0, -0.4, -1.6, 1.0]


def test_listnet_is_the_cross_entropy_of_two_softmaxes():
    of_y, of_f = ([math.exp(v) for v in values] for values in (Y, F))
    expected = -sum(
        a / sum(of_y) * math.log(b / sum(of_f)) for a, b in zip(of_y, of_f, strict=True)
    )
    assert loss_of(F, Y, "listnet") == pytest.approx(expected, rel=1e-5)
    assert loss_of([v + 7 for v in F], Y, "listnet") == pytest.approx(expected, rel=1e-4)
    assert loss_of(Y, Y, "listnet") < expected


def test_rankcosine_is_one_less_the_cosine():
    dot = sum(a * b for a, b in zip(F, Y, strict=True))
    expected = 1 - dot / math.sqrt(sum(a * a for a in F) * sum(b * b for b in Y))
    assert loss_of(F, Y, "rankcosine") == pytest.approx(expected, rel=1e-5)
    assert loss_of([9 * v for v in F], Y, "rankcosine") == pytest.approx(expected, rel=1e-4)
    assert loss_of(Y, Y, "rankcosine") == pytest.approx(0, abs=1e-6)
    assert loss_of([-v for v in Y], Y, "rankcosine") == pytest.approx(2)


@each_loss
def test_the_order_of_a_list_plays_no_part(loss):
    turned = loss_of(F[::-1], Y[::-1], loss)
    assert turned == pytest.approx(loss_of(F, Y, loss), rel=1e-5)
    assert loss_of(F[::-1], Y, loss) != pytest.approx(turned, rel=1e-2)


def first_gradients(monkeypatch, loss, weight_decay):
    """Return the layers at the first update, and the gradients of its loss."""
    seen = []

    def graded(network, loss_of_rows, rows, config, *, seed, **rest):
        network.requires_grad_(True)
        value, _ = loss_of_rows(rows.draw(seed), seed)
        seen.append(network.layers())
        seen.append(torch.autograd.grad(value, seen[0]))
        network.requires_grad_(False)

    monkeypatch.setattr(ram, "train", graded)
    fitted(loss=loss, weight_decay=weight_decay, train_steps=1)
    return seen


@each_loss
def test_weights_decay_as_in_adams_l2(loss, monkeypatch):
    parameters, plain = first_gradients(monkeypatch, loss, 0.0)
    _, decayed = first_gradients(monkeypatch, loss, 0.3)
    for parameter, without, with_decay in zip(parameters, plain, decayed, strict=True):
        torch.testing.assert_close(with_decay, without + 0.3 * parameter.detach())


@each_loss
def test_predictions_on_the_rows_trained_on_have_the_mean_and_deviation_of_the_scores(loss):
    z, y = data()
    prediction = fitted(loss=loss, held_out=0.0).predict(z)
    assert float(prediction.mean()) == pytest.approx(float(y.mean()), rel=1e-4)
    assert float(prediction.std(correction=0)) == pytest.approx(
        float(y.std(correction=0)), rel=1e-4
    )


@each_loss
def test_only_the_rows_trained_on_set_the_unit(loss):
    surrogate = fitted(loss=loss, held_out=0.5)
    z, y = data()
    _, rows = hold_out(len(z), 0.5, torch.Generator().manual_seed(0))
    assert len(rows) == 200
    prediction = surrogate.predict(z[rows])
    assert float(prediction.mean()) == pytest.approx(float(y.mean()), rel=1e-4)
    assert float(prediction.std(correction=0)) == pytest.approx(
        float(y.std(correction=0)), rel=1e-4
    )
    assert abs(float(surrogate.predict(z).mean()) - float(y.mean())) > 1e-3


@each_loss
def test_the_order_of_unseen_designs_is_learnt(loss):
    surrogate = fitted(loss=loss, train_steps=300, learning_rate=1e-2)
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(9))
    assert (
        spearmanr(surrogate.predict(z).numpy(), (z[:, 0] - z[:, 1].abs()).numpy()).statistic > 0.95
    )
    assert surrogate.report.rank_correlation > 0.9


def test_each_update_sees_one_list_of_the_batch_size(monkeypatch):
    shapes = []

    def watched(f, y, weight):
        assert weight is None
        shapes.append((tuple(f.shape), tuple(y.shape)))
        return listnet(f, y)

    monkeypatch.setattr(ram, "LOSSES", {"listnet": watched})
    fitted()
    assert shapes == [((1, 64), (1, 64))] * 60


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_predicts_the_same(name, tmp_path):
    surrogate = make_surrogate(name, **SMALL)
    surrogate.fit(*data(), seed=0)
    surrogate.save(tmp_path / "f.safetensors")
    again = load_surrogate(tmp_path / "f.safetensors")
    z = data()[0]
    assert isinstance(again, RankingSurrogate)
    assert again.config == surrogate.config
    assert again.config.loss == ("rankcosine" if name == "ram_rankcosine" else "listnet")
    assert torch.equal(again.predict(z), surrogate.predict(z))


@pytest.mark.parametrize(
    ("name", "kind", "loss"),
    [
        ("ram_listnet", RaMListNet, "listnet"),
        ("ram_rankcosine", RaMRankCosine, "rankcosine"),
    ],
)
def test_each_method_trains_by_its_loss_and_climbs_by_adam(branin, name, kind, loss):
    method = make_method(name, surrogate=SMALL, ascent={"steps": 5})
    method.fit(branin)
    assert isinstance(method, kind)
    assert method.fitted.surrogate.config == RankingConfig(**SMALL, loss=loss)
    assert method.config.ascent.optimiser == "adam"
    x = method.propose(5).x
    std = branin.dataset.x.std(axis=0)
    top = branin.dataset.top(5).x
    moved = np.abs(x[:, None] - top[None]).max(axis=2).argmin(axis=1)
    assert sorted(moved) == [
        0,
        1,
        2,
        3,
        4,
    ]  # each start has gone somewhere of its own, at most 5 steps of 1e-3 away
    far = np.abs(x - top[moved]) / std
    assert (far < 5.2e-3).all()
    assert far.max() > 1e-3


def test_the_published_settings():
    for kind, config in ((RaMListNet, RaMListNetConfig), (RaMRankCosine, RaMRankCosineConfig)):
        paper = kind.PRESETS["paper"]
        assert isinstance(paper, config)
        network = paper.surrogate
        assert (network.hidden, network.batch_size, network.learning_rate) == (2048, 1000, 3e-4)
        assert paper.ascent.optimiser == "adam"
        assert network.loss == config().surrogate.loss


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="weight_decay must be at least 0"):
        make_method("ram_listnet", surrogate={"weight_decay": -1.0})
    with pytest.raises(ValueError, match="steps must be at least 0"):
        make_method("ram_rankcosine", ascent={"steps": -1})
