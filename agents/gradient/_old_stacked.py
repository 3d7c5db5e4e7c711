"""The stacked MLP that NEMO, IOM, RoMA, ICT and tri-mentoring still derive from; goes with them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mbo_gym.nn.weights import linear_layers
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.surrogates.base import FitReport, Surrogate, held_out_report, hold_out
from mbo_gym.surrogates.mlp import EnsembleConfig, MLPConfig

__all__ = ["EnsembleSurrogate", "StackedMLP"]


class StackedMLP(Surrogate):
    """M perceptrons as one network of stacked weights (M, in, out); M = 1 is the plain one.

    What a subclass may change: `batch_loss`, by which it is trained; `before_update`, which may
    change the gradients; and `finish`, which comes after the last update.

    Args:
        config: Its settings.
        members: M.

    Attributes:
        n_outputs: Outputs of each member; a subclass that has more says in `outputs` which is the
            prediction.
    """

    n_outputs: ClassVar[int] = 1

    def __init__(self, config: MLPConfig, members: int) -> None:
        self.config, self._members = config, members
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        self._unit = torch.tensor(
            [0.0, 1.0]
        )  # mean and standard deviation of the scores it was fitted on

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,) by `batch_loss`; see `Surrogate.fit`."""
        started, progress = time.perf_counter(), progress or NullProgress()
        config, device = self.config, z.device
        generator = torch.Generator(device).manual_seed(seed)
        self._unit = torch.stack([y.mean(), y.std(correction=0).clamp_min(1e-12)])
        held, train = hold_out(len(z), config.held_out, generator)
        parameters = self._initialise(z.shape[1], generator)
        self._train(
            parameters, z[train], y[train], config.train_steps, generator, progress=progress
        )
        self.report = held_out_report(
            self,
            z[held],
            y[held],
            n_train=len(train),
            steps=config.train_steps,
            seconds=time.perf_counter() - started,
        )
        return self.report

    def refine(
        self, z: Tensor, y: Tensor, row_weight: Tensor, steps: int, generator: torch.Generator
    ) -> None:
        """Train a fitted surrogate on, each member on rows drawn by weight; the report stays that
        of `fit`.

        Args:
            z: (N, d) features, on the device it was fitted on.
            y: (N,) their scores, in the unit that `fit` was given.
            row_weight: (N,) what the rows' probabilities are proportional to, up to 2^24 rows.
            steps: Gradient updates; the learning rate falls from the config's to 0 once more.
            generator: Of the rows, on the same device.
        """
        parameters = [weight.requires_grad_() for weight in [*self._weights, *self._biases]]
        self._train(parameters, z, y, steps, generator, row_weight=row_weight)

    def _train(
        self,
        parameters: list[Tensor],
        z: Tensor,
        y: Tensor,
        steps: int,
        generator: torch.Generator,
        *,
        row_weight: Tensor | None = None,
        progress: Progress | None = None,
    ) -> None:
        config, progress = self.config, progress or NullProgress()
        target = (y - self._unit[0]) / self._unit[1]
        adam = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))
        batch, every = min(config.batch_size, len(z)), max(1, steps // 50)
        pool = torch.empty(self._members, 0, dtype=torch.int64, device=z.device)
        own = self._own_rows(len(z), generator) if row_weight is None else None
        for step in progress.track(range(steps), f"fitting {self.kind}"):
            if pool.shape[1] < batch:
                pool = self._order(y, generator, row_weight)
                pool = pool if own is None else own.gather(1, pool)
            rows, pool = pool[:, :batch], pool[:, batch:]
            loss = self.batch_loss(z[rows], target[rows], generator)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.before_update(parameters)
            adam.step()
            decay.step()
            if step % every == 0 or step == steps - 1:
                progress.metrics("surrogate", step, loss=float(loss.detach()) / self._members)
        for parameter in parameters:
            parameter.requires_grad_(False)
        self.finish(z, target)

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss () of one update, summed over the members; here the mean squared error.

        Args:
            z: (M, B, d) features that the members see.
            y: (M, B) their scores, at mean 0 and variance 1 over the rows that `fit` was given.
            generator: Source of randomness, on z's device.
        """
        return (self.outputs(z) - y).square().mean(dim=1).sum()

    def before_update(self, parameters: list[Tensor]) -> None:
        """Change the gradients that the parameters hold, before Adam takes its step; here
        nothing."""

    def finish(self, z: Tensor, y: Tensor) -> None:
        """Do what is left after the last update, with the rows trained on (n, d) and scores (n,) as
        in `batch_loss`."""

    def _order(
        self, y: Tensor, generator: torch.Generator, row_weight: Tensor | None = None
    ) -> Tensor:
        """Return the rows that the next updates see, (M, N), for scores (N,)."""
        n = len(y)
        if row_weight is not None:
            return row_weight.expand(self._members, -1).multinomial(
                n, replacement=True, generator=generator
            )
        if self.config.rank_weight is None:
            return torch.rand(self._members, n, generator=generator, device=y.device).argsort(dim=1)
        rank = y.argsort(descending=True, stable=True).argsort()
        weight: Tensor = 1 / (self.config.rank_weight * n + rank)
        return weight.multinomial(n, replacement=True, generator=generator).expand(
            self._members, -1
        )

    def _own_rows(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Return the rows of `n` that each member is fitted on, (M, n), or None for all of them."""
        return None

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return self._aggregate(self.predict_members(z))

    def predict_members(self, z: Tensor) -> Tensor:
        """Predict with each member: features (B, d) -> (M, B)."""
        return self._unit[0] + self._unit[1] * self.outputs(self._for_members(z))

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), the members' side by side; (B, M *
        width)."""
        return self._last_hidden(self._for_members(z)).transpose(0, 1).flatten(1)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases and the unit of the scores."""
        layers = {f"weight.{i}": w for i, w in enumerate(self._weights)} | {
            f"bias.{i}": b for i, b in enumerate(self._biases)
        }
        return {**layers, "unit": self._unit}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights, biases and the unit of the scores."""
        n = sum(key.startswith("weight.") for key in state)
        self._weights = [state[f"weight.{i}"] for i in range(n)]
        self._biases = [state[f"bias.{i}"] for i in range(n)]
        self._unit = state["unit"]

    def _aggregate(self, predictions: Tensor) -> Tensor:
        return predictions[0]

    def _initialise(self, n_features: int, generator: torch.Generator) -> list[Tensor]:
        sizes = [n_features, *[self.config.hidden] * self.config.layers, self.n_outputs]
        self._weights, self._biases = linear_layers(sizes, self._members, generator)
        return [*self._weights, *self._biases]

    def _for_members(self, z: Tensor) -> Tensor:
        if not self._weights:
            raise RuntimeError(
                f"this {self.kind} surrogate is not fitted; call fit(z, y, seed=...) first"
            )
        return z.expand(self._members, *z.shape)  # (M, B, d)

    def _last_hidden(self, z: Tensor) -> Tensor:
        for weight, bias in zip(self._weights[:-1], self._biases[:-1], strict=True):
            z = torch.baddbmm(bias, z, weight).relu()
        return z  # (M, B, width)

    def outputs(self, z: Tensor) -> Tensor:
        """Return the networks' outputs (M, B) at features (M, B, d), in the unit of
        `batch_loss`."""
        return torch.baddbmm(self._biases[-1], self._last_hidden(z), self._weights[-1]).squeeze(
            2
        )  # (M, B)


class EnsembleSurrogate(StackedMLP):
    """Several perceptrons, trained and evaluated together as one batched network.

    Args:
        config: Its settings.
    """

    kind: ClassVar[str] = "ensemble"
    Config: ClassVar[type[EnsembleConfig]] = EnsembleConfig

    def __init__(self, config: EnsembleConfig | None = None) -> None:
        self._how, self._bootstrap = (
            (config or EnsembleConfig()).aggregate,
            (config or EnsembleConfig()).bootstrap,
        )
        super().__init__(config or EnsembleConfig(), members=(config or EnsembleConfig()).members)

    def spread(self, z: Tensor) -> Tensor:
        """Return the standard deviation of the members' predictions at features (B, d); (B,)."""
        return self.predict_members(z).std(dim=0, correction=0)

    def _own_rows(self, n: int, generator: torch.Generator) -> Tensor | None:
        if not self._bootstrap:
            return None
        return torch.randint(n, (self._members, n), generator=generator, device=generator.device)

    def _aggregate(self, predictions: Tensor) -> Tensor:
        return predictions.mean(dim=0) if self._how == "mean" else predictions.amin(dim=0)
