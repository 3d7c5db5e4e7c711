"""mbo-gym propose: health first, designs, a file, a card; nothing lost on Ctrl-C."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mbo_gym.batch import card as card_module
from mbo_gym.batch import models
from mbo_gym.cli import main
from mbo_gym.settings import Choice


@pytest.fixture(autouse=True)
def light(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "N_TREES", 20)
    monkeypatch.setattr(models, "STEPS_BY_ROOT", 4)
    monkeypatch.setattr(models, "ENSEMBLE", Choice("mean_ensemble", {"hidden": 8, "members": 2}))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def table(tmp_path) -> Path:
    """A table of two numbers with one decimal, and a yield."""
    rng = np.random.default_rng(0)
    x = rng.uniform(20, 90, size=(60, 2)).round(1)
    y = (100 - ((x - 55) ** 2).sum(axis=1) / 50).round(2)
    rows = np.column_stack([x, y])
    np.savetxt("my.csv", rows, delimiter=",", header="heat,time,yield", comments="", fmt="%g")
    return tmp_path / "my.csv"


@pytest.fixture
def mbo(capsys, monkeypatch):
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


def cells(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_prints_health_then_designs_then_the_files(mbo, table):
    code, out, err = mbo("propose", table, "--score", "yield", "--batch", 24, "--method", "top_k")
    assert (code, err) == (0, "")
    order = [
        "How well held-out rows are predicted",
        "Held-out rows are predicted with R2",
        "The first 20 of 24 designs",
        "... and 4 more",
        "Score against diversity",
        "Interval:",
        "batch: batch.csv",
        "card:  batch.html",
    ]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    rows = cells("batch.csv")
    assert len({(row["heat"], row["time"]) for row in rows}) == 24
    measured = {(row["heat"], row["time"]) for row in cells("my.csv")}
    assert not measured & {(row["heat"], row["time"]) for row in rows}
    for row in rows:
        assert len(row["heat"].partition(".")[2]) <= 1  # the file's decimals
        assert 2 <= int(row["nearest_line"]) <= 61
        assert row["heat"] in out or row is not rows[0]
    page = Path("batch.html").read_text(encoding="utf-8")
    assert rows[0]["predicted"] in page


def test_earlier_batches_are_kept(mbo, table):
    for _ in range(2):
        assert mbo("propose", table, "--score", "yield", "--k", 2, "--method", "top_k")[0] == 0
    files = sorted(path.name for path in Path().glob("batch*"))
    assert files == ["batch-2.csv", "batch-2.html", "batch.csv", "batch.html"]
    code, out, _ = mbo(
        *("propose", table, "--score", "yield", "--batch", 3, "--method", "top_k"),
        *("--output", "next.csv", "--card", "card.html", "--exclude", "batch.csv"),
    )
    assert code == 0
    assert "batch: next.csv" in out
    assert Path("card.html").exists()
    assert len(cells("next.csv")) == 3
    pairs = [{(r["heat"], r["time"]) for r in cells(p)} for p in ("batch.csv", "next.csv")]
    assert not pairs[0] & pairs[1]


def test_plates_wishes_and_settings_can_be_said(mbo, table):
    Path("wanted.csv").write_text("heat,time\n33.3,44.4\n")
    code, out, _ = mbo(
        *("propose", table, "--score", "yield", "--batch", 6, "--method", "top_k_noise"),
        *("--set", "noise=0.3", "--include", "wanted.csv", "--group", "heat", "--plate-size", 3),
        *("--diverse", "--minimise", "--seed", 4, "-o", "percentile=90"),
    )
    assert code == 0, out
    rows = cells("batch.csv")
    assert [row["plate"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert len({row["heat"] for row in rows[:3]}) == len({row["heat"] for row in rows[3:]}) == 1
    assert [(row["heat"], row["time"]) for row in rows if row["wanted"] == "yes"] == [
        ("33.3", "44.4")
    ]
    assert "diverse (this batch)" in out
    assert float(rows[0]["predicted"]) < np.median([float(r["yield"]) for r in cells("my.csv")])


def test_a_task_will_do_too(mbo):
    code, out, _ = mbo(
        *("propose", "Branin-Exact-v0", "--batch", 4, "--method", "top_k", "-o", "max_rows=60")
    )
    assert code == 0
    assert "nearest_row" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score", "yeild"], "no column 'yeild'. Did you mean 'yield'"),
        (["--score", "yield", "--method", "gard"], "no method 'gard'"),
        (["--score", "yield", "--group", "heet"], "Did you mean heat"),
        (["--score", "yield", "--batch", "0"], "k must be at least 1, got 0"),
        (["--score", "yield", "--include", "nowhere.csv"], "there is no such file"),
        (["--score", "yield", "--output", "no/such/b.csv"], "there is no folder"),
        (["--score", "yield", "--set", "stepz=3"], "no setting of MatchedConfig 'stepz'"),
        (["--score", "yield", "-o", "bound=none"], "no task option 'bound'"),
    ],
)
def test_mistakes_are_answered_before_any_work(mbo, table, monkeypatch, words, message):
    monkeypatch.setattr("mbo_gym.batch.propose.check_health", None)
    code, out, err = mbo("propose", table, *words)
    assert code == 2
    assert message in err.replace("\n", " ")
    assert out == ""


def test_after_ctrl_c_the_batch_is_there_and_nothing_is_half_written(mbo, table, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(card_module, "to_html", interrupt)
    words = ("propose", table, "--score", "yield", "--batch", 4, "--method", "top_k")
    code, out, err = mbo(*words)
    assert code == 130
    assert len(cells("batch.csv")) == 4
    assert "batch: batch.csv" in out
    assert sorted(p.name for p in Path().iterdir()) == ["batch.csv", "my.csv"]
    assert "nothing half-written" in err
