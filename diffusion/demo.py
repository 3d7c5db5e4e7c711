"""DEMO: design editing with a diffusion model of designs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.models.config import NoiseConfig, SamplingConfig
from diffusion.models.designs import TRAINING, DesignModel, DesignModelConfig
from diffusion.proposals import EstimateWatch, encoder_name
from mbo_gym.encoders.base import encoded
from mbo_gym.files import store
from mbo_gym.methods.ascent import ascend
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.filters import filtered
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.nn.training import TrainingConfig
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.base import predict_in_pieces
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["ASCENT_SIZES", "DEMO", "EDIT_LEVELS", "DEMOConfig", "PseudoTargetConfig"]

EDIT_LEVELS: Mapping[str, float] = {"paper": 2.03, "released": 0.42}
"""Editing levels by name. ``paper``: step 400 of 1000 of beta from 1e-4 to 0.02 (sqrt(abar) 0.442);
the paper gives m and not its betas, these are the usual ones. ``released``: time 0.4 of beta from
0.01 to 2 (mean weight 0.922)."""

ASCENT_SIZES: Mapping[str, Mapping[str, float]] = {
    "unit": {"continuous": 0.04, "categorical": 0.05},
    "plain": {"continuous": 1e-3, "categorical": 1e-1},
    "adam": {"continuous": 1e-3, "categorical": 1e-1},
}
"""Size of a step of the ascent, by optimiser and kind of design; those of ``plain`` and ``adam``
are the paper's."""

TARGET_FILE = "target.json"

_PIECE = 1 << 10  # what lies in a core's cache


@dataclass(frozen=True)
class PseudoTargetConfig:
    """Settings of the ascent to the pseudo-target designs.

    Args:
        optimiser: ``unit`` (steps along the gradient, at unit root mean square), ``plain`` or
            ``adam``, see `ascend`.
        ascent_steps: Number of steps.
        ascent_size: Size of a step; None for `ASCENT_SIZES`.
        ascent_bounds: ``data``: the ascent is clipped to the box that the visible designs span, or
            ``none``.
        project: Whether the ends are decoded and encoded again before they are labelled, so that
            the model sees the letters of categorical designs; without it, as in the paper, features
            between the letters.
    """

    optimiser: Literal["unit", "plain", "adam"] = "unit"
    ascent_steps: int = 50
    ascent_size: float | None = None
    ascent_bounds: Literal["none", "data"] = "data"
    project: bool = True

    def __post_init__(self) -> None:
        require_at_least(self, 0, "ascent_steps", "ascent_size")

    def size(self, kind: Literal["continuous", "categorical"]) -> float:
        """Return the size of a step for a kind of design."""
        return ASCENT_SIZES[self.optimiser][kind] if self.ascent_size is None else self.ascent_size


@dataclass(frozen=True)
class DEMOConfig:
    """Settings of `DEMO`.

    Args:
        surrogate: Surrogate that is climbed.
        ascent: Settings of the ascent to the pseudo-target designs.
        model: Settings of the diffusion model.
        noise: Settings of the noise levels.
        training: Settings of the training.
        sampling: Settings of the sampling.
        prior: Data that the diffusion model is trained on: ``pseudo`` targets or the ``offline``
            data.
        edit_from: Designs that are edited: the ``top`` visible designs, or the ``pseudo`` designs
            at the end of the ascent from them.
        edit: Whether designs are edited; else they are drawn from noise.
        edit_level: Noise level of the edit, or the name of one in `EDIT_LEVELS`.
        target: Score asked for: ``labels`` for a quantile of the labels that the model is trained
            on, or a normalised score; the paper's is 1, the best of the full data.
        label_quantile: The quantile, in [0, 1].
        boost: Number added to the target, in standard deviations of the visible scores.
        order: Whether the surrogate orders the proposals; else they are in the order of the designs
            that were edited.
        n_candidates: Edits (or draws), of which the K best distinct ones by the surrogate are
            proposed; None for K (the paper). Edits start from as many top designs, again from the
            first one where there are fewer.
        encoder: Name of the encoder; None for ``z_score`` on continuous designs and
            ``z_score_one_hot`` on categorical ones.
        checkpoints: Folder in which a stopped training leaves its state and from which it goes on;
            None for none.
    """

    surrogate: Choice = Choice("least_error")
    ascent: PseudoTargetConfig = PseudoTargetConfig()
    model: DesignModelConfig = DesignModelConfig()
    noise: NoiseConfig = NoiseConfig()
    training: TrainingConfig = TRAINING
    sampling: SamplingConfig = SamplingConfig()
    prior: Literal["pseudo", "offline"] = "pseudo"
    edit_from: Literal["top", "pseudo"] = "top"
    edit: bool = True
    edit_level: float | Literal["paper", "released"] = 0.6
    target: float | Literal["labels"] = "labels"
    label_quantile: float = 1.0
    boost: float = 0.0
    order: bool = True
    n_candidates: int | None = 2048
    encoder: str | None = None
    checkpoints: str | None = None

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"train_steps": "training.steps"}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_candidates")
        if not 0 <= self.label_quantile <= 1:
            raise ValueError(f"label_quantile lies in [0, 1], got {self.label_quantile!r}")
        if self.edit_level not in EDIT_LEVELS and not isinstance(self.edit_level, (int, float)):
            raise ValueError(
                f"edit_level must be a number or one of {tuple(EDIT_LEVELS)}, "
                f"got {self.edit_level!r}"
            )
        if not isinstance(self.edit_level, str):
            require_at_least(self, 0, "edit_level")

    @property
    def level(self) -> float:
        """Noise level of the edit."""
        return EDIT_LEVELS[self.edit_level] if isinstance(self.edit_level, str) else self.edit_level


