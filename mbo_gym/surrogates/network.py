"""Parts of surrogates that are networks: the split of the rows, and a network with the unit of the
scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mbo_gym.nn.mlp import Activation, BatchedMLP
from mbo_gym.surrogates.base import FitReport, Surrogate, held_out_report, hold_out

__all__ = ["ScoreNetwork", "Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to train on and rows held out for the report.

    Args:
        z: (n, d) features trained on.
        y: (n,) their scores, at mean 0 and variance 1 over all rows.
        held_z: (H, d) features held out.
        held_y: (H,) their scores, in the unit that `fit` was given.
        unit: (2,) mean and standard deviation of all scores.
        started: When the fit started.
        weight: (n,) weights of the rows trained on, or None where all count alike.
    """

    z: Tensor
    y: Tensor
    held_z: Tensor
    held_y: Tensor
    unit: Tensor
    started: float
    weight: Tensor | None = None

    @classmethod
    def draw(
        cls,
        z: Tensor,
        y: Tensor,
        share: float,
        generator: torch.Generator,
        weight: Tensor | None = None,
    ) -> Split:
        """Hold out a share of the rows (N, d), (N,) with weights (N,), drawn by `hold_out`."""
        started = time.perf_counter()
        unit = torch.stack([y.mean(), y.std(correction=0).clamp_min(1e-12)])
        held, rest = hold_out(len(z), share, generator)
        standard = (y[rest] - unit[0]) / unit[1]
        kept = None if weight is None else weight[rest]
        return cls(z[rest], standard, z[held], y[held], unit, started, kept)

    def weight_of(self, rows: Tensor) -> Tensor | None:
        """Return the weights of the rows of a batch, in its shape; None where all count alike."""
        return None if self.weight is None else self.weight[rows]

    def report(self, surrogate: Surrogate, steps: int) -> FitReport:
        """Judge a surrogate, trained by a number of updates, by the rows held out."""
        return held_out_report(
            surrogate,
            self.held_z,
            self.held_y,
            n_train=len(self.z),
            steps=steps,
            seconds=time.perf_counter() - self.started,
        )


class ScoreNetwork:
    """A network that was trained on scores of mean 0 and variance 1, and their unit.

    Args:
        network: Network with one output.
        unit: (2,) mean and standard deviation of the scores.
    """

    def __init__(self, network: BatchedMLP, unit: Tensor) -> None:
        self.network = network
        self.unit = unit

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], activation: Activation = torch.relu
    ) -> ScoreNetwork:
        """Return what `state` described."""
        return cls(BatchedMLP.from_state(state, activation), state["unit"])

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases and the unit of the scores."""
        return {**self.network.state_dict(), "unit": self.unit}

    def scores(self, z: Tensor) -> Tensor:
        """Predict with each member, in the unit of the scores: features (B, d) -> (M, B)."""
        return self.unit[0] + self.unit[1] * self.network.outputs(z)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), the members' side by side; (B, M *
        width)."""
        return self.network.hidden(z).transpose(0, 1).flatten(1)
