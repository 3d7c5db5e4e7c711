"""DEMO: the best visible designs, noised and denoised by a diffusion model of designs better than
they are.

Algorithm (Design Editing for Offline Model-based Optimization, arXiv 2405.13964, algorithm 1):
    1. Fit a surrogate f; climb it from every visible design; the ends with their predictions f are
       the pseudo-target data
       (equation 6)
    2. Train a diffusion model of designs under their scores on the pseudo-target data
       (equation 8)
    3. Put noise of level m on each of the K best visible designs
       (equation 9)
    4. Denoise them under the target score, with classifier-free guidance
       (equation 4)

Two versions are in print, and both are settings: `prior` is what the model of step 2 is trained on,
``pseudo`` (this version) or the ``offline`` data (the later version in TMLR); `edit_from` is what
step 3 starts from, the ``top`` visible designs (this version) or their ``pseudo`` ends (the later
one, and what the released program does). The paper's
two ablations: ``prior=offline`` leaves out the pseudo-target; ``edit=false`` draws from noise
instead.

The paper's target score is 1, the highest score of the *full* data, which is more than the visible
data tell: with ``target=1`` this method reads `OfflineProblem.score_range`. By default it asks for
the highest of the labels it was shown.

Differs from the paper by default: the network, its training and its sampler are those of
`diffusion.ddom`; the ascent takes larger steps (the paper's move continuous designs hardly at all),
clipped to the box that the visible designs span; its ends are decoded and encoded again before they
are labelled; less noise is put on; more designs are edited than proposed, and the surrogate chooses
among them.

Equation 9 has lost a factor in print: the noised design is sqrt(abar) x + sqrt(1 - abar) eps, as
its own closed form says; here that is x + level * eps, level = sqrt(1 / abar - 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.models.designs import DesignModel, DesignModelConfig
from diffusion.proposals import EstimateWatch, design_encoder
from mbo_gym.methods.ascent import ascend
from mbo_gym.methods.base import Resources, save_config
from mbo_gym.methods.filters import order_candidates, predictor
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["ASCENT_SIZES", "DEMO", "EDIT_LEVELS", "DEMOConfig"]

EDIT_LEVELS: Mapping[str, float] = {"paper": 2.03, "released": 0.42}
"""Editing levels by name. ``paper``: step 400 of 1000 of beta from 1e-4 to .02 (sqrt(abar) .442);
the paper gives m and not its betas, these are the usual ones. ``released``: time .4 of beta from
.01 to 2 (mean weight .922)."""

ASCENT_SIZES: Mapping[str, Mapping[str, float]] = {
    "unit": {"continuous": 0.04, "categorical": 0.05},
    "plain": {"continuous": 1e-3, "categorical": 1e-1},
    "adam": {"continuous": 1e-3, "categorical": 1e-1},
}
"""Size of a step of the ascent, by optimiser and kind of design; those of ``plain`` and ``adam``
are the paper's."""

_PIECE = 1 << 10  # what lies in a core's cache


@dataclass(frozen=True)
class DEMOConfig(DesignModelConfig):
    """Settings of DEMO.

    Args:
        prior: What the diffusion model is trained on: ``pseudo`` targets or the ``offline`` data.
        edit_from: What is edited: the ``top`` visible designs, or the ``pseudo`` designs that the
            ascent from them ends at.
        edit: Whether designs are edited; else they are drawn from noise.
        edit_level: Noise level of the edit, or the name of one in `EDIT_LEVELS`.
        surrogate: Name of the surrogate that is climbed.
        optimiser: Of the ascent: ``unit`` (steps along the gradient, at unit root mean square),
            ``plain`` or ``adam``, see `ascend`.
        ascent_steps: Of the ascent.
        ascent_size: Of a step; None for `ASCENT_SIZES`.
        ascent_bounds: ``data``: the ascent is clipped to the box that the visible designs span, or
            ``none``.
        project: Whether the ends of the ascent are decoded and encoded again before they are
            labelled, so that of categorical designs the model sees the letters that they stand for;
            without it, as in the paper, features between the letters.
        target: Score that is asked for: ``labels`` for a quantile of the labels that the model is
            trained on, or a normalised score; the paper's is 1, the best of the full data.
        label_quantile: Which quantile, in [0, 1].
        boost: Added to the target, in standard deviations of the visible scores.
        order: Whether the surrogate orders the proposals; else they stand in the order of what was
            edited.
        n_candidates: Edits (or draws) made, of which the K best distinct ones by the surrogate are
            proposed; None for K (the paper's). Edits start from as many top designs, again from the
            first one where these run out.
    """

    prior: Literal["pseudo", "offline"] = "pseudo"
    edit_from: Literal["top", "pseudo"] = "top"
    edit: bool = True
    edit_level: float | Literal["paper", "released"] = 0.6
    surrogate: str = "auto"
    optimiser: Literal["unit", "plain", "adam"] = "unit"
    ascent_steps: int = 50
    ascent_size: float | None = None
    ascent_bounds: Literal["none", "data"] = "data"
    project: bool = True
    target: float | Literal["labels"] = "labels"
    label_quantile: float = 1.0
    boost: float = 0.0
    order: bool = True
    n_candidates: int | None = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "ascent_steps", "ascent_size")
        require_at_least(self, 1, "n_candidates")
        if not 0 <= self.label_quantile <= 1:
            raise ValueError(f"label_quantile lies in [0, 1], got {self.label_quantile!r}")
        if self.edit_level not in EDIT_LEVELS and not isinstance(self.edit_level, (int, float)):
            raise ValueError(
                f"edit_level must be a number or one of {tuple(EDIT_LEVELS)}, got {self.edit_level!r}"
            )
        if not isinstance(self.edit_level, str):
            require_at_least(self, 0, "edit_level")

    @property
    def level(self) -> float:
        """The noise level of the edit."""
        return EDIT_LEVELS[self.edit_level] if isinstance(self.edit_level, str) else self.edit_level


