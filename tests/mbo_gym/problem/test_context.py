"""What each score was measured under: the optional context of data sets and problems."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import OfflineDataset

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0.3, 0.1, 0.5, 0.2, 0.6, 0.4], dtype=np.float32)
GOALS = np.repeat([[0.5, 0.4], [0.1, 0.2]], 3, axis=0)


def test_a_context_goes_with_its_row():
    data = OfflineDataset(X, Y, context=GOALS)
    assert data.context.dtype == np.float32
    goal_of = {tuple(x): tuple(c) for x, c in zip(data.x, data.context, strict=True)}
    rng = np.random.default_rng(0)
    for part in (
        data.take(np.array([4, 0])),
        data.top(3),
        data.below_percentile(50),
        data.every_nth_by_score(3),
        data.subsample(0.5, rng),
        data.with_noise(0.1, rng),
    ):
        assert [goal_of[tuple(x)] for x in part.x] == [tuple(c) for c in part.context]
    with pytest.raises(ValueError, match="read-only"):
        data.context[0] = 0


@pytest.mark.parametrize("context", [GOALS[:5], GOALS[:, 0], np.full((6, 1), np.nan)])
def test_a_context_that_does_not_fit_is_refused(context):
    with pytest.raises(InvalidData, match="a context of c finite numbers for each of 6 rows"):
        OfflineDataset(X, Y, context=context)


def test_data_without_contexts_are_what_they_were():
    data = OfflineDataset(X, Y)
    assert data.context is None
    digest = hashlib.sha256(repr((X.shape, "float32")).encode() + X.tobytes() + Y.tobytes())
    assert data.content_hash() == digest.hexdigest()
    assert OfflineDataset(X, Y, context=GOALS).content_hash() != data.content_hash()
    problem = mbo_gym.make_task("Branin-Exact-v0").problem()
    assert (problem.context, problem.dataset.context) == (None, None)
