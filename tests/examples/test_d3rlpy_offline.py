"""The d3rlpy example runs end to end, in any folder, with both algorithms."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from helpers import small_default_surrogate
from mbo_gym.optional import optional_import

pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
SCRIPT = Path(__file__).parents[2] / "examples" / "d3rlpy_offline.py"
TASK = "Branin-Exact-v0"
N = 256


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with small_default_surrogate():
        yield


def rolled_out(policy: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return the designs where a policy leads from the best visible ones."""
    starts = mbo_gym.make_task(TASK).dataset.top(N).x
    envs = gym.make_vec(f"mbo_gym/{TASK}", num_envs=N, horizon=50)
    envs.rollout(policy, options={"design": starts})
    return np.asarray(envs.designs())


@pytest.mark.parametrize(("algorithm", "flags"), [("cql", []), ("iql", ["--logs"])])
def test_a_script_trains_saves_and_scores_a_policy(
    algorithm: str,
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(SCRIPT)
    tiny = [
        "--algorithm",
        algorithm,
        "--steps",
        "15",
        "--trajectories",
        "8",
        "--output",
        "out",
        "--seed",
        "1",
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path, TASK, *tiny, *flags])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(path, run_name="__main__")
    assert done.value.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    logs = {name for name in files if name.startswith(f"{algorithm.upper()}_")}
    assert files - logs == {"data.h5", "designs.npz", "policy.d3", "policy.pt"}
    assert len(logs) == (1 if flags else 0)
    for name in logs:  # 5 epochs of 3 updates
        assert (tmp_path / "out" / name / "model_15.d3").exists()
        assert len((tmp_path / "out" / name / "surrogate_gain.csv").read_text().splitlines()) == 5

    designs = np.load(tmp_path / "out" / "designs.npz")["x"]
    assert str(mbo_gym.evaluate(mbo_gym.make_task(TASK), designs)) in capsys.readouterr().out

    d3rlpy = optional_import("d3rlpy", "rl")
    learnable = d3rlpy.load_learnable(str(tmp_path / "out" / "policy.d3"))
    script = torch.jit.load(str(tmp_path / "out" / "policy.pt"))
    np.testing.assert_array_equal(
        rolled_out(lambda z: torch.from_numpy(learnable.predict(z.numpy()))), designs
    )
    np.testing.assert_array_equal(rolled_out(script), designs)
    d3rlpy.seed(2)
    learnable.create_impl(
        learnable.observation_shape, learnable.action_size
    )  # another policy leads elsewhere
    assert not np.array_equal(
        rolled_out(lambda z: torch.from_numpy(learnable.predict(z.numpy()))), designs
    )
