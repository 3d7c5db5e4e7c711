from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import ActionMode, default_action_scale
from mbo_gym.errors import InvalidData, MissingDependency, UnknownId
from mbo_gym.export import TrajectoryReward, export_task, to_minari
from mbo_gym.export.minari import DatasetExists, env_spec_of
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.surrogates.registry import SURROGATES, make_surrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.recipe import TrajectoryRecipe
from mbo_gym.trajectories.samplers import random_top

minari = pytest.importorskip("minari", reason="needs minari: pip install 'mbo-gym[rl]'")
pytest.importorskip("h5py", reason="needs h5py: pip install 'mbo-gym[rl]'")

ID = "tests/branin-v0"
B, T = 6, 7
Item = TypeVar("Item")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep data sets in the test's folder, and know a surrogate that fits in a moment (once, see
    tests/conftest.py)."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    tiny = partial(make_surrogate, "mlp")
    with SURROGATES.temporarily("tiny", tiny, hidden=32, train_steps=200):
        yield tmp_path


def make_batch(
    task_id: str = "Branin-Exact-v0",
    *,
    action_mode: ActionMode = "displacement",
    reward: TrajectoryReward = "difference",
    **options: Any,
) -> TrajectoryBatch:
    problem = mbo_gym.make_task(task_id, **options).problem()
    encoder = make_encoder(problem)
    batch = random_top(problem, encoder, 20.0, B, T, torch.Generator().manual_seed(0))
    scale = default_action_scale(problem, encoder, action_mode)
    if (action_mode, reward) == ("displacement", "difference"):
        return with_actions(batch, None, action_mode, scale)
    batch = with_actions(
        batch, fitted_surrogate(problem, encoder, "tiny"), action_mode, scale, reward=reward
    )
    return replace(batch, meta={**batch.meta, "surrogate": "tiny"})


@pytest.mark.parametrize("terminal", [False, True])
def test_the_data_set_loads_back(terminal: bool, recwarn: pytest.WarningsRecorder) -> None:
    batch = make_batch()
    to_minari(batch, ID, terminal=terminal)
    assert [
        str(warning.message) for warning in recwarn if "set to None" in str(warning.message)
    ] == []
    dataset = minari.load_dataset(ID)
    actions, rewards = batch.require_actions()
    assert (dataset.total_episodes, dataset.total_steps) == (B, B * T)
    last = np.arange(T) == T - 1
    for i, episode in enumerate(dataset.iterate_episodes()):
        assert len(episode) == T
        assert episode.observations.shape == (T + 1, 2)
        assert episode.observations.dtype == episode.actions.dtype == np.float32
        np.testing.assert_array_equal(episode.observations, batch.z[i])
        np.testing.assert_array_equal(episode.actions, actions[i])
        np.testing.assert_array_equal(episode.rewards, rewards[i])
        np.testing.assert_array_equal(episode.terminations, last & terminal)
        np.testing.assert_array_equal(episode.truncations, last & (not terminal))
        assert float(episode.rewards.sum()) == pytest.approx(float(rewards[i].sum()), abs=1e-6)
        assert all(dataset.observation_space.contains(z) for z in episode.observations)
        assert all(dataset.action_space.contains(a) for a in episode.actions)
    assert dataset.storage.metadata["mbo_gym"] == batch.meta


@pytest.mark.parametrize(
    ("task_id", "options"),
    [
        ("Branin-Exact-v0", {}),
        ("TFBind8-Exact-v0", {"fraction": 0.2}),
        ("Levy-Exact-v1", {"dim": 4, "max_rows": 500}),
    ],
)
def test_the_recovered_environment_repeats_the_episodes(
    task_id: str, options: dict[str, Any]
) -> None:
    batch = make_batch(task_id, reward="surrogate_difference", **options)
    to_minari(batch, ID)
    dataset = minari.load_dataset(ID)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = dataset.recover_environment()
    assert env.spec.id == f"mbo_gym/{task_id}"
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    for episode in dataset.iterate_episodes():
        design = env.unwrapped.process.designs(torch.from_numpy(episode.observations[:1]))[0]
        observation, _ = env.reset(options={"design": design})
        np.testing.assert_allclose(observation, episode.observations[0], atol=1e-4)
        for t, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_allclose(observation, episode.observations[t + 1], atol=1e-4)
            assert reward == pytest.approx(float(episode.rewards[t]), abs=1e-4)
            assert (terminated, truncated) == (False, t == T - 1)


