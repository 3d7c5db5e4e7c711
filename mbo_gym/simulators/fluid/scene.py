"""Scenes: a block of water, a tool given by angles, fixed walls and a goal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from mbo_gym.errors import InvalidData
from mbo_gym.simulators.fluid.physics import Physics

__all__ = ["Block", "Chain", "Paddles", "Point", "Scene"]

Array = TypeVar("Array", np.ndarray, torch.Tensor)
"""An array of numpy or a tensor of torch; what comes in is what comes out."""

Point: TypeAlias = tuple[float, float]
"""x and y in metres; the domain is the square from (0, 0) to (1, 1)."""


def library(array: Any) -> Any:
    """Return the library an array belongs to: torch or numpy."""
    return torch if isinstance(array, torch.Tensor) else np


@dataclass(frozen=True)
class Block:
    """An upright rectangle.

    Args:
        low_m: Its lower left corner.
        high_m: Its upper right corner.
    """

    low_m: Point
    high_m: Point

    def particles(self, spacing_m: float) -> np.ndarray:
        """Return the positions (N, 2) float32 of particles that fill the block evenly."""
        sides = [
            np.arange(low + spacing_m / 2, high, spacing_m)
            for low, high in zip(self.low_m, self.high_m, strict=True)
        ]
        grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
        return grid.reshape(-1, 2).astype(np.float32)


@dataclass(frozen=True)
class Chain:
    """A chain of equal links; each angle turns a link against the one before.

    With all angles 0 the chain is a horizontal line to the right.

    Args:
        anchor_m: Where the first link begins.
        link_m: Length of a link.
        n_angles: Number of links.
    """

    anchor_m: Point
    link_m: float
    n_angles: int

    def segments(self, angles_rad: Array) -> Array:
        """Return the links (B, n_angles, 4) as (x, y) of both ends, of angles (B, n_angles)."""
        xp = library(angles_rad)
        heading = xp.cumsum(angles_rad, 1)  # (B, D), against the x axis
        ends: list[Any] = [
            anchor + xp.cumsum(self.link_m * turn, 1)
            for anchor, turn in zip(self.anchor_m, (xp.cos(heading), xp.sin(heading)), strict=True)
        ]
        starts: list[Any] = [
            xp.concatenate([xp.full_like(end[:, :1], anchor), end[:, :-1]], 1)
            for anchor, end in zip(self.anchor_m, ends, strict=True)
        ]
        return xp.stack([*starts, *ends], -1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Paddles:
    """Straight paddles, each turned about its own centre by its own angle.

    Args:
        centres_m: Centre of each paddle.
        length_m: Length of a paddle.
    """

    centres_m: tuple[Point, ...]
    length_m: float

    @property
    def n_angles(self) -> int:
        """Number of paddles."""
        return len(self.centres_m)

    def segments(self, angles_rad: Array) -> Array:
        """Return the paddles (B, n_angles, 4) as (x, y) of both ends, of angles (B, n_angles)."""
        xp = library(angles_rad)
        half = [0.5 * self.length_m * turn for turn in (xp.cos(angles_rad), xp.sin(angles_rad))]
        starts: list[Any] = []
        ends: list[Any] = []
        for axis in (0, 1):
            centre = xp.zeros_like(angles_rad)
            for paddle, place in enumerate(self.centres_m):
                centre[:, paddle] = place[axis]
            starts.append(centre - half[axis])
            ends.append(centre + half[axis])
        return xp.stack([*starts, *ends], -1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Scene:
    """What is simulated and what is wanted: all of a task but its physics and its data.

    Args:
        name: Short name, e.g. ``contain``.
        water: Block of water that falls at time 0.
        tool: The tool that a design describes by angles.
        goal_m: Centre of the goal.
        sigma_m: Standard deviation of the goal's Gaussian.
        seconds: Duration of an episode.
        walls_m: Fixed walls, as (x, y, x, y) of their ends.
    """

    name: str
    water: Block
    tool: Chain | Paddles
    goal_m: Point
    sigma_m: float
    seconds: float
    walls_m: tuple[tuple[float, float, float, float], ...] = ()

    def segments(self, angles_rad: Array) -> Array:
        """Return all segments that water meets, (B, S, 4): the tool's, then the fixed walls.

        Numpy and torch take the same formula, which is differentiable in torch.

        Args:
            angles_rad: (B, n_angles) designs.

        Raises:
            InvalidData: The number of angles is another one.
        """
        if angles_rad.ndim != 2 or angles_rad.shape[1] != self.tool.n_angles:
            raise InvalidData(
                f"{self.name} takes (B, {self.tool.n_angles}) angles, got "
                f"{tuple(angles_rad.shape)}. Pass one row a design."
            )
        tool = self.tool.segments(angles_rad)
        if not self.walls_m:
            return tool
        xp = library(angles_rad)
        walls = xp.zeros_like(tool[:, :1, :]) + xp.asarray(
            np.asarray(self.walls_m), dtype=tool.dtype, device=tool.device
        )
        return xp.concatenate([tool, walls], 1)  # type: ignore[no-any-return]

    def particles(self, physics: Physics) -> np.ndarray:
        """Return the positions of the water's particles at time 0, (N, 2) float32."""
        return self.water.particles(physics.spacing_m)

    def n_frames(self, physics: Physics) -> int:
        """Return the number of recorded frames of an episode."""
        return round(self.seconds / physics.frame_s)

    def with_goal(self, goal_m: Point, sigma_m: float) -> Scene:
        """Return the same scene with another goal."""
        return replace(self, goal_m=goal_m, sigma_m=sigma_m)

    def with_links(self, n_angles: int) -> Scene:
        """Return the scene with a chain of the same length in other links.

        Raises:
            InvalidData: The tool is no chain: the number of its paddles is part of the scene.
        """
        if not isinstance(self.tool, Chain):
            raise InvalidData(
                f"the tool of {self.name} has {self.tool.n_angles} paddles at fixed places, got "
                f"n_angles={n_angles}. Leave n_angles out."
            )
        length_m = self.tool.link_m * self.tool.n_angles
        chain = replace(self.tool, link_m=length_m / n_angles, n_angles=n_angles)
        return replace(self, tool=chain)
