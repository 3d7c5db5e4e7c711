"""Weights by score, by hand, with the rule's temperature and with a given one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbo_gym.methods.score_weights import score_weights


@pytest.mark.parametrize(("temperature", "tau"), [(None, 0.24), (0.1, 0.1), (3.0, 3.0)])
def test_weights_of_scores_by_hand(temperature, tau):
    # Two bins, edges 0, .5, 1: shares 3/4 and 1/4. y - 1 = -1, -.9, -.8, 0; the 90th percentile is
    # -.24.
    y = torch.tensor([0.0, 0.1, 0.2, 1.0])
    h = np.array([0.75, 0.25])
    p = np.exp(np.array([0.5, 1.0]) / tau)
    p = p / p.sum() * h / (h + 1e-3)
    p /= p.sum()
    expected = np.minimum(p / (h + 1e-7), 5)[[0, 0, 0, 1]]
    np.testing.assert_allclose(
        score_weights(y, bins=2, temperature=temperature), expected, rtol=1e-5
    )


def test_equal_scores_have_equal_weights():
    weight = score_weights(torch.full((7,), 0.3), temperature=0.1)
    assert (weight == weight[0]).all()
    assert weight[0] > 0


def test_weights_are_at_most_five():
    y = torch.linspace(0, 1, 1000) ** 4  # few rows in the upper bins
    assert score_weights(y, temperature=0.1).max() == 5


def test_the_best_bin_has_the_largest_weight():
    y = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    weight = score_weights(y)
    assert weight[y.argmax()] == weight.max()
    assert (weight >= 0).all()
