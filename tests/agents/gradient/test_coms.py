"""COMs: the conservative loss by a slow reference, its weight, the climb in training and in the
search."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import pytest
import safetensors.torch
import torch

import mbo_gym
from agents.gradient import coms
from agents.gradient.ascent import AscentConfig
from agents.gradient.coms import (
    COMs,
    COMsConfig,
    COMsSurrogate,
    COMsSurrogateConfig,
    conservative_loss,
)
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import UnknownId
from mbo_gym.methods.ascent import ascend
from mbo_gym.methods.registry import make_method
from mbo_gym.nn.trainer import Trainer
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.least_error import LeastErrorConfig, LeastErrorSurrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

SMALL = {"hidden": 12, "train_steps": 40, "batch_size": 32, "negative_steps": 4}


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=500).problem()


def data(n: int = 300, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    y = z[:, 0] - z[:, 1].abs()
    return z, (y - y.mean()) / y.std(correction=0)


def fitted(**settings) -> COMsSurrogate:
    surrogate = COMsSurrogate(COMsSurrogateConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=0)
    return surrogate


@dataclass
class FirstUpdate:
    """Weights, batch, loss and gradients of the first update, and log alpha after it."""

    surrogate: COMsSurrogate | None = None
    x: torch.Tensor | None = None
    at: list[torch.Tensor] | None = None
    y: torch.Tensor | None = None
    loss: float = 0.0
    gradients: list[torch.Tensor] | None = None
    alphas: list[float] = field(default_factory=list)


def watched(monkeypatch, **settings) -> FirstUpdate:
    """Fit, and see what goes through the climb, the loss and the trainer."""
    seen = FirstUpdate()

    def climb(surrogate, z, *args, **kwargs):
        if seen.x is None:
            seen.x = z.clone()
            layers = surrogate._model.network.layers()
            seen.at = [layer[0].detach().clone() for layer in layers]
        return ascend(surrogate, z, *args, **kwargs)

    def loss(on_data, on_negative, y, alpha, weight):
        assert weight is None
        value, overestimation = conservative_loss(on_data, on_negative, y, alpha)
        if seen.y is None:
            seen.y = y.clone()
            seen.loss = float(value.detach())
        seen.alphas.append(float(alpha))
        return value, overestimation

    class Watched(Trainer):
        def update(self, loss, /, **shown):
            super().update(loss, **shown)
            if seen.gradients is None:
                seen.gradients = [parameter.grad[0].clone() for parameter in self.parameters]

    monkeypatch.setattr(coms, "ascend", climb)
    monkeypatch.setattr(coms, "conservative_loss", loss)
    monkeypatch.setattr(coms, "Trainer", Watched)
    seen.surrogate = fitted(**settings)
    return seen


def plain_network(weights, z):
    w1, w2, w3, b1, b2, b3 = weights
    return (((z @ w1 + b1).relu() @ w2 + b2).relu() @ w3 + b3).squeeze(1)


def test_the_first_update_is_the_papers_formula(monkeypatch):
    seen = watched(monkeypatch, negative_step_size=2.0, negative_steps=3, alpha=0.7, tau=0.0)
    z, y = seen.x, seen.y
    weights = [w.requires_grad_() for w in seen.at]
    x_neg = z.clone()
    for row in range(len(z)):
        for _ in range(3):
            at = x_neg[row : row + 1].clone().requires_grad_()
            (slope,) = torch.autograd.grad(plain_network(weights, at).sum(), at)
            x_neg[row] += 2.0 * slope[0]
    over = plain_network(weights, x_neg).mean() - plain_network(weights, z).mean()
    loss = (plain_network(weights, z) - y).square().mean() + 0.7 * over
    assert over.item() > 0.01  # the climb goes up
    assert seen.loss == pytest.approx(loss.item(), rel=1e-5)
    for got, expected in zip(seen.gradients, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(got, expected.reshape(got.shape), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("tau", "sign"), [(0.0, 1), (1e3, -1)])
def test_the_weight_grows_while_the_climb_gains_more_than_tau_and_else_shrinks(
    tau, sign, monkeypatch
):
    seen = watched(monkeypatch, negative_step_size=0.3, tau=tau, alpha=0.5, alpha_rate=0.03)
    assert np.log(seen.alphas[1]) == pytest.approx(
        np.log(0.5) + sign * 0.03, rel=1e-4
    )  # Adam's first step is its rate
    assert (seen.surrogate.alpha > 0.5) == (sign > 0)
    assert fitted(tau=tau, alpha=0.5, alpha_rate=0.0).alpha == pytest.approx(0.5)


def gain(surrogate: COMsSurrogate, size: float) -> float:
    z = start = data()[0]
    for _ in range(surrogate.config.negative_steps):
        z = z + size * surrogate.gradient(z)
    return float((surrogate.predict(z) - surrogate.predict(start)).mean())


def test_climbing_gains_about_tau_where_the_weight_is_learnt_and_more_where_there_is_none():
    settings = {
        "train_steps": 300,
        "negative_step_size": 0.2,
        "negative_steps": 5,
        "learning_rate": 3e-3,
    }
    free = gain(fitted(**settings, alpha=1e-12, alpha_rate=0.0), 0.2)
    held = {
        tau: gain(fitted(**settings, tau=tau, alpha=1.0, alpha_rate=0.03), 0.2)
        for tau in (0.05, 0.2)
    }
    assert free > 2 * held[0.2]
    assert held == {tau: pytest.approx(tau, rel=0.5) for tau in held}


def test_without_a_climb_it_is_a_plain_perceptron():
    plain = MLPSurrogate(MLPConfig(hidden=12, train_steps=40, batch_size=32))
    plain.fit(*data(), seed=0)
    z = data()[0]
    torch.testing.assert_close(
        fitted(negative_steps=0).predict(z), plain.predict(z), rtol=1e-4, atol=1e-4
    )
    held = fitted(negative_step_size=2.0, alpha=1.0)
    assert not torch.allclose(held.predict(z), plain.predict(z), atol=1e-2)


def test_what_is_saved_predicts_the_same_and_knows_its_weight(tmp_path):
    surrogate = fitted(categorical=True)
    surrogate.save(tmp_path / "f.safetensors")
    again = load_surrogate(tmp_path / "f.safetensors")
    z = data()[0]
    assert isinstance(again, COMsSurrogate)
    assert torch.equal(again.predict(z), surrogate.predict(z))
    assert (again.config, again.report) == (surrogate.config, surrogate.report)
    assert again.alpha == pytest.approx(surrogate.alpha)
    assert again.alpha != surrogate.config.alpha


def test_step_and_limit_are_those_of_the_kind_of_space(branin, tfbind8):
    assert COMsSurrogateConfig().negative_recipe(25) == (pytest.approx(0.25), 0.5)
    assert COMsSurrogateConfig(categorical=True).negative_recipe(25) == (pytest.approx(10.0), 2.0)
    assert COMsSurrogateConfig(negative_step_size=0.0, tau=-1.0, categorical=True).negative_recipe(
        25
    ) == (0.0, -1.0)


def test_the_search_has_the_steps_of_the_climb_in_training(branin, tfbind8):
    def recipe(problem, ascent=None, **surrogate):
        config = COMsConfig(COMsSurrogateConfig(**surrogate), AscentConfig(**(ascent or {})))
        return config.search(problem, 25).recipe(problem, 25)

    assert recipe(branin) == (50, pytest.approx(0.25))
    assert recipe(tfbind8) == (50, pytest.approx(10.0))
    assert recipe(tfbind8, categorical=False) == (50, pytest.approx(0.25))
    assert recipe(branin, {"steps": 3}, negative_step_size=0.7) == (3, 0.7)
    assert recipe(branin, {"step_size": 0.2}) == (50, 0.2)
    assert recipe(branin, {"optimiser": "adam"}) == (200, 1e-3)


def test_the_method_tells_its_network_the_kind_of_space(branin, tfbind8):
    for problem, categorical in ((branin, False), (tfbind8, True)):
        method = COMs(COMsConfig(COMsSurrogateConfig(**SMALL)))
        method.fit(problem)
        fitted_config = method.fitted.surrogate.config
        assert fitted_config == COMsSurrogateConfig(**SMALL, categorical=categorical)
        assert method.config == COMsConfig(COMsSurrogateConfig(**SMALL))


def test_a_network_on_its_own_learns_the_kind_of_space_from_the_problem(tfbind8):
    named = make_surrogate("coms", **SMALL)
    surrogate = fit_surrogate(tfbind8, make_encoder(tfbind8), named, seed=0)
    assert surrogate.config.categorical is True
    told = make_surrogate("coms", **SMALL, categorical=False)
    fit_surrogate(tfbind8, make_encoder(tfbind8), told, seed=0)
    assert told.config.categorical is False
    chosen = LeastErrorSurrogate(LeastErrorConfig(candidates=("coms",)))
    chosen.for_space(tfbind8.space)
    assert chosen._candidates()["coms"].config.categorical is True


def test_the_search_takes_plain_steps_from_the_best_designs(branin):
    ascent = AscentConfig(steps=6, step_size=0.05)
    method = COMs(COMsConfig(COMsSurrogateConfig(**SMALL), ascent))
    method.fit(branin)
    proposals = method.propose(5)
    surrogate = method.fitted.surrogate
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.top(5).x))
    for _ in range(6):
        z = z + 0.05 * surrogate.gradient(z)
    value = surrogate.predict(z)
    order = value.argsort(descending=True, stable=True)
    np.testing.assert_allclose(proposals.x, encoder.decode(z[order].numpy()), rtol=1e-4)
    np.testing.assert_allclose(proposals.criterion, value[order].numpy(), atol=1e-5)


def test_a_weight_that_has_no_logarithm_is_refused():
    for alpha, words in (
        (0.0, "alpha must be above 0"),
        (-1.0, "alpha must be above 0"),
        (float("nan"), "alpha must be a finite float"),
    ):
        with pytest.raises(ValueError, match=words):
            make_method("coms", **{"surrogate.alpha": alpha})
    with pytest.raises(ValueError, match="steps must be at least 0"):
        make_method("coms", ascent={"steps": -1})
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        make_method("coms", surrogate={"hidden": 0})


def test_an_old_flat_setting_is_answered_with_its_new_place():
    with pytest.raises(UnknownId, match=r"surrogate\.hidden"):
        make_method("coms", hidden=12)
    with pytest.raises(UnknownId, match=r"ascent\.step_size"):
        make_method("coms", step_size=0.1)


def test_it_is_a_surrogate_for_other_methods(branin):
    method = make_method("grad", surrogate={"name": "coms", **SMALL})
    method.fit(branin)
    assert isinstance(method.fitted.surrogate, COMsSurrogate)
    assert method.fitted.surrogate.config == COMsSurrogateConfig(**SMALL, categorical=False)


def test_a_file_of_the_list_of_weights_loads(tmp_path):
    # keys and header as version 0.1 wrote them
    surrogate = fitted()
    state = {key: value.clone() for key, value in surrogate.state().items()}
    assert set(state) == {*(f"{kind}.{i}" for kind in ("weight", "bias") for i in range(3))} | {
        "unit",
        "alpha",
    }
    about = {
        "kind": "coms",
        "name": "",
        "config": json.dumps(asdict(surrogate.config)),
        "report": "null",
    }
    safetensors.torch.save_file(state, tmp_path / "old.safetensors", about)
    with pytest.warns(UserWarning, match="has no checksum"):
        again = load_surrogate(tmp_path / "old.safetensors")
    assert torch.equal(again.predict(data()[0]), surrogate.predict(data()[0]))
