"""Particles and segments: nearest points, crossings, and contact that lets nothing through."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["crossings", "distances_m2", "keep_outside", "nearest_points"]

_TINY_M2 = 1e-12
_OVERLAP = 1e-4  # share of a segment by which it is longer, so that no joint of a chain has a gap
_PASSES = 3


def nearest_points(points_m: Tensor, segments_m: Tensor) -> Tensor:
    """Return the points (.., 2) of segments (.., 4) that are nearest to particles (.., 2)."""
    start_m = segments_m[..., :2]
    along = segments_m[..., 2:] - start_m
    length_m2 = along.square().sum(-1, keepdim=True) + _TINY_M2
    share = ((points_m - start_m) * along).sum(-1, keepdim=True) / length_m2
    return start_m + share.clamp(0, 1) * along


def distances_m2(points_m: Tensor, segments_m: Tensor) -> Tensor:
    """Return the squared distances (B, N, S) of particles (B, N, 2) to segments (B, S, 4)."""
    # by component: sums over an axis of two numbers are slow
    x0, y0, x1, y1 = segments_m[:, None].unbind(-1)  # (B, 1, S) each
    along_x, along_y = x1 - x0, y1 - y0
    from_x, from_y = points_m[..., :1] - x0, points_m[..., 1:] - y0  # (B, N, S) each
    length_m2 = along_x * along_x + along_y * along_y + _TINY_M2
    share = ((from_x * along_x + from_y * along_y) / length_m2).clamp(0, 1)
    to_x, to_y = from_x - share * along_x, from_y - share * along_y
    return to_x * to_x + to_y * to_y


def crossings(start_m: Tensor, end_m: Tensor, segments_m: Tensor) -> Tensor:
    """Return when paths meet segments, as shares of the path; infinite where they do not.

    Args:
        start_m: (B, N, 2) where particles begin a frame.
        end_m: (B, N, 2) where they end it.
        segments_m: (B, S, 4).

    Returns:
        (B, N, S) shares in [0, 1], or infinity.
    """
    x0, y0, x1, y1 = segments_m[:, None].unbind(-1)  # (B, 1, S) each
    along_x, along_y = x1 - x0, y1 - y0
    path_x, path_y = (end_m - start_m)[..., None].unbind(-2)  # (B, N, 1) each
    from_x, from_y = x0 - start_m[..., :1], y0 - start_m[..., 1:]  # (B, N, S)
    area = path_x * along_y - path_y * along_x
    time = (from_x * along_y - from_y * along_x) / area
    place = (from_x * path_y - from_y * path_x) / area
    meets = (time >= 0) & (time <= 1) & (place >= -_OVERLAP) & (place <= 1 + _OVERLAP)
    return torch.where(meets, time, torch.full_like(time, float("inf")))


def keep_outside(
    start_m: Tensor,
    end_m: Tensor,
    segments_m: Tensor,
    *,
    contact_m: float,
    low_m: float,
    high_m: float,
) -> Tensor:
    """Return where particles end when tools and the container's walls stop them.

    Contact is geometry and not learned. A path that crosses a segment ends beside it, on the side
    it came from; a particle that ends inside a tool goes to the tool's surface. A path that still
    crosses a segment after three such corrections is not taken at all. No particle can therefore
    pass a tool, whatever a network says. Differentiable in all positions.

    Args:
        start_m: (B, N, 2) where particles begin a frame.
        end_m: (B, N, 2) where they would end it.
        segments_m: (B, S, 4) centre lines of tools and fixed walls.
        contact_m: Least distance to a segment's centre line at which a particle comes to rest.
        low_m: Lowest coordinate in the container.
        high_m: Highest coordinate in the container.
    """
    end_m = end_m.clamp(low_m, high_m)
    with torch.no_grad():
        crosses, touches, _ = _contact(start_m, end_m, segments_m, contact_m)
        design, particle = (crosses | touches).nonzero(as_tuple=True)
    if not len(design):
        return end_m
    start, end = start_m[design, particle][:, None], end_m[design, particle][:, None]  # (K, 1, 2)
    near = segments_m[design]  # (K, S, 4)
    for _ in range(_PASSES):
        with torch.no_grad():
            crosses, touches, chosen = _contact(start, end, near, contact_m)
        segment = near.gather(1, chosen[..., None].expand(-1, -1, 4))  # (K, 1, 4)
        inside = torch.where(touches[..., None], _surface(end, segment, contact_m), end)
        end = torch.where(crosses[..., None], _beside(start, end, segment, contact_m), inside)
        end = end.clamp(low_m, high_m)
    with torch.no_grad():
        leaks = crossings(start, end, near).isfinite().any(-1)
    end = torch.where(leaks[..., None], start, end)
    return end_m.index_put((design, particle), end[:, 0])


def _contact(
    start_m: Tensor, end_m: Tensor, segments_m: Tensor, contact_m: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether paths cross a segment, whether they end inside a tool, and at which segment.

    Args:
        start_m: (B, N, 2).
        end_m: (B, N, 2).
        segments_m: (B, S, 4).

    Returns:
        Three tensors (B, N): two of truth values, and the first segment crossed or the nearest one.
    """
    first, crossed = crossings(start_m, end_m, segments_m).min(-1)
    least_m2, nearest = distances_m2(end_m, segments_m).min(-1)
    crosses = first.isfinite()
    return crosses, least_m2 < contact_m**2, torch.where(crosses, crossed, nearest)


def _beside(start_m: Tensor, end_m: Tensor, segment: Tensor, contact_m: float) -> Tensor:
    """Return ends (B, N, 2) moved along the normals of segments (B, N, 4) to the starts' side."""
    along = segment[..., 2:] - segment[..., :2]
    normal = torch.stack([-along[..., 1], along[..., 0]], -1)
    normal = normal / (normal.square().sum(-1, keepdim=True) + _TINY_M2).sqrt()
    height_m = ((end_m - segment[..., :2]) * normal).sum(-1, keepdim=True)
    came_from = ((start_m - segment[..., :2]) * normal).sum(-1, keepdim=True).detach()
    wanted_m = torch.where(came_from < 0, -contact_m, contact_m)
    return end_m + (wanted_m - height_m) * normal


def _surface(end_m: Tensor, segment: Tensor, contact_m: float) -> Tensor:
    """Return ends (B, N, 2) inside tools moved straight out to the surface."""
    outward = end_m - nearest_points(end_m, segment)
    distance_m = (outward.square().sum(-1, keepdim=True) + _TINY_M2).sqrt()
    return end_m + outward * ((contact_m - distance_m) / distance_m)
