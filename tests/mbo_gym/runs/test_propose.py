"""The scientist's one line: a table of measurements in, a table of designs out."""

from __future__ import annotations

import csv
from importlib import import_module

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.files.designs import read_designs
from mbo_gym.runs.propose import ProposedTable

propose_module = import_module("mbo_gym.runs.propose")

LIGHT = {"surrogate.hidden": 8, "surrogate.train_steps": 20, "ascent.steps": 3}


@pytest.fixture
def heat(tmp_path):
    """Return the path of a table of three numbers and a yield."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(60, 3))
    rows = np.column_stack([x, 1 - ((x - 0.5) ** 2).sum(axis=1)])
    header = "heat,time,salt,yield"
    np.savetxt(tmp_path / "my.csv", rows, delimiter=",", header=header, comments="")
    return tmp_path / "my.csv"


@pytest.fixture
def sequences(tmp_path):
    (tmp_path / "dna.csv").write_text("dna,activity\nAC,1\nCA,2\nCC,5\nAA,0\n")
    return tmp_path / "dna.csv"


def test_one_line_gives_designs_in_the_columns_of_the_file(heat):
    table = mbo_gym.propose(heat, score="yield", k=12, settings=LIGHT)
    assert isinstance(table, ProposedTable)
    assert isinstance(table, mbo_gym.Proposals)
    assert table.x.shape == (12, 3)
    assert list(table.columns) == ["heat", "time", "salt", "criterion"]
    np.testing.assert_array_equal(table.columns["time"], table.x[:, 1])
    assert (np.diff(table.criterion) <= 0).all()
    rows = table.rows()
    assert len(rows) == 12
    assert list(rows[0]) == ["heat", "time", "salt", "criterion"]
    assert rows[3]["salt"] == table.x[3, 2]


def test_it_proposes_what_the_method_proposes(heat):
    table = mbo_gym.propose(str(heat), "yield", "grad", 5, seed=3, settings=LIGHT)
    problem = mbo_gym.make_task("csv", path=heat, score_column="yield").problem()
    method = mbo_gym.make_method("grad", **LIGHT)
    method.fit(problem, mbo_gym.Context(seed=3))
    expected = method.propose(5)
    np.testing.assert_array_equal(table.x, expected.x)
    np.testing.assert_array_equal(table.criterion, expected.criterion)


def test_the_written_table_reads_back(heat, sequences, tmp_path):
    for path, score in ((heat, "yield"), (sequences, "activity")):
        table = mbo_gym.propose(path, score, "top_k", 4)
        assert table.to_csv(tmp_path / "next.csv") == tmp_path / "next.csv"
        np.testing.assert_array_equal(read_designs(tmp_path / "next.csv", table.space), table.x)
    with (tmp_path / "next.csv").open(newline="") as file:
        assert next(csv.DictReader(file)) == {"dna": "CC", "criterion": "5"}
    table.to_csv(tmp_path / "next.tsv")
    assert (tmp_path / "next.tsv").read_text().splitlines()[:2] == ["dna\tcriterion", "CC\t5"]


NAMES = ("dna", "criterion", "method_criterion", "score", "oracle_score", "AC", "0", 'a;b "c"')


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("letters", ["AC", "01", ";,", 'é"'])
def test_sequences_under_any_name_read_back(tmp_path, name, letters):
    first, second = letters
    cells = [first + second, second + first, second + second, first + first]
    with (tmp_path / "my.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[name, "y"], *zip(cells, (11, 10, 1, 0), strict=True)])
    table = mbo_gym.propose(tmp_path / "my.csv", "y", "top_k", 3, alphabet=letters)
    for file, delimiter in (("n.csv", None), ("n.csv", ";"), ("n.tsv", None), ("n.csv", "\t")):
        path = table.to_csv(tmp_path / file, delimiter)
        np.testing.assert_array_equal(read_designs(path, table.space), table.x)


@pytest.mark.parametrize("name", ["dna", "criterion", "method_criterion"])
def test_a_single_digit_is_not_mixed_up_with_its_criterion(tmp_path, name):
    (tmp_path / "my.csv").write_text(f"{name},y\n0,2\n1,0\n2,3\n3,1\n")
    table = mbo_gym.propose(tmp_path / "my.csv", "y", "top_k", 3, alphabet="0123")
    assert table.x.tolist() == [[2], [0], [3]]
    path = table.to_csv(tmp_path / "next.csv")
    np.testing.assert_array_equal(read_designs(path, table.space), table.x)


@pytest.mark.parametrize("names", [("criterion", "b"), ("oracle_score", "score"), ("a,b", "0")])
def test_numbers_under_any_name_read_back(tmp_path, names):
    x = np.random.default_rng(0).normal(size=(20, 2))
    with (tmp_path / "my.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*names, "y"], *np.column_stack([x, x.sum(axis=1)])])
    table = mbo_gym.propose(tmp_path / "my.csv", "y", "top_k", 3)
    for file in ("next.csv", "next.tsv"):
        path = table.to_csv(tmp_path / file)
        np.testing.assert_array_equal(read_designs(path, table.space), table.x)


def test_printed_it_shows_the_first_rows(heat, sequences):
    assert str(mbo_gym.propose(sequences, "activity", "top_k", 2)).splitlines() == [
        "dna  criterion",
        " CC          5",
        " CA          2",
    ]
    lines = str(mbo_gym.propose(heat, "yield", "top_k", 30)).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "... and 20 more"
    assert lines[0].split() == ["heat", "time", "salt", "criterion"]


def test_columns_make_a_data_frame(sequences):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(mbo_gym.propose(sequences, "activity", "top_k", 2).columns)
    assert frame["dna"].tolist() == ["CC", "CA"]
    assert frame["criterion"].tolist() == [5, 2]


def test_a_design_column_called_criterion_keeps_its_name(tmp_path):
    (tmp_path / "t.csv").write_text("criterion,y\n1,2\n2,3\n4,1\n")
    table = mbo_gym.propose(tmp_path / "t.csv", "y", "top_k", 1)
    assert table.rows() == [{"criterion": 2.0, "method_criterion": 3.0}]


def test_lower_can_be_better_and_columns_can_be_chosen(heat):
    table = mbo_gym.propose(heat, "yield", "top_k", 1, designs=["time", "heat"], minimise=True)
    rows = np.loadtxt(heat, delimiter=",", skiprows=1)
    worst = rows[rows[:, 3].argmin()]
    assert table.names == ("time", "heat")
    np.testing.assert_allclose(table.x[0], worst[[1, 0]], rtol=1e-6)


def test_a_task_or_a_problem_will_do_too():
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=50)
    by_id = mbo_gym.propose("Branin-Exact-v0", method="top_k", k=3, max_rows=50)
    for table in (
        mbo_gym.propose(task, method="top_k", k=3),
        mbo_gym.propose(task.problem(), method="top_k", k=3),
    ):
        np.testing.assert_array_equal(table.x, by_id.x)


def test_bars_are_drawn_on_a_terminal_only_and_can_be_left_out(heat, monkeypatch, capsys):
    asked = []

    class Bars(propose_module.RichProgress):
        def __init__(self, *arguments, quiet, **more):
            asked.append(quiet)
            super().__init__(*arguments, quiet=quiet, **more)

    monkeypatch.setattr(propose_module, "RichProgress", Bars)
    mbo_gym.propose(heat, "yield", "top_k", 2)
    mbo_gym.propose(heat, "yield", "top_k", 2, progress=False)
    assert asked == [False, True]
    assert capsys.readouterr() == ("", "")


def test_mistakes_are_answered_in_the_words_of_this_function(heat, tmp_path):
    with pytest.raises(InvalidData, match=r"Pass score=, one of .*'yield'"):
        mbo_gym.propose(heat)
    with pytest.raises(InvalidData, match="yeld"):
        mbo_gym.propose(heat, "yeld")
    with pytest.raises(InvalidData, match=r"designs=\['yield'\]"):
        mbo_gym.propose(heat, "yield", designs=["yield"])
    with pytest.raises(MissingData, match=r"nowhere\.csv"):
        mbo_gym.propose(tmp_path / "nowhere.csv", "y")
    with pytest.raises(UnknownId, match=r"no method 'gard'\. Did you mean grad"):
        mbo_gym.propose(heat, "yield", "gard")
    with pytest.raises(UnknownId, match="no setting of GradConfig 'stepz'"):
        mbo_gym.propose(heat, "yield", settings={"stepz": 3})
    with pytest.raises(UnknownId, match=r"no task option 'bound'\. Did you mean bounds"):
        mbo_gym.propose(heat, "yield", bound="none")
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        mbo_gym.propose(heat, "yield", k=0)
    with pytest.raises(ValueError, match="cannot use the device 'tpu'"):
        mbo_gym.propose(heat, "yield", device="tpu")
    with pytest.raises(ValueError, match="score, minimise belong to a table"):
        mbo_gym.propose("Branin-Exact-v0", "y", minimise=True)
    task = mbo_gym.make_task("Branin-Exact-v0")
    with pytest.raises(ValueError, match="the options noise belong to"):
        mbo_gym.propose(task, method="top_k", noise=0.1)
    with pytest.raises(TypeError, match="got a int"):
        mbo_gym.propose(3)


def test_nothing_is_read_for_a_mistyped_method(monkeypatch):
    monkeypatch.setattr(propose_module, "make_task", None)
    with pytest.raises(UnknownId):
        mbo_gym.propose("my.csv", "y", "gard")
