"""CbAS: weights against their formulas, what autofocus trains on, and that the search model moves
as promised."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import mbo_gym
from agents.generative import cbas
from agents.generative.cbas import (
    AutofocusedCbAS,
    CbAS,
    DesignModels,
    effective_size,
    flattened_weights,
)
from helpers import Notes
from mbo_gym.encoders.base import encoded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.base import Context
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import leaf_settings, with_settings
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate
from mbo_gym.surrogates.registry import load_surrogate

SMALL = {"hidden": 16, "members": 3, "train_steps": 80, "batch_size": 64, "latent": 3, "width": 16}
SHORT = {**SMALL, "prior_steps": 60, "rounds": 3, "samples": 60, "updates": 10}


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=400).problem()


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=400).problem()


def configured(kind, settings):
    """Return a config in which every leaf of one of these names has its value."""
    config = kind.Config()
    places = {path: path.rpartition(".")[2] for path in leaf_settings(config)}
    assert set(settings) <= set(places.values())
    return with_settings(config, {p: settings[n] for p, n in places.items() if n in settings})


def fitted(problem, kind=CbAS, progress=None, **settings):
    method = kind(configured(kind, {**SHORT, **settings}))
    method.fit(problem, Context(progress=progress or NullProgress()))
    return method


def density(vae, x, latents):
    """log p(x | z), one design at a time."""
    out = []
    for design, z in zip(x, latents, strict=True):
        outputs = vae.decode(z[None])[0]
        if outputs.ndim == 2:
            out.append(
                sum(
                    math.log(p[a])
                    for p, a in zip(outputs.double().softmax(dim=1), design, strict=True)
                )
            )
        else:
            out.append(
                float(
                    torch.distributions.Normal(outputs, vae.likelihood.spread)
                    .log_prob(design)
                    .sum()
                )
            )
    return np.array(out)


@pytest.mark.parametrize("task", ["branin", "tfbind8"])
def test_the_weights_of_a_round_are_the_papers_formula(task, request, monkeypatch):
    problem, rounds, train = request.getfixturevalue(task), [], cbas.fit_vae
    last, draw = [], DesignModels.draw

    def watch_draw(self, n, generator):
        last[:] = draw(self, n, generator)
        return tuple(last)

    def watch(vae, x, config, generator, *, row_weight=None, **rest):
        if row_weight is not None:
            latents, drawn = last
            assert torch.equal(drawn, x)
            rounds.append((copy.deepcopy(vae), x, latents, row_weight.numpy()))
        train(vae, x, config, generator, row_weight=row_weight, **rest)

    monkeypatch.setattr(cbas, "fit_vae", watch)
    monkeypatch.setattr(DesignModels, "draw", watch_draw)
    notes = Notes()
    method = fitted(problem, progress=notes, effective_share=0.0)
    encoder, gamma = make_encoder(problem), -np.inf
    assert len(rounds) == 3
    for step, (model, x, latents, weight) in enumerate(rounds):
        native = x if task == "tfbind8" else encoder.decode_tensor(x)
        members = (
            method.scores.ensemble.predict_members(encoder.encode_tensor(native)).double().numpy()
        )
        mean, spread = (
            members.mean(axis=0),
            np.sqrt(members.var(axis=0) + float(method.scores.error) ** 2),
        )
        gamma = max(gamma, np.percentile(mean, 80))
        above = np.array(
            [math.erfc((gamma - m) / s / 2**0.5) / 2 for m, s in zip(mean, spread, strict=True)]
        )
        expected = (
            np.exp(density(method.models.prior, x, latents) - density(model, x, latents)) * above
        )
        np.testing.assert_allclose(weight, expected / expected.mean(), rtol=2e-3)
        assert notes.of("cbas", "gamma")[step] == pytest.approx(gamma, rel=1e-4)
        assert notes.of("cbas", "effective_size")[step] == pytest.approx(
            expected.sum() ** 2 / (expected**2).sum(), rel=2e-3
        )


def test_the_error_is_that_of_rows_the_ensemble_was_not_fitted_on(branin):
    method = fitted(branin, rounds=0)
    assert float(method.scores.error) == pytest.approx(method.scores.ensemble.report.rmse, rel=1e-4)
    assert method.scores.ensemble.report.n_held_out == len(method.scores.held) == 40
    assert float(fitted(branin, rounds=0, held_out=0.0).scores.error) == 1


def test_without_rounds_the_search_model_is_the_prior(tfbind8):
    method = fitted(tfbind8, rounds=0)
    for key, value in method.models.prior.state_dict().items():
        assert torch.equal(value, method.models.model.state_dict()[key])
    moved = fitted(tfbind8, rounds=1)
    for key, value in method.models.prior.state_dict().items():
        assert torch.equal(value, moved.models.prior.state_dict()[key])
    assert not torch.equal(moved.models.prior.decoder[2].bias, moved.models.model.decoder[2].bias)


def easy_problem(space):
    """Designs with a score that is easy to learn: how often the first letter comes, or the
    features' sum."""
    x = space.sample(400, np.random.default_rng(0))
    y = (x == 0).sum(axis=1) if isinstance(space, CategoricalSpace) else x.sum(axis=1)
    return OfflineProblem("easy", space, OfflineDataset(x, y), (0.0, 1.0))


