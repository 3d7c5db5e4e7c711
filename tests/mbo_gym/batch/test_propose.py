"""The scientist's one line: a table of measurements in, a table of designs out."""

from __future__ import annotations

import csv
from importlib import import_module

import numpy as np
import pytest

import mbo_gym
from mbo_gym.batch.result import Batch
from mbo_gym.errors import InvalidData, InvalidDesign, MissingData, UnknownId
from mbo_gym.files.designs import read_designs

propose_module = import_module("mbo_gym.batch.propose")

LIGHT = {"surrogate.hidden": 8, "surrogate.train_steps": 20, "ascent.steps": 3}
MATCHED = {"race.committee": ["trend", "kernel"]}


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
    rng = np.random.default_rng(1)
    words = sorted({"".join(word) for word in rng.choice(list("ACGT"), size=(40, 4))})
    rows = "".join(f"{w},{w.count('C') + w.count('G') / 2}\n" for w in words)
    (tmp_path / "dna.csv").write_text(f"dna,activity\n{rows}")
    return tmp_path / "dna.csv"


FACTS = ["predicted", "low", "high", "chance", "distance", "nearest_line", "support", "agree"]


def test_one_line_gives_designs_in_the_columns_of_the_file(heat):
    batch = mbo_gym.propose(heat, score="yield", k=12, settings=MATCHED)
    assert isinstance(batch, Batch)
    assert isinstance(batch, mbo_gym.Proposals)
    assert batch.x.shape == (12, 3)
    assert list(batch.columns) == ["heat", "time", "salt", *FACTS]
    np.testing.assert_array_equal(batch.columns["time"], batch.x[:, 1])
    assert (np.diff(batch.criterion) <= 0).all()
    rows = batch.rows()
    assert len(rows) == 12
    assert list(rows[0]) == ["heat", "time", "salt", *FACTS]
    assert rows[3]["salt"] == batch.x[3, 2]
    assert batch.method == "matched"


