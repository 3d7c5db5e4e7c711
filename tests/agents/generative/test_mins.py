"""MINs: relaxations and the gradient penalty in closed form, the two updates, and that scores steer
the designs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import mbo_gym
from agents.generative import mins
from agents.generative.mins import (
    AdversarialTraining,
    MINs,
    MINsConfig,
    NetworkConfig,
    gradient_penalty,
    relaxed,
)
from helpers import Notes
from mbo_gym.methods.base import Context
from mbo_gym.methods.score_weights import score_weights
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import with_settings

SHORT = MINsConfig(
    NetworkConfig(latent=3, hidden=16, layers=2),
    AdversarialTraining(train_steps=4, critic_steps=2, batch_size=16),
)


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=300).problem()


def fitted(problem, config=SHORT, progress=None, seed=0):
    method = MINs(config)
    method.fit(problem, Context(seed, progress=progress or NullProgress()))
    return method


def problem_of(space, score):
    x = space.sample(600, np.random.default_rng(0))
    return OfflineProblem("made for this test", space, OfflineDataset(x, score(x)), (0.0, 1.0))


def test_relaxed_letters_lie_on_the_simplex_and_the_largest_has_the_probability_of_its_letter():
    p = torch.tensor([0.6, 0.3, 0.1])
    for temperature in (5.0, 1.0, 0.01):
        points = relaxed(p.log().expand(20_000, 3), temperature, torch.Generator().manual_seed(0))
        torch.testing.assert_close(points.sum(dim=1), torch.ones(20_000))
        shares = torch.bincount(points.argmax(dim=1), minlength=3) / 20_000
        np.testing.assert_allclose(shares, p, atol=0.015)  # 4 standard errors


def test_relaxed_letters_come_to_the_corners_as_they_cool():
    largest = [
        float(
            relaxed(torch.zeros(2000, 4), temperature, torch.Generator().manual_seed(0))
            .amax(dim=1)
            .mean()
        )
        for temperature in (100.0, 5.0, 1.0, 0.01)
    ]
    assert largest == sorted(largest)
    assert largest[0] == pytest.approx(0.25, abs=0.01)
    assert largest[-1] == pytest.approx(1, abs=0.01)


def test_one_relaxation_by_hand():
    draws = torch.empty(2).exponential_(generator=torch.Generator().manual_seed(3)).numpy()
    raw = np.exp((np.log([0.2, 0.8]) - np.log(draws)) / 2.5)
    point = relaxed(torch.tensor([0.2, 0.8]).log(), 2.5, torch.Generator().manual_seed(3))
    np.testing.assert_allclose(point, raw / raw.sum(), rtol=1e-5)


def test_the_penalty_of_a_linear_critic_is_its_slopes_distance_from_one():
    class Linear(nn.Module):
        def forward(self, x, y):
            return x @ torch.tensor([3.0, 4.0]) + 7 * y

    assert float(gradient_penalty(Linear(), torch.randn(5, 2), torch.randn(5))) == pytest.approx(16)


def test_the_penalty_teaches_the_critic():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)

    def critic(x, y):
        return x @ weight

    gradient_penalty(critic, torch.randn(5, 2), torch.randn(5)).backward()
    torch.testing.assert_close(weight.grad, 2 * (5 - 1) * torch.tensor([0.6, 0.8]))


def test_visible_letters_keep_their_share_when_they_are_relaxed(tfbind8):
    method = fitted(tfbind8, with_settings(SHORT, {"relaxation.keep": 0.8}))
    z = torch.from_numpy(method.encoder.encode(tfbind8.dataset.x))
    seen = method._real(z.repeat(10, 1), 1.0, torch.Generator().manual_seed(0)).view(-1, 8, 4)
    same = seen.argmax(dim=2) == torch.tensor(tfbind8.dataset.x).repeat(10, 1)
    assert float(same.double().mean()) == pytest.approx(
        0.8 + 0.2 / 4, abs=0.012
    )  # 24,000 sites: 5 standard errors


def test_the_temperature_falls_along_a_line(tfbind8):
    method = MINs(with_settings(SHORT, {"training.train_steps": 5}))
    assert [method._temperature(step) for step in range(5)] == [5, 4, 3, 2, 1]
    assert MINs(with_settings(SHORT, {"training.train_steps": 1}))._temperature(0) == 5


def test_the_critic_is_updated_so_many_times_before_each_update_of_the_generator(
    tfbind8, monkeypatch
):
    order, update = [], mins.Trainer.update

    def watch(self, loss, **shown):
        order.append(self.parameters[-1].shape[0])  # outputs of the network
        update(self, loss, **shown)

    monkeypatch.setattr(mins.Trainer, "update", watch)
    fitted(tfbind8)
    assert order == [1, 1, 32] * 4


def test_rows_are_drawn_by_the_weights_of_their_scores(tfbind8, monkeypatch):
    asked, terms = [], MINs._critic_terms

    def watch(self, real, fake, y, generator):
        asked.append(y)
        return terms(self, real, fake, y, generator)

    monkeypatch.setattr(MINs, "_critic_terms", watch)
    scale = tfbind8.dataset.score_scale
    y = torch.from_numpy(scale.standardise(tfbind8.dataset.y)).double()
    means = {}
    for temperature in (0.1, 100.0):
        asked.clear()
        fitted(
            tfbind8,
            with_settings(
                SHORT,
                {
                    "training": {
                        "train_steps": 20,
                        "batch_size": 64,
                        "score_temperature": temperature,
                    }
                },
            ),
        )
        drawn = torch.cat(asked).double()
        weight = score_weights(y, temperature=temperature).double()
        weight /= weight.sum()
        mean, std = (
            float((weight * y).sum()),
            float((weight * y.square()).sum() - (weight * y).sum() ** 2) ** 0.5,
        )
        assert float(drawn.mean()) == pytest.approx(mean, abs=5 * std / len(drawn) ** 0.5)
        means[temperature] = mean
    assert means[0.1] > means[100.0] + 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"training.penalty": 0.0},
        {"training.critic_steps": 3},
        {"relaxation.keep": 0.5},
        {"relaxation.start_temperature": 1.0},
        {"relaxation.end_temperature": 0.5},
        {"training.score_temperature": None},
        {"training.learning_rate": 1e-3},
        {"network.layers": 3},
    ],
)
def test_every_setting_changes_what_is_trained(tfbind8, change):
    plain, changed = (fitted(tfbind8, config) for config in (SHORT, with_settings(SHORT, change)))
    assert not torch.equal(plain.generator.body[-1].weight, changed.generator.body[-1].weight)


FAST = MINsConfig(
    NetworkConfig(latent=4, hidden=32, layers=2),
    AdversarialTraining(train_steps=100, critic_steps=5, batch_size=64, learning_rate=2e-3),
)


def test_continuous_designs_follow_the_score_that_is_asked_for():
    problem = problem_of(ContinuousSpace([-1, -1], [1, 1]), lambda x: x[:, 0])
    method = fitted(problem, with_settings(FAST, {"training.score_temperature": 10.0}))
    means = []
    for y in (-1.5, 0.0, 1.5):  # standard deviations of the scores: x0 = -.87, 0, .87
        z = method._fake(torch.full((500,), y), 1.0, torch.Generator().manual_seed(1))
        means.append(float(z[:, 0].mean()))
    assert means[0] < -0.75 < means[1] < 0.75 < means[2]
    x = method.propose(300).x
    assert problem.space.contains(x).all()
    assert x[:, 0].mean() > 0.6  # the data's mean is 0, its best 1
    assert x[:, 1].std() > 0.2  # .58 in the data, and the score says nothing about it


def test_letters_follow_the_score_that_is_asked_for():
    problem = problem_of(CategoricalSpace(5, 3), lambda x: (x == 2).mean(axis=1))
    x = fitted(problem, FAST).propose(300).x
    assert (x == 2).mean() > 0.6  # a third in the data
    assert len(np.unique(x, axis=0)) > 3


def test_proposals_come_as_drawn_and_the_search_is_shown(tfbind8):
    notes = Notes()
    method = fitted(tfbind8, progress=notes)
    proposals = method.propose(400)
    assert proposals.criterion.tolist() == [0.0] * 400
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [
        ("generator", step) for step in range(5)
    ]
    np.testing.assert_array_equal(notes.shown[-1][2], proposals.x[:256])
    np.testing.assert_allclose(notes.shown[-1][3], tfbind8.dataset.y.max(), rtol=1e-5)
    terms = [values for stage, _, values in notes.seen if stage == "mins"]
    assert len(terms) == 4
    assert all(np.isfinite([values["distance"], values["penalty"]]).all() for values in terms)


def test_what_was_learned_is_saved(tfbind8, tmp_path):
    fitted(tfbind8).save(tmp_path)
    files = {"checksums.json", "config.json", "generator.safetensors", "critic.safetensors"} | {
        "method.json",
        "problem.json",
        "problem.npz",
    }
    assert {path.name for path in tmp_path.iterdir()} == files


def test_the_paper_preset_has_the_published_settings():
    paper = MINs.PRESETS["paper"]
    network, training, relaxation = paper.network, paper.training, paper.relaxation
    assert (network.latent, network.hidden, network.layers) == (32, 1024, 3)
    assert (training.learning_rate, training.penalty, training.critic_steps) == (2e-4, 10, 10)
    assert (training.score_temperature, training.batch_size) == (0.1, 128)
    assert relaxation.keep == 0.99
    assert (relaxation.start_temperature, relaxation.end_temperature) == (5, 1)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"training.critic_steps": 0}, "critic_steps"),
        ({"training.penalty": -1.0}, "penalty"),
        ({"training.score_temperature": 0.0}, "score_temperature must be above 0"),
        ({"relaxation.end_temperature": float("nan")}, "end_temperature must be a finite float"),
        ({"relaxation.keep": 1.0}, "strictly between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        with_settings(MINsConfig(), setting)
