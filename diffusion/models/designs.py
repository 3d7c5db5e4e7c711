"""The conditional diffusion model of designs of DDOM, DEMO and DGID: p(features | score)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffusion.core.denoiser import Denoiser, Parameterisation
from diffusion.core.guidance import clipped, conditional, unconditional
from diffusion.core.losses import denoising_loss
from diffusion.core.networks import ConcatMLP, ScoreMLP
from diffusion.core.samplers import Denoise, noised, start_noise
from diffusion.core.schedule import levels
from diffusion.models.config import SCHEDULES, NoiseConfig, SamplingConfig, Watch, require_share
from diffusion.models.saved import Box, load_denoiser, save_denoiser
from mbo_gym.methods.base import Context
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.nn.weights import seeded
from mbo_gym.settings import require_at_least

__all__ = ["TRAINING", "DesignModel", "DesignModelConfig"]

TRAINING = TrainingConfig(steps=1000, batch_size=512, learning_rate=2e-3)
"""Default settings of the training of a `DesignModel`."""


@dataclass(frozen=True)
class DesignModelConfig:
    """Settings of a model of designs.

    Args:
        network: ``residual``, or ``concat``, a plain one with time and score as two more inputs
            (DDOM's).
        hidden: Width of the network.
        layers: Number of hidden layers.
        dropout: Share of units dropped in training.
        parameterisation: Output of the network, see `diffusion.core.denoiser`.
        drop_condition: Share of rows trained without their condition.
        flag: Whether the network is told which rows these are; without it they look like rows of
            the mean score (the released program of DDOM).
    """

    network: Literal["residual", "concat"] = "residual"
    hidden: int = 256
    layers: int = 3
    dropout: float = 0.0
    parameterisation: Parameterisation = "edm"
    drop_condition: float = 0.15
    flag: bool = True

    def __post_init__(self) -> None:
        require_at_least(self, 1, "hidden", "layers")
        require_share(self, "dropout", "drop_condition")


class DesignModel:
    """A denoiser of features (d) under a score, sampled from noise or from noised designs.

    The condition may be more than a score: c numbers, of which all are known or none is.

    Args:
        config: Settings of the model.
        noise: Settings of the noise levels.
        sampling: Settings of the sampling.
        n_features: Number of features d.
        context: Seed, device and progress of the training.
        n_conditions: Numbers c in the condition; 1 for the score alone.
    """

    def __init__(
        self,
        config: DesignModelConfig,
        noise: NoiseConfig,
        sampling: SamplingConfig,
        n_features: int,
        context: Context,
        n_conditions: int = 1,
    ) -> None:
        self.config = config
        self.noise = noise
        self.sampling = sampling
        self.n_features = n_features
        self.context = context
        self.schedule = SCHEDULES[noise.schedule]
        with seeded(context.seed):
            network = (ScoreMLP if config.network == "residual" else ConcatMLP)(
                n_features,
                hidden=config.hidden,
                layers=config.layers,
                n_conditions=n_conditions + config.flag,
                dropout=config.dropout,
            )
        self.denoiser = Denoiser(
            network,
            config.parameterisation,
            time=self.schedule if config.network == "concat" else None,
            n_conditions=n_conditions,
            flag=config.flag,
        ).to(context.device)
        self.box: Box | None = None

    def fit(
        self,
        z: Tensor,
        y: Tensor,
        training: TrainingConfig,
        *,
        row_weight: Tensor | None = None,
        checkpoints: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on features (N, d) and their standardised scores (N,).

        Args:
            z: (N, d) features, on the device of the model.
            y: (N,) scores, or (N, c) conditions; samples are drawn under those of the same unit.
            training: Settings of the training.
            row_weight: (N,) weight of each row in the loss; None for equal ones.
            checkpoints: Folder of the checkpoint; None for none.
            facts: Everything else that decides the outcome; a checkpoint of others is refused.
        """
        config = self.config
        condition = y.reshape(len(y), -1)  # (N, c)
        if self.sampling.bounds == "data":
            self.box = z.amin(dim=0), z.amax(dim=0)

        def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            x = z[rows]  # (B, d)
            n = len(rows)
            level = self.noise.draw_levels(n, generator)
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            keep = torch.rand(n, generator=generator, device=x.device) >= config.drop_condition
            return denoising_loss(
                self.denoiser,
                x,
                level,
                noise,
                condition=condition[rows],
                keep=keep,
                row_weight=None if row_weight is None else row_weight[rows],
            )

        train(
            self.denoiser,
            loss,
            len(z),
            training,
            seed=self.context.seed,
            device=self.context.device,
            progress=self.context.progress,
            checkpoints=None if checkpoints is None else Path(checkpoints),
            facts=facts,
        )

    def generate(
        self, n: int, target: float, generator: torch.Generator, *, watch: Watch | None = None
    ) -> Tensor:
        """Draw features (n, d) under a target score, from noise.

        Args:
            n: Number of designs.
            target: Standardised score, see `fit`.
            generator: Source of randomness, on the device of the model.
            watch: Called at each step with its number and the estimates (n, d) of the designs.
        """
        rungs = self.rungs(self.sampling.sample_steps)
        z = start_noise((n, self.n_features), float(rungs[0]), generator)
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
        """Add noise of a level to features (B, d) and remove it under a target score; (B, d).

        A level of 0 changes nothing. For the other arguments see `generate`.
        """
        if level == 0:
            return z
        rungs = levels(self.schedule, self.sampling.sample_steps, start=level)
        return self._follow(noised(z, level, generator), rungs, target, generator, watch)

    def _follow(
        self,
        z: Tensor,
        rungs: Tensor,
        target: float,
        generator: torch.Generator,
        watch: Watch | None,
    ) -> Tensor:
        denoise = self.denoise(len(z), target, self.sampling.guidance)
        return self.sampling.sample(denoise, z, rungs, generator, watch)

    def rungs(self, steps: int) -> Tensor:
        """Return the noise levels (steps + 1,) of a sampling."""
        return levels(self.schedule, steps)

    def denoise(self, n: int, target: float | Tensor | None, weight: float) -> Denoise:
        """Return the denoiser of n designs under a target, clipped to the box where there is one.

        Args:
            n: Number of designs.
            target: Standardised score, a condition (c,), or None for none.
            weight: Weight of classifier-free guidance.
        """
        if target is None:
            denoise = unconditional(self.denoiser)
        else:
            condition = torch.as_tensor(target, dtype=torch.float32, device=self.context.device)
            condition = condition.reshape(1, -1).repeat(n, 1)  # (n, c)
            denoise = conditional(self.denoiser, condition, weight=weight)
        return denoise if self.box is None else clipped(denoise, *self.box)

    def save(self, folder: Path) -> None:
        """Write the weights and the box that samples are clipped to."""
        save_denoiser(folder, self.denoiser, self.box)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.box = load_denoiser(folder, self.denoiser, self.context.device)
