"""Standard errors of scores reach the loss of every surrogate, and change nothing without them."""

from __future__ import annotations

import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.quadratic import QuadraticSurrogate
from mbo_gym.surrogates.registry import SURROGATES, make_surrogate

SMALL = {"hidden": 16, "layers": 1, "train_steps": 150, "batch_size": 64, "members": 2}
SMALL["learning_rate"] = 3e-3
OTHERS = {"designs": 8, "bins": 5, "steps": 5, "negative_steps": 2, "perturbation_steps": 1}

OWN = [name for name in SURROGATES if hasattr(SURROGATES.spec(name).load(), "Config")]
"""Registered surrogates, without those that another test has added."""
WEIGHING = [name for name in OWN if SURROGATES.spec(name).load().weighs_rows]
LETTERS = ("sequence_ridge", "sequence_cnn")  # see tests of the families


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))


def small(name: str) -> Surrogate:
    kind = SURROGATES.spec(name).load()
    known = {field.name for field in fields(kind.Config)}
    values = {k: v for k, v in {**SMALL, **OTHERS}.items() if k in known}
    if known & {"candidates", "members"} and not known & set(SMALL) - {"members"}:
        return make_surrogate(name)
    return make_surrogate(name, **values)


def problem(error: np.ndarray | None) -> OfflineProblem:
    """Half of the rows rise with the first feature, half fall."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 2)).astype(np.float32)
    y = np.where(np.arange(200) % 2 == 0, x[:, 0], -x[:, 0])
    space = ContinuousSpace(np.full(2, -1), np.full(2, 1))
    return OfflineProblem("own", space, OfflineDataset(x, y, error), (-1, 1))


def slope(surrogate: Surrogate, error: np.ndarray | None) -> float:
    """Return the correlation of the first feature and the prediction."""
    data = problem(error)
    encoder = make_encoder(data, "z_score")
    fitted = fit_surrogate(data, encoder, surrogate, seed=0)
    z = encoder.features(data.dataset.x)
    with torch.no_grad():
        prediction = fitted.predict(z).numpy()
    return float(np.corrcoef(data.dataset.x[:, 0], prediction)[0, 1])


def test_every_surrogate_of_any_task_weighs_rows():
    assert set(OWN) - set(WEIGHING) == {"gns"}  # its tasks have no standard errors


@pytest.mark.parametrize("name", [name for name in WEIGHING if name not in LETTERS])
def test_precise_rows_count_more(name):
    rising = np.where(np.arange(200) % 2 == 0, 0.01, 5).astype(np.float32)
    assert slope(small(name), rising) > 0.4
    assert slope(small(name), rising[::-1].copy()) < -0.4


@pytest.mark.parametrize("name", ["mlp", "quadratic", "coms", "ram_listnet", "roma", "iom", "nemo"])
def test_without_errors_nothing_changes(name):
    plain = small(name)
    data = problem(None)
    encoder = make_encoder(data, "z_score")
    fit_surrogate(data, encoder, plain, seed=0)
    assert plain.row_weight is None
    equal = small(name)
    fit_surrogate(problem(np.full(200, 0.5)), encoder, equal, seed=0)
    assert equal.row_weight is not None
    np.testing.assert_allclose(equal.row_weight.numpy(), 1, rtol=1e-6)
    for key, value in plain.state().items():
        torch.testing.assert_close(equal.state()[key], value, rtol=1e-3, atol=1e-4)


def test_the_quadratic_recovers_a_parabola_under_rows_of_no_weight():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 2, generator=generator)
    truth = 1 + z[:, 0] - 2 * z[:, 0] * z[:, 1] + z[:, 1].square()
    wrong = torch.arange(200) % 2 == 0
    surrogate = QuadraticSurrogate()
    surrogate.row_weight = torch.where(wrong, 1e-7, 2.0)
    surrogate.fit(z, torch.where(wrong, truth + 30 * z[:, 0].square(), truth), seed=0)
    torch.testing.assert_close(surrogate.predict(z), truth, rtol=0.01, atol=0.01)
    surrogate.row_weight = None
    surrogate.fit(z, torch.where(wrong, truth + 30 * z[:, 0].square(), truth), seed=0)
    assert float((surrogate.predict(z) - truth).abs().max()) > 5


def test_rows_of_a_fit_have_their_own_weights():
    surrogate = small("mlp")
    error = np.linspace(0.1, 1, 200).astype(np.float32)
    data = problem(error)
    rows = np.arange(150, 200)
    fit_surrogate(data, make_encoder(data, "z_score"), surrogate, seed=0, rows=rows)
    assert surrogate.row_weight is not None
    assert surrogate.row_weight.shape == (50,)
    assert float(surrogate.row_weight.mean()) == pytest.approx(1)
    assert (np.diff(surrogate.row_weight.numpy()) < 0).all()


def test_a_surrogate_without_weights_says_so():
    surrogate = small("mlp")
    data = problem(np.full(200, 0.5))
    encoder = make_encoder(data, "z_score")

    class Deaf(type(surrogate)):
        weighs_rows = False

    deaf = Deaf(surrogate.config)
    with pytest.warns(UserWarning, match="do not use the standard errors"):
        fit_surrogate(data, encoder, deaf, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_surrogate(problem(None), encoder, deaf, seed=0)
