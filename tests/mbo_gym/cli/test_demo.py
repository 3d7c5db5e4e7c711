"""mbo-gym demo: the table, the picture, and what a base install needs for them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import mbo_gym
from mbo_gym.cli import app as cli
from mbo_gym.cli import demo
from mbo_gym.cli.demo_picture import Row, draw
from mbo_gym.methods.registry import make_method
from tests.mbo_gym.cli.test_help import parse

SMALL = (
    demo.ENTRANTS[0],
    demo.Entrant("grad", ("climbs",), "light"),
)


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def mbo(capsys, monkeypatch, tmp_path):
    """Return what runs a small demo in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "ENTRANTS", SMALL)
    monkeypatch.setattr(demo, "K", 32)

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["mbo-gym", "demo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Outcome(end.value.code or 0, *capsys.readouterr())

    return call


def svg_of(path: Path) -> ET.Element:
    return ET.fromstring(path.read_text(encoding="utf-8"))


def of_kind(drawing: ET.Element, name: str) -> list[ET.Element]:
    return [element for element in drawing.iter() if element.tag.rpartition("}")[2] == name]


def test_a_table_a_picture_and_what_to_do_next(mbo, tmp_path):
    code, out, err = mbo()
    assert code == 0
    for seed in (0,):
        (row,) = re.findall(rf"random_unseen +{seed} +(\S+) +(\S+) +100%", out)
        assert 0.4 < float(row[0]) < float(row[1]) <= 1
        assert f"grad, seed {seed}: median" in err
    assert "best visible design" in out
    assert "asked for while learning and searching: 0." in out
    assert "picture: mbo-gym-demo.svg" in out
    assert out.index("picture") < out.index("Next:")
    assert [path.name for path in tmp_path.iterdir()] == ["mbo-gym-demo.svg"]
    drawing = svg_of(tmp_path / "mbo-gym-demo.svg")
    words = [element.text for element in of_kind(drawing, "text")]
    assert {"random_unseen", "grad", "hidden: 32,768 designs"} <= set(words)
    assert "best visible design 0.439" in words
    assert len(of_kind(drawing, "circle")) == 2 * 32


def test_quiet_leaves_the_table_and_the_path(mbo, tmp_path):
    code, out, err = mbo("--output", "first.svg", "--quiet")
    assert (code, err) == (0, "")
    assert "random_unseen" in out
    assert "picture: first.svg" in out
    assert "Next" not in out
    assert (tmp_path / "first.svg").exists()


def test_it_needs_no_extra(mbo, monkeypatch):
    for name in ("matplotlib", "stable_baselines3", "d3rlpy", "botorch", "cma", "openpyxl"):
        monkeypatch.setitem(sys.modules, name, None)
    assert mbo().code == 0


@pytest.mark.parametrize(
    ("output", "reason"), [("demo.png", "Change its suffix"), ("none/demo.svg", "no folder")]
)
def test_a_picture_that_cannot_be_written_is_found_first(mbo, output, reason):
    code, out, err = mbo("--output", output)
    assert (code, out) == (2, "")
    assert reason in err


def test_the_task_ships_and_the_methods_take_their_settings():
    assert "tfbind8_six6_ref_r1" in mbo_gym.task_info(demo.TASK).sources
    for entrant in demo.ENTRANTS:
        make_method(entrant.name, preset=entrant.preset, task_id=demo.TASK, **entrant.settings)
    assert make_method("grad").config.surrogate.name == "mlp"
    assert mbo_gym.make_surrogate("mlp").config.train_steps == 3000, "as the demo says"


def test_the_scores_of_the_picture_are_those_of_the_task():
    task = mbo_gym.make_task(demo.TASK)
    visible, hidden = demo._scores(task)
    assert len(visible) + len(hidden) == 4**8
    assert visible.max() == pytest.approx(task.info.d_best)
    assert hidden.min() > visible.max()
    assert hidden.max() == 1
    seen = np.unique(task.dataset.x, axis=0)
    assert np.sort(visible) == pytest.approx(np.sort(task.normalise(task.oracle()(seen))))


def test_what_comes_next_can_be_run():
    commands = [line.strip() for line in demo.NEXT.splitlines() if re.match(r"  \S", line)]
    assert len(commands) == 3
    assert [parse(line) for line in commands[:2]] == ["propose", "run"]
    _, flag, code = shlex.split(commands[2])
    assert flag == "-c"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert demo.TASK in done.stdout


def test_nothing_of_a_picture_lies_outside_it():
    rng = np.random.default_rng(0)
    rows = [Row("a & b", ("x < y",), rng.normal(size=50)), Row("high", ("z",), np.full(9, 5.0))]
    text = draw("title", "subtitle", ("note",), np.array([0.1, 0.4]), np.array([0.5, 1.0]), rows)
    drawing = ET.fromstring(text)
    width, height = map(float, drawing.get("viewBox", "").split()[2:])
    places = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in of_kind(drawing, "circle")]
    assert len(places) == 59
    assert all(0 < x < width and 0 < y < height for x, y in places)
    (label,) = [t for t in of_kind(drawing, "text") if t.text == "median 5.000"]
    assert label.get("text-anchor") == "end", "it would not fit to the right"
    bars = [r for r in of_kind(drawing, "rect") if r.get("fill") != "#fdfdfc"]
    assert len(bars) == 4
    assert all(float(bar.get("height", "")) > 0 for bar in bars)
