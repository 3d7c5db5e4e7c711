"""DDOM: what its network learns, the published weights, and what the presets say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mbo_gym
from diffusion.ddom import DDOM, DDOMConfig
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import NullProgress

QUICK = DDOMConfig(train_steps=300, hidden=64, batch_size=256, warm_up=20, boost=0.0)


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, config=QUICK, seed=0):
    method = DDOM(config)
    method.fit(problem, seed=seed, device="cpu", progress=NullProgress())
    return method


def test_designs_asked_to_be_good_score_higher_than_those_asked_to_be_bad(problem):
    method = fitted(problem)
    median = {}
    for asked in (-2.0, method._target):
        method._target = asked
        median[asked] = np.median(branin_of(method.propose(200)))
    low, high = median.values()
    # The visible scores have a standard deviation of about 55; the two targets are more than 3 of
    # them apart.
    assert high > low + 55


def branin_of(x):
    from mbo_gym.tasks.synthetic import branin

    return -branin(x)


def test_the_target_is_the_best_visible_score_and_the_boost_above_it(problem):
    y = problem.dataset.score_scale.standardise(problem.dataset.y)
    assert fitted(problem, replace(QUICK, train_steps=1, boost=1.5))._target == pytest.approx(
        y.max() + 1.5
    )


def test_a_filter_keeps_the_best_predicted_of_more_candidates(problem):
    config = replace(QUICK, train_steps=50, filter="quadratic", n_candidates=300)
    method = fitted(problem, config)
    x = method.propose(20)
    assert (np.diff(method.criterion) <= 0).all()
    loose = fitted(problem, replace(config, filter=None))
    everything = loose.propose(300)
    values = np.sort(method._filter(everything))[::-1][:20]
    np.testing.assert_allclose(method.criterion, values, rtol=1e-5)
    assert not loose.criterion.any()
    assert len(np.unique(x, axis=0)) == 20


def test_estimates_along_the_sampling_are_shown_with_the_score_asked_for(problem):
    method = DDOM(replace(QUICK, train_steps=1, sample_steps=4))
    with RichProgress() as progress:
        method.fit(problem, seed=0, device="cpu", progress=progress)
        method.propose(8)
    steps = [point.step for point in progress.trace]
    assert steps == list(range(8))  # Heun calls the network 2 * 4 - 1 times; then what came out
    asked = problem.dataset.score_scale.restore(np.array([method._target], dtype=np.float32))[0]
    assert progress.trace[0].prediction == pytest.approx(np.full(8, asked))


def test_the_paper_preset_is_the_published_recipe():
    paper = DDOM.PRESETS["paper"]
    published = {
        "hidden": 1024,
        "schedule": "vp_mild",
        "guidance": 2.0,
        "sample_steps": 1000,
        "dropout": 0.15,
    }
    assert {key: getattr(paper, key) for key in published} == published
    assert (paper.reweight, paper.flag, paper.boost) == (True, False, 0)


@pytest.mark.parametrize(
    ("field", "value"), [("drop_condition", 1.0), ("hidden", 0), ("n_candidates", 0)]
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        DDOMConfig(**{field: value})


def test_training_goes_on_from_its_checkpoint_and_refuses_that_of_other_data(problem, tmp_path):
    config = replace(QUICK, train_steps=40, checkpoints=str(tmp_path))
    first, again = fitted(problem, config), fitted(problem, config)
    np.testing.assert_array_equal(first.propose(5), again.propose(5))
    other = mbo_gym.make_task("Branin-Exact-v0", fraction=0.5).problem()
    with pytest.raises(ValueError, match="data"):
        fitted(other, config)
