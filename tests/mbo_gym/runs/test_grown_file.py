"""Measure, append, propose: a run on a file that has changed goes beside the earlier one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mbo_gym.cli.app import main
from mbo_gym.errors import DamagedFile
from mbo_gym.runs.data_files import ROWS
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.tasks.table_space import write_space

RUN = "mbo-gym run top_k csv --k 3 --seeds 0,1 -o path=my.csv -o score_column=yield"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a table of 30 rows in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i}.5,{i % 7}.25,{i * (i % 7)}\n" for i in range(30))
    path = tmp_path / "my.csv"
    path.write_text(f"temp,conc,yield\n{rows}")
    return path


@pytest.fixture
def mbo(capsys, monkeypatch):
    def call(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().err.replace("\n", " ")

    return call


def append(path: Path, rows: str) -> None:
    with path.open("a") as file:
        file.write(rows)


def asked(path: Path) -> RunRequest:
    return RunRequest("top_k", "csv", k=3, options={"path": str(path), "score_column": "yield"})


def test_the_command_says_what_is_new_and_keeps_the_old_run(mbo, table):
    assert mbo(RUN)[0] == 0
    first = sorted(Path("runs").iterdir())
    designs = [(folder / "designs.csv").read_text() for folder in first]
    code, err = mbo(RUN)
    assert code == 2
    assert f"{first[0]} exists already" in err
    append(table, "31.5,1.25,999\n32.5,2.25,998\n")
    code, err = mbo(RUN)
    assert code == 0
    assert f"{table} has grown by 2 rows since the run in {first[0]}." in err
    second = sorted(set(Path("runs").iterdir()) - set(first))
    assert [new.name[:-9] for new in second] == [old.name for old in first]
    assert [(folder / "designs.csv").read_text() for folder in first] == designs
    assert (second[0] / "designs.csv").read_text() != designs[0]
    code, err = mbo(RUN)  # the same content: the run is there
    assert code == 2
    assert f"{second[0]} exists already" in err
    append(table, "33.5,3.25,1\n")  # counted from the run before, not from the first
    code, err = mbo(RUN)
    assert code == 0
    assert f"has grown by 1 row since the run in {second[0]}." in err
    assert len(list(Path("runs").iterdir())) == 6


def test_in_python_a_warning_says_it_and_the_result_names_the_folder(table):
    run(asked(table), Path("mine"))
    append(table, "31.5,1.25,999\n")
    with pytest.warns(UserWarning, match=r"has grown by 1 row since the run in mine\."):
        second = run(asked(table), Path("mine"))
    assert second.folder.name.startswith("mine-")
    with np.load(second.folder / "designs.npz") as file:
        assert file["x"].shape == (3, 2)
    kept = json.loads((second.folder / "config.json").read_text())["files"]["path"]
    assert kept["file"] == str(table)
    with pytest.raises(FileExistsError, match="exists already"):
        run(asked(table), Path("mine"))
    assert run(asked(table), Path("mine"), overwrite=True).folder == Path("mine")


def test_a_changed_row_is_said(table):
    run(asked(table), Path("mine"))
    table.write_text(table.read_text().replace("3.5,3.25,9\n", "3.5,3.25,99\n", 1))
    with pytest.warns(UserWarning, match="was changed: 1 row is gone or changed, 1 is new"):
        run(asked(table), Path("mine"))


def test_a_changed_space_file_is_said(table):
    text, _ = write_space(table, "yield", minimise=False)
    Path("space.toml").write_text(text)
    request = RunRequest("top_k", "csv", k=3, options={"path": str(table), "space": "space.toml"})
    run(request, Path("mine"))
    Path("space.toml").write_text(text + "\n# corrected\n")
    with pytest.warns(UserWarning, match=r"space\.toml was changed since the run in mine"):
        run(request, Path("mine"))


@pytest.mark.parametrize("name", ["config.json", ROWS])
def test_a_damaged_earlier_run_is_named(table, name):
    run(asked(table), Path("mine"))
    append(table, "31.5,1.25,999\n")
    path = Path("mine", name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFile, match=rf"{name} is damaged.*pass --overwrite"):
        run(asked(table), Path("mine"))
    (Path("mine") / "checksums.json").unlink()  # as an older program left it
    with pytest.raises(DamagedFile, match=rf"{name} is damaged.*pass --overwrite"):
        run(asked(table), Path("mine"))
    run(asked(table), Path("mine"), overwrite=True)


def test_a_run_of_a_task_without_files_exists_as_before(tmp_path):
    request = RunRequest("top_k", "Branin-Exact-v0", k=2, options={"max_rows": 30})
    run(request, tmp_path / "mine")
    assert not (tmp_path / "mine" / ROWS).exists()
    with pytest.raises(FileExistsError, match="exists already"):
        run(request, tmp_path / "mine")


def test_propose_says_how_far_the_batch_before_is_measured(mbo, table):
    propose = "mbo-gym propose my.csv --score yield --method top_k --batch 4"
    assert "is kept" not in mbo(propose)[1]
    batch = Path("batch.csv").read_text()
    for line in batch.splitlines()[1:4]:  # three of four are measured and appended
        append(table, ",".join([*line.split(",")[:2], "7"]) + "\n")
    code, err = mbo(propose)
    assert code == 0
    assert "batch.csv is kept: 3 of its 4 designs are in the table by now, 1 is not." in err
    assert "--exclude batch.csv" in err
    assert Path("batch-2.csv").exists()
    assert Path("batch.csv").read_text() == batch
    Path("batch-2.csv").write_text("a,b\n1,2\n")
    said = mbo(propose)[1]
    assert "batch-2.csv was changed after it was written (or its card was)" in said
    assert "It holds no designs of this table." in said
