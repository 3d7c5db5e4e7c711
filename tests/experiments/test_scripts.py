"""The scripts that a d3rlpy user would start from run end to end, in any folder."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.optional import optional_import

pytest.importorskip("d3rlpy", reason="needs d3rlpy: pip install 'mbo-gym[rl]'")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TASK = "Branin-Exact-v0"
N = 256


def rolled_out(policy: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return the designs where a policy leads from the best visible ones, the surrogate's best
    first."""
    starts = mbo_gym.make_task(TASK).dataset.top(N).x
    envs = gym.make_vec(f"mbo_gym/{TASK}", num_envs=N, horizon=51)
    z, info = envs.reset(options={"design": starts})
    for _ in range(50):
        z, _, _, _, info = envs.step(policy(z))
    return np.asarray(envs.unwrapped.designs()[info["prediction"].argsort(descending=True).numpy()])


@pytest.mark.parametrize(("algorithm", "flags"), [("cql", []), ("iql", ["--logs"])])
def test_a_script_trains_saves_and_scores_a_policy(
    algorithm: str,
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(EXPERIMENTS / f"train_d3rlpy_{algorithm}.py")
    tiny = ["--steps", "12", "--trajectories", "8", "--output", "out", "--seed", "1"]
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
    assert (
        f"After:  {mbo_gym.evaluate(mbo_gym.make_task(TASK), designs)}" in capsys.readouterr().out
    )

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


@pytest.mark.parametrize("algorithm", ["cql", "iql"])
def test_a_script_is_short(algorithm: str) -> None:
    assert len((EXPERIMENTS / f"train_d3rlpy_{algorithm}.py").read_text().splitlines()) < 60
