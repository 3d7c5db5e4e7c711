"""What another package can add by one entry point: methods, tasks, surrogates and encoders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = '''
"""The names that this package adds to mbo_gym."""

METHODS = {"their_method": "their_package.things:TheirMethod", "top_k": "their_package.things:None"}
TASKS = {"Theirs-Exact-v0": "their_package.things:make_their_task"}
SURROGATES = {"their_surrogate": "their_package.things:TheirSurrogate"}
ENCODERS = {"their_encoder": "their_package.things:their_encoder"}
'''

THINGS = '''
from dataclasses import dataclass

import numpy as np
import torch

import mbo_gym
from mbo_gym.encoders.scaling import ZScore
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.task import offline_split
from mbo_gym.surrogates import MLPConfig, MLPSurrogate
from mbo_gym.tasks import described_by


@dataclass(frozen=True)
class TheirConfig:
    """Settings of `TheirMethod`.

    Args:
        step: Length of the step beyond the best designs.
    """

    step: float = 0.0


class TheirMethod(mbo_gym.Method):
    """Theirs: proposes the best visible designs again."""

    info = mbo_gym.MethodInfo("Theirs: proposes the best visible designs again", kind="own")
    Config = TheirConfig

    def fit(self, problem, context=mbo_gym.Context()):
        self.start(problem, context)

    def propose(self, k):
        best = self.problem.dataset.top(k)
        return mbo_gym.Proposals(self.problem.space.clip(best.x + self.config.step), best.y)


def their_facts():
    return mbo_gym.TaskInfo(
        task_id="Theirs-Exact-v0",
        description="Two numbers with a large sum.",
        space="2 real numbers in [0, 1].",
        y_min=0.0,
        y_max=2.0,
        score_name="sum",
        split="Rows with scores at or below the 50th percentile.",
        oracle="Exact: the sum.",
        licence="none needed: the data are computed",
        references=("Their paper",),
        version_history=("v0: the only one",),
        percentile=50,
    )


@described_by(their_facts)
def make_their_task():
    space = mbo_gym.ContinuousSpace(np.zeros(2), np.ones(2), ("a", "b"))
    x = np.random.RandomState(0).uniform(size=(200, 2)).astype(np.float32)
    y = x.sum(axis=1)
    oracle = FunctionOracle(space, lambda designs: designs.sum(axis=1))
    return mbo_gym.Task(their_facts(), space, offline_split(x, y, 50), oracle).with_options()


class TheirSurrogate(MLPSurrogate):
    """A small network."""

    Config = MLPConfig


def their_encoder(problem, *, seed=0, device="cpu", progress=None):
    """Return z-scored designs."""
    return ZScore(problem.space, problem.dataset.x)
'''

USE = """
import sys

import gymnasium as gym
import numpy as np

import mbo_gym

assert "torch" not in sys.modules and "their_package.things" not in sys.modules
assert "their_method" in mbo_gym.list_methods()
assert "Theirs-Exact-v0" in mbo_gym.list_tasks()
assert "their_surrogate" in mbo_gym.list_surrogates()
assert "their_encoder" in mbo_gym.list_encoders()
assert "their_package.things" not in sys.modules

task = mbo_gym.make_task("Theirs-Exact-v0")
assert mbo_gym.task_info("Theirs-Exact-v0").references == ("Their paper",)
method = mbo_gym.make_method("their_method", step=0.5)
method.fit(task.problem())
assert mbo_gym.evaluate(task, method.propose(8)).overall.p100 > task.info.d_best
batch = mbo_gym.propose("Theirs-Exact-v0", method="their_method", k=3, max_rows=20)
assert batch.names == ("a", "b")

small = {"hidden": 8, "train_steps": 20}
surrogate = mbo_gym.make_surrogate("their_surrogate", **small)
encoder = mbo_gym.make_encoder(task.problem(), "their_encoder")
mbo_gym.fit_surrogate(task.problem(), encoder, surrogate, seed=0)
assert surrogate.predict(encoder.features(task.dataset.x[:4])).shape == (4,)
grad = mbo_gym.make_method(
    "grad",
    surrogate={"name": "their_surrogate", **small},
    encoder="their_encoder",
    **{"ascent.steps": 2},
)
grad.fit(task.problem())
assert len(grad.propose(4)) == 4

env = gym.make("mbo_gym/Theirs-Exact-v0", surrogate=surrogate, encoder="their_encoder")
observation, info = env.reset(seed=0)
assert env.observation_space.contains(observation)
observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
assert np.isfinite(reward)
assert gym.make_vec("mbo_gym/Theirs-Exact-v0", num_envs=2, surrogate=surrogate).num_envs == 2

method = mbo_gym.make_method("top_k")  # a name of ours cannot be taken
print(type(method).__module__)
"""

COMMANDS = """
import contextlib, io, json, sys

from mbo_gym.cli import main

for command in json.load(sys.stdin):
    sys.argv = ["mbo-gym", *command]
    out, code = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code or 0, out.getvalue()]))
"""

OLD = """


import mbo_gym

assert "their_old_method" in mbo_gym.list_methods()
method = mbo_gym.make_method("their_old_method")
method.fit(mbo_gym.make_task("Theirs-Exact-v0").problem())
print(method.propose(5).x.shape)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with an installed package: code, and entry points."""
    package = tmp_path / "their_package"
    package.mkdir()
    for name, text in (("__init__", ""), ("plugin", PLUGIN), ("things", THINGS)):
        (package / f"{name}.py").write_text(text)
    announce(tmp_path, "[mbo_gym.plugins]\ntheirs = their_package.plugin\n")
    return tmp_path


def announce(folder: Path, entry_points: str) -> None:
    metadata = folder / "their_package-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def python(
    folder: Path, *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plugin_adds_a_method_a_task_a_surrogate_and_an_encoder(installed: Path) -> None:
    done = python(installed, "-c", USE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["agents.controls"]


def test_what_a_plugin_adds_appears_on_the_command_line(installed: Path) -> None:
    shown = {
        "list": "Theirs-Exact-v0",
        "list methods": "Theirs: proposes the best visible designs again",
        "list encoders": "Return z-scored designs.",
        "show Theirs-Exact-v0": "Their paper",
        "show their_method": "Length of the step beyond the best designs.",
        "run their_method Theirs-Exact-v0 --k 4": "their_method",
    }
    given = json.dumps([command.split() for command in shown])
    done = python(installed, "-c", COMMANDS, given=given)  # one process: torch loads once
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for (command, expected), (code, out) in zip(shown.items(), answers, strict=True):
        assert code == 0, command
        assert expected in out, command


def test_a_plugin_that_cannot_be_imported_is_left_out_with_a_warning(installed: Path) -> None:
    (installed / "their_package" / "plugin.py").write_text("import no_such_library")
    done = python(installed, "-c", "import mbo_gym; print('grad' in mbo_gym.list_methods())")
    assert done.stdout.split() == ["True"]
    assert "the plugin theirs (their_package.plugin)" in done.stderr
    assert "no_such_library" in done.stderr


def test_the_old_group_of_methods_keeps_working(installed: Path) -> None:
    announce(
        installed,
        "[mbo_gym.plugins]\ntheirs = their_package.plugin\n"
        "[mbo_gym.methods]\ntheir_old_method = their_package.things:TheirMethod\n",
    )
    done = python(installed, "-c", OLD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "(5, 2)"
