"""The quadratic surrogate: exact on quadratics, closed-form, with a ridge weight that held-out rows
agree with."""

from __future__ import annotations

import pytest
import torch

from mbo_gym.surrogates import ridge
from mbo_gym.surrogates.base import CannotFit
from mbo_gym.surrogates.quadratic import QuadraticConfig, QuadraticSurrogate
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate
from mbo_gym.surrogates.ridge import RIDGES

D = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def rows(n: int, d: int = D, seed: int = 1) -> torch.Tensor:
    """Features with means and scales of their own."""
    return (
        normal(n, d, seed=seed) * torch.linspace(0.01, 30, d, dtype=torch.float64)
        + torch.arange(d) * 10
    )


LINEAR, MATRIX = normal(D, seed=2), normal(D, D, seed=3)


def truth(z: torch.Tensor) -> torch.Tensor:
    return 7 + z @ LINEAR + ((z @ MATRIX) * z).sum(dim=1)


def fitted(z: torch.Tensor, y: torch.Tensor, **config: float) -> QuadraticSurrogate:
    surrogate = QuadraticSurrogate(QuadraticConfig(**config))
    surrogate.fit(z, y, seed=0)
    return surrogate


def test_a_quadratic_is_recovered_with_its_gradient_beyond_the_data():
    z, far = rows(400), 2 * rows(50, seed=9)
    surrogate = fitted(z, truth(z))
    torch.testing.assert_close(surrogate.predict(far), truth(far), rtol=1e-6, atol=1e-4)
    analytic = LINEAR + far @ (MATRIX + MATRIX.T)
    torch.testing.assert_close(surrogate.gradient(far), analytic, rtol=1e-4, atol=1e-3)
    assert surrogate.ridge == RIDGES[0]
    report = surrogate.report
    assert (report.n_train, report.n_held_out, report.steps) == (360, 40, 0)
    assert report.rank_correlation == pytest.approx(1)
    assert report.rmse < 1e-4


