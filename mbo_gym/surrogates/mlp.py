"""Multilayer perceptrons as surrogates: one, or an ensemble as one batched network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.nn.mlp import BatchedMLP
from mbo_gym.nn.rows import Order, RowPool, among, permuted_by_member, shared, weighted
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, require_fitted
from mbo_gym.surrogates.network import ScoreNetwork, Split

__all__ = [
    "EnsembleConfig",
    "EnsembleSurrogate",
    "MLPConfig",
    "MLPSurrogate",
    "rank_weights",
    "row_order",
    "squared_error",
    "train_members",
]

__getattr__ = forwarded(__name__)  # names that have moved


@dataclass(frozen=True)
class MLPConfig:
    """Settings of an MLP surrogate; the defaults fit in seconds on two cores.

    Args:
        hidden: Width of each hidden layer.
        layers: Number of hidden layers, ReLU.
        train_steps: Gradient updates. Counted in steps, not epochs, so that the time does not grow
            with the data.
        batch_size: Rows an update.
        learning_rate: Adam's learning rate, decayed to 0 along a cosine.
        held_out: Share of the rows kept back for the report, in [0, 1).
        rank_weight: c > 0: a row is drawn with a weight of 1 / (c N + rank), rank 0 for the best
            score, and all members see the same rows (GTG's proxies, with .01); None: each member
            goes through all rows in orders of its own.
    """

    hidden: int = 256
    layers: int = 2
    train_steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-3
    held_out: float = 0.1
    rank_weight: float | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "hidden", "layers", "train_steps", "batch_size")
        require_at_least(self, 0, "learning_rate", "held_out", "rank_weight")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        if self.rank_weight == 0:
            raise ValueError("rank_weight must be above 0, or None for every row alike")

    def sizes(self, n_features: int, n_outputs: int = 1) -> list[int]:
        """Return the network's inputs, width of each hidden layer, and outputs."""
        return [n_features, *[self.hidden] * self.layers, n_outputs]

    def training(self) -> TrainingConfig:
        """Return the settings of the training."""
        return TrainingConfig.plain(self.train_steps, self.batch_size, self.learning_rate)


@dataclass(frozen=True)
class EnsembleConfig(MLPConfig):
    """Settings of an ensemble of MLPs.

    Args:
        members: M networks that differ in initialisation and in the order of their batches.
        aggregate: The prediction is the members' ``"mean"`` or their ``"min"``.
        bootstrap: Each member is fitted on as many rows as there are, drawn with replacement for it
            alone.
    """

    members: int = 5
    aggregate: Literal["mean", "min"] = "mean"
    bootstrap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "members")
        if self.bootstrap and self.rank_weight is not None:
            raise ValueError(
                "bootstrap and rank_weight both say which rows a member sees; set only one of them"
            )


