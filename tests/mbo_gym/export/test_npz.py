from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import default_action_scale
from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.export import export, export_task, load_npz, save_npz
from mbo_gym.export.npz import transition_arrays
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.recipe import TrajectoryRecipe
from mbo_gym.trajectories.samplers import random_top

FIELDS = ("z", "y", "actions", "rewards", "rows")


@pytest.fixture
def batch() -> TrajectoryBatch:
    problem = mbo_gym.make_task("Branin-Exact-v0", fraction=0.2).problem()
    encoder = make_encoder(problem)
    drawn = random_top(problem, encoder, 20.0, 4, 5, torch.Generator().manual_seed(0))
    return with_actions(
        drawn, None, "displacement", default_action_scale(problem, encoder, "displacement")
    )


def same(a: TrajectoryBatch, b: TrajectoryBatch) -> bool:
    for name in FIELDS:
        mine, its = getattr(a, name), getattr(b, name)
        if (mine is None) != (its is None) or (
            mine is not None and (mine.dtype != its.dtype or not mine.equal(its))
        ):
            return False
    return dict(a.meta) == dict(b.meta)


def test_everything_comes_back(batch: TrajectoryBatch, tmp_path: Path) -> None:
    path = save_npz(batch, tmp_path / "folder" / "any.name")
    assert path == tmp_path / "folder" / "any.name"
    loaded = load_npz(str(path))
    assert same(batch, loaded)
    assert loaded.meta["task_options"] == {"fraction": 0.2}
    assert [file.name for file in path.parent.iterdir()] == ["any.name"]


def test_absent_fields_stay_absent(batch: TrajectoryBatch, tmp_path: Path) -> None:
    bare = TrajectoryBatch(batch.z, batch.y, meta={"file": Path("/data/x.csv")})
    loaded = load_npz(save_npz(bare, tmp_path / "bare.npz"))
    assert loaded.actions is None
    assert loaded.rewards is None
    assert loaded.rows is None
    assert loaded.meta == {"file": "/data/x.csv"}


def test_numpy_alone_can_read_it(batch: TrajectoryBatch, tmp_path: Path) -> None:
    with np.load(save_npz(batch, tmp_path / "b.npz"), allow_pickle=False) as archive:
        assert archive["z"].shape == (4, 6, 2)
        assert archive["rewards"].dtype == np.float32
        assert json.loads(str(archive["meta"]))["task_id"] == "Branin-Exact-v0"


def test_meta_that_is_not_json_is_refused(batch: TrajectoryBatch, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        save_npz(TrajectoryBatch(batch.z, batch.y, meta={"a": object()}), tmp_path / "b.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    z, y = torch.randn(2, 3, 2), torch.randn(2, 3)
    original = TrajectoryBatch(
        z, y, torch.rand(2, 2, 2), torch.randn(2, 2), torch.arange(6).view(2, 3), {"a": [1, 2]}
    )
    content = save_npz(original, tmp_path / "whole.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    for end in range(0, len(content), 7):
        damaged.write_bytes(content[:end])
        with pytest.raises(InvalidData, match="truncated, damaged or another"):
            load_npz(damaged)
    for place in range(
        0, len(content), 3
    ):  # a changed byte is either refused or (dates, padding) changes nothing
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x21]) + content[place + 1 :])
        try:
            assert same(load_npz(damaged), original)
        except InvalidData:
            continue


@pytest.mark.parametrize("content", [b"<html>404</html>", b""])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "page.npz"
    path.write_bytes(content)
    with pytest.raises(
        InvalidData, match=r"page\.npz .* Write it again with mbo_gym\.export\.save_npz"
    ):
        load_npz(path)


def test_arrays_of_another_program_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", z=np.zeros((2, 3, 2)), y=np.zeros((2, 3)))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(InvalidData, match="another file"):
            load_npz(tmp_path / name)
    with pytest.raises(MissingData, match="There is no file"):
        load_npz(tmp_path / "none.npz")