def test_it_equals_ridge_regression_with_the_least_error_of_each_row_left_out():
    n, z = 80, rows(80, 3)
    y = 1e-2 * z[:, 1] * z[:, 2] + 3 * normal(n, seed=4)
    surrogate = fitted(z, y, held_out=0)
    u = (z - z.mean(0)) / z.std(0, correction=0)
    terms = torch.stack([*u.T, *(u[:, i] * u[:, j] for i in range(3) for j in range(i, 3))], dim=1)
    terms = torch.cat(
        [torch.ones(n, 1), (terms - terms.mean(0)) / terms.std(0, correction=0)], dim=1
    )
    penalty = n * torch.eye(10).double()
    penalty[0, 0] = 0  # of the intercept

    def weights(ridge: float, kept: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(
            terms[kept].T @ terms[kept] + ridge * penalty, terms[kept].T @ y[kept]
        )

    def error_of_rows_left_out(ridge: float) -> float:
        others = [torch.arange(n) != row for row in range(n)]
        return sum(float(y[r] - terms[r] @ weights(ridge, others[r])) ** 2 for r in range(n))

    errors = {ridge: error_of_rows_left_out(ridge) for ridge in RIDGES.tolist()}
    assert surrogate.ridge == min(errors, key=errors.get)
    assert RIDGES[0] < surrogate.ridge < RIDGES[-1]
    torch.testing.assert_close(
        surrogate.predict(z), terms @ weights(surrogate.ridge, torch.arange(n))
    )


def test_blocks_of_rows_and_columns_equal_the_whole(monkeypatch):
    z = rows(500)
    y = truth(z) + normal(500, seed=4)
    whole = fitted(z, y)
    monkeypatch.setattr(ridge, "_BLOCK", 20 * 37)  # 37 rows
    monkeypatch.setattr(ridge, "_COLUMNS", 3)
    for key, value in fitted(z, y).state().items():
        torch.testing.assert_close(value, whole.state()[key], rtol=1e-8, atol=1e-8)


def test_progress_hears_of_the_blocks(monkeypatch):
    class Ear:
        def track(self, items, description, total=None):
            heard.append((len(items), description))
            return iter(items)

    monkeypatch.setattr(ridge, "_BLOCK", 20 * 100)
    heard, z = [], rows(500)
    QuadraticSurrogate().fit(z, truth(z), seed=0, progress=Ear())
    assert heard == [(5, "fitting quadratic"), (5, "choosing the ridge")]


def test_the_noisier_the_scores_the_larger_the_ridge():
    z = normal(300, 12)
    signal, noise = z[:, 0] + z[:, 1] * z[:, 2], normal(300, seed=4)
    ridges = [fitted(z, signal + size * noise).ridge for size in (0.01, 1.0, 100.0)]
    assert ridges[0] < ridges[1] < ridges[2]


def test_more_terms_than_rows_still_predict_rows_held_out():
    z = normal(200, 30)  # 495 terms
    report = QuadraticSurrogate().fit(z, z[:, 0] + z[:, 1].square(), seed=0)
    assert report.rank_correlation > 0.2
    assert report.rmse < 1.65  # the scores' standard deviation is 1.73


def test_constant_features_and_terms_get_no_weight():
    z = rows(300)
    z[:, 1] = 0.1 + 0.2  # no sum of these is exact
    z[:, 2] = torch.tensor([-1.0, 1.0]).repeat(150)  # its square is constant
    y = z[:, 0] * 100 + z[:, 2]
    surrogate = fitted(z, y, held_out=0)
    state = surrogate.state()
    assert all(value.isfinite().all() for value in state.values())
    assert (state["linear"][1], state["matrix"][1].abs().sum(), state["matrix"][2, 2]) == (0, 0, 0)
    moved = z.clone()
    moved[:, 1] += 5
    assert torch.equal(surrogate.predict(moved), surrogate.predict(z))
    torch.testing.assert_close(surrogate.predict(z), y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("n", "held"), [(1, 0), (2, 0), (12, 1)])
def test_few_rows_give_finite_predictions(n, held):
    z, y = rows(12)[:n], truth(rows(12))[:n]
    surrogate = QuadraticSurrogate()
    report = surrogate.fit(z, y, seed=0)
    assert (report.n_train, report.n_held_out) == (n - held, held)
    assert surrogate.predict(rows(9, seed=8)).isfinite().all()


def test_constant_scores_are_predicted():
    z = rows(100).float()
    surrogate = fitted(z, torch.full((100,), 7.0))
    torch.testing.assert_close(surrogate.predict(z), torch.full((100,), 7.0))


def test_predictions_are_single_precision_for_single_precision_features():
    z = rows(300).float()
    surrogate = fitted(z, truth(z.double()).float())
    assert surrogate.predict(z).dtype == torch.float32
    assert {value.dtype for value in surrogate.state().values()} == {torch.float32}
    gone = surrogate.predict(z).sub(truth(z.double())).abs().max()
    assert gone < 1e-5 * truth(z.double()).abs().max()


def test_what_is_saved_predicts_the_same(tmp_path):
    z = rows(200)
    surrogate = fitted(z, truth(z), held_out=0.25)
    surrogate.save(tmp_path / "f.safetensors")
    again = load_surrogate(tmp_path / "f.safetensors")
    assert torch.equal(again.predict(z), surrogate.predict(z))
    assert torch.equal(again.gradient(z), surrogate.gradient(z))
    assert (type(again), again.config, again.report) == (
        QuadraticSurrogate,
        surrogate.config,
        surrogate.report,
    )


def test_the_seed_says_only_which_rows_are_held_out():
    z = normal(300, 8)
    y = z[:, 0] + normal(300, seed=4)
    states = []
    for seed, share in [(0, 0.1), (0, 0.1), (1, 0.1), (0, 0.0), (1, 0.0)]:
        torch.rand(3)  # the global generator plays no part
        surrogate = QuadraticSurrogate(QuadraticConfig(held_out=share))
        surrogate.fit(z, y, seed=seed)
        states.append(surrogate.state()["matrix"])
    assert torch.equal(states[0], states[1])
    assert not torch.allclose(states[0], states[2])
    torch.testing.assert_close(states[3], states[4])  # the same rows in another order


def test_too_many_features_say_the_limit_and_the_way_out():
    z = normal(10, 101)
    with pytest.raises(
        CannotFit,
        match=r"max_features=100 features, got 101: it would have 5252 terms.*light_ensemble",
    ):
        QuadraticSurrogate().fit(z, z[:, 0], seed=0)
    surrogate = make_surrogate("quadratic", max_features=4)
    with pytest.raises(ValueError, match="max_features=4 features, got 5"):
        surrogate.fit(rows(10), truth(rows(10)), seed=0)
    make_surrogate("quadratic", max_features=5).fit(rows(10), truth(rows(10)), seed=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="held_out is a share"):
        QuadraticConfig(held_out=1.0)
    with pytest.raises(ValueError, match="max_features must be at least 1"):
        QuadraticConfig(max_features=0)


def test_an_unfitted_one_and_a_hidden_layer_are_refused():
    with pytest.raises(RuntimeError, match="this quadratic surrogate is not fitted"):
        QuadraticSurrogate().predict(rows(1))
    with pytest.raises(NotImplementedError, match="'quadratic' surrogates have no hidden layer"):
        QuadraticSurrogate().hidden(rows(1))
