"""GTG: a diffusion model of trajectories towards better designs, sampled beyond where the visible ones end.

Algorithm (Yun et al., Guided Trajectory Generation, arXiv 2407.01624):
    1. From the visible designs make trajectories that go from neighbour to neighbour and do not fall far below their
       best score so far (`mbo_gym.trajectories.local_improving`).
    2. Train a diffusion model of trajectories, H steps of features and score, given scores (dropped now and then) and
       given the first steps.
    3. Take the last C steps of visible trajectories as the context of new ones; sample the H - C steps that follow,
       under scores above all that were seen, with classifier-free guidance.
    4. Of all designs sampled, propose the K that an ensemble of surrogates predicts to be the best.

`condition` says what scores the model is given: the ``mean`` over the trajectory (the paper's), each step's own
(``profile``), or ``none`` (what every configuration of the released program does: its guidance is never switched on).
`context` says how the model knows the first steps: ``trained`` (they stand clean beside the noised ones, in training
for a length drawn anew for each trajectory), ``renoised`` (in sampling alone, with the noise of the level),
``clean`` (the released program: clean values among noised ones, as the model never saw them), or ``none``.

Presets: `released` is the released program as it runs: no guidance, clean context of trajectories drawn at random, half
the starting noise, noise of each step by its variance in place of its deviation, a filter whose members see good
designs more often. `paper` has the same sizes with what the paper says: guidance 1.2 in its terms on the mean score,
context with noise of the level, plain steps. `released_short` is `released` with a small network and a short training,
for a laptop. The names that end in ``_categorical`` have the settings for sequences, those without for continuous
designs. Scores are standardised here; there they are mapped to [-1, 1].

Differs from the paper by default: trajectories go to any neighbour, whatever its score, since with the paper's `eps`
nearly all steps lie just below the best score and the model learns nothing of what makes a score high; each step has
its own score as condition; scores are no channel, since with one guidance fades as soon as the channel shows a high
score; contexts are the best ends; the network is smaller. Reads `OfflineProblem.score_range` as the unit of `eps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.config import SCHEDULES, DiffusionConfig
from diffusion.denoiser import Denoiser
from diffusion.guidance import clipped, conditional, inpainted, unconditional
from diffusion.losses import denoising_loss
from diffusion.networks import TemporalUNet, seeded
from diffusion.proposals import EstimateWatch, design_encoder, fitted_filter, order_candidates
from diffusion.samplers import Denoise, ddim, start_noise
from diffusion.schedule import levels
from diffusion.training import train
from mbo_gym.data.weights import save_weights
from mbo_gym.method import Resources, save_config
from mbo_gym.progress import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.space import CategoricalSpace
from mbo_gym.task import OfflineProblem
from mbo_gym.trajectories import Distance, local_improving

__all__ = ["GTG", "TRAJECTORIES", "GTGConfig", "Trajectories", "trajectory_settings"]


@dataclass(frozen=True)
class Trajectories:
    """The paper's trajectories for a task: how many, nearest candidates, and how far below the best a step may go."""

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
"""By the first part of the task's id."""


def trajectory_settings(problem: OfflineProblem) -> Trajectories:
    """Return the paper's settings for a task; for other tasks TFBind8's on sequences, Superconductor's on the rest."""
    other = "TFBind8" if isinstance(problem.space, CategoricalSpace) else "Superconductor"
    return TRAJECTORIES.get(problem.task_id.partition("-")[0], TRAJECTORIES[other])


@dataclass(frozen=True)
class GTGConfig(DiffusionConfig):
    """Settings of GTG.

    Args:
        n_trajectories: Trajectories made of the visible designs; None for the paper's number, see `TRAJECTORIES`.
        horizon: H, designs of a trajectory.
        k: Nearest candidates that a step is drawn from; None for the paper's.
        eps: How far a step may fall below the best score so far, as a share of the full data's range; 1 lets it go to
            any neighbour, None is the paper's.
        p: Trajectories start in the best `p` percent.
        distance: Between designs, see `local_improving`; None for Hamming or z-scored Euclidean.
        width: Channels of the network's finest level.
        multipliers: Of the width, for each coarser level.
        score_channel: Whether scores are a channel of the trajectories beside the features, sampled with them (the
            paper's). Guidance then fades as noise goes: once a high score stands in the channel, the model without
            condition sees it too. `condition` "none" needs it for nothing, ``mean`` and ``profile`` do without.
        score_weight: Weight of the score's channel in the loss; features have 1.
        condition: What scores the model is given, see the module's docstring.
        context: How the model knows the first steps, likewise.
        context_length: C, below the horizon.
        context_from: Trajectories whose ends become contexts: the ``best`` by their mean score over these steps, or any
            at ``random`` (the released program's).
        start_scale: Factor on the noise that sampling starts from.
        released_noise: Sample in ancestral steps with half the noise times its own deviation (the released program's).
        boost: How far the scores asked for lie above the best visible one, in standard deviations.
        n_samples: Trajectories sampled.
        filter: Name of the surrogate that chooses among all designs sampled; None: the first K, last steps first.
    """

    drop_condition: float = 0.25
    train_steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 1e-3
    n_trajectories: int | None = 4000
    horizon: int = 64
    k: int | None = None
    eps: float | None = 1.0
    p: float = 100.0
    distance: Distance | None = None
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    score_channel: bool = False
    score_weight: float = 1.0
    condition: Literal["profile", "mean", "none"] = "profile"
    context: Literal["trained", "renoised", "clean", "none"] = "trained"
    context_length: int = 32
    context_from: Literal["best", "random"] = "best"
    start_scale: float = 1.0
    released_noise: bool = False
    boost: float = 2.0
    n_samples: int = 512
    filter: str | None = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "n_trajectories", "horizon", "k", "width", "n_samples")
        require_at_least(self, 0, "eps", "score_weight", "context_length")
        if self.context_length >= self.horizon:
            raise ValueError(f"context_length must be below {self.horizon=}, got {self.context_length}")


