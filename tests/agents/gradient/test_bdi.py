"""BDI: the kernel against finite networks and closed forms, the two losses by hand, the rows it
learns from."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.bdi import BDI, BDIConfig, Kernel, TwoWayMapping
from helpers import with_leaves
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.base import Context
from mbo_gym.surrogates.base import CannotFit


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kernel_of_a_finite_network(
    kernel: Kernel, x: torch.Tensor, width: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the products of one random network's gradients with respect to its parameters, (n,
    n)."""
    sizes = [x.shape[1], *[width] * kernel.layers, 1]
    parameters = []
    for n_in, n_out in pairwise(sizes):
        parameters += [
            torch.randn(n_in, n_out, generator=generator),
            torch.randn(n_out, generator=generator),
        ]
    parameters = [p.double().requires_grad_() for p in parameters]
    h = x
    for i in range(kernel.layers + 1):
        scale = (kernel.weight_variance / sizes[i]) ** 0.5
        h = (h.relu() if i else h) @ parameters[2 * i] * scale + parameters[
            2 * i + 1
        ] * kernel.bias_variance**0.5
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(row, parameters, retain_graph=True)])
        for row in h[:, 0]
    ]
    stacked = torch.stack(gradients)
    return stacked @ stacked.T


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel(layers=1, weight_variance=2.0),
        Kernel(layers=3, weight_variance=1.5, bias_variance=0.3),
    ],
)
def test_the_kernel_is_the_mean_of_wide_networks_kernels(kernel):
    x, generator = features(4, 3), torch.Generator().manual_seed(1)
    seen = torch.stack([kernel_of_a_finite_network(kernel, x, 300, generator) for _ in range(40)])
    error = seen.std(dim=0) / 40**0.5
    exact, length = kernel(x, x), kernel.diagonal(x).sqrt()
    size = length.unsqueeze(1) * length
    assert (
        (seen.mean(dim=0) - exact).abs() < 4 * error + 0.01 * size
    ).all()  # a hundredth, as they are 300 wide
    assert float((error / size).max()) < 0.05  # which is sharp enough to tell


def test_one_hidden_layer_at_known_angles():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], dtype=torch.float64)
    got = Kernel(layers=1, weight_variance=2.0)(x, x)
    # with w = 2 and d = 2: T = |x||x'| ((sin a + (pi - a) cos a) / pi + (pi - a) cos a / pi)
    orthogonal = 1 / math.pi
    expected = [
        [2, 2 * orthogonal, 0],
        [2 * orthogonal, 8, 6 * orthogonal],
        [0, 6 * orthogonal, 18],
    ]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_at_weight_variance_2_a_design_with_itself_counts_its_layers(layers):
    x = features(6, 7)
    expected = (layers + 1) * 2 * x.square().mean(dim=1)
    torch.testing.assert_close(Kernel(layers, 2.0).diagonal(x), expected)


@pytest.mark.parametrize(
    "kernel", [Kernel(), Kernel(layers=2, weight_variance=1.7, bias_variance=0.4)]
)
def test_the_diagonal_is_the_matrix_diagonal_and_the_matrix_is_a_covariance(kernel):
    x = features(30, 5)
    matrix = kernel(x, x)
    torch.testing.assert_close(matrix.diagonal(), kernel.diagonal(x), rtol=1e-6, atol=0)
    torch.testing.assert_close(matrix, matrix.T)
    assert float(torch.linalg.eigvalsh(matrix)[0]) > 0


def test_without_bias_the_kernel_grows_with_the_length_of_each_side():
    x, other = features(4, 5), features(3, 5, seed=1)
    torch.testing.assert_close(Kernel()(2 * x, 3 * other), 6 * Kernel()(x, other))


def test_the_kernel_of_zero_and_of_equal_features_has_a_finite_gradient():
    x = torch.cat([features(3, 5), torch.zeros(1, 5, dtype=torch.float64)]).requires_grad_()
    value = Kernel()(x, x.detach())
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def configured(**settings) -> BDIConfig:
    return with_leaves(BDIConfig(), **settings)


