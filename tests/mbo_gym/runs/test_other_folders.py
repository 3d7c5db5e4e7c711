"""What is made of a file by a relative path works from any folder."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import mbo_gym
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_grid
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.cli.app import main
from mbo_gym.export import load_npz
from mbo_gym.runs.one_run import RunRequest, run

OPTIONS = {"path": "plain.csv", "score_column": "yield", "minimise": "no"}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the folder of a file, which is the working folder, and another one."""
    here, there = tmp_path / "it's here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    rows = "".join(f"{i}.5,{i % 7}.25,{i * (i % 7)}\n" for i in range(40))
    (here / "plain.csv").write_text(f"temp,conc,yield\n{rows}")
    monkeypatch.chdir(here)
    return here, there


def call(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code


def test_a_run_repeats_elsewhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = folders
    run(RunRequest("top_k", "csv", k=3, options=OPTIONS), here / "by python")
    call(
        monkeypatch,
        "mbo-gym run top_k csv --k 3 -o path=plain.csv -o score_column=yield -o minimise=no "
        "--output by_command",
    )
    (by_command,) = (here / "by_command").iterdir()
    monkeypatch.chdir(there)
    for folder in (here / "by python", by_command):
        kept = json.loads((folder / "config.json").read_text())
        assert kept["request"]["options"]["path"] == str(here / "plain.csv")
        assert kept["request"]["options"]["minimise"] is False
        method = mbo_gym.load_method(folder / "model")
        np.testing.assert_array_equal(method.propose(3).x, np.load(folder / "designs.npz")["x"])
        task = mbo_gym.make_task("csv", **method.problem.options)
        assert len(task.dataset) == 40
    call(monkeypatch, kept["command"])
    (again,) = (there / "runs").iterdir()
    assert again.name == by_command.name
    assert (again / "designs.csv").read_text() == (by_command / "designs.csv").read_text()


def test_a_benchmark_goes_on_elsewhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = folders
    grid = Grid([MethodChoice("top_k")], [TaskChoice("csv", OPTIONS)], ks=[3])
    (done,) = run_grid(grid, here / "results", executor="serial")
    monkeypatch.chdir(there)
    (record,) = ResultStore(here / "results").records()
    elsewhere = {**OPTIONS, "path": f"../{here.name}/plain.csv"}
    (cell,) = Grid([MethodChoice("top_k")], [TaskChoice("csv", elsewhere)], ks=[3]).cells()
    assert cell.key == record.key == done.key
    assert record.request.options["path"] == str(here / "plain.csv")
    call(monkeypatch, record.command)
    assert len(list((there / "runs").iterdir())) == 1


def test_the_command_of_foreign_designs_repeats_elsewhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = folders
    (here / "mine.csv").write_text("temp,conc\n1,2\n3,4\n")
    options = "-o path=plain.csv -o score_column=yield -o oracle=random_forest"
    name = "'; echo harm; echo '"
    call(
        monkeypatch,
        f"mbo-gym evaluate csv mine.csv {options} --seed 4 --output r --name {shlex.quote(name)}",
    )
    (record,) = ResultStore(here / "r").records()
    first = capsys.readouterr().out.splitlines()[0]
    monkeypatch.chdir(there)
    words = shlex.split(record.command)
    assert words[words.index("--name") + 1] == name
    assert words[words.index("--seed") + 1] == "4"
    call(monkeypatch, record.command)
    assert capsys.readouterr().out.strip() == first.replace("mine.csv", str(here / "mine.csv"), 1)


def test_exported_trajectories_name_their_file(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = folders
    call(
        monkeypatch,
        "mbo-gym export csv --to npz --path t.npz --trajectories 3 --horizon 2 -o path=plain.csv "
        "-o score_column=yield",
    )
    assert repr(str(here / "t.npz")) in capsys.readouterr().out.replace("\n", "")
    monkeypatch.chdir(there)
    meta = load_npz(here / "t.npz").meta
    task = mbo_gym.make_task(meta["task_id"], **meta["task_options"])
    assert len(task.dataset) == 40


def test_an_environment_is_made_again_elsewhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, there = folders
    env = gym.make("mbo_gym/csv", task_options=OPTIONS, surrogate="quadratic")
    envs = gym.make_vec("mbo_gym/csv", num_envs=2, task_options=OPTIONS, surrogate="quadratic")
    assert env.spec is not None
    written = env.spec.to_json()
    monkeypatch.chdir(there)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(written))
    assert again.observation_space == env.observation_space
    assert gym.make_vec(envs.spec).num_envs == 2
