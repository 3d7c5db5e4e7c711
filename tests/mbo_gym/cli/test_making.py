"""The command `mbo-gym data make`, and pictures of tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mbo_gym
from mbo_gym import cli
from mbo_gym.data import fluid_making, manifest
from mbo_gym.data.fluid import FluidRows
from mbo_gym.data.fluid_making import Recipe
from mbo_gym.simulators.fluid import rollout as episodes
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scenes import SCENES
from mbo_gym.tasks.fluid_drawing import FluidDrawing

CONTAIN = "FluidContain-MPM-v0"
LIGHT = Physics(n_cells=16, time_step_s=3e-3, substeps_per_frame=10)


@pytest.fixture
def mbo(capsys, monkeypatch, tmp_path):
    """Return what runs `mbo-gym` and gives exit code, output and errors."""
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def light(monkeypatch):
    """Let rows be made in a second: one step of Adam, one design a control, a coarse grid,
    a short episode."""
    monkeypatch.setitem(fluid_making.RECIPES, "contain", Recipe(((0.5, 0.42),), (0,), (1,)))
    monkeypatch.setattr(fluid_making, "Physics", lambda: LIGHT)
    monkeypatch.setitem(SCENES, "contain", replace(SCENES["contain"], seconds=0.3))
    flat = fluid_making.control_designs
    monkeypatch.setattr(fluid_making, "control_designs", lambda scene, name: flat(scene, "flat"))
    monkeypatch.setattr(episodes, "find_spec", lambda name: None)  # as without numba


def test_rows_are_made_for_another_chain(mbo, light, tmp_path):
    code, out, err = mbo("data", "make", CONTAIN, "-o", "n_angles=8")
    assert code == 0
    assert "12 designs by the torch engine: about 1 min on one quiet core" in err
    assert "pip install 'mbo-gym[fluid]'" in err
    path = tmp_path / "fluid_contain_8_links.npz.xz"
    assert f"{path}: 12 rows, {path.stat().st_size:,} bytes" in out
    assert "ships" not in out
    rows = FluidRows.from_bytes(path.read_bytes(), str(path))
    assert rows.angles.shape == (12, 8)
    assert list(rows.names) == ["flat", "tilt", "arc", "cem", "adam"]
    task = mbo_gym.make_task(CONTAIN, n_angles=8)
    assert task.space.shape == (8,)
    assert task.info.space.startswith("8 real numbers")
    assert len(task.dataset) == 7  # of nine, the best two are hidden
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_a_file_of_the_shipped_name_is_compared_with_it(mbo, light, tmp_path):
    code, out, _ = mbo("data", "make", CONTAIN, "--output", tmp_path / "own")
    assert code == 0
    assert "other bytes than the file that ships" in out
    assert manifest.entry("fluid_contain").file == "fluid_contain.npz.xz"
    assert (tmp_path / "own" / "fluid_contain.npz.xz").exists()


def test_ctrl_c_says_where_work_goes_on(mbo, light, tmp_path, monkeypatch):
    whole = fluid_making._Ledger._simulate

    def stopped(self, angles):
        if len(angles) > 1:
            raise KeyboardInterrupt
        return whole(self, angles)

    monkeypatch.setattr(fluid_making._Ledger, "_simulate", stopped)
    code, _, err = mbo("data", "make", CONTAIN)
    assert code == 130
    partial = tmp_path / "fluid_contain.npz.xz.seed0.partial"
    assert f"{partial} keeps what is done" in err
    assert partial.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "make", "Branin-Exact-v0"], "data are made for FluidContain-MPM-v0"),
        (["data", "make", CONTAIN, "-o", "sigma=0.1"], "do not depend on sigma"),
        (["data", "make", CONTAIN, "--engine", "taichi"], "auto or one of torch, numba"),
        (["show", "grad", "--picture", "x.png"], "--picture belongs to a task"),
        (["show", "Branin-Exact-v0", "--picture", "x.png"], "this task has no picture"),
        (["show", CONTAIN, "--picture", "x.jpg"], "--picture writes .png or .gif, got 'x.jpg'"),
    ],
)
def test_wrong_arguments_say_what_to_do(mbo, arguments, words):
    code, out, err = mbo(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_show_draws_the_flat_tool_and_the_best_visible_design(mbo, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        FluidDrawing, "save", lambda self, path, designs: drawn.update({path: designs})
    )
    path = tmp_path / "tools.gif"
    code, out, err = mbo("show", CONTAIN, "--picture", path)
    assert code == 0
    assert f"picture: {path}" in err
    assert "differences under 0.01" in out
    for control in ("flat", "tilt", "arc", "best_stored"):
        assert f"control {control}" in out
    assert list(drawn[path]) == ["flat tool", "best visible design"]
    task = mbo_gym.make_task(CONTAIN)
    assert np.array_equal(drawn[path]["best visible design"], task.dataset.top(1).x[0])
