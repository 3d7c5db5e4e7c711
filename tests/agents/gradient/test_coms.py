"""COMs: the conservative loss by a slow reference, its weight, the climb in training and in the
search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.coms import (
    COMs,
    COMsConfig,
    COMsSurrogate,
    COMsSurrogateConfig,
    coms_surrogate,
)
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.surrogates.auto import AutoConfig, AutoSurrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate

SMALL = {"hidden": 12, "train_steps": 40, "batch_size": 32, "negative_steps": 4}


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SURROGATES, "_specs", {**SURROGATES._all()})
        SURROGATES._specs.pop("coms", None)
        SURROGATES.register("coms", coms_surrogate)
        yield


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


def fitted(kind=COMsSurrogate, **settings) -> COMsSurrogate:
    surrogate = kind(COMsSurrogateConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=0)
    return surrogate


class FirstLoss(COMsSurrogate):
    """Keeps weights, batch, loss and gradients of the first update."""

    def batch_loss(self, z, y, generator):
        loss = super().batch_loss(z, y, generator)
        if not hasattr(self, "batch"):
            self.batch, self.loss = (z[0].clone(), y[0].clone()), float(loss.detach())
            self.at = [w[0].detach().clone() for w in [*self._weights, *self._biases]]
            self.log_alpha = float(self._log_alpha)
        return loss

    def before_update(self, parameters):
        if not hasattr(self, "gradients"):
            self.gradients = [p.grad[0].clone() for p in parameters]


def plain_network(weights, z):
    w1, w2, w3, b1, b2, b3 = weights
    return (((z @ w1 + b1).relu() @ w2 + b2).relu() @ w3 + b3).squeeze(1)


def test_the_first_update_is_the_papers_formula():
    seen = fitted(FirstLoss, negative_step_size=2.0, negative_steps=3, alpha=0.7, tau=0.0)
    z, y = seen.batch
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
def test_the_weight_grows_while_the_climb_gains_more_than_tau_and_else_shrinks(tau, sign):
    seen = fitted(FirstLoss, negative_step_size=0.3, tau=tau, alpha=0.5, alpha_rate=0.03)
    assert seen.log_alpha == pytest.approx(
        np.log(0.5) + sign * 0.03, rel=1e-4
    )  # Adam's first step is its rate
    assert (seen.alpha > 0.5) == (sign > 0)
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
    assert COMsConfig().recipe(branin, 25) == (50, pytest.approx(0.25))
    assert COMsConfig().recipe(tfbind8, 25) == (50, pytest.approx(10.0))
    assert COMsConfig(categorical=False).recipe(tfbind8, 25) == (50, pytest.approx(0.25))
    assert COMsConfig(steps=3, negative_step_size=0.7).recipe(branin, 25) == (3, 0.7)
    assert COMsConfig(step_size=0.2).recipe(branin, 25) == (50, 0.2)
    assert COMsConfig(optimiser="adam").recipe(branin, 25) == (200, 1e-3)


def test_the_method_tells_its_network_the_kind_of_space(branin, tfbind8):
    for problem, categorical in ((branin, False), (tfbind8, True)):
        method = COMs(COMsConfig(**SMALL))
        method.fit(problem, seed=0, device="cpu", progress=NullProgress())
        assert method._surrogate.config == COMsSurrogateConfig(**SMALL, categorical=categorical)
        assert method.config == COMsConfig(**SMALL)


def test_a_network_on_its_own_learns_the_kind_of_space_from_the_problem(tfbind8):
    surrogate = fit_surrogate(tfbind8, make_encoder(tfbind8), coms_surrogate(**SMALL), seed=0)
    assert surrogate.config.categorical is True
    named = fit_surrogate(
        tfbind8, make_encoder(tfbind8), coms_surrogate(**SMALL, categorical=False), seed=0
    )
    assert named.config.categorical is False
    chosen = AutoSurrogate(AutoConfig(candidates=("coms",)))
    chosen.for_space(tfbind8.space)
    assert chosen._candidates()["coms"].config.categorical is True


def test_the_search_takes_plain_steps_from_the_best_designs(branin):
    method = COMs(COMsConfig(**SMALL, steps=6, step_size=0.05))
    method.fit(branin, seed=0, device="cpu", progress=NullProgress())
    x = method.propose(5)
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.top(5).x))
    for _ in range(6):
        z = z + 0.05 * method._surrogate.gradient(z)
    value = method._surrogate.predict(z)
    order = value.argsort(descending=True, stable=True)
    np.testing.assert_allclose(x, encoder.decode(z[order].numpy()), rtol=1e-4)
    np.testing.assert_allclose(method.criterion, value[order].numpy(), atol=1e-5)


def test_a_weight_that_has_no_logarithm_is_refused():
    for alpha in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha must be above 0"):
            COMsConfig(alpha=alpha)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        COMsConfig(steps=-1)
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        COMsConfig(hidden=0)