def test_the_same_seed_gives_the_same_batch(heat):
    batches = [
        mbo_gym.propose(str(heat), "yield", "grad", 5, seed=seed, settings=LIGHT)
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(batches[0].x, batches[1].x)
    np.testing.assert_array_equal(batches[0].criterion, batches[1].criterion)
    assert not np.array_equal(batches[0].x, batches[2].x)


def test_the_written_table_reads_back(heat, sequences, tmp_path):
    for path, score in ((heat, "yield"), (sequences, "activity")):
        batch = mbo_gym.propose(path, score, "top_k", 4)
        assert batch.to_csv(tmp_path / "next.csv") == tmp_path / "next.csv"
        np.testing.assert_array_equal(read_designs(tmp_path / "next.csv", batch.space), batch.x)
    with (tmp_path / "next.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["dna"] == batch.columns["dna"][0]
    assert float(row["predicted"]) == pytest.approx(batch.predicted[0], rel=1e-4)
    batch.to_csv(tmp_path / "next.tsv", delimiter="\t")
    assert (tmp_path / "next.tsv").read_text().split("\t")[0] == "dna"


def test_printed_it_shows_the_finding_and_the_first_rows(heat):
    lines = str(mbo_gym.propose(heat, "yield", "top_k", 30)).splitlines()
    assert lines[0].startswith("Held-out rows are predicted with R2")
    assert lines[2].split() == ["heat", "time", "salt", *FACTS]
    assert len(lines) == 14
    assert lines[-1] == "... and 20 more"


def test_columns_make_a_data_frame(sequences):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(mbo_gym.propose(sequences, "activity", "top_k", 2).columns)
    assert frame.columns[0] == "dna"
    assert frame["predicted"].dtype == float


def test_design_columns_keep_their_names(tmp_path):
    rows = "".join(f"{i},{i * i % 7},{i}\n" for i in range(12))
    (tmp_path / "t.csv").write_text("predicted,low,y\n" + rows)
    batch = mbo_gym.propose(tmp_path / "t.csv", "y", "top_k", 1)
    names = list(batch.columns)
    assert names[:5] == ["predicted", "low", "batch_predicted", "batch_low", "high"]


def test_lower_can_be_better_and_columns_can_be_chosen(heat):
    batch = mbo_gym.propose(heat, "yield", "top_k", 6, designs=["time", "heat"], minimise=True)
    measured = np.loadtxt(heat, delimiter=",", skiprows=1)
    assert batch.names == ("time", "heat")
    assert batch.best_measured == pytest.approx(measured[:, 3].min(), rel=1e-5)
    np.testing.assert_array_equal(batch.predicted, -batch.criterion)
    assert (batch.facts.low <= batch.predicted).all()
    assert (batch.facts.high >= batch.predicted).all()
    assert batch.predicted.mean() < measured[:, 3].mean()
    highest = mbo_gym.propose(heat, "yield", "top_k", 6)
    assert highest.predicted.mean() > measured[:, 3].mean()


def test_a_task_or_a_problem_will_do_too():
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=50)
    by_id = mbo_gym.propose("Branin-Exact-v0", method="top_k", k=3, max_rows=50)
    assert "nearest_row" in by_id.columns
    for batch in (
        mbo_gym.propose(task, method="top_k", k=3),
        mbo_gym.propose(task.problem(), method="top_k", k=3),
    ):
        np.testing.assert_array_equal(batch.x, by_id.x)


def test_the_line_is_that_of_the_nearest_measured_row(heat):
    batch = mbo_gym.propose(heat, "yield", "top_k", 5)
    measured = np.loadtxt(heat, delimiter=",", skiprows=1)[:, :3]
    scale = measured.std(axis=0)
    for x, line, distance in zip(batch.x, batch.facts.line, batch.facts.distance, strict=True):
        off = np.sqrt((((measured - x) / scale) ** 2).mean(axis=1))
        assert line == off.argmin() + 2
        assert distance == pytest.approx(off.min(), abs=1e-5)


def test_wanted_designs_are_in_and_excluded_ones_are_not(heat, tmp_path):
    first = mbo_gym.propose(heat, "yield", "top_k", 6)
    first.to_csv(tmp_path / "pending.csv")
    wanted = [{"heat": 0.5, "time": 0.25, "salt": 0.75}]
    batch = mbo_gym.propose(
        heat, "yield", "top_k", 6, exclude=tmp_path / "pending.csv", include=wanted
    )
    old, new = (set(map(tuple, b.x.tolist())) for b in (first, batch))
    assert not old & new
    assert (0.5, 0.25, 0.75) in new
    assert batch.columns["wanted"].count("yes") == 1
    assert len(batch) == 6
    as_array = mbo_gym.propose(heat, "yield", "top_k", 6, exclude=first.x)
    assert not old & set(map(tuple, as_array.x.tolist()))


def test_a_wanted_design_has_to_be_allowed(heat):
    far = {"heat": 7, "time": 0.5, "salt": 0.5}
    with pytest.raises(InvalidDesign, match=r"include, row 0: heat=7.* is outside"):
        mbo_gym.propose(heat, "yield", "top_k", 3, include=[far])
    with pytest.raises(InvalidDesign, match="salt is missing"):
        mbo_gym.propose(heat, "yield", "top_k", 3, include=[{"heat": 0.5, "time": 0.5}])
    with pytest.raises(ValueError, match="include holds 2 designs and the batch has 1 places"):
        mbo_gym.propose(heat, "yield", "top_k", 1, include=np.full((2, 3), 0.5))
    mbo_gym.propose(heat, "yield", "top_k", 3, exclude=[far])  # it is never proposed anyway


def test_a_table_that_holds_every_design_has_nothing_left(tmp_path):
    rows = "".join(f"{a}{b},{i}\n" for i, (a, b) in enumerate((a, b) for a in "ACG" for b in "ACG"))
    (tmp_path / "t.csv").write_text(f"s,y\n{rows}")
    with pytest.raises(InvalidData, match="nothing left to propose"):
        mbo_gym.propose(tmp_path / "t.csv", "y", "top_k", 2)
    (tmp_path / "t.csv").write_text("s,y\n" + "".join(rows.splitlines(keepends=True)[:7]))
    batch = mbo_gym.propose(tmp_path / "t.csv", "y", "top_k", 5)
    assert sorted(batch.columns["s"]) == ["GC", "GG"]
    assert any("Only 2 of 5 designs" in note for note in batch.notes)


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
    with pytest.raises(UnknownId, match="no setting of MatchedConfig 'stepz'"):
        mbo_gym.propose(heat, "yield", settings={"stepz": 3})
    with pytest.raises(UnknownId, match=r"no task option 'bound'\. Did you mean bounds"):
        mbo_gym.propose(heat, "yield", bound="none")
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        mbo_gym.propose(heat, "yield", k=0)
    with pytest.raises(ValueError, match="two names of one number, got 3 and 4"):
        mbo_gym.propose(heat, "yield", k=3, batch=4)
    with pytest.raises(ValueError, match="plate_size needs group="):
        mbo_gym.propose(heat, "yield", plate_size=4)
    with pytest.raises(UnknownId, match="no parameter for group 'heet'"):
        mbo_gym.propose(heat, "yield", group="heet")
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
