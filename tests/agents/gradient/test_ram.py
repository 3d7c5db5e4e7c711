"""RaM: the two losses by their formulas, predictions in the unit of the scores, the order that is
learnt."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import mbo_gym
from agents.gradient.ram import (
    RaMListNet,
    RaMListNetConfig,
    RaMRankCosine,
    RaMRankCosineConfig,
    RankingConfig,
    RankingSurrogate,
    ram_listnet_surrogate,
    ram_rankcosine_surrogate,
    ram_surrogate,
)
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate, make_surrogate

SMALL = {"hidden": 16, "train_steps": 60, "batch_size": 64}
NAMES = {
    "ram": ram_surrogate,
    "ram_listnet": ram_listnet_surrogate,
    "ram_rankcosine": ram_rankcosine_surrogate,
}
each_loss = pytest.mark.parametrize("loss", ["listnet", "rankcosine"])


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SURROGATES, "_specs", {**SURROGATES._all()})
        for name, make in NAMES.items():
            SURROGATES._specs.pop(name, None)
            SURROGATES.register(name, make)
        yield


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


class Fixed(RankingSurrogate):
    """Outputs the first feature."""

    def outputs(self, z):
        return z[..., 0]


def loss_of(f: list[float], y: list[float], loss: str) -> float:
    z = torch.tensor(f).reshape(1, -1, 1)
    value = Fixed(RankingConfig(loss=loss)).batch_loss(z, torch.tensor([y]), torch.Generator())
    return float(value)


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


@each_loss
def test_weights_decay_as_in_adams_l2(loss):
    def gradients(weight_decay):
        surrogate = RankingSurrogate(RankingConfig(**SMALL, loss=loss, weight_decay=weight_decay))
        parameters = surrogate._initialise(3, torch.Generator().manual_seed(0))
        z, y = data(20)
        return parameters, torch.autograd.grad(
            surrogate.batch_loss(z[None], y[None], torch.Generator()), parameters
        )

    parameters, plain = gradients(0.0)
    for parameter, without, decayed in zip(parameters, plain, gradients(0.3)[1], strict=True):
        torch.testing.assert_close(decayed, without + 0.3 * parameter.detach())


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
    seen = {}

    class Spy(RankingSurrogate):
        def finish(self, z, y):
            seen["z"] = z
            super().finish(z, y)

    surrogate = Spy(RankingConfig(**SMALL, loss=loss, held_out=0.5))
    z, y = data()
    surrogate.fit(z, y, seed=0)
    assert len(seen["z"]) == 200
    assert float(surrogate.predict(seen["z"]).mean()) == pytest.approx(float(y.mean()), rel=1e-4)
    assert float(surrogate.predict(seen["z"]).std(correction=0)) == pytest.approx(
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


def test_each_update_sees_one_list_of_the_batch_size():
    shapes = []

    class Spy(RankingSurrogate):
        def batch_loss(self, z, y, generator):
            shapes.append((tuple(z.shape), tuple(y.shape)))
            return super().batch_loss(z, y, generator)

    Spy(RankingConfig(**SMALL)).fit(*data(), seed=0)
    assert shapes == [((1, 64, 3), (1, 64))] * 60


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


@pytest.mark.parametrize(("kind", "loss"), [(RaMListNet, "listnet"), (RaMRankCosine, "rankcosine")])
def test_each_method_trains_by_its_loss_and_climbs_by_adam(branin, kind, loss):
    method = kind(kind.Config(**SMALL, steps=5))
    method.fit(branin, seed=0, device="cpu", progress=NullProgress())
    assert method._surrogate.config == RankingConfig(**SMALL, loss=loss)
    assert method.config.optimiser == "adam"
    x = method.propose(5)
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
        assert (paper.hidden, paper.batch_size, paper.learning_rate, paper.optimiser) == (
            2048,
            1000,
            3e-4,
            "adam",
        )
        assert paper.loss == config().loss


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="weight_decay must be at least 0"):
        RaMListNetConfig(weight_decay=-1.0)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        RaMRankCosineConfig(steps=-1)
