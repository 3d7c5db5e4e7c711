"""REINFORCE: its distributions against torch's, its first step by hand, and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from agents.search import reinforce
from agents.search.reinforce import (
    GaussianDesigns,
    IndependentLetters,
    Reinforce,
    ReinforceConfig,
    first_distribution,
)
from helpers import Notes
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import best_rows
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.registry import SURROGATES


class Linear(Surrogate):
    """z . w; nothing to learn. Keeps what it is asked."""

    kind, config = "linear", None

    def __init__(self, w):
        self.w, self.asked = torch.tensor(w), []

    def fit(self, z, y, *, seed, progress=None):
        return FitReport(1.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        self.asked.append(z.clone())
        return z @ self.w

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=500).problem()


def fitted(problem, w, progress=None, seed=0, **settings):
    with SURROGATES.temporarily("linear", lambda: Linear(w)):
        method = Reinforce(ReinforceConfig(Choice("linear"), **settings))
        method.fit(problem, Context(seed, progress=progress or NullProgress()))
    return method


LETTERS = [
    float(a % 3 == 2) + 0.1 * (a // 3) * float(a % 3 == 1) for a in range(24)
]  # the last letter, mostly


def test_the_first_gaussian_lies_around_the_best_designs(branin):
    method = fitted(branin, [1.0, 2.0], n_best=50)
    distribution = first_distribution(method.fitted, method.config)
    best = make_encoder(branin).encode(branin.dataset.top(50).x)
    mean, log_std = distribution.parameters
    np.testing.assert_allclose(mean.detach(), best.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(log_std.detach().exp(), [0.1, 0.1], rtol=1e-6)
    drawn = distribution.draw(20_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), best.mean(axis=0), atol=0.004)
    np.testing.assert_allclose(drawn.std(axis=0), 0.1, atol=0.003)


def test_the_first_letters_have_the_best_designs_frequencies_and_one_more_of_each(tfbind8):
    method = fitted(tfbind8, LETTERS, n_best=30)
    distribution = first_distribution(method.fitted, method.config)
    best = tfbind8.dataset.top(30).x
    expected = (
        np.array([[(best[:, site] == a).sum() + 1 for a in range(4)] for site in range(8)]) / 34
    )
    np.testing.assert_allclose(
        distribution.parameters[0].detach().softmax(dim=1), expected, rtol=1e-5
    )
    drawn = distribution.draw(20_000, torch.Generator().manual_seed(0)).numpy()
    assert drawn.shape == (20_000, 8)
    found = np.stack([(drawn == a).mean(axis=0) for a in range(4)], axis=1)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_log_probabilities_are_those_of_torch(tfbind8):
    generator = torch.Generator().manual_seed(1)
    best = torch.randn(10, 3, generator=generator)
    gaussian = GaussianDesigns(best, 0.3, make_encoder(tfbind8))
    drawn = gaussian.draw(7, generator)
    expected = torch.distributions.Normal(best.mean(dim=0), 0.3).log_prob(drawn).sum(dim=1)
    assert torch.allclose(gaussian.log_probability(drawn), expected, rtol=1e-4)
    letters = IndependentLetters(
        torch.randint(4, (10, 8), generator=generator), 4, make_encoder(tfbind8)
    )
    drawn = letters.draw(7, generator)
    expected = (
        torch.distributions.Categorical(logits=letters.parameters[0]).log_prob(drawn).sum(dim=1)
    )
    assert torch.allclose(letters.log_probability(drawn), expected, rtol=1e-4)


def first_batch(method, distribution):
    """Return the draws, predictions and standardised predictions of the first update."""
    generator = torch.Generator().manual_seed(0)
    distribution.draw(1, generator)  # the search draws one design for its shape
    drawn = distribution.draw(method.config.batch_size, generator)
    value = (distribution.features(drawn) @ method.fitted.surrogate.w).numpy().astype(np.float64)
    return drawn.numpy(), (value - value.mean()) / value.std()


def after_one_step(method, monkeypatch):
    distribution = first_distribution(method.fitted, method.config)
    monkeypatch.setattr(reinforce, "first_distribution", lambda *_: distribution)
    method.propose(3)
    return [p.detach().numpy() for p in distribution.parameters]


def test_the_first_gaussian_step_by_hand(branin, monkeypatch):
    method = fitted(branin, [1.0, -2.0], steps=1, batch_size=64, learning_rate=0.01)
    distribution = first_distribution(method.fitted, method.config)
    drawn, advantage = first_batch(method, distribution)
    mean = distribution.parameters[0].detach().numpy()
    u = (drawn - mean) / 0.1
    toward = (advantage[:, None] * u).sum(axis=0), (advantage[:, None] * (u**2 - 1)).sum(axis=0)
    moved = after_one_step(method, monkeypatch)
    # Adam's first step is its learning rate in the direction of each component.
    np.testing.assert_allclose(moved[0] - mean, 0.01 * np.sign(toward[0]), rtol=1e-3)
    np.testing.assert_allclose(moved[1] - np.log(0.1), 0.01 * np.sign(toward[1]), rtol=1e-3)


def test_the_first_step_of_letters_by_hand(tfbind8, monkeypatch):
    method = fitted(tfbind8, LETTERS, steps=1, batch_size=64, learning_rate=0.01)
    distribution = first_distribution(method.fitted, method.config)
    drawn, advantage = first_batch(method, distribution)
    logits = distribution.parameters[0].detach()
    p = logits.softmax(dim=1).numpy()
    toward = sum(a * (np.eye(4)[row] - p) for a, row in zip(advantage, drawn, strict=True))
    (moved,) = after_one_step(method, monkeypatch)
    np.testing.assert_allclose(moved - logits.numpy(), 0.01 * np.sign(toward), rtol=1e-3)


@pytest.mark.parametrize("k", [1, 4, 100])
def test_best_rows_are_the_distinct_ones_with_the_highest_values(k):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (40, 3))
    value = (rows @ [4, 2, 1]) * 0.5 - 3 * (rows[:, 0] == rows[:, 1])
    seen, expected = set(), []
    for i in np.argsort(-value, kind="stable"):
        if tuple(rows[i]) not in seen:
            seen.add(tuple(rows[i]))
            expected.append(i)
    got = best_rows(torch.from_numpy(rows), torch.from_numpy(value), k)
    assert got.tolist() == expected[:k]


def test_it_proposes_the_best_distinct_designs_of_all_that_it_drew(tfbind8):
    method = fitted(tfbind8, LETTERS, steps=30, batch_size=40, learning_rate=0.1)
    proposals = method.propose(25)
    x = proposals.x
    z = torch.cat(method.fitted.surrogate.asked[:30])
    assert len(z) == 30 * 40
    distinct = torch.unique(z, dim=0)
    best = (distinct @ method.fitted.surrogate.w).sort(descending=True).values[:25].numpy()
    np.testing.assert_allclose(proposals.criterion, best, rtol=1e-5)
    assert len(np.unique(x, axis=0)) == 25
    prediction = make_encoder(tfbind8).encode(x) @ np.array(LETTERS, dtype=np.float32)
    np.testing.assert_allclose(prediction, proposals.criterion, rtol=1e-5)


def test_the_released_draws_repeat_themselves_once_the_distribution_has_collapsed(tfbind8):
    notes = Notes()
    method = fitted(
        tfbind8, LETTERS, notes, steps=150, batch_size=64, learning_rate=0.1, proposals="drawn"
    )
    proposals = method.propose(64)
    assert len(np.unique(proposals.x, axis=0)) < 20
    assert (np.diff(proposals.criterion) <= 0).all()
    distinct = notes.of("reinforce", "distinct")
    assert len(distinct) == 150
    assert distinct[0] > 50
    assert distinct[-1] < 20
    visited = fitted(tfbind8, LETTERS, steps=150, batch_size=64, learning_rate=0.1).propose(64)
    assert len(np.unique(visited.x, axis=0)) == 64


def test_the_gaussian_climbs_and_both_proposals_lie_ahead_of_the_data(branin):
    ahead = float(
        (
            make_encoder(branin).encode(branin.dataset.x) @ np.array([1.0, -1.0], dtype=np.float32)
        ).max()
    )
    drawn = fitted(
        branin, [1.0, -1.0], steps=200, batch_size=64, learning_rate=0.05, proposals="drawn"
    )
    visited = fitted(branin, [1.0, -1.0], steps=200, batch_size=64, learning_rate=0.05)
    last, best = (method.propose(20).criterion for method in (drawn, visited))
    assert np.median(last) > ahead
    assert (best > np.median(last)).all()


@pytest.mark.parametrize(
    ("task", "w", "n"), [("branin", [1.0, 2.0], 2048), ("tfbind8", LETTERS, 256)]
)
def test_the_published_batches_differ_by_the_kind_of_space(request, task, w, n):
    method = fitted(request.getfixturevalue(task), w, steps=2)
    method.propose(3)
    assert [len(z) for z in method.fitted.surrogate.asked] == [n, n]


def test_it_shows_designs_on_the_way_and_its_proposals_at_the_end(tfbind8):
    notes = Notes()
    method = fitted(tfbind8, LETTERS, notes, steps=40, batch_size=32)
    proposals = method.propose(8)
    assert [step for _, step, _, _ in notes.shown] == list(range(0, 41, 2))
    assert {shown.shape for _, _, shown, _ in notes.shown} == {(8, 8)}
    np.testing.assert_array_equal(notes.shown[-1][2], proposals.x)
    np.testing.assert_allclose(
        notes.shown[-1][3], tfbind8.dataset.score_scale.restore(proposals.criterion), rtol=1e-6
    )


@pytest.mark.parametrize("proposals", ["visited", "drawn"])
def test_the_same_seed_gives_the_same_designs(branin, proposals):
    torch_state = torch.get_rng_state()
    runs = [
        fitted(branin, [1.0, 2.0], seed=seed, steps=5, batch_size=16, proposals=proposals).propose(
            9
        )
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(runs[0].x, runs[1].x)
    assert not np.array_equal(runs[0].x, runs[2].x)
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize(
    "wrong", [{"sigma0": 0.0}, {"steps": -1}, {"batch_size": 1}, {"n_best": 0}, {"steps": 0}]
)
def test_settings_that_make_no_search_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReinforceConfig(**wrong)
    assert ReinforceConfig(steps=0, proposals="drawn").steps == 0
