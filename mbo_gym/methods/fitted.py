"""An encoder and a surrogate fitted on a problem: the start of most searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.methods.ascent import SearchWatch, best_distinct, best_first, start_features
from mbo_gym.methods.base import Context, CriterionUnit, Proposals
from mbo_gym.methods.distinct import distinct_proposals
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import Surrogate, predict_in_pieces
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.registry import load_surrogate

__all__ = ["LIGHT_SURROGATE", "Bounds", "Fitted"]

LIGHT_SURROGATE = Choice("mlp", {"hidden": 16, "train_steps": 40, "batch_size": 64})
"""Surrogate that is fitted within a second, for the presets ``light``."""

Bounds: TypeAlias = Literal["none", "data"]
"""Box that a search stays in: none, or the one that the visible designs span."""

SURROGATE_FILE = "surrogate.safetensors"


@dataclass(frozen=True, eq=False)
class Fitted:
    """An encoder and a surrogate fitted on a problem.

    Args:
        problem: Problem of the fit.
        encoder: Encoder fitted on it.
        surrogate: Surrogate fitted on it.
        context: Seed, device and progress of the fit.
    """

    problem: OfflineProblem
    encoder: Encoder
    surrogate: Surrogate
    context: Context

    @classmethod
    def fit(
        cls,
        problem: OfflineProblem,
        surrogate: Surrogate,
        encoder: str,
        context: Context,
        rows: np.ndarray | None = None,
        *,
        climbed: bool = False,
    ) -> Fitted:
        """Fit the named encoder and an unfitted surrogate on a problem.

        Args:
            problem: Problem of the fit.
            surrogate: Unfitted surrogate.
            encoder: Name of the encoder, which is fitted on all rows.
            context: Seed, device and progress.
            rows: (n,) visible rows that the surrogate is fitted on; None for all.
            climbed: Whether the search needs the surrogate's gradient.

        Raises:
            NotDifferentiable: It needs one, and the surrogate has none.
        """
        if climbed:
            surrogate.for_ascent()
        made = make_encoder(problem, encoder)
        fit_surrogate(
            problem,
            made,
            surrogate,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
            rows=rows,
        )
        return cls(problem, made, surrogate, context)

    @classmethod
    def load(
        cls,
        folder: Path,
        problem: OfflineProblem,
        encoder: str,
        context: Context,
        surrogate: Surrogate | None = None,
    ) -> Fitted:
        """Read what `save` wrote.

        Args:
            folder: Folder of the method.
            problem: Problem it was fitted on.
            encoder: Name of the encoder.
            context: Seed, device and progress.
            surrogate: Unfitted surrogate that takes over the saved state; None for a registered
                one of the saved kind.
        """
        path = folder / SURROGATE_FILE
        if surrogate is None:
            surrogate = load_surrogate(path)
        else:
            surrogate.read(path)
        surrogate.to(context.device)
        return cls(problem, make_encoder(problem, encoder), surrogate, context)

    def save(self, folder: Path) -> None:
        """Write the surrogate; the encoder is refitted from the problem."""
        self.surrogate.save(folder / SURROGATE_FILE)

    def starts(self, k: int) -> Tensor:
        """Return the features (k, d) of the `k` best visible designs."""
        generator = torch.Generator().manual_seed(self.context.seed)
        return start_features(self.problem, self.encoder, k, generator).to(self.context.device)

    def box(self, bounds: Bounds) -> tuple[Tensor, Tensor] | None:
        """Return the lowest and highest features (d,), (d,) of a box, or None."""
        if bounds == "none":
            return None
        low, high = feature_bounds(self.problem, self.encoder)
        device = self.context.device
        return torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)

    def watch(self, stage: str, steps: int) -> SearchWatch:
        """Return a watch that shows a search of a number of steps to the progress."""
        return SearchWatch(self.problem, self.encoder, stage, steps, self.context.progress)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the standardised scores (N,) of native designs (N, *shape)."""
        z = self.encoder.features(x, self.context.device)
        return predict_in_pieces(self.surrogate.predict, z).cpu().numpy()

    def best(self, z: Tensor, k: int) -> Proposals:
        """Propose the `k` designs of features (N, d) with the highest predictions.

        On mixed spaces they are distinct, and predicted as the designs that they decode to.
        """
        if isinstance(self.problem.space, MixedSpace):
            return self.distinct(self.encoder.designs(z), k)
        best, prediction = best_first(self.surrogate, z, k)
        return Proposals(self.encoder.designs(best), prediction, unit=self.unit)

    @property
    def unit(self) -> CriterionUnit:
        """Unit of the predictions."""
        return "deviations" if self.surrogate.predicts_scores else "own"

    def distinct(self, x: np.ndarray, k: int, value: np.ndarray | None = None) -> Proposals:
        """Propose the `k` best distinct designs.

        Args:
            x: (N, *shape) designs.
            k: Number of designs; where there are fewer distinct ones, see `best_distinct`, and on
                mixed spaces `distinct_proposals`.
            value: (N,) what orders them on pure spaces, in the unit of predictions; None for
                predictions. On mixed spaces the predictions of the designs count, not those of the
                features they were decoded from.
        """
        if isinstance(self.problem.space, MixedSpace):
            seed = self.context.seed
            return distinct_proposals(
                self.problem, x, k, seed=seed, predict=self.predict, unit=self.unit
            )
        best, value = best_distinct(x, self.predict(x) if value is None else value, k)
        return Proposals(best, value, unit=self.unit)
