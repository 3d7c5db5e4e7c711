"""Shell completion: what the shells ask for and get, and that it loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbo_gym.cli import app as cli
from mbo_gym.cli.completion import name_of, results_folder, several
from mbo_gym.cli.recipe_options import FIELDS
from mbo_gym.data.manifest import ENTRIES
from mbo_gym.encoders.registry import ENCODERS
from mbo_gym.methods.registry import METHODS
from mbo_gym.surrogates.registry import SURROGATES
from mbo_gym.tasks.registry import TASKS
from mbo_gym.trajectories.recipe import TrajectoryRecipe

Completing = Callable[[str], list[str]]


def bash(line: str) -> dict[str, str]:
    """Return what bash sets when TAB is pressed at the end of a line."""
    words = line.split(" ")
    return {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Completing:
    """Return what completes a line as bash would have it."""

    def call(line: str) -> list[str]:
        for name, value in {"_MBO_GYM_COMPLETE": "complete_bash", **bash(line)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["mbo-gym"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert (end.value.code, shown.err) == (0, "")
        return shown.out.split()

    return call


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("mbo-gym run ", METHODS),
        ("mbo-gym run grad ", TASKS),
        ("mbo-gym benchmark --tasks ", TASKS),
        ("mbo-gym benchmark --methods ", {*METHODS, "controls"}),
        ("mbo-gym show ", {*METHODS, *TASKS}),
        ("mbo-gym evaluate ", TASKS),
        ("mbo-gym propose my.csv --method ", METHODS),
        ("mbo-gym export ", TASKS),
        ("mbo-gym export Branin-Exact-v0 --surrogate ", SURROGATES),
        ("mbo-gym export Branin-Exact-v0 --encoder ", ENCODERS),
        ("mbo-gym export Branin-Exact-v0 --to ", ("d3rlpy", "minari", "npz")),
        ("mbo-gym data get ", ENTRIES),
        ("mbo-gym data make ", TASKS),
        ("mbo-gym list ", ("tasks", "methods", "surrogates", "encoders")),
        ("mbo-gym run grad Branin-Exact-v0 --log ", ("tensorboard", "wandb")),
    ],
)
def test_names_are_offered(complete, line, names):
    assert sorted(complete(line)) == sorted(names)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mbo-gym run gra", ["grad", "grad_mean", "grad_min"]),
        ("mbo-gym run grad,pg", ["grad,pgs"]),
        ("mbo-gym run grad,pgs,grad", ["grad,pgs,grad_mean", "grad,pgs,grad_min"]),
        ("mbo-gym run grad --se", ["--seeds", "--set"]),
        ("mbo-gym run grad TFBind8-Exact-v0 --qu", ["--quiet"]),
        ("mbo-gym export Branin-Exact-v0 --sam", ["--sampler"]),
        (
            "mbo-gym benchmark --tasks TFBind8-Exact-v0,Branin-E",
            ["TFBind8-Exact-v0,Branin-Exact-v0"],
        ),
        ("mbo-gym run no_such", []),
    ],
)
def test_the_beginning_of_a_word_is_completed(complete, line, words):
    assert complete(line) == words


def test_folders_with_results_are_offered(complete, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("new", "packed", "running", "two words", "other"):
        Path("deep", name).mkdir(parents=True)
    Path("deep/new/results.jsonl").touch()
    Path("deep/two words/results.jsonl").touch()
    Path("deep/packed/results.jsonl.xz").touch()
    Path("deep/running/cells").mkdir()
    Path("deep/results.jsonl").touch()
    assert complete("mbo-gym report d") == ["deep"]
    found = ["deep/new", "deep/packed", "deep/running"]
    for command in ("report", "status", "merge", "results pack"):
        assert complete(f"mbo-gym {command} deep/") == found
    assert complete("mbo-gym merge deep/new deep/p") == ["deep/packed"]
    assert results_folder(f"{tmp_path}/deep/n") == [f"{tmp_path}/deep/new"]
    assert results_folder("nowhere/x") == []


def test_a_name_that_is_registered_later_is_offered():
    names = ["ab"]
    one, many = name_of(names), several(names, ("cd",))
    names.append("ae")
    assert one("a") == ["ab", "ae"]
    assert many("ab,") == ["ab,ae", "ab,cd"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("mbo-gym run matc", "matched"),
        ("mbo-gym export Branin-Exact-v0 --encoder z_score_", "z_score_one_hot"),
        ("mbo-gym export Branin-Exact-v0 --surrogate quad", "quadratic"),
    ],
)
def test_completing_loads_no_torch(line, name):
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([m for m in ('torch', 'scipy', 'sklearn') if m in "
        "sys.modules]))\n"
        "from mbo_gym.cli.app import main\nmain()"
    )
    environment = {**os.environ, "_MBO_GYM_COMPLETE": "complete_bash", **bash(line)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.stdout.splitlines(), done.stderr) == ([name, "[]"], "")


def test_the_options_that_are_completed_are_those_of_the_recipe():
    assert tuple(field.name for field in fields(TrajectoryRecipe)) == FIELDS


@pytest.mark.parametrize(
    ("shell", "asks", "answer"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "mbo-gym run grad,pg"}, '"grad,pgs"'),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "mbo-gym run grad,pg",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
            "grad,pgs",
        ),
    ],
)
def test_other_shells_are_answered(monkeypatch, capsys, shell, asks, answer):
    for name, value in {"_MBO_GYM_COMPLETE": f"complete_{shell}", **asks}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["mbo-gym"])
    with pytest.raises(SystemExit):
        cli.main()
    assert answer in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(monkeypatch, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    environment = {**os.environ, "_MBO_GYM_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-m", "mbo_gym"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "_MBO_GYM_COMPLETE=complete_" in done.stdout
    assert "mbo-gym" in done.stdout


def test_help_offers_to_install_completion():
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    assert "--install-completion" in shown
    assert "--show-completion" in shown
