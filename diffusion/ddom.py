"""DDOM: a diffusion model of designs given their score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from diffusion.models.config import NoiseConfig, SamplingConfig
from diffusion.models.designs import TRAINING, DesignModel, DesignModelConfig
from diffusion.proposals import EstimateWatch, best_visible, design_encoder
from mbo_gym.encoders.base import encoded
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.filters import filtered, fit_filter
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.methods.score_weights import score_weights
from mbo_gym.nn.training import TrainingConfig
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least

__all__ = ["DDOM", "DDOMConfig"]


@dataclass(frozen=True)
class DDOMConfig:
    """Settings of `DDOM`.

    Args:
        model: Settings of the diffusion model.
        noise: Settings of the noise levels.
        training: Settings of the training.
        sampling: Settings of the sampling.
        reweight: Whether rows are weighed by `score_weights` in the loss.
        boost: Distance of the target score above the best visible score, in standard deviations of
            the visible scores.
        filter: Surrogate that keeps the best of `n_candidates` designs; None for K designs as they
            come.
        n_candidates: Designs drawn where there is a filter; at least K are.
        encoder: Name of the encoder; None for ``z_score`` on continuous designs and
            ``z_score_one_hot`` on categorical ones.
        checkpoints: Folder in which a stopped training leaves its state and from which it goes on;
            None for none.
    """

    model: DesignModelConfig = DesignModelConfig()
    noise: NoiseConfig = NoiseConfig()
    training: TrainingConfig = TRAINING
    sampling: SamplingConfig = SamplingConfig()
    reweight: bool = False
    boost: float = 2.0
    filter: Choice | None = None
    n_candidates: int = 4096
    encoder: str | None = None
    checkpoints: str | None = None

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"train_steps": "training.steps"}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_candidates")


_PAPER = DDOMConfig(
    model=DesignModelConfig(
        network="concat", hidden=1024, dropout=0.15, parameterisation="eps", flag=False
    ),
    noise=NoiseConfig(schedule="vp_mild", draw="schedule"),
    training=TrainingConfig(
        steps=120_000,
        batch_size=256,
        learning_rate=1e-3,
        warm_up=60_000,
        decay="none",
        ema=0.0,
        clip=0.0,
    ),
    sampling=SamplingConfig(
        guidance=2.0, sampler="euler_maruyama", sample_steps=1000, bounds="none"
    ),
    reweight=True,
    boost=0.0,
    encoder="z_score",
)
_LIGHT = DDOMConfig(
    model=DesignModelConfig(hidden=16),
    training=TrainingConfig(steps=20, batch_size=32, learning_rate=2e-3),
    sampling=SamplingConfig(sample_steps=3),
    filter=LIGHT_SURROGATE,
    n_candidates=100,
)


class DDOM(Method):
    """DDOM: denoising diffusion for offline optimization (Krishnamoorthy et al., ICML 2023).

    The lines are those of algorithm 1 of the paper.

    Algorithm:
        1. weigh the visible designs: higher scores more, crowded score bins less    (section 3.2)
        2. train a denoiser D(z; s | y) on them, the score y dropped at times        (eq. 7, 8)
        3. draw noise, and denoise it under the target score with classifier-free
           guidance                                                                  (eq. 9)
        4. propose K of the designs; with `filter`, the best of more by a surrogate

    Args:
        config: Settings; preset `paper` has the published recipe.

    Attributes:
        model: Diffusion model of designs.
        target: Standardised score that designs are asked to have.
        filter: Surrogate of the filter, or None.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("ddom", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Krishnamoorthy, Mashkaria and Grover 2023, Diffusion Models for Black-Box Optimization,
        arXiv 2306.07180.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="DDOM: denoising diffusion for offline optimization",
        paper=(
            "Krishnamoorthy, Mashkaria and Grover 2023, Diffusion Models for Black-Box "
            "Optimization, ICML, arXiv 2306.07180"
        ),
        differences=(
            Difference(
                "rows are weighed by their scores",
                "rows have equal weights",
                "with weights the network learns to ignore the score; `reweight`",
            ),
            Difference(
                "a variance-preserving process with beta from 0.01 to 2, and a plain network of "
                "3 x 1024 that predicts the noise",
                "preconditioning and noise levels of EDM, a residual network of 3 x 256",
                "a sampling of few steps; preset `paper` has the published ones",
            ),
            Difference(
                "120,000 updates; a warm-up, then a constant learning rate",
                "1,000 updates with a moving average of the weights, warm-up and decay",
                "to save time",
            ),
            Difference(
                "1000 stochastic steps of sampling",
                "18 steps of Heun's method",
                "to save time; `sampling.sampler`",
            ),
            Difference(
                "the target is the best visible score",
                "the target is 2 standard deviations above it",
                "to ask for more than was seen; `boost`",
            ),
            Difference(
                "categorical designs are z-scored logits",
                "categorical designs are z-scored indicators",
                "`encoder`",
            ),
            Difference(
                "estimates are free",
                "estimates are clipped to the box of the visible designs",
                "`sampling.bounds`",
            ),
            Difference(
                "a missing score looks like the mean score",
                "a missing score is marked",
                "the two are told apart; preset `paper` leaves zero for both (`model.flag`)",
            ),
            Difference(
                "the released program shuffles neither data nor batches",
                "batches are shuffled, in preset `paper` too",
                "an error of the program",
            ),
            Difference(
                "the released program raises the learning rate once an epoch",
                "the learning rate rises at every update, in preset `paper` too",
                "in the program, half the training is warm-up",
            ),
            Difference(
                "the released program counts only the last axis of a sequence",
                "all features of a sequence are diffused alike, in preset `paper` too",
                "an error of the program",
            ),
            Difference(
                "the released program evaluates the network a second time in each step",
                "the second evaluation is left out, in preset `paper` too",
                "its result is not used",
            ),
        ),
        metrics={
            "diffusion/loss": "mean loss since the metrics before",
            "diffusion/gradient_norm": "norm of the gradient before it is clipped",
            "diffusion/learning_rate": "learning rate of the update",
        },
        equations=(
            r"\min_D \; \mathbb{E}\left[ w(y) \, \lambda(s) \, "
            r"\lVert D(z + s \epsilon; s \mid y) - z \rVert^2 \right]",
            r"\hat{D}(z; s) = (1 + w) \, D(z; s \mid y^*) - w \, D(z; s)",
        ),
    )
    Config: ClassVar[type[Any]] = DDOMConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"paper": _PAPER, "light": _LIGHT}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Train the denoiser, and the surrogate of the filter where there is one."""
        self.start(problem, context)
        self._build()
        config = self.config
        data = encoded(problem, self.encoder, context.device)
        self.model.fit(
            data.z,
            data.y,
            config.training,
            row_weight=score_weights(data.y) if config.reweight else None,
            checkpoints=config.checkpoints,
            facts={**asdict(config), "data": problem.dataset.content_hash()},
        )
        self.filter = fit_filter(problem, config.filter, context)

    def _build(self) -> None:
        """Make encoder, target and the untrained model."""
        config = self.config
        self.encoder = design_encoder(self.problem, config.encoder)
        self.target = best_visible(self.problem) + config.boost
        self.model = DesignModel(
            config.model, config.noise, config.sampling, self.encoder.n_features, self.context
        )

    def propose(self, k: int) -> Proposals:
        """Draw designs under the target score; the criterion is the prediction of the filter."""
        n = k if self.filter is None else max(k, self.config.n_candidates)
        generator = torch.Generator(self.context.device).manual_seed(self.context.seed)
        watch = EstimateWatch(
            self.problem, self.encoder, "sampling", self.target, self.context.progress
        )
        z = self.model.generate(n, self.target, generator, watch=watch)
        watch.end(z)
        x = self.encoder.designs(z)
        return filtered(self.problem, x, self.filter, k, self.context.seed)

    def write_state(self, folder: Path) -> None:
        """Write the denoiser and the surrogate of the filter."""
        self.model.save(folder)
        if self.filter is not None:
            self.filter.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the denoiser and the surrogate of the filter."""
        self._build()
        self.model.load(folder)
        self.filter = None
        if self.config.filter is not None:
            self.filter = Fitted.load(folder, self.problem, "z_score", self.context)
