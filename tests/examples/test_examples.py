"""The examples run in any folder, are short, and their package installs."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mbo_gym.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXPERIMENTS = ROOT / "experiments"
PACKAGE = EXAMPLES / "own_method"
LINES = 60


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python and return what it printed."""
    folders = [str(path)] if path else []
    folders += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.relative_to(EXAMPLES).as_posix()
)
def test_an_example_is_short(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) < LINES


@pytest.mark.parametrize("script", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.name)
def test_a_script_of_the_experiments_is_short(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) < LINES


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return what runs a script as a program would be, in this process and an empty folder."""

    def call(script: Path, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(script), run_name="__main__")
        assert end.value.code in (0, None)
        return capsys.readouterr().out

    return call


def test_a_table_of_measurements_becomes_the_next_designs(
    run_here: Callable[..., str], tmp_path: Path
) -> None:
    rows = ["heat,time,yield", *(f"{i},{i % 7},{(i % 7) - abs(i - 20) / 10}" for i in range(40))]
    (tmp_path / "my.csv").write_text("\n".join(rows))
    run_here(EXAMPLES / "your_csv.py", "my.csv", "yield", "--method", "top_k", "--k", "5")
    lines = (tmp_path / "next.csv").read_text().splitlines()
    assert lines[0].startswith("heat,time,")
    assert len(lines) == 6


def test_the_environment_improves_designs(run_here: Callable[..., str], tmp_path: Path) -> None:
    short = ["--steps", "10", "--num-envs", "32", "--surrogate", "quadratic"]
    out = run_here(EXAMPLES / "environment.py", "Branin-Exact-v0", *short)
    before, after = re.findall(r"(?:Before|After): .+ 50th (\S+) ", out)
    assert float(after) > float(before)
    assert list(tmp_path.iterdir()) == []


def test_the_guide_shows_the_method_of_the_package() -> None:
    guide = (ROOT / "docs" / "guides" / "own_method.md").read_text(encoding="utf-8")
    code = (PACKAGE / "mbo_gym_nudge" / "nudge.py").read_text(encoding="utf-8")
    assert code.partition('"""\n\n')[2] in guide
    table = (PACKAGE / "mbo_gym_nudge" / "plugin.py").read_text(encoding="utf-8")
    assert table.splitlines()[-1] in guide
    project = (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
    (entry_point,) = re.findall(r"^\[project\.entry-points.+\n.+\n", project, re.M)
    assert entry_point in guide


def test_a_method_of_another_package_appears_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source)
    installed = tmp_path / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(*pip, "--target", str(installed), str(source), cwd=tmp_path)
    grid = "--methods top_k,nudge --tasks Branin-Exact-v0 --seeds 0-1 --k 8"
    command = f"benchmark {grid} --executor serial --output results"
    run("-m", "mbo_gym", *command.split(), cwd=tmp_path, path=installed)
    monkeypatch.chdir(tmp_path)
    report = "report results --markdown report.md"  # reads records; the package is not asked
    monkeypatch.setattr(sys, "argv", ["mbo-gym", *report.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("| nudge")]
    assert "| 2 |" in row  # seeds
