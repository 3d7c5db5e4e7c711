"""ICT: neighbours, who learns what from whom, the weights' look ahead, and proxies that are tuned
on a copy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient import tuned
from agents.gradient.ict import ICT, ICTConfig, co_taught, importance, lesson, student_error
from agents.gradient.tuned import (
    DesignProxies,
    draw_neighbours,
    meta_gradient,
    own_outputs,
    stepped,
)
from helpers import SMALL_PROXIES as SMALL
from helpers import network, trained_proxies, visible_rows, with_leaves
from helpers import proxy_data as data
from mbo_gym.methods.base import Context
from mbo_gym.surrogates.mlp import EnsembleSurrogate

RATE = 0.05


@pytest.fixture(scope="module")
def trained() -> EnsembleSurrogate:
    return trained_proxies()


def configured(**settings) -> ICTConfig:
    base = {**SMALL, "validation_rows": None, "noise": 0.5, "tuning_rate": RATE}
    return with_leaves(ICTConfig(), **{**base, **settings})


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def layers_of(trained, k) -> list[torch.Tensor]:
    return DesignProxies(trained.model.network, k).layers


def students_of(teacher):
    return torch.tensor([m for m in range(3) if m != teacher])


def students(layers, teacher):
    """Return the layers of the students of all designs, (2 k, ...)."""
    n = len(layers[0]) // 3
    rows = [3 * i + m for i in range(n) for m in range(3) if m != teacher]
    return [layer[rows] for layer in layers]


def part_ways(layers):
    """Give each design proxies that differ from the others'."""
    generator = torch.Generator().manual_seed(9)
    noise = [torch.randn(layer.shape, generator=generator, dtype=layer.dtype) for layer in layers]
    return [layer + 0.05 * n for layer, n in zip(layers, noise, strict=True)]


def lesson_around(layers, z, teacher, **settings):
    """Draw neighbours and return the lesson of a teacher."""
    config = configured(**settings)
    near = draw_neighbours(z, config.tuning, seeded())
    return lesson(layers, near, teacher, students_of(teacher), config.kept)


def taught(trained, layers, z, **settings):
    """Return layers after one round of teaching."""
    return co_taught(layers, z, configured(**settings), visible_rows(trained), seeded())


@pytest.mark.parametrize("noise", ["own", "shared"])
def test_neighbours_get_a_number_for_each_feature_or_one_for_all(noise):
    z = data()[0][:50]
    config = configured(neighbours=40)
    near = draw_neighbours(z, config.tuning, seeded(), shared=noise == "shared")
    moved = near - z.unsqueeze(1)
    assert moved.shape == (50, 40, 3)
    assert float(moved.mean()) == pytest.approx(0, abs=0.05)
    assert float(moved.std()) == pytest.approx(0.5, rel=0.05)
    correlation = float(torch.corrcoef(moved.flatten(0, 1).T)[0, 1])
    assert correlation == pytest.approx(1.0 if noise == "shared" else 0.0, abs=0.06)


def test_a_student_learns_what_the_other_one_errs_least_on(trained):
    z, teacher = data()[0][:5], 1
    layers = part_ways(layers_of(trained, 5))
    x, y = lesson_around(layers, z, teacher, neighbours=6, kept=2)
    near = draw_neighbours(z, configured(neighbours=6).tuning, seeded())
    assert x.shape == (10, 2, 3)
    for i, design in enumerate(near):
        for row, other in ((0, 2), (1, 0)):  # the students are 0 and 2
            said = network(layers, 3 * i + teacher, design)
            chosen = (network(layers, 3 * i + other, design) - said).square().argsort()[:2]
            torch.testing.assert_close(x[2 * i + row], design[chosen])
            torch.testing.assert_close(y[2 * i + row], said[chosen])


def test_a_step_goes_down_the_gradient_of_each_proxy(trained):
    z = data()[0]
    x, y = z[:40].reshape(2, 20, 3), data()[1][:40].reshape(2, 20)
    weight = torch.linspace(0.5, 1.5, 20, dtype=torch.float64).expand(2, 20)
    own = students(layers_of(trained, 1), 0)
    after = stepped(own, partial(student_error, weight=weight, x=x, y=y), RATE)
    for m in range(2):
        leaves = [layer[m : m + 1].clone().requires_grad_() for layer in own]
        loss = (weight[m] * (network(leaves, 0, x[m]) - y[m]) ** 2).mean()
        for got, leaf, slope in zip(after, leaves, torch.autograd.grad(loss, leaves), strict=True):
            torch.testing.assert_close(got[m : m + 1], leaf - 0.05 * slope)