@pytest.mark.parametrize("space", [CategoricalSpace(6, 3), ContinuousSpace([-1, -1], [1, 1])])
def test_rounds_move_the_search_model_to_better_designs(space):
    problem = easy_problem(space)
    good = {"learning_rate": 1e-2, "train_steps": 200, "samples": 200, "updates": 30}
    start, end = (fitted(problem, rounds=rounds, **good) for rounds in (0, 8))
    score = (
        (lambda x: (x == 0).sum(axis=1))
        if isinstance(space, CategoricalSpace)
        else (lambda x: x.sum(axis=1))
    )
    first, last = (method.propose(200) for method in (start, end))
    assert score(last.x).mean() > score(first.x).mean() + problem.dataset.score_scale.std
    assert last.criterion.mean() > first.criterion.mean() + 1


def test_gamma_never_falls(branin):
    notes = Notes()
    fitted(branin, progress=notes, rounds=8, samples=20)
    gamma = notes.of("cbas", "gamma")
    assert len(gamma) == 8
    assert gamma == sorted(gamma)
    assert len(set(gamma)) < 8  # with 20 designs a round, some rounds would have had less


def test_the_percentile_is_where_gamma_starts(branin):
    firsts = []
    for percentile in (0.0, 50.0, 100.0):
        notes = Notes()
        fitted(branin, progress=notes, rounds=1, percentile=percentile)
        firsts.append(notes.of("cbas", "gamma")[0])
    assert firsts[0] < firsts[1] < firsts[2]


def test_effective_size_by_hand():
    assert effective_size(torch.ones(7)) == pytest.approx(7)
    assert effective_size(torch.tensor([0.0, 3.0, 0.0])) == pytest.approx(1)
    assert effective_size(torch.tensor([1.0, 2.0])) == pytest.approx(9 / 5)


