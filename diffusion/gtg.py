"""GTG: a diffusion model of trajectories towards better designs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from diffusion.models.config import NoiseConfig, SamplingConfig
from diffusion.models.trajectories import (
    SAMPLING,
    TRAINING,
    TrajectoryModel,
    TrajectoryModelConfig,
)
from diffusion.proposals import EstimateWatch, best_visible, design_encoder
from mbo_gym.encoders.base import encoded
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.filters import filtered, fit_filter
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.nn.training import TrainingConfig
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.trajectories.samplers import Distance, local_improving

__all__ = [
    "GTG",
    "TRAJECTORIES",
    "GTGConfig",
    "Trajectories",
    "TrajectoryConfig",
    "trajectory_settings",
]

ROWS_FILE = "trajectories.safetensors"


@dataclass(frozen=True)
class Trajectories:
    """The paper's trajectories for a task.

    Args:
        n: Number of trajectories.
        k: Number of nearest candidates of a step.
        eps: How far a step may fall below the best score so far, as a share of the full range.
    """

    n: int
    k: int
    eps: float


TRAJECTORIES: Mapping[str, Trajectories] = {
    "TFBind8": Trajectories(1000, 50, 0.05),
    "TFBind10": Trajectories(1000, 50, 0.05),
    "Superconductor": Trajectories(4000, 20, 0.05),
    "AntMorphology": Trajectories(4000, 20, 0.05),
    "DKittyMorphology": Trajectories(4000, 20, 0.01),
}
"""The paper's trajectories by the first part of the id of a task."""


def trajectory_settings(problem: OfflineProblem) -> Trajectories:
    """Return the paper's trajectories for a task.

    Other tasks get those of TFBind8 on sequences, and those of Superconductor else.
    """
    other = "TFBind8" if isinstance(problem.space, CategoricalSpace) else "Superconductor"
    return TRAJECTORIES.get(problem.task_id.partition("-")[0], TRAJECTORIES[other])


@dataclass(frozen=True)
class TrajectoryConfig:
    """Settings of the trajectories that are made of the visible designs, see `local_improving`.

    Args:
        n_trajectories: Number of trajectories; None for the paper's number, see `TRAJECTORIES`.
        k: Number of nearest candidates that a step is drawn from; None for the paper's.
        eps: How far a step may fall below the best score so far, as a share of the range of the
            full data; 1 allows any neighbour, None is the paper's.
        p: Trajectories start in the best `p` percent.
        distance: Distance between designs; None for Hamming or z-scored Euclidean.
    """

    n_trajectories: int | None = 4000
    k: int | None = None
    eps: float | None = 1.0
    p: float = 100.0
    distance: Distance | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_trajectories", "k")
        require_at_least(self, 0, "eps")

    def of(self, problem: OfflineProblem) -> Trajectories:
        """Return number, candidates and eps for a problem."""
        paper = trajectory_settings(problem)
        return Trajectories(
            paper.n if self.n_trajectories is None else self.n_trajectories,
            paper.k if self.k is None else self.k,
            paper.eps if self.eps is None else self.eps,
        )


@dataclass(frozen=True)
class GTGConfig:
    """Settings of `GTG`.

    Args:
        trajectories: Settings of the visible trajectories.
        model: Settings of the diffusion model.
        noise: Settings of the noise levels.
        training: Settings of the training.
        sampling: Settings of the sampling.
        context_from: Trajectories whose ends become contexts: the ``best`` by their mean score over
            these steps, or any at ``random`` (the released program).
        boost: Distance of the scores asked for above the best visible one, in standard deviations.
        n_samples: Trajectories sampled.
        filter: Surrogate that chooses among all designs sampled; None: the first K, last steps
            first.
        encoder: Name of the encoder; None for ``z_score`` on continuous designs and
            ``z_score_one_hot`` on categorical ones.
        checkpoints: Folder in which a stopped training leaves its state and from which it goes on;
            None for none.
    """

    trajectories: TrajectoryConfig = TrajectoryConfig()
    model: TrajectoryModelConfig = TrajectoryModelConfig()
    noise: NoiseConfig = NoiseConfig()
    training: TrainingConfig = TRAINING
    sampling: SamplingConfig = SAMPLING
    context_from: Literal["best", "random"] = "best"
    boost: float = 2.0
    n_samples: int = 1024
    filter: Choice | None = Choice("least_error")
    encoder: str | None = None
    checkpoints: str | None = None

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"train_steps": "training.steps"}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_samples")


