"""Controls: methods that learn nothing, or use a surrogate only as a filter.

They already reach many published maxima, so every table carries them: what a method is worth is what it adds to the
best of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import best_first, sampling_space
from mbo_gym.methods.base import save_config
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["MeanDesign", "Random", "RandomFiltered", "TopK", "TopKNoise"]


@dataclass(frozen=True)
class NoConfig:
    """No settings."""


class _Control:
    """What the controls share: the problem and a generator are all they keep."""

    Config: ClassVar[type[Any]] = NoConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    CONTROL: ClassVar[bool] = True
    criterion: np.ndarray

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Remember the problem and the seed."""
        self._problem, self._seed, self._device = problem, seed, device

    @property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self._seed)

    def save(self, folder: Path) -> None:
        """Write the settings; there is nothing else."""
        save_config(folder, self.config)


class Random(_Control):
    """Uniform random designs of the space (its infinite sides cut at the visible range), in no order."""

    def propose(self, k: int) -> np.ndarray:
        """Return `k` uniform designs."""
        self.criterion = np.zeros(k)
        return sampling_space(self._problem).sample(k, self._rng)


class TopK(_Control):
    """The best distinct visible designs, unchanged; where there are fewer than k, the best ones are repeated."""

    def propose(self, k: int) -> np.ndarray:
        """Return the `k` best visible designs, their visible score as the criterion."""
        rows = self._problem.dataset.top_rows(k)
        rows = rows[np.sort(np.arange(k) % len(rows))]
        self.criterion = self._problem.dataset.y[rows]
        return np.asarray(self._problem.dataset.x[rows])


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of `TopKNoise`.

    Args:
        noise: Continuous spaces: standard deviation of Gaussian noise in z-scored features. Categorical spaces:
            probability that a site is given a random letter.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 0, "noise")


class TopKNoise(_Control):
    """The best visible designs with random changes, in the order of the designs they come from."""

    Config = NoiseConfig

    def propose(self, k: int) -> np.ndarray:
        """Return `k` changed designs, the visible score of the unchanged one as the criterion."""
        problem, rng, noise = self._problem, self._rng, self.config.noise
        rows = problem.dataset.top_rows(k)
        rows = rows[np.sort(np.arange(k) % len(rows))]
        x = problem.dataset.x[rows]
        self.criterion = problem.dataset.y[rows]
        if isinstance(problem.space, CategoricalSpace):
            return np.where(rng.random(x.shape) < noise, problem.space.sample(k, rng), x).astype(np.int32)
        encoder = make_encoder(problem)
        z = encoder.encode(x)
        return encoder.decode(z + noise * rng.standard_normal(z.shape))


class MeanDesign(_Control):
    """One design, k times: the mean of the visible designs (categorical spaces: the commonest letter of each site)."""

    def propose(self, k: int) -> np.ndarray:
        """Return `k` copies of the mean design."""
        problem = self._problem
        self.criterion = np.zeros(k)
        if isinstance(problem.space, CategoricalSpace):
            letters = np.arange(problem.space.n_categories)
            counts = np.stack([(problem.dataset.x == a).sum(axis=0) for a in letters])  # (A, L)
            return np.tile(counts.argmax(axis=0).astype(np.int32), (k, 1))
        mean = problem.dataset.x.mean(axis=0, dtype=np.float64)
        return problem.space.clip(np.tile(mean, (k, 1)))


@dataclass(frozen=True)
class RandomFilteredConfig:
    """Settings of `RandomFiltered`.

    Args:
        n_candidates: Random designs drawn; at least k are.
        surrogate: Name of the surrogate that filters them.
    """

    n_candidates: int = 4096
    surrogate: str = "mlp"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_candidates")


class RandomFiltered(_Control):
    """The best of many uniform random designs by a plain surrogate: no search at all, and hard to beat on TFBind8."""

    Config = RandomFilteredConfig
    _surrogate: Surrogate

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate."""
        super().fit(problem, seed=seed, device=device, progress=progress)
        self._encoder = make_encoder(problem)
        surrogate = make_surrogate(self.config.surrogate)
        self._surrogate = fit_surrogate(problem, self._encoder, surrogate, seed=seed, device=device, progress=progress)

    def propose(self, k: int) -> np.ndarray:
        """Return the `k` random designs with the highest predictions."""
        x = sampling_space(self._problem).sample(max(k, self.config.n_candidates), self._rng)
        z = torch.from_numpy(self._encoder.encode(x)).to(self._device)
        best, self.criterion = best_first(self._surrogate, z, k)
        return self._encoder.decode(best.cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write the settings and the surrogate."""
        super().save(folder)
        self._surrogate.save(folder / "surrogate.safetensors")