def error_after_a_step(trained, own, x, y, weight, member):
    """Return one student's mean squared error on all visible rows after its step."""
    after = stepped(own, partial(student_error, weight=weight, x=x, y=y), RATE)
    rows = visible_rows(trained)
    return float((network(after, member, rows.z) - rows.y).square().mean().detach())


def test_weights_follow_the_error_on_visible_rows_after_the_step(trained):
    layers = part_ways(layers_of(trained, 2))
    own = students(layers, 2)
    x, y = lesson_around(layers, data()[0][:2], 2)
    y = y + torch.linspace(-1, 1, y.shape[1], dtype=torch.float64)
    weight = importance(own, x, y, configured(weight_step=0.05), visible_rows(trained), seeded())
    assert weight.shape == y.shape
    for m in range(4):
        slopes = []
        for i in range(y.shape[1]):
            ends = []
            for change in (1e-4, -1e-4):
                moved = torch.ones_like(y)
                moved[m, i] += change
                ends.append(error_after_a_step(trained, own, x, y, moved, m))
            slopes.append((ends[0] - ends[1]) / 2e-4)
        slope = torch.tensor(slopes, dtype=torch.float64)
        expected = 1 - (0.05 * slope / slope.square().mean().sqrt()).clamp(-0.2, 0.2)
        torch.testing.assert_close(weight[m], expected, rtol=1e-4, atol=1e-5)
    for m in range(4):
        even, better = (
            error_after_a_step(trained, own, x, y, w, m) for w in (torch.ones_like(y), weight)
        )
        assert better < even


def test_a_weight_changes_by_a_fifth_at_most_and_not_at_all_without_a_step(trained):
    for step, bound in ((100.0, 0.2), (0.0, 0.0)):
        layers = layers_of(trained, 20)
        x, y = lesson_around(layers, data()[0][:20], 0)
        own, config = students(layers, 0), configured(weight_step=step)
        weight = importance(own, x, y, config, visible_rows(trained), seeded())
        change = (weight - 1).abs()
        assert float(change.max()) == pytest.approx(bound)


def test_a_round_is_three_lessons_one_after_the_other(trained):
    z = data()[0][:4]
    config, generator = configured(weight_step=0.0), seeded()
    layers = part_ways(layers_of(trained, 4))
    got = taught(trained, layers, z, weight_step=0.0)
    for teacher in range(3):
        near = draw_neighbours(z, config.tuning, generator)
        x, y = lesson(layers, near, teacher, students_of(teacher), config.kept)
        expected = [layer.clone() for layer in layers]
        for row, m in enumerate(3 * i + m for i in range(4) for m in range(3) if m != teacher):
            leaves = [layer[m : m + 1].clone().requires_grad_() for layer in layers]
            slopes = torch.autograd.grad(
                (network(leaves, 0, x[row]) - y[row]).square().mean(), leaves
            )
            for new, slope in zip(expected, slopes, strict=True):
                new[m] -= RATE * slope[0]
        layers = expected
    for a, b in zip(got, layers, strict=True):
        torch.testing.assert_close(a, b)


def test_proxies_come_to_agree_near_their_design(trained):
    layers, z = layers_of(trained, 20), data()[0][:20]
    rows, generator = visible_rows(trained), seeded()
    before = own_outputs(layers, z.unsqueeze(1)).std(dim=1).mean()
    for _ in range(40):
        layers = co_taught(layers, z, configured(), rows, generator)
    assert float(own_outputs(layers, z.unsqueeze(1)).std(dim=1).mean()) < 0.7 * float(before)