_RELEASED = GTGConfig(
    trajectories=TrajectoryConfig(n_trajectories=None, eps=None, p=80.0, distance="raw"),
    model=TrajectoryModelConfig(
        horizon=64,
        width=128,
        multipliers=(1, 4, 8),
        parameterisation="eps",
        score_channel=True,
        score_weight=10.0,
        condition="none",
        context="clean",
        context_length=32,
        start_scale=0.5,
        released_noise=True,
    ),
    noise=NoiseConfig(schedule="cosine", draw="schedule"),
    training=TrainingConfig(
        steps=50_000,
        batch_size=256,
        learning_rate=1e-4,
        warm_up=0,
        decay="none",
        ema=0.995,
        clip=0.0,
    ),
    sampling=replace(SAMPLING, sample_steps=200),
    context_from="random",
    n_samples=128,
    filter=Choice("gtg_proxy"),
    encoder="min_max",
)
_RELEASED_CATEGORICAL = replace(
    _RELEASED,
    trajectories=replace(_RELEASED.trajectories, distance=None),
    model=replace(_RELEASED.model, width=32),
    training=replace(_RELEASED.training, steps=10_000, learning_rate=2e-4),
)


def _paper(released: GTGConfig) -> GTGConfig:
    """Return the settings of the paper, at the sizes of the released program."""
    return replace(
        released,
        model=replace(
            released.model,
            condition="mean",
            context="renoised",
            start_scale=1.0,
            released_noise=False,
        ),
        sampling=replace(released.sampling, guidance=0.2, sampler="euler_maruyama"),
    )


def _short(released: GTGConfig) -> GTGConfig:
    """Return the released program with a small network and a short training."""
    return replace(
        released,
        model=replace(released.model, width=32, multipliers=(1, 2)),
        training=replace(released.training, steps=1000, batch_size=64),
        filter=Choice("light_gtg_proxy"),
    )


_LIGHT = GTGConfig(
    trajectories=TrajectoryConfig(n_trajectories=30, p=50.0),
    model=TrajectoryModelConfig(horizon=5, width=8, context_length=2),
    training=TrainingConfig(steps=20, batch_size=32, learning_rate=2e-3),
    sampling=replace(SAMPLING, sample_steps=3),
    n_samples=10,
    filter=LIGHT_SURROGATE,
)


