"""Records against the folders of their cells, and designs scored again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mbo_gym.benchmark.execute.results import ResultStore, write_record
from mbo_gym.benchmark.execute.runner import run_grid
from mbo_gym.benchmark.execute.verify import verify
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice

TASK = "Branin-Exact-v0"


@pytest.fixture
def store(tmp_path) -> ResultStore:
    grid = Grid([MethodChoice("random"), MethodChoice("top_k")], [TaskChoice(TASK)], ks=(8,))
    run_grid(grid, tmp_path, executor="serial")
    return ResultStore(tmp_path)


def problems(store: ResultStore) -> list[str]:
    return [one.problem for one in verify(store)]


def cell(store: ResultStore) -> Path:
    (found,) = store.cells.glob("random-*")
    return found


def test_what_was_run_here_is_right(store):
    assert problems(store) == ["", ""]
    assert not any(one.unchecked for one in verify(store))


def test_a_forged_score_is_found_even_with_a_right_checksum(store):
    forged = []
    for record in store.records():
        better = replace(record.result.overall, p100=0.99999)
        forged.append(replace(record, result=replace(record.result, overall=better)))
    store.lines.write_text("".join(f"{record.line()}\n" for record in forged))
    assert set(problems(store)) == {"it differs from record.json of its folder"}
    for record in forged:  # there too
        write_record(store.cells / record.folder_name, record)
    assert set(problems(store)) == {"its designs have other scores"}


def test_other_designs_and_other_data_are_found(store):
    path = cell(store) / "designs.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "x": arrays["x"][::-1] * 0.5})
    assert any("designs.npz is damaged" in problem for problem in problems(store))
    (path.parent / "checksums.json").unlink()  # who changes one file can change another
    assert "its designs have other scores" in problems(store)
    np.savez(path, **arrays)
    record = next(r for r in store.records() if r.label == "random")
    other = replace(record, result=replace(record.result, data="0" * 16))
    write_record(cell(store), other)
    with store.lines.open("a") as file:
        file.write(other.line() + "\n")
    assert "the task's data here are others than those that it ran on" in problems(store)


def test_what_is_not_kept_is_said(store):
    (cell(store) / "designs.npz").unlink()
    reasons = [one.unchecked for one in verify(store) if one.unchecked]
    assert len(reasons) == 1
    assert "cannot be scored" in reasons[0]
    (cell(store) / "record.json").write_text("{")
    assert any("record.json of its folder cannot be read" in problem for problem in problems(store))


def test_the_command_ends_with_an_error_where_a_record_is_wrong(store, monkeypatch, capsys):
    from mbo_gym.cli import main

    def report() -> tuple[int | None, str]:
        monkeypatch.setattr("sys.argv", ["mbo-gym", "report", str(store.folder), "--verify"])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    code, err = report()
    assert code in (0, None)
    assert "2 of 2 records checked, none is wrong" in err
    path = cell(store) / "record.json"
    values = json.loads(path.read_text())
    del values["sha256"]
    path.write_text(json.dumps({**values, "seconds": 1.0}))
    code, err = report()
    assert code == 2
    assert f"random on {TASK}, seed 0: it differs from record.json" in err
