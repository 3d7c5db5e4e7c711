"""Surrogates: exact after loading, the same for the same seed, with gradients that are the
prediction's."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
import safetensors
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import UnknownId
from mbo_gym.nn.rows import shared, weighted
from mbo_gym.surrogates import mlp
from mbo_gym.surrogates.base import Surrogate, hold_out, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate, fitted_surrogate
from mbo_gym.surrogates.mlp import (
    EnsembleConfig,
    EnsembleSurrogate,
    MLPConfig,
    MLPSurrogate,
    rank_weights,
)
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate, make_surrogate

SMALL = {"hidden": 24, "train_steps": 60, "batch_size": 64}
BUILD = {
    "mlp": lambda: MLPSurrogate(MLPConfig(**SMALL)),
    "mean": lambda: EnsembleSurrogate(EnsembleConfig(**SMALL, members=3)),
    "min": lambda: EnsembleSurrogate(EnsembleConfig(**SMALL, members=3, aggregate="min")),
}


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def data(n: int = 300, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    return z, 4.0 + 3.0 * (z[:, 0] - z[:, 1].abs())


@pytest.fixture(params=BUILD)
def kind(request):
    return request.param


@cache
def _fitted(kind):
    surrogate = BUILD[kind]()
    surrogate.fit(*data(), seed=0)
    return surrogate


@pytest.fixture
def fitted(kind):
    return copy.deepcopy(_fitted(kind))


def test_what_is_saved_predicts_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "f.safetensors")
    again = load_surrogate(tmp_path / "f.safetensors")
    z = data(50)[0] * 2
    assert torch.equal(again.predict(z), fitted.predict(z))
    assert torch.equal(again.gradient(z), fitted.gradient(z))
    assert (type(again), again.config, again.report) == (type(fitted), fitted.config, fitted.report)


def test_the_file_is_safetensors_and_its_header_tells_all(fitted, tmp_path):
    path = tmp_path / "f.safetensors"
    fitted.save(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert json.loads(header["__metadata__"]["config"]) == asdict(fitted.config)
    with safetensors.safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(fitted.state())
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written stays behind


def test_an_unfinished_save_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        fitted.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_gradient_is_that_of_the_prediction(fitted):
    fitted.load_state({key: value.double() for key, value in fitted.state().items()})
    z, step = data(20)[0].double(), 1e-6
    value, gradient = fitted.value_and_gradient(z)
    torch.testing.assert_close(value, fitted.predict(z))
    assert torch.equal(gradient, fitted.gradient(z))
    for j in range(3):
        up, down = z.clone(), z.clone()
        up[:, j] += step
        down[:, j] -= step
        difference = (fitted.predict(up) - fitted.predict(down)) / (2 * step)
        torch.testing.assert_close(gradient[:, j], difference, rtol=1e-5, atol=1e-7)


def test_gradients_need_no_switched_on_autograd_and_leave_no_trace(fitted):
    z = data(4)[0]
    with torch.no_grad():
        value, gradient = fitted.value_and_gradient(z)
    assert torch.equal(gradient, fitted.gradient(z))
    assert [t.requires_grad for t in (z, value, gradient)] == [False, False, False]


def test_predictions_are_differentiable_for_those_who_ask(fitted):
    z = data(4)[0].requires_grad_()
    fitted.predict(z).sum().backward()
    torch.testing.assert_close(z.grad, fitted.gradient(z.detach()))


def test_the_same_seed_gives_the_same_model(kind):
    z, y = data()
    predictions = []
    for seed in (0, 0, 1):
        torch.rand(3)  # the global generator plays no part
        surrogate = BUILD[kind]()
        surrogate.fit(z, y, seed=seed)
        predictions.append(surrogate.predict(z))
    assert torch.equal(predictions[0], predictions[1])
    assert not torch.allclose(predictions[0], predictions[2])


def test_fitting_leaves_the_global_generator_alone(kind):
    before = torch.get_rng_state()
    BUILD[kind]().fit(*data(), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ensemble_is_made_of_its_members():
    z, _ = data()
    mean, least = copy.deepcopy(_fitted("mean")), BUILD["min"]()
    least.load_state(mean.state())
    members = mean.predict_members(z)
    assert members.shape == (3, 300)
    torch.testing.assert_close(mean.predict(z), members.sum(dim=0) / 3)
    torch.testing.assert_close(least.predict(z), members.min(dim=0).values)
    torch.testing.assert_close(mean.spread(z), ((members - members.mean(0)) ** 2).mean(0).sqrt())
    assert (mean.spread(z) > 0).all()


def test_members_of_one_batched_network_equal_networks_on_their_own():
    z, _ = data()
    ensemble = _fitted("mean")
    for member in range(3):
        single = MLPSurrogate(MLPConfig(**SMALL))
        state = {
            key: value[member : member + 1]
            for key, value in ensemble.state().items()
            if key != "unit"
        }
        single.load_state({**state, "unit": ensemble.state()["unit"]})
        torch.testing.assert_close(
            single.predict(z), ensemble.predict_members(z)[member], rtol=1e-5, atol=1e-5
        )


def test_the_network_computes_what_its_weights_say():
    surrogate = MLPSurrogate(MLPConfig(hidden=2, layers=1))
    state = {
        "weight.0": torch.tensor([[[1.0, -1.0]]]), "bias.0": torch.tensor([[[0.0, 1.0]]]),
        "weight.1": torch.tensor([[[2.0], [3.0]]]), "bias.1": torch.tensor([[[0.5]]]),
        "unit": torch.tensor([10.0, 4.0]),
    }  # fmt: skip
    surrogate.load_state(state)
    # z = 3: hidden (3, 0), 2 * 3 + .5 = 6.5, 10 + 4 * 6.5 = 36; z = -1: hidden (0, 2), 6.5 again
    assert surrogate.predict(torch.tensor([[3.0], [-1.0]])).tolist() == [36.0, 36.0]
    assert surrogate.gradient(torch.tensor([[3.0], [-1.0]])).tolist() == [[8.0], [-12.0]]


def test_branin_is_learnt(branin):
    surrogate = MLPSurrogate(MLPConfig(hidden=128, train_steps=1200))
    fit_surrogate(branin, make_encoder(branin), surrogate, seed=0)
    report = surrogate.report
    assert (report.n_train, report.n_held_out, report.steps) == (2250, 250, 1200)
    assert report.rank_correlation > 0.9
    assert report.rmse < 0.5  # of a standard deviation
    assert report.seconds > 0


def test_the_unit_of_the_scores_is_kept():
    z, y = data()
    surrogate = MLPSurrogate(MLPConfig(hidden=64, train_steps=400))
    report = surrogate.fit(z, 1e4 + 1e3 * y, seed=0)
    error = (surrogate.predict(z) - (1e4 + 1e3 * y)).square().mean().sqrt()
    assert error < 0.2 * 1e3 * y.std()
    assert report.rmse < 0.5 * 1e3 * y.std()


def test_reports_of_few_or_constant_rows_are_honest():
    z, y = data(40)
    nothing = MLPSurrogate(MLPConfig(**{**SMALL, "held_out": 0.0})).fit(z, y, seed=0)
    assert (nothing.n_train, nothing.n_held_out) == (40, 0)
    assert math.isnan(nothing.rank_correlation)
    assert math.isnan(nothing.rmse)
    constant = MLPSurrogate(MLPConfig(**SMALL))
    report = constant.fit(z, torch.full((40,), 7.0), seed=0)
    assert math.isnan(report.rank_correlation)
    torch.testing.assert_close(constant.predict(z), torch.full((40,), 7.0), atol=1e-3, rtol=0)
    one = MLPSurrogate(MLPConfig(**SMALL)).fit(z[:1], y[:1], seed=0)
    assert (one.n_train, one.n_held_out) == (1, 0)


def test_an_unfitted_surrogate_says_so():
    with pytest.raises(RuntimeError, match="not fitted"):
        MLPSurrogate().predict(torch.zeros(1, 2))


def test_progress_hears_of_the_loss():
    class Ear:
        def __init__(self):
            self.heard = []

        def track(self, items, description, total=None):
            self.description = description
            return iter(items)

        def metrics(self, stage, step, **values):
            self.heard.append((stage, step, values["loss"]))

    ear = Ear()
    BUILD["mlp"]().fit(*data(), seed=0, progress=ear)
    assert ear.description == "fitting mlp"
    assert {stage for stage, _, _ in ear.heard} == {"surrogate"}
    assert [step for _, step, _ in ear.heard] == sorted({step for _, step, _ in ear.heard})
    assert ear.heard[-1][2] < ear.heard[0][2]


def test_the_cache_answers_the_second_time(branin, cache_folder, monkeypatch):
    name = "made_for_the_cache_test"
    config = MLPConfig(hidden=8, train_steps=11)
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.x[:20]))
    with SURROGATES.temporarily(name, lambda **_: MLPSurrogate(config)):
        first = fitted_surrogate(branin, encoder, name, seed=3)
        files = set((cache_folder / "fitted").iterdir())

        def fail(*args, **kwargs):
            raise AssertionError("it was fitted again")

        monkeypatch.setattr(MLPSurrogate, "fit", fail)
        second = fitted_surrogate(branin, encoder, name, seed=3)
        assert torch.equal(first.predict(z), second.predict(z))
        assert set((cache_folder / "fitted").iterdir()) == files
        other = mbo_gym.make_task("Branin-Exact-v0", fraction=0.5).problem()
        changes = [
            (other, encoder, 3),
            (branin, make_encoder(branin, "min_max"), 3),
            (branin, encoder, 4),
        ]
        for problem, other_encoder, seed in changes:
            with pytest.raises(AssertionError, match="fitted again"):
                fitted_surrogate(problem, other_encoder, name, seed=seed)


def test_names_and_settings():
    assert make_surrogate("mlp", hidden=7).config == MLPConfig(hidden=7)
    assert make_surrogate("mlp_paper").config.hidden == 2048
    assert make_surrogate("min_ensemble", members=2).config == EnsembleConfig(
        members=2, aggregate="min"
    )
    assert make_surrogate("mean_ensemble").config.aggregate == "mean"
    with pytest.raises(UnknownId, match="Did you mean"):
        make_surrogate("mlp_papers")
    with pytest.raises(UnknownId, match="Did you mean hidden"):
        make_surrogate("mlp", hiden=7)


def test_pieces_equal_the_whole(fitted):
    z = data(100)[0]
    torch.testing.assert_close(predict_in_pieces(fitted.predict, z, piece=33), fitted.predict(z))
    assert predict_in_pieces(fitted.predict, z[:0]).shape == (0,)


def test_fit_surrogate_fits_standardised_scores(branin):
    seen = {}

    class Ear(MLPSurrogate):
        def fit(self, z, y, *, seed, progress=None):
            seen.update(z=z, y=y, seed=seed)

    fit_surrogate(branin, make_encoder(branin), Ear(), seed=9)
    np.testing.assert_array_equal(
        seen["y"], branin.dataset.score_scale.standardise(branin.dataset.y)
    )
    np.testing.assert_allclose([seen["y"].mean(), seen["y"].std()], [0, 1], atol=1e-3)
    assert seen["seed"] == 9


def test_a_loaded_model_lies_aligned_in_memory_however_long_the_header_is(tmp_path):
    # Matrix products round by alignment: unaligned weights made one in six files predict another
    # last bit.
    surrogate = BUILD["mlp"]()
    surrogate.fit(*data(), seed=0)
    for length in range(12):
        surrogate.name = "x" * length
        surrogate.save(tmp_path / "f.safetensors")
        assert all(
            tensor.data_ptr() % 64 == 0
            for tensor in load_surrogate(tmp_path / "f.safetensors").state().values()
        )


def test_the_last_hidden_layer_is_what_the_prediction_is_linear_in(fitted):
    z, members, width = data(50)[0], fitted.predict_members(data(50)[0]), SMALL["hidden"]
    hidden = fitted.hidden(z)
    assert hidden.shape == (50, len(members) * width)
    assert (hidden >= 0).all()
    state = fitted.state()
    for m, prediction in enumerate(members):  # the members' layers lie side by side
        layer = hidden[:, m * width : (m + 1) * width]
        output = layer @ state["weight.2"][m, :, 0] + state["bias.2"][m]
        torch.testing.assert_close(
            state["unit"][0] + state["unit"][1] * output.flatten(), prediction
        )


def test_a_surrogate_without_hidden_layers_says_what_has_them():
    class Plain(MLPSurrogate):
        kind = "plain"
        hidden = Surrogate.hidden

    with pytest.raises(
        NotImplementedError, match=r"'plain' surrogates have no hidden layer.*mean_ensemble"
    ):
        Plain().hidden(torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="not fitted"):
        MLPSurrogate().hidden(torch.zeros(1, 2))


def test_rows_are_drawn_by_rank_where_that_is_asked_for():
    y = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    order = shared(weighted(rank_weights(y, 0.01)), members=2)
    drawn = torch.cat([order(torch.Generator().manual_seed(seed)) for seed in range(200)], dim=1)
    assert torch.equal(drawn[0], drawn[1])  # all members see the same rows
    share = torch.bincount(drawn[0], minlength=1000) / drawn.shape[1]
    weight = 1 / (10 + y.argsort(descending=True).argsort())
    expected = weight / weight.sum()
    # Counts are binomial: of 1000 rows none strays by 6 standard deviations but once in 500,000
    # tests.
    assert ((share - expected).abs() < 6 * (expected / drawn.shape[1]).sqrt()).all()
    assert order(torch.Generator().manual_seed(0)).shape == (2, 1000)


def test_an_ensemble_with_a_rank_weight_sees_the_rows_drawn_by_rank(monkeypatch):
    seen = []

    def watch(network, loss, rows, *args, seed, **kwargs):
        seen.append(rows.draw(torch.Generator().manual_seed(7)))

    monkeypatch.setattr(mlp, "train", watch)
    config = EnsembleConfig(**SMALL, members=2, rank_weight=0.01, held_out=0.0)
    z, y = data()
    EnsembleSurrogate(config).fit(z, y, seed=0)
    _, rows = hold_out(len(z), 0.0, torch.Generator().manual_seed(0))
    expected = weighted(rank_weights(y[rows], 0.01))(torch.Generator().manual_seed(7))
    assert torch.equal(seen[0], expected[:64].expand(2, -1))
