"""Pictures of an episode: a line of text, its scores, its path on a 2-D landscape, a drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mbo_gym.envs.process import Process, State
from mbo_gym.problem.space import ContinuousSpace

__all__ = ["as_picture", "as_text"]

_GRID = 80  # points on each side of the landscape


def as_text(process: Process, states: list[State]) -> str:
    """Return one line: step, predicted score, score by the oracle where it is asked, design."""
    last = states[-1]
    (cells,) = process.problem.space.format(process.designs(last.z))
    shown = " ".join(cells[:8]) + (" .." if len(cells) > 8 else "")
    parts = [f"step {len(states) - 1}/{process.config.horizon}"]
    if process.config.uses_surrogate:
        parts.append(f"prediction {float(last.prediction[0]):+.3f} sd")
    if process.config.asks_oracle:
        parts.append(f"oracle {float(last.score[0]):+.3f} sd")
    return "  ".join([*parts, shown])


def as_picture(process: Process, states: list[State]) -> np.ndarray:
    """Return a picture (480, 640, 3) uint8: scores of the episode, and more where there is more.

    For 2-D tasks that is the path; for tasks with a `Task.drawing` the last design, e.g. a tool and
    the water it holds, which asks the oracle once.

    The landscape behind the path is what rewards are differences of: the surrogate's or, where the
    reward is the oracle's, the true one; the title says which. Drawing the true one asks the
    oracle, and the calls are counted.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    space = process.problem.space
    flat = isinstance(space, ContinuousSpace) and space.shape == (2,)
    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if flat:
        path_axes, score_axes = figure.subplots(2, 1, height_ratios=(3, 1))
        _draw_path(path_axes, process, states)
    elif process.drawing is not None:
        design_axes, score_axes = figure.subplots(1, 2, width_ratios=(3, 2))
        (design,) = process.designs(states[-1].z)
        process.drawing.draw(design_axes, design)
        score_axes.set_title(f"step {len(states) - 1}")
        figure.suptitle(process.problem.task_id)
    else:
        score_axes = figure.subplots()
        score_axes.set_title(process.problem.task_id)
    _draw_scores(score_axes, process, states)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _draw_scores(axes: Any, process: Process, states: list[State]) -> None:
    config = process.config
    lines = [
        ("surrogate", config.uses_surrogate, [s.prediction for s in states]),
        ("oracle", config.asks_oracle, [s.score for s in states]),
    ]
    for label, known, values in lines:
        if known:
            axes.plot([float(value[0]) for value in values], marker=".", label=label)
    axes.set(xlim=(0, process.config.horizon), xlabel="step", ylabel="score (sd)")
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.legend(loc="best", frameon=False)


def _draw_path(axes: Any, process: Process, states: list[State]) -> None:
    low, high = process.low, process.high
    sides = [np.linspace(low[j], high[j], _GRID, dtype=np.float32) for j in (0, 1)]
    z = torch.from_numpy(np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2))
    x = process.designs(z)
    values = process.value(z.to(process.device)).cpu().numpy()
    whose = "oracle's" if process.config.reward == "oracle" else "surrogate's"
    ground = axes.contourf(
        x[:, 0].reshape(_GRID, _GRID),
        x[:, 1].reshape(_GRID, _GRID),
        values.reshape(_GRID, _GRID),
        levels=24,
        cmap="viridis",
    )
    path = process.designs(torch.cat([s.z for s in states]))
    axes.plot(path[:, 0], path[:, 1], color="white", marker=".", linewidth=1)
    axes.plot(*path[0], marker="o", color="black", markerfacecolor="white")
    axes.plot(*path[-1], marker="*", color="black", markerfacecolor="white", markersize=12)
    names = process.problem.space.names
    axes.set(
        xlabel=names[0], ylabel=names[1], title=f"{process.problem.task_id}: the {whose} landscape"
    )
    axes.figure.colorbar(ground, ax=axes, label="score (sd)")