def test_a_ratio_that_costs_little_is_left_as_it_is():
    log_weight, log_ratio = torch.tensor([0.0, -1.0, 0.5]), torch.tensor([0.1, 0.0, -0.2])
    weight, power = flattened_weights(log_weight, log_ratio, 0.5)
    expected = np.exp([0.1, -1.0, 0.3])
    assert power == 1
    np.testing.assert_allclose(weight, expected / expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("scale", [3.0, 100.0, 1e5])
@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
def test_a_ratio_that_costs_much_is_flattened_just_enough(scale, least):
    generator = torch.Generator().manual_seed(0)
    log_weight, log_ratio = (
        torch.randn(500, generator=generator),
        scale * torch.randn(500, generator=generator),
    )
    weight, power = flattened_weights(log_weight, log_ratio, least)
    alone = effective_size(log_weight.exp())
    assert (
        effective_size(weight) == pytest.approx(least * alone, rel=0.01) or scale == 1e5
    )  # power to 1e-6 only
    assert effective_size(weight) >= 0.999 * least * alone
    assert float(weight.mean()) == pytest.approx(1, rel=1e-5)
    expected = (log_weight.double() + power * log_ratio.double()).exp()
    np.testing.assert_allclose(weight, expected / expected.mean(), rtol=1e-4)


def test_a_share_of_zero_leaves_one_design_all_of_the_weight_if_need_be():
    log_ratio = torch.tensor([0.0, 1e4, -1e4])
    weight, power = flattened_weights(torch.zeros(3), log_ratio, 0.0)
    assert power == 1
    assert weight.tolist() == [0, 3, 0]


def test_flattening_is_shown(tfbind8):
    least = []
    for share in (0.0, 0.95):
        notes = Notes()
        fitted(tfbind8, progress=notes, effective_share=share, learning_rate=1e-2)
        least.append(min(notes.of("cbas", "power")))
    assert least[0] == 1
    assert least[1] < 1


@pytest.mark.parametrize("task", ["branin", "tfbind8"])
def test_proposals_are_draws_of_the_search_model_the_highest_prediction_first(task, request):
    problem = request.getfixturevalue(task)
    method, encoder = fitted(problem), make_encoder(problem)
    proposals = method.propose(70)
    x = proposals.x
    assert x.dtype == problem.space.dtype
    assert problem.space.contains(x).all()
    prediction = method.scores.ensemble.predict(torch.from_numpy(encoder.encode(x))).numpy()
    np.testing.assert_allclose(proposals.criterion, prediction, atol=1e-5)
    assert (np.diff(proposals.criterion) <= 0).all()
    _, drawn = method.models.draw(70, torch.Generator().manual_seed(0))
    native = drawn if task == "tfbind8" else encoder.decode_tensor(drawn)
    np.testing.assert_array_equal(np.unique(native, axis=0), np.unique(x, axis=0))


def test_the_search_is_shown_from_the_prior_to_the_proposals(tfbind8):
    notes = Notes()
    method = fitted(tfbind8, progress=notes)
    x = method.propose(30).x
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [
        ("search", step) for step in range(4)
    ]
    np.testing.assert_array_equal(notes.shown[-1][2], x)


def test_autofocus_trains_on_with_rows_that_the_search_model_favours(tfbind8, monkeypatch):
    refined, asked, log_ratio = [], [], DesignModels.log_ratio

    def watch(self, x, latents):
        asked.append((copy.deepcopy(self.model), x, latents))
        return log_ratio(self, x, latents)

    def refine(self, z, y, row_weight, steps, generator):
        refined.append((z, y, row_weight, steps))

    monkeypatch.setattr(EnsembleSurrogate, "refine", refine)
    monkeypatch.setattr(DesignModels, "log_ratio", watch)
    method = fitted(tfbind8, AutofocusedCbAS, refine_steps=7, effective_share=0.0)
    assert len(refined) == 3
    model, x, latents = asked[-1]
    assert torch.equal(
        x, torch.tensor(tfbind8.dataset.x)
    )  # every visible design, at a latent of its own
    z, y, row_weight, steps = refined[-1]
    ratio = np.exp(density(model, x, latents) - density(method.models.prior, x, latents))
    rows = method.scores.trained.numpy()
    np.testing.assert_allclose(row_weight, (ratio / ratio.mean())[rows], rtol=2e-3)
    assert steps == 7
    data = encoded(tfbind8, make_encoder(tfbind8))
    assert torch.equal(z, data.z[method.scores.trained])
    assert torch.equal(y, data.y[method.scores.trained])
    held = method.scores.held.numpy()
    error = (method.scores.ensemble.predict(data.z[held]) - data.y[held]).numpy() ** 2
    assert float(method.scores.error) == pytest.approx(
        np.sqrt((ratio[held] * error).sum() / ratio[held].sum()), rel=1e-3
    )


def test_autofocus_changes_the_ensemble_and_cbas_does_not(tfbind8):
    plain, once = fitted(tfbind8), fitted(tfbind8, rounds=0)
    focused = fitted(tfbind8, AutofocusedCbAS, refine_steps=5)
    first = once.scores.ensemble.state()
    assert all(
        torch.equal(value, plain.scores.ensemble.state()[key]) for key, value in first.items()
    )
    assert not torch.equal(first["weight.0"], focused.scores.ensemble.state()["weight.0"])
    assert torch.equal(first["unit"], focused.scores.ensemble.state()["unit"])


def test_a_surrogate_that_is_refined_follows_the_rows_with_weight():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 2, generator=generator).repeat(2, 1)
    y = torch.cat([torch.ones(200), -torch.ones(200)])  # the same features with both scores
    ensemble = EnsembleSurrogate(
        EnsembleConfig(members=2, hidden=16, train_steps=150, learning_rate=1e-2)
    )
    report = ensemble.fit(z, y, seed=0)
    assert abs(float(ensemble.predict(z).mean())) < 0.3
    ensemble.refine(z, y, torch.cat([torch.zeros(200), torch.ones(200)]), 150, generator)
    assert (ensemble.predict_members(z) < -0.5).all()
    assert ensemble.report is report
    assert not any(value.requires_grad for value in ensemble.state().values())


def test_what_was_learned_is_saved(tfbind8, tmp_path):
    method = fitted(tfbind8)
    method.save(tmp_path)
    files = {
        "checksums.json",
        "config.json",
        "surrogate.safetensors",
        "prior.safetensors",
        "search_model.safetensors",
        "error.safetensors",
        "method.json",
        "problem.json",
        "problem.npz",
    }
    assert {path.name for path in tmp_path.iterdir()} == files
    z = make_encoder(tfbind8).features(tfbind8.dataset.x[:5])
    assert torch.equal(
        load_surrogate(tmp_path / "surrogate.safetensors").predict(z),
        method.scores.ensemble.predict(z),
    )


def test_the_paper_presets_have_the_published_settings():
    for kind in (CbAS, AutofocusedCbAS):
        paper = kind.PRESETS["paper"]
        ensemble, vae, sampling = paper.surrogate, paper.vae, paper.sampling
        assert (ensemble.members, ensemble.layers, ensemble.hidden) == (5, 1, 256)
        assert (ensemble.learning_rate, ensemble.batch_size) == (3e-4, 100)
        assert (vae.latent, vae.width, vae.updates) == (32, 256, 100)
        assert (vae.learning_rate, vae.kl_weight, vae.batch_size) == (3e-4, 1, 100)
        assert (sampling.rounds, sampling.samples, sampling.percentile) == (20, 1000, 80)
        assert sampling.effective_share == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"members": 0}, "members"),
        ({"samples": 0}, "samples"),
        ({"percentile": 101.0}, "at most 100"),
        ({"effective_share": 1.5}, "at most 1"),
        ({"held_out": 1.0}, "held_out"),
        ({"refine_steps": -1}, "refine_steps"),
    ],
)
def test_settings_out_of_range_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        configured(AutofocusedCbAS, setting)
