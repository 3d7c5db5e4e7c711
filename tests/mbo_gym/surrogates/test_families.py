"""Families of surrogates beside networks: kernel, trees, sequences, and what joins them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import CannotFit, NotDifferentiable
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

LIGHT_CNN = {"training.steps": 150, "training.warm_up": 30, "passes": 50}
LIGHT_CNN |= {"channels": 16, "members": 1}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(z: torch.Tensor) -> torch.Tensor:
    return torch.sin(2 * z[:, 0]) + z[:, 1]


MADE = {
    "kernel": lambda: make_surrogate("kernel"),
    "trees": lambda: make_surrogate("trees", n_trees=40),
    "extra_trees": lambda: make_surrogate("extra_trees", n_trees=20),
    "committee": lambda: make_surrogate("committee", members=("trees", "kernel", "trend")),
    "residual": lambda: make_surrogate("residual", second="kernel"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_family_predicts_what_it_has_not_seen(name, tmp_path):
    z = normal(600, 4, seed=0)
    y = smooth(z) + 0.1 * normal(600, seed=1)
    surrogate = MADE[name]()
    report = surrogate.fit(z, y, seed=0)
    assert (report.n_held_out, report.n_train) == (60, 540)
    assert report.rank_correlation > 0.85
    again = MADE[name]()
    again.fit(z, y, seed=0)
    assert torch.equal(again.predict(z[:50]), surrogate.predict(z[:50]))
    surrogate.save(tmp_path / "s.safetensors")
    loaded = load_surrogate(tmp_path / "s.safetensors")
    assert loaded.kind == surrogate.kind
    assert torch.equal(loaded.predict(z[:50]), surrogate.predict(z[:50]))


def test_a_kernel_returns_to_the_mean_far_away_and_takes_some_rows():
    z = normal(300, 3, seed=0)
    kernel = make_surrogate("kernel", max_rows=100, held_out=0.0)
    report = kernel.fit(z, smooth(z) + 5, seed=0)
    assert report.n_train == 100
    far = kernel.predict(torch.full((1, 3), 1e3))
    assert float(far) == pytest.approx(float(kernel.state()["mean"]))
    assert kernel.state()["rows"].shape == (100, 3)


def test_a_kernels_error_is_that_of_rows_left_out():
    z = normal(40, 2, seed=0).double()
    y = smooth(z) + 0.3 * normal(40, seed=1)
    settings = {"widths": (1.0,), "held_out": 0.0}
    errors = {}
    for noise in (0.01, 0.1, 0.5, 2.0):
        left_out = []
        for row in range(40):
            others = torch.arange(40) != row
            middle, unit = y.mean(), y.std(correction=0)
            distance = torch.cdist(z, z).square()
            width = float(distance[distance > 1e-12].median())
            gram = torch.exp(-distance / width)
            inner = gram[others][:, others] + noise * torch.eye(39)
            weight = torch.linalg.solve(inner, (y[others] - middle) / unit)
            left_out.append(float(gram[row, others] @ weight - (y[row] - middle) / unit) ** 2)
        errors[noise] = np.mean(left_out)
    kernel = make_surrogate("kernel", **settings)
    kernel.fit(z, y, seed=0)
    assert kernel.noise == min(errors, key=errors.get)


@pytest.mark.parametrize("model", ["boosting", "extra"])
def test_trees_are_those_of_scikit_learn(model):
    z = normal(400, 5, seed=0)
    y = smooth(z) + 0.1 * normal(400, seed=1)
    trees = make_surrogate("trees", model=model, n_trees=30, held_out=0.0)
    trees.row_weight = torch.rand(400, generator=torch.Generator().manual_seed(2)) + 0.1
    trees.fit(z, y, seed=3)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(3))  # of hold_out
    own = trees._model(400, 3)
    own.fit(z[order].numpy(), y[order].double().numpy(), sample_weight=trees.row_weight[order])
    fresh = normal(500, 5, seed=4)
    wanted = own.predict(fresh.numpy())
    np.testing.assert_allclose(trees.predict(fresh).numpy(), wanted, rtol=1e-5, atol=1e-6)
    piece = torch.cat([trees.predict(part) for part in fresh.split(7)])
    assert torch.equal(piece, trees.predict(fresh))


def test_what_has_no_gradient_says_so_by_name():
    trees = make_surrogate("extra_trees", n_trees=2)
    trees.fit(normal(50, 2, seed=0), normal(50, seed=1), seed=0)
    with pytest.raises(NotDifferentiable, match=r"'trees' surrogates have no gradient.*trend"):
        trees.gradient(normal(3, 2, seed=2))
    assert not make_surrogate("committee").differentiable
    assert make_surrogate("residual").differentiable


def test_a_committee_is_the_weighed_mean_of_its_members():
    z = normal(200, 3, seed=0)
    y = smooth(z)
    committee = make_surrogate("committee", members=("trend", "kernel"), weights=(3.0, 1.0))
    committee.fit(z, y, seed=0)
    trend, kernel = (make_surrogate(name) for name in ("trend", "kernel"))
    for part in (trend, kernel):
        part.fit(z, y, seed=0)
    wanted = 0.75 * trend.predict(z) + 0.25 * kernel.predict(z)
    torch.testing.assert_close(committee.predict(z), wanted)
    spread = (trend.predict(z) - kernel.predict(z)).abs() / 2
    torch.testing.assert_close(committee.spread(z), spread)
    held = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:20]
    rmse = float((committee.predict(z[held]) - y[held]).square().mean().sqrt())
    assert committee.report.rmse == pytest.approx(rmse)


def test_the_second_is_fitted_on_what_the_first_leaves_over():
    z = normal(400, 3, seed=0)
    y = 3 * z.square().sum(dim=1) + torch.sin(3 * z[:, 0])
    joined = MADE["residual"]()
    joined.fit(z, y, seed=0)
    alone = make_surrogate("trend")
    alone.fit(z, y, seed=0)
    assert joined.report.rmse < 0.7 * alone.report.rmse
    assert torch.equal(joined.parts[0].predict(z), alone.predict(z))


def test_members_are_checked():
    with pytest.raises(ValueError, match="other than committee"):
        make_surrogate("committee", members=("committee",))
    with pytest.raises(ValueError, match="2 numbers"):
        make_surrogate("committee", members=("trend", "kernel"), weights=(1.0,))
    branin = mbo_gym.make_task("Branin-Exact-v0").problem()
    with pytest.raises(CannotFit, match=r"sequence_ridge.*Branin.*'trend'"):
        fit_surrogate(branin, make_encoder(branin), make_surrogate("sequence_ridge"), seed=0)
    with pytest.raises(CannotFit, match="fit_surrogate"):
        make_surrogate("sequence_ridge").fit(torch.zeros(9, 24), torch.zeros(9), seed=0)


MOTIF = (2, 0, 3)


def sequences(n: int, seed: int = 0) -> OfflineProblem:
    """Return sequences of 8 letters whose score counts a motif with a gap, wherever it stands."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (n, 8))
    y = np.zeros(n)
    for first in range(5):
        found = [x[:, first + at] == letter for at, letter in zip((0, 1, 3), MOTIF, strict=True)]
        y += np.logical_and.reduce(found)
    y = y + 0.3 * (x[:, 0] == 1) + 0.02 * rng.normal(size=n)
    data = OfflineDataset(x.astype(np.int32), y.astype(np.float32))
    return OfflineProblem("Letters-Test-v0", CategoricalSpace(8, 4), data, (0.0, 2.0))