def fitted(
    z: torch.Tensor, y: torch.Tensor, gamma: float = 0.0, seed: int = 0, **settings
) -> TwoWayMapping:
    mapping = TwoWayMapping(configured(gamma=gamma, **settings))
    mapping.fit(z, y, seed=seed)
    return mapping


def losses_by_hand(mapping, x, y, design, gamma):
    """The paper's two losses for one design, with a plain inverse."""
    kernel = mapping.config.kernel
    matrix = kernel(x, x)
    matrix = matrix + mapping.config.ridge * matrix.trace() / len(x) * torch.eye(
        len(x), dtype=torch.float64
    )
    forward = (kernel(design, x) @ torch.linalg.inv(matrix) @ y).item()
    backward = kernel(x, design)[:, 0] / kernel(design, design).item() * mapping.config.label
    weight = np.exp(gamma * y.numpy())
    weight /= weight.sum()
    return (
        forward,
        (forward - mapping.config.label) ** 2 / 2,
        0.5 * float(weight @ (backward - y).square().numpy()),
    )


@pytest.mark.parametrize(("gamma", "bias"), [(0.0, 0.0), (0.7, 0.0), (0.7, 1.0)])
def test_both_losses_are_the_papers(gamma, bias):
    x, y, designs = features(12, 4), features(12, 1)[:, 0], features(3, 4, seed=2)
    mapping = fitted(x, y, gamma, layers=3, ridge=1e-3, label=4.0, bias_variance=bias)
    got = torch.stack([mapping.predict(designs), *mapping.losses(designs)], dim=1)
    for row, design in zip(got, designs, strict=True):
        np.testing.assert_allclose(
            row, losses_by_hand(mapping, x, y, design.unsqueeze(0), gamma), rtol=1e-5
        )


def test_its_gradient_is_that_of_minus_both_losses():
    x, y = features(12, 4), features(12, 1)[:, 0]
    mapping, designs, shift = fitted(x, y, 0.5), features(3, 4, seed=2), 1e-6
    gradient = mapping.downhill(designs)
    for j in range(4):
        unit = shift * torch.eye(4, dtype=torch.float64)[j]
        up, down = (sum(mapping.losses(designs + side * unit)) for side in (1, -1))
        torch.testing.assert_close(gradient[:, j], -(up - down) / (2 * shift), rtol=1e-4, atol=1e-6)


def test_designs_in_several_blocks_are_as_in_one(monkeypatch):
    x, y, designs = features(12, 4), features(12, 1)[:, 0], features(9, 4, seed=2)
    mapping = fitted(x, y)
    whole = mapping.predict(designs), mapping.downhill(designs)
    monkeypatch.setattr("agents.gradient.bdi._BLOCK", 25)  # two designs, or two rows, at a time
    mapping = fitted(x, y)
    pieces = mapping.predict(designs), mapping.downhill(designs)
    torch.testing.assert_close(pieces, whole, rtol=1e-6, atol=1e-9)


def test_the_regression_goes_through_the_data():
    x, y = features(40, 6), features(40, 1)[:, 0]
    torch.testing.assert_close(fitted(x, y, ridge=1e-10).predict(x), y, atol=1e-5, rtol=0)


def test_without_biases_the_fit_is_proportional_to_the_length_of_the_features():
    x, y = features(40, 6), features(40, 1)[:, 0]
    without, with_biases = (fitted(x, y, bias_variance=b).predict for b in (0.0, 1.0))
    torch.testing.assert_close(without(2 * x), 2 * without(x))
    assert (with_biases(2 * x) - 2 * with_biases(x)).abs().max() > 0.1
    paper = BDI.PRESETS["paper"]
    assert (paper.max_rows, paper.label) == (None, 10.0)
    assert (paper.kernel.bias_variance, paper.kernel.layers) == (0.0, 5)


