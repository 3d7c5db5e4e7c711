"""Drawings of tool, water and goal: one moment, a strip of moments, an animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.optional import optional_import
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.score import share_at_goal

__all__ = ["Episode", "Panel", "save_animation", "save_strip"]

# of Okabe and Ito's palette, which colour-blind people tell apart
_TOOL, _GOAL = "#D55E00", "#E69F00"
_GOAL_WORD = "#8A5F00"
_FIXED, _CONTAINER = "0.25", "0.88"
_FAR_WATER, _NEAR_WATER = "#A6CDE8", "#00558C"
_PANEL_INCHES = 2.6
_STRIP_SHARES = (0.0, 0.25, 0.5, 1.0)  # moments of a strip, as shares of the episode
_GIF_EVERY = 3  # recorded frames a picture
_GIF_END_MS = 1500  # how long the last picture stays


@dataclass(frozen=True, eq=False)
class Episode:
    """One design and what the water did.

    Args:
        name: What the design is, for its title.
        segments_m: (S, 4) the tool, then the fixed walls, see `Scene.segments`.
        frames_m: (F, N, 2) positions of the particles.
    """

    name: str
    segments_m: np.ndarray
    frames_m: np.ndarray

    def score(self, scene: Scene) -> float:
        """Return the score at the end."""
        last = self.frames_m.astype(np.float64)
        return float(share_at_goal(last, scene.goal_m, scene.sigma_m))


class Panel:
    """Tool, water and goal in one pair of axes, at one moment at a time.

    Water is the darker the nearer it is to the goal. The bar below the container is the share of
    the water at the goal, from 0 to 1: the score of the moment.

    Args:
        axes: Axes of matplotlib.
        scene: The scene.
        physics: Constants of the water.
        episode: The design and its frames.
        legend: Whether to write what goal and bar are, and to frame the water's start.

    Attributes:
        moving: What changes between moments: the water and the bar.
    """

    def __init__(
        self, axes: Any, scene: Scene, physics: Physics, episode: Episode, *, legend: bool = False
    ) -> None:
        self.axes, self._scene, self._physics, self._episode = axes, scene, physics, episode
        patches = optional_import("matplotlib.patches", "report")
        low, high = physics.low_m, physics.high_m
        axes.set(
            xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal", facecolor=_CONTAINER
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        inside = patches.Rectangle((low, low), high - low, high - low, color="white", zorder=0)
        axes.add_patch(inside)
        for sigmas, strength in ((2, 0.15), (1, 0.3)):
            glow = patches.Circle(scene.goal_m, sigmas * scene.sigma_m, color=_GOAL, lw=0, zorder=1)
            glow.set_alpha(strength)
            axes.add_patch(glow)
            glow.set_clip_path(inside)
        axes.plot(*scene.goal_m, marker="+", color=_GOAL, markersize=9, markeredgewidth=2, zorder=5)
        n_tool = scene.tool.n_angles
        for segments_m, colour in (
            (episode.segments_m[n_tool:], _FIXED),
            (episode.segments_m[:n_tool], _TOOL),
        ):
            _draw_capsules(axes, patches, segments_m, physics.tool_radius_m, colour)
        self._bar = _draw_bar(axes, patches, physics)
        self._water, self._colours = _draw_water(axes, physics, episode.frames_m[0])
        self.moving = (self._water, self._bar)
        if legend:
            _draw_legend(axes, patches, scene, physics)

    def show(self, frame: int) -> None:
        """Move the water and the bar to a frame."""
        particles_m = self._episode.frames_m[frame]
        one_each = particles_m.astype(np.float64)[:, None, None]  # (N, F=1, 1, 2)
        near = share_at_goal(one_each, self._scene.goal_m, self._scene.sigma_m)
        self._water.set_offsets(particles_m)
        self._water.set_facecolors(self._colours(near))
        width = self._physics.high_m - self._physics.low_m
        self._bar.set_width(width * float(near.mean()))


def save_strip(path: Path, scene: Scene, physics: Physics, episodes: Sequence[Episode]) -> None:
    """Draw each design at four moments, a row each, into a PNG.

    Args:
        path: File to write.
        scene: The scene.
        physics: Constants of the water.
        episodes: The designs, at least one.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    figure, grid = _figure(len(episodes), len(_STRIP_SHARES))
    for axes_row, episode in zip(grid, episodes, strict=True):
        last = len(episode.frames_m) - 1
        for axes, share in zip(axes_row, _STRIP_SHARES, strict=True):
            frame = round(share * last)
            Panel(axes, scene, physics, episode, legend=frame == 0).show(frame)
            axes.set_title(_time(physics, frame), fontsize=9, color="0.3")
        axes_row[0].set_ylabel(episode.name, fontsize=11)
        score = f"{_time(physics, last)}: score {episode.score(scene):.3f}"
        axes_row[-1].set_title(score, fontsize=10, weight="bold")
    figure.savefig(path, format="png")


