"""RaM: gradient ascent on a surrogate that is trained to rank designs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient.ascent import ORDER, AscentConfig, ascend_from_best
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.nn.mlp import BatchedMLP
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.training import train
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, predict_in_pieces, require_fitted
from mbo_gym.surrogates.mlp import MLPConfig, row_order
from mbo_gym.surrogates.network import ScoreNetwork, Split

__all__ = [
    "RaMListNet",
    "RaMListNetConfig",
    "RaMRankCosine",
    "RaMRankCosineConfig",
    "RankingConfig",
    "RankingSurrogate",
    "decay",
    "listnet",
    "rankcosine",
]


def listnet(f: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of the softmaxes of scores and outputs (1, m) over a list; ().

    With weights (1, m), each item's part of the target counts by its weight.
    """
    target = y.softmax(dim=1)
    if weight is not None:
        target = weight * target
        target = target / target.sum(dim=1, keepdim=True)
    return -(target * f.log_softmax(dim=1)).sum()


def rankcosine(f: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return one minus the cosine of scores and outputs (1, m) of a list; ().

    With weights (1, m), the product and the lengths count each item by its weight.
    """
    if weight is not None:
        y = weight.sqrt() * y
        f = weight.sqrt() * f
    return 1 - torch.cosine_similarity(y, f, dim=1).sum()


def decay(network: BatchedMLP, weight_decay: float) -> Tensor:
    """Return c / 2 times the sum of all squared weights and biases; ()."""
    squares = torch.stack([layer.square().sum() for layer in network.layers()])
    return weight_decay / 2 * squares.sum()


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "listnet": listnet,
    "rankcosine": rankcosine,
}


@dataclass(frozen=True)
class RankingConfig(MLPConfig):
    """Settings of a ranking network; those of the network are in `MLPConfig`, whose `batch_size` is
    the list's length.

    Args:
        loss: ``listnet`` or ``rankcosine``.
        weight_decay: c: c / 2 times the sum of all squared weights is added to the loss.
    """

    loss: Literal["listnet", "rankcosine"] = "listnet"
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "weight_decay")


class RankingSurrogate(Surrogate):
    """A multilayer perceptron trained by the order of lists; see `RaMListNet`.

    It predicts in the unit of the scores that it was given, so that it can stand wherever a
    surrogate is asked for. Its predictions order designs and are no scores (`predicts_scores`).

    Args:
        config: Settings.

    Example:
        >>> surrogate = RankingSurrogate(RankingConfig(hidden=16, train_steps=20))
        >>> report = surrogate.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> surrogate.predict(torch.rand(5, 3)).shape
        torch.Size([5])
    """

    kind: ClassVar[str] = "ram"
    weighs_rows: ClassVar[bool] = True
    predicts_scores: ClassVar[bool] = False
    Config: ClassVar[type[Any]] = RankingConfig
    config: RankingConfig

    def __init__(self, config: RankingConfig | None = None) -> None:
        self.config = config or RankingConfig()
        self._model: ScoreNetwork | None = None

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        config = self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        network = BatchedMLP.draw(config.sizes(z.shape[1]), 1, generator)
        ranking_loss = LOSSES[config.loss]

        def loss(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            f = network.outputs(data.z[rows])  # (1, m), one list
            fit = ranking_loss(f, data.y[rows], data.weight_of(rows))
            total = fit + decay(network, config.weight_decay)
            return total, {"loss": total}

        train(
            network,
            loss,
            RowPool(row_order(config, data.y, members=1), config.batch_size),
            config.training(),
            seed=generator,
            device=z.device,
            progress=progress,
            stage="surrogate",
            description=f"fitting {self.kind}",
        )
        f = predict_in_pieces(lambda part: network.outputs(part)[0], data.z)  # (n,)
        network.rescale(f.mean(), f.std(correction=0).clamp_min(1e-12))
        self._model = ScoreNetwork(network, data.unit)
        self.report = data.report(self, config.train_steps)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return self._fitted.scores(z)[0]

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d); (B, width)."""
        return self._fitted.hidden(z)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases and the unit of the scores."""
        return self._fitted.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._model = ScoreNetwork.from_state(state)

    @property
    def _fitted(self) -> ScoreNetwork:
        return require_fitted(self._model, self.kind)


_ADAM = AscentConfig(optimiser="adam")


@dataclass(frozen=True)
class RaMListNetConfig:
    """Settings of `RaMListNet`.

    Args:
        surrogate: Settings of the ranking network.
        ascent: Settings of the search.
        encoder: Name of the encoder.
    """

    surrogate: RankingConfig = RankingConfig(loss="listnet")
    ascent: AscentConfig = _ADAM
    encoder: str = "z_score"


@dataclass(frozen=True)
class RaMRankCosineConfig:
    """Settings of `RaMRankCosine`.

    Args:
        surrogate: Settings of the ranking network.
        ascent: Settings of the search.
        encoder: Name of the encoder.
    """

    surrogate: RankingConfig = RankingConfig(loss="rankcosine")
    ascent: AscentConfig = _ADAM
    encoder: str = "z_score"


_REFERENCE = (
    "Tan et al. 2025, Offline Model-Based Optimization by Learning to Rank, ICLR, arXiv 2410.11502"
)
_METRICS = {
    "surrogate/loss": "ranking loss of a list, with the weight decay",
    "ascent/prediction": "mean prediction of the designs at a step, in standard deviations of the "
    "visible scores",
    "ascent/diverged": "designs that became inf or NaN and were reset to their start",
}
_DIFFERENCES = (
    Difference(
        "2 x 2048 units, lists of 1,000, 200 passes through 10,000 lists",
        "2 x 256 units, lists of 256, 3,000 updates of one list; preset `paper`: 2 x 2048 units, "
        "10,000 lists of 1,000, each seen once",
        "fits in seconds on a CPU",
    ),
    Difference(
        "all lists are made at the start",
        "each update draws a list of its own",
        "no lists are held in memory",
    ),
    Difference(
        "a constant learning rate of 3e-4",
        "a learning rate that decays from 1e-3 to 0 along a cosine; preset `paper`: from 3e-4 "
        "along a cosine",
        "one training recipe for all surrogates",
    ),
    Difference(
        "the best network on validation lists is kept",
        "the last network is kept",
        "one training recipe for all surrogates",
    ),
    Difference(
        "the prediction is the standardised output",
        "the prediction is the standardised output in the unit of the scores",
        "the network can serve other methods as a surrogate",
    ),
    ORDER,
)
_PAPER: Mapping[str, Any] = {
    "hidden": 2048,
    "batch_size": 1000,
    "train_steps": 10_000,
    "learning_rate": 3e-4,
}
_LIGHT: Mapping[str, Any] = {"hidden": 16, "batch_size": 32, "train_steps": 20}
_BOXED = AscentConfig(optimiser="adam", bounds="data")
_SHORT = AscentConfig(optimiser="adam", steps=20)


class RaMListNet(Method):
    """RaM with ListNet: offline optimization by learning to rank (Tan et al., ICLR 2025).

    Trains a surrogate f to order lists of designs, not to predict their scores, then climbs it.

    Algorithm:
        1. draw lists of m visible designs and update f down, with y the standardised scores of
           a list, and weight decay,
               - sum_i softmax(y)_i log softmax(f)_i   (softmaxes over the list)
        2. standardise f by mean and deviation of its outputs on the rows that it was trained on
        3. climb f from the K best visible designs by Adam: 200 steps of 1e-3, on categorical spaces
           100 of 1e-1; propose the ends, the highest f first

    Args:
        config: Settings; preset `paper` has the published network and lists.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("ram_listnet", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Tan et al. 2025, Offline Model-Based Optimization by Learning to Rank, ICLR, arXiv
        2410.11502.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="RaM-ListNet: learning to rank by the cross-entropy of softmaxes",
        paper=_REFERENCE,
        differences=_DIFFERENCES,
        metrics=_METRICS,
        equations=(r"\min_f \; -\sum_i \mathrm{softmax}(y)_i \log \mathrm{softmax}(f)_i",),
    )
    Config: ClassVar[type[Any]] = RaMListNetConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": RaMListNetConfig(RankingConfig(loss="listnet", **_PAPER)),
        "boxed": RaMListNetConfig(ascent=_BOXED),
        "light": RaMListNetConfig(RankingConfig(loss="listnet", **_LIGHT), _SHORT),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ranking network."""
        self.start(problem, context)
        surrogate = RankingSurrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        return ascend_from_best(self.fitted, self.config.ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the network."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the network."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)


class RaMRankCosine(Method):
    """RaM with RankCosine: offline optimization by learning to rank (Tan et al., ICLR 2025).

    Trains a surrogate f to order lists of designs, as `RaMListNet` does, by another loss.

    Algorithm:
        1. draw lists of m visible designs and update f down, with y the standardised scores of
           a list, and weight decay,
               1 - cos(y, f)   (vectors of m entries)
        2. standardise f by mean and deviation of its outputs on the rows that it was trained on
        3. climb f from the K best visible designs by Adam: 200 steps of 1e-3, on categorical spaces
           100 of 1e-1; propose the ends, the highest f first

    Args:
        config: Settings; preset `paper` has the published network and lists.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("ram_rankcosine", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Tan et al. 2025, Offline Model-Based Optimization by Learning to Rank, ICLR, arXiv
        2410.11502.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="RaM-RankCosine: learning to rank by the cosine of scores and outputs",
        paper=_REFERENCE,
        differences=_DIFFERENCES,
        metrics=_METRICS,
        equations=(r"\min_f \; 1 - \cos(y, f)",),
    )
    Config: ClassVar[type[Any]] = RaMRankCosineConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": RaMRankCosineConfig(RankingConfig(loss="rankcosine", **_PAPER)),
        "boxed": RaMRankCosineConfig(ascent=_BOXED),
        "light": RaMRankCosineConfig(RankingConfig(loss="rankcosine", **_LIGHT), _SHORT),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ranking network."""
        self.start(problem, context)
        surrogate = RankingSurrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        return ascend_from_best(self.fitted, self.config.ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the network."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the network."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)
