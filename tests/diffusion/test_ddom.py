"""DDOM: what its network learns, the published weights, and what the presets say."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from diffusion.ddom import DDOM, DDOMConfig
from mbo_gym.methods.base import Context
from mbo_gym.progress.bars import RichProgress
from mbo_gym.settings import with_settings

QUICK = with_settings(
    DDOMConfig(boost=0.0),
    {"training": {"steps": 300, "batch_size": 256, "warm_up": 20}, "model.hidden": 64},
)


def quick(**settings):
    """Return QUICK with other settings; ``__`` stands for the dot of a nested one."""
    return with_settings(QUICK, {key.replace("__", "."): v for key, v in settings.items()})


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, config=QUICK, seed=0):
    method = DDOM(config)
    method.fit(problem, Context(seed))
    return method


def test_designs_asked_to_be_good_score_higher_than_those_asked_to_be_bad(problem):
    method = fitted(problem)
    median = {}
    for asked in (-2.0, method.target):
        method.target = asked
        median[asked] = np.median(branin_of(method.propose(200).x))
    low, high = median.values()
    # The visible scores have a standard deviation of about 55; the two targets are more than 3 of
    # them apart.
    assert high > low + 55


def branin_of(x):
    from mbo_gym.tasks.synthetic import branin

    return -branin(x)


def test_the_target_is_the_best_visible_score_and_the_boost_above_it(problem):
    y = problem.dataset.score_scale.standardise(problem.dataset.y)
    method = fitted(problem, quick(training__steps=1, boost=1.5))
    assert method.target == pytest.approx(y.max() + 1.5)


def test_a_filter_keeps_the_best_predicted_of_more_candidates(problem):
    config = quick(training__steps=50, filter="quadratic", n_candidates=300)
    method = fitted(problem, config)
    kept = method.propose(20)
    assert (np.diff(kept.criterion) <= 0).all()
    everything = fitted(problem, with_settings(config, {"filter": None})).propose(300)
    values = np.sort(method.filter.predict(everything.x))[::-1][:20]
    np.testing.assert_allclose(kept.criterion, values, rtol=1e-5)
    assert not everything.criterion.any()
    assert len(np.unique(kept.x, axis=0)) == 20


def test_estimates_along_the_sampling_are_shown_with_the_score_asked_for(problem):
    method = DDOM(quick(training__steps=1, sampling__sample_steps=4))
    with RichProgress() as progress:
        method.fit(problem, Context(progress=progress))
        method.propose(8)
    steps = [point.step for point in progress.trace]
    assert steps == list(range(8))  # Heun calls the network 2 * 4 - 1 times; then what came out
    asked = problem.dataset.score_scale.restore(np.array([method.target], dtype=np.float32))[0]
    assert progress.trace[0].prediction == pytest.approx(np.full(8, asked))


def test_the_paper_preset_is_the_published_recipe():
    paper = DDOM.PRESETS["paper"]
    assert (paper.model.hidden, paper.model.dropout, paper.model.flag) == (1024, 0.15, False)
    assert paper.noise.schedule == "vp_mild"
    assert (paper.sampling.guidance, paper.sampling.sample_steps) == (2.0, 1000)
    assert (paper.reweight, paper.boost) == (True, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.drop_condition", 1.0), ("model.hidden", 0), ("n_candidates", 0)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field.removeprefix("model.")):
        with_settings(DDOMConfig(), {field: value})


def test_training_goes_on_from_its_checkpoint_and_refuses_that_of_other_data(problem, tmp_path):
    config = quick(training__steps=40, checkpoints=str(tmp_path))
    first, again = fitted(problem, config), fitted(problem, config)
    np.testing.assert_array_equal(first.propose(5).x, again.propose(5).x)
    other = mbo_gym.make_task("Branin-Exact-v0", fraction=0.5).problem()
    with pytest.raises(ValueError, match="data"):
        fitted(other, config)
