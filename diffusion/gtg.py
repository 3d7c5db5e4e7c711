"""GTG: a diffusion model of trajectories towards better designs, sampled beyond where the visible
ones end.

Algorithm (Yun et al., Guided Trajectory Generation, arXiv 2407.01624):
    1. From the visible designs make trajectories that go from neighbour to neighbour and do not
       fall far below their best score so far (`mbo_gym.trajectories.samplers.local_improving`).
    2. Train a diffusion model of trajectories, H steps of features and score, given scores (dropped
       now and then) and given the first steps.
    3. Take the last C steps of visible trajectories as the context of new ones; sample the H - C
       steps that follow, under scores above all that were seen, with classifier-free guidance.
    4. Of all designs sampled, propose the K that an ensemble of surrogates predicts to be the best.

What the model is given of scores (`condition`) and of the first steps (`context`) is said in
`TrajectoryModelConfig`.

Presets: `released` is the released program as it runs: no guidance, clean context of trajectories
drawn at random, half the starting noise, noise of each step by its variance in place of its
deviation, a filter whose members see good designs more often. `paper` has the same sizes with what
the paper says: guidance 1.2 in its terms on the mean score, context with noise of the level,
Euler-Maruyama steps. `released_short` is `released` with a small network and a short training, for
a laptop. The names that end in ``_categorical`` have the settings for sequences, those without for
continuous designs. Scores are standardised here; there they are mapped to [-1, 1].

Differs from the paper by default: trajectories go to any neighbour, whatever its score, since with
the paper's `eps` nearly all steps lie just below the best score and the model learns nothing of
what makes a score high; each step has its own score as condition; scores are no channel, since with
one guidance fades as soon as the channel shows a high score; contexts are the best ends;
trajectories are 16 designs long in place of 64, and the network is smaller and on one level, which
learns more in the time a laptop has. Reads `OfflineProblem.score_range` as the unit of `eps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.models.trajectories import TrajectoryModel, TrajectoryModelConfig
from diffusion.proposals import EstimateWatch, design_encoder
from mbo_gym.methods.base import Resources, save_config
from mbo_gym.methods.filters import fitted_filter, order_candidates
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.trajectories.samplers import Distance, local_improving

__all__ = ["GTG", "TRAJECTORIES", "GTGConfig", "Trajectories", "trajectory_settings"]


@dataclass(frozen=True)
class Trajectories:
    """The paper's trajectories for a task: how many, nearest candidates, and how far below the best
    a step may go."""

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
    """Return the paper's settings for a task; for other tasks TFBind8's on sequences,
    Superconductor's on the rest."""
    other = "TFBind8" if isinstance(problem.space, CategoricalSpace) else "Superconductor"
    return TRAJECTORIES.get(problem.task_id.partition("-")[0], TRAJECTORIES[other])


@dataclass(frozen=True)
class GTGConfig(TrajectoryModelConfig):
    """Settings of GTG; those of the model are in `TrajectoryModelConfig`.

    Args:
        n_trajectories: Trajectories made of the visible designs; None for the paper's number, see
            `TRAJECTORIES`.
        k: Nearest candidates that a step is drawn from; None for the paper's.
        eps: How far a step may fall below the best score so far, as a share of the full data's
            range; 1 lets it go to any neighbour, None is the paper's.
        p: Trajectories start in the best `p` percent.
        distance: Between designs, see `local_improving`; None for Hamming or z-scored Euclidean.
        context_from: Trajectories whose ends become contexts: the ``best`` by their mean score over
            these steps, or any at ``random`` (the released program's).
        boost: How far the scores asked for lie above the best visible one, in standard deviations.
        n_samples: Trajectories sampled.
        filter: Name of the surrogate that chooses among all designs sampled; None: the first K,
            last steps first.
    """

    n_trajectories: int | None = 4000
    k: int | None = None
    eps: float | None = 1.0
    p: float = 100.0
    distance: Distance | None = None
    context_from: Literal["best", "random"] = "best"
    boost: float = 2.0
    n_samples: int = 1024
    filter: str | None = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "n_trajectories", "k", "n_samples")
        require_at_least(self, 0, "eps")


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
    horizon=64,
    context_length=32,
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
_RELEASED_CATEGORICAL = replace(
    _RELEASED, train_steps=10_000, learning_rate=2e-4, distance=None, width=32
)
_PAPER: dict[str, Any] = {
    "score_channel": True,
    "score_weight": 10.0,
    "condition": "mean",
    "context": "renoised",
    "guidance": 0.2,
    "sampler": "euler_maruyama",
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

    Attributes:
        trajectories: (N, H, d + 1) features and standardised scores of the visible designs it was
            trained on.
    """

    Config: ClassVar[type[Any]] = GTGConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": replace(_RELEASED, **_PAPER, start_scale=1.0, released_noise=False),
        "paper_categorical": replace(
            _RELEASED_CATEGORICAL, **_PAPER, start_scale=1.0, released_noise=False
        ),
        "released": _RELEASED,
        "released_categorical": _RELEASED_CATEGORICAL,
        "released_short": replace(_RELEASED, **_SHORT),
        "released_short_categorical": replace(_RELEASED_CATEGORICAL, **_SHORT),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)
    criterion: np.ndarray
    trajectories: Tensor

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
        self.trajectories = torch.cat([made.z, made.y[:, :, None]], dim=2).to(
            device
        )  # (N, H, d + 1)
        self._best = float(scale.standardise(problem.dataset.y.max(keepdims=True))[0])
        z = torch.from_numpy(self._encoder.encode(problem.dataset.x)).to(device)
        self._model = TrajectoryModel(config, z.shape[1], seed=seed, device=device)
        box = z.amin(dim=0), z.amax(dim=0)
        self._model.fit(
            self.trajectories, box, data=problem.dataset.content_hash(), progress=progress
        )
        name = config.filter
        self._filter = fitted_filter(problem, name, seed=seed, device=device, progress=progress)

    def sample(self, n: int) -> Tensor:
        """Sample `n` trajectories, contexts included; (n, H, d), or (n, H, d + 1) with a channel of
        scores."""
        generator = torch.Generator(self._device).manual_seed(self._seed)
        return self._model.sample(
            self._contexts(n, generator), self._best + self.config.boost, generator
        )

    def _contexts(self, n: int, generator: torch.Generator) -> Tensor:
        """Return trajectories (n, H, d + 1) whose first C steps are the last C of visible ones;
        zeros follow."""
        config, data = self.config, self.trajectories
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
        """Sample trajectories and filter their new designs; return `k`, the highest prediction
        first."""
        config = self.config
        first = 0 if config.context == "none" else config.context_length
        n = max(config.n_samples, -(-k // (config.horizon - first)))
        sampled = self.sample(n)
        self._show(sampled)
        new = (
            sampled[:, first:, : self._encoder.n_features].flip(1).transpose(0, 1).flatten(0, 1)
        )  # last steps first
        x, self.criterion = order_candidates(
            self._encoder.decode(new.cpu().numpy()), self._filter, k
        )
        return x

    def _show(self, sampled: Tensor) -> None:
        watch = EstimateWatch(
            self._problem,
            self._encoder,
            "trajectory",
            self._best + self.config.boost,
            self._progress,
        )
        for step, place in enumerate(sampled[:, :, : self._encoder.n_features].unbind(dim=1)):
            watch(step, place)

    def save(self, folder: Path) -> None:
        """Write the settings and the denoiser."""
        save_config(folder, self.config)
        self._model.save(folder)
