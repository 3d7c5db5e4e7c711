"""Drawings of tool, water and goal."""

from __future__ import annotations

import struct
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import mbo_gym
from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.runs.picture import save_designs
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scene import Block, Chain, Scene
from mbo_gym.tasks.fluid_drawing import FluidDrawing

pytest.importorskip("matplotlib")

LIGHT = Physics(n_cells=16, time_step_s=3e-3, substeps_per_frame=5)
SHORT = Scene(
    "short",
    water=Block((0.40, 0.60), (0.60, 0.75)),
    tool=Chain((0.30, 0.45), link_m=0.10, n_angles=4),
    goal_m=(0.5, 0.45),
    sigma_m=0.1,
    seconds=0.21,
)
SPACE = ContinuousSpace(np.full(4, -1.5), np.full(4, 1.5))
FLAT, CUP = np.zeros(4, np.float32), np.array([-0.9, 0.9, 0.9, 0.5], np.float32)


@pytest.fixture
def drawing() -> FluidDrawing:
    return FluidDrawing(FluidOracle(SPACE, SHORT, LIGHT))


def axes_of():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((3, 3), dpi=100)
    FigureCanvasAgg(figure)
    return figure, figure.add_axes((0, 0, 1, 1))


def pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3].astype(int)


def test_tool_water_and_goal_are_where_they_are(drawing):
    figure, axes = axes_of()
    with count_oracle_calls() as calls:
        drawing.draw(axes, FLAT)
    assert calls.count == 1
    frames = drawing._oracle.simulate(FLAT[None])[0]
    seen = pixels(figure)

    def colour(x_m, y_m):
        return seen[round(299 * (1 - y_m)), round(299 * x_m)]

    red, _, blue = colour(0.35, 0.45)  # on the chain
    assert red > 180
    assert blue < 60
    for x_m, y_m in frames[-1][::5]:
        red, _, blue = colour(x_m, y_m)
        assert blue > red + 40
    assert tuple(colour(0.8, 0.75)) == (255, 255, 255)  # nothing there
    assert "score" in axes.get_title()


def test_a_strip_has_a_row_a_design(drawing, tmp_path):
    drawing.save(tmp_path / "one.png", {"flat tool": FLAT})
    drawing.save(tmp_path / "two.png", {"flat tool": FLAT, "cup": CUP})
    sizes = [
        struct.unpack(">II", (tmp_path / name).read_bytes()[16:24])
        for name in ("one.png", "two.png")
    ]
    assert sizes[0][0] == sizes[1][0] == 1040
    assert sizes[1][1] == 2 * sizes[0][1]


def test_an_animation_moves_and_ends_with_a_pause(drawing, tmp_path):
    image = pytest.importorskip("PIL.Image")
    drawing.save(tmp_path / "moves.gif", {"flat tool": FLAT, "cup": CUP})
    with image.open(tmp_path / "moves.gif") as gif:
        assert gif.n_frames == 6  # of 14 frames every third, and the last
        first = np.asarray(gif.convert("RGB")).copy()
        gif.seek(5)
        assert gif.info["duration"] == 1500
        last = np.asarray(gif.convert("RGB"))
    assert first.shape == last.shape
    assert (first != last).any(axis=2).mean() > 0.005


def test_a_run_draws_its_best_and_median_design(drawing, tmp_path):
    task = replace(mbo_gym.make_task("FluidContain-MPM-v0"), drawing=drawing)
    drawn = {}
    drawing.save = lambda path, designs: drawn.update({path.name: designs})
    designs = np.stack([FLAT, CUP, CUP / 2, CUP / 3])
    scores = np.array([0.1, np.nan, 0.3, 0.2])
    files = save_designs(tmp_path, task, designs, scores)
    assert [file.name for file in files] == ["designs_drawn.png", "designs_drawn.gif"]
    chosen = drawn["designs_drawn.png"]
    assert list(chosen) == ["best visible design", "median proposal", "best proposal"]
    assert np.array_equal(chosen["best proposal"], designs[2])
    assert np.array_equal(chosen["median proposal"], designs[3])
    branin = mbo_gym.make_task("Branin-Exact-v0")
    assert save_designs(tmp_path, branin, branin.dataset.x[:2], np.zeros(2)) == []


def test_an_environment_shows_the_tool(drawing):
    x = np.random.default_rng(0).uniform(-1, 1, (40, 4)).astype(np.float32)
    task = mbo_gym.make_task("FluidContain-MPM-v0")
    data = mbo_gym.OfflineDataset(x, x.sum(axis=1))
    small = replace(task, space=SPACE, dataset=data, hidden_oracle=drawing._oracle, drawing=drawing)
    env = gym.make(
        "mbo_gym/FluidContain-MPM-v0", task=small, surrogate="quadratic", render_mode="rgb_array"
    )
    env.reset(options={"design": FLAT})
    with count_oracle_calls() as calls:
        flat = env.render()
    assert calls.count == 1
    assert (flat.shape, flat.dtype) == ((480, 640, 3), np.uint8)
    env.reset(options={"design": x[0]})
    orange = [
        (np.abs(seen.astype(int) - [213, 94, 0]).sum(axis=2) < 30) for seen in (flat, env.render())
    ]
    assert min(part.sum() for part in orange) > 500  # the tool, in each
    assert (orange[0] != orange[1]).sum() > 500
