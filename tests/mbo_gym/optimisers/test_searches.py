"""Searches with a budget: what they ask for, what they find, and what they count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbo_gym.optimisers.searches import (
    Adam,
    adam_on_differences,
    adam_on_gradient,
    cross_entropy,
    follow,
    smoothed_gradient,
)

TOP = np.array([0.8, -0.3, 0.5, 0.1])
UNIT_BOX = (np.full(4, -1.0), np.ones(4))


def hill(x: np.ndarray) -> np.ndarray:
    return -((x - TOP) ** 2).sum(axis=-1)


class Counted:
    """A function that remembers what it was asked."""

    def __init__(self, function=hill):
        self.function, self.asked = function, []

    def __call__(self, x):
        self.asked.append(x)
        return self.function(x)

    @property
    def count(self):
        return sum(map(len, self.asked))


def random(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("budget", [1, 7, 20, 50])
def test_a_search_asks_for_its_budget_and_no_more(budget):
    score = Counted()
    found = follow(cross_entropy(np.zeros((3, 4)), random()), score, budget, keep=5)
    assert score.count == 3 * budget
    assert found.curve.shape == (3, budget)
    assert found.designs.shape == (3, min(5, budget), 4)
    with pytest.raises(ValueError, match="at least 1 evaluation, got 0"):
        follow(cross_entropy(np.zeros((3, 4)), random()), score, 0)


def test_what_is_found_are_the_best_designs_asked_for_and_the_curve_is_the_best_so_far():
    score = Counted()
    seen = []
    found = follow(
        cross_entropy(np.zeros((2, 4)), random()),
        score,
        50,
        keep=6,
        watch=lambda used, best, value: seen.append((used, best, value)),
    )
    asked = np.concatenate([part.reshape(2, -1, 4) for part in score.asked], axis=1)
    scores = hill(asked)
    np.testing.assert_array_equal(found.scores, -np.sort(-scores, axis=1)[:, :6])
    np.testing.assert_allclose(hill(found.designs), found.scores, rtol=1e-12)
    np.testing.assert_array_equal(found.curve, np.maximum.accumulate(scores, axis=1))
    assert [used for used, _, _ in seen] == [20, 40, 50]
    np.testing.assert_array_equal(seen[-1][1], found.designs[:, 0])


def test_the_cross_entropy_method_climbs_a_hill_and_stays_in_its_box():
    score = Counted()
    search = cross_entropy(np.zeros((2, 4)), random(), least_std=0.01, box=UNIT_BOX)
    found = follow(search, score, 600)
    assert (found.scores > -0.01).all()
    assert max(np.abs(part).max() for part in score.asked) <= 1.0


def test_no_standard_deviation_falls_below_the_least():
    search = cross_entropy(np.zeros((1, 4)), random(), population=400, least_std=0.2)
    designs = next(search)
    for _ in range(15):
        designs = search.send(hill(designs))
    # standard error of 400 draws: 0.2 / sqrt(800)
    np.testing.assert_allclose(designs[0].std(axis=0), 0.2, rtol=0.15)


def test_designs_without_a_score_are_never_elite():
    def holed(x):
        return np.where(x[:, 0] > 0, np.nan, hill(x))

    found = follow(cross_entropy(np.zeros((2, 4)), random(), least_std=0.0), holed, 300, keep=3)
    assert np.isfinite(found.scores).all()
    assert (found.designs[:, :, 0] <= 0).all()


def test_old_random_states_give_normals_too():
    searches = [cross_entropy(np.zeros((1, 4)), np.random.RandomState(3)) for _ in range(2)]
    wanted = 0.47 * np.random.RandomState(3).normal(size=(20, 4))
    for search in searches:
        np.testing.assert_array_equal(next(search)[0], wanted)


def test_the_number_of_elite_designs_is_checked():
    with pytest.raises(ValueError, match=r"n_elite must lie in 1 \.\. population=20, got 21"):
        next(cross_entropy(np.zeros((1, 4)), random(), n_elite=21))


def test_adam_takes_the_steps_of_torch():
    start = random(1).normal(size=(3, 4))
    mine = Adam(start, 0.05)
    theirs = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=0.05, betas=(0.9, 0.99))
    for step in range(20):
        gradient = random(step).normal(size=start.shape)
        mine.step(gradient)
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
    np.testing.assert_allclose(mine.design, theirs.detach().numpy(), rtol=1e-6, atol=1e-8)


def test_smoothed_differences_are_the_gradient_on_average():
    x = random(1).normal(size=(2, 4))
    estimate = smoothed_gradient(hill, x, random(), n_pairs=20_000, reach=0.3)
    # the standard deviation of a pair's estimate is about the length of the gradient, up to 4
    np.testing.assert_allclose(estimate, -2 * (x - TOP), atol=0.15)


def test_a_jump_has_a_smoothed_slope_and_costs_what_was_said():
    step = Counted(lambda x: (x[:, 0] > 0).astype(float))
    estimate = smoothed_gradient(step, np.zeros((1, 4)), random(), n_pairs=5000, reach=0.5)
    assert step.count == 2 * 5000
    # the slope of the normal distribution function of deviation 0.5 at 0
    assert estimate[0, 0] == pytest.approx(1 / (0.5 * np.sqrt(2 * np.pi)), abs=0.05)
    np.testing.assert_allclose(estimate[0, 1:], 0.0, atol=0.05)


def test_adam_on_differences_asks_for_antithetic_pairs_and_climbs():
    search = adam_on_differences(np.full((2, 4), 0.2), random(), reach=0.1)
    first = next(search)
    assert first.shape == (2, 8, 4)
    np.testing.assert_allclose(first[:, :4] + first[:, 4:], 0.4)
    found = follow(adam_on_differences(np.zeros((2, 4)), random(), box=UNIT_BOX), hill, 600)
    assert (found.scores > -0.05).all()


def test_adam_asks_for_the_present_design_too_where_it_is_told_to():
    plain = adam_on_differences(np.full((2, 4), 0.2), random(3))
    both = adam_on_differences(np.full((2, 4), 0.2), random(3), itself=True)
    pairs, more = next(plain), next(both)
    for _ in range(3):
        np.testing.assert_array_equal(more[:, 1:], pairs)
        np.testing.assert_allclose(more[:, 0], (pairs[:, :4] + pairs[:, 4:]).mean(axis=1) / 2)
        pairs, more = plain.send(hill(pairs)), both.send(hill(more))


def test_adam_lowers_the_energy_that_it_is_given():
    start = np.zeros((1, 4))
    scores = Counted()
    follow(adam_on_differences(start, random(), energy=lambda y: y), scores, 200)
    # an energy equal to the score: it walks down the hill
    assert hill(scores.asked[-1]).mean() < hill(start[0]) - 1


def test_pairs_without_scores_do_not_count():
    search = adam_on_differences(np.zeros((1, 4)), random(7))
    pairs = next(search)
    moved = search.send(np.where(np.arange(8) % 4 < 2, -np.inf, hill(pairs)))
    assert np.isfinite(moved).all()
    assert np.abs(moved.mean(axis=1)).max() > 0.01


def test_repeated_designs_are_kept_only_where_there_are_no_others():
    def pushed(x: np.ndarray) -> np.ndarray:
        return x.sum(axis=1)

    # in the corner of the box most designs are one and the same
    search = cross_entropy(np.ones((2, 4)), random(), std=0.1, box=UNIT_BOX)
    found = follow(search, pushed, 200, keep=20)
    for designs, scores in zip(found.designs, found.scores, strict=True):
        distinct = len(np.unique(designs, axis=0))
        assert distinct == np.isfinite(scores).sum()
        assert scores[0] == 4.0
        assert (np.diff(scores[:distinct]) <= 0).all()
    assert np.isfinite(found.scores).sum() > 10


def test_adam_on_a_gradient_asks_for_one_design_a_step():
    score = Counted()
    slope = Counted(lambda x: 2 * (x - TOP))
    found = follow(adam_on_gradient(np.zeros((3, 4)), slope, box=UNIT_BOX), score, 80)
    assert score.count == 3 * 80
    assert slope.count == 3 * 79  # none after the last design
    assert (found.scores > -1e-3).all()