_PAPER = DEMOConfig(
    encoder="z_score",
    network="concat",
    hidden=2048,
    parameterisation="eps",
    schedule="vp",
    draw="schedule",
    flag=False,
    train_steps=100_000,
    batch_size=128,
    learning_rate=1e-3,
    decay="none",
    ema=0.0,
    sample_steps=400,
    bounds="none",
    surrogate="mlp_paper",
    project=False,
    target=1.0,
    order=False,
    n_candidates=None,
    edit_level="paper",
    ascent_steps=100,
    optimiser="plain",
    ascent_bounds="none",
)


class DEMO:
    """Design editing; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = DEMOConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"paper": _PAPER}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)
    criterion: np.ndarray
    _surrogate: Surrogate

    def __init__(self, config: DEMOConfig | None = None) -> None:
        self.config = config or DEMOConfig()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate, climb it from every visible design, and train the diffusion model."""
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        config, scale = self.config, problem.dataset.score_scale
        self._encoder = design_encoder(problem, config.encoder)
        z = torch.from_numpy(self._encoder.encode(problem.dataset.x)).to(device)
        y = torch.from_numpy(scale.standardise(problem.dataset.y)).to(device)
        self._box = (z.amin(dim=0), z.amax(dim=0)) if config.ascent_bounds == "data" else None
        surrogate = make_surrogate(config.surrogate)
        self._surrogate = fit_surrogate(
            problem, self._encoder, surrogate, seed=seed, device=device, progress=progress
        )
        self._predict = predictor(self._surrogate, self._encoder, device)
        if config.prior == "pseudo":
            z = self._climb(z)
            if config.project:
                z = torch.from_numpy(
                    self._encoder.encode(self._encoder.decode(z.cpu().numpy()))
                ).to(device)
            y = predict_in_pieces(self._surrogate.predict, z)
        self._target = self._asked(y) + config.boost
        self._model = DesignModel(config, z.shape[1], seed=seed, device=device)
        self._model.fit(z, y, data=problem.dataset.content_hash(), progress=progress)

    def propose(self, k: int) -> np.ndarray:
        """Edit the best visible designs, or draw from noise; return `k` designs."""
        config, generator = self.config, torch.Generator(self._device).manual_seed(self._seed)
        n = max(k, config.n_candidates or k)
        stage = "edit" if config.edit else "sampling"
        watch = EstimateWatch(self._problem, self._encoder, stage, self._target, self._progress)
        if config.edit:
            z = self._sources(n)
            watch(0, z)
            z = self._model.edit(
                z, config.level, self._target, generator, watch=lambda step, x: watch(step + 1, x)
            )
        else:
            z = self._model.generate(n, self._target, generator, watch=watch)
        watch.end(z)
        x = self._encoder.decode(z.cpu().numpy())
        x, self.criterion = order_candidates(x, self._predict if config.order else None, k)
        return x

    def _asked(self, y: Tensor) -> float:
        """Return the target as a standardised score; labels y (N,)."""
        if self.config.target == "labels":
            return float(torch.quantile(y, self.config.label_quantile))
        low, high = self._problem.score_range
        asked = np.array([low + self.config.target * (high - low)], dtype=np.float32)
        return float(self._problem.dataset.score_scale.standardise(asked)[0])

    def _climb(self, z: Tensor) -> Tensor:
        """Climb the surrogate from features (N, d), in pieces; the ends (N, d)."""
        config = self.config
        kind = "categorical" if isinstance(self._problem.space, CategoricalSpace) else "continuous"
        size = (
            ASCENT_SIZES[config.optimiser][kind]
            if config.ascent_size is None
            else config.ascent_size
        )
        steps, quiet = config.ascent_steps, NullProgress()
        return torch.cat(
            [
                ascend(
                    self._surrogate,
                    piece,
                    config.optimiser,
                    steps,
                    size,
                    box=self._box,
                    progress=quiet,
                )
                for piece in self._progress.track(torch.split(z, _PIECE), "pseudo-targets")
            ]
        )

    def _sources(self, n: int) -> Tensor:
        """Return the features (n, d) that edits start from."""
        top = self._problem.dataset.top_rows(n)
        rows = top[np.arange(n) % len(top)]
        z = torch.from_numpy(self._encoder.encode(self._problem.dataset.x[rows])).to(self._device)
        return self._climb(z) if self.config.edit_from == "pseudo" else z

    def save(self, folder: Path) -> None:
        """Write the settings, the surrogate and the denoiser."""
        save_config(folder, self.config)
        self._surrogate.save(folder / "surrogate.safetensors")
        self._model.save(folder)
