"""Tri-mentoring: the vote on pairs, who dissents, the labels' look ahead, and the step that a
dissenter takes."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.tri_mentoring import (
    TriMentoring,
    TriMentoringConfig,
    dissenters_loss,
    mentored,
    soft_labels,
    votes,
)
from agents.gradient.tuned import DesignProxies, draw_neighbours, stepped
from helpers import SMALL_PROXIES as SMALL
from helpers import network, trained_proxies, visible_rows, with_leaves
from helpers import proxy_data as data
from mbo_gym.methods.base import Context
from mbo_gym.surrogates.mlp import EnsembleSurrogate

RATE = 0.05


@pytest.fixture(scope="module")
def trained() -> EnsembleSurrogate:
    return trained_proxies()


def configured(**settings) -> TriMentoringConfig:
    base = {**SMALL, "validation_rows": None, "noise": 0.5, "tuning_rate": RATE}
    return with_leaves(TriMentoringConfig(), **{**base, **settings})


def layers_of(trained, k) -> list[torch.Tensor]:
    return DesignProxies(trained.model.network, k).layers


def near(z, **settings) -> torch.Tensor:
    """Draw neighbours of features."""
    return draw_neighbours(z, configured(**settings).tuning, torch.Generator().manual_seed(1))


def labels(trained, layers, around, vote, dissents, **settings) -> torch.Tensor:
    config, generator = configured(**settings), torch.Generator().manual_seed(1)
    return soft_labels(layers, around, vote, dissents, config, visible_rows(trained), generator)


def taught(trained, layers, z, **settings) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return mentored(layers, z, configured(**settings), visible_rows(trained), generator)


def pairs(design):
    """List the pairs of a design's neighbours (n, d)."""
    return [(design[i], design[j]) for i, j in combinations(range(len(design)), 2)]


def test_the_majority_decides_each_pair_and_one_dissents_at_most(trained):
    layers = layers_of(trained, 10)
    around = near(data()[0][:10], neighbours=4)
    vote, dissents = votes(layers, around)
    assert (vote.shape, dissents.shape) == ((10, 1, 6), (10, 3, 6))
    for i, design in enumerate(around):
        for p, (a, b) in enumerate(pairs(design)):
            ballots = [
                bool(network(layers, 3 * i + m, a[None]) > network(layers, 3 * i + m, b[None]))
                for m in range(3)
            ]
            assert bool(vote[i, 0, p]) == (sum(ballots) >= 2)
            assert dissents[i, :, p].tolist() == [
                ballot != bool(vote[i, 0, p]) for ballot in ballots
            ]
    assert 0 < int(dissents.sum(dim=1).max()) <= 1


def test_a_dissenter_steps_down_the_cross_entropy_of_the_pairs_of_its_design(trained):
    z, before = data()[0][:8], layers_of(trained, 8)
    around = near(z, neighbours=4)
    vote, dissents = votes(before, around)
    after = taught(trained, before, z, neighbours=4, label_step=0.0)
    for i, design in enumerate(around):
        for m in range(3):
            leaves = [layer[3 * i + m : 3 * i + m + 1].clone().requires_grad_() for layer in before]
            expected = leaves
            if dissents[i, m].any():
                losses = []
                for p, (a, b) in enumerate(pairs(design)):
                    if dissents[i, m, p]:
                        chance = (
                            network(leaves, 0, a[None]) - network(leaves, 0, b[None])
                        ).sigmoid()
                        losses.append(-(chance if vote[i, 0, p] else 1 - chance).log())
                slopes = torch.autograd.grad(torch.cat(losses).mean(), leaves)
                expected = [leaf - RATE * slope for leaf, slope in zip(leaves, slopes, strict=True)]
            for got, new in zip(after, expected, strict=True):
                torch.testing.assert_close(got[3 * i + m : 3 * i + m + 1], new)
    assert dissents.any()


def slopes_by_differences(trained, layers, around, vote, dissents):
    """Return how each dissenter's error on visible rows after its step changes with its labels, (k,
    3, P)."""
    rows = visible_rows(trained)
    slopes = torch.zeros(dissents.shape, dtype=torch.float64)
    for i, m, p in dissents.nonzero().tolist():
        ends = []
        for change in (1e-3, -1e-3):
            label = vote.double().repeat(1, 3, 1)
            label[i, m, p] += change
            after = stepped(
                layers,
                lambda at, label=label: dissenters_loss(at, around, label, dissents),
                RATE,
            )
            outputs = network(after, 3 * i + m, rows.z)
            ends.append(float((outputs - rows.y).square().mean().detach()))
        slopes[i, m, p] = (ends[0] - ends[1]) / 2e-3
    return slopes


