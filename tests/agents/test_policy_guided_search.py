"""Policy-guided search and the offline-RL learner below it, at a size that trains in seconds."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import safetensors.torch
import torch

import mbo_gym
from agents.rl import offline, policy_guided_search
from agents.rl.offline import OfflineConfig, policy_actions, third_party_seed, train_offline
from agents.rl.policy_guided_search import PGSConfig, PolicyGuidedSearch
from mbo_gym.encoding import make_encoder
from mbo_gym.envs.dynamics import feature_bounds, transition
from mbo_gym.errors import InvalidData, MissingDependency, UnknownId
from mbo_gym.export.d3rlpy import import_d3rlpy
from mbo_gym.progress import NullProgress
from mbo_gym.surrogates import SURROGATES, MLPConfig, MLPSurrogate, fit_surrogate
from mbo_gym.trajectories import TrajectoryBatch, random_top, with_actions

SURROGATE = "surrogate_of_the_search_tests"
SMALL = {"train_steps": 30, "batch_size": 32, "hidden": 16}
SEARCH = {**SMALL, "surrogate": SURROGATE, "n_trajectories": 30, "horizon": 6}


class Notes(NullProgress):
    """Keeps the metrics and the designs along the search."""

    def __init__(self):
        self.seen, self.shown = [], []

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))

    def designs(self, stage, step, x, prediction):
        self.shown.append((stage, step, x, prediction))


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SURROGATES, "_specs", dict(SURROGATES._all()))
        SURROGATES.register(SURROGATE, lambda: MLPSurrogate(MLPConfig(hidden=16, steps=100)))
        yield


@pytest.fixture(scope="module")
def d3rlpy():
    try:
        return import_d3rlpy()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def batch() -> TrajectoryBatch:
    """Return 5 trajectories of 4 steps of 3 features; every number in it is different."""
    numbers = torch.arange(5 * 5 * 3, dtype=torch.float32).view(5, 5, 3) / 40 - 1
    return TrajectoryBatch(
        numbers,
        numbers[:, :, 0] * 2,
        actions=numbers[:, :-1] * 0.5 + 0.1,
        rewards=numbers[:, :-1, 1] + 7,
    )


def weights(algo) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in algo.impl.policy.parameters()])


def train(batch, *, seed=0, progress=None, **settings):
    config = OfflineConfig(**{**SMALL, **settings})
    return train_offline(batch, config, seed=seed, device="cpu", progress=progress or NullProgress())


@pytest.mark.parametrize("algorithm", ["cql", "iql"])
def test_it_trains_and_reports_its_losses(d3rlpy, batch, algorithm):
    notes = Notes()
    algo = train(batch, algorithm=algorithm, progress=notes)
    assert [(stage, step) for stage, step, _ in notes.seen] == [("offline_rl", step) for step in range(1, 31)]
    losses = notes.seen[-1][2]
    assert {"critic_loss", "actor_loss"} <= set(losses)
    assert all(np.isfinite(value) for value in losses.values())
    actions = policy_actions(algo, batch.z[:, 0])
    assert actions.shape == (5, 3)
    assert float(actions.abs().max()) <= 1
    assert not actions.requires_grad
    assert torch.equal(actions, policy_actions(algo, batch.z[:, 0]))


@pytest.mark.parametrize("algorithm", ["cql", "iql"])
def test_the_seed_decides_the_policy(d3rlpy, batch, algorithm):
    first, again, other = (train(batch, algorithm=algorithm, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("algorithm", ["cql", "iql"])
def test_training_changes_the_policy(d3rlpy, batch, algorithm):
    untrained, trained = train(batch, algorithm=algorithm, train_steps=0), train(batch, algorithm=algorithm)
    assert not torch.equal(weights(untrained), weights(trained))


@pytest.mark.parametrize(
    ("field", "value"), [("discount", 0.1), ("learning_rate", 1e-2), ("conservative_weight", 50.0), ("hidden", 8)]
)
def test_every_setting_of_the_learner_reaches_it(d3rlpy, batch, field, value):
    plain, changed = weights(train(batch)), weights(train(batch, **{field: value}))
    assert plain.shape != changed.shape or not torch.equal(plain, changed)


def test_the_learners_own_config_is_d3rlpys(d3rlpy):
    config = OfflineConfig(discount=0.9, conservative_weight=3.0, n_action_samples=6, learning_rate=2e-3)
    cql = offline._create(d3rlpy, config, "cpu").config
    assert (cql.gamma, cql.conservative_weight, cql.n_action_samples) == (0.9, 3.0, 6)
    assert cql.actor_learning_rate == cql.critic_learning_rate == 2e-3
    assert cql.alpha_learning_rate == 0  # the conservative weight stays what it is
    iql = offline._create(d3rlpy, OfflineConfig(algorithm="iql", discount=0.8), "cpu").config
    assert iql.gamma == 0.8


@pytest.mark.parametrize("terminal", [False, True])
def test_a_mini_batch_holds_the_transitions_of_the_trajectories(d3rlpy, batch, terminal):
    row, t = torch.tensor([0, 2, 4, 2]), torch.tensor([0, 3, 3, 1])
    mini = offline._mini_batch(d3rlpy, batch, row, t, terminal)
    for i, (b, step) in enumerate(zip(row.tolist(), t.tolist(), strict=True)):
        np.testing.assert_array_equal(mini.observations[i], batch.z[b, step])
        np.testing.assert_array_equal(mini.next_observations[i], batch.z[b, step + 1])
        np.testing.assert_array_equal(mini.actions[i], batch.actions[b, step])
        np.testing.assert_array_equal(mini.rewards[i], [batch.rewards[b, step]])
        if step < 3:
            np.testing.assert_array_equal(mini.next_actions[i], batch.actions[b, step + 1])
    assert mini.terminals[:, 0].tolist() == ([0, 1, 1, 0] if terminal else [0, 0, 0, 0])
    assert mini.intervals.tolist() == [[1]] * 4
    assert {array.dtype for array in (mini.observations, mini.actions, mini.rewards, mini.terminals)} == {
        np.dtype(np.float32)
    }


def test_mini_batches_cover_every_transition(d3rlpy, batch, monkeypatch):
    drawn = []
    original = offline._mini_batch

    def note(module, batch_, row, t, terminal):
        drawn.append(torch.stack([row, t], dim=1))
        return original(module, batch_, row, t, terminal)

    monkeypatch.setattr(offline, "_mini_batch", note)
    train(batch)
    pairs, counts = torch.cat(drawn).unique(dim=0, return_counts=True)
    assert pairs.tolist() == [[b, t] for b in range(5) for t in range(4)]
    assert int(counts.sum()) == 30 * 32
    assert int(counts.min()) > 15  # 48 each on average


def test_without_actions_there_is_nothing_to_learn_from(d3rlpy, batch):
    with pytest.raises(ValueError, match="no actions yet"):
        train(TrajectoryBatch(batch.z, batch.y))


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002 (the states in question)


def test_third_party_libraries_get_a_seed_and_leave_no_trace():
    draws()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draws()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])  # noqa: NPY002
    with third_party_seed(3):
        inside = draws()
    assert draws() == expected
    with third_party_seed(3):
        assert draws() == inside
    with third_party_seed(4):
        assert all(a != b for a, b in zip(draws(), inside, strict=True))


def test_the_states_come_back_after_an_error_too():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    expected = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002

    @third_party_seed(2**40)  # numpy's own seeds end at 2**32
    def fail():
        raise ZeroDivisionError(draws())

    with pytest.raises(ZeroDivisionError):
        fail()
    assert draws() == expected


def fitted(problem, **settings) -> PolicyGuidedSearch:
    method = PolicyGuidedSearch(PGSConfig(**{**SEARCH, **settings}))
    method.fit(problem, seed=0, device="cpu", progress=NullProgress())
    return method


@pytest.mark.parametrize("given", [None, 0.37])
def test_one_action_scale_serves_training_and_search(d3rlpy, branin, monkeypatch, given):
    seen = {}

    def note(name, original, at):
        def wrapped(*arguments, **options):
            seen.setdefault(name, []).append(arguments[at].clone())
            return original(*arguments, **options)

        return wrapped

    monkeypatch.setattr(policy_guided_search, "with_actions", note("training", with_actions, 3))
    monkeypatch.setattr(policy_guided_search, "transition", note("search", transition, 3))
    fitted(branin, action_scale=given).propose(4)
    expected = torch.full((2,), 0.05 * 2**0.5 if given is None else given)
    assert (len(seen["training"]), len(seen["search"])) == (1, 6)
    for scale in (*seen["training"], *seen["search"]):
        assert torch.allclose(scale, expected)


def test_the_actions_learned_from_lead_along_the_trajectories(branin):
    encoder = make_encoder(branin)
    surrogate = fit_surrogate(branin, encoder, MLPSurrogate(MLPConfig(hidden=16, steps=100)), seed=0)
    scale = torch.full((2,), 20.0)  # the default one clips almost every action of two features
    trajectories = random_top(branin, encoder, 20.0, 200, 4, torch.Generator().manual_seed(0))
    trajectories = with_actions(trajectories, surrogate, "step_vector", scale)
    start, end, action = (
        part.flatten(0, 1) for part in (trajectories.z[:, :-1], trajectories.z[:, 1:], trajectories.actions)
    )
    whole = (action.abs() < 1).all(dim=1)
    assert int(whole.sum()) > 5
    reached = transition(start[whole], action[whole], surrogate.gradient(start[whole]), scale, None)
    assert torch.allclose(reached, end[whole], atol=1e-5)


def test_the_search_follows_the_policy_along_the_gradient(d3rlpy, branin, monkeypatch):
    method = fitted(branin, search_steps=1, bounds="none", action_scale=0.5)
    monkeypatch.setattr(policy_guided_search, "policy_actions", lambda algo, z: torch.full_like(z, 0.2))
    x = method.propose(8)
    encoder = make_encoder(branin)
    z = torch.from_numpy(encoder.encode(branin.dataset.top(8).x))
    expected = z + 0.5 * 0.2 * method._surrogate.gradient(z)
    prediction = method._surrogate.predict(expected)
    order = prediction.argsort(descending=True)
    np.testing.assert_allclose(x, encoder.decode(expected[order].numpy()), atol=1e-4)
    np.testing.assert_allclose(method.criterion, prediction[order].numpy(), rtol=1e-5)


def test_the_search_takes_as_many_steps_as_it_is_told(d3rlpy, branin, monkeypatch):
    calls = []
    method = fitted(branin)
    monkeypatch.setattr(policy_guided_search, "policy_actions", lambda algo, z: calls.append(1) or torch.zeros_like(z))
    for steps, expected in ((None, 6), (2, 2), (0, 0)):
        calls.clear()
        method.config = PGSConfig(**SEARCH, search_steps=steps)
        x = method.propose(5)
        assert len(calls) == expected
        best = branin.dataset.top(5).x  # without an action it stays there
        np.testing.assert_allclose(x[x[:, 0].argsort()], best[best[:, 0].argsort()], atol=1e-4)


def test_the_search_is_shown_from_start_to_end_with_its_actions(d3rlpy, branin):
    notes = Notes()
    method = PolicyGuidedSearch(PGSConfig(**SEARCH, search_steps=45))
    method.fit(branin, seed=0, device="cpu", progress=notes)
    assert notes.shown == []
    x = method.propose(5)
    watched = [*range(0, 45, 2), 45]
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [("search", step) for step in watched]
    np.testing.assert_allclose(notes.shown[0][2], branin.dataset.top(5).x, rtol=1e-5)
    end, raw = notes.shown[-1][2:]
    order = np.argsort(-raw, kind="stable")
    np.testing.assert_array_equal(end[order], x)
    np.testing.assert_allclose(branin.dataset.score_scale.restore(method.criterion), raw[order], rtol=1e-5)
    search = [(step, set(values)) for stage, step, values in notes.seen if stage == "search"]
    assert [step for step, names in search if names == {"prediction"}] == watched
    assert [step for step, names in search if names == {"action"}] == list(range(45))


@pytest.mark.parametrize("bounds", ["data", "none"])
def test_the_box_of_the_visible_features_holds_unless_it_is_lifted(d3rlpy, branin, monkeypatch, bounds):
    ends = []
    method = fitted(branin, bounds=bounds, action_scale=50.0)
    monkeypatch.setattr(policy_guided_search, "policy_actions", lambda algo, z: torch.ones_like(z))
    original = policy_guided_search.best_first
    monkeypatch.setattr(policy_guided_search, "best_first", lambda s, z, k: ends.append(z) or original(s, z, k))
    method.propose(10)
    low, high = map(torch.from_numpy, feature_bounds(branin, make_encoder(branin)))
    inside = bool(((ends[0] >= low) & (ends[0] <= high)).all())
    assert inside == (bounds == "data")


def test_it_saves_the_policy_that_it_learned(d3rlpy, branin, tmp_path):
    method = fitted(branin)
    method.save(tmp_path)
    saved = safetensors.torch.load_file(tmp_path / "policy.safetensors")
    learned = method._algo.impl.policy.state_dict()
    assert saved.keys() == learned.keys()
    assert all(torch.equal(saved[key], learned[key]) for key in saved)


def test_the_settings_of_the_trajectories_reach_the_learner(d3rlpy, branin, monkeypatch):
    seen = {}

    def note(batch, config, *, seed, device, progress, terminal):
        seen.update(meta=batch.meta, shape=tuple(batch.z.shape), terminal=terminal, actions=batch.actions)
        return train_offline(batch, config, seed=seed, device=device, progress=progress, terminal=terminal)

    monkeypatch.setattr(policy_guided_search, "train_offline", note)
    fitted(branin)
    assert (seen["meta"]["sampler"], seen["meta"]["reward"], seen["terminal"]) == ("random_top", "difference", False)
    assert seen["shape"] == (30, 7, 2)
    assert bool((seen["actions"].abs() == 1).any())  # clipped
    fitted(branin, trajectories="sorted_top", reward="surrogate_difference", outside="zero", terminal=True, p=5.0)
    assert (seen["meta"]["sampler"], seen["meta"]["reward"]) == ("sorted_top", "surrogate_difference")
    assert (seen["meta"]["p"], seen["terminal"]) == (5.0, True)
    assert not bool((seen["actions"].abs() == 1).any())  # set to zero instead


def test_an_unknown_sampler_is_refused_when_it_is_built():
    with pytest.raises(UnknownId, match="Did you mean random_top"):
        mbo_gym.make_method("pgs", trajectories="randomtop")


def test_too_few_designs_for_a_trajectory_are_named(d3rlpy):
    few = mbo_gym.make_task("Branin-Exact-v0", max_rows=20).problem()
    with pytest.raises(InvalidData, match=r"needs 7 distinct designs, the best 20.0 % hold 4; raise p or shorten"):
        fitted(few)


def test_a_missing_library_is_named_before_any_fitting(branin, monkeypatch):
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    monkeypatch.setattr(policy_guided_search, "fit_surrogate", lambda *a, **k: pytest.fail("fitted for nothing"))
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[rl\]'"):
        fitted(branin)
