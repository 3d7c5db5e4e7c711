"""The fast engine: the same MLS-MPM water in numba, one design after the other.

Every operation and the order of every sum are those of `mbo_gym.simulators.fluid.mpm`, in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbo_gym.optional import optional_import
from mbo_gym.simulators.fluid.physics import Physics

__all__ = ["NumbaEngine"]

numba: Any = optional_import("numba", "fluid")

_f32 = np.float32
_ZERO, _HALF, _ONE = _f32(0.0), _f32(0.5), _f32(1.0)
_THREE_QUARTERS, _ONE_AND_A_HALF = _f32(0.75), _f32(1.5)
_TINY_M2, _LEAST_M2, _TINY_M = _f32(1e-12), _f32(1e-18), _f32(1e-9)
_LEAST_NORMAL = _f32(0.3)
_NEXT, _AFTER = np.uintp(1), np.uintp(2)
_INFINITE = _f32(np.inf)


def _tool_field(
    segments_m: np.ndarray, n: int, cell_m: np.float32, radius_m: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance, normal x and normal y (3, n*n), and slip (n*n,) of segments (S, 4)."""
    field = np.empty((3, n * n), np.float32)
    slip = np.empty(n * n, np.float32)
    cells = _f32(n)
    for node in range(n * n):
        x_m, y_m = _f32(node // n) * cell_m, _f32(node % n) * cell_m
        least, best_x, best_y = _INFINITE, _ZERO, _ZERO
        for s in range(segments_m.shape[0]):
            along_x = segments_m[s, 2] - segments_m[s, 0]
            along_y = segments_m[s, 3] - segments_m[s, 1]
            from_x, from_y = x_m - segments_m[s, 0], y_m - segments_m[s, 1]
            length_m2 = along_x * along_x + along_y * along_y + _TINY_M2
            share = (from_x * along_x + from_y * along_y) / length_m2
            share = min(max(share, _ZERO), _ONE)
            to_x, to_y = from_x - share * along_x, from_y - share * along_y
            square_m2 = to_x * to_x + to_y * to_y
            if square_m2 < least:
                least, best_x, best_y = square_m2, to_x, to_y
        distance = np.sqrt(best_x * best_x + best_y * best_y + _LEAST_M2)
        field[0, node] = distance - radius_m
        field[1, node] = best_x / (distance + _TINY_M)
        field[2, node] = best_y / (distance + _TINY_M)
        slip[node] = min(max(_HALF - field[0, node] * cells, _ZERO), _ONE)
    return field, slip


def _particles_on_grid(
    position_m: np.ndarray, n: int, corner: np.ndarray, weight: np.ndarray, offset: np.ndarray
) -> None:
    """Fill the first node (N,), weights (3, 2, N) and offsets (3, 2, N) of positions (2, N)."""
    cells = _f32(n)
    for p in range(position_m.shape[1]):
        x, y = position_m[0, p] * cells, position_m[1, p] * cells
        i, j = int(x - _HALF), int(y - _HALF)  # positions are positive: this rounds down
        corner[p] = i * n + j
        for axis in range(2):
            place = x - _f32(i) if axis == 0 else y - _f32(j)
            low, middle, high = _ONE_AND_A_HALF - place, place - _ONE, place - _HALF
            weight[0, axis, p] = _HALF * low * low
            weight[1, axis, p] = _THREE_QUARTERS - middle * middle
            weight[2, axis, p] = _HALF * high * high
            for step in range(3):
                offset[step, axis, p] = _f32(step) - place


def _spread(
    corner: np.ndarray,
    weight: np.ndarray,
    offset: np.ndarray,
    velocity: np.ndarray,
    affine: np.ndarray,
    volume: np.ndarray,
    n: int,
    cell_m: np.float32,
    pressure_gain: np.float32,
    grid: np.ndarray,
    parts: np.ndarray,
) -> None:
    """Add mass and velocity of the particles to the grid (3, n*n), node by node of the stencil.

    `parts` (2, 2, 3, N) is room for the velocity's components (first axis) along x and y.
    """
    grid[:] = _ZERO
    grid_x, grid_y, mass = grid[0], grid[1], grid[2]
    for p in range(corner.shape[0]):
        pressure = pressure_gain * (volume[p] - _ONE)
        for c in range(2):
            slope_x = affine[c, 0, p] * cell_m
            slope_y = affine[c, 1, p] * cell_m
            if c == 0:
                slope_x += pressure
            else:
                slope_y += pressure
            for step in range(3):
                parts[c, 0, step, p] = velocity[c, p] + slope_x * offset[step, 0, p]
                parts[c, 1, step, p] = slope_y * offset[step, 1, p]
    for i in range(3):
        for j in range(3):
            shift = np.uintp(i * n + j)
            weight_x, weight_y = weight[i, 0], weight[j, 1]
            x_by_x, x_by_y = parts[0, 0, i], parts[0, 1, j]
            y_by_x, y_by_y = parts[1, 0, i], parts[1, 1, j]
            for p in range(corner.shape[0]):
                share = weight_x[p] * weight_y[p]
                node = corner[p] + shift
                grid_x[node] += (x_by_x[p] + x_by_y[p]) * share
                grid_y[node] += (y_by_x[p] + y_by_y[p]) * share
                mass[node] += share


def _update_grid(
    grid: np.ndarray,
    field: np.ndarray,
    slip: np.ndarray,
    n: int,
    wall: int,
    fall_m_s: np.float32,
) -> None:
    """Turn sums into velocities; add gravity, and take away what goes into tools and walls."""
    for i in range(n):
        for j in range(n):
            node = i * n + j
            mass = grid[2, node]
            if mass > _ZERO:
                x, y = grid[0, node] / mass, grid[1, node] / mass - fall_m_s
                if slip[node] > _ZERO:
                    normal_x, normal_y = field[1, node], field[2, node]
                    into = min(x * normal_x + y * normal_y, _ZERO) * slip[node]
                    x, y = x - into * normal_x, y - into * normal_y
                if i <= wall:
                    x = max(x, _ZERO)
                if i >= n - wall:
                    x = min(x, _ZERO)
                if j <= wall:
                    y = max(y, _ZERO)
                if j >= n - wall:
                    y = min(y, _ZERO)
                grid[0, node], grid[1, node] = x, y


def _rows(
    values: np.ndarray, node: np.uintp, n: int, w0: np.float32, w1: np.float32, w2: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Return the weighted sums along y of three nodes, for three columns from `node` on."""
    row0 = values[node] * w0 + values[node + _NEXT] * w1 + values[node + _AFTER] * w2
    above = node + np.uintp(n)
    row1 = values[above] * w0 + values[above + _NEXT] * w1 + values[above + _AFTER] * w2
    top = above + np.uintp(n)
    row2 = values[top] * w0 + values[top + _NEXT] * w1 + values[top + _AFTER] * w2
    return row0, row1, row2


def _mean(
    values: np.ndarray,
    node: np.uintp,
    n: int,
    along_x: tuple[np.float32, np.float32, np.float32],
    along_y: tuple[np.float32, np.float32, np.float32],
) -> np.float32:
    """Return the weighted sum of the nine nodes (3 x 3) that begin at `node`."""
    row0, row1, row2 = _rows(values, node, n, along_y[0], along_y[1], along_y[2])
    return row0 * along_x[0] + row1 * along_x[1] + row2 * along_x[2]


def _touching(field: np.ndarray, n: int) -> np.ndarray:
    """Return where a node of the nine (3 x 3) that begin at each node is inside a tool, (n*n,)."""
    touching = np.zeros(n * n, np.bool_)
    for i in range(n - 2):
        for j in range(n - 2):
            for near in range(9):
                if field[0, (i + near // 3) * n + j + near % 3] < _ZERO:
                    touching[i * n + j] = True
    return touching


def _advance(
    position_m: np.ndarray,
    velocity: np.ndarray,
    affine: np.ndarray,
    volume: np.ndarray,
    field: np.ndarray,
    slip: np.ndarray,
    n: int,
    wall: int,
    n_substeps: int,
    constants: np.ndarray,
) -> None:
    """Advance the water of one design in place.

    Args:
        position_m: (2, N).
        velocity: (2, N).
        affine: (2, 2, N).
        volume: (N,).
        field: (3, n*n) distance and normal of the tools.
        slip: (n*n,).
        n: Cells along a side.
        wall: Cells of a wall.
        n_substeps: Number of time steps.
        constants: (8,) see `NumbaEngine`.
    """
    cell_m, step_s, fall_m_s, gain, kept, least, low_m, high_m = constants
    n_particles = position_m.shape[1]
    corner = np.empty(n_particles, np.uintp)
    weight = np.empty((3, 2, n_particles), np.float32)
    offset = np.empty((3, 2, n_particles), np.float32)
    parts = np.empty((2, 2, 3, n_particles), np.float32)
    grid = np.empty((3, n * n), np.float32)
    grid_x, grid_y = grid[0], grid[1]
    distance_m, field_x, field_y = field[0], field[1], field[2]
    touching = _touching(field, n)
    slope_gain = _f32(4.0) * _f32(n)
    for _ in range(n_substeps):
        _particles_on_grid(position_m, n, corner, weight, offset)
        _spread(corner, weight, offset, velocity, affine, volume, n, cell_m, gain, grid, parts)
        _update_grid(grid, field, slip, n, wall, fall_m_s)
        for p in range(n_particles):
            node = corner[p]
            wx = weight[0, 0, p], weight[1, 0, p], weight[2, 0, p]
            wy = weight[0, 1, p], weight[1, 1, p], weight[2, 1, p]
            lx = wx[0] * offset[0, 0, p], wx[1] * offset[1, 0, p], wx[2] * offset[2, 0, p]
            ly = wy[0] * offset[0, 1, p], wy[1] * offset[1, 1, p], wy[2] * offset[2, 1, p]
            x = _mean(grid_x, node, n, wx, wy)
            y = _mean(grid_y, node, n, wx, wy)
            x_by_x = _mean(grid_x, node, n, lx, wy) * slope_gain
            y_by_x = _mean(grid_y, node, n, lx, wy) * slope_gain
            x_by_y = _mean(grid_x, node, n, wx, ly) * slope_gain
            y_by_y = _mean(grid_y, node, n, wx, ly) * slope_gain
            grown = volume[p] * (_ONE + step_s * (x_by_x + y_by_y))
            volume[p] = min(max(grown, least), _ONE)
            affine[0, 0, p], affine[0, 1, p] = x_by_x * kept, x_by_y * kept
            affine[1, 0, p], affine[1, 1, p] = y_by_x * kept, y_by_y * kept
            at_x, at_y = position_m[0, p], position_m[1, p]
            if touching[node]:  # elsewhere the distance to the tools is positive
                depth_m = _mean(distance_m, node, n, wx, wy)
                normal_x = _mean(field_x, node, n, wx, wy)
                normal_y = _mean(field_y, node, n, wx, wy)
                length = np.sqrt(normal_x * normal_x + normal_y * normal_y + _LEAST_M2)
                if depth_m < _ZERO and length > _LEAST_NORMAL:
                    normal_x, normal_y = normal_x / length, normal_y / length
                    into = min(x * normal_x + y * normal_y, _ZERO)
                    x, y = x - into * normal_x, y - into * normal_y
                    push_m = depth_m * _HALF
                    at_x, at_y = at_x - push_m * normal_x, at_y - push_m * normal_y
            position_m[0, p] = min(max(at_x + step_s * x, low_m), high_m)
            position_m[1, p] = min(max(at_y + step_s * y, low_m), high_m)
            velocity[0, p], velocity[1, p] = x, y


_compile = numba.njit(cache=True, fastmath=False)
_tool_field = _compile(_tool_field)
_particles_on_grid = _compile(_particles_on_grid)
_spread = _compile(_spread)
_update_grid = _compile(_update_grid)
_rows = _compile(_rows)
_mean = _compile(_mean)
_touching = _compile(_touching)
_advance = _compile(_advance)


class NumbaEngine:
    """MLS-MPM water compiled by numba, see `mbo_gym.simulators.fluid.mpm.TorchEngine`.

    The first call compiles for some seconds; the machine code is cached beside this file.

    Args:
        physics: Constants.
    """

    def __init__(self, physics: Physics) -> None:
        self.physics = physics
        self._constants = np.array(
            [
                physics.cell_m,
                physics.time_step_s,
                physics.time_step_s * physics.gravity_m_s2,
                physics.pressure_gain,
                physics.affine_kept,
                physics.least_volume,
                physics.low_m,
                physics.high_m,
            ],
            dtype=np.float32,
        )

    def rollout(
        self,
        segments_m: np.ndarray,
        particles_m: np.ndarray,
        n_frames: int,
        *,
        last: int | None = None,
    ) -> np.ndarray:
        """Return the frames of an episode, (B, F, N, 2) float32 positions in metres.

        Args:
            segments_m: (B, S, 4) segments, see `Scene.segments`.
            particles_m: (N, 2) positions at time 0.
            n_frames: Frames to simulate.
            last: Frames to return, the last ones; None for all.
        """
        first = 0 if last is None else n_frames - last
        shape = (len(segments_m), n_frames - first, len(particles_m), 2)
        frames = np.empty(shape, dtype=np.float32)
        for row, segments in enumerate(np.ascontiguousarray(segments_m, dtype=np.float32)):
            self._rollout_one(segments, particles_m, first, frames[row], n_frames)
        return frames

    def _rollout_one(
        self,
        segments_m: np.ndarray,
        particles_m: np.ndarray,
        first: int,
        frames: np.ndarray,
        n_frames: int,
    ) -> None:
        p = self.physics
        n = p.n_cells
        field, slip = _tool_field(segments_m, n, np.float32(p.cell_m), np.float32(p.tool_radius_m))
        position = np.ascontiguousarray(particles_m.T, dtype=np.float32)
        velocity = np.zeros_like(position)
        affine = np.zeros((2, *position.shape), dtype=np.float32)
        volume = np.ones(position.shape[1], dtype=np.float32)
        for frame in range(n_frames):
            _advance(
                position,
                velocity,
                affine,
                volume,
                field,
                slip,
                n,
                p.wall_cells,
                p.substeps_per_frame,
                self._constants,
            )
            if frame >= first:
                frames[frame - first] = position.T
