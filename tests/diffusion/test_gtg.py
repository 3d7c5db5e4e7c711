"""GTG: its trajectories' contexts, scores and guidance, and what becomes of the designs sampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from diffusion.gtg import GTG, GTGConfig
from mbo_gym.methods.base import Context
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import with_settings

QUICK = with_settings(
    GTGConfig(n_samples=12),
    {
        "training": {"steps": 30, "batch_size": 16, "warm_up": 5},
        "trajectories": {"n_trajectories": 40, "k": 10},
        "model": {"horizon": 8, "context_length": 3, "width": 8, "multipliers": (1, 2)},
        "sampling.sample_steps": 4,
        "filter": "quadratic",
    },
)


def quick(**settings):
    """Return QUICK with other settings; ``__`` stands for the dot of a nested one."""
    return with_settings(QUICK, {key.replace("__", "."): v for key, v in settings.items()})


@pytest.fixture(scope="module")
def problem():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, config=QUICK, progress=None):
    method = GTG(config)
    method.fit(problem, Context(progress=progress or NullProgress()))
    return method


@pytest.mark.parametrize("context", ["trained", "renoised", "clean"])
@pytest.mark.parametrize("score_channel", [True, False])
def test_sampled_trajectories_begin_with_the_ends_of_visible_ones(problem, context, score_channel):
    method = fitted(problem, quick(model__context=context, model__score_channel=score_channel))
    sampled = method.sample(12)
    assert sampled.shape == (12, 8, 3 if score_channel else 2)
    ends = method.trajectories[:, 5:, : sampled.shape[2]]
    for row in sampled[:, :3]:
        assert any(torch.equal(row, end) for end in ends)
    assert torch.isfinite(sampled).all()


def test_contexts_are_the_best_ends_or_any(problem):
    best = fitted(problem)
    generator = torch.Generator().manual_seed(0)
    means = best.trajectories[:, 5:, -1].mean(dim=1).sort(descending=True).values[:12]
    torch.testing.assert_close(best._contexts(12, generator)[:, :3, -1].mean(dim=1), means)
    best.config = quick(context_from="random")
    assert not torch.equal(best._contexts(12, generator)[:, :3, -1].mean(dim=1), means)


def test_without_context_all_steps_are_new(problem):
    method = fitted(problem, quick(model__context="none", filter=None))
    sampled = method.sample(4)
    ends = method.trajectories[:, 5:, :2]
    assert not any(torch.equal(row, end) for row in sampled[:, :3] for end in ends)
    # Candidates: the last steps first, then the ones before them.
    x = method.encoder.decode(sampled.flip(1).transpose(0, 1).flatten(0, 1).numpy())
    method.config = replace(method.config, n_samples=4)
    np.testing.assert_array_equal(method.propose(10).x, x[:10])


def test_proposals_are_the_best_new_designs_by_the_filter(problem):
    method = fitted(problem)
    kept = method.propose(20)
    new = method.encoder.decode(method.sample(12)[:, 3:, :2].flatten(0, 1).numpy())
    predicted = np.sort(method.filter.predict(np.unique(new, axis=0)))[::-1]
    np.testing.assert_allclose(kept.criterion, predicted[:20], rtol=1e-5)
    assert len(np.unique(kept.x, axis=0)) == 20


def test_more_trajectories_are_sampled_where_the_budget_asks_for_more_designs(problem):
    assert len(fitted(problem, quick(n_samples=2)).propose(40)) == 40


@pytest.mark.parametrize("condition", ["profile", "mean"])
def test_asking_for_higher_scores_gives_higher_scores(problem, condition):
    from mbo_gym.tasks.synthetic import branin

    config = quick(
        model={
            "condition": condition,
            "context": "none",
            "width": 16,
            "horizon": 4,
        },
        trajectories={"p": 100.0, "eps": 1.0, "n_trajectories": 1000},
        training={"steps": 300, "batch_size": 64, "learning_rate": 3e-3},
        sampling__sample_steps=10,
        filter=None,
        n_samples=64,
    )
    method = fitted(problem, config)
    median = []
    for boost in (-3.0, 0.0):
        method.config = replace(method.config, boost=boost)
        median.append(np.median(-branin(method.propose(256).x)))
    # Asked for scores 3 standard deviations apart, designs must lie more than half of that apart.
    assert median[1] - median[0] > 1.5 * problem.dataset.y.std()


def test_the_model_is_given_standardised_scores(problem):
    method = fitted(problem, quick(training__steps=1))
    score = method.trajectories[:, :, -1]
    visible = problem.dataset.score_scale.standardise(problem.dataset.y)
    assert np.isin(score.numpy(), visible).all()
    assert method.target - method.config.boost == pytest.approx(visible.max())


def test_a_model_without_condition_does_not_depend_on_the_target(problem):
    method = fitted(problem, quick(model__condition="none"))
    first = method.sample(5)
    method.config = with_settings(method.config, {"boost": 10.0, "sampling.guidance": 7.0})
    method.model.sampling = method.config.sampling
    torch.testing.assert_close(method.sample(5), first)


def test_the_context_is_clean_for_the_network_in_training(problem, monkeypatch):
    seen = []

    def remember(denoiser, x, level, noise, *, known, extra, **_):
        seen.append((x, known, extra))
        return denoiser(x, level, x.new_zeros(len(x), x.shape[1], 1), None, extra).square().mean()

    monkeypatch.setattr("diffusion.models.trajectories.denoising_loss", remember)
    fitted(problem, quick(training__steps=3))
    x, known, extra = seen[0]
    assert known.sum(dim=1).max() <= 3
    assert len(known.sum(dim=1).unique()) > 1  # lengths vary
    torch.testing.assert_close(extra, torch.cat([x * known, known.float()], dim=2))


def test_the_walks_shown_are_the_trajectories(problem):
    with RichProgress() as progress:
        method = fitted(problem, progress=progress)
        method.propose(10)
    points = [point for point in progress.trace if point.stage == "trajectory"]
    assert [point.step for point in points] == list(range(8))
    sampled = method.sample(12)
    np.testing.assert_allclose(points[7].x, method.encoder.decode(sampled[:, 7].numpy()), rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"), [("context_length", 8), ("horizon", 0), ("score_weight", -1.0)]
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        quick(model={field: value})


def test_trajectories_are_made_as_in_the_paper_where_that_is_asked_for(problem, monkeypatch):
    seen = {}

    def remember(*args, **keywords):
        seen.update(keywords, n=args[3], p=args[2])
        raise KeyboardInterrupt

    monkeypatch.setattr("diffusion.gtg.local_improving", remember)
    ids = {
        "TFBind8-Exact-v1": (1000, 50, 0.05),
        "DKittyMorphology-Exact-v0": (4000, 20, 0.01),
        "x": (4000, 20, 0.05),
    }
    for task_id, expected in ids.items():
        with pytest.raises(KeyboardInterrupt):
            fitted(replace(problem, task_id=task_id), GTG.PRESETS["released"])
        assert (seen["n"], seen["k"], seen["eps"], seen["p"]) == (*expected, 80.0)
