"""The sequence VAE: sound for any length, its losses computed directly, and an encoder that gives
designs back."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cache, partial

import gymnasium as gym
import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

import mbo_gym
from mbo_gym.encoders import vae as vae_encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.encoders.vae import VAEEncoder, fit_vae_encoder
from mbo_gym.export import load_npz, save_npz
from mbo_gym.nn.sequence_vae import SequenceVAE, VAEConfig, _halved, train_vae
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.samplers import random_top

SPACE = CategoricalSpace(7, 3, ("a", "b", "c"))
SMALL = VAEConfig(latent=10, width=16, blocks=2, steps=250, batch_size=64, learning_rate=1e-2)
QUICK = VAEConfig(latent=4, width=8, blocks=2, steps=5, batch_size=16)


def designs(n: int = 800, space: CategoricalSpace = SPACE) -> Tensor:
    return torch.from_numpy(space.sample(n, np.random.default_rng(0)))


@cache
def _quick() -> VAEEncoder:
    return fit_vae_encoder(SPACE, designs(), QUICK, seed=0)


@pytest.fixture(scope="module")
def fitted() -> VAEEncoder:
    return fit_vae_encoder(SPACE, designs(), SMALL, seed=0)


@pytest.fixture
def tiny(monkeypatch):
    """A task of 120 rows, and VAEs that are trained in no time."""
    monkeypatch.setattr(vae_encoder, "VAEConfig", partial(VAEConfig, **asdict(QUICK)))
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=120)


@pytest.fixture
def tiny_surrogate():
    name = "made_for_the_vae_tests"
    config = MLPConfig(hidden=8, train_steps=11)
    with SURROGATES.temporarily(name, lambda **_: MLPSurrogate(config)):
        yield name


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 7, 10, 50, 237])
def test_any_length_has_every_site_reach_the_latents_and_the_other_way_round(length, blocks):
    space = CategoricalSpace(length, 5)
    network = SequenceVAE(length, 5, latent=6, width=8, blocks=blocks).double()
    network.initialise(torch.Generator().manual_seed(0))
    x = designs(1, space)
    mean, log_variance = network.posterior(x)
    assert mean.shape == log_variance.shape == (1, 6)
    changed = x.repeat(length, 1)
    changed[range(length), range(length)] += torch.where(
        x[0] == 4, -1, 1
    )  # row i differs at site i
    assert ((network.posterior(changed)[0] - mean).abs().amax(dim=1) > 0).all()
    latents = torch.randn(
        1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    logits = network.decode(latents)
    assert logits.shape == (1, length, 5)
    for site in {0, length // 2, length - 1}:
        (gradient,) = torch.autograd.grad(logits[0, site, 0], latents, retain_graph=True)
        assert (gradient != 0).all()


def test_a_design_of_eight_sites_becomes_one_and_longer_ones_keep_what_is_left():
    assert SequenceVAE(8, 4).sizes == [8, 4, 2, 1]
    assert SequenceVAE(237, 4).sizes == [237, 119, 60, 30]
    assert SequenceVAE(3, 4).sizes == [3, 2, 1, 1]


def test_sites_are_averaged_in_pairs_and_a_last_one_alone_stays():
    h = torch.tensor([[[1.0, 10.0], [3.0, 20.0], [7.0, 0.0]]])
    assert _halved(h).tolist() == [[[2.0, 15.0], [7.0, 0.0]]]
    assert _halved(h[:, :2]).tolist() == [[[2.0, 15.0]]]


def test_the_losses_are_the_two_terms_of_the_bound(fitted):
    x, network = designs(5), fitted.network
    mean, log_variance = network.posterior(x)
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()), prior
    )
    probability = network.decode(mean).softmax(dim=2)
    negative_log = [-sum(math.log(probability[i, j, x[i, j]]) for j in range(7)) for i in range(5)]
    reconstruction, kl = network.losses(x, None)
    torch.testing.assert_close(kl, divergence.sum(dim=1))
    torch.testing.assert_close(reconstruction, torch.tensor(negative_log), rtol=1e-4, atol=1e-5)


def test_a_generator_draws_the_latents_from_the_posterior(fitted):
    x = designs(4)
    noise = torch.randn(4, 10, generator=torch.Generator().manual_seed(3))
    mean, log_variance = fitted.network.posterior(x)
    logits = fitted.network.decode(mean + noise * (log_variance / 2).exp())
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), x.long(), reduction="none"
    ).sum(dim=1)
    drawn, kl = fitted.network.losses(x, torch.Generator().manual_seed(3))
    torch.testing.assert_close(drawn, expected)
    torch.testing.assert_close(kl, fitted.network.losses(x, None)[1])
    assert not torch.allclose(drawn, fitted.network.losses(x, None)[0])


def test_the_same_seed_gives_the_same_network_whatever_the_global_state():
    networks = []
    for seed in (0, 0, 1):
        torch.rand(3)
        networks.append(train_vae(SPACE, designs(), QUICK, seed=seed).state_dict())
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])
    assert not torch.equal(networks[0]["to_posterior.weight"], networks[2]["to_posterior.weight"])


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    train_vae(SPACE, designs(), QUICK, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_latents_and_kl_weight_change_what_is_trained():
    x = designs()
    short = {**asdict(QUICK), "steps": 60, "learning_rate": 1e-2}
    base, mean, heavy = (
        train_vae(SPACE, x, VAEConfig(**{**short, **change}), seed=0)
        for change in (
            {"kl_weight": 0.0},
            {"kl_weight": 0.0, "latents": "mean"},
            {"kl_weight": 100.0},
        )
    )
    kl_free, kl_heavy = (float(network.losses(x, None)[1].mean()) for network in (base, heavy))
    assert kl_heavy < 0.1 * kl_free
    assert not torch.equal(base.to_logits[1].weight, mean.to_logits[1].weight)
    assert torch.equal(
        mean.to_posterior.bias[4:], _untrained(short).to_posterior.bias[4:]
    )  # no noise: no variance


def _untrained(settings) -> SequenceVAE:
    return train_vae(SPACE, designs(), VAEConfig(**{**settings, "learning_rate": 0.0}), seed=0)


def test_progress_hears_of_the_losses():
    class Ear(NullProgress):
        heard: list

        def metrics(self, stage, step, **values):
            self.heard.append((stage, step, values))

        def track(self, items, description, total=None):
            self.description = description
            yield from items

    ear = Ear()
    ear.heard = []
    config = VAEConfig(**{**asdict(QUICK), "steps": 60, "learning_rate": 1e-2, "kl_weight": 0.5})
    train_vae(SPACE, designs(), config, seed=0, progress=ear)
    assert ear.description == "training vae"
    assert [step for _, step, _ in ear.heard] == list(range(60))
    first, last = ear.heard[0][2], ear.heard[-1][2]
    assert last["loss"] < first["loss"]
    assert last["loss"] == pytest.approx(last["reconstruction"] + 0.5 * last["kl"], rel=1e-5)


def test_unseen_designs_come_back_whole(fitted):
    # Uniform designs: a network that misses one of the seven sites gives at most a third of them
    # back.
    seen = {tuple(row) for row in designs().tolist()}
    x = np.array(
        [row for row in SPACE.sample(2000, np.random.default_rng(1)) if tuple(row) not in seen]
    )
    assert len(x) > 1000
    assert (fitted.decode(fitted.encode(x)) == x).all(axis=1).mean() > 0.8


def test_the_report_is_what_a_direct_computation_gives(fitted):
    order = torch.randperm(800, generator=torch.Generator().manual_seed(0)).numpy()
    x, report = designs().numpy(), fitted.report
    right = fitted.decode(fitted.encode(x)) == x
    held, train = right[order[:80]], right[order[80:]]
    assert (report.n_train, report.n_held_out, report.steps) == (720, 80, 250)
    assert report.site_accuracy == pytest.approx(held.mean())
    assert report.design_accuracy == pytest.approx(held.all(axis=1).mean())
    assert report.train_site_accuracy == pytest.approx(train.mean())
    assert report.train_design_accuracy == pytest.approx(train.all(axis=1).mean())
    means = fitted.network.posterior(designs())[0]
    assert report.active_latents == int((means.std(dim=0) > 0.1).sum())
    assert report.seconds > 0


def test_a_poor_encoder_reports_that_it_is_poor():
    report = _quick().report
    assert report.site_accuracy < 0.7
    assert report.design_accuracy < 0.1


def test_features_are_z_scored_posterior_means(fitted):
    x = designs()
    z = fitted.encode(x.numpy())
    assert (z.shape, z.dtype, fitted.n_features) == ((800, 10), np.float32, 10)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-6)
    means = fitted.network.posterior(x)[0]
    expected = (means - means.mean(dim=0)) / means.std(dim=0, correction=0)
    np.testing.assert_allclose(z, expected.numpy(), atol=1e-4)


def test_features_do_not_depend_on_the_rest_of_the_batch(fitted):
    x = designs().numpy()
    z = fitted.encode(x)
    for rows in (slice(0, 1), slice(3, 10), slice(0, 800, 7)):
        np.testing.assert_array_equal(fitted.encode(x[rows]), z[rows])


def test_arrays_and_tensors_are_mapped_alike(fitted):
    x = designs(50)
    z = fitted.encode_tensor(x)
    np.testing.assert_array_equal(z.numpy(), fitted.encode(x.numpy()))
    np.testing.assert_array_equal(fitted.decode_tensor(z).numpy(), fitted.decode(z.numpy()))
    assert fitted.decode(z.numpy()).dtype == np.int32
    assert fitted.decode_tensor(z).dtype == torch.int64
    assert fitted.encode(np.empty((0, 7), dtype=np.int32)).shape == (0, 10)
    assert fitted.decode(np.empty((0, 10))).shape == (0, 7)


@given(
    hnp.arrays(
        np.float32, (4, 4), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)
    )
)
def test_decoding_lands_inside_the_space_whatever_comes(z):
    decoded = _quick().decode(z)
    assert SPACE.contains(decoded).all()
    np.testing.assert_array_equal(decoded, _quick().decode(np.where(np.isnan(z), np.float32(0), z)))


def test_designs_that_never_vary_and_single_rows_are_encoded():
    x = designs(1).repeat(30, 1)
    encoder = fit_vae_encoder(SPACE, x, QUICK, seed=0)
    np.testing.assert_allclose(encoder.encode(x.numpy()), 0, atol=1e-12)
    assert (encoder.scale == 0).all()
    assert SPACE.contains(encoder.decode(np.full((1, 4), np.inf))).all()
    report = fit_vae_encoder(SPACE, x[:1], QUICK, seed=0).report
    assert (report.n_train, report.n_held_out) == (1, 0)
    assert math.isnan(report.site_accuracy)
    assert math.isnan(report.design_accuracy)
    assert not math.isnan(report.train_design_accuracy)


def test_what_is_saved_is_read_back_exactly(fitted, tmp_path):
    path = tmp_path / "vae.safetensors"
    fitted.save(path)
    again = VAEEncoder.load(path)
    x, z = designs(60).numpy(), np.random.default_rng(2).normal(size=(60, 10)) * 2
    np.testing.assert_array_equal(again.encode(x), fitted.encode(x))
    np.testing.assert_array_equal(again.decode(z), fitted.decode(z))
    assert (again.config, again.report, again.fingerprint) == (
        fitted.config,
        fitted.report,
        fitted.fingerprint,
    )
    assert (again.space.length, again.space.letters) == (7, ("a", "b", "c"))
    with safetensors.safe_open(path, framework="pt") as file:
        assert {"shift", "scale", "network.to_posterior.weight"} <= set(file.keys())


def test_loading_leaves_the_global_random_state_alone(fitted, tmp_path):
    fitted.save(tmp_path / "vae.safetensors")
    before = torch.get_rng_state()
    VAEEncoder.load(tmp_path / "vae.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_cache_answers_the_second_time(tiny, monkeypatch):
    problem, heard = tiny.problem(), []

    class Ear(NullProgress):
        def metrics(self, stage, step, **values):
            heard.append((stage, values))

    first = make_encoder(problem, "vae", seed=3)
    trainings = []
    monkeypatch.setattr(
        vae_encoder, "train_vae", lambda *args, **kwargs: trainings.append(args) or 1 / 0
    )
    second = make_encoder(problem, "vae", seed=3, progress=Ear())
    assert heard == [("vae_report", asdict(first.report))]
    np.testing.assert_array_equal(first.encode(problem.dataset.x), second.encode(problem.dataset.x))
    assert first.fingerprint == second.fingerprint
    other = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=119).problem()
    for changed, seed in ((problem, 4), (other, 3)):
        with pytest.raises(ZeroDivisionError):
            make_encoder(changed, "vae", seed=seed)
    monkeypatch.setattr(
        vae_encoder, "VAEConfig", partial(VAEConfig, **{**asdict(QUICK), "steps": 6})
    )
    with pytest.raises(ZeroDivisionError):
        make_encoder(problem, "vae", seed=3)
    assert len(trainings) == 3


def test_only_the_encoder_that_environments_make_has_a_name(tiny):
    assert make_encoder(tiny.problem(), "vae").name == "vae"
    assert make_encoder(tiny.problem(), "vae", seed=1).name == ""


def test_surrogates_of_other_encoders_are_cached_apart(tiny, tiny_surrogate, monkeypatch):
    problem = tiny.problem()
    encoders = [make_encoder(problem, "vae", seed=seed) for seed in (0, 1)]
    first = fitted_surrogate(problem, encoders[0], tiny_surrogate)
    z = torch.from_numpy(encoders[0].encode(problem.dataset.x))
    second = fitted_surrogate(problem, encoders[1], tiny_surrogate)
    assert not torch.equal(first.predict(z), second.predict(z))
    monkeypatch.setattr(MLPSurrogate, "fit", lambda *args, **kwargs: 1 / 0)
    again = fitted_surrogate(problem, make_encoder(problem, "vae"), tiny_surrogate)
    assert torch.equal(first.predict(z), again.predict(z))


def test_a_continuous_space_is_answered():
    with pytest.raises(
        ValueError, match="needs a categorical space, Branin-Exact-v0 is continuous; use 'z_score'"
    ):
        make_encoder(mbo_gym.make_task("Branin-Exact-v0").problem(), "vae")


@pytest.mark.parametrize("action_mode", ["step_vector", "displacement"])
def test_an_environment_on_vae_features(tiny, tiny_surrogate, action_mode):
    env = gym.make(
        "mbo_gym/TFBind8-Exact-v0",
        task_options={"max_rows": 120},
        encoder="vae",
        action_mode=action_mode,
        surrogate=tiny_surrogate,
        horizon=3,
    )
    encoder = make_encoder(tiny.problem(), "vae")
    assert env.observation_space.shape == env.action_space.shape == (4,)
    starts = encoder.encode(tiny.dataset.x[tiny.dataset.top_rows(128)])
    for seed in range(5):
        z, _ = env.reset(seed=seed)
        assert (starts == z).all(axis=1).any()
        assert env.observation_space.contains(z)
    for _ in range(3):
        z, _, _, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(z)
        np.testing.assert_array_equal(info["design"], encoder.decode(z[None])[0])
    assert truncated


def test_trajectories_on_vae_features_are_exported(tiny, tmp_path):
    encoder = make_encoder(tiny.problem(), "vae")
    batch = random_top(tiny.problem(), encoder, 50, 6, 4, torch.Generator().manual_seed(0))
    save_npz(with_actions(batch, None, "displacement"), tmp_path / "batch.npz")
    again = load_npz(tmp_path / "batch.npz")
    assert again.meta["encoder"] == "vae"
    rows = again.rows.flatten().numpy()
    np.testing.assert_array_equal(
        again.z.flatten(0, 1).numpy(), encoder.encode(tiny.dataset.x[rows])
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"latent": 0}, "latent"),
        ({"blocks": 0}, "blocks"),
        ({"steps": 0}, "steps"),
        ({"kl_weight": -0.1}, "kl_weight"),
        ({"held_out": 1.0}, "held_out"),
        ({"latents": "noise"}, "must be one of .'sample', 'mean'"),
    ],
)
def test_settings_out_of_range_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        VAEConfig(**setting)