def squared_error(outputs: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared error of outputs (M, B) at scores (M, B), summed over members.

    With weights (M, B), each row's error counts by its weight.
    """
    error = (outputs - y).square()
    if weight is not None:
        error = weight * error
    return error.mean(dim=1).sum()


def rank_weights(y: Tensor, flatness: float) -> Tensor:
    """Return the weight 1 / (c N + rank) of each row, rank 0 for the best score; (N,).

    Args:
        y: (N,) scores.
        flatness: c.
    """
    rank = y.argsort(descending=True, stable=True).argsort()
    return 1 / (flatness * len(y) + rank)


def row_order(config: MLPConfig, y: Tensor, members: int) -> Order:
    """Return the order, by the config's `rank_weight`, in which members see rows of scores (n,)."""
    if config.rank_weight is None:
        return permuted_by_member(len(y), members)
    return shared(weighted(rank_weights(y, config.rank_weight)), members)


def train_members(
    network: BatchedMLP,
    z: Tensor,
    y: Tensor,
    order: Order,
    config: TrainingConfig,
    generator: torch.Generator,
    *,
    kind: str,
    progress: Progress | None = None,
    weight: Tensor | None = None,
) -> None:
    """Train the members of a network by their squared errors.

    Args:
        network: Network with one output.
        z: (n, d) features.
        y: (n,) scores at mean 0 and variance 1.
        order: Draws the rows (M, n) that the members see.
        config: Settings.
        generator: Source of the rows.
        kind: Kind of the surrogate, for the progress bar.
        progress: Gets the loss.
        weight: (n,) weights of the rows, or None where all count alike.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        own = None if weight is None else weight[rows]
        error = squared_error(network.outputs(z[rows]), y[rows], own)
        return error, {"loss": error / network.members}

    train(
        network,
        loss,
        RowPool(order, config.batch_size),
        config,
        seed=generator,
        device=z.device,
        progress=progress,
        stage="surrogate",
        description=f"fitting {kind}",
    )


class MLPSurrogate(Surrogate):
    """One multilayer perceptron, fitted by its squared error.

    Args:
        config: Settings.

    Example:
        >>> surrogate = MLPSurrogate(MLPConfig(hidden=16, train_steps=20))
        >>> report = surrogate.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> surrogate.predict(torch.rand(5, 3)).shape
        torch.Size([5])
    """

    kind: ClassVar[str] = "mlp"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[MLPConfig]] = MLPConfig

    def __init__(self, config: MLPConfig | None = None) -> None:
        self.config = config or MLPConfig()
        self._model: ScoreNetwork | None = None

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        config = self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        network = BatchedMLP.draw(config.sizes(z.shape[1]), 1, generator)
        order = row_order(config, data.y, members=1)
        train_members(
            network,
            data.z,
            data.y,
            order,
            config.training(),
            generator,
            kind=self.kind,
            progress=progress,
            weight=data.weight,
        )
        self._model = ScoreNetwork(network, data.unit)
        self.report = data.report(self, config.train_steps)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return self.predict_members(z)[0]

    def predict_members(self, z: Tensor) -> Tensor:
        """Predict with the one network: features (B, d) -> (1, B)."""
        return self.model.scores(z)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d); (B, width)."""
        return self.model.hidden(z)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases and the unit of the scores."""
        return self.model.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights, biases and the unit of the scores."""
        self._model = ScoreNetwork.from_state(state)

    @property
    def model(self) -> ScoreNetwork:
        """Fitted network and unit of the scores."""
        return require_fitted(self._model, self.kind)


class EnsembleSurrogate(Surrogate):
    """Several multilayer perceptrons, fitted and evaluated together as one batched network.

    Args:
        config: Settings.

    Example:
        >>> ensemble = EnsembleSurrogate(EnsembleConfig(members=3, hidden=16, train_steps=20))
        >>> report = ensemble.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> ensemble.predict_members(torch.rand(5, 3)).shape
        torch.Size([3, 5])
    """

    kind: ClassVar[str] = "ensemble"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[EnsembleConfig]] = EnsembleConfig

    def __init__(self, config: EnsembleConfig | None = None) -> None:
        self.config = config or EnsembleConfig()
        self._model: ScoreNetwork | None = None

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        config = self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        network = BatchedMLP.draw(config.sizes(z.shape[1]), config.members, generator)
        order = row_order(config, data.y, config.members)
        if config.bootstrap:
            size = (config.members, len(data.z))
            own = torch.randint(size[1], size, generator=generator, device=z.device)
            order = among(own, order)
        train_members(
            network,
            data.z,
            data.y,
            order,
            config.training(),
            generator,
            kind=self.kind,
            progress=progress,
            weight=data.weight,
        )
        self._model = ScoreNetwork(network, data.unit)
        self.report = data.report(self, config.train_steps)
        return self.report

    def refine(
        self, z: Tensor, y: Tensor, row_weight: Tensor, steps: int, generator: torch.Generator
    ) -> None:
        """Train the fitted members on, each on rows drawn by weight; the report stays that of
        `fit`.

        Args:
            z: (N, d) features, on the device it was fitted on.
            y: (N,) their scores, in the unit that `fit` was given.
            row_weight: (N,) numbers that the rows' probabilities are proportional to, up to 2^24
                rows.
            steps: Gradient updates; the learning rate falls from the config's to 0 once more.
            generator: Source of the rows, on the same device.
        """
        model = self.model
        config = self.config
        if steps == 0:
            return
        train_members(
            model.network,
            z,
            (y - model.unit[0]) / model.unit[1],
            weighted(row_weight.expand(model.network.members, -1)),
            TrainingConfig.plain(steps, config.batch_size, config.learning_rate),
            generator,
            kind=self.kind,
        )

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d) by the members' mean or minimum; (B,)."""
        members = self.predict_members(z)
        return members.mean(dim=0) if self.config.aggregate == "mean" else members.amin(dim=0)

    def predict_members(self, z: Tensor) -> Tensor:
        """Predict with each member: features (B, d) -> (M, B)."""
        return self.model.scores(z)

    def spread(self, z: Tensor) -> Tensor:
        """Return the standard deviation of the members' predictions at features (B, d); (B,)."""
        return self.predict_members(z).std(dim=0, correction=0)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), the members' side by side; (B, M *
        width)."""
        return self.model.hidden(z)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases and the unit of the scores."""
        return self.model.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights, biases and the unit of the scores."""
        self._model = ScoreNetwork.from_state(state)

    @property
    def model(self) -> ScoreNetwork:
        """Fitted network and unit of the scores."""
        return require_fitted(self._model, self.kind)
