"""Drawings of the designs of a fluid task, each simulated first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.simulators.fluid.draw import Episode, Panel, save_animation, save_strip
from mbo_gym.simulators.fluid.rollout import fastest_engine

__all__ = ["FluidDrawing"]


class FluidDrawing:
    """Draws tool, water and goal; each design drawn is an oracle call.

    Args:
        oracle: Oracle of the task.
    """

    suffixes = (".png", ".gif")

    def __init__(self, oracle: FluidOracle) -> None:
        self._oracle = oracle

    @property
    def references(self) -> Mapping[str, np.ndarray]:
        """The flat tool: all angles 0."""
        return {"flat tool": np.zeros(self._oracle.scene.tool.n_angles, dtype=np.float32)}

    def draw(self, axes: Any, design: np.ndarray) -> None:
        """Draw a design with the water at the end of the episode.

        Args:
            axes: Axes of matplotlib.
            design: (n_angles,) angles.
        """
        (episode,) = self._episodes({"": design})
        scene = self._oracle.scene
        panel = Panel(axes, scene, self._oracle.physics, episode, legend=True)
        panel.show(len(episode.frames_m) - 1)
        axes.set_title(f"after {scene.seconds:g} s: score {episode.score(scene):.3f}")

    def save(self, path: Path, designs: Mapping[str, np.ndarray]) -> None:
        """Draw designs over time: a strip of moments (``.png``) or an animation (``.gif``).

        Args:
            path: File to write; its suffix is one of `suffixes`.
            designs: Each design (n_angles,) by its name.
        """
        save = save_animation if path.suffix == ".gif" else save_strip
        save(path, self._oracle.scene, self._oracle.physics, self._episodes(designs))

    def _episodes(self, designs: Mapping[str, np.ndarray]) -> list[Episode]:
        x = np.stack(list(designs.values()))
        frames_m = self._oracle.simulate(x, engine=fastest_engine())
        segments_m = self._oracle.scene.segments(x.astype(np.float64))
        return [
            Episode(name, segments, frames)
            for name, segments, frames in zip(designs, segments_m, frames_m, strict=True)
        ]