@pytest.mark.parametrize("designs_at_once", [100, 2])
def test_the_gradient_is_that_of_the_mean_of_a_designs_own_proxies_and_the_trained_ones_stay(
    trained, designs_at_once, monkeypatch
):
    numbers = sum(layer.numel() for layer in layers_of(trained, 1))
    monkeypatch.setattr(tuned, "_ON_CPU", designs_at_once * numbers)
    proxies, z = DesignProxies(trained.model.network, 6), data()[0][:6]
    kept = {key: value.clone() for key, value in trained.state().items()}
    blocks = list(proxies.blocks())
    assert [len(block) for block in blocks] == ([6] if designs_at_once == 100 else [2, 2, 2])
    for block in blocks:
        proxies.put(block, taught(trained, proxies.of(block), z[block]))
    gradient = proxies.gradient(z)
    for i in range(6):
        leaf = z[i : i + 1].clone().requires_grad_()
        mean = sum(network(proxies.layers, 3 * i + m, leaf) for m in range(3)) / 3
        torch.testing.assert_close(gradient[i], torch.autograd.grad(mean.sum(), leaf)[0][0])
    for layer, first in zip(proxies.layers, trained.model.network.layers(), strict=True):
        assert not torch.equal(layer[:3], first)  # tuned
        assert not torch.equal(layer[:3], layer[3:6])  # each design's on its own
        assert not layer.requires_grad
    assert all(torch.equal(kept[key], new) for key, new in trained.state().items())


def test_a_design_climbs_the_same_way_alone_and_beside_others(trained, monkeypatch):
    def no_noise(z, config, generator, *, shared=False):
        return z.unsqueeze(1) + torch.linspace(-1, 1, 8, dtype=torch.float64).unsqueeze(1)

    monkeypatch.setattr("agents.gradient.ict.draw_neighbours", no_noise)
    z = data()[0][:5]
    ends = []
    for some in (z, z[:1]):
        proxies = DesignProxies(trained.model.network, len(some))
        for _ in range(3):
            for block in proxies.blocks():
                proxies.put(block, taught(trained, proxies.of(block), some[block]))
            gradient = proxies.gradient(some)
        ends.append(gradient[0])
    torch.testing.assert_close(ends[0], ends[1])


def test_a_step_is_judged_by_all_visible_rows_or_by_as_many_as_are_asked_for(trained):
    rows, seen = visible_rows(trained), []

    def draw(n):
        drawn = rows.draw(n, seeded())
        seen.append(len(drawn.z))
        return drawn

    layers = layers_of(trained, 1)
    x, y = torch.zeros(3, 7, 3, dtype=torch.float64), torch.zeros(3, 7, dtype=torch.float64)
    for n, expected in ((None, 200), (30, 30), (999, 200)):
        loss = partial(student_error, x=x, y=y)
        meta_gradient(layers, loss, torch.ones_like(y), RATE, partial(draw, n))
        assert seen == [expected]
        seen.clear()


def test_proposals_are_the_same_twice_and_the_settings_of_the_search_matter():
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    base = {**SMALL, "steps": 8, "step_size": 0.1, "tuning_rate": 0.05, "validation_rows": 50}
    changes = {
        "tuning_rate": 0.0,
        "weight_step": 0.0,
        "neighbour_noise": "shared",
        "kept": 1,
        "noise": 0.5,
    }
    ends = {}
    for name, changed in {
        "base": {},
        **{name: {name: value} for name, value in changes.items()},
    }.items():
        method = ICT(with_leaves(ICTConfig(), **{**base, **changed}))
        method.fit(problem, Context(0))
        ends[name] = method.propose(6).x
        np.testing.assert_array_equal(method.propose(6).x, ends[name])
    for name in changes:
        assert np.abs(ends[name] - ends["base"]).max() > 1e-5, name


def test_the_published_settings():
    paper, released = ICT.PRESETS["paper"], ICT.PRESETS["released"]
    assert (paper.surrogate.hidden, paper.surrogate.layers) == (2048, 2)
    tuning = paper.tuning
    assert (tuning.neighbours, tuning.noise, tuning.tuning_rate) == (128, 0.1, 1e-3)
    assert 8 <= paper.kept <= 64
    assert (paper.neighbour_noise, released.neighbour_noise) == ("own", "shared")
    assert paper.ascent.optimiser == "adam"


def test_settings_that_make_no_sense_are_refused():
    for settings, message in (
        ({"kept": 9}, r"kept is at most neighbours \(8\), got 9"),
        ({"kept": 0}, "kept must be at least 1"),
        ({"validation_rows": 0}, "validation_rows must be at least 1"),
        ({"noise": -0.1}, "noise must be at least 0"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"hidden": 0}, "hidden must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            with_leaves(ICTConfig(), **settings)
