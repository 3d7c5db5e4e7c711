"""VAEs of both kinds of designs: likelihoods against slow references, what training finds, weights
of rows."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from mbo_gym.nn.vae import MLPVAE, Categorical, Gaussian, VAETraining, fit_vae

FAST = VAETraining(steps=400, batch_size=64, learning_rate=1e-2)


def new_vae(likelihood, latent=3, width=16) -> MLPVAE:
    vae = MLPVAE(likelihood, latent=latent, width=width)
    vae.initialise(torch.Generator().manual_seed(0))
    return vae


def trained(likelihood, x, config=FAST, row_weight=None) -> MLPVAE:
    vae = new_vae(likelihood)
    fit_vae(vae, x, config, torch.Generator().manual_seed(1), row_weight=row_weight)
    return vae


def drawn(vae, n=4000):
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(n, vae.latent, generator=generator)
    with torch.no_grad():
        return vae.likelihood.sample(vae.decode(latents), generator)


def test_the_probability_of_letters_is_the_product_over_the_sites():
    logits = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0, 1, 2, 0, 1]] * 4)
    p = logits.softmax(dim=2)
    expected = [sum(math.log(p[i, j, x[i, j]]) for j in range(5)) for i in range(4)]
    torch.testing.assert_close(Categorical(5, 3).log_probability(logits, x), torch.tensor(expected))


def test_the_density_of_features_is_the_product_of_normal_ones():
    likelihood = Gaussian(2)
    with torch.no_grad():
        likelihood.log_spread.copy_(
            torch.tensor([math.log(0.49), math.log(1.99)])
        )  # and .01 at least
    mean, x = torch.tensor([[0.0, 1.0], [3.0, -1.0]]), torch.tensor([[0.5, 1.0], [2.0, 2.0]])
    expected = torch.distributions.Normal(mean, torch.tensor([0.5, 2.0])).log_prob(x).sum(dim=1)
    torch.testing.assert_close(likelihood.log_probability(mean, x), expected)


def test_drawn_letters_have_the_probabilities_of_their_logits():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    x = Categorical(2, 3).sample(p.log().expand(20_000, 2, 3), torch.Generator().manual_seed(0))
    shares = torch.nn.functional.one_hot(x, 3).double().mean(dim=0)
    np.testing.assert_allclose(shares, p, atol=0.015)  # 4 standard errors


def test_drawn_features_have_their_mean_and_spread():
    x = Gaussian(2).sample(
        torch.tensor([[5.0, -1.0]]).expand(20_000, 2), torch.Generator().manual_seed(0)
    )
    np.testing.assert_allclose(x.mean(dim=0).detach(), [5, -1], atol=0.03)
    np.testing.assert_allclose(x.std(dim=0).detach(), [1.01, 1.01], rtol=0.03)


def test_perceptrons_read_letters_as_indicators_and_features_as_they_are():
    x = torch.tensor([[2, 0]])
    assert Categorical(2, 3).inputs(x).tolist() == [[0, 0, 1, 1, 0, 0]]
    assert Gaussian(2).inputs(torch.tensor([[0.5, 2.0]])).tolist() == [[0.5, 2.0]]


def test_a_vae_of_noise_learns_each_features_mean_and_spread():
    centre, spread = torch.tensor([1.0, -2.0]), torch.tensor([0.2, 1.5])
    x = centre + spread * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    new = drawn(trained(Gaussian(2), x))
    np.testing.assert_allclose(new.mean(dim=0), centre, atol=0.15)
    np.testing.assert_allclose(new.std(dim=0), spread, rtol=0.15)


def test_features_that_never_vary_have_a_density_all_the_same():
    x = torch.full((100, 2), 0.3)
    vae = trained(Gaussian(2), x)
    assert vae.losses(x, None)[0].isfinite().all()
    assert (vae.likelihood.spread > 0.01).all()
    assert (vae.likelihood.spread < 0.5).all()  # 1.01 at the start
    with torch.no_grad():
        vae.likelihood.log_spread.fill_(-1000)
    assert vae.losses(x, None)[0].isfinite().all()


def test_a_vae_draws_designs_that_are_distributed_like_the_data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(3, (2000, 1), generator=generator).expand(
        -1, 4
    )  # all sites hold the same letter
    new = drawn(
        trained(Categorical(4, 3), x, VAETraining(steps=800, batch_size=64, learning_rate=1e-2))
    )
    assert (new == new[:, :1]).all(dim=1).double().mean() > 0.5  # independent sites: 1 / 27
    shares = torch.bincount(new[:, 0], minlength=3) / len(new)
    assert (shares - 1 / 3).abs().max() < 0.15


@pytest.mark.parametrize("kind", ["letters", "features"])
def test_rows_without_weight_are_not_learned(kind):
    x = torch.arange(2).repeat_interleave(300)[:, None].expand(-1, 3)
    x, likelihood = (x, Categorical(3, 2)) if kind == "letters" else (x * 4.0 - 2.0, Gaussian(3))
    new = drawn(
        trained(likelihood, x, row_weight=torch.arange(2.0).repeat_interleave(300))
    ).double()
    assert abs(float(new.mean()) - float(x[-1, 0])) < 0.1


def test_weights_of_one_change_nothing():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    short = VAETraining(steps=20, batch_size=16)
    plain, weighed = trained(Gaussian(3), x, short), trained(Gaussian(3), x, short, torch.ones(50))
    for key, value in plain.state_dict().items():
        assert torch.equal(value, weighed.state_dict()[key])


def test_training_goes_on_from_the_weights_that_are_there():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    vae = trained(Gaussian(3), x)
    before = copy.deepcopy(vae.state_dict())
    fit_vae(vae, x, VAETraining(steps=1, learning_rate=1e-4), torch.Generator().manual_seed(3))
    moved = [(vae.state_dict()[key] - value).abs().max() for key, value in before.items()]
    assert 0 < max(moved) <= 1.01e-4  # one step of Adam
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_the_weight_of_the_divergence_decides_how_much_the_latents_hold():
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    light, heavy = (
        trained(Gaussian(3), x, VAETraining(steps=200, learning_rate=1e-2, kl_weight=weight))
        for weight in (0.01, 100)
    )
    assert float(heavy.losses(x, None)[1].mean()) < 0.1 * float(light.losses(x, None)[1].mean())


def test_the_same_generator_gives_the_same_network_and_the_global_state_stays():
    x, before = (
        torch.randn(40, 2, generator=torch.Generator().manual_seed(0)),
        torch.get_rng_state(),
    )
    first, again = new_vae(Gaussian(2)), new_vae(Gaussian(2))
    torch.set_rng_state(before)  # building a network draws from the global state, all else does not
    for vae in (first, again):
        fit_vae(vae, x, VAETraining(steps=5), torch.Generator().manual_seed(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items()
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"latents": "noise"}, "must be one of"),
    ],
)
def test_settings_out_of_range_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        VAETraining(**setting)
