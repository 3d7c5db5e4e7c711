"""BO-qEI: Bayesian optimisation in which a surrogate answers in place of the measurement.

Algorithm (qEI: Wilson, Moriconi, Hutter and Deisenroth, 2017; as a baseline: design-baselines,
Trabucco et al., 2022):
    1. Fit an ensemble on the visible designs' features; f is its mean.
    2. D <- the 500 best visible designs and their scores.
    3. Repeat 10 times, or K / 32 times where that is more: fit a Gaussian process to D; find the 32
       designs, all together, of whose best one the expected improvement on the best label in D is
       highest, inside the box that the visible designs' features span; label them by f; add them to
       D.
    4. Return the K best distinct designs that were found, the highest label first.

Differs from the released program: only what was found is proposed. There the best of all of D is
(`proposals="all"`), which is mostly the best visible designs as they came, and the labels have
added noise of 0.1 (`label_noise`). The logarithm of the expected improvement is maximised (Ament et
al., 2023: the same designs, but gradients that do not vanish), from 4 starts in 50 steps where
there are 10 and 200, to save time; for the same reason the Gaussian process is fitted in 50 steps
from its last round's parameters. It is botorch's of today in double precision, on features in [0,
1] and labels at variance 1: a squared exponential kernel whose prior grows with d (Hvarfner et al.,
2024), there Matern 5/2 in single precision. The ensemble is `light_ensemble`, 2 x 128 with members
that differ in their first weights and the order of batches, which predicts held-out rows of TFBind8
no worse than the larger ones. `paper` has the
published settings: noise, all of D, qEI, starts and steps, 1 x 256 on bootstraps.

Where the designs found decode to fewer than K distinct ones, the best are repeated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.methods.ascent import SearchWatch, best_distinct
from mbo_gym.methods.surrogate_search import SurrogateSearch
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import predict_in_pieces

__all__ = ["BOqEI", "BOqEIConfig", "next_batch"]


@dataclass(frozen=True)
class BOqEIConfig:
    """Settings of BO-qEI.

    Args:
        surrogate: Name of the surrogate that labels.
        acquisition: ``qlogei``, the logarithm of the expected improvement, or ``qei``, itself.
        rounds: Batches of designs; as many more as K designs need.
        batch_size: q, designs in a batch.
        n_best: Best visible designs that the Gaussian process starts with.
        noise: Standard deviation of the noise that it expects in each score and label, in standard
            deviations of the visible scores.
        label_noise: Standard deviation of noise added to the labels, in the same unit.
        fit_steps: Most steps of the Gaussian process' fit in a round (L-BFGS-B).
        mc_samples: Samples of the posterior by which the acquisition is computed.
        raw_samples: Random batches from which the starts of its maximisation are picked.
        restarts: Number of these starts.
        acquisition_steps: Most steps of the maximisation (L-BFGS-B).
        proposals: ``new``: the best designs that were found; ``all``: of these and the visible ones
            it started with.
        encoder: Name of the encoder.
    """

    surrogate: str = "light_ensemble"
    acquisition: Literal["qlogei", "qei"] = "qlogei"
    rounds: int = 10
    batch_size: int = 32
    n_best: int = 500
    noise: float = 0.1
    label_noise: float = 0.0
    fit_steps: int = 50
    mc_samples: int = 128
    raw_samples: int = 64
    restarts: int = 4
    acquisition_steps: int = 50
    proposals: Literal["new", "all"] = "new"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "rounds", "batch_size", "n_best", "mc_samples", "restarts")
        require_at_least(self, 1, "fit_steps", "acquisition_steps")
        require_at_least(self, 0, "label_noise")
        require_at_least(self, self.restarts, "raw_samples")
        if not self.noise > 0:
            raise ValueError(
                f"noise must be above 0, got {self.noise!r}; the Gaussian process is singular "
                "without"
            )


class BOqEI(SurrogateSearch):
    """Bayesian optimisation with a surrogate's labels; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = BOqEIConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": BOqEIConfig(
            surrogate="bootstrap_ensemble_paper",
            acquisition="qei",
            label_noise=0.1,
            fit_steps=1000,
            raw_samples=128,
            restarts=10,
            acquisition_steps=200,
            proposals="all",
        )
    }

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate."""
        optional_import("botorch", "bo")  # a missing library shows now, not after the fit
        super().fit(problem, seed=seed, device=device, progress=progress)

    def propose(self, k: int) -> np.ndarray:
        """Search for batches of designs; return `k` designs, the highest label first."""
        data = self._problem.dataset
        rows = data.top_rows(self.config.n_best)
        z = torch.from_numpy(self._encoder.encode(data.x[rows])).to(self._device)
        score = torch.from_numpy(data.score_scale.standardise(data.y[rows])).to(self._device)
        rounds = max(self.config.rounds, -(-k // self.config.batch_size))
        watch = SearchWatch(self._problem, self._encoder, "bo_qei", rounds, self._progress)
        found, label = self._search(z, score, rounds, watch)
        x, labels = self._encoder.decode(found.cpu().numpy()), label.cpu().numpy()
        if self.config.proposals == "all":
            x, labels = (
                np.concatenate([data.x[rows], x]),
                np.concatenate([score.cpu().numpy(), labels]),
            )
        x, self.criterion = best_distinct(x, labels, k)
        watch(rounds, torch.from_numpy(self._encoder.encode(x)), torch.from_numpy(self.criterion))
        return x

    def _search(
        self, z: Tensor, score: Tensor, rounds: int, watch: SearchWatch
    ) -> tuple[Tensor, Tensor]:
        """Start from features z (n, d) and scores (n,); return what is found: features (N, d),
        labels (N,)."""
        config, progress, known = self.config, self._progress, len(z)
        generator = torch.Generator(z.device).manual_seed(self._seed)
        low, high = (
            torch.from_numpy(side).to(z.device)
            for side in feature_bounds(self._problem, self._encoder)
        )
        process = None
        for step in progress.track(range(rounds), "BO-qEI"):
            seed = int(torch.randint(1 << 30, (), generator=generator, device=z.device))
            unit, gain, process = next_batch((z - low) / (high - low), score, config, seed, process)
            new = torch.lerp(low, high, unit)
            label = predict_in_pieces(self._surrogate.predict, new)
            label = label + config.label_noise * torch.randn(
                label.shape, generator=generator, device=z.device
            )
            watch(step, new, label)
            z, score = torch.cat([z, new]), torch.cat([score, label])
            progress.metrics("bo_qei", step, acquisition=gain, best=float(score[known:].max()))
        return z[known:], score[known:]


def next_batch(
    unit: Tensor, y: Tensor, config: BOqEIConfig, seed: int, previous: Any = None
) -> tuple[Tensor, float, Any]:
    """Return the batch with the highest acquisition, (q, d) in [0, 1], this acquisition, and the
    Gaussian process.

    Args:
        unit: (n, d) features seen, in [0, 1].
        y: (n,) their scores or labels.
        config: The settings.
        seed: Of the posterior's samples and the starts.
        previous: The last round's Gaussian process, from whose parameters the fit starts.
    """
    botorch, gpytorch = optional_import("botorch", "bo"), optional_import("gpytorch", "bo")
    exact = gpytorch.settings.fast_computations(
        covar_root_decomposition=False, log_prob=False, solves=False
    )
    with exact, _own_randomness(seed, unit.device), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", botorch.exceptions.OptimizationWarning
        )  # to stop at the last step is meant
        warnings.simplefilter(
            "ignore", botorch.exceptions.warnings.NumericsWarning
        )  # so is qei where it is named
        process = _fitted_process(unit.double(), y.double(), config, previous)
        kinds = {"qei": "qExpectedImprovement", "qlogei": "qLogExpectedImprovement"}
        sampler = botorch.sampling.SobolQMCNormalSampler(torch.Size([config.mc_samples]), seed=seed)
        kind = getattr(botorch.acquisition, kinds[config.acquisition])
        corners = torch.stack([torch.zeros_like(unit[0]), torch.ones_like(unit[0])]).double()
        batch, value = botorch.optim.optimize_acqf(
            kind(process, best_f=y.double().max(), sampler=sampler),
            corners,
            q=config.batch_size,
            num_restarts=config.restarts,
            raw_samples=config.raw_samples,
            options={"maxiter": config.acquisition_steps, "batch_limit": 5},
            retry_on_optimization_warning=False,
        )
    return batch.to(unit).clamp(0, 1), float(value), process


def _fitted_process(unit: Tensor, y: Tensor, config: BOqEIConfig, previous: Any) -> Any:
    """Return a Gaussian process with a known noise, its other parameters fitted by marginal
    likelihood."""
    botorch, gpytorch = optional_import("botorch", "bo"), optional_import("gpytorch", "bo")
    process = botorch.models.SingleTaskGP(
        unit, y[:, None], torch.full_like(y, config.noise**2)[:, None]
    )
    if previous is not None:
        for parameter, value in zip(process.parameters(), previous.parameters(), strict=True):
            parameter.data.copy_(value.data)
    likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(process.likelihood, process)
    botorch.fit_gpytorch_mll(
        likelihood, optimizer_kwargs={"options": {"maxiter": config.fit_steps}}
    )
    return process


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which botorch draws from, and put them back afterwards."""
    gpus = (
        []
        if device.type == "cpu"
        else [torch.cuda.current_device() if device.index is None else device.index]
    )
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)
        yield