def test_labels_follow_the_error_on_visible_rows_after_the_step(trained):
    layers = layers_of(trained, 8)
    around = near(data()[0][:8], neighbours=4)
    vote, dissents = votes(layers, around)
    slopes = slopes_by_differences(trained, layers, around, vote, dissents)
    for kind, step in (("raw", 200.0), ("unit", 0.1)):
        expected = vote.double().repeat(1, 3, 1)
        for i, m in dissents.any(dim=2).nonzero().tolist():
            size = 1.0 if kind == "raw" else slopes[i, m][dissents[i, m]].square().mean().sqrt()
            expected[i, m] = (expected[i, m] - step * slopes[i, m] / size).clamp(0, 1)
        settings = {"neighbours": 4, "label_gradient": kind, "label_step": step}
        label = labels(trained, layers, around, vote, dissents, **settings)
        torch.testing.assert_close(label, expected.float(), rtol=1e-3, atol=1e-4)
        moved = label != vote.float()
        assert moved.any()
        assert not moved[~dissents].any()
    plain = labels(trained, layers, around, vote, dissents, neighbours=4, label_step=0.0)
    assert torch.equal(plain, vote.float().expand(-1, 3, -1))


def test_the_raw_step_of_the_published_size_leaves_the_labels_where_they_were(trained):
    layers = layers_of(trained, 8)
    around = near(data()[0][:8])
    vote, dissents = votes(layers, around)
    assert dissents.any()
    settings = {"label_gradient": "raw", "tuning_rate": 1e-3}
    label = labels(trained, layers, around, vote, dissents, **settings)
    assert (label - vote.float()).abs().max() < 1e-4


def test_an_undecided_proxy_pays_log_two(trained):
    layers = layers_of(trained, 5)
    around = data()[0][:5].unsqueeze(1).expand(-1, 2, -1)  # both neighbours are the same
    label = torch.ones(5, 3, 1, dtype=torch.float64)
    for dissents, members in ((torch.ones(5, 3, 1).bool(), 15), (torch.zeros(5, 3, 1).bool(), 0)):
        loss = dissenters_loss(layers, around, label, dissents)
        assert float(loss) == pytest.approx(members * math.log(2))


def test_proxies_that_agree_stay_as_they_are(trained):
    before = [layer[:1].expand_as(layer).clone() for layer in layers_of(trained, 8)]
    after = taught(trained, before, data()[0][:8])
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_dissent_wanes(trained):
    layers, z = layers_of(trained, 20), data()[0][:20]
    around = near(z)
    before = votes(layers, around)[1].sum()
    rows, generator = visible_rows(trained), torch.Generator().manual_seed(1)
    for _ in range(40):
        layers = mentored(layers, z, configured(), rows, generator)
    assert int(votes(layers, around)[1].sum()) < 0.7 * int(before)


def test_proposals_are_the_same_twice_and_the_settings_of_the_search_matter():
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    base = {
        **SMALL,
        "steps": 8,
        "step_size": 0.1,
        "tuning_rate": 0.1,
        "validation_rows": 50,
        "noise": 1.0,
    }
    changes = {
        "tuning_rate": 0.0,
        "label_step": 0.0,
        "label_gradient": "raw",
        "neighbours": 3,
        "noise": 0.3,
    }
    ends = {}
    for name, changed in {
        "base": {},
        **{name: {name: value} for name, value in changes.items()},
    }.items():
        method = TriMentoring(with_leaves(TriMentoringConfig(), **{**base, **changed}))
        method.fit(problem, Context(0))
        before = {key: value.clone() for key, value in method.proxies.state().items()}
        ends[name] = method.propose(6).x
        assert all(torch.equal(value, before[key]) for key, value in method.proxies.state().items())
        np.testing.assert_array_equal(method.propose(6).x, ends[name])
    for name in changes:
        assert np.abs(ends[name] - ends["base"]).max() > 1e-5, name


def test_the_published_settings():
    paper = TriMentoring.PRESETS["paper"]
    assert (paper.surrogate.hidden, paper.surrogate.layers) == (2048, 2)
    tuning = paper.tuning
    assert (tuning.neighbours, tuning.noise, tuning.tuning_rate) == (10, 0.1, 1e-3)
    assert (paper.label_step, paper.label_gradient) == (0.1, "raw")
    assert paper.ascent.optimiser == "adam"


def test_settings_that_make_no_sense_are_refused():
    for settings, message in (
        ({"neighbours": 1}, "neighbours must be at least 2"),
        ({"label_step": -1.0}, "label_step must be at least 0"),
        ({"tuning_rate": -1.0}, "tuning_rate must be at least 0"),
        ({"train_steps": 0}, "train_steps must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            with_leaves(TriMentoringConfig(), **settings)
