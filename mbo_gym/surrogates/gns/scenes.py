"""Random scenes to train on: chains, ramps with walls, and paddles under a ledge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import fastest_engine, simulate
from mbo_gym.simulators.fluid.scene import Block

__all__ = ["N_PARTICLES", "N_SEGMENTS", "Episodes", "ScenesConfig", "simulate_scenes"]

N_PARTICLES = 144
N_SEGMENTS = 28
"""Particles and segments of every training scene; unused segments lie outside of the container."""

_OUTSIDE = (9.0, 9.0, 9.1, 9.0)
_SHAPES = ((12, 12), (12, 12), (9, 16), (16, 9), (18, 8))  # particles across and up
_MOST_TURN = np.pi / 2


@dataclass(frozen=True)
class ScenesConfig:
    """How many random scenes to simulate.

    Args:
        groups: Groups of scenes that share their block of water and their kind of tool.
        designs: Tools in a group.
        seed: Seed of everything random.
        seconds: Duration of the scenes with chains.
        paddle_seconds: Duration of the scenes with paddles.
    """

    groups: int = 160
    designs: int = 8
    seed: int = 0
    seconds: float = 1.2
    paddle_seconds: float = 2.4

    def __post_init__(self) -> None:
        require_at_least(self, 1, "groups", "designs")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Simulated scenes, one after the other.

    Args:
        frames_m: (T, N, 2) positions of all scenes' frames; each scene begins at time 0.
        segments_m: (K, S, 4) segments of the K scenes.
        first: (K + 1,) int64; the frames of scene k are ``first[k]`` to ``first[k + 1] - 1``.
    """

    frames_m: Tensor
    segments_m: Tensor
    first: Tensor


def simulate_scenes(
    config: ScenesConfig, physics: Physics, progress: Progress | None = None
) -> Episodes:
    """Draw scenes and simulate them by the fastest engine; the same seed gives the same bits.

    Three groups of eight have a chain under the water, two a chain and two or three walls, three
    paddles under a ledge. No scene is a task's, and no design is optimised.
    """
    frames, segments, first = [], [], [0]
    progress = progress or NullProgress()
    for group in progress.track(range(config.groups), "simulating scenes"):
        rng = np.random.default_rng([config.seed, group])
        kind = ("catch", "ramp", "paddles")[(0, 0, 0, 1, 1, 2, 2, 2)[group % 8]]
        seconds = config.paddle_seconds if kind == "paddles" else config.seconds
        particles_m, tools = _group(kind, config.designs, physics, rng)
        n_frames = round(seconds / physics.frame_s)
        moved = simulate(tools, particles_m, n_frames, physics, engine=fastest_engine())
        start = np.broadcast_to(particles_m, (len(moved), 1, *particles_m.shape))
        for episode in np.concatenate([start, moved], 1):
            frames.append(torch.from_numpy(episode.astype(np.float32)))
            first.append(first[-1] + len(episode))
        segments.append(torch.from_numpy(tools))
    return Episodes(torch.cat(frames), torch.cat(segments), torch.tensor(first))


