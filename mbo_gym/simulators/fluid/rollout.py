"""Episodes of a scene: designs in, frames of water out, by either engine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, TypeAlias

import numpy as np
import torch

from mbo_gym.errors import UnknownId
from mbo_gym.simulators.fluid.mpm import TorchEngine
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scene import Scene

__all__ = ["ENGINES", "Engine", "fastest_engine", "rollout", "simulate"]

Engine: TypeAlias = Literal["torch", "numba"]

ENGINES: tuple[Engine, ...] = ("torch", "numba")
"""``torch`` is the reference and needs no extra; ``numba`` is about ten times as fast on a CPU."""

_BATCH = 32  # designs at once in torch: larger batches leave the cache and are no faster


def fastest_engine() -> Engine:
    """Return ``numba`` where numba is installed, else ``torch``."""
    return "numba" if find_spec("numba") else "torch"


def rollout(
    scene: Scene,
    angles_rad: np.ndarray,
    physics: Physics,
    *,
    engine: Engine = "torch",
    last: int | None = None,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Simulate designs from the scene's start.

    Args:
        scene: The scene.
        angles_rad: (B, n_angles) designs.
        physics: Constants of the water.
        engine: One of `ENGINES`.
        last: Frames to return, the last ones; None for all.
        device: Device of torch; the numba engine takes the CPU.

    Returns:
        (B, F, N, 2) float32 positions of the particles in metres.

    Raises:
        UnknownId: There is no such engine.
        MissingDependency: numba is not installed.
        InvalidData: The number of angles is another one.
    """
    # in float64, so that a segment does not depend on how cos and sin are computed
    segments_m = scene.segments(np.asarray(angles_rad, dtype=np.float64)).astype(np.float32)
    return simulate(
        segments_m,
        scene.particles(physics),
        scene.n_frames(physics),
        physics,
        engine=engine,
        last=last,
        device=device,
    )


def simulate(
    segments_m: np.ndarray,
    particles_m: np.ndarray,
    n_frames: int,
    physics: Physics,
    *,
    engine: Engine = "torch",
    last: int | None = None,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Simulate tools that need not be a scene's.

    Args:
        segments_m: (B, S, 4) float32 segments, as (x, y) of both ends.
        particles_m: (N, 2) float32 positions of the water at time 0.
        n_frames: Frames to simulate.
        physics: Constants of the water.
        engine: One of `ENGINES`.
        last: Frames to return, the last ones; None for all.
        device: Device of torch; the numba engine takes the CPU.

    Returns:
        (B, F, N, 2) float32 positions of the particles in metres.

    Raises:
        UnknownId: There is no such engine.
        MissingDependency: numba is not installed.
    """
    if engine not in ENGINES:
        raise UnknownId("engine", engine, ENGINES)
    if engine == "numba":
        from mbo_gym.simulators.fluid.mpm_numba import NumbaEngine

        return NumbaEngine(physics).rollout(segments_m, particles_m, n_frames, last=last)
    simulator = TorchEngine(physics, device)
    start = torch.from_numpy(particles_m)
    n_kept = n_frames if last is None else last
    frames = np.empty((len(segments_m), n_kept, len(particles_m), 2), dtype=np.float32)
    with torch.no_grad():
        for first in range(0, len(segments_m), _BATCH):
            part = torch.from_numpy(segments_m[first : first + _BATCH])
            moved = simulator.rollout(part, start, n_frames, last=last)
            frames[first : first + _BATCH] = moved.cpu().numpy()
    return frames
