"""Dates as part of a design: in space.toml, in kinds=, in proposals and in files."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import mbo_gym
from mbo_gym.cli.app import app
from mbo_gym.errors import InvalidData, InvalidDesign
from mbo_gym.files.designs import read_designs
from mbo_gym.problem.dates import Date
from mbo_gym.problem.mixed import MixedSpace, make_space
from mbo_gym.problem.plain import (
    parameter_from_dict,
    parameter_to_dict,
    space_from_dict,
    space_to_dict,
)

DAYS = ("2024-03-04", "2024-03-11", "2024-04-01", "2024-04-15", "2024-05-06", "2024-05-27")


@pytest.fixture
def table(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    lines = ["sowing,water (l),yield"]
    for i in range(40):
        day = DAYS[i % len(DAYS)]
        water = rng.integers(10, 50) / 2
        off = datetime.date.fromisoformat(day).toordinal() - datetime.date(2024, 4, 10).toordinal()
        lines.append(f"{day},{water},{water - 0.01 * off**2 + rng.normal(0, 0.1):.3f}")
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines))
    return path


def test_init_correct_propose(table, tmp_path):
    runner = CliRunner()
    space = tmp_path / "space.toml"
    done = runner.invoke(app, ["init", str(table), "--score", "yield", "--output", str(space)])
    assert done.exit_code == 0, done.output
    text = space.read_text()
    assert '"sowing",  # dates' in text
    assert "# low = 2024-03-04  # earliest date" in text
    assert "# high = 2024-05-27  # latest date" in text
    # delete the column from `ignore`, and the first # of each line
    text = re.sub(r'\n    "sowing",  # dates.*', "", text)
    head, block = re.split(r"# \"sowing\" holds dates.*\n", text)
    block, *rest = block.split("\n\n")
    block = "\n".join(line.removeprefix("# ") for line in block.split("\n"))
    space.write_text("\n\n".join([head + block, *rest]).replace("step = 1.0", "step = 7"))
    batch = tmp_path / "batch.csv"
    arguments = [
        "propose",
        str(table),
        "--space",
        str(space),
        "--batch",
        "8",
        "--output",
        str(batch),
    ]
    done = runner.invoke(app, [*arguments, "--preset", "light", "--method", "grad"])
    assert done.exit_code == 0, done.output
    task = mbo_gym.make_task("table", path=str(table), space=str(space))
    header, *rows = batch.read_text().splitlines()
    at = header.split(",").index("sowing")
    for row in rows:
        day = datetime.date.fromisoformat(row.split(",")[at])
        assert datetime.date(2024, 3, 4) <= day <= datetime.date(2024, 5, 27)
        assert (day - datetime.date(2024, 3, 4)).days % 7 == 0
    x = read_designs(batch, task.space)
    assert task.space.contains(x).all()
    assert [row["sowing"] for row in task.space.values(x)] == [row.split(",")[at] for row in rows]


def test_kinds_say_it_too(table):
    batch = mbo_gym.propose(
        table, "yield", "grad", 5, kinds={"sowing": "date"}, preset="light", progress=False
    )
    assert all(re.fullmatch(r"2024-0[345]-\d\d", day) for day in batch.columns["sowing"])
    assert batch.space.parameters[0].step == 1
    with pytest.raises(InvalidData, match=r"bounds\['sowing'\] belongs to dates. Pass space="):
        mbo_gym.make_task(
            "table",
            path=str(table),
            score_column="yield",
            kinds={"sowing": "date"},
            bounds={"sowing": (0, 10)},
        )


def test_every_method_of_a_space_knows_dates():
    space = make_space([Date("d", first=datetime.date(2024, 2, 27), last="2.3.2024")])
    assert isinstance(space, MixedSpace)
    x = space.parse([{"d": "2024-02-29"}, {"d": datetime.date(2024, 3, 1)}])
    assert x.tolist() == [[2], [3]]
    assert [row["d"] for row in space.values(x)] == ["2024-02-29", "2024-03-01"]
    assert space.format(space.project(np.array([[2.4], [99.0]]))) == [
        ["2024-02-29"],
        ["2024-03-02"],
    ]
    drawn = {row[0] for row in space.format(space.sample(200, np.random.default_rng(0)))}
    assert drawn == {"2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02"}
    assert space.n_designs == 5
    with pytest.raises(
        InvalidDesign, match="the dates from 2024-02-27 to 2024-03-02 in steps of 1"
    ):
        space.parse([{"d": "2024-03-03"}])
    with pytest.raises(InvalidDesign, match="'soon' is not allowed"):
        space.parse([{"d": "soon"}])
    assert "d=2024-03-26 is not allowed" in space.why_not(np.array([28.0]))
    again = space_from_dict(space_to_dict(space))
    assert again.parameters == space.parameters


def test_times_of_day_and_zones():
    hours = Date("t", step=1 / 24, first="2024-03-31T22:00:00Z", last="2024-04-01 03:00")
    x = np.arange(6)[:, None] / 24
    assert hours.cells(x.astype(np.float32))[:3] == [
        "2024-03-31 22:00",
        "2024-03-31 23:00",
        "2024-04-01",
    ]
    assert hours.n_values == 6
    assert parameter_from_dict(parameter_to_dict(hours)) == hours
    with pytest.raises(ValueError, match="step must be above 0"):
        Date("t", step=0, first="2024-03-31", last="2024-04-01")


def test_the_longest_step_that_the_dates_allow(table):
    text = table.read_text().replace("2024-03-11", "2024-03-11 06:00")
    table.write_text(text)
    task = mbo_gym.make_task(
        "table", path=str(table), score_column="yield", kinds={"sowing": "date"}
    )
    assert task.space.parameters[0].step == pytest.approx(1 / 24)
    assert "2024-03-11 06:00" in {row["sowing"] for row in task.space.values(task.dataset.x)}