@pytest.mark.parametrize("encoder", ["z_score", "one_hot", "logits", "min_max", "z_score_one_hot"])
def test_gapped_triples_are_found_wherever_they_stand(encoder, tmp_path):
    problem = sequences(1500)
    made = make_encoder(problem, encoder)
    ridge = fit_surrogate(problem, made, make_surrogate("sequence_ridge"), seed=0)
    assert ridge.chosen == "sites_triples"
    assert ridge.r2["sites_triples"] > 0.97 > ridge.r2["pairs"]
    unseen = sequences(500, seed=1)
    z = made.features(unseen.dataset.x)
    truth = problem.dataset.score_scale.standardise(unseen.dataset.y)
    assert np.corrcoef(ridge.predict(z).numpy(), truth)[0, 1] > 0.98
    ridge.save(tmp_path / "s.safetensors")
    assert torch.equal(load_surrogate(tmp_path / "s.safetensors").predict(z), ridge.predict(z))


def test_a_sequences_gradient_is_that_of_its_extension():
    problem = sequences(600)
    made = make_encoder(problem)
    ridge = fit_surrogate(problem, made, make_surrogate("sequence_ridge"), seed=0)
    z = made.features(problem.dataset.x[:3])
    gradient = ridge.gradient(z)
    step = 1e-2 * normal(*z.shape, seed=3)
    change = ridge.predict(z + step) - ridge.predict(z - step)
    np.testing.assert_allclose(change, 2 * (gradient * step).sum(dim=1), rtol=0.02, atol=1e-4)


def test_kinds_with_too_many_terms_are_left_out():
    problem = sequences(300)
    made = make_encoder(problem)
    ridge = make_surrogate("sequence_ridge", max_terms=300)
    assert list(fit_surrogate(problem, made, ridge, seed=0).r2) == ["sites", "pairs"]
    few = make_surrogate("sequence_ridge", max_terms=10)
    with pytest.raises(CannotFit, match="24 terms"):
        fit_surrogate(problem, made, few, seed=0)


def test_a_network_of_sequences_learns_and_comes_back(tmp_path):
    problem = sequences(800)
    made = make_encoder(problem)
    network = make_surrogate("sequence_cnn", **LIGHT_CNN)
    fit_surrogate(problem, made, network, seed=0)
    assert network.report.rank_correlation > 0.5
    z = made.features(problem.dataset.x[:40])
    assert network.gradient(z).abs().max() > 0
    network.save(tmp_path / "n.safetensors")
    assert torch.equal(load_surrogate(tmp_path / "n.safetensors").predict(z), network.predict(z))


@pytest.mark.parametrize("name", ["sequence_ridge", "sequence_cnn"])
def test_precise_sequences_count_more(name):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (300, 8)).astype(np.int32)
    rising = np.arange(300) % 2 == 0
    y = np.where(rising, 1.0, -1.0) * (x[:, 0] == 1)
    error = np.where(rising, 0.01, 5.0).astype(np.float32)
    data = OfflineDataset(x, y.astype(np.float32), error)
    problem = OfflineProblem("Letters-Test-v0", CategoricalSpace(8, 4), data, (-1.0, 1.0))
    made = make_encoder(problem)
    settings = LIGHT_CNN if name == "sequence_cnn" else {}
    surrogate = fit_surrogate(problem, made, make_surrogate(name, **settings), seed=0)
    prediction = surrogate.predict(made.features(x)).detach().numpy()
    assert np.corrcoef(prediction, x[:, 0] == 1)[0, 1] > 0.6


def test_a_network_of_few_sequences_is_trained_for_fewer_steps():
    problem = sequences(300)
    network = make_surrogate("sequence_cnn", channels=4, members=1, passes=2)
    report = fit_surrogate(problem, make_encoder(problem), network, seed=0).report
    assert report.steps == 2 * 3  # 270 rows in batches of 128
