"""BO-qEI: the Gaussian process and its acquisition by their formulas, and what the rounds find."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.stats import norm

import mbo_gym
from agents.search.bo_qei import BatchConfig, BOqEI, BOqEIConfig, next_batch
from helpers import Notes
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.errors import MissingDependency
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice, with_settings
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.registry import SURROGATES

QUICK_BATCH = {
    "batch_size": 4,
    "mc_samples": 32,
    "raw_samples": 8,
    "restarts": 2,
    "fit_steps": 20,
    "acquisition_steps": 20,
}
QUICK = BOqEIConfig(rounds=2, n_best=30, batch=BatchConfig(**QUICK_BATCH))


class Bowl(Surrogate):
    """height - |z - (0.3, -0.2)|^2; nothing to learn."""

    kind, config, height = "bowl", None, 5.0

    def fit(self, z, y, *, seed, progress=None):
        return FitReport(1.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        return self.height - (z - torch.tensor([0.3, -0.2])).square().sum(dim=1)

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, progress=None, **settings):
    pytest.importorskip("botorch")
    with SURROGATES.temporarily("bowl", Bowl):
        method = BOqEI(with_settings(QUICK, {"surrogate": "bowl", **settings}))
        method.fit(problem, Context(progress=progress or NullProgress()))
    return method


def points(n=25):
    rng = np.random.default_rng(0)
    unit = rng.random((n, 2))
    y = 3 + 2 * np.sin(4 * unit[:, 0]) - unit[:, 1] ** 2
    return torch.from_numpy(unit).float(), torch.from_numpy(y).float()


def posterior_by_hand(process, unit, y, noise, where):
    """Gaussian process regression in plain numpy, with the fitted kernel and mean; means and
    variances (m,)."""
    unit, y, where = (np.asarray(a, dtype=np.float64) for a in (unit, y, where))
    shift, scale = y.mean(), y.std(ddof=1)
    lengthscale = process.covar_module.lengthscale.detach().numpy()

    def kernel(a, b):
        return np.exp(-0.5 * (((a[:, None] - b[None]) / lengthscale) ** 2).sum(axis=2))

    constant = process.mean_module.constant.item()
    seen = np.linalg.inv(kernel(unit, unit) + (noise / scale) ** 2 * np.eye(len(unit)))
    across = kernel(where, unit)
    mean = constant + across @ seen @ ((y - shift) / scale - constant)
    variance = 1 - np.einsum("ij,jk,ik->i", across, seen, across)
    return shift + scale * mean, scale**2 * variance


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_the_process_is_gaussian_regression_with_the_given_noise(noise):
    pytest.importorskip("botorch")
    unit, y = points()
    config = BatchConfig(**{**QUICK_BATCH, "noise": noise})
    _, _, process = next_batch(unit, y, config, 0)
    where = torch.rand(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = process.posterior(where)
    mean, variance = posterior_by_hand(process, unit, y, noise, where)
    np.testing.assert_allclose(got.mean[:, 0].detach(), mean, rtol=1e-5)
    np.testing.assert_allclose(got.variance[:, 0].detach(), variance, rtol=1e-3)


@pytest.mark.parametrize("acquisition", ["qei", "qlogei"])
def test_the_acquisition_of_one_design_is_the_closed_form_of_expected_improvement(acquisition):
    pytest.importorskip("botorch")
    unit, y = points()
    config = BatchConfig(
        **{**QUICK_BATCH, "batch_size": 1, "mc_samples": 2048, "acquisition": acquisition}
    )
    batch, gain, process = next_batch(unit, y, config, 0)
    mean, variance = posterior_by_hand(process, unit, y, config.noise, batch)
    std = np.sqrt(variance)
    above = (mean - float(y.max())) / std
    expected = (std * (above * norm.cdf(above) + norm.pdf(above))).item()
    assert gain == pytest.approx(
        expected if acquisition == "qei" else np.log(expected), rel=0.02, abs=0.01
    )


def test_a_batch_lies_in_the_box_and_depends_on_the_seed_alone():
    pytest.importorskip("botorch")
    unit, y = points()
    config, before = QUICK.batch, torch.get_rng_state()
    first, _, _ = next_batch(unit, y, config, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(17)  # must not matter
    assert torch.equal(first, next_batch(unit, y, config, 3)[0])
    assert not torch.equal(first, next_batch(unit, y, config, 4)[0])
    assert (first.shape, first.dtype) == ((4, 2), torch.float32)
    assert ((first >= 0) & (first <= 1)).all()
    assert torch.pdist(first).min() > 0.01  # chosen together, not four times the same


def test_the_fit_goes_on_from_the_last_process():
    pytest.importorskip("botorch")
    (unit, y), one_step = points(), BatchConfig(**{**QUICK_BATCH, "fit_steps": 1})
    _, _, ready = next_batch(unit, y, BatchConfig(**{**QUICK_BATCH, "fit_steps": 200}), 0)
    _, _, cold = next_batch(unit, y, one_step, 0)
    _, _, warm = next_batch(unit, y, one_step, 0, ready)
    target = ready.covar_module.lengthscale
    assert torch.allclose(warm.covar_module.lengthscale, target, rtol=1e-2)
    assert not torch.allclose(cold.covar_module.lengthscale, target, rtol=1e-1)


def test_the_rounds_climb_to_the_top_of_the_labels(branin):
    method = fitted(branin, rounds=6)
    proposals = method.propose(3)
    mean, std = (
        branin.dataset.x.mean(axis=0, dtype=np.float64),
        branin.dataset.x.std(axis=0, dtype=np.float64),
    )
    noise = method.config.batch.noise  # finer than that it has no reason to look
    assert 5 - noise < proposals.criterion[0] <= 5
    np.testing.assert_allclose((proposals.x[0] - mean) / std, [0.3, -0.2], atol=noise**0.5)


def test_only_new_designs_are_proposed_with_the_surrogate_as_their_label(branin):
    method = fitted(branin)
    proposals = method.propose(8)
    x = proposals.x
    z = torch.from_numpy(make_encoder(branin).encode(x))
    np.testing.assert_allclose(proposals.criterion, Bowl().predict(z), atol=1e-3)
    assert (np.diff(proposals.criterion) <= 0).all()
    low, high = feature_bounds(branin, make_encoder(branin))
    assert ((z.numpy() >= low - 1e-4) & (z.numpy() <= high + 1e-4)).all()
    visible = {row.tobytes() for row in branin.dataset.x}
    assert not any(row.tobytes() in visible for row in x)


def test_the_released_choice_has_the_visible_designs_too(branin, monkeypatch):
    score = branin.dataset.score_scale.standardise(branin.dataset.y[branin.dataset.top_rows(30)])
    monkeypatch.setattr(Bowl, "height", float(score.max()) + 2)
    new = fitted(branin)
    found = new.propose(8)
    both = (
        np.concatenate([branin.dataset.top(30).x, found.x]),
        np.concatenate([score, found.criterion]),
    )
    method = fitted(branin, proposals="all")
    proposals, best = method.propose(8), np.argsort(-both[1], kind="stable")[:8]
    assert (best < 30).any()
    assert (best >= 30).any()
    np.testing.assert_array_equal(proposals.x, both[0][best])
    np.testing.assert_array_equal(proposals.criterion, both[1][best])


def test_noise_on_the_labels_is_a_setting(branin):
    method = fitted(branin, label_noise=0.1, rounds=1, **{"batch.batch_size": 32})
    proposals = method.propose(32)
    error = (
        proposals.criterion
        - Bowl().predict(torch.from_numpy(make_encoder(branin).encode(proposals.x))).numpy()
    )
    assert 0.06 < error.std() < 0.14


@pytest.mark.parametrize(("k", "rounds"), [(1, 2), (8, 2), (9, 3), (14, 4)])
def test_there_are_as_many_rounds_as_the_budget_needs(branin, k, rounds):
    notes = Notes()
    x = fitted(branin, notes, batch={"acquisition_steps": 3, "fit_steps": 3}).propose(k).x
    assert len(notes.of("bo_qei", "acquisition")) == rounds
    assert len(np.unique(x, axis=0)) == k
    assert [(step, len(shown)) for _, step, shown, _ in notes.shown] == [
        *((r, 4) for r in range(rounds)),
        (rounds, k),
    ]
    np.testing.assert_allclose(notes.shown[-1][2], x, rtol=1e-4)


def test_categorical_designs_and_single_rows_will_do():
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=300)
    pytest.importorskip("botorch")
    batch = BatchConfig(**{**QUICK_BATCH, "acquisition_steps": 3, "fit_steps": 3})
    method = BOqEI(BOqEIConfig(Choice("quadratic"), rounds=2, n_best=1, batch=batch))
    method.fit(task.problem())
    proposals = method.propose(5)
    assert task.space.contains(proposals.x).all()
    assert np.isfinite(proposals.criterion).all()


def test_without_the_library_it_says_what_to_install(branin, monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    with pytest.raises(MissingDependency, match=r"needs botorch.*pip install 'mbo-gym\[bo\]'"):
        BOqEI().fit(branin)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch.noise": 0.0},
        {"rounds": 0},
        {"batch.batch_size": 0},
        {"label_noise": -1.0},
        {"batch.raw_samples": 3},
        {"batch.fit_steps": 0},
    ],
)
def test_settings_that_make_no_search_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removeprefix("batch.")):
        with_settings(BOqEIConfig(), wrong)
