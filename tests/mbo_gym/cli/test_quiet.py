"""--quiet: no progress and no advice; results, warnings and errors stay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mbo_gym.cli import app as cli
from mbo_gym.progress import RichProgress, is_quiet, quiet

TASK = "Branin-Exact-v0"
RUN = ("run", "grad", TASK, "--preset", "light", "--k", "16", "--overwrite")
GRID = ("benchmark", "--tasks", TASK, "--k", "8", "--executor", "serial")
ESCAPE = "\x1b["
"""Start of what moves the cursor or colours text: only a terminal gets it."""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def mbo(capsys, monkeypatch, tmp_path) -> Call:
    """Return what runs `mbo-gym` in this process and in `tmp_path`, as if stderr were a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not is_quiet(), "it ends with the command"
        return Outcome(end.value.code or 0, *capsys.readouterr())

    return call


def test_run_draws_bars_and_a_quiet_one_does_not(mbo):
    loud = mbo(*RUN)
    assert ESCAPE in loud.err
    assert f"grad on {TASK}, seed 0" in loud.err
    for words in ([*RUN, "--quiet"], [*RUN, "-q"], ["--quiet", *RUN]):
        hushed = mbo(*words)
        assert (hushed.code, hushed.err) == (0, "")
        assert "normalised scores of 16 designs" in hushed.out
        assert "runs in runs/" in hushed.out


def test_a_benchmark_prints_its_tables_only(mbo):
    loud = mbo(*GRID, "--methods", "random", "--output", "loud")
    assert "1 cells: 0 done" in loud.err
    assert ESCAPE in loud.err
    assert "Results in loud" in loud.out
    hushed = mbo(*GRID, "--methods", "random", "--output", "hushed", "--quiet")
    assert (hushed.code, hushed.err) == (0, "")
    assert "Branin" in hushed.out
    assert "Results in" not in hushed.out


@pytest.mark.usefixtures("odd_methods")
def test_a_failed_cell_is_told_all_the_same(mbo):
    Path("grid.toml").write_text(
        f'tasks = ["{TASK}"]\nk = 8\n[[methods]]\nname = "odd"\npreset = "bad"\n'
    )
    code, out, err = mbo("benchmark", "grid.toml", "--executor", "serial", "--quiet")
    assert code == 3
    assert "failed" in err
    assert "1 of 1 cells failed" in err
    assert "failed: odd [bad] on" in out


def test_tables_and_the_paths_of_a_batch_stay(mbo):
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(40, 2)), rng.normal(size=40)])
    np.savetxt("my.csv", rows, delimiter=",", header="heat,time,yield", comments="")
    settings = ("--score", "yield", "--batch", "4", "--method", "random")
    loud = mbo("propose", "my.csv", *settings)
    hushed = mbo("propose", "my.csv", *settings, "--output", "second.csv", "--quiet")
    assert ESCAPE in loud.err
    assert ESCAPE not in hushed.err
    assert "batch: second.csv" in hushed.out
    assert "card:  second.html" in hushed.out
    assert "The first 4 of 4 designs" in hushed.out


def test_what_was_guessed_of_your_table_stays(mbo):
    Path("my.csv").write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(40)))
    loud = mbo("init", "my.csv")
    assert "Correct it" in loud.out
    hushed = mbo("init", "my.csv", "--output", "second.toml", "--quiet")
    assert (hushed.code, hushed.out) == (0, "")
    assert hushed.err == loud.err
    assert "b" in hushed.err
    assert Path("second.toml").exists()


def test_errors_stay(mbo):
    code, out, err = mbo("run", "no_such_method", TASK, "--quiet")
    assert (code, out) == (2, "")
    assert "no_such_method" in err


def test_a_quiet_block_may_hold_another(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with quiet():
        with quiet(), RichProgress() as inner:
            assert not inner.draws
        with RichProgress() as outer:
            assert not outer.draws
    assert not is_quiet()
    with RichProgress() as bars:
        assert bars.draws
