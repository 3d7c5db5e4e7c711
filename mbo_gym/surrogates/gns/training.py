"""Training of the graph network simulator on random scenes, one frame ahead, then several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.nn.weights import build
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.surrogates.gns.network import FluidNetwork, NetworkConfig, Water
from mbo_gym.surrogates.gns.scenes import Episodes, ScenesConfig, simulate_scenes

__all__ = ["GNSTrainingConfig", "StageConfig", "Windows", "frames_loss", "train_gns"]

_STILL_M_S = 0.3  # water of this speed (root mean square) and less is nearly still

SCENES = "scenes.npz"
"""File name of the simulated scenes beside the checkpoints."""


def _training(steps: int, learning_rate: float) -> TrainingConfig:
    return TrainingConfig(
        steps=steps,
        batch_size=8,
        learning_rate=learning_rate,
        warm_up=200,
        precision="float32",
        compile="off",
    )


@dataclass(frozen=True)
class StageConfig:
    """Settings of a stage of the training.

    Args:
        training: Settings of the updates; a row is a frame of a scene.
        n_frames: Frames ahead that the loss follows; the network's own errors lead from one to the
            next.
        noise_m_s: Largest standard deviation of the newest velocity's noise, a random walk over the
            history. The network learns to undo it, so that errors do not add up over an episode.
            Each scene's is uniform below: with 0.05 everywhere, water stuck to slopes, on which it
            gains 0.04 m/s a frame (measured).
    """

    training: TrainingConfig
    n_frames: int
    noise_m_s: float

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_frames")
        require_at_least(self, 0, "noise_m_s")


_STAGES = (
    StageConfig(_training(28_000, 3e-3), 1, 0.06),
    StageConfig(_training(4_000, 5e-4), 4, 0.02),
    StageConfig(_training(2_500, 5e-4), 8, 0.02),
)


@dataclass(frozen=True)
class GNSTrainingConfig:
    """Settings of the training of a graph network simulator.

    Args:
        network: Sizes of the network.
        scenes: Scenes to train on.
        stages: Trainings, one after the other: one frame ahead, then four, then eight. Small errors
            of one sign, such as too much friction on a slope, add up over frames.
        seed: Seed of first weights, batches and noise.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    stages: tuple[StageConfig, ...] = _STAGES
    seed: int = 0


class Windows:
    """Frames of simulated scenes, each with the frames before and after it.

    Of frames in which the water is nearly still, one of four: a network that mostly sees water at
    rest learns to stop it.

    Args:
        episodes: Simulated scenes.
        history: Velocities of a window.
        frame_s: Time between frames.
    """

    def __init__(self, episodes: Episodes, history: int, frame_s: float) -> None:
        self.episodes = episodes
        self.history = history
        self.frame_s = frame_s
        scene = torch.arange(len(episodes.segments_m))
        length = episodes.first.diff()
        scene = scene.repeat_interleave(length)
        frame = torch.arange(len(episodes.frames_m))
        moved_m = torch.zeros(len(frame))
        moved_m[:-1] = episodes.frames_m.diff(dim=0).square().sum(-1).mean(-1).sqrt()
        kept = (moved_m >= _STILL_M_S * frame_s) | (frame % 4 == 0)
        kept[episodes.first[1:] - 1] = False  # nothing follows a scene's last frame
        self.frame = frame[kept]
        self.scene = scene[kept]

    def __len__(self) -> int:
        return len(self.frame)

    def frames(self, rows: Tensor, n_frames: int = 1) -> tuple[Tensor, Tensor]:
        """Return the frames around rows (B,); water is still before time 0.

        Returns:
            frames_m: (B, H + 1 + n_frames, N, 2) positions, the last `n_frames` ahead.
            known: (B, n_frames) whether a frame ahead is part of the episode.
        """
        scene = self.scene[rows]
        wanted = self.frame[rows, None] + torch.arange(-self.history, n_frames + 1)
        first, last = self.episodes.first[scene, None], self.episodes.first[scene + 1, None] - 1
        known = wanted[:, -n_frames:] <= last
        return self.episodes.frames_m[wanted.maximum(first).minimum(last)], known

    def units(self) -> tuple[Tensor, Tensor]:
        """Return the root mean squares of velocity and of its change over a frame, in m/s."""
        rows = torch.linspace(0, len(self) - 1, min(len(self), 4096)).long()
        velocity_m_s = self.frames(rows)[0].diff(dim=1) / self.frame_s
        change_m_s = velocity_m_s[:, -1] - velocity_m_s[:, -2]
        return velocity_m_s.square().mean().sqrt(), change_m_s.square().mean().sqrt()