def save_animation(path: Path, scene: Scene, physics: Physics, episodes: Sequence[Episode]) -> None:
    """Animate designs side by side in a GIF, in real time where the viewer keeps up.

    Args:
        path: File to write.
        scene: The scene.
        physics: Constants of the water.
        episodes: The designs, at least one, with as many frames each.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    image = optional_import("PIL.Image", "report")
    figure, grid = _figure(1, len(episodes))
    panels, titles = [], []
    for axes, episode in zip(grid[0], episodes, strict=True):
        panels.append(Panel(axes, scene, physics, episode, legend=True))
        titles.append(axes.set_title(f"{episode.name}\n ", fontsize=10))
    moving = [artist for panel in panels for artist in panel.moving] + titles
    for artist in moving:
        artist.set_animated(True)
    figure.canvas.draw()  # all that stands still, once
    still = figure.canvas.copy_from_bbox(figure.bbox)
    last = len(episodes[0].frames_m) - 1
    pictures = []
    for frame in [*range(0, last, _GIF_EVERY), last]:
        for panel, title, episode in zip(panels, titles, episodes, strict=True):
            panel.show(frame)
            end = f"score {episode.score(scene):.3f}" if frame == last else _time(physics, frame)
            title.set_text(f"{episode.name}\n{end}")
        figure.canvas.restore_region(still)
        for artist in moving:
            figure.draw_artist(artist)
        pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
        pictures.append(image.fromarray(pixels.copy()).quantize(64))
    step_ms = round(1000 * physics.frame_s * _GIF_EVERY / 10) * 10  # a GIF counts in 10 ms
    waits_ms = [step_ms] * (len(pictures) - 1) + [_GIF_END_MS]
    pictures[0].save(
        path, "GIF", save_all=True, append_images=pictures[1:], duration=waits_ms, loop=0
    )


def _figure(n_rows: int, n_columns: int) -> tuple[Any, Any]:
    """Return a figure and its axes (n_rows, n_columns)."""
    figure = optional_import("matplotlib.figure", "report").Figure(
        (_PANEL_INCHES * n_columns, (_PANEL_INCHES + 0.3) * n_rows), dpi=100, layout="constrained"
    )
    optional_import("matplotlib.backends.backend_agg", "report").FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _time(physics: Physics, frame: int) -> str:
    seconds = 0.0 if frame == 0 else (frame + 1) * physics.frame_s
    return f"{seconds:.2f} s"


def _draw_legend(axes: Any, patches: Any, scene: Scene, physics: Physics) -> None:
    """Write what goal and bar are, and frame the place where the water starts."""
    x_m, y_m = scene.goal_m
    beside = 1 if x_m < 0.5 else -1
    axes.text(
        x_m + beside * 1.5 * scene.sigma_m,
        y_m + 1.5 * scene.sigma_m,
        "goal",
        fontsize=9,
        color=_GOAL_WORD,
        ha="left" if beside > 0 else "right",
        zorder=6,
    )
    axes.text(physics.low_m, 0.82 * physics.low_m, "share at the goal", fontsize=6, va="center")
    low_m, high_m = np.array(scene.water.low_m), np.array(scene.water.high_m)
    size_m = high_m - low_m
    axes.add_patch(
        patches.Rectangle(low_m, *size_m, fill=False, ls="--", lw=0.8, color=_NEAR_WATER, zorder=2)
    )


def _draw_capsules(
    axes: Any, patches: Any, segments_m: np.ndarray, radius_m: float, colour: str
) -> None:
    """Draw segments as thick as they are for the water."""
    for segment in segments_m:
        start, end = segment[:2], segment[2:]
        along = end - start
        across = radius_m * np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        corners = [start + across, end + across, end - across, start - across]
        axes.add_patch(patches.Polygon(corners, color=colour, lw=0, zorder=3))
        for joint in (start, end):
            axes.add_patch(patches.Circle(joint, radius_m, color=colour, lw=0, zorder=3))


def _draw_water(axes: Any, physics: Physics, particles_m: np.ndarray) -> tuple[Any, Any]:
    """Draw particles as large as the water that each one stands for; return them and a colour map.

    The colour map goes from water far from the goal, 0, to water at the goal, 1.
    """
    collections = optional_import("matplotlib.collections", "report")
    colours = optional_import("matplotlib.colors", "report").LinearSegmentedColormap.from_list(
        "water", [_FAR_WATER, _NEAR_WATER]
    )
    width = np.full(len(particles_m), 1.25 * physics.spacing_m)
    water = collections.EllipseCollection(
        width,
        width,
        np.zeros_like(width),
        units="x",
        offsets=particles_m,
        offset_transform=axes.transData,
        linewidths=0,
        zorder=4,
    )
    axes.add_collection(water)
    return water, colours


def _draw_bar(axes: Any, patches: Any, physics: Physics) -> Any:
    """Draw an empty bar in the container's floor; return the part that fills it."""
    low, width = physics.low_m, physics.high_m - physics.low_m
    height = 0.4 * low
    at = (low, 0.4 * low - 0.5 * height)
    axes.add_patch(patches.Rectangle(at, width, height, color="white", lw=0, zorder=2))
    bar = patches.Rectangle(at, 0.0, height, color=_GOAL, lw=0, zorder=3)
    axes.add_patch(bar)
    return bar