def _group(
    kind: str, n_designs: int, physics: Physics, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the water (N, 2) and the tools (n_designs, S, 4) of a group, both float32."""
    if kind == "paddles":
        blocks = (
            _two_blocks(physics, rng) if rng.random() < 0.6 else [_block((8, 18), physics, rng)]
        )
        tools = [_paddles(rng) for _ in range(n_designs)]
    else:
        blocks = [_block(_SHAPES[rng.integers(len(_SHAPES))], physics, rng)]
        draw = _catch if kind == "catch" else _ramp
        tools = [draw(blocks[0], rng) for _ in range(n_designs)]
    particles = np.concatenate([block.particles(physics.spacing_m) for block in blocks])
    assert len(particles) == N_PARTICLES, (kind, len(particles))
    padded = np.full((n_designs, N_SEGMENTS, 4), _OUTSIDE, dtype=np.float32)
    for row, tool in zip(padded, tools, strict=True):
        row[: len(tool)] = tool
    return particles, padded


def _block(shape: tuple[int, int], physics: Physics, rng: np.random.Generator) -> Block:
    """Draw where a block of particles hangs in the upper part of the container."""
    width_m, height_m = (n * physics.spacing_m for n in shape)
    x = rng.uniform(physics.low_m + 0.01, physics.high_m - 0.01 - width_m)
    y = rng.uniform(0.55, physics.high_m - height_m)
    return _sized((x, y), shape, physics)


def _two_blocks(physics: Physics, rng: np.random.Generator) -> list[Block]:
    """Draw a block on the left above the ledge and one anywhere below, of 72 particles each."""
    shape = (8, 9)
    above = (rng.uniform(0.10, 0.3), rng.uniform(0.68, 0.76))
    below = (rng.uniform(0.10, 0.78), rng.uniform(0.12, 0.4))
    return [_sized(corner, shape, physics) for corner in (above, below)]


def _sized(low_m: tuple[float, float], shape: tuple[int, int], physics: Physics) -> Block:
    """Return a block of a number of particles; a hair smaller, so that rounding adds no row."""
    x, y = low_m
    width_m, height_m = ((n - 0.25) * physics.spacing_m for n in shape)
    return Block((x, y), (x + width_m, y + height_m))


def _links(anchor_m: tuple[float, float], turns_rad: np.ndarray, link_m: float) -> list[np.ndarray]:
    """Return the links of a chain by its turns, as rows (x, y, x, y)."""
    heading = np.cumsum(np.clip(turns_rad, -_MOST_TURN, _MOST_TURN))
    step = link_m * np.stack([np.cos(heading), np.sin(heading)], -1)
    joints = np.concatenate([[anchor_m], anchor_m + np.cumsum(step, 0)])
    return list(np.concatenate([joints[:-1], joints[1:]], -1))


def _turns(rng: np.random.Generator) -> np.ndarray:
    """Draw turns of 16 links: rough or smooth, straight on average or bent to a bowl."""
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.7)))
    turns = size * rng.normal(size=16)
    if rng.random() < 0.4:
        turns = np.convolve(turns, np.ones(3) / 3, "same")
    if rng.random() < 0.5:  # a bowl: down first, then bent upwards
        turns = 0.5 * turns + rng.uniform(0.0, 0.3)
        turns[0] = rng.uniform(-1.5, 0.1)
    elif rng.random() < 0.6:
        turns[0] = rng.uniform(-_MOST_TURN, _MOST_TURN)
    return np.asarray(turns)


def _catch(block: Block, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw a chain under a block, half the time with a wall on the floor."""
    x, y = block.low_m
    anchor = x + rng.uniform(-0.25, 0.12), y - rng.uniform(0.02, 0.35)
    tool = _links(anchor, _turns(rng), rng.uniform(0.022, 0.034))
    if rng.random() < 0.5:
        tool.append(_post(rng.uniform(0.25, 0.85), rng.uniform(0.12, 0.4)))
    return tool


def _ramp(block: Block, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw a chain that leads away from under a block, and two or three walls on the floor."""
    x, y = block.low_m
    turns = _turns(rng)
    turns[0] = rng.uniform(-1.2, 0.4)
    anchor = x + rng.uniform(-0.08, 0.05), y - rng.uniform(0.04, 0.25)
    tool = _links(anchor, turns, rng.uniform(0.026, 0.034))
    near = x + rng.uniform(0.2, 0.5)
    tool.append(_post(near, rng.uniform(0.2, 0.45)))
    tool.append(_post(near + rng.uniform(0.12, 0.35), rng.uniform(0.15, 0.35)))
    if rng.random() < 0.3:
        tool.append(_post(rng.uniform(0.1, 0.9), rng.uniform(0.12, 0.3)))
    return tool


def _paddles(rng: np.random.Generator) -> list[np.ndarray]:
    """Draw rows of paddles, a ledge that slopes to the right, and a low divider."""
    tool = []
    share = rng.uniform(0, 1)  # of its own turn, beside that of its row
    for y in np.linspace(0.64, 0.19, 5) + rng.uniform(-0.03, 0.03, 5):
        of_row = rng.uniform(-_MOST_TURN, _MOST_TURN)
        for x in np.arange(0.14, 0.9, 0.16) + rng.uniform(-0.04, 0.06):
            own = rng.uniform(-_MOST_TURN, _MOST_TURN)
            turn = share * own + (1 - share) * of_row
            half = 0.05 * np.array([np.cos(turn), np.sin(turn)])
            centre = np.array([x, y])
            tool.append(np.concatenate([centre - half, centre + half]))
    keep = rng.permutation(len(tool))[: rng.integers(14, 25)]
    tool = [tool[i] for i in keep]
    if rng.random() < 0.7:
        left, right = rng.uniform(0.55, 0.62), rng.uniform(0.42, 0.52)
        tool.append(np.array([0.08, left, rng.uniform(0.45, 0.65), right]))
    if rng.random() < 0.7:
        tool.append(_post(rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.18)))
    return tool


def _post(x: float, top: float) -> np.ndarray:
    """Return an upright wall on the floor."""
    return np.array([x, 0.09, x, top])
