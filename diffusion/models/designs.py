"""The conditional diffusion model of designs that DDOM and DEMO share: p(features | score)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffusion.core.denoiser import Denoiser
from diffusion.core.guidance import clipped, conditional
from diffusion.core.losses import denoising_loss
from diffusion.core.networks import ConcatMLP, ScoreMLP
from diffusion.core.samplers import noised, start_noise
from diffusion.core.schedule import levels
from diffusion.models.config import SCHEDULES, DiffusionConfig, Watch
from mbo_gym.files.weights import save_weights
from mbo_gym.nn.training import train
from mbo_gym.nn.weights import seeded
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["DesignModel", "DesignModelConfig"]


@dataclass(frozen=True)
class DesignModelConfig(DiffusionConfig):
    """Settings of a model of designs: its network, and what all diffusion methods share.

    Args:
        network: ``residual``, or ``concat``, a plain one with time and score as two more inputs
            (DDOM's).
        hidden: Width of the network.
        layers: Hidden layers.
        dropout: In the network.
    """

    network: Literal["residual", "concat"] = "residual"
    hidden: int = 256
    layers: int = 3
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "hidden", "layers")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share in [0, 1), got {self.dropout!r}")


class DesignModel:
    """A denoiser of features (d) under a score, trained once and then sampled from noise or from
    noised designs.

    Args:
        config: Its settings.
        n_features: d.
        seed: Of the first weights and of the training.
        device: Where it lives.
    """

    def __init__(
        self, config: DesignModelConfig, n_features: int, *, seed: int, device: str
    ) -> None:
        self._config, self._n_features, self._seed, self._device = config, n_features, seed, device
        self._schedule = SCHEDULES[config.schedule]
        with seeded(seed):
            network = (ScoreMLP if config.network == "residual" else ConcatMLP)(
                n_features,
                hidden=config.hidden,
                layers=config.layers,
                n_conditions=2 if config.flag else 1,
                dropout=config.dropout,
            )
        time = self._schedule if config.network == "concat" else None
        self._denoiser = Denoiser(
            network, config.parameterisation, time=time, n_conditions=1, flag=config.flag
        )
        self._denoiser.to(device)
        self._box: tuple[Tensor, Tensor] | None = None

    def fit(
        self,
        z: Tensor,
        y: Tensor,
        *,
        data: str,
        progress: Progress,
        row_weight: Tensor | None = None,
    ) -> None:
        """Train on features (N, d) and their standardised scores (N,).

        Args:
            z: Features, on the model's device.
            y: Scores; samples are drawn under scores of the same unit.
            data: What tells these data from others, e.g. their hash: a checkpoint of other data is
                refused.
            progress: Shows how far it is.
            row_weight: (N,) weight of each row in the loss; None for equal ones.
        """
        config, condition = self._config, y[:, None]
        if config.bounds == "data":
            self._box = z.amin(dim=0), z.amax(dim=0)

        def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            x, n = z[rows], len(rows)
            level = config.draw_levels(n, generator)
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            keep = torch.rand(n, generator=generator, device=x.device) >= config.drop_condition
            weight = None if row_weight is None else row_weight[rows]
            return denoising_loss(
                self._denoiser,
                x,
                level,
                noise,
                condition=condition[rows],
                keep=keep,
                row_weight=weight,
            )

        train(
            self._denoiser,
            loss,
            len(z),
            config.training(),
            seed=self._seed,
            device=self._device,
            progress=progress,
            checkpoints=None if config.checkpoints is None else Path(config.checkpoints),
            facts={**asdict(config), "data": data},
        )

    def generate(
        self, n: int, target: float, generator: torch.Generator, *, watch: Watch | None = None
    ) -> Tensor:
        """Draw features (n, d) under a target score, from noise.

        Args:
            n: How many.
            target: Standardised score, see `fit`.
            generator: Source of randomness, on the model's device.
            watch: Called with the number of the call and the estimates (n, d) of the designs along
                the way.
        """
        rungs = levels(self._schedule, self._config.sample_steps)
        z = start_noise((n, self._n_features), float(rungs[0]), generator)
        return self._follow(z, rungs, target, generator, watch)

    def edit(
        self,
        z: Tensor,
        level: float,
        target: float,
        generator: torch.Generator,
        *,
        watch: Watch | None = None,
    ) -> Tensor:
        """Put noise of a level on features (B, d) and take it off again under a target score; (B,
        d).

        A level of 0 changes nothing. For the other arguments see `generate`.
        """
        if level == 0:
            return z
        rungs = levels(self._schedule, self._config.sample_steps, start=level)
        return self._follow(noised(z, level, generator), rungs, target, generator, watch)

    def _follow(
        self,
        z: Tensor,
        rungs: Tensor,
        target: float,
        generator: torch.Generator,
        watch: Watch | None,
    ) -> Tensor:
        condition = torch.full_like(z[:, :1], target)
        denoise = conditional(self._denoiser, condition, weight=self._config.guidance)
        if self._box is not None:
            denoise = clipped(denoise, *self._box)
        return self._config.sample(denoise, z, rungs, generator, watch)

    def save(self, folder: Path) -> None:
        """Write the weights that samples are drawn with."""
        save_weights(folder / "denoiser.safetensors", self._denoiser.state_dict())