def frames_loss(
    network: FluidNetwork,
    windows: Windows,
    rows: Tensor,
    stage: StageConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return Huber's loss of the positions some frames ahead, in the unit of a velocity's change.

    Squares would be ruled by impacts: 1 of 100 particles makes two thirds of their sum (measured).
    The error is that of the position after contact, so that the network need not learn contact;
    that of frame k is divided by k. Half of the scenes are mirrored. The target is shifted by the
    newest position's noise: the network undoes the noise of the velocity, not that of the place.
    """
    frames_m, known = windows.frames(rows, stage.n_frames)  # (B, H + 1 + F, N, 2), (B, F)
    segments_m = windows.episodes.segments_m[windows.scene[rows]]
    mirrored = torch.rand(len(rows), generator=generator) < 0.5
    sign = torch.where(mirrored, -1.0, 1.0)
    frames_m = _mirror(frames_m, sign.view(-1, 1, 1))
    segments_m = _mirror(segments_m, sign.view(-1, 1))
    level = torch.rand(len(rows), 1, 1, 1, generator=generator)
    size_m = level * stage.noise_m_s * windows.frame_s / windows.history**0.5
    shape = (len(rows), windows.history, *frames_m.shape[2:])
    walk_m = size_m * torch.randn(shape, generator=generator)
    walk_m = walk_m.cumsum(1).cumsum(1)  # of velocities, then of positions
    now = windows.history
    past_m = torch.cat([frames_m[:, :1], frames_m[:, 1 : now + 1] + walk_m], 1)
    ahead_m = frames_m[:, now + 1 :] + walk_m[:, -1:]
    velocity_m_s = past_m.diff(dim=1).transpose(1, 2) / windows.frame_s  # (B, N, H, 2)
    water = Water(past_m[:, -1], velocity_m_s)
    unit_m = windows.frame_s * network.change_m_s
    loss = frames_m.new_zeros(())
    for k in range(stage.n_frames):
        water = network(water, segments_m)
        error = (water.position_m - ahead_m[:, k]) / ((k + 1) * unit_m)
        losses = huber_loss(error, torch.zeros_like(error), reduction="none")
        loss = loss + (losses * known[:, k, None, None]).mean()
    return loss / stage.n_frames


def _mirror(points_m: Tensor, sign: Tensor) -> Tensor:
    """Return points (.., 2 k) with x mirrored at the middle of the container where `sign` is -1."""
    points_m = points_m.clone()
    points_m[..., 0::2] = 0.5 + sign[..., None] * (points_m[..., 0::2] - 0.5)
    return points_m


def train_gns(
    config: GNSTrainingConfig,
    folder: Path,
    *,
    physics: Physics | None = None,
    progress: Progress | None = None,
    checkpoint_every: int = 500,
) -> FluidNetwork:
    """Train a graph network simulator; the same seed gives the same weights on a CPU.

    A stopped training goes on from the folder's last checkpoint. The scenes are simulated once and
    kept in the folder.

    Args:
        config: Settings.
        folder: Folder of scenes and checkpoints.
        physics: Physics to learn; None for the fluid tasks'.
        progress: Gets bars and metrics.
        checkpoint_every: Updates from one checkpoint to the next.

    Raises:
        ValueError: The folder holds another training.
    """
    physics = physics or Physics()
    episodes = _kept_scenes(config.scenes, physics, folder / SCENES, progress)
    windows = Windows(episodes, config.network.history, physics.frame_s)
    generator = torch.Generator().manual_seed(config.seed)
    network = build(lambda: FluidNetwork(config.network, physics), generator)
    network.speed_m_s, network.change_m_s = windows.units()

    for number, stage in enumerate(config.stages):

        def loss(rows: Tensor, generator: torch.Generator, stage: StageConfig = stage) -> Tensor:
            return frames_loss(network, windows, rows, stage, generator)

        train(
            network.requires_grad_(True),
            loss,
            len(windows),
            stage.training,
            seed=config.seed,
            device="cpu",
            progress=progress,
            stage="gns",
            description=f"training {stage.n_frames} frames ahead",
            checkpoints=folder / f"stage_{number}",
            checkpoint_every=checkpoint_every,
            facts=_facts(config, physics, number),
        )
    return network


def _facts(config: GNSTrainingConfig, physics: Physics, number: int) -> Mapping[str, Any]:
    """Return what decides the outcome of a stage, the stages before it included."""
    return {
        "network": asdict(config.network),
        "scenes": asdict(config.scenes),
        "physics": asdict(physics),
        "stages": [asdict(stage) for stage in config.stages[: number + 1]],
    }


def _kept_scenes(
    config: ScenesConfig, physics: Physics, path: Path, progress: Progress | None
) -> Episodes:
    """Return the scenes kept in a file of the same settings, or simulate them and keep them.

    Raises:
        DamagedFile: The file cannot be read.
        ValueError: The file holds scenes of other settings.
    """
    about = repr((config, physics))
    if path.exists():
        try:
            kept = store.load_npz(path.read_bytes())
            known = str(kept["about"])
            found = [torch.from_numpy(kept[k]) for k in ("frames", "segments", "first")]
        except store.ARRAY_DAMAGE as error:
            raise DamagedFile(
                f"{path} is damaged: {error}. Remove it to simulate the scenes anew."
            ) from error
        if known != about:
            raise ValueError(
                f"{path} holds scenes of other settings, {known}, and not of {about}. "
                "Choose another folder, or remove the file."
            )
        return Episodes(*found)
    episodes = simulate_scenes(config, physics, progress)
    arrays = {
        "frames": episodes.frames_m.numpy(),
        "segments": episodes.segments_m.numpy(),
        "first": episodes.first.numpy(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, about=about, **arrays)  # type: ignore[arg-type]

    store.write_atomic(path, write)
    return episodes
