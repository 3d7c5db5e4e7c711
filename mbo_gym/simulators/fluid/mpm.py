"""The reference engine: MLS-MPM water around tools, batched over designs in torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mbo_gym.simulators.fluid.physics import Physics

__all__ = ["ToolField", "TorchEngine", "WaterState"]

_LEAST_NORMAL = 0.3  # shorter interpolated normals have no direction: the middle of a tool


@dataclass(frozen=True, eq=False)
class WaterState:
    """The water of B designs with N particles each.

    Args:
        position_m: (2, B, N) x and y.
        velocity_m_s: (2, B, N).
        affine_1_s: (2, 2, B, N) gradient of the velocity around a particle.
        volume: (B, N) as a share of the volume at rest.
    """

    position_m: Tensor
    velocity_m_s: Tensor
    affine_1_s: Tensor
    volume: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors, in the order of the arguments."""
        return self.position_m, self.velocity_m_s, self.affine_1_s, self.volume


@dataclass(frozen=True, eq=False)
class ToolField:
    """The tools of B designs on the nodes of a grid of n x n nodes.

    Args:
        distance_m: (B * n * n,) distance to the nearest tool's surface, negative inside.
        normal: (2, B * n * n) outward unit normal.
        slip: (B * n * n,) share of the velocity into the tool that is taken away, in [0, 1].
    """

    distance_m: Tensor
    normal: Tensor
    slip: Tensor