_PAPER = DEMOConfig(
    surrogate=Choice("mlp_paper"),
    ascent=PseudoTargetConfig(
        optimiser="plain", ascent_steps=100, ascent_bounds="none", project=False
    ),
    model=DesignModelConfig(network="concat", hidden=2048, parameterisation="eps", flag=False),
    noise=NoiseConfig(schedule="vp", draw="schedule"),
    training=TrainingConfig(
        steps=100_000, batch_size=128, learning_rate=1e-3, decay="none", ema=0.0
    ),
    sampling=SamplingConfig(sample_steps=400, bounds="none"),
    edit_level="paper",
    target=1.0,
    order=False,
    n_candidates=None,
    encoder="z_score",
)
_LIGHT = DEMOConfig(
    surrogate=LIGHT_SURROGATE,
    model=DesignModelConfig(hidden=16),
    training=TrainingConfig(steps=20, batch_size=32, learning_rate=2e-3),
    sampling=SamplingConfig(sample_steps=3),
    n_candidates=100,
)


class DEMO(Method):
    """DEMO: design editing for offline model-based optimization (Yuan et al., 2024).

    Edits the best visible designs: adds noise, and removes it with a diffusion model of designs
    that are better than they are. Two versions of the paper are in print. `prior` and `edit_from`
    choose between the steps of this version (``pseudo``, ``top``) and of the later one in TMLR
    (``offline``, ``pseudo``, also in the released program). The two ablations of the paper are
    ``prior=offline`` and ``edit=false``.

    The lines are those of algorithm 1 of the paper.

    Algorithm:
        1. fit a surrogate f; climb it from every visible design; the ends with their predictions f
           are the pseudo-target data                                                  (eq. 6)
        2. train a diffusion model of designs under their scores on these data         (eq. 8)
        3. add noise of level m to each of the K best visible designs                  (eq. 9)
        4. denoise them under the target score with classifier-free guidance           (eq. 4)

    Equation 9 lacks a factor in print: by its own closed form the noised design is sqrt(abar) x +
    sqrt(1 - abar) eps. Here that is x + level * eps, with level = sqrt(1 / abar - 1).

    Args:
        config: Settings; preset `paper` has the published ones.

    Attributes:
        fitted: Encoder and surrogate.
        model: Diffusion model of designs.
        target: Standardised score that designs are asked to have.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("demo", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Yuan et al. 2024, Design Editing for Offline Model-based Optimization, arXiv 2405.13964.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="DEMO: design editing for offline model-based optimization",
        paper=(
            "Yuan et al. 2024, Design Editing for Offline Model-based Optimization, "
            "arXiv 2405.13964"
        ),
        differences=(
            Difference(
                "the target score is 1, the highest score of the full data",
                "the target is the highest label that the model is trained on",
                "the visible data do not tell the paper's; with `target=1` the method reads "
                "`OfflineProblem.score_range`",
            ),
            Difference(
                "a plain network, its training and its sampler",
                "those of DDOM here: EDM, 1,000 updates, 18 steps of Heun's method",
                "to save time; preset `paper` has the published ones",
            ),
            Difference(
                "steps of the gradient times 1e-3 (continuous) or 1e-1 (categorical)",
                "steps of unit root mean square times 0.04 or 0.05, clipped to the box of the "
                "visible designs",
                "the paper's steps hardly move continuous designs",
            ),
            Difference(
                "the ends of the ascent are labelled as they are",
                "the ends are decoded and encoded again before",
                "the model sees letters, not features between them; `ascent.project`",
            ),
            Difference(
                "noise of level 2.03",
                "noise of level 0.6",
                "less is lost of the designs that are edited; `edit_level`",
            ),
            Difference(
                "K designs are edited",
                "2048 designs are edited, of which the surrogate chooses K",
                "a choice among more candidates; `n_candidates`, `order`",
            ),
        ),
        metrics={
            "diffusion/loss": "mean loss since the metrics before",
            "diffusion/gradient_norm": "norm of the gradient before it is clipped",
            "diffusion/learning_rate": "learning rate of the update",
        },
        equations=(
            r"x^{(t+1)} = x^{(t)} + \eta \nabla f(x^{(t)})",
            r"z = x + m \epsilon, \quad \epsilon \sim \mathcal{N}(0, I)",
            r"\hat{D}(z; s) = (1 + w) \, D(z; s \mid y^*) - w \, D(z; s)",
        ),
    )
    Config: ClassVar[type[Any]] = DEMOConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"paper": _PAPER, "light": _LIGHT}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate, climb it from every visible design, and train the diffusion model."""
        self.start(problem, context)
        config = self.config
        surrogate = make_surrogate(config.surrogate)
        encoder = encoder_name(problem, config.encoder)
        climbed = config.prior == "pseudo"
        self.fitted = Fitted.fit(problem, surrogate, encoder, context, climbed=climbed)
        data = encoded(problem, self.fitted.encoder, context.device)
        z, y = data.z, data.y  # (N, d), (N,)
        self._box = self._visible_box(z)
        if config.prior == "pseudo":
            z = self.climb(z)
            if config.ascent.project:
                x = self.fitted.encoder.designs(z)
                z = self.fitted.encoder.features(x, context.device)
            y = predict_in_pieces(self.fitted.surrogate.predict, z)
        self.target = self._asked(y) + config.boost
        self.model = self._new_model()
        facts = {**asdict(config), "data": problem.dataset.content_hash()}
        self.model.fit(z, y, config.training, checkpoints=config.checkpoints, facts=facts)

    def propose(self, k: int) -> Proposals:
        """Edit the best visible designs, or draw from noise; the criterion is the prediction, or 0
        without `order`."""
        config = self.config
        encoder = self.fitted.encoder
        generator = torch.Generator(self.context.device).manual_seed(self.context.seed)
        n = max(k, config.n_candidates or k)
        stage = "edit" if config.edit else "sampling"
        watch = EstimateWatch(self.problem, encoder, stage, self.target, self.context.progress)
        if config.edit:
            z = self._sources(n)
            watch(0, z)
            z = self.model.edit(
                z, config.level, self.target, generator, watch=lambda step, x: watch(step + 1, x)
            )
        else:
            z = self.model.generate(n, self.target, generator, watch=watch)
        watch.end(z)
        x = encoder.designs(z)
        by = self.fitted if config.order else None
        return filtered(self.problem, x, by, k, self.context.seed)

    def climb(self, z: Tensor) -> Tensor:
        """Climb the surrogate from features (N, d), in pieces; return the ends (N, d)."""
        config = self.config.ascent
        kind = "categorical" if isinstance(self.problem.space, CategoricalSpace) else "continuous"
        size = config.size(kind)
        quiet = NullProgress()
        pieces = self.context.progress.track(torch.split(z, _PIECE), "pseudo-targets")
        return torch.cat(
            [
                ascend(
                    self.fitted.surrogate,
                    piece,
                    config.optimiser,
                    config.ascent_steps,
                    size,
                    box=self._box,
                    progress=quiet,
                )
                for piece in pieces
            ]
        )

    def _asked(self, y: Tensor) -> float:
        """Return the target as a standardised score; labels y (N,)."""
        if self.config.target == "labels":
            return float(torch.quantile(y, self.config.label_quantile))
        low, high = self.problem.score_range
        asked = np.array([low + self.config.target * (high - low)], dtype=np.float32)
        return float(self.problem.dataset.score_scale.standardise(asked)[0])

    def _visible_box(self, z: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the box of visible features (N, d), where the ascent is clipped to it."""
        if self.config.ascent.ascent_bounds == "none":
            return None
        return z.amin(dim=0), z.amax(dim=0)

    def _new_model(self) -> DesignModel:
        config = self.config
        d = self.fitted.encoder.n_features
        return DesignModel(config.model, config.noise, config.sampling, d, self.context)

    def _sources(self, n: int) -> Tensor:
        """Return the features (n, d) that edits start from."""
        dataset = self.problem.dataset
        top = dataset.top_rows(n)
        rows = top[np.arange(n) % len(top)]
        z = self.fitted.encoder.features(dataset.x[rows], self.context.device)
        return self.climb(z) if self.config.edit_from == "pseudo" else z

    def write_state(self, folder: Path) -> None:
        """Write the surrogate, the denoiser and the target."""
        self.fitted.save(folder)
        self.model.save(folder)
        store.write_atomic(folder / TARGET_FILE, json.dumps({"target": self.target}).encode())

    def read_state(self, folder: Path) -> None:
        """Read the surrogate, the denoiser and the target."""
        encoder = encoder_name(self.problem, self.config.encoder)
        self.fitted = Fitted.load(folder, self.problem, encoder, self.context)
        z = self.fitted.encoder.features(self.problem.dataset.x, self.context.device)
        self._box = self._visible_box(z)
        self.model = self._new_model()
        self.model.load(folder)
        self.target = json.loads((folder / TARGET_FILE).read_text(encoding="utf-8"))["target"]
