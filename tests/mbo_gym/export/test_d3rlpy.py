from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import ActionMode, default_action_scale
from mbo_gym.errors import MissingDependency
from mbo_gym.export import export_task, save_d3rlpy, to_d3rlpy
from mbo_gym.optional import optional_import
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.recipe import TrajectoryRecipe
from mbo_gym.trajectories.samplers import random_top

pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
d3rlpy = optional_import("d3rlpy", "rl")
CONTINUOUS = d3rlpy.ActionSpace.CONTINUOUS
B, T = 6, 7


def make_batch(
    task_id: str, action_mode: ActionMode = "displacement", encoder_name: str = "z_score"
) -> TrajectoryBatch:
    problem = mbo_gym.make_task(task_id).problem()
    encoder = make_encoder(problem, encoder_name)
    batch = random_top(problem, encoder, 20.0, B, T, torch.Generator().manual_seed(0))
    surrogate = None
    if action_mode == "step_vector":
        surrogate = fit_surrogate(
            problem, encoder, make_surrogate("mlp", hidden=32, train_steps=200), seed=0
        )
    return with_actions(
        batch, surrogate, action_mode, default_action_scale(problem, encoder, action_mode)
    )


@pytest.fixture(scope="module")
def branin() -> TrajectoryBatch:
    return make_batch("Branin-Exact-v0")


@pytest.fixture(scope="module")
def tfbind8() -> TrajectoryBatch:
    return make_batch("TFBind8-Exact-v0", "step_vector")


@pytest.fixture(scope="module")
def whole() -> TrajectoryBatch:
    """One-hot displacements: each action is -1, 0 or 1."""
    return make_batch("TFBind8-Exact-v0", encoder_name="one_hot")


@pytest.fixture(params=["branin", "tfbind8", "whole"])
def batch(request: pytest.FixtureRequest) -> TrajectoryBatch:
    found: TrajectoryBatch = request.getfixturevalue(request.param)
    return found


def load(path: Path) -> Any:
    return d3rlpy.dataset.ReplayBuffer.load(str(path), d3rlpy.dataset.InfiniteBuffer())


def picked(buffer: Any) -> list[Any]:
    """Return the transitions as d3rlpy's algorithms see them."""
    return [buffer.transition_picker(*buffer.buffer[i]) for i in range(buffer.transition_count)]