class TorchEngine:
    """Moving least squares material point method (MLS-MPM) for water, batched over designs.

    Every number of a design is the result of elementwise operations in a fixed order, and of sums
    whose order does not depend on other designs. Scores are therefore equal bit for bit over runs
    and batch sizes, and `mbo_gym.simulators.fluid.mpm_numba` repeats them.

    Algorithm, a substep:
        1. spread velocity, affine velocity and pressure of the particles to the grid
        2. add gravity; take away the velocity into tools and walls (free slip)
        3. gather velocity and its gradient at the particles; update their volume
        4. particles inside a tool lose their inward velocity and are pushed out by half the depth
        5. move the particles; the container's walls clamp them

    Args:
        physics: Constants.
        device: Device of torch.
        dtype: Type of all numbers. Scores are those of float32; float64 is for checks of gradients.

    References:
        Hu et al. 2018, A Moving Least Squares Material Point Method, SIGGRAPH.
    """

    def __init__(
        self,
        physics: Physics,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.physics = physics
        self.device = torch.device(device)
        self.dtype = dtype
        n = physics.n_cells
        node = torch.arange(n, device=self.device)
        x_node = node.repeat_interleave(n)
        y_node = node.repeat(n)
        at_low = torch.stack([x_node, y_node]) <= physics.wall_cells
        at_high = torch.stack([x_node, y_node]) >= n - physics.wall_cells
        limit = torch.full((2, 1, n * n), float("inf"), device=self.device, dtype=dtype)
        self._least = torch.where(at_low[:, None], torch.zeros_like(limit), -limit)
        self._most = torch.where(at_high[:, None], torch.zeros_like(limit), limit)
        self._places = torch.stack([x_node, y_node]).to(dtype) * physics.cell_m
        # as tensors: a number of Python is copied to a tensor anew in every operation
        self._constant = {
            name: torch.tensor(value, dtype=dtype, device=self.device)
            for name, value in _constants(physics).items()
        }
        step = torch.arange(3, device=self.device)
        self._stencil = (step[:, None] * n + step).view(3, 3, 1, 1)
        self._step = step.to(dtype).view(3, 1, 1, 1)

    def tool_field(self, segments_m: Tensor) -> ToolField:
        """Return distance, normal and slip of tools on the grid; differentiable.

        Args:
            segments_m: (B, S, 4) segments, as (x, y) of both ends.
        """
        x0, y0, x1, y1 = segments_m[:, None].unbind(-1)  # (B, 1, S) each
        along_x, along_y = x1 - x0, y1 - y0
        from_x = self._places[0][None, :, None] - x0  # (B, n*n, S)
        from_y = self._places[1][None, :, None] - y0
        length_m2 = along_x * along_x + along_y * along_y + 1e-12
        share = ((from_x * along_x + from_y * along_y) / length_m2).clamp(0, 1)
        to_x = from_x - share * along_x
        to_y = from_y - share * along_y
        nearest = (to_x * to_x + to_y * to_y).detach().argmin(-1, keepdim=True)
        to_x = to_x.gather(-1, nearest).reshape(-1)  # (B*n*n,)
        to_y = to_y.gather(-1, nearest).reshape(-1)
        distance = _root(to_x * to_x + to_y * to_y + 1e-18)
        normal = torch.stack([to_x, to_y]) / (distance + 1e-9)
        distance_m = distance - self.physics.tool_radius_m
        slip = (0.5 - distance_m * float(self.physics.n_cells)).clamp(0, 1)
        return ToolField(distance_m, normal, slip)

    def at_rest(self, particles_m: Tensor, n_designs: int) -> WaterState:
        """Return still water for each design.

        Args:
            particles_m: (N, 2) positions.
            n_designs: B.
        """
        position = particles_m.to(self.device, self.dtype).T[:, None]
        position = position.expand(2, n_designs, -1).contiguous()  # (2, B, N)
        return WaterState(
            position,
            torch.zeros_like(position),
            position.new_zeros((2, *position.shape)),
            torch.ones_like(position[0]),
        )

    def substep(self, state: WaterState, tool: ToolField) -> WaterState:
        """Return the water one time step later."""
        p, constant = self.physics, self._constant
        n_designs = state.volume.shape[0]
        cells = state.position_m * constant["cells"]  # (2, B, N)
        corner = (cells.detach() - constant["half"]).floor()
        place = cells - corner
        offset = self._step - place  # (3, 2, B, N), in cells
        weight = self._weights(place)  # (3, 2, B, N)
        nodes = self._nodes(corner)  # (9 * B * N,)
        velocity = self._grid_velocity(state, weight, offset, nodes, tool)  # (2, B*n*n)
        on_grid = torch.cat([velocity, tool.distance_m[None], tool.normal])
        gathered = on_grid.index_select(1, nodes).view(5, 3, 3, n_designs, -1)
        affine, means = _gather(gathered, weight, offset)
        affine = affine * constant["slope_gain"]
        spread = affine[0, 0] + affine[1, 1]
        volume = (state.volume * (constant["one"] + constant["step_s"] * spread)).clamp(
            p.least_volume, 1.0
        )
        position, velocity = self._move(state.position_m, means)
        return WaterState(position, velocity, affine * constant["kept"], volume)

    def _weights(self, place: Tensor) -> Tensor:
        """Return the quadratic B-spline weights (3, 2, B, N) of places (2, B, N) in [0.5, 1.5)."""
        constant = self._constant
        low = constant["one_and_a_half"] - place
        middle = place - constant["one"]
        high = place - constant["half"]
        half = constant["half"]
        return torch.stack(
            [half * low * low, constant["three_quarters"] - middle * middle, half * high * high]
        )

    def _nodes(self, corner: Tensor) -> Tensor:
        """Return the nine grid nodes around each particle, (9 * B * N,), node by node."""
        n = self.physics.n_cells
        at = corner.to(torch.long)
        first = torch.arange(corner.shape[1], device=corner.device)[:, None] * (n * n)
        return (at[0] * n + at[1] + first + self._stencil).reshape(-1)

    def _grid_velocity(
        self, state: WaterState, weight: Tensor, offset: Tensor, nodes: Tensor, tool: ToolField
    ) -> Tensor:
        """Return the velocity (2, B*n*n) of the grid after gravity, tools and walls."""
        n_cells, constant = self.physics.n_cells, self._constant
        pressure = constant["pressure_gain"] * (
            state.volume - constant["one"]
        )  # (B, N), m/s a cell
        affine = state.affine_1_s * constant["cell_m"]  # (2, 2, B, N)
        by_x = torch.stack([affine[0, 0] + pressure, affine[1, 0]])[:, None] * offset[:, 0]
        by_y = torch.stack([affine[0, 1], affine[1, 1] + pressure])[:, None] * offset[:, 1]
        by_x = state.velocity_m_s[:, None] + by_x  # (2, 3, B, N)
        share = weight[:, None, 0] * weight[None, :, 1]  # (3, 3, B, N)
        parts = (by_x[:, :, None] + by_y[:, None]) * share  # (2, 3, 3, B, N)
        n_nodes = len(tool.slip)
        mass = _spread(share.reshape(-1), nodes, n_nodes)  # in particles
        mass = torch.where(mass > 0, mass, torch.ones_like(mass))
        x = _spread(parts[0].reshape(-1), nodes, n_nodes) / mass
        y = _spread(parts[1].reshape(-1), nodes, n_nodes) / mass - constant["fall_m_s"]
        into = (x * tool.normal[0] + y * tool.normal[1]).clamp(max=0) * tool.slip
        velocity = torch.stack([x, y]) - into * tool.normal  # (2, B*n*n)
        by_design = velocity.view(2, -1, n_cells**2)
        return by_design.clamp(self._least, self._most).view(2, -1)

    def _move(self, position_m: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and velocities (2, B, N) after contact with tools and walls.

        Args:
            position_m: (2, B, N) positions before.
            means: (5, B, N) velocity, distance to the tools and their normal at the particles.
        """
        p = self.physics
        velocity, depth_m, normal = means[:2], means[2], means[3:]
        length = _root(normal[0] * normal[0] + normal[1] * normal[1] + 1e-18)
        inside = (depth_m < 0) & (length > _LEAST_NORMAL)
        normal = normal / length.clamp(min=_LEAST_NORMAL)
        into = (velocity[0] * normal[0] + velocity[1] * normal[1]).clamp(max=0)
        nothing = torch.zeros_like(into)
        velocity = velocity - torch.where(inside, into, nothing) * normal
        push_m = torch.where(inside, depth_m * self._constant["half"], nothing)
        moved = position_m - push_m * normal + self._constant["step_s"] * velocity
        return moved.clamp(p.low_m, p.high_m), velocity

    def rollout(
        self,
        segments_m: Tensor,
        particles_m: Tensor,
        n_frames: int,
        *,
        last: int | None = None,
    ) -> Tensor:
        """Return the frames of an episode, (B, F, N, 2) positions in metres.

        Differentiable in the segments; where a gradient is asked for, each frame is computed again
        on the way back, so that memory holds one frame's substeps.

        Args:
            segments_m: (B, S, 4) segments, see `Scene.segments`.
            particles_m: (N, 2) positions at time 0.
            n_frames: Frames to simulate.
            last: Frames to return, the last ones; None for all.
        """
        segments_m = segments_m.to(self.device, self.dtype)
        tool = self.tool_field(segments_m)
        state = self.at_rest(particles_m, len(segments_m))
        differentiable = torch.is_grad_enabled() and segments_m.requires_grad
        first = 0 if last is None else n_frames - last
        frames = []
        for frame in range(n_frames):
            if differentiable:
                moved = checkpoint(self._frame, *state.tensors, tool, use_reentrant=False)
            else:
                moved = self._frame(*state.tensors, tool)
            state = WaterState(*moved)
            if frame >= first:
                frames.append(state.position_m)
        return torch.stack(frames).permute(2, 0, 3, 1)  # (F, 2, B, N) to (B, F, N, 2)

    def _frame(
        self, position_m: Tensor, velocity: Tensor, affine: Tensor, volume: Tensor, tool: ToolField
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state = WaterState(position_m, velocity, affine, volume)
        for _ in range(self.physics.substeps_per_frame):
            state = self.substep(state, tool)
        return state.tensors


def _constants(physics: Physics) -> dict[str, float]:
    """Return the numbers of a substep."""
    return {
        "half": 0.5,
        "three_quarters": 0.75,
        "one": 1.0,
        "one_and_a_half": 1.5,
        "cells": float(physics.n_cells),
        "cell_m": physics.cell_m,
        "step_s": physics.time_step_s,
        "fall_m_s": physics.time_step_s * physics.gravity_m_s2,
        "pressure_gain": physics.pressure_gain,
        "slope_gain": 4.0 * physics.n_cells,
        "kept": physics.affine_kept,
    }


def _root(square: Tensor) -> Tensor:
    """Return the square root, rounded correctly; torch's own in float32 is not on every CPU."""
    if square.device.type == "mps":  # which has no float64
        return square.sqrt()
    return square.to(torch.float64).sqrt().to(square.dtype)


def _spread(parts: Tensor, nodes: Tensor, n_nodes: int) -> Tensor:
    """Sum parts (M,) at their nodes (M,), always in the same order; (n_nodes,)."""
    empty = parts.new_zeros(n_nodes)
    if parts.device.type == "cpu":
        return empty.index_add(0, nodes, parts)
    # index_add adds in any order on a GPU; this one sorts by node first
    return empty.index_put((nodes,), parts, accumulate=True)


def _gather(values: Tensor, weight: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes (2, 2, B, N) of the first two channels and the means (5, B, N) of all.

    Sums are written out, since the order of torch's own depends on the size of a batch.

    Args:
        values: (5, 3, 3, B, N) channels at the nine nodes around each particle.
        weight: (3, 2, B, N).
        offset: (3, 2, B, N).
    """
    lever = weight * offset
    along_y = _sum3(values.unbind(2), weight[:, 1])  # (5, 3, B, N)
    means = _sum3(along_y.unbind(1), weight[:, 0])  # (5, B, N)
    by_x = _sum3(along_y[:2].unbind(1), lever[:, 0])  # (2, B, N)
    by_y = _sum3(values[:2].unbind(2), lever[:, 1])  # (2, 3, B, N)
    by_y = _sum3(by_y.unbind(1), weight[:, 0])
    return torch.stack([by_x, by_y], dim=1), means


def _sum3(values: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    return values[0] * weights[0] + values[1] * weights[1] + values[2] * weights[2]
