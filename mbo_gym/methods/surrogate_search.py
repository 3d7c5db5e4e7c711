"""Base of methods that fit one surrogate and search on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.methods.base import save_config
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["SurrogateSearch"]


class SurrogateSearch:
    """What the methods share that fit a surrogate and search on it; a subclass has a `Config` and
    writes `propose`.

    Args:
        config: Its settings, with the fields ``surrogate`` (unless `new_surrogate` is written),
            ``encoder`` and ``bounds`` (where `box` is called).
    """

    Config: ClassVar[type[Any]]
    PRESETS: ClassVar[Mapping[str, Any]] = {}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    criterion: np.ndarray
    _surrogate: Surrogate

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()

    def new_surrogate(self) -> Surrogate:
        """Return the surrogate that `fit` fits, unfitted; here the named one."""
        return make_surrogate(self.config.surrogate)

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate."""
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        self._encoder = make_encoder(problem, self.config.encoder)
        self._surrogate = fit_surrogate(
            problem,
            self._encoder,
            self.new_surrogate(),
            seed=seed,
            device=device,
            progress=progress,
        )

    def box(self) -> tuple[Tensor, Tensor] | None:
        """Return the lowest and highest features (d,), (d,) that the search is clipped to, if it
        is."""
        if self.config.bounds == "none":
            return None
        low, high = feature_bounds(self._problem, self._encoder)
        return torch.from_numpy(low).to(self._device), torch.from_numpy(high).to(self._device)

    def save(self, folder: Path) -> None:
        """Write the settings and the surrogate."""
        save_config(folder, self.config)
        self._surrogate.save(folder / "surrogate.safetensors")
