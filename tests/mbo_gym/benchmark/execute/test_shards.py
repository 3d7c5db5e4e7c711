"""Several processes write to one folder, one for each part of the cells."""

from __future__ import annotations

import os

import pytest

from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_grid
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.cli import main
from mbo_gym.files.partial import is_abandoned, kept_alive, make_partial, whole_name
from tests.mbo_gym.benchmark.conftest import comparable, wait_until

TASK = "Branin-Exact-v0"


def grid(n: int = 3) -> Grid:
    methods = [MethodChoice("random"), MethodChoice("top_k"), MethodChoice("top_k_noise")]
    return Grid(methods, [TaskChoice(TASK)], seeds=tuple(range(n)), ks=(8,))


def found(folder) -> dict[str, dict]:
    return {record.key: comparable(record) for record in ResultStore(folder).records()}


def test_the_parts_together_are_the_whole_bit_for_bit(tmp_path):
    run_grid(grid(), tmp_path / "whole", executor="serial")
    for part in (2, 1, 3):
        records = run_grid(grid(), tmp_path / "parts", executor="serial", shard=(part, 3))
        assert len(records) == 3
    names = sorted(path.name for path in (tmp_path / "parts").glob("results*.jsonl"))
    assert names == ["results-1of3.jsonl", "results-2of3.jsonl", "results-3of3.jsonl"]
    assert found(tmp_path / "parts") == found(tmp_path / "whole")
    again = run_grid(grid(), tmp_path / "parts", executor="serial", shard=(2, 3))
    assert len(again) == 3
    assert len((tmp_path / "parts" / "results-2of3.jsonl").read_text().splitlines()) == 3
    assert ResultStore(tmp_path / "parts").join() == 3
    assert os.listdir(tmp_path / "parts").count("results.jsonl") == 1
    assert not list((tmp_path / "parts").glob("results-*.jsonl"))
    assert found(tmp_path / "parts") == found(tmp_path / "whole")
    whole = run_grid(grid(), tmp_path / "parts", executor="serial")  # nothing is left to run
    assert len(whole) == 9


def test_a_part_leaves_what_others_are_at_alone(tmp_path):
    half = tmp_path / "cells" / f".random-{TASK}-k8-seed9-x.{os.getpid()}-ab"
    half.mkdir(parents=True)
    run_grid(grid(1), tmp_path, executor="serial", shard=(1, 3))
    assert half.is_dir()
    running, lost = ResultStore(tmp_path).at_work()
    assert (running, lost) == (1, 0)
    with pytest.raises(ValueError, match="1 cells are running in"):
        ResultStore(tmp_path).join()
    run_grid(grid(1), tmp_path, executor="serial")  # neither does one that writes alone
    assert half.is_dir()
    half.rename(half.with_name(half.name.replace(str(os.getpid()), str(2**22 + 1))))
    assert ResultStore(tmp_path).at_work() == (0, 1)


def test_a_cell_of_another_machine_is_lost_when_nobody_touches_it_for_five_minutes(tmp_path):
    store = ResultStore(tmp_path)
    cell = store.cells / f".random-{TASK}-k8-seed9-x.1-node_7-abc"
    cell.mkdir(parents=True)
    assert store.at_work() == (1, 0)
    now = cell.stat().st_mtime
    os.utime(cell, (now, now - 290))
    assert store.at_work() == (1, 0)
    os.utime(cell, (now, now - 310))
    assert store.at_work() == (0, 1)
    (store.cells / f"random-{TASK}-k8-seed9-x").mkdir()
    (store.cells / f"random-{TASK}-k8-seed9-x" / "record.json").touch()
    assert store.at_work() == (0, 0)  # another machine has finished it


def test_a_cell_at_work_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("mbo_gym.files.partial._SECONDS_TO_TOUCH", 0.01)
    made = make_partial(tmp_path / "a cell.v1")
    assert (whole_name(made), is_abandoned(made)) == ("a cell.v1", False)
    os.utime(made, (0, 0))
    with kept_alive(made):
        wait_until(lambda: made.stat().st_mtime > 0, "the folder is touched")


def test_the_commands_on_parts(tmp_path, monkeypatch, capsys):
    (tmp_path / "grid.toml").write_text(
        f'methods = ["random", "top_k"]\ntasks = ["{TASK}"]\nk = 8\n'
    )
    monkeypatch.chdir(tmp_path)

    def mbo(*words: str) -> tuple[int | None, str, str]:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *words])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err

    run = ("benchmark", "grid.toml", "--output", "a", "--executor", "serial", "--seeds", "0-1")
    assert mbo(*run, "--shard", "1/2")[0] == 0
    assert "2 done, 0 failed, 0 running, 0 lost" in mbo("status", "a")[1]
    assert mbo(*run, "--shard", "2/2", "--output", "b")[0] == 0
    assert mbo("merge", "a", "b", "--output", "all")[0] == 0
    assert len(ResultStore(tmp_path / "all").records()) == 4
    assert len(list((tmp_path / "all" / "cells").glob("*/designs.npz"))) == 4
    assert mbo("merge", "a")[0] == 0
    assert (tmp_path / "a" / "results.jsonl").exists()
    code, _, err = mbo(*run, "--shard", "3/2")
    assert code == 2
    assert "--shard takes the part and the number of parts, e.g. 3/20, got '3/2'" in err
