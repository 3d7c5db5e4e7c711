"""OSEL within policy-guided search: which policies it learns and compares, and that it keeps the
one it chose."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import safetensors.torch
import torch

import mbo_gym
from agents.rl import pgs as policy_guided_search
from agents.rl import selection as model_selection
from agents.rl.collect import make_episodes
from agents.rl.learner import train_offline
from agents.rl.learner_config import OfflineConfig
from agents.rl.pgs import PGSConfig, PolicyGuidedSearch
from agents.rl.value_prediction import VPNConfig, train_value_prediction
from helpers import d3rlpy_or_skip
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import with_settings
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

SURROGATE = "surrogate_of_the_selection_tests"
OSEL = {
    "select": "osel",
    "learner.algorithm": "bc",
    "learner.train_steps": 8,
    "learner.batch_size": 32,
    "learner.hidden": 16,
    "episodes.n_trajectories": 30,
    "episodes.horizon": 3,
    "n_starts": None,
    "env.surrogate": SURROGATE,
}


class Notes(NullProgress):
    """Keeps the metrics; interrupts the work after so many updates of a policy."""

    def __init__(self, stop_after: int | None = None):
        self.seen, self.left = [], stop_after

    def track(self, items, description, total=None):
        for item in items:
            if self.left is not None and description.startswith("training"):
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
            yield item

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    config = MLPConfig(hidden=16, train_steps=60)
    with SURROGATES.temporarily(SURROGATE, lambda: MLPSurrogate(config)):
        yield


@pytest.fixture(scope="module")
def d3rlpy():
    return d3rlpy_or_skip()


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


def fitted(problem, *, progress=None, **settings) -> PolicyGuidedSearch:
    method = PolicyGuidedSearch(with_settings(PGSConfig(), {**OSEL, **settings}))
    method.fit(problem, Context(progress=progress or NullProgress()))
    return method


@pytest.fixture
def trained(monkeypatch) -> list:
    """Record what each training ends with: its p, its algorithm and the snapshots taken on the
    way."""
    record, percents = [], []

    def make(process, config, generator):
        percents.append(config.p)
        return make_episodes(process, config, generator)

    def train(given, config, *, snapshots, **rest):
        algo = train_offline(given, config, snapshots=snapshots, **rest)
        record.append((percents[-1], algo, snapshots))
        return algo

    monkeypatch.setattr(policy_guided_search, "make_episodes", make)
    monkeypatch.setattr(policy_guided_search, "train_offline", train)
    return record


def same_weights(first, second) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


@pytest.mark.parametrize("place", [0, 6, 11])
def test_osel_takes_the_candidate_that_is_ranked_first_with_its_weights(
    d3rlpy, branin, monkeypatch, tmp_path, trained, place
):
    ranked = []

    def rank(candidates, score):
        ranked.extend(candidates)
        others = [candidate for i, candidate in enumerate(candidates) if i != place]
        return [(candidates[place], 1.0), *((candidate, 0.0) for candidate in others)]

    monkeypatch.setattr(policy_guided_search, "rank_candidates", rank)
    monkeypatch.setattr(policy_guided_search, "KnnScore", lambda *a, **k: None)
    method = fitted(branin)
    assert [(c.p, c.step) for c in ranked] == [
        (p, step) for p in (10, 20, 30, 40) for step in (2, 4, 6, 8)
    ]
    assert [p for p, _, _ in trained] == [10, 20, 30, 40]
    assert all(candidate.z.shape == (128, 2) for candidate in ranked)
    chosen = ranked[place]
    _, algo, snapshots = trained[place // 4]
    kept = snapshots[chosen.step]
    assert (
        sum(same_weights(kept, other) for _, _, taken in trained for other in taken.values()) == 1
    )
    assert method.algo is algo
    assert same_weights(method.algo.impl.policy.state_dict(), kept)
    proposals = torch.from_numpy(method.process.encoder.encode(method.propose(128).x))
    assert torch.equal(proposals, chosen.z)  # those that it was chosen for
    method.save(tmp_path)
    assert same_weights(safetensors.torch.load_file(tmp_path / "policy.safetensors"), kept)
    table = json.loads((tmp_path / "osel.json").read_text())
    assert len(table) == 16
    assert table[0] == {"p": chosen.p, "step": chosen.step, "score": 1.0}
    again = mbo_gym.load_method(tmp_path)
    assert same_weights(again.algo.impl.policy.state_dict(), kept)
    for (left, score), (right, expected) in zip(again.ranking, method.ranking, strict=True):
        assert (left.p, left.step, score) == (right.p, right.step, expected)
        assert torch.equal(left.z, right.z)


@pytest.mark.parametrize("embedding", ["hidden", "vpn"])
def test_osel_ranks_by_the_nearest_visible_designs_in_the_embedding(
    d3rlpy, branin, monkeypatch, embedding
):
    networks, scores = [], []

    def train(batch, space, **rest):
        assert batch.meta["p"] == 100
        networks.append(train_value_prediction(batch, space, VPNConfig(hidden=8, steps=5), **rest))
        return networks[-1]

    def knn(*arguments, **options):
        scores.append(model_selection.KnnScore(*arguments, **options))
        return scores[-1]

    monkeypatch.setattr(policy_guided_search, "train_value_prediction", train)
    monkeypatch.setattr(policy_guided_search, "KnnScore", knn)
    notes, state = Notes(), torch.get_rng_state()
    method = fitted(branin, progress=notes, embedding=embedding)
    assert torch.equal(torch.get_rng_state(), state)
    told = [values["score"] for stage, _, values in notes.seen if stage == "osel"]
    assert len(told) == 16
    assert told == sorted(told, reverse=True)
    assert [score for _, score in method.ranking] == told
    assert all(
        model_selection.osel_score(scores[0], candidate.z) == score
        for candidate, score in method.ranking
    )
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    embed = networks[0].embed if embedding == "vpn" else method.process.surrogate.hidden
    assert torch.equal(scores[0]._embedded(z), embed(z))
    assert branin.space.contains(method.propose(5).x).all()


@pytest.mark.parametrize(("train_steps", "kept"), [(10, [2, 5, 7, 10]), (3, [1, 2, 3])])
def test_osel_keeps_at_most_four_checkpoints_the_last_one_among_them(
    d3rlpy, branin, trained, train_steps, kept
):
    fitted(branin, **{"learner.train_steps": train_steps})
    assert [list(snapshots) for _, _, snapshots in trained] == [kept] * 4


def test_osel_needs_something_to_choose_from():
    with pytest.raises(
        ValueError, match=r"select='osel' chooses among checkpoints.* got learner\.train_steps=0"
    ):
        PGSConfig(select="osel", learner=OfflineConfig(train_steps=0))


def test_an_interrupted_selection_is_taken_up_again(d3rlpy, branin, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fitted(
            branin, progress=Notes(stop_after=13), **{"learner.checkpoints": str(tmp_path)}
        )  # five updates into the second training
    notes = Notes()
    method = fitted(branin, progress=notes, **{"learner.checkpoints": str(tmp_path)})
    trained = [step for stage, step, _ in notes.seen if stage == "offline_rl"]
    assert trained == [6, 7, 8, *range(1, 9), *range(1, 9)]
    whole = fitted(branin)
    assert [(c.p, c.step, score) for c, score in method.ranking] == [
        (c.p, c.step, s) for c, s in whole.ranking
    ]
    assert np.array_equal(method.propose(10).x, whole.propose(10).x)