def test_it_learns_from_a_draw_of_as_many_rows_as_are_asked_for():
    z, y = features(100, 4), torch.arange(100.0)
    drawn, again, other = (fitted(z, y, max_rows=20, seed=seed).state() for seed in (0, 0, 1))
    scores = drawn["scores"].long()
    assert len(scores.unique()) == 20
    assert torch.equal(drawn["features"], z[scores])
    assert torch.equal(drawn["scores"], again["scores"])
    assert not torch.equal(drawn["scores"], other["scores"])
    for most in (100, 500, None):
        assert torch.equal(fitted(z, y, max_rows=most).state()["scores"], y.double())


def test_good_rows_weigh_more_in_the_backward_loss():
    state = fitted(features(100, 4), torch.arange(100.0), gamma=0.1, max_rows=20).state()
    weight = (0.1 * state["scores"]).exp()
    torch.testing.assert_close(state["backward_weights"], weight / weight.sum())


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()


def propose(config: BDIConfig, problem, k: int, seed: int = 0):
    method = BDI(config)
    method.fit(problem, Context(seed))
    return method, method.propose(k)


def test_every_design_is_found_on_its_own(branin):
    _, together = propose(configured(steps=15, step_size=0.05), branin, 6)
    _, first = propose(configured(steps=15, step_size=0.05), branin, 1)
    assert np.abs(together.x - first.x).sum(axis=1).min() < 1e-4
    assert first.criterion.shape == (1,)


def test_the_losses_of_its_designs_fall_and_their_forward_predictions_order_them(branin):
    method, ends = propose(configured(steps=30, step_size=0.005), branin, 8)
    encoder = make_encoder(branin)
    start, end = (
        torch.from_numpy(encoder.encode(x)).double() for x in (branin.dataset.top(8).x, ends.x)
    )
    before, after = (sum(method.mapping.losses(z)) for z in (start, end))
    assert float(after.max()) < float(before.max())
    assert float(after.mean()) < float(before.mean())
    inside = ((ends.x > branin.space.low) & (ends.x < branin.space.high)).all(
        axis=1
    )  # the others were brought back
    assert inside.sum() >= 5
    np.testing.assert_allclose(
        ends.criterion[inside], method.mapping.predict(end)[inside], atol=1e-3
    )


def test_the_paper_weighs_good_rows_more_on_continuous_spaces_only(branin):
    letters = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=300).problem()
    continuous, _ = propose(configured(steps=1), branin, 2)
    categorical, _ = propose(configured(steps=1), letters, 2)
    chosen, _ = propose(configured(steps=1, gamma=2.0), letters, 2)
    for method, gamma in ((continuous, 1e-3), (categorical, 0.0), (chosen, 2.0)):
        state = method.mapping.state()
        torch.testing.assert_close(
            state["backward_weights"], (gamma * state["scores"]).softmax(dim=0)
        )


def test_seeds_differ_only_where_rows_are_drawn(branin):
    whole = configured(steps=3, step_size=0.1)
    drawn = configured(steps=3, step_size=0.1, max_rows=50)
    for config, same in ((whole, True), (drawn, False)):
        one, other = (propose(config, branin, 5, seed)[1].x for seed in (0, 1))
        assert np.array_equal(one, other) == same


def test_a_kernel_larger_than_the_memory_is_refused(monkeypatch):
    z, y = features(30, 4), torch.arange(30.0)
    monkeypatch.setattr(
        "agents.gradient.bdi.memory_gb", lambda device: 2 * 8 * 20**2 / 2**30
    )  # of 20 rows
    with pytest.raises(
        CannotFit, match=r"kernel of 30 rows takes .* GiB with its factor, .*max_rows to at most 20"
    ):
        fitted(z, y, max_rows=None)
    assert len(fitted(z, y, max_rows=20).state()["scores"]) == 20


@pytest.mark.parametrize(
    "settings", [{"ridge": 0.0}, {"weight_variance": -1.0}, {"max_rows": 0}, {"layers": 0}]
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        configured(**settings)
