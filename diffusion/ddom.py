"""DDOM: a diffusion model of designs given their score, sampled under a score higher than any seen.

Algorithm (Krishnamoorthy, Mashkaria and Grover, ICML 2023, arXiv 2306.07180, algorithm 1):
    1. Weigh the visible designs: those with high scores more, those in crowded score bins less
       (section 3.2).
    2. Train a denoiser D(z; s | y) on them, with the score y dropped now and then
       (equations 7 and 8)
    3. Draw noise, and denoise it under the target score, with classifier-free guidance
       (equation 9)
    4. Return K of the designs. There is no surrogate in the paper; `filter` adds one that keeps the
       best of more.

`paper` is the published recipe: variance-preserving process with beta .01 to 2, a plain network of
3 x 1024, weights in the loss, guidance 2, target = the best visible score, 1000 stochastic steps.

Differs from the paper by default: no weights (with them the network learns to ignore the score);
EDM's preconditioning and levels; EMA, warm-up and decay; 18 steps of Heun's method in place of
1000; categorical designs as z-scored indicators; a target above the best visible score; estimates
clipped to the data's box.
Mended in both: batches are shuffled (in the released program neither data nor batches are); the
learning rate rises per update (there once an epoch, so that half the training is warm-up); all
features of a sequence are diffused alike (there only the last axis is counted); a second, unused
evaluation of the network in each step is left out; no score known is told apart from the mean score
(by default; `paper` leaves zero for both, as published).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from diffusion.models.designs import DesignModel, DesignModelConfig
from diffusion.proposals import EstimateWatch, design_encoder
from mbo_gym.methods.base import Resources, save_config
from mbo_gym.methods.filters import fitted_filter, order_candidates
from mbo_gym.methods.score_weights import score_weights
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["DDOM", "DDOMConfig"]


@dataclass(frozen=True)
class DDOMConfig(DesignModelConfig):
    """Settings of DDOM.

    Args:
        reweight: Weigh designs by `score_weights`.
        boost: How far the target score lies above the best visible score, in standard deviations of
            the visible scores.
        filter: Name of a surrogate by which `n_candidates` designs are ordered and the best kept;
            None: K designs as they come.
        n_candidates: Designs drawn where there is a filter; at least K are.
    """

    reweight: bool = False
    boost: float = 2.0
    filter: str | None = None
    n_candidates: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "n_candidates")


_PAPER = DDOMConfig(
    encoder="z_score",
    network="concat",
    hidden=1024,
    dropout=0.15,
    parameterisation="eps",
    schedule="vp_mild",
    draw="schedule",
    flag=False,
    train_steps=120_000,
    batch_size=256,
    learning_rate=1e-3,
    warm_up=60_000,
    decay="none",
    ema=0.0,
    clip=0.0,
    guidance=2.0,
    sampler="euler_maruyama",
    sample_steps=1000,
    bounds="none",
    reweight=True,
    boost=0.0,
)


class DDOM:
    """Denoising diffusion for offline optimization; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = DDOMConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"paper": _PAPER}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)
    criterion: np.ndarray

    def __init__(self, config: DDOMConfig | None = None) -> None:
        self.config = config or DDOMConfig()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Train the denoiser, and the filter's surrogate where there is one."""
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        self._encoder = design_encoder(problem, self.config.encoder)
        z = torch.from_numpy(self._encoder.encode(problem.dataset.x)).to(device)
        y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(device)
        self._target = float(y.max()) + self.config.boost
        self._model = DesignModel(self.config, z.shape[1], seed=seed, device=device)
        weight = score_weights(y) if self.config.reweight else None
        self._model.fit(
            z, y, data=problem.dataset.content_hash(), progress=progress, row_weight=weight
        )
        name = self.config.filter
        self._filter = fitted_filter(problem, name, seed=seed, device=device, progress=progress)

    def propose(self, k: int) -> np.ndarray:
        """Draw designs under the target score; return `k`."""
        n = k if self._filter is None else max(k, self.config.n_candidates)
        generator = torch.Generator(self._device).manual_seed(self._seed)
        watch = EstimateWatch(
            self._problem, self._encoder, "sampling", self._target, self._progress
        )
        z = self._model.generate(n, self._target, generator, watch=watch)
        watch.end(z)
        x, self.criterion = order_candidates(self._encoder.decode(z.cpu().numpy()), self._filter, k)
        return x

    def save(self, folder: Path) -> None:
        """Write the settings and the denoiser."""
        save_config(folder, self.config)
        self._model.save(folder)