_RELEASED = GTGConfig(
    encoder="min_max",
    parameterisation="eps",
    schedule="cosine",
    draw="schedule",
    train_steps=50_000,
    batch_size=256,
    learning_rate=1e-4,
    warm_up=0,
    decay="none",
    ema=0.995,
    clip=0.0,
    sample_steps=200,
    n_trajectories=None,
    eps=None,
    p=80.0,
    distance="raw",
    width=128,
    multipliers=(1, 4, 8),
    score_channel=True,
    score_weight=10.0,
    condition="none",
    context="clean",
    context_from="random",
    n_samples=128,
    start_scale=0.5,
    released_noise=True,
    filter="gtg_proxy",
)
_RELEASED_CATEGORICAL = replace(_RELEASED, train_steps=10_000, learning_rate=2e-4, distance=None, width=32)
_PAPER: dict[str, Any] = {
    "score_channel": True,
    "score_weight": 10.0,
    "condition": "mean",
    "context": "renoised",
    "guidance": 0.2,
}
_SHORT: dict[str, Any] = {
    "train_steps": 1000,
    "batch_size": 64,
    "width": 32,
    "multipliers": (1, 2),
    "filter": "light_gtg_proxy",
}


class GTG:
    """Guided trajectory generation; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = GTGConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": replace(_RELEASED, **_PAPER, start_scale=1.0, released_noise=False),
        "paper_categorical": replace(_RELEASED_CATEGORICAL, **_PAPER, start_scale=1.0, released_noise=False),
        "released": _RELEASED,
        "released_categorical": _RELEASED_CATEGORICAL,
        "released_short": replace(_RELEASED, **_SHORT),
        "released_short_categorical": replace(_RELEASED_CATEGORICAL, **_SHORT),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)
    criterion: np.ndarray

    def __init__(self, config: GTGConfig | None = None) -> None:
        self.config = config or GTGConfig()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Make trajectories, train the model of them, and fit the filter."""
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        config, scale = self.config, problem.dataset.score_scale
        self._encoder = design_encoder(problem, config.encoder)
        paper = trajectory_settings(problem)
        made = local_improving(
            problem,
            self._encoder,
            config.p,
            paper.n if config.n_trajectories is None else config.n_trajectories,
            config.horizon - 1,
            torch.Generator().manual_seed(seed),
            k=paper.k if config.k is None else config.k,
            eps=paper.eps if config.eps is None else config.eps,
            distance=config.distance,
        )
        self._trajectories = torch.cat([made.z, made.y[:, :, None]], dim=2).to(device)  # (N, H, d + 1)
        self._best = float(scale.standardise(problem.dataset.y.max(keepdims=True))[0])
        z = torch.from_numpy(self._encoder.encode(problem.dataset.x))
        self._box = z.amin(dim=0).to(device), z.amax(dim=0).to(device)
        self._train()
        name = config.filter
        self._filter = fitted_filter(problem, name, seed=seed, device=device, progress=progress)

    def _train(self) -> None:
        config, score = self.config, self._trajectories[:, :, -1:]
        data = self._trajectories if config.score_channel else self._trajectories[:, :, :-1]
        channels = data.shape[2]
        with seeded(self._seed):
            network = TemporalUNet(
                channels,
                width=config.width,
                multipliers=config.multipliers,
                n_conditions=0 if config.condition == "none" else 2 if config.flag else 1,
                n_extra=channels + 1 if config.context == "trained" else 0,
            )
        self._denoiser = Denoiser(
            network,
            config.parameterisation,
            n_conditions=0 if config.condition == "none" else 1,
            flag=config.flag,
            per_step=config.condition == "profile",
        ).to(self._device)
        weight = torch.ones(channels, device=self._device)
        if config.score_channel:
            weight[-1] = config.score_weight

        def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
            x, n = data[rows], len(rows)
            keep = None
            if config.condition != "none":
                keep = torch.rand(n, generator=generator, device=x.device) >= config.drop_condition
            known, extra = None, None
            if config.context == "trained":
                length = torch.randint(config.context_length + 1, (n,), generator=generator, device=x.device)
                known = (torch.arange(config.horizon, device=x.device) < length[:, None])[:, :, None]
                extra = _context_channels(x, known)
            return denoising_loss(
                self._denoiser,
                x,
                config.draw_levels(n, generator),
                torch.randn(x.shape, generator=generator, device=x.device),
                condition=self._condition(score[rows]),
                keep=keep,
                extra=extra,
                known=known,
                channel_weight=weight,
            )

        train(
            self._denoiser,
            loss,
            len(data),
            config.training(),
            seed=self._seed,
            device=self._device,
            progress=self._progress,
            checkpoints=None if config.checkpoints is None else Path(config.checkpoints),
            facts={**asdict(config), "data": self._problem.dataset.content_hash()},
        )

    def _condition(self, score: Tensor) -> Tensor | None:
        """Return what the model is given of scores (B, H, 1)."""
        if self.config.condition == "none":
            return None
        return score if self.config.condition == "profile" else score.mean(dim=1)

    def sample(self, n: int) -> Tensor:
        """Sample `n` trajectories, contexts included; (n, H, d), or (n, H, d + 1) with a channel of scores."""
        config, generator = self.config, torch.Generator(self._device).manual_seed(self._seed)
        context = self._contexts(n, generator)
        known = torch.arange(config.horizon, device=self._device)[:, None] < config.context_length
        if config.context == "none":
            known = torch.zeros_like(known)
        score = torch.where(known, context[:, :, -1:], self._best + config.boost)
        if not config.score_channel:
            context = context[:, :, :-1]
        rungs = levels(SCHEDULES[config.schedule], config.sample_steps)
        noise = torch.randn(context.shape, generator=generator, device=self._device)
        z = start_noise(tuple(context.shape), float(rungs[0]), generator, scale=config.start_scale)
        denoise = self._guided(self._condition(score), context, known, noise)
        if config.released_noise:
            out = ddim(denoise, z, rungs, generator, eta=1.0, temperature=_released_temperature)
        else:
            out = config.sample(denoise, z, rungs, generator)
        return context.where(known, out)

    def _guided(self, condition: Tensor | None, context: Tensor, known: Tensor, noise: Tensor) -> Denoise:
        """Return the denoiser with guidance and context."""
        config = self.config
        extra = _context_channels(context, known.expand(*context.shape[:2], 1)) if config.context == "trained" else None
        if condition is None:
            denoise = unconditional(self._denoiser, extra=extra)
        else:
            denoise = conditional(self._denoiser, condition, weight=config.guidance, extra=extra)
        if config.bounds == "data":
            low, high = self._box
            free = low.new_full((context.shape[2] - len(low),), torch.inf)  # the score's channel
            denoise = clipped(denoise, torch.cat([low, -free]), torch.cat([high, free]))
        if config.context == "trained":
            return lambda z, s: context.where(known, denoise(context.where(known, z), s))
        if config.context == "clean":
            return lambda z, s: denoise((context * (1 + s**2).sqrt()).where(known, z), s)
        if config.context == "renoised":
            return inpainted(denoise, context, known, noise)
        return denoise

    def _contexts(self, n: int, generator: torch.Generator) -> Tensor:
        """Return trajectories (n, H, d + 1) whose first C steps are the last C of visible ones; zeros follow."""
        config, data = self.config, self._trajectories
        ends = data[:, config.horizon - config.context_length :]
        if config.context_from == "best":
            rows = ends[:, :, -1].mean(dim=1).argsort(descending=True, stable=True)[:n]
        else:
            rows = torch.randint(len(data), (n,), generator=generator, device=data.device)
        rows = rows[torch.arange(n, device=data.device) % len(rows)]
        context = torch.zeros(n, *data.shape[1:], device=data.device)
        context[:, : config.context_length] = ends[rows]
        return context

    def propose(self, k: int) -> np.ndarray:
        """Sample trajectories and filter their new designs; return `k`, the highest prediction first."""
        config = self.config
        first = 0 if config.context == "none" else config.context_length
        n = max(config.n_samples, -(-k // (config.horizon - first)))
        sampled = self.sample(n)
        self._show(sampled)
        new = sampled[:, first:, : self._encoder.n_features].flip(1).transpose(0, 1).flatten(0, 1)  # last steps first
        x, self.criterion = order_candidates(self._encoder.decode(new.cpu().numpy()), self._filter, k)
        return x

    def _show(self, sampled: Tensor) -> None:
        watch = EstimateWatch(
            self._problem, self._encoder, "trajectory", self._best + self.config.boost, self._progress
        )
        for step, place in enumerate(sampled[:, :, : self._encoder.n_features].unbind(dim=1)):
            watch(step, place)

    def save(self, folder: Path) -> None:
        """Write the settings and the denoiser."""
        save_config(folder, self.config)
        save_weights(folder / "denoiser.safetensors", self._denoiser.state_dict())


def _released_temperature(deviation: Tensor, level: Tensor) -> Tensor:
    """Return half the deviation that a step's noise has in the variance-preserving process."""
    return 0.5 * deviation / (1 + level**2).sqrt()


def _context_channels(x: Tensor, known: Tensor) -> Tensor:
    """Return the clean values of known steps, zeros elsewhere, and which they are; (B, H, C + 1)."""
    return torch.cat([x * known, known.to(x)], dim=2)
