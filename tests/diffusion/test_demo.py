"""DEMO: the pseudo-target data, the edit and its level, the target score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from diffusion.core.schedule import VPLinear
from diffusion.demo import DEMO, EDIT_LEVELS, DEMOConfig
from mbo_gym.methods.base import Context
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice, with_settings

SMALL_MLP = Choice("mlp", {"hidden": 32, "train_steps": 200})
QUICK = with_settings(
    DEMOConfig(n_candidates=None),
    {
        "training": {"steps": 50, "batch_size": 128, "warm_up": 5},
        "model.hidden": 32,
        "surrogate": "quadratic",
        "ascent.ascent_steps": 10,
    },
)


def quick(**settings):
    """Return QUICK with other settings; ``__`` stands for the dot of a nested one."""
    return with_settings(QUICK, {key.replace("__", "."): v for key, v in settings.items()})


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def sequences():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=500).problem()


def fitted(problem, config=QUICK, progress=None):
    method = DEMO(config)
    method.fit(problem, Context(progress=progress or NullProgress()))
    return method


def test_the_ascent_raises_predictions_and_stays_in_the_box_of_the_data(branin):
    method = fitted(branin)
    z = torch.from_numpy(method.fitted.encoder.encode(branin.dataset.x))
    ends = method.climb(z)
    rise = method.fitted.surrogate.predict(ends) - method.fitted.surrogate.predict(z)
    assert (rise > -1e-4).float().mean() > 0.99  # a step may cross the top of the quadratic
    assert rise.median() > 0
    assert torch.equal(ends, ends.clamp(z.amin(dim=0), z.amax(dim=0)))


@pytest.mark.parametrize("project", [True, False])
def test_pseudo_targets_of_sequences_are_letters_if_projected(sequences, project, monkeypatch):
    seen = {}

    def remember(self, z, y, training, **_):
        seen.update(z=z, y=y)

    monkeypatch.setattr("diffusion.demo.DesignModel.fit", remember)
    method = fitted(sequences, quick(ascent__project=project, surrogate=SMALL_MLP))
    z = seen["z"].numpy()
    at_letters = np.allclose(
        method.fitted.encoder.encode(method.fitted.encoder.decode(z)), z, atol=1e-5
    )
    assert at_letters == project
    np.testing.assert_allclose(
        seen["y"], method.fitted.surrogate.predict(seen["z"]), rtol=1e-5, atol=1e-5
    )


def test_the_offline_prior_is_trained_on_the_visible_designs_and_scores(branin, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "diffusion.demo.DesignModel.fit", lambda self, z, y, training, **_: seen.update(z=z, y=y)
    )
    method = fitted(branin, quick(prior="offline"))
    np.testing.assert_array_equal(seen["z"], method.fitted.encoder.encode(branin.dataset.x))
    np.testing.assert_array_equal(
        seen["y"], branin.dataset.score_scale.standardise(branin.dataset.y)
    )


def test_an_edit_without_noise_gives_back_what_is_edited(branin):
    config = quick(training__steps=1, edit_level=0.0, order=False)
    top = branin.dataset.x[branin.dataset.top_rows(30)]
    np.testing.assert_allclose(fitted(branin, config).propose(30).x, top, atol=1e-4)
    climbed = fitted(branin, replace(config, edit_from="pseudo"))
    z = torch.from_numpy(climbed.fitted.encoder.encode(top))
    expected = climbed.fitted.encoder.decode(climbed.climb(z).numpy())
    np.testing.assert_allclose(climbed.propose(30).x, expected, atol=1e-4)


def test_more_noise_takes_designs_farther_from_where_they_started(branin):
    distance = []
    method = fitted(branin, quick(order=False, training__steps=200))
    for level in (0.05, 0.5, 2.0):
        method.config = replace(method.config, edit_level=level)
        z = method.fitted.encoder.encode(branin.dataset.x[branin.dataset.top_rows(100)])
        moved = method.fitted.encoder.encode(method.propose(100).x) - z
        distance.append(float(np.median(np.linalg.norm(moved, axis=1))))
    assert distance == sorted(distance)


def test_the_named_levels_are_the_published_steps():
    alpha_bar = np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:400])
    assert EDIT_LEVELS["paper"] == pytest.approx(np.sqrt(1 / alpha_bar - 1), rel=0.01)
    released = VPLinear(0.01, 2.0).level(torch.tensor(0.4))
    assert EDIT_LEVELS["released"] == pytest.approx(float(released), rel=0.01)
    assert DEMOConfig(edit_level="paper").level == EDIT_LEVELS["paper"]
    assert DEMOConfig(edit_level=0.3).level == 0.3


def test_only_a_normalised_target_reads_the_range_of_the_full_scores(branin):
    scale, (low, high) = branin.dataset.score_scale, branin.score_range
    other = replace(branin, score_range=(low, high + 100))
    short = quick(training__steps=1)
    assert fitted(branin, short).target == fitted(other, short).target
    for problem, best in ((branin, high), (other, high + 100)):
        asked = scale.standardise(np.array([best], dtype=np.float32))[0]
        assert fitted(problem, replace(short, target=1.0)).target == pytest.approx(asked)


def test_more_candidates_are_ordered_by_the_surrogate_and_distinct(sequences):
    config = quick(surrogate=SMALL_MLP, n_candidates=400)
    method = fitted(sequences, config)
    kept = method.propose(20)
    assert (np.diff(kept.criterion) <= 0).all()
    assert len(np.unique(kept.x, axis=0)) == 20
    prediction = method.fitted.predict(kept.x)
    np.testing.assert_allclose(prediction, kept.criterion, rtol=1e-5, atol=1e-6)


def test_without_editing_designs_are_drawn_from_noise(branin):
    with RichProgress() as progress:
        fitted(branin, quick(edit=False), progress).propose(10)
    assert {point.stage for point in progress.trace} == {"sampling"}
    with RichProgress() as progress:
        fitted(branin, quick(order=False), progress).propose(10)
    assert {point.stage for point in progress.trace} == {"edit"}
    top = branin.dataset.x[branin.dataset.top_rows(10)]
    np.testing.assert_allclose(
        progress.trace[0].x, top, atol=1e-4
    )  # the walk starts at the visible design


@pytest.mark.parametrize(
    ("field", "value"),
    [("edit_level", -1.0), ("edit_level", "strong"), ("label_quantile", 1.5), ("n_candidates", 0)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        DEMOConfig(**{field: value})
