"""The choice among surrogates: by the same held-out rows, and nothing but the chosen one
afterwards."""

from __future__ import annotations

import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import UnknownId
from mbo_gym.surrogates.base import CannotFit, FitReport
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.least_error import LeastErrorConfig, LeastErrorSurrogate
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPSurrogate
from mbo_gym.surrogates.quadratic import QuadraticConfig, QuadraticSurrogate
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate, make_surrogate

NETWORKS = "networks_of_the_least_error_tests"
BOTH = (NETWORKS, "quadratic")


@pytest.fixture(autouse=True, scope="module")
def _small_networks():
    small = EnsembleConfig(hidden=32, train_steps=300, batch_size=64, members=2)
    with SURROGATES.temporarily(NETWORKS, lambda: EnsembleSurrogate(small)):
        yield


def data(kind: str, n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(n, 6, generator=generator)
    if kind == "quadratic":
        return z, z[:, 0] - z[:, 1] * z[:, 2] + torch.randn(n, generator=generator)
    return z, 3 * (z[:, 0] > 0.5).float() * (z[:, 1] > 0).float() + (4 * z[:, 0]).sin()


def fitted(kind: str, seed: int = 0, candidates: tuple[str, ...] = BOTH) -> LeastErrorSurrogate:
    surrogate = LeastErrorSurrogate(LeastErrorConfig(candidates))
    surrogate.fit(*data(kind), seed=seed)
    return surrogate


@pytest.mark.parametrize(("kind", "expected"), [("quadratic", "quadratic"), ("steps", NETWORKS)])
@pytest.mark.parametrize("candidates", [BOTH, BOTH[::-1]])
def test_the_one_that_suits_the_data_is_kept(kind, expected, candidates):
    surrogate = fitted(kind, candidates=candidates)
    errors = {name: report.rmse for name, report in surrogate.reports.items()}
    assert surrogate.chosen == expected == min(errors, key=errors.get)
    assert set(errors) == set(BOTH)


@pytest.mark.parametrize("kind", ["quadratic", "steps"])
def test_it_is_what_the_chosen_one_would_be_on_its_own(kind):
    surrogate = fitted(kind)
    alone = make_surrogate(surrogate.chosen)
    report = alone.fit(*data(kind), seed=0)
    z = data(kind)[0]
    assert torch.equal(surrogate.predict(z), alone.predict(z))
    assert torch.equal(surrogate.gradient(z), alone.gradient(z))
    for ours, theirs in zip(
        surrogate.value_and_gradient(z), alone.value_and_gradient(z), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert surrogate.report.rmse == report.rmse
    assert (
        surrogate.report.seconds > surrogate.reports[surrogate.chosen].seconds
    )  # all candidates' together


def test_only_an_ensemble_has_a_spread_and_hidden_layers():
    networks, quadratic, z = fitted("steps"), fitted("quadratic"), data("steps")[0]
    alone = make_surrogate(NETWORKS)
    alone.fit(*data("steps"), seed=0)
    assert torch.equal(networks.spread(z), alone.spread(z))
    assert torch.equal(networks.hidden(z), alone.hidden(z))
    assert not hasattr(quadratic, "spread")
    with pytest.raises(NotImplementedError, match="'quadratic' surrogates have no hidden layer"):
        quadratic.hidden(z)


def test_all_kinds_hold_out_the_same_rows(monkeypatch):
    seen = {}
    for kind in (MLPSurrogate, EnsembleSurrogate, QuadraticSurrogate):

        def predict(self, z, kind=kind, original=kind.predict):
            seen[kind] = z
            return original(self, z)

        monkeypatch.setattr(kind, "predict", predict)
        surrogate = (
            kind() if kind is QuadraticSurrogate else kind(type(kind().config)(train_steps=1))
        )
        surrogate.fit(*data("steps"), seed=3)  # predicts for the report only
    held = list(seen.values())
    assert len(held) == 3
    assert held[0].shape == (60, 6)
    assert torch.equal(held[0], held[1])
    assert torch.equal(held[0], held[2])


@pytest.mark.parametrize("kind", ["quadratic", "steps"])
def test_what_is_saved_is_the_chosen_one(kind, tmp_path):
    surrogate = fitted(kind)
    surrogate.save(tmp_path / "f.safetensors")
    again, z = load_surrogate(tmp_path / "f.safetensors"), data(kind)[0]
    assert torch.equal(again.predict(z), surrogate.predict(z))
    assert torch.equal(again.gradient(z), surrogate.gradient(z))
    assert (again.kind, again.name) == (make_surrogate(surrogate.chosen).kind, surrogate.chosen)
    assert again.report == surrogate.reports[surrogate.chosen]


def test_its_tensors_can_be_moved_and_replaced():
    surrogate, z = fitted("quadratic"), data("quadratic")[0]
    before = surrogate.predict(z)
    assert surrogate.to("cpu") is surrogate
    surrogate.load_state({key: value.double() for key, value in surrogate.state().items()})
    assert surrogate.predict(z.double()).dtype == torch.float64
    torch.testing.assert_close(surrogate.predict(z.double()).float(), before)


def test_the_same_seed_gives_the_same_model():
    z = data("steps")[0]
    first, second, other = (fitted("steps", seed).predict(z) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)


def test_candidates_that_cannot_be_fitted_are_left_out():
    z = torch.randn(100, 101, generator=torch.Generator().manual_seed(0))
    surrogate = LeastErrorSurrogate(LeastErrorConfig(BOTH))
    surrogate.fit(z, z[:, 0], seed=0)
    assert surrogate.chosen == NETWORKS
    assert set(surrogate.reports) == {NETWORKS}
    with pytest.raises(
        CannotFit, match=r"none of the candidates can be fitted; quadratic: .*got 101"
    ):
        LeastErrorSurrogate(LeastErrorConfig(("quadratic",))).fit(z, z[:, 0], seed=0)


def test_a_model_that_diverged_is_not_kept(monkeypatch):
    nan = float("nan")

    def diverge(self, z, y, *, seed, progress=None):
        self.report = FitReport(nan, nan, 540, 60, 1, 0.1)

    monkeypatch.setattr(EnsembleSurrogate, "fit", diverge)
    assert fitted("steps").chosen == "quadratic"


def test_rows_or_shares_that_allow_no_comparison_are_refused():
    z, y = data("quadratic")
    with pytest.raises(
        ValueError, match=r"same held-out rows.*'quadratic': 0} of 9 rows. Give more rows"
    ):
        LeastErrorSurrogate(LeastErrorConfig(("quadratic",))).fit(z[:9], y[:9], seed=0)
    LeastErrorSurrogate(LeastErrorConfig(("quadratic",))).fit(z[:10], y[:10], seed=0)
    half = QuadraticConfig(held_out=0.5)
    with (
        SURROGATES.temporarily("half", lambda: QuadraticSurrogate(half)),
        pytest.raises(ValueError, match=r"\{'quadratic': 60, 'half': 300\} of 600 rows"),
    ):
        LeastErrorSurrogate(LeastErrorConfig(("quadratic", "half"))).fit(z, y, seed=0)


def test_settings_are_checked():
    for candidates in [(), ("least_error",), ("quadratic", "least_error")]:
        with pytest.raises(ValueError, match="at least one surrogate other than least_error"):
            LeastErrorConfig(candidates)
    with pytest.raises(UnknownId, match="quadratic"):
        LeastErrorSurrogate(LeastErrorConfig(("quadratik",))).fit(*data("quadratic"), seed=0)
    with pytest.raises(RuntimeError, match="this least_error surrogate is not fitted"):
        LeastErrorSurrogate().predict(data("quadratic")[0])
    assert make_surrogate("least_error").config.candidates == ("light_ensemble", "quadratic")


def test_the_cache_knows_the_candidates_settings(cache_folder):
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    encoder, name = make_encoder(problem), "auto_of_the_cache_test"
    known = SURROGATES.spec("quadratic")
    with SURROGATES.temporarily(
        name, lambda: LeastErrorSurrogate(LeastErrorConfig(("quadratic",)))
    ):
        first = fitted_surrogate(problem, encoder, name)
        files = set((cache_folder / "fitted").iterdir())
        second, z = fitted_surrogate(problem, encoder, name), torch.zeros(5, 2)
        assert torch.equal(first.predict(z), second.predict(z))
        assert set((cache_folder / "fitted").iterdir()) == files
        with SURROGATES.temporarily("quadratic", known.entry_point, held_out=0.5):
            assert fitted_surrogate(problem, encoder, name).report.n_held_out == 1250