def check_transitions(
    buffer: Any, batch: TrajectoryBatch, terminal: bool, rtol: float = 0.0
) -> None:
    assert buffer.size() == B
    assert buffer.transition_count == B * T
    assert buffer.dataset_info.action_space == CONTINUOUS
    assert buffer.dataset_info.action_size == batch.z.shape[2]
    transitions = picked(buffer)
    observed = {
        name: np.stack([getattr(t, name) for t in transitions])
        for name in ("observation", "action", "reward")
    }
    assert all(array.dtype == np.float32 for array in observed.values())
    actions, rewards = batch.require_actions()
    np.testing.assert_array_equal(observed["observation"], batch.z[:, :-1].flatten(0, 1))
    np.testing.assert_allclose(observed["action"], actions.flatten(0, 1), rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(observed["reward"], rewards.flatten()[:, None])
    after = batch.z[:, 1:].clone()
    if terminal:
        after[:, -1] = 0
    np.testing.assert_array_equal(
        np.stack([t.next_observation for t in transitions]), after.flatten(0, 1)
    )
    ends = np.tile(np.arange(T) == T - 1, B) & terminal
    np.testing.assert_array_equal([t.terminal for t in transitions], ends)


@pytest.mark.parametrize("terminal", [False, True])
def test_every_transition_is_there(
    batch: TrajectoryBatch, terminal: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = to_d3rlpy(batch, terminal=terminal)
    check_transitions(buffer, batch, terminal)
    assert {episode.rewards.shape for episode in buffer.episodes} == {(T if terminal else T + 1, 1)}
    returns = [episode.compute_return() for episode in buffer.episodes]
    np.testing.assert_allclose(returns, batch.require_actions()[1].sum(dim=1), rtol=1e-5, atol=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_file_loads_with_every_transition(
    batch: TrajectoryBatch, terminal: bool, tmp_path: Path
) -> None:
    path = save_d3rlpy(batch, tmp_path / "folder" / "data.h5", terminal=terminal)
    # 2^-24 is what makes whole actions continuous for d3rlpy, once in the file; nothing else may
    # differ
    check_transitions(load(path), batch, terminal, rtol=2.0**-24)
    changed = sum(
        int((a != b).sum())
        for a, b in zip(
            (t.action for t in picked(load(path))),
            batch.require_actions()[0].flatten(0, 1).numpy(),
            strict=True,
        )
    )
    whole_actions = not (batch.require_actions()[0][0] % 1).any()
    assert changed == (whole_actions and terminal)
    assert [file.name for file in path.parent.iterdir()] == ["data.h5"]


def test_the_file_is_what_d3rlpy_writes_itself(branin: TrajectoryBatch, tmp_path: Path) -> None:
    ours, buffer = save_d3rlpy(branin, tmp_path / "ours.h5"), to_d3rlpy(branin)
    with (tmp_path / "theirs.h5").open("w+b") as file:
        buffer.dump(file)
    with ours.open("rb") as file:
        first = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    for mine, its in zip(first.episodes, load(tmp_path / "theirs.h5").episodes, strict=True):
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(its, name))
        assert mine.terminated == its.terminated


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("config", ["CQLConfig", "IQLConfig"])
def test_algorithms_train_on_the_file(
    config: str,
    terminal: bool,
    whole: TrajectoryBatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = load(save_d3rlpy(whole, "data.h5", terminal=terminal))
    algorithm = getattr(d3rlpy.algos, config)(batch_size=16).create(device="cpu")
    history = algorithm.fit(
        buffer,
        n_steps=20,
        n_steps_per_epoch=20,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    assert all(np.isfinite(value) for _, metrics in history for value in metrics.values())
    action = algorithm.predict(whole.z[:, 0].numpy())
    assert action.shape == (B, whole.z.shape[2])
    assert (np.abs(action) <= 1).all()
    assert [file.name for file in tmp_path.iterdir()] == ["data.h5"]


def test_algorithms_train_on_the_buffer(branin: TrajectoryBatch) -> None:
    algorithm = d3rlpy.algos.BCConfig(batch_size=16).create(device="cpu")
    quiet = d3rlpy.logging.NoopAdapterFactory()
    algorithm.fit(
        to_d3rlpy(branin), n_steps=5, n_steps_per_epoch=5, show_progress=False, logger_adapter=quiet
    )


def test_a_failed_write_leaves_the_old_file(
    branin: TrajectoryBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_d3rlpy(branin, tmp_path / "data.h5")
    before = path.read_bytes()

    def fail(episodes: Any, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(d3rlpy.dataset, "dump", fail)
    with pytest.raises(OSError, match="disk full"):
        save_d3rlpy(branin, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_batches_without_actions_are_refused(branin: TrajectoryBatch, tmp_path: Path) -> None:
    bare = TrajectoryBatch(branin.z, branin.y)
    for write in (to_d3rlpy, lambda batch: save_d3rlpy(batch, tmp_path / "x.h5")):
        with pytest.raises(ValueError, match="call with_actions"):
            write(bare)


def test_missing_library(branin: TrajectoryBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    with pytest.raises(MissingDependency, match=r"needs d3rlpy.*mbo-gym\[rl\]"):
        to_d3rlpy(branin)


def test_import_is_silent_and_keeps_the_notices() -> None:
    program = (
        "from mbo_gym.optional import optional_import\n"
        "from gym_notices import notices\n"
        "before = dict(notices.notices)\n"
        "print(optional_import('d3rlpy', 'rl').__name__, bool(before), notices.notices == before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("d3rlpy True True", "")


def test_export_task(tmp_path: Path) -> None:
    recipe = TrajectoryRecipe("random_top", n=B, horizon=T)
    said = export_task("Branin-Exact-v0", recipe, to="d3rlpy", path=tmp_path / "b.h5")
    check_transitions(load(tmp_path / "b.h5"), make_batch("Branin-Exact-v0"), terminal=False)
    assert said.transitions == B * T
    assert "d3rlpy.dataset.ReplayBuffer.load(" in str(said)
