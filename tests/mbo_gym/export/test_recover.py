"""Data sets and environments made from a user's table are recovered in any folder."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import mbo_gym
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.export import env_spec_of, export, load_npz, recover_environment
from mbo_gym.files.store import sha256
from mbo_gym.tasks.table_space import write_space
from mbo_gym.trajectories.batch import TrajectoryBatch

RECIPE = mbo_gym.TrajectoryRecipe(n=3, horizon=2)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the folder of a table, which is the working folder, and another one."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    rows = "".join(f"{i}.5,{i % 7}.25,{i * (i % 7)}\n" for i in range(40))
    (here / "plain.csv").write_text(f"temp,conc,yield\n{rows}")
    monkeypatch.chdir(here)
    return here, there


def batch_of(**options: object) -> TrajectoryBatch:
    options = {"path": "plain.csv", "score_column": "yield", **options}
    return mbo_gym.make_trajectories(mbo_gym.make_task("csv", **options).problem(), RECIPE)


def test_path_and_hash_are_kept(folders):
    here, _ = folders
    options = batch_of().meta["task_options"]
    assert options["path"] == str(here / "plain.csv")
    assert options["sha256"] == {"path": sha256(here / "plain.csv")}
    env = gym.make("mbo_gym/csv", task_options={**options}, surrogate="quadratic")
    kept = json.loads(env.spec.to_json())["kwargs"]["task_options"]
    assert kept == options


@pytest.mark.parametrize("to", ["npz", "d3rlpy"])
def test_an_exported_file_makes_its_environment_elsewhere(folders, monkeypatch, to):
    here, there = folders
    if to == "d3rlpy":
        pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
    batch = batch_of()
    export(batch, to=to, path=here / "t.data")
    monkeypatch.chdir(there)
    env = recover_environment(here / "t.data", surrogate="quadratic")
    assert env.spec.max_episode_steps == RECIPE.horizon
    z = batch.z.reshape(-1, batch.z.shape[2]).numpy()
    assert env.observation_space.contains(z.min(axis=0))
    assert env.observation_space.contains(z.max(axis=0))


def test_minari_recovers_elsewhere_and_says_what_changed(folders, monkeypatch):
    minari = pytest.importorskip("minari", reason="needs minari: pip install 'mbo-gym[rl]'")
    here, there = folders
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(here / "minari"))
    export(batch_of(), to="minari", path="tests/table-v0")
    monkeypatch.chdir(there)
    dataset = minari.load_dataset("tests/table-v0")
    assert dataset.recover_environment(surrogate="quadratic").spec.max_episode_steps == 2
    (here / "plain.csv").rename(there / "moved.csv")
    with pytest.raises(MissingData, match=r"plain\.csv is missing"):
        dataset.recover_environment()
    options = {**dataset.env_spec.kwargs["task_options"], "path": "moved.csv"}
    assert dataset.recover_environment(task_options=options, surrogate="quadratic")


def test_a_missing_table_is_named_with_the_way_out(folders, monkeypatch):
    here, there = folders
    export(batch_of(), to="npz", path=here / "t.npz")
    known = sha256(here / "plain.csv")
    moved = here / "moved.csv"
    (here / "plain.csv").rename(moved)
    with pytest.raises(MissingData) as caught:
        recover_environment(here / "t.npz")
    said = str(caught.value)
    assert said.startswith(f"{here / 'plain.csv'} is missing")
    assert known[:16] in said
    assert "task_options={**options, 'path': NEW}" in said
    options = {**env_spec_of(load_npz(here / "t.npz")).kwargs["task_options"], "path": str(moved)}
    assert recover_environment(here / "t.npz", task_options=options, surrogate="quadratic")
    (there / "plain.csv").write_bytes(moved.read_bytes())  # a copy of that name where one works
    monkeypatch.chdir(there)
    assert recover_environment(here / "t.npz", surrogate="quadratic")
    (there / "plain.csv").write_text("temp,conc,yield\n1,2,3\n")  # another file of that name
    with pytest.raises(MissingData, match="is missing"):
        recover_environment(here / "t.npz")


def test_a_changed_table_is_refused_with_both_hashes(folders):
    here, _ = folders
    env = gym.make("mbo_gym/csv", task_options={"path": "plain.csv", "score_column": "yield"})
    written = env.spec.to_json()
    before = sha256(here / "plain.csv")
    with (here / "plain.csv").open("a") as file:
        file.write("50.5,1.25,3\n")
    spec = EnvSpec.from_json(written)
    with pytest.raises(InvalidData) as caught:
        gym.make(spec)
    for digits in (before[:16], sha256(here / "plain.csv")[:16]):
        assert digits in str(caught.value)
    options = dict(spec.kwargs["task_options"])
    del options["sha256"]
    assert gym.make(spec, task_options=options, surrogate="quadratic")


def test_the_space_file_counts_too(folders):
    here, _ = folders
    Path("space.toml").write_text(write_space(here / "plain.csv", "yield")[0])
    spec = env_spec_of(batch_of(score_column=None, space="space.toml"))
    assert set(spec.kwargs["task_options"]["sha256"]) == {"path", "space"}
    Path("space.toml").write_text(Path("space.toml").read_text() + "# mine\n")
    with pytest.raises(InvalidData, match=r"space\.toml has changed"):
        gym.make(spec)
    Path("space.toml").unlink()
    with pytest.raises(MissingData, match=r"space\.toml is missing"):
        gym.make(spec)


def test_a_hash_of_no_file_is_refused(folders):
    with pytest.raises(InvalidData, match="sha256 has the options space, which name no file"):
        mbo_gym.make_task("csv", path="plain.csv", score_column="yield", sha256={"space": "0"})


def test_other_tasks_keep_their_options_as_they_are():
    problem = mbo_gym.make_task("Branin-Exact-v0", max_rows=50).problem()
    assert problem.recovery_options == {"max_rows": 50}


def test_a_method_that_learns_apart_sees_no_hash(folders):
    problem = mbo_gym.make_task("csv", path="plain.csv", score_column="yield").problem()
    assert problem.files
    assert problem.opaque().recovery_options == {}


def test_a_file_without_an_environment_is_named(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'mbo-gym[rl]'")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(InvalidData, match="does not say which environment"):
        recover_environment(tmp_path / "other.h5")
    with pytest.raises(MissingData, match="There is no file"):
        recover_environment(tmp_path / "none.h5")
