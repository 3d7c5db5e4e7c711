"""RoMA: the Gaussian network, weights moved by a share of their norm, the copy adapted at each step
and forgotten."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

import mbo_gym
from agents.gradient.roma import (
    GaussianMLP,
    RoMA,
    RoMAConfig,
    RoMASurrogate,
    RoMASurrogateConfig,
    adapted,
    gaussian_nll,
    penalised_gradient,
    scaled_steps,
    smoothed_loss,
)
from helpers import with_leaves
from mbo_gym.methods.ascent import GradientAscent
from mbo_gym.methods.base import Context
from mbo_gym.nn.trainer import Trainer
from mbo_gym.surrogates.registry import load_surrogate

SMALL = {"hidden": 16, "train_steps": 60, "batch_size": 64, "perturbation_steps": 2}


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def data(n: int = 300, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    y = z[:, 0] - z[:, 1].abs()
    return z, (y - y.mean()) / y.std(correction=0)


def fitted(**settings) -> RoMASurrogate:
    surrogate = RoMASurrogate(RoMASurrogateConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=0)
    return surrogate


@pytest.fixture(scope="module")
def network() -> RoMASurrogate:
    return fitted(train_steps=300)


def test_the_network_computes_what_its_weights_say(network):
    z = data()[0]
    state = network.state()
    h = z
    for i in (0, 1):
        h = torch.log1p((h @ state[f"weight.{i}"][0] + state[f"bias.{i}"][0]).exp())
    torch.testing.assert_close(network.hidden(z), h, rtol=1e-4, atol=1e-5)
    mean, raw = (h @ state["weight.2"][0] + state["bias.2"][0]).unbind(dim=1)
    torch.testing.assert_close(
        network.predict(z), state["unit"][0] + state["unit"][1] * mean, rtol=1e-4, atol=1e-5
    )
    low, high = state["bounds"]
    below = high - softplus(high - raw)
    expected = state["unit"][1] * (low + softplus(below - low)).exp()
    torch.testing.assert_close(network.spread(z), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_a_gaussian():
    mean, log_spread, y = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0))
    expected = -torch.distributions.Normal(mean, log_spread.exp()).log_prob(y).mean()
    assert float(gaussian_nll(mean, log_spread, y)) == pytest.approx(float(expected), rel=1e-5)


def test_the_spread_is_learnt_within_bounds_that_are_learnt_too():
    z, y = data(1000)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    for size in (0.05, 1.0):
        how = RoMASurrogateConfig(
            hidden=16,
            train_steps=600,
            batch_size=64,
            learning_rate=1e-2,
            input_noise=0.0,
            perturbation_steps=0,
        )
        surrogate = RoMASurrogate(how)
        surrogate.fit(z, y + size * noise, seed=0)
        spread, residual = surrogate.spread(z), y + size * noise - surrogate.predict(z)
        assert float(spread.mean()) == pytest.approx(float(residual.std()), rel=0.2)
        low, high = surrogate.state()["bounds"].exp().tolist()
        assert (low < 0.1, high < 0.2) == ((True, True) if size == 0.05 else (False, False))
        assert (spread >= low * surrogate.state()["unit"][1]).all()


def untrained() -> GaussianMLP:
    sizes = RoMASurrogateConfig(**SMALL).sizes(3, n_outputs=2)
    return GaussianMLP.draw(sizes, torch.Generator().manual_seed(0)).requires_grad_()


def loss_of(model, z, y, generator=None, **settings):
    config = RoMASurrogateConfig(**{**SMALL, "input_noise": 0.0, **settings})
    return smoothed_loss(model, z[None], y[None], config, generator or torch.Generator())


def nll_at(model, layers, z, y):
    return gaussian_nll(*model(z[None], layers), y[None])


@pytest.mark.parametrize("steps", [1, 4])
def test_each_tensor_goes_its_share_of_its_norm_down_the_loss(steps):
    model = untrained()
    z, y = data(40)
    own = [layer.detach() for layer in model.network.layers()]
    moved = scaled_steps(own, lambda at: nll_at(model, at, z, y), 0.01, steps)
    leaves = [layer.clone().requires_grad_() for layer in own]
    gradients = torch.autograd.grad(nll_at(model, leaves, z, y), leaves)
    for before, after, gradient in zip(own, moved, gradients, strict=True):
        step = after - before
        assert float(step.norm()) == pytest.approx(
            0.01 * float(before.norm()), rel=1e-4 if steps == 1 else 0.2
        )
        cosine = float(torch.cosine_similarity(step.flatten(), -gradient.flatten(), dim=0))
        assert cosine > (0.9999 if steps == 1 else 0.9)
    assert nll_at(model, moved, z, y).item() < nll_at(model, own, z, y).item()


def test_the_gradient_of_training_is_taken_where_weights_are_worse():
    model = untrained()
    z, y = data(40)
    loss = loss_of(model, z, y, perturbation=0.05, perturbation_steps=3)
    own = [layer.detach().clone() for layer in model.network.layers()]
    worse = scaled_steps(own, lambda at: -nll_at(model, at, z, y), 0.05, 3)
    leaves = [layer.clone().requires_grad_() for layer in worse]
    expected_loss = nll_at(model, leaves, z, y)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert loss.item() > 1.02 * nll_at(model, own, z, y).item()
    bounds = model.bounds[0]
    got = torch.autograd.grad(loss, [*model.network.layers(), bounds])
    expected = torch.autograd.grad(expected_loss, [*leaves, bounds])
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    for parameter, layer in zip(model.network.layers(), own, strict=True):
        assert torch.equal(parameter.detach(), layer)  # the weights themselves stay


def test_without_perturbation_and_noise_the_loss_is_the_plain_one():
    z, y = data(40)
    model = untrained()
    plain = nll_at(model, model.network.layers(), z, y).item()
    assert loss_of(model, z, y, perturbation_steps=0).item() == pytest.approx(plain, rel=1e-6)
    drawn = torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(3))
    expected = nll_at(model, model.network.layers(), (z + 0.5 * drawn)[0], y).item()
    noisy = loss_of(
        model,
        z,
        y,
        torch.Generator().manual_seed(3),
        perturbation_steps=0,
        input_noise=0.5,
    )
    assert noisy.item() == pytest.approx(expected)
    assert abs(expected - plain) > 1e-3


def test_gradients_are_clipped_to_a_norm_of_one():
    z, y = data(40)
    config = RoMASurrogateConfig(**SMALL)
    norms = {}
    for factor in (1e-3, 1e3):
        model = untrained()
        trainer = Trainer(model, config.training(), stage="test")
        loss = factor * loss_of(model, z, y)
        gradients = torch.autograd.grad(loss, trainer.parameters, retain_graph=True)
        before = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        trainer.update(loss, loss=loss)
        after = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.parameters))
        norms[factor] = before, after
    small, large = norms[1e-3], norms[1e3]
    assert small[0] < 1 < large[0]
    assert small[1] == pytest.approx(small[0])
    assert large[1] == pytest.approx(1, rel=1e-4)


def test_what_is_saved_predicts_the_same(network, tmp_path):
    network.save(tmp_path / "f.safetensors")
    again = load_surrogate(tmp_path / "f.safetensors")
    z = data()[0]
    assert isinstance(again, RoMASurrogate)
    assert torch.equal(again.predict(z), network.predict(z))
    assert torch.equal(again.spread(z), network.spread(z))
    assert again.config == network.config


def slope(model, z, layers=None) -> float:
    leaf = z[None].clone().requires_grad_()
    mean = model(leaf, layers)[0]
    return float(torch.autograd.grad(mean.sum(), leaf)[0].norm(dim=2).mean())


def gradient_of(network, z, start, **settings) -> torch.Tensor:
    """Return the gradient that the ascent follows at z, (B, d)."""
    config = with_leaves(RoMAConfig(), **{**SMALL, **settings})
    model = network.model
    first = model(start[None])[0].detach()
    return penalised_gradient(model, adapted(model, z, config), z, first, config.region)


def test_the_copy_is_flatter_at_the_designs_and_consistency_keeps_its_predictions(network):
    z, model = data()[0][:20], network.model
    own = network.predict(z)
    drift, flat = {}, {}
    for weight in (0.0, 1.0):
        config = RoMAConfig(adaptation=0.05, adaptation_steps=10, consistency=weight)
        layers = adapted(model, z, config)
        flat[weight] = slope(model, z, layers)
        drift[weight] = float((model(z[None], layers)[0][0] - own).abs().mean())
    assert flat[0.0] < 0.95 * slope(model, z)
    assert drift[1.0] < 0.5 * drift[0.0]


def test_one_copy_is_adapted_to_all_designs_at_once(network):
    z = data()[0][:20]
    settings = {"adaptation_steps": 3, "adaptation": 0.05}
    together = gradient_of(network, z, z, **settings)[:1]
    alone = gradient_of(network, z[:1], z[:1], **settings)
    assert not torch.allclose(together, alone, rtol=1e-3)


@pytest.mark.parametrize("region", [0.5, 4.0])
def test_unadapted_it_climbs_the_prediction_less_a_penalty_on_what_was_gained(network, region):
    z, start = data()[0][:20], data()[0][20:40]
    gradient = gradient_of(network, z, start, adaptation_steps=0, region=region)
    plain = network.gradient(z)
    gained = (network.predict(z) - network.predict(start))[:, None]
    torch.testing.assert_close(gradient, (1 - gained / region) * plain, rtol=1e-4, atol=1e-5)


def test_the_ascent_halts_where_the_prediction_has_gained_the_region(network):
    start = data()[0][:20]
    for region in (0.05, 0.3):
        ascent = GradientAscent(start, "plain", 0.05)
        for _ in range(300):
            ascent.step(gradient_of(network, ascent.z, start, adaptation_steps=0, region=region))
        gained = network.predict(ascent.z) - network.predict(start)
        torch.testing.assert_close(gained, torch.full((20,), region), atol=5e-3, rtol=0)


def test_the_copy_is_forgotten_and_the_settings_of_the_search_matter(branin):
    base = {**SMALL, "optimiser": "plain", "steps": 10, "step_size": 0.2, "adaptation_steps": 3}
    ends = {}
    for name, changed in {
        "base": {},
        "adaptation": {"adaptation": 0.2},
        "adaptation_steps": {"adaptation_steps": 0},
        "region": {"region": 0.1},
    }.items():
        method = RoMA(with_leaves(RoMAConfig(), **{**base, **changed}))
        method.fit(branin, Context(0))
        before = {key: value.clone() for key, value in method.surrogate.state().items()}
        ends[name] = method.propose(6).x
        assert all(
            torch.equal(value, before[key]) for key, value in method.surrogate.state().items()
        )
        np.testing.assert_array_equal(method.propose(6).x, ends[name])
    for name in ("adaptation", "adaptation_steps", "region"):
        assert np.abs(ends[name] - ends["base"]).max() > 1e-3


def test_the_recipe_and_the_published_settings(branin):
    def recipe(**settings):
        return with_leaves(RoMAConfig(), **settings).resolved_ascent().recipe(branin, 25)

    assert recipe() == (500, 3e-3)
    assert recipe(steps=7, step_size=0.1) == (7, 0.1)
    assert recipe(optimiser="plain") == (200, pytest.approx(0.05))
    paper = RoMA.PRESETS["paper"]
    network = paper.surrogate
    assert (network.hidden, network.layers, network.input_noise, paper.region) == (64, 2, 0.2, 4.0)
    assert (network.perturbation_steps, paper.adaptation_steps) == (20, 100)
    assert network.learning_rate == 1e-3
    superconductor = RoMA.SETTINGS["Superconductor-RandomForest-v0"]
    assert (superconductor.surrogate.perturbation, superconductor.adaptation) == (5e-4, 5e-4)
    published = RoMA.PRESETS["paper_superconductor"]
    assert published == with_leaves(paper, perturbation=5e-4, adaptation=5e-4)
    longer = with_leaves(paper, train_steps=2 * network.train_steps)
    assert RoMA.PRESETS["paper_ant"] == longer


def test_settings_that_make_no_sense_are_refused():
    for settings, message in (
        ({"region": 0.0}, "region is a variance above 0"),
        ({"adaptation_steps": -1}, "adaptation_steps must be at least 0"),
        ({"input_noise": -0.1}, "input_noise must be at least 0"),
        ({"steps": -1}, "steps must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            with_leaves(RoMAConfig(), **settings)
