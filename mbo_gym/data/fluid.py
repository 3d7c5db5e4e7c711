"""Rows of the fluid tasks: designs of whole searches, their scores, and where the water ended."""

from __future__ import annotations

import io
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files import store
from mbo_gym.simulators.fluid.scene import Point
from mbo_gym.simulators.fluid.score import SCORED_FRAMES

__all__ = ["CONTROLS", "FluidRows", "angles_from_steps", "count_water", "steps_from_angles"]

CONTROLS = ("flat", "tilt", "arc")
"""Names of the first runs of a file, which search nothing: families of no, one, two parameters."""

_STEP_RAD = 2.0**-14  # of the angles in a file; exact in float32
_N_SQUARES = 48
"""Squares along a side of the domain in which the water is counted."""
_SHIFTS = np.arange(SCORED_FRAMES) / SCORED_FRAMES
"""Shift of the squares in each frame, in squares: errors of water that rests cancel."""
_SIDE = _N_SQUARES + 1  # a shifted square may begin at the end of the domain


@dataclass(frozen=True, eq=False)
class FluidRows:
    """All rows of a fluid task, in the order in which they were simulated.

    Args:
        angles: (N, D) int16 designs in steps of 2^-14 rad.
        run: (N,) uint8 number of the run.
        step: (N,) uint8 step of the run's search.
        own: (N,) float32 scores under the goal of the run, by the simulator.
        wanted: (N,) float32 scores under the first goal, by the simulator.
        occupied: (N,) uint16 number of squares that held water at the end.
        square: (M,) uint16 these squares, row by row, ascending within a row, see `count_water`.
        count: (M,) uint16 particles in each, over the last frames.
        names: (R,) name of each run: a control's, ``cem`` or ``adam``.
        goals_m: (R, 2) float64 goal of each run.
        sigma_m: () float64 standard deviation of the goal's Gaussian in `own` and `wanted`.
    """

    angles: np.ndarray
    run: np.ndarray
    step: np.ndarray
    own: np.ndarray
    wanted: np.ndarray
    occupied: np.ndarray
    square: np.ndarray
    count: np.ndarray
    names: np.ndarray
    goals_m: np.ndarray
    sigma_m: np.ndarray

    def __len__(self) -> int:
        return len(self.own)

    @property
    def designs(self) -> np.ndarray:
        """The designs in rad, (N, D) float32."""
        return angles_from_steps(self.angles)

    @property
    def searched(self) -> np.ndarray:
        """Which rows belong to a search and not to a control, (N,) bool."""
        return self.run >= len(CONTROLS)

    def of_control(self, name: str) -> np.ndarray:
        """Return the rows of a control, (n,) int64."""
        return np.flatnonzero(self.run == CONTROLS.index(name))

    @property
    def contexts(self) -> np.ndarray:
        """Goal of each row's run, (N, 2) float32."""
        return np.asarray(self.goals_m[self.run], dtype=np.float32)

    def scores(self, goal_m: Point, sigma_m: float) -> np.ndarray:
        """Return the scores of all rows under a goal, (N,) float32, without simulating anything.

        Exact under the first goal; under another one from the counted water, which changes a score
        by about 0.001 (root mean square), a tenth of the noise of the task.

        Args:
            goal_m: Centre of the goal.
            sigma_m: Standard deviation of its Gaussian.
        """
        if sigma_m == float(self.sigma_m) and tuple(goal_m) == tuple(self.goals_m[0]):
            return self.wanted
        near_x, near_y = (_near_squares(place, sigma_m) for place in goal_m)
        near = near_x[self.square // _SIDE] * near_y[self.square % _SIDE] * self.count
        first = np.cumsum(self.occupied, dtype=np.int64) - self.occupied
        totals = np.add.reduceat(np.stack([near, self.count]), first, axis=1)
        return np.asarray(np.clip(totals[0] / totals[1], 0, 1), dtype=np.float32)

    def take(self, rows: Sequence[int] | np.ndarray) -> FluidRows:
        """Return the given rows, in the given order."""
        first = np.cumsum(self.occupied, dtype=np.int64) - self.occupied
        entries = [np.arange(first[row], first[row] + self.occupied[row]) for row in rows]
        inside = np.concatenate([np.empty(0, dtype=np.int64), *entries])
        by_row = {name: getattr(self, name)[rows] for name in _BY_ROW}
        return FluidRows(
            **by_row,
            square=self.square[inside],
            count=self.count[inside],
            names=self.names,
            goals_m=self.goals_m,
            sigma_m=self.sigma_m,
        )

    def to_bytes(self) -> bytes:
        """Return the content of a file: an npz of these arrays, compressed by xz."""
        arrays = {item.name: getattr(self, item.name) for item in fields(self)}
        # ascending squares differ by little, which compresses better
        arrays["square"] = np.diff(self.square, prepend=np.uint16(0))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> FluidRows:
        """Read the content of a file.

        Args:
            content: What `to_bytes` wrote.
            source: Name of the file, for the message.

        Raises:
            InvalidData: It is no such content.
        """
        try:
            with np.load(io.BytesIO(lzma.decompress(content)), allow_pickle=False) as file:
                arrays: dict[str, Any] = {item.name: file[item.name] for item in fields(cls)}
        except (lzma.LZMAError, *store.ARRAY_DAMAGE) as error:
            raise InvalidData(
                f"{source} holds no rows of a fluid task ({error}). Delete it, and make it again "
                "with `mbo-gym data make`."
            ) from error
        arrays["square"] = np.cumsum(arrays["square"], dtype=np.uint16)
        return cls(**arrays)


_BY_ROW = ("angles", "run", "step", "own", "wanted", "occupied")


def steps_from_angles(angles_rad: np.ndarray, limit_rad: float) -> np.ndarray:
    """Return angles as whole steps of 2^-14 rad within +-limit, int16."""
    most = int(limit_rad / _STEP_RAD)
    steps = np.clip(np.round(np.asarray(angles_rad, dtype=np.float64) / _STEP_RAD), -most, most)
    return steps.astype(np.int16)


def angles_from_steps(steps: np.ndarray) -> np.ndarray:
    """Return the angles in rad of whole steps, float32 and exact."""
    return steps.astype(np.float32) * np.float32(_STEP_RAD)


def _near_squares(place_m: float, sigma_m: float) -> np.ndarray:
    """Return a 1-D Gaussian at the squares along an axis, (49,) float64.

    Counting in shifted squares spreads a place by a variance of side^2 / 6. The Gaussian is made
    narrower by as much, so that its mean over the counts is what it was at the places.
    """
    side_m = 1.0 / _N_SQUARES
    centres_m = (np.arange(_SIDE) + 0.5 - _SHIFTS.mean()) * side_m
    width_m = math.sqrt(sigma_m**2 - side_m**2 / 6)
    near = np.exp((centres_m - place_m) ** 2 * (-0.5 / width_m**2))
    return np.asarray(sigma_m / width_m * near)


def count_water(frames_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the water of the last frames in squares of 1/48 m, shifted from frame to frame.

    Args:
        frames_m: (B, F, N, 2) positions; the last `SCORED_FRAMES` frames are counted.

    Returns:
        occupied: (B,) uint16 squares that hold water.
        square: (M,) uint16 these squares, design by design, ascending within one.
        count: (M,) uint16 particles in each.
    """
    last = frames_m[:, -SCORED_FRAMES:].astype(np.float64)
    places = (last * _N_SQUARES + _SHIFTS[:, None, None]).astype(np.int64)
    codes = (places[..., 0] * _SIDE + places[..., 1]).reshape(len(frames_m), -1)
    found = [np.unique(row, return_counts=True) for row in codes]
    occupied = np.array([len(square) for square, _ in found], dtype=np.uint16)
    square = np.concatenate([np.empty(0, np.int64), *(square for square, _ in found)])
    count = np.concatenate([np.empty(0, np.int64), *(count for _, count in found)])
    return occupied, square.astype(np.uint16), count.astype(np.uint16)