class GTG(Method):
    """GTG: guided trajectory generation (Yun et al., NeurIPS 2024).

    Reads `OfflineProblem.score_range` as the unit of `trajectories.eps`. `model.condition` and
    `model.context` say how the model gets scores and first steps, see `TrajectoryModelConfig`.

    Algorithm:
        1. make trajectories of the visible designs that go from neighbour to neighbour and do not
           fall far below their best score so far, see `local_improving`
        2. train a diffusion model of trajectories, H steps of features and score, given scores
           (dropped at times) and given the first steps
        3. take the last C steps of visible trajectories as contexts; sample the H - C steps after
           them under scores above all visible ones, with classifier-free guidance
        4. propose the K designs of these steps with the highest predictions of a surrogate

    Args:
        config: Settings. Preset `released` is the released program as it runs: no guidance, clean
            contexts of random trajectories, half the starting noise, noise of each step by its
            variance in place of its deviation, a filter whose networks see good designs more often.
            `paper` has the same sizes with the guidance (1.2 in its terms), contexts and noise of
            the paper. `released_short` is `released` with a small network and a short training.
            Names that end in ``_categorical`` are for sequences, the others for continuous designs.

    Attributes:
        trajectories: (N, H, d + 1) features and standardised scores of the trajectories that the
            model is trained on.
        model: Diffusion model of trajectories.
        filter: Surrogate of the filter, or None.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("gtg", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Yun et al. 2024, Guided Trajectory Generation with Diffusion Models for Offline Model-based
        Optimization, arXiv 2407.01624.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="GTG: guided trajectory generation",
        paper=(
            "Yun et al. 2024, Guided Trajectory Generation with Diffusion Models for Offline "
            "Model-based Optimization, NeurIPS, arXiv 2407.01624"
        ),
        differences=(
            Difference(
                "a step may fall at most `eps` below the best score so far",
                "trajectories go to any neighbour, whatever its score",
                "with the paper's `eps` nearly all steps lie just below the best score, and the "
                "model does not learn what makes a score high; `trajectories.eps`",
            ),
            Difference(
                "the condition is the mean score of a trajectory",
                "the condition is the score of each step",
                "scores are asked for at the new steps alone; `model.condition`",
            ),
            Difference(
                "scores are a channel of the trajectories",
                "scores are no channel",
                "guidance fades as soon as the channel shows a high score; `model.score_channel`",
            ),
            Difference(
                "contexts are the ends of random trajectories (released program)",
                "contexts are the best ends",
                "samples start from higher scores; `context_from`",
            ),
            Difference(
                "trajectories of 64 designs, a network of three levels of up to 1024 channels",
                "trajectories of 16 designs, a network of one level of 96 channels",
                "it learns more in the time that a laptop has; presets `paper`, `released`",
            ),
            Difference(
                "scores are mapped to [-1, 1]",
                "scores are standardised, in all presets",
                "the unit of every method here",
            ),
        ),
        metrics={
            "diffusion/loss": "mean loss since the metrics before",
            "diffusion/gradient_norm": "norm of the gradient before it is clipped",
            "diffusion/learning_rate": "learning rate of the update",
        },
        equations=(
            r"\hat{D}(\tau; s) = (1 + w) \, D(\tau; s \mid y^*, \tau_{1:C}) "
            r"- w \, D(\tau; s \mid \tau_{1:C})",
        ),
    )
    Config: ClassVar[type[Any]] = GTGConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": _paper(_RELEASED),
        "paper_categorical": _paper(_RELEASED_CATEGORICAL),
        "released": _RELEASED,
        "released_categorical": _RELEASED_CATEGORICAL,
        "released_short": _short(_RELEASED),
        "released_short_categorical": _short(_RELEASED_CATEGORICAL),
        "light": _LIGHT,
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)

    trajectories: Tensor

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Make trajectories, train the model of them, and fit the filter."""
        self.start(problem, context)
        self._build()
        config = self.config
        settings = config.trajectories.of(problem)
        made = local_improving(
            problem,
            self.encoder,
            config.trajectories.p,
            settings.n,
            config.model.horizon - 1,
            torch.Generator().manual_seed(context.seed),
            k=settings.k,
            eps=settings.eps,
            distance=config.trajectories.distance,
        )
        assert made.rows is not None
        self._keep(made.rows)
        visible = encoded(problem, self.encoder, context.device)
        self.model.fit(
            self.trajectories,
            (visible.z.amin(dim=0), visible.z.amax(dim=0)),
            config.training,
            checkpoints=config.checkpoints,
            facts={**asdict(config), "data": problem.dataset.content_hash()},
        )
        self.filter = fit_filter(problem, config.filter, context)

    def _build(self) -> None:
        """Make encoder and the untrained model."""
        config = self.config
        self.encoder = design_encoder(self.problem, config.encoder)
        self.model = TrajectoryModel(
            config.model, config.noise, config.sampling, self.encoder.n_features, self.context
        )

    def _keep(self, rows: Tensor) -> None:
        """Keep the trajectories through visible rows (N, H)."""
        self._rows = rows
        visible = encoded(self.problem, self.encoder)
        steps = torch.cat([visible.z[rows], visible.y[rows][:, :, None]], dim=2)  # (N, H, d + 1)
        self.trajectories = steps.to(self.context.device)

    @property
    def target(self) -> float:
        """Standardised score that designs are asked to have."""
        return best_visible(self.problem) + float(self.config.boost)

    def sample(self, n: int) -> Tensor:
        """Sample `n` trajectories, contexts included; (n, H, d), or (n, H, d + 1) with a channel of
        scores."""
        generator = torch.Generator(self.context.device).manual_seed(self.context.seed)
        return self.model.sample(self._contexts(n, generator), self.target, generator)

    def _contexts(self, n: int, generator: torch.Generator) -> Tensor:
        """Return trajectories (n, H, d + 1) whose first C steps are the last C of visible ones;
        zeros follow."""
        data = self.trajectories
        length = self.config.model.context_length
        ends = data[:, self.config.model.horizon - length :]  # (N, C, d + 1)
        if self.config.context_from == "best":
            rows = ends[:, :, -1].mean(dim=1).argsort(descending=True, stable=True)[:n]
        else:
            rows = torch.randint(len(data), (n,), generator=generator, device=data.device)
        rows = rows[torch.arange(n, device=data.device) % len(rows)]
        context = torch.zeros(n, *data.shape[1:], device=data.device)
        context[:, :length] = ends[rows]
        return context

    def propose(self, k: int) -> Proposals:
        """Sample trajectories and filter their new designs; the criterion is the prediction of the
        filter."""
        model = self.config.model
        d = self.encoder.n_features
        first = 0 if model.context == "none" else model.context_length
        n = max(self.config.n_samples, -(-k // (model.horizon - first)))
        sampled = self.sample(n)  # (n, H, C)
        self._show(sampled)
        last_first = sampled[:, first:, :d].flip(1)  # (n, H - C, d)
        new = last_first.transpose(0, 1).flatten(0, 1)
        x = self.encoder.designs(new)
        return filtered(self.problem, x, self.filter, k, self.context.seed)

    def _show(self, sampled: Tensor) -> None:
        watch = EstimateWatch(
            self.problem, self.encoder, "trajectory", self.target, self.context.progress
        )
        for step, place in enumerate(sampled[:, :, : self.encoder.n_features].unbind(dim=1)):
            watch(step, place)

    def write_state(self, folder: Path) -> None:
        """Write the rows of the trajectories, the denoiser and the surrogate of the filter."""
        save_weights(folder / ROWS_FILE, {"rows": self._rows.int()})
        self.model.save(folder)
        if self.filter is not None:
            self.filter.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the trajectories, the denoiser and the surrogate of the filter."""
        self._build()
        self._keep(load_weights(folder / ROWS_FILE)["rows"].long())
        self.model.load(folder)
        self.filter = None
        if self.config.filter is not None:
            self.filter = Fitted.load(folder, self.problem, "z_score", self.context)