@pytest.mark.parametrize("action_mode", ["displacement", "step_vector"])
def test_the_spec_says_how_the_data_were_made(action_mode: ActionMode) -> None:
    batch = make_batch("TFBind8-Exact-v1", action_mode=action_mode, max_rows=500)
    batch = replace(batch, meta={**batch.meta, "surrogate": "tiny"})
    registered = gym.spec("mbo_gym/TFBind8-Exact-v1")
    spec = env_spec_of(batch)
    assert (spec.namespace, spec.name, spec.version) == ("mbo_gym", "TFBind8-Exact", 1)
    assert (registered.version, registered.kwargs) == (None, {"task": "TFBind8-Exact-v1"})
    dataset = to_minari(batch, ID, description="For the tests.", author="A. Uthor")
    assert (
        minari.load_dataset(ID).env_spec
        == spec
        == gym.envs.registration.EnvSpec.from_json(spec.to_json())
    )
    env = dataset.recover_environment()
    process = env.unwrapped.process
    assert (process.config.action_mode, process.config.reward, process.config.horizon) == (
        action_mode,
        "surrogate",
        T,
    )
    assert process.scale.tolist() == batch.meta["action_scale"]
    assert len(process.task.dataset) == 500
    metadata = dataset.storage.metadata
    assert metadata["author"] == {"A. Uthor"}
    assert metadata["description"].startswith("For the tests. 6 trajectories of 7 steps")
    assert "pays the surrogate's differences instead" in metadata["description"]
    assert ("does not quite arrive" in metadata["description"]) == (action_mode == "step_vector")


def test_an_existing_data_set_stays(folders: Path) -> None:
    batch = make_batch()
    to_minari(batch, ID)
    with pytest.raises(DatasetExists, match=r"tests/branin-v0.*minari\.delete_dataset"):
        to_minari(batch, ID, terminal=True)
    assert not minari.load_dataset(ID)[0].terminations.any()
    with pytest.raises(DatasetExists):
        export_task("Branin-Exact-v0", to="minari", path=ID)


@pytest.mark.parametrize("dataset_id", ["branin", "b/branin-v0", "a b-v0", ""])
def test_a_malformed_id_leaves_nothing(dataset_id: str, folders: Path) -> None:
    with pytest.raises(ValueError, match="namespace"):
        to_minari(make_batch(), dataset_id)
    assert not (folders / "minari").exists() or list((folders / "minari").iterdir()) == []


class Interrupted(NullProgress):
    """Stops in the middle, as Ctrl-C would."""

    def track(
        self, items: Iterable[Item], description: str, total: int | None = None
    ) -> Iterator[Item]:
        for i, item in enumerate(items):
            if i == 3:
                raise KeyboardInterrupt
            yield item


def test_an_interrupted_export_leaves_nothing() -> None:
    batch = make_batch()
    with pytest.raises(KeyboardInterrupt):
        to_minari(batch, ID, progress=Interrupted())
    assert minari.list_local_datasets() == {}
    to_minari(batch, ID)
    assert list(minari.list_local_datasets()) == [ID]


def test_batches_that_do_not_say_their_environment_are_refused() -> None:
    batch = make_batch()
    with pytest.raises(
        InvalidData, match="its meta lacks task_id, encoder, action_mode, action_scale"
    ):
        to_minari(replace(batch, meta={}), ID)
    with pytest.raises(UnknownId, match="no surrogate 'mine'"):
        to_minari(replace(batch, meta={**batch.meta, "surrogate": "mine"}), ID)
    with pytest.raises(InvalidData, match="leaves the observations"):
        to_minari(replace(batch, meta={**batch.meta, "task_options": {"fraction": 0.01}}), ID)
    with pytest.raises(InvalidData, match="the features of"):
        to_minari(replace(batch, meta={**batch.meta, "task_id": "Levy-Exact-v0"}), ID)
    with pytest.raises(ValueError, match="no actions yet"):
        to_minari(replace(batch, actions=None, rewards=None), ID)
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize("library", ["minari", "h5py"])
def test_missing_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"needs {library}.*mbo-gym\[rl\]"):
        to_minari(make_batch(), ID)


def test_export_task(capfd: pytest.CaptureFixture[str]) -> None:
    reward = "surrogate_difference"
    recipe = TrajectoryRecipe("random_top", n=B, horizon=T, reward=reward, surrogate="tiny")
    said = export_task("Branin-Exact-v0", recipe, to="minari", path=ID)
    assert capfd.readouterr() == ("", "")
    assert str(said).endswith(f"read them with minari.load_dataset('{ID}').")
    dataset, batch = minari.load_dataset(ID), make_batch(reward="surrogate_difference")
    np.testing.assert_array_equal(
        np.stack([e.rewards for e in dataset]), batch.require_actions()[1]
    )
    assert dataset.env_spec.kwargs["surrogate"] == "tiny"
    assert dataset.storage.metadata["mbo_gym"]["recipe"] == asdict(recipe)
