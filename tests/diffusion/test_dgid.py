"""DGID: what each guidance does to samples, which rows teach it, and what presets say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from diffusion.dgid import DGID, DGIDConfig, Energy
from mbo_gym.errors import InvalidData
from mbo_gym.methods.base import Context
from mbo_gym.optimisers.searches import smoothed_gradient
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import with_settings

QUICK = with_settings(
    DGID.PRESETS["conditional"],
    {
        "training": {"steps": 200, "batch_size": 128, "warm_up": 20},
        "model.hidden": 64,
        "surrogate": "quadratic",
    },
)
UNTRAINED = {"training__steps": 1, "model__hidden": 8}
GOALS = np.array([[0.2, 0.5], [0.8, 0.5]], dtype=np.float32)


def quick(**settings):
    """Return QUICK with other settings; ``__`` stands for the dot of a nested one."""
    return with_settings(QUICK, {key.replace("__", "."): v for key, v in settings.items()})


def near(x: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Score of designs (N, 2): highest where the first number is twice that of the goal."""
    return -((x[:, 0] - 2 * goal[..., 0]) ** 2) - 0.2 * x[:, 1] ** 2


def two_goals(wanted: np.ndarray = GOALS[1]) -> OfflineProblem:
    """Rows of two goals, each under its own; whatever the goal, the designs are alike."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 0.8, size=(800, 2)).astype(np.float32)
    contexts = GOALS[np.arange(800) % 2]
    space = ContinuousSpace(np.full(2, -4.0), np.full(2, 4.0))
    dataset = OfflineDataset(x, near(x, contexts), context=contexts)
    return OfflineProblem("TwoGoals-Exact-v0", space, dataset, (-9.0, 0.0), {}, wanted)


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, config=QUICK, progress=None):
    method = DGID(config)
    method.fit(problem, Context(0) if progress is None else Context(0, progress=progress))
    return method


def with_other(method: DGID, **settings) -> DGID:
    """Change how a trained model is sampled."""
    method.config = with_settings(
        method.config, {key.replace("__", "."): v for key, v in settings.items()}
    )
    return method


@pytest.fixture(scope="module")
def trained(branin):
    """A model with a surrogate, for samplings that differ in guidance only."""
    return fitted(branin, quick(guidance="both", particles=True))


@pytest.fixture
def model(trained):
    config = trained.config
    yield trained
    trained.config = config


def energies(method: DGID, n: int = 128) -> torch.Tensor:
    return Energy.of(method.fitted.surrogate).value(method.sample(n))


def test_each_guidance_and_the_particles_lower_the_energy(model):
    plain = float(energies(with_other(model, guidance="none", particles=False)).mean())
    for settings in (
        {"guidance": "energy"},
        {"guidance": "conditional"},
        {"guidance": "both"},
        {"guidance": "none", "particles": True},
    ):
        guided = with_other(model, **{"particles": False} | settings)
        # in standard deviations of the visible scores
        assert float(energies(guided).mean()) < plain - 0.2, settings


def test_a_stronger_scale_lowers_the_energy_further_and_zero_changes_nothing(model):
    plain = with_other(model, guidance="none", particles=False).sample(64)
    means = []
    for scale in (0.0, 1.0, 10.0):
        guided = with_other(model, guidance="energy", energy__scale=scale)
        means.append(float(energies(guided).mean()))
        if scale == 0:
            torch.testing.assert_close(guided.sample(64), plain)
    assert means == sorted(means, reverse=True)


def test_samples_stay_in_the_box_of_the_designs_whatever_the_scale(model):
    low, high = model.model.box
    z = with_other(model, guidance="energy", particles=False, energy__scale=1e4).sample(64)
    assert torch.equal(z, z.clamp(low, high))


def test_an_energy_of_ones_own_takes_the_place_of_the_surrogates(model):
    random = np.random.default_rng(0)
    asked = []

    def simulate(z: np.ndarray) -> np.ndarray:
        """An energy without autograd, lowest where the first feature is -1."""
        asked.append(len(z))
        return (z[:, 0] + 1) ** 2

    def gradient(z: torch.Tensor) -> torch.Tensor:
        found = smoothed_gradient(simulate, z.numpy(), random, n_pairs=2)
        return torch.from_numpy(found.astype(np.float32))

    own = Energy(lambda z: torch.from_numpy(simulate(z.numpy())), gradient)
    guided = with_other(model, guidance="energy", particles=False)
    rungs = guided.model.rungs(guided.config.sampling.sample_steps)[:-1]
    n_levels = int((rungs <= guided.config.energy.max_level).sum())
    z = guided.sample(64, own)
    assert sum(asked) == n_levels * 64 * 4  # the noisiest levels cost nothing
    before = with_other(model, guidance="none").sample(64)
    assert float((z[:, 0] + 1).abs().mean()) < 0.7 * float((before[:, 0] + 1).abs().mean())


def test_particles_cost_n_times_k_energies(model):
    asked = []

    def value(z: torch.Tensor) -> torch.Tensor:
        asked.append(len(z))
        return z[:, 0]

    searched = with_other(model, guidance="none", particles=True, particle_search__rounds=3)
    searched.sample(20, Energy(value, torch.zeros_like))
    assert asked == [20, 20, 20]


def test_proposals_are_ordered_by_the_surrogate_where_there_is_one(model):
    proposals = with_other(model, guidance="none", particles=True).propose(8)
    assert proposals.x.shape == (8, 2)
    assert (np.diff(proposals.criterion) <= 0).all()
    np.testing.assert_allclose(
        proposals.criterion, model.fitted.predict(proposals.x), rtol=1e-5, atol=1e-6
    )


def test_without_an_energy_no_surrogate_is_fitted(branin):
    method = fitted(branin, quick(**UNTRAINED))
    assert method.fitted is None
    assert not method.propose(4).criterion.any()


def test_the_score_asked_for_is_a_quantile_of_the_visible_ones(branin):
    y = branin.dataset.score_scale.standardise(branin.dataset.y)
    method = fitted(branin, quick(**UNTRAINED, score_quantile=0.9, boost=0.5))
    assert method.target == pytest.approx(np.quantile(y, 0.9) + 0.5, abs=1e-5)


def test_the_goal_that_is_wanted_decides_where_samples_lie():
    means = [float(fitted(two_goals(goal)).propose(200).x[:, 0].mean()) for goal in GOALS]
    # scores are highest at 0.4 and 1.6
    assert means[0] == pytest.approx(0.4, abs=0.35)
    assert means[1] == pytest.approx(1.6, abs=0.35)


def test_the_condition_has_the_context_beside_the_score(branin):
    assert fitted(branin, quick(**UNTRAINED)).model.denoiser.n_conditions == 1
    assert fitted(two_goals(), quick(**UNTRAINED)).model.denoiser.n_conditions == 3


@pytest.mark.parametrize(
    ("rows", "taken"), [("mixed", [0, 1]), ("matching", [1]), ("non_matching", [0])]
)
def test_rows_choose_the_goals_that_are_learnt_from(rows, taken, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "diffusion.dgid.DesignModel.fit", lambda self, z, y, training, **_: seen.update(z=z, y=y)
    )
    problem = two_goals()
    method = fitted(problem, quick(rows=rows))
    dataset = problem.dataset
    mine = np.isin(np.arange(800) % 2, taken)
    np.testing.assert_array_equal(seen["z"], method.encoder.encode(dataset.x[mine]))
    contexts, score = seen["y"][:, :2].numpy(), seen["y"][:, 2].numpy()
    np.testing.assert_array_equal(score, dataset.score_scale.standardise(dataset.y)[mine])
    # the first number of the goals is standardised, the second is the same in all rows
    np.testing.assert_allclose(np.unique(contexts, axis=0), [[[-1, 1][i], 0] for i in taken])
    mine = dataset.y[np.arange(800) % 2 == (1 if rows != "non_matching" else 0)]
    wanted = dataset.score_scale.standardise(np.quantile(mine, 0.85, keepdims=True))
    assert method.target == pytest.approx(float(wanted[0]), abs=1e-5)


def test_the_energy_is_learnt_from_the_rows_of_the_wanted_goal():
    problem = two_goals()
    method = fitted(problem, quick(**UNTRAINED, guidance="energy"))
    x = problem.dataset.x[:50]
    wanted = problem.dataset.score_scale.standardise(near(x, GOALS[1]))
    np.testing.assert_allclose(method.fitted.predict(x), wanted, atol=0.02)


def test_a_goal_without_rows_has_no_energy_and_a_task_of_one_goal_no_other_rows(branin):
    unseen = two_goals(np.array([0.5, 0.9], dtype=np.float32))
    method = fitted(unseen, quick(**UNTRAINED))  # conditional guidance needs none
    everything = unseen.dataset.score_scale.standardise(unseen.dataset.y)
    assert method.target == pytest.approx(np.quantile(everything, 0.85), abs=1e-5)
    with pytest.raises(InvalidData, match=r"no row of TwoGoals.* under the wanted context"):
        fitted(unseen, quick(guidance="energy"))
    with pytest.raises(InvalidData, match="has no matching rows"):
        fitted(unseen, quick(rows="matching"))
    with pytest.raises(InvalidData, match="has no non-matching rows: of 2500 rows, 2500 have"):
        fitted(branin, quick(rows="non_matching"))


def test_a_saved_model_keeps_its_goal(tmp_path):
    method = fitted(two_goals(), quick(**UNTRAINED, guidance="both", particles=True))
    method.save(tmp_path)
    again = mbo_gym.load_method(tmp_path)
    np.testing.assert_array_equal(again.problem.context, GOALS[1])
    np.testing.assert_array_equal(again.propose(6).x, method.propose(6).x)


def test_rounds_of_the_particles_and_the_samples_are_shown(branin):
    class Seen(NullProgress):
        def __init__(self):
            self.rounds, self.samples = [], []

        def metrics(self, stage, step, **values):
            if stage == "particles":
                self.rounds.append((step, *values))

        def designs(self, stage, step, x, prediction):
            self.samples.append((stage, step))

    seen = Seen()
    config = quick(**UNTRAINED, particles=True, particle_search__rounds=2)
    fitted(branin, config, seen).propose(8)
    assert seen.rounds == [(0, "energy"), (1, "energy")]
    assert seen.samples == [("sampling", i) for i in range(config.sampling.sample_steps + 1)]


def test_the_presets_are_the_forms_of_the_paper():
    forms = {name: (c.guidance, c.particles) for name, c in DGID.PRESETS.items()}
    assert forms["unguided"] == ("none", False)
    assert forms["energy"] == ("energy", False)
    assert forms["conditional"] == ("conditional", False)
    assert forms["particles"] == ("none", True)
    assert all(
        (c.score_quantile, c.boost) == (0.85, 0.0) for n, c in DGID.PRESETS.items() if n != "light"
    )


def test_scores_above_the_visible_ones_are_asked_for_except_on_fluid_tasks(branin):
    best = branin.dataset.score_scale.standardise(branin.dataset.y).max()
    config = replace(quick(**UNTRAINED), score_quantile=1.0, boost=DGIDConfig().boost)
    assert (config.score_quantile, config.boost) == (DGIDConfig().score_quantile, 2.0)
    assert fitted(branin, config).target == pytest.approx(best + 2.0, abs=1e-5)
    own = mbo_gym.make_method("dgid", task_id="FluidContain-MPM-v0").config
    assert own == DGID.PRESETS["conditional"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score_quantile", 1.5),
        ("energy.scale", -1.0),
        ("particle_search.temperature", 0.0),
        ("particle_search.perturbation", 2.0),
        ("particle_search.n", 0),
        ("guidance", "strong"),
    ],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=field.rpartition(".")[2]):
        with_settings(DGIDConfig(), {field: value})
