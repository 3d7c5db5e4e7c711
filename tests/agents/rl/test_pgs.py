"""Policy-guided search: what it proposes, its settings, what it saves, at a size that trains in
seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch

import mbo_gym
from agents.rl import collect as episodes
from agents.rl import pgs as policy_guided_search
from agents.rl.collect import EpisodeConfig, make_episodes
from agents.rl.data import Episodes
from agents.rl.learner import policy_actions, train_offline
from agents.rl.learner_config import OfflineConfig
from agents.rl.pgs import PGSConfig, PolicyGuidedSearch, SearchEnvConfig
from helpers import Notes, d3rlpy_or_skip
from mbo_gym.encoders.registry import ENCODERS, make_encoder
from mbo_gym.encoders.vae import VAEEncoder, cached_vae_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.envs.process import EnvConfig
from mbo_gym.errors import InvalidData, MissingDependency, UnknownId
from mbo_gym.methods.base import Context
from mbo_gym.nn.sequence_vae import VAEConfig
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice, leaf_settings, with_settings
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate, make_surrogate
from mbo_gym.trajectories.samplers import top_rows_of_percentile

MLP, ENSEMBLE, PARABOLA = (
    f"{kind}_of_the_search_tests" for kind in ("mlp", "ensemble", "parabola")
)
SEARCH = {
    "learner.train_steps": 10,
    "learner.batch_size": 32,
    "learner.hidden": 16,
    "episodes.n_trajectories": 30,
    "episodes.horizon": 6,
    "env.surrogate": MLP,
    "n_starts": None,
}
ALWAYS = {"checksums.json", "config.json", "method.json", "problem.json", "problem.npz"}
GROUPS = {
    f.name: group
    for group, kind in (
        ("env", SearchEnvConfig),
        ("episodes", EpisodeConfig),
        ("learner", OfflineConfig),
    )
    for f in fields(kind)
}


def dotted(settings: dict) -> dict:
    """Return settings by their dotted names, from their last parts."""
    return {f"{GROUPS[key]}.{key}" if key in GROUPS else key: v for key, v in settings.items()}


@dataclass(frozen=True)
class ParabolaConfig:
    """Settings of a parabola, so that it can be saved.

    Args:
        ridge: Weight of the coefficients.
    """

    ridge: float = 1e-3


class Parabola(Surrogate):
    """f(z) = b . (z, z^2, 1) by least squares: a surrogate that no file of the package knows."""

    kind = PARABOLA

    def __init__(self, ridge: float = 1e-3) -> None:
        self.config = ParabolaConfig(ridge)

    def fit(self, z, y, *, seed, progress=None):
        a = self._terms(z)
        self.b = torch.linalg.solve(a.T @ a + self.config.ridge * torch.eye(a.shape[1]), a.T @ y)
        return FitReport(0.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        return self._terms(z) @ self.b

    def _terms(self, z):
        return torch.cat([z, z.square(), torch.ones(len(z), 1)], dim=1)

    def state(self):
        return {"b": self.b}

    def load_state(self, state):
        self.b = state["b"]


class Stop(NullProgress):
    """Interrupts the work after so many updates of the policy."""

    def __init__(self, after: int):
        self.left = after

    def track(self, items, description, total=None):
        for item in items:
            if description.startswith("training"):
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
            yield item


@pytest.fixture(scope="module", autouse=True)
def small_surrogates() -> Iterator[None]:
    mlp = MLPConfig(hidden=16, train_steps=60)
    ensemble = EnsembleConfig(hidden=8, train_steps=40, members=3)
    with (
        SURROGATES.temporarily(MLP, lambda: MLPSurrogate(mlp)),
        SURROGATES.temporarily(ENSEMBLE, lambda: EnsembleSurrogate(ensemble)),
        SURROGATES.temporarily(PARABOLA, Parabola),
    ):
        yield


@pytest.fixture(scope="module")
def d3rlpy():
    return d3rlpy_or_skip()


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=600).problem()


def fitted(problem, *, progress=None, seed=0, **settings) -> PolicyGuidedSearch:
    config = with_settings(PGSConfig(), {**SEARCH, **dotted(settings)})
    method = PolicyGuidedSearch(config)
    method.fit(problem, Context(seed, progress=progress or NullProgress()))
    return method


@pytest.fixture(scope="module")
def default(d3rlpy, branin, tfbind8):
    """Return the search with its default settings, but small, fitted on either task once."""
    return cache(lambda task: fitted({"branin": branin, "tfbind8": tfbind8}[task]))


def searching(method: PolicyGuidedSearch, **settings) -> PolicyGuidedSearch:
    """Return the same fitted search with other settings of the search itself."""
    other = PolicyGuidedSearch(with_settings(method.config, dotted(settings)))
    other.__dict__.update({key: value for key, value in vars(method).items() if key != "config"})
    return other


# --------------------------------------------------------------------------------------------------
# proposals


@pytest.mark.parametrize("proposals", ["visited", "ends"])
@pytest.mark.parametrize("task", ["branin", "tfbind8"])
def test_it_proposes_designs_inside_the_space_highest_value_first(default, task, proposals):
    method = searching(default(task), proposals=proposals)
    found = method.propose(20)
    x = found.x
    space = method.problem.space
    assert (x.shape, x.dtype) == ((20, *space.shape), space.dtype)
    assert space.contains(x).all()
    assert (np.diff(found.criterion) <= 0).all()
    value = method.process.value(torch.from_numpy(method.process.encoder.encode(x)))
    np.testing.assert_allclose(found.criterion, value.numpy(), rtol=1e-4, atol=1e-5)


def test_the_designs_on_the_way_are_distinct_and_worth_at_least_what_the_ends_are(default):
    visited, ends = (searching(default("branin"), proposals=which) for which in ("visited", "ends"))
    on_the_way, last = visited.propose(40), ends.propose(40)
    assert len(np.unique(on_the_way.x, axis=0)) == 40
    assert on_the_way.criterion.mean() > last.criterion.mean()
    assert on_the_way.criterion[0] >= last.criterion[0]
    sequences = searching(default("tfbind8"), proposals="visited").propose(40).x
    assert len(np.unique(sequences, axis=0)) == 40


def test_where_the_way_holds_too_few_designs_they_are_repeated(default):
    method = searching(default("tfbind8"), search_steps=0)
    method.problem = replace(method.problem, dataset=method.problem.dataset.top(1))
    found = method.propose(7)  # one design, and six starts that noise hardly changes
    distinct = len(np.unique(found.x, axis=0))
    assert distinct < 7
    assert (np.diff(found.criterion) <= 0).all()
    counts = np.unique(found.x, axis=0, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("n_starts", "k", "expected"), [(None, 20, 20), (50, 20, 50), (50, 70, 70)]
)
def test_the_search_starts_from_as_many_designs_as_it_is_told(
    default, branin, n_starts, k, expected
):
    method, notes = searching(default("branin"), n_starts=n_starts, proposals="ends"), Notes()
    method.context = Context(progress=notes)
    found = method.propose(k)
    x = found.x
    assert len(x) == len(found.criterion) == k
    np.testing.assert_allclose(notes.shown[0][2], branin.dataset.top(expected).x, atol=1e-5)
    end, raw = notes.shown[-1][2:]
    np.testing.assert_array_equal(x, end[np.argsort(-raw, kind="stable")[:k]])  # the best ends


def test_the_search_follows_the_policy_along_the_gradient(default, branin, monkeypatch):
    method = searching(default("branin"), search_steps=1, proposals="ends")
    seen = []

    def policy(algo, observation):
        seen.append(observation)
        return torch.full((len(observation), 2), 0.2)

    monkeypatch.setattr(policy_guided_search, "policy_actions", policy)
    found = method.propose(8)
    x = found.x
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.top(8).x))
    guide, judge = method._surrogates()
    unit, judged = (
        f.gradient(z) / f.gradient(z).square().mean(dim=1, keepdim=True).sqrt()
        for f in (guide, judge)
    )
    low, high = map(torch.from_numpy, feature_bounds(branin, encoder))
    largest = 0.1 * guide.report.rank_correlation
    expected = (z + largest * 0.6 * unit).clamp(
        low, high
    )  # an action of .2 is .6 of the largest step
    value = judge.predict(torch.from_numpy(encoder.encode(encoder.decode(expected.numpy()))))
    order = value.argsort(descending=True)
    np.testing.assert_allclose(x, encoder.decode(expected[order].numpy()), atol=1e-4)
    np.testing.assert_allclose(found.criterion, value[order].numpy(), rtol=1e-5, atol=1e-6)
    spread_and_left = torch.tensor([[0.0, 1.0]]).expand(8, 2)
    torch.testing.assert_close(
        seen[0], torch.cat([z, unit * judged, guide.predict(z)[:, None], spread_and_left], dim=1)
    )


@pytest.mark.parametrize(("steps", "expected"), [(None, 6), (2, 2), (0, 0)])
def test_the_search_takes_as_many_steps_as_it_is_told(
    default, branin, monkeypatch, steps, expected
):
    left = []
    method = searching(default("branin"), search_steps=steps, proposals="ends")

    def stand_still(algo, observation):
        left.append(observation[:, -1].unique().tolist())
        return torch.full((len(observation), 2), -1.0)

    monkeypatch.setattr(policy_guided_search, "policy_actions", stand_still)
    x = method.propose(5).x
    assert left == [[pytest.approx(1 - i / expected)] for i in range(expected)]
    best = branin.dataset.top(5).x
    np.testing.assert_allclose(x[x[:, 0].argsort()], best[best[:, 0].argsort()], atol=1e-4)


@pytest.mark.parametrize("bounds", ["data", "none"])
def test_the_box_of_the_visible_features_holds_unless_it_is_lifted(branin, bounds):
    method = fitted(branin, step="constant", bounds=bounds, action_scale=50.0, judge="same")
    z, _ = method._search(10, NullProgress())
    low, high = map(torch.from_numpy, feature_bounds(branin, make_encoder(branin)))
    assert bool(((z >= low) & (z <= high)).all()) == (bounds == "data")


def test_a_constant_step_learns_nothing_and_is_boxed_ascent(d3rlpy, branin, monkeypatch, tmp_path):
    for name in ("train_offline", "make_episodes"):
        monkeypatch.setattr(
            policy_guided_search, name, lambda *a, **k: pytest.fail("there is nothing to learn")
        )
    method = fitted(branin, step="constant", surrogate=PARABOLA, proposals="ends", action_scale=0.3)
    x = method.propose(12).x
    encoder = make_encoder(branin)
    low, high = map(torch.from_numpy, feature_bounds(branin, encoder))
    z = torch.from_numpy(encoder.encode(branin.dataset.top(12).x))
    start, b = z, method.process.surrogate.b
    for _ in range(6):
        gradient = b[:2] + 2 * b[2:4] * z
        z = (z + 0.3 * gradient / (gradient.square().sum(dim=1, keepdim=True) / 2).sqrt()).clamp(
            low, high
        )
    assert float((z - start).abs().max()) > 0.5
    expected = encoder.decode(z.numpy())
    order = method.process.judge.predict(torch.from_numpy(encoder.encode(expected))).argsort(
        descending=True
    )
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(expected, axis=0), atol=1e-3)
    np.testing.assert_allclose(x[0], expected[order[0]], atol=1e-3)
    method.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*ALWAYS, "surrogate.safetensors", "judge.safetensors"}


def test_the_search_is_shown_from_start_to_end_with_its_actions(default, branin):
    method, notes = searching(default("branin"), search_steps=45, proposals="ends"), Notes()
    method.context = Context(progress=notes)
    found = method.propose(5)
    x = found.x
    watched = [*range(0, 45, 2), 45]
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [
        ("search", step) for step in watched
    ]
    np.testing.assert_allclose(notes.shown[0][2], branin.dataset.top(5).x, atol=1e-5)
    end, raw = notes.shown[-1][2:]
    order = np.argsort(-raw, kind="stable")
    np.testing.assert_array_equal(end[order], x)
    np.testing.assert_allclose(
        branin.dataset.score_scale.restore(found.criterion), raw[order], rtol=1e-5
    )
    search = [(step, set(values)) for stage, step, values in notes.seen if stage == "search"]
    assert [step for step, names in search if names == {"prediction"}] == watched
    assert [step for step, names in search if names == {"action"}] == list(range(45))


def test_the_same_seed_gives_the_same_designs(default, branin):
    again, other = fitted(branin), fitted(branin, seed=1)
    expected = default("branin").propose(10).x
    assert np.array_equal(again.propose(10).x, expected)
    assert not np.array_equal(other.propose(10).x, expected)


# --------------------------------------------------------------------------------------------------
# settings


@pytest.mark.parametrize(
    ("settings", "n_step", "terminal", "n_actions"),
    [
        ({}, 1, False, 2),
        ({"reward": "n_step", "n_step": 3, "terminal": True}, 3, True, 2),
        (
            {"reward": "difference", "n_step": 3, "step": "scalar", "p": 5.0, "outside": "zero"},
            1,
            False,
            1,
        ),
    ],
)
def test_the_settings_reach_episodes_and_learner(
    d3rlpy, branin, monkeypatch, settings, n_step, terminal, n_actions
):
    learned, made = [], []

    def train(given, config, **rest):
        learned.append((given, config))
        return train_offline(given, config, **rest)

    def make(process, config, generator):
        made.append(config)
        return episodes.make_episodes(process, config, generator)

    monkeypatch.setattr(policy_guided_search, "train_offline", train)
    monkeypatch.setattr(policy_guided_search, "make_episodes", make)
    notes = Notes()
    method = fitted(branin, progress=notes, algorithm="bc", **settings)
    ((given, config),) = learned
    assert made == [method.config.episodes]
    assert type(config) is OfflineConfig
    assert config == replace(method.config.learner, n_step=n_step)
    assert given.terminal is terminal
    assert (given.observations.shape, given.actions.shape) == ((30, 7, 7), (30, 6, n_actions))
    ((_, _, values),) = [seen for seen in notes.seen if seen[0] == "episodes"]
    assert values["reward"] == pytest.approx(float(given.rewards.mean()))
    assert values["clipped_share"] == pytest.approx(
        float((given.actions.abs() == 1).float().mean())
    )


@pytest.mark.parametrize("algorithm", ["iql", "td3bc", "rebrac", "bc", "sac"])
def test_every_algorithm_searches(d3rlpy, branin, algorithm):
    method = fitted(branin, algorithm=algorithm, surrogate=PARABOLA)
    found = method.propose(5)
    assert branin.space.contains(found.x).all()
    assert np.isfinite(found.criterion).all()


def test_any_registered_surrogate_serves_by_name(d3rlpy, branin, tmp_path):
    method = fitted(branin, surrogate=PARABOLA, algorithm="bc")
    guide, judge = method._surrogates()
    assert isinstance(guide, Parabola)
    assert isinstance(judge, Parabola)
    assert not torch.equal(guide.b, judge.b)  # each from its half
    assert branin.space.contains(method.propose(5).x).all()
    method.save(tmp_path)
    assert torch.equal(load_surrogate(tmp_path / "judge.safetensors").b, judge.b)
    with pytest.raises(UnknownId, match="Did you mean mean_ensemble"):
        fitted(branin, surrogate="mean_ensembl")


def test_pessimism_lowers_the_values_by_the_ensembles_spread(d3rlpy, branin):
    plain, doubting = (
        fitted(branin, surrogate=ENSEMBLE, pessimism=w, step="constant") for w in (0.0, 2.0)
    )
    z = torch.from_numpy(make_encoder(branin).encode(branin.dataset.x[:50]))
    expected = plain.process.value(z) - 2 * plain.process.judge.spread(z)
    torch.testing.assert_close(doubting.process.value(z), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="pessimism=2 needs an ensemble's spread"):
        fitted(branin, pessimism=2.0)


def test_a_learned_encoder_serves_as_well(d3rlpy, tfbind8):
    tiny = VAEConfig(latent=6, width=8, blocks=2, steps=40)
    with ENCODERS.temporarily(
        "vae", lambda problem, **rest: cached_vae_encoder(problem, tiny, **rest)
    ):
        method = fitted(tfbind8, encoder="vae", surrogate=PARABOLA, algorithm="bc")
    assert isinstance(method.process.encoder, VAEEncoder)
    found = method.propose(10)
    x = found.x
    assert (x.shape, x.dtype) == ((10, 8), np.int32)
    assert tfbind8.space.contains(x).all()
    assert len(np.unique(x, axis=0)) == 10
    value = method.process.judge.predict(torch.from_numpy(method.process.encoder.encode(x)))
    np.testing.assert_allclose(found.criterion, value.numpy(), rtol=1e-4, atol=1e-5)


def test_the_presets_are_the_papers_formulation_and_its_programs():
    presets = PolicyGuidedSearch.PRESETS
    assert set(presets) == {
        "paper",
        "released",
        "paper_short",
        "released_short",
        "light",
        "ensemble",
    }
    paper = leaf_settings(presets["paper"])
    expected = {
        "step": "vector", "sign": "both", "gradient": "raw", "action_scale": None,
        "observation": "design", "judge": "same", "pessimism": 0.0, "bounds": "none",
        "surrogate": Choice("mlp_paper"), "encoder": "z_score",
        "trajectories": "random", "p": 20.0, "horizon": 50, "n_trajectories": 20_000,
        "reward": "difference", "standardise_rewards": False, "outside": "clip",
        "train_scale": None, "terminal": False,
        "algorithm": "cql", "train_steps": 400_000, "batch_size": 256, "learning_rate": 3e-4,
        "discount": 0.99, "conservative_weight": 5.0, "hidden": 256, "n_action_samples": 10,
        "average_rewards": False,
        "search_steps": None, "n_starts": None, "proposals": "ends", "select": "none",
    }  # fmt: skip
    assert {key: paper[key] for key in dotted(expected)} == dotted(expected)
    released = dotted(
        {"train_scale": 10.0, "outside": "zero", "average_rewards": True, "terminal": True}
    )
    assert leaf_settings(presets["released"]) == {**paper, **released}
    short = dotted(
        {
            "surrogate": Choice("mlp"),
            "n_trajectories": 1000,
            "train_steps": 1000,
            "n_action_samples": 4,
            "hidden": 128,
        }
    )
    assert leaf_settings(presets["paper_short"]) == {**paper, **short}
    assert leaf_settings(presets["released_short"]) == {**paper, **released, **short}


def test_the_paper_searches_unbounded_along_the_raw_gradient(d3rlpy, branin, monkeypatch):
    method = PolicyGuidedSearch(with_settings(PolicyGuidedSearch.PRESETS["paper"], SEARCH))
    method.fit(branin)
    assert method.process.surrogate is method.process.judge
    monkeypatch.setattr(policy_guided_search, "policy_actions", lambda algo, z: torch.tanh(z))
    x = method.propose(9).x
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.top(9).x))
    for _ in range(6):
        z = z + 0.05 * 2**0.5 * torch.tanh(z) * method.process.surrogate.gradient(z)
    np.testing.assert_allclose(
        np.sort(x, axis=0), np.sort(encoder.decode(z.numpy()), axis=0), atol=1e-4
    )


def test_words_that_are_not_known_are_refused_when_it_is_built():
    with pytest.raises(ValueError, match="trajectories must be 'random'"):
        mbo_gym.make_method("pgs", episodes={"trajectories": "randomtop"})
    with pytest.raises(ValueError, match="search_steps must be at least 0"):
        PGSConfig(search_steps=-1)
    with pytest.raises(ValueError, match="percentage in"):
        EpisodeConfig(p=0.0)
    with pytest.raises(ValueError, match="pessimism must be at least 0"):
        SearchEnvConfig(pessimism=-1.0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        OfflineConfig(batch_size=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("surrogate", r"env\.surrogate"),
        ("state", r"env\.observation"),
        ("p", r"episodes\.p"),
        ("hidden", r"learner\.hidden"),
    ],
)
def test_an_old_flat_setting_is_answered_with_its_new_place(old, new):
    with pytest.raises(UnknownId, match=new):
        mbo_gym.make_method("pgs", **{old: "1"})


def test_too_few_designs_for_a_trajectory_are_named(d3rlpy):
    few = mbo_gym.make_task("Branin-Exact-v0", max_rows=20).problem()
    with pytest.raises(
        InvalidData, match=r"needs 7 distinct designs, the best 20.0 % hold 4; raise p or shorten"
    ):
        fitted(few, trajectories="random")


def test_a_missing_library_is_named_before_any_fitting(branin, monkeypatch):
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    monkeypatch.setattr(
        policy_guided_search,
        "fit_guide_and_judge",
        lambda *a, **k: pytest.fail("fitted for nothing"),
    )
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[rl\]'"):
        fitted(branin)


# --------------------------------------------------------------------------------------------------
# the environment


def episodes_of(method: PolicyGuidedSearch, **settings) -> Episodes:
    """Return the episodes that its policy is learned from, with rewards as they are earned."""
    config = replace(method.config.episodes, standardise_rewards=False, **settings)
    return make_episodes(method.process, config, torch.Generator().manual_seed(0))


def replayed(envs, recorded: Episodes, designs: np.ndarray):
    """Take the recorded actions in an environment, from the recorded starts."""
    steps = iter(recorded.actions.unbind(1))
    return envs.rollout(lambda observation: next(steps), options={"design": designs})


@pytest.mark.parametrize("task", ["TFBind8-Exact-v0", "Branin-Exact-v0"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"step": "scalar", "judge": "same"},
        {"sign": "both", "gradient": "raw", "bounds": "none"},
    ],
)
def test_the_environment_of_gym_make_gives_the_numbers_of_policy_guided_search(
    d3rlpy, task, settings
):
    problem = mbo_gym.make_task(task, max_rows=600).problem()
    method = fitted(problem, surrogate=ENSEMBLE, algorithm="bc", seed=3, **settings)
    arguments = method.config.env_arguments(seed=3)
    options = {"task_options": {"max_rows": 600}}
    recorded = episodes_of(method)
    top = top_rows_of_percentile(problem, method.config.episodes.p)
    drawn = torch.randint(len(top), (30,), generator=torch.Generator().manual_seed(0)).numpy()
    starts = problem.dataset.x[top[drawn]]
    envs = gym.make_vec(f"mbo_gym/{task}", num_envs=len(starts), **arguments, **options)
    found = replayed(envs, recorded, starts)
    assert torch.equal(found.observations, recorded.observations)
    assert torch.equal(found.rewards, recorded.rewards)
    assert envs.single_observation_space.contains(found.observations[0, -1].numpy())
    # and one design alone
    env = gym.make(f"mbo_gym/{task}", **arguments, **options)
    observation, _ = env.reset(options={"design": starts[0]})
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(observation, recorded.observations[0, 0], **close)
    for t, action in enumerate(recorded.actions[0].numpy()):
        observation, reward, _, truncated, _ = env.step(action)
        np.testing.assert_allclose(observation, recorded.observations[0, t + 1], **close)
        np.testing.assert_allclose(reward, recorded.rewards[0, t], **close)
    assert truncated


def test_its_default_environment_is_what_the_page_of_the_environment_says():
    assert {
        "judge": "cross",
        "observation": "guided",
    }.items() <= PGSConfig().env_arguments().items()
    default = {
        "surrogate": "auto",
        "observation": "guided",
        "judge": "cross",
        "gradient": "unit",
        "trust": True,
        "sign": "positive",
    }
    task = "TFBind8-Exact-v0"
    assert EnvConfig(task, **default) == EnvConfig(task, **PGSConfig().env_arguments())


def test_the_search_is_a_rollout_of_the_policy_in_the_environment(default, branin):
    method = searching(default("branin"), proposals="ends")
    best = branin.dataset.top(10).x
    envs = gym.make_vec(
        "mbo_gym/Branin-Exact-v0", num_envs=10, **method.config.env_arguments(seed=0)
    )
    found = envs.rollout(lambda seen: policy_actions(method.algo, seen), options={"design": best})
    z, _ = method._search(10, NullProgress())
    assert torch.equal(found.z[:, -1], z)


def test_a_surrogate_on_sequences_has_the_recipe_for_sequences(tfbind8, branin, monkeypatch):
    small = Choice("coms", {"hidden": 8, "train_steps": 2, "batch_size": 16})
    settings = {"step": "constant", "surrogate": small, "pessimism": 0.0}
    for problem, categorical in ((tfbind8, True), (branin, False)):
        method = PolicyGuidedSearch(with_settings(PGSConfig(), dotted(settings)))
        method.fit(problem)
        for surrogate in method._surrogates():
            alone = make_surrogate(small)
            alone.for_space(problem.space)
            assert surrogate.facts() == alone.facts()
            assert surrogate.facts() != make_surrogate(small).facts()
            assert f"'categorical': {categorical}" in str(surrogate.facts())


# --------------------------------------------------------------------------------------------------
# saving


@pytest.mark.parametrize("algorithm", ["cql", "iql", "td3bc", "bc"])
def test_each_saved_policy_acts_as_the_one_that_was_learned(d3rlpy, branin, tmp_path, algorithm):
    method = fitted(branin, algorithm=algorithm, surrogate=ENSEMBLE)
    method.save(tmp_path)
    names = {*ALWAYS, "surrogate.safetensors", "judge.safetensors"}
    names |= {"policy.safetensors", "policy.d3", "policy.pt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    z = torch.from_numpy(make_encoder(branin).encode(branin.dataset.top(30).x))
    observations = method.process.look(z, 0.5).observation
    actions = policy_actions(method.algo, observations)
    assert len(actions.unique()) > 30  # it does look at what it sees
    by_d3rlpy = d3rlpy.load_learnable(str(tmp_path / "policy.d3"))
    np.testing.assert_array_equal(by_d3rlpy.predict(observations.numpy()), actions.numpy())
    script = torch.jit.load(str(tmp_path / "policy.pt"))
    torch.testing.assert_close(script(observations), actions)
    weights = safetensors.torch.load_file(tmp_path / "policy.safetensors")
    by_d3rlpy.impl.policy.load_state_dict(
        {key: torch.zeros_like(value) for key, value in weights.items()}
    )
    by_d3rlpy.impl.policy.load_state_dict(weights)
    torch.testing.assert_close(policy_actions(by_d3rlpy, observations), actions, rtol=0, atol=0)
    for file, surrogate in zip(("surrogate", "judge"), method._surrogates(), strict=True):
        loaded = load_surrogate(tmp_path / f"{file}.safetensors")
        assert torch.equal(loaded.predict(z), surrogate.predict(z))
    again = mbo_gym.load_method(tmp_path)
    assert torch.equal(policy_actions(again.algo, observations), actions)
    assert np.array_equal(again.propose(10).x, method.propose(10).x)


def test_a_surrogate_that_judges_itself_is_saved_once(d3rlpy, branin, tmp_path):
    fitted(branin, judge="same", algorithm="bc").save(tmp_path)
    assert not (tmp_path / "judge.safetensors").exists()
    assert (tmp_path / "surrogate.safetensors").exists()


def test_an_interrupted_search_is_trained_on_from_its_checkpoint(d3rlpy, branin, tmp_path):
    settings = {"algorithm": "td3bc", "checkpoints": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        fitted(branin, progress=Stop(after=5), **settings)
    notes = Notes()
    method = fitted(branin, progress=notes, **settings)
    assert [step for stage, step, _ in notes.seen if stage == "offline_rl"] == [6, 7, 8, 9, 10]
    assert np.array_equal(method.propose(10).x, fitted(branin, algorithm="td3bc").propose(10).x)