def test_transition_arrays_need_actions_and_transitions(batch: TrajectoryBatch) -> None:
    with pytest.raises(ValueError, match="no actions yet"):
        transition_arrays(TrajectoryBatch(batch.z, batch.y))
    with pytest.raises(ValueError, match="no transition"):
        transition_arrays(
            TrajectoryBatch(batch.z[:0], batch.y[:0], torch.zeros(0, 5, 2), torch.zeros(0, 5))
        )
    z, actions, rewards = transition_arrays(batch)
    assert (z.shape, actions.shape, rewards.shape) == ((4, 6, 2), (4, 5, 2), (4, 5))
    assert np.shares_memory(z, batch.z.numpy())


def test_export_task_fits_no_surrogate_without_need(
    batch: TrajectoryBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbo_gym.envs.process.fit_guide_and_judge", None)
    output = tmp_path / "b.npz"
    recipe = TrajectoryRecipe("random_top", n=4, horizon=5)
    said = export_task("Branin-Exact-v0", recipe, to="npz", path=output, options={"fraction": 0.2})
    assert (said.episodes, said.transitions, said.output) == (4, 20, str(output))
    assert str(said) == (
        "Wrote 4 trajectories with 20 transitions; "
        f"read them with mbo_gym.export.load_npz({str(output)!r})."
    )
    loaded = load_npz(output)
    assert loaded.meta["recipe"] == asdict(recipe)
    assert loaded.meta["surrogate"] is None
    meta = {name: value for name, value in loaded.meta.items() if name != "recipe"}
    assert same(replace(loaded, meta=meta), batch)


def test_a_batch_is_exported_as_it_is(batch: TrajectoryBatch, tmp_path: Path) -> None:
    said = export(batch, to="npz", path=tmp_path / "b.npz")
    assert (said.to, said.episodes, said.transitions) == ("npz", 4, 20)
    assert same(load_npz(tmp_path / "b.npz"), batch)


def test_the_old_arguments_of_export_task_still_work(tmp_path: Path) -> None:
    options = {"fraction": 0.2}
    recipe = TrajectoryRecipe(sampler="sorted_top", n=4, horizon=5, seed=3)
    export_task("Branin-Exact-v0", recipe, to="npz", path=tmp_path / "new", options=options)
    with pytest.warns(DeprecationWarning, match="output=, trajectories=, .* is the old way"):
        export_task(
            "Branin-Exact-v0",
            to="npz",
            output=tmp_path / "old",
            trajectories=4,
            horizon=5,
            sampler="sorted_top",
            seed=3,
            options=options,
        )
    assert same(load_npz(tmp_path / "old"), load_npz(tmp_path / "new"))
    refused = pytest.raises(TypeError, match="into the recipe")
    with pytest.warns(DeprecationWarning, match="the old way"), refused:
        export_task("Branin-Exact-v0", recipe, to="npz", path=tmp_path / "x", horizon=5)
    with pytest.raises(TypeError, match="needs path="):
        export_task("Branin-Exact-v0", to="npz")


def test_export_task_takes_local_trajectories(tmp_path: Path) -> None:
    recipe = TrajectoryRecipe(sampler="local_improving", n=4, horizon=5)
    path = tmp_path / "b.npz"
    export_task("Branin-Exact-v0", recipe, to="npz", path=path, options={"fraction": 0.2})
    loaded = load_npz(path)
    assert loaded.require_actions()[0].shape == (4, 5, 2)
    names = ("sampler", "p", "k", "eps", "distance", "stuck_steps")
    assert {name: loaded.meta[name] for name in names} == {
        "sampler": "local_improving",
        "p": 20.0,
        "k": 50,
        "eps": 0.05,
        "distance": "z_score",
        "stuck_steps": 0,
    }


def test_export_task_refuses_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbo_gym.export.make_task", None)
    with pytest.raises(UnknownId, match=r"no export format 'd3rply'\. Did you mean d3rlpy"):
        export_task("Branin-Exact-v0", to="d3rply", path=tmp_path / "x")
    with pytest.raises(ValueError, match="marks no step as terminal"):
        export_task("Branin-Exact-v0", to="npz", path=tmp_path / "x", terminal=True)


def test_exporting_imports_no_optional_library() -> None:
    program = (
        "import sys, mbo_gym.export\n"
        "print([m for m in ('d3rlpy', 'minari', 'h5py', 'gym') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
