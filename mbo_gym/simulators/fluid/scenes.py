"""The three scenes of the fluid tasks."""

from __future__ import annotations

import numpy as np

from mbo_gym.simulators.fluid.scene import Block, Chain, Paddles, Scene

__all__ = ["CONTAIN", "LIMIT_RAD", "MAZE", "RAMP", "SCENES"]

LIMIT_RAD = float(np.float32(np.pi / 2))
"""Largest angle of a design; the smallest is its negative."""

CONTAIN = Scene(
    "contain",
    water=Block((0.41, 0.68), (0.59, 0.86)),
    tool=Chain((0.26, 0.44), link_m=0.030, n_angles=16),
    goal_m=(0.50, 0.42),
    sigma_m=0.10,
    seconds=1.2,
)
"""Catch a falling block of water and hold it in mid-air."""

RAMP = Scene(
    "ramp",
    water=Block((0.20, 0.74), (0.38, 0.92)),
    tool=Chain((0.20, 0.60), link_m=0.030, n_angles=16),
    goal_m=(0.71, 0.17),
    sigma_m=0.10,
    seconds=1.2,
    walls_m=((0.58, 0.09, 0.58, 0.42), (0.84, 0.09, 0.84, 0.26)),
)
"""Lead the water over a wall into a bin."""

_ROWS_M = (
    (0.64, (0.14, 0.31, 0.48, 0.65, 0.82)),
    (0.50, (0.72, 0.87)),
    (0.39, (0.14, 0.28, 0.42, 0.56, 0.70, 0.84)),
    (0.29, (0.21, 0.36, 0.50, 0.64, 0.78)),
    (0.19, (0.14, 0.28, 0.45, 0.60, 0.74, 0.87)),
)
"""Height of each row of paddles, and where its paddles are."""

MAZE = Scene(
    "maze",
    water=Block((0.14, 0.78), (0.28, 0.92)),
    tool=Paddles(tuple((x, y) for y, row in _ROWS_M for x in row), length_m=0.10),
    goal_m=(0.22, 0.14),
    sigma_m=0.10,
    seconds=2.4,
    walls_m=((0.08, 0.58, 0.58, 0.46), (0.36, 0.09, 0.36, 0.13)),
)
"""Turn 24 paddles so that the water runs round a ledge and back to the goal below it."""

SCENES = {scene.name: scene for scene in (CONTAIN, RAMP, MAZE)}
"""The scenes by name."""
