"""NEMO: gradient ascent on a score expected under normalised maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.gradient.ascent import ORDER, AscentConfig, moved_or_climbed
from mbo_gym._moved import forwarded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import GradientAscent, SearchWatch, best_rows
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import Bounds, Fitted
from mbo_gym.nn.mlp import BatchedMLP
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.trainer import Trainer, TrainingConfig
from mbo_gym.nn.training import train
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, predict_in_pieces, require_fitted
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, row_order
from mbo_gym.surrogates.network import Split

__all__ = ["NEMO", "BinModels", "NEMOConfig", "NEMOSurrogate", "NEMOSurrogateConfig"]

__getattr__ = forwarded(__name__)  # names that have moved

_FAR = 1e3
"""End of the outermost bins, in standard deviations."""


@dataclass(frozen=True)
class NEMOSurrogateConfig(MLPConfig):
    """Settings of NEMO's surrogate; `MLPConfig`'s are those of the training before the queries.

    Args:
        bins: K, number of bins and of models.
        query_weight: Weight of the queries' mean log-likelihood beside the minibatch's.
        query_rate: Learning rate of the models while the queries climb.
        designs: Number of queries: the best distinct visible designs, or all where there are fewer.
        steps: Steps of the queries, and of the models with them.
        step_size: Size of a query's step; None for 0.01 sqrt(d).
        bounds: ``none``, or ``data``: after each step, features are clipped to the box that the
            visible designs span.
    """

    hidden: int = 128
    bins: int = 20
    query_weight: float = 0.1
    query_rate: float = 3e-4
    designs: int = 256
    steps: int = 500
    step_size: float | None = None
    bounds: Bounds = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 2, "bins")
        require_at_least(self, 1, "designs")
        require_at_least(self, 0, "query_weight", "query_rate", "steps", "step_size")

    def step(self, n_features: int) -> float:
        """Return the size of a query's step with d features."""
        return 0.01 * n_features**0.5 if self.step_size is None else self.step_size


class BinModels(nn.Module):
    """Models p_m(bin | z): discretised logistic distributions around the outputs of a network.

    The mass of the logistic distribution in a bin is its probability, so the gradient does not
    fade between bins.

    Args:
        network: Network with one output and M members.
        log_scale: (M, 1) logarithm of each model's spread.
        edges: (K + 1,) edges of the bins, lowest first; the outermost bins reach further out.
    """

    def __init__(self, network: BatchedMLP, log_scale: Tensor, edges: Tensor) -> None:
        super().__init__()
        self.network = network
        self.log_scale = nn.Parameter(log_scale, requires_grad=False)
        self.edges = edges

    @property
    def values(self) -> Tensor:
        """(K,) value of each bin, its middle."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    def bin_of(self, y: Tensor) -> Tensor:
        """Return the bins, 0 to K - 1, that scores lie in; same shape, int64."""
        return torch.bucketize(y, self.edges[1:-1])

    def log_likelihood(self, z: Tensor, label: Tensor) -> Tensor:
        """Return log p_m(label | z) of each model, (M, B).

        Args:
            z: (M, B, d) features, or (B, d) for all models alike.
            label: (M, B) bins, or (M, 1) for one bin a model, int64.
        """
        mean = self.network.outputs(z)
        scale = self.log_scale.exp()
        edges = functional.pad(self.edges[1:-1], (1, 0), value=-_FAR)
        edges = functional.pad(edges, (0, 1), value=_FAR)
        below = edges[label]
        above = edges[label + 1]
        # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u)),
        # which cancels nowhere
        inside = functional.logsigmoid((above - mean) / scale) + functional.logsigmoid(
            (mean - below) / scale
        )
        return inside + torch.log(-torch.expm1((below - above) / scale))

    def normalised(self, z: Tensor) -> Tensor:
        """Return the normalised likelihood p(k | z) of each bin at features (B, d).

        The result is (K, B), and each column sums to 1; model k gives the likelihood of bin k.
        """
        own = torch.arange(self.network.members, device=z.device).unsqueeze(1)
        return self.log_likelihood(z, own).softmax(dim=0)

    def expected(self, z: Tensor) -> Tensor:
        """Return the expected value sum_k p(k | z) v_k at features (B, d); (B,)."""
        return self.values @ self.normalised(z)

    def copies(self, n: int) -> BinModels:
        """Return `n` copies of the models."""
        log_scale = self.log_scale.detach().repeat(n, 1)
        return BinModels(self.network.copies(n), log_scale, self.edges)


def query_loss(
    models: BinModels,
    z: Tensor,
    label: Tensor,
    queries: Tensor,
    weight: float,
    row_weight: Tensor | None = None,
) -> Tensor:
    """Return the loss () of K models on a minibatch and on the queries, summed over models.

    Args:
        models: K models.
        z: (B, d) features of the minibatch.
        label: (B,) bins of its scores.
        queries: (n, d) features, which model k labels with bin k.
        weight: Weight of the queries.
        row_weight: (B,) weights of the rows of the minibatch, or None where all count alike.
    """
    bins = models.network.members
    own = torch.arange(bins, device=z.device).unsqueeze(1)
    data = models.log_likelihood(z, label.expand(bins, -1))  # (K, B)
    if row_weight is not None:
        data = row_weight * data
    asked = models.log_likelihood(queries, own)  # (K, n)
    return -(data.mean(dim=1) + weight * asked.mean(dim=1)).sum()


class NEMOSurrogate(Surrogate):
    """The score expected under the normalised likelihood, with the queries that climbed it.

    Args:
        config: Settings.
        watch: Called with the step, the queries' features (n, d) and predictions (n,) before each
            step and after the last; None for no call.

    Attributes:
        designs: (n, d) features of the queries.

    Example:
        >>> config = NEMOSurrogateConfig(hidden=16, train_steps=20, designs=10, bins=5, steps=5)
        >>> surrogate = NEMOSurrogate(config)
        >>> report = surrogate.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> surrogate.designs.shape
        torch.Size([10, 3])
    """

    kind: ClassVar[str] = "nemo"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[NEMOSurrogateConfig]] = NEMOSurrogateConfig
    designs: Tensor

    def __init__(
        self,
        config: NEMOSurrogateConfig | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> None:
        self.config: NEMOSurrogateConfig = config or NEMOSurrogateConfig()
        self._watch = watch
        self._models: BinModels | None = None
        self._unit = torch.tensor([0.0, 1.0])

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Train on features (N, d) and scores (N,), and let the best of them climb."""
        config = self.config
        progress = progress or NullProgress()
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        edges = _edges((y - data.unit[0]) / data.unit[1], config.bins)
        one = _trained(config, data, edges, generator, progress)
        models = one.copies(config.bins)
        self._models = models
        self._unit = data.unit

        box = (z.amin(dim=0), z.amax(dim=0)) if config.bounds == "data" else None
        label = models.bin_of(data.y)
        rate = TrainingConfig.plain(
            config.steps + 1, config.batch_size, config.query_rate, decay="none"
        )
        trainer = Trainer(models, rate, stage="queries", progress=progress)
        generator = torch.Generator(z.device).manual_seed(seed)

        def learn(queries: Tensor) -> None:  # line 3
            size = (config.batch_size,)
            rows = torch.randint(len(data.z), size, generator=generator, device=z.device)
            loss = query_loss(
                models,
                data.z[rows],
                label[rows],
                queries,
                config.query_weight,
                data.weight_of(rows),
            )
            trainer.update(loss, loss=loss)

        starts = z[best_rows(z, y, config.designs)]  # line 1: Q, (n, d)
        queries = GradientAscent(starts, "plain", config.step(z.shape[1]), box)
        for step in progress.track(range(config.steps), "gradient ascent"):
            prediction, gradient = self.value_and_gradient(queries.z)  # line 4
            self._show(step, queries.z, prediction)
            learn(queries.z)
            queries.step(gradient)  # line 5
        self.designs, diverged = queries.ends()
        if diverged:
            progress.metrics("queries", config.steps, diverged=diverged)
        self._show(config.steps, self.designs, predict_in_pieces(self.predict, self.designs))
        learn(self.designs)
        trainer.finish()
        self.report = data.report(self, config.train_steps)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Return the expected scores of features (B, d); (B,)."""
        return self._unit[0] + self._unit[1] * self.models.expected(z)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), the models' side by side."""
        return self.models.network.hidden(z).transpose(0, 1).flatten(1)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the unit of the scores, spreads, bins and queries."""
        models = self.models
        return {
            **models.network.state_dict(),
            "unit": self._unit,
            "log_scale": models.log_scale.detach(),
            "edges": models.edges,
            "designs": self.designs,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        network = BatchedMLP.from_state(state)
        self._models = BinModels(network, state["log_scale"], state["edges"])
        self._unit = state["unit"]
        self.designs = state["designs"]

    @property
    def models(self) -> BinModels:
        """The fitted models, one a bin."""
        return require_fitted(self._models, self.kind)

    def _show(self, step: int, queries: Tensor, prediction: Tensor) -> None:
        if self._watch is not None:
            self._watch(step, queries, prediction)


def _edges(y: Tensor, bins: int) -> Tensor:
    """Return the edges (K + 1,) of bins of equal width over standardised scores (N,)."""
    low = float(y.min())
    high = max(float(y.max()), low + 1e-3)  # where all scores are equal
    return torch.linspace(low, high, bins + 1, device=y.device)


def _trained(
    config: NEMOSurrogateConfig,
    data: Split,
    edges: Tensor,
    generator: torch.Generator,
    progress: Progress,
) -> BinModels:
    """Return one model that is trained on the data alone."""
    network = BatchedMLP.draw(config.sizes(data.z.shape[1]), 1, generator)
    model = BinModels(network, torch.zeros(1, 1, device=data.z.device), edges)
    label = model.bin_of(data.y)

    def loss(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        likely = model.log_likelihood(data.z[rows], label[rows])
        weight = data.weight_of(rows)
        if weight is not None:
            likely = weight * likely
        value = -likely.mean(dim=1).sum()
        return value, {"loss": value}

    train(
        model,
        loss,
        RowPool(row_order(config, data.y, 1), config.batch_size),
        config.training(),
        seed=generator,
        device=data.z.device,
        progress=progress,
        stage="surrogate",
        description="fitting nemo",
    )
    return model


@dataclass(frozen=True)
class NEMOConfig:
    """Settings of NEMO.

    Args:
        surrogate: Settings of the models and of the queries.
        encoder: Name of the encoder.
    """

    surrogate: NEMOSurrogateConfig = NEMOSurrogateConfig()
    encoder: str = "z_score"


class NEMO(Method):
    """NEMO: normalised maximum likelihood for offline optimization (Fu and Levine, ICLR 2021).

    Where the data say little about a design, each model assigns it its own label, and the expected
    value returns to the middle of the scores; so the search stays near the data.

    Algorithm:
        The scores are cut into bins 1 .. K with values v_k. Each bin has its own model
        p_k(bin | x).

        1. Q <- the best visible designs: the queries
        2. repeat `steps` times:
        3.     each model k takes a step up the likelihood of a minibatch of the data, and of the
               queries with label k
        4.     p(k | x) = p_k(k | x) / sum_j p_j(j | x)
               (conditional normalised maximum likelihood)
        5.     x <- x + step_size * grad_x sum_k p(k | x) v_k   for every query x
        6. propose Q, the highest expected value first

    The gradient of line 5 is that of the models before line 3, so it lags by one step. Where more
    designs are asked for than there are queries, the next best visible designs climb the finished
    models. Where fewer are asked for, the best of the queries are proposed.

    Args:
        config: Settings; preset `paper` has the largest sizes reported second-hand.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("nemo", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Fu and Levine 2021, Offline Model-Based Optimization via Normalized Maximum Likelihood
        Estimation, arXiv 2102.07970.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="NEMO: normalised maximum likelihood estimation for model-based optimization",
        paper="Fu and Levine 2021, Offline Model-Based Optimization via Normalized Maximum "
        "Likelihood Estimation, ICLR, arXiv 2102.07970",
        differences=(
            Difference(
                "20 to 40 bins, networks of 2 x 64 to 2 x 256 units (second-hand; no public "
                "program)",
                "20 bins, 2 x 128 units, 3,000 updates before the queries; preset `paper`: 40 "
                "bins, 2 x 256 units, 11,600 updates",
                "the default has to end within a minute on a CPU",
            ),
            Difference(
                "learning rates, steps and weight of the queries; known from no public program",
                "a rate that decays from 1e-3 to 0 along a cosine before the queries; with them a "
                "constant 3e-4, 500 steps and a weight of 0.1, also in preset `paper`",
                "our choice",
            ),
            Difference(
                "bins over the scores; their place is known from no public program",
                "bins of equal width over the visible scores; the outermost reach to infinity",
                "our choice",
            ),
            Difference(
                "a model a bin; their initial weights are known from no public program",
                "all K models are copies of one that was first trained on the data alone",
                "so they differ only by the labels they learned for the queries",
            ),
            Difference(
                "models see data and queries; how these are shared is known from no public program",
                "all models see the same minibatches and share all queries, which weigh "
                "`query_weight` beside a minibatch",
                "the models are one batched network",
            ),
            Difference(
                "a discretised logistic distribution; its spread is known from no public program",
                "the spread is one learned number a model",
                "our choice",
            ),
            Difference(
                "the models take their step before the queries move along their gradient",
                "the gradient is taken before the models take their step",
                "one ascent for all methods; the gradient lags by one step",
            ),
            replace(ORDER, here="proposals are ordered by the expected value"),
        ),
        metrics={
            "surrogate/loss": "negative log-likelihood of the bins on a batch, of the first model",
            "queries/loss": "negative log-likelihood of batch and queries, summed over the models",
            "queries/prediction": "mean expected value of the queries before a step, in standard "
            "deviations of the visible scores",
            "queries/diverged": "queries that became inf or NaN and were reset to their start",
            "ascent/prediction": "mean prediction of the designs beyond the queries",
            "ascent/diverged": "of these designs, those that became inf or NaN and were reset",
        },
        equations=(
            r"p(k \mid x) = \frac{p_k(k \mid x)}{\sum_j p_j(j \mid x)}",
            r"x \leftarrow x + \eta \nabla_x \sum_k p(k \mid x) v_k",
        ),
    )
    Config: ClassVar[type[Any]] = NEMOConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": NEMOConfig(  # 50 epochs of TFBind8
            NEMOSurrogateConfig(hidden=256, bins=40, train_steps=11_600, batch_size=128)
        ),
        "boxed": NEMOConfig(NEMOSurrogateConfig(bounds="data")),
        "light": NEMOConfig(
            NEMOSurrogateConfig(
                hidden=16, train_steps=20, batch_size=32, bins=5, designs=20, steps=20
            )
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Train the models, and let the queries climb them."""
        self.start(problem, context)
        config = self.config.surrogate
        encoder = make_encoder(problem, self.config.encoder)
        watch = SearchWatch(problem, encoder, "queries", config.steps, context.progress)
        self.surrogate = NEMOSurrogate(config, watch)
        fit_surrogate(
            problem,
            encoder,
            self.surrogate,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )
        self.fitted = Fitted(problem, encoder, self.surrogate, context)

    def propose(self, k: int) -> Proposals:
        """Return the best of the queries; more designs climb the finished models."""
        config = self.config.surrogate
        size = config.step(self.fitted.encoder.n_features)
        ascent = AscentConfig("plain", config.steps, size, config.bounds)
        return moved_or_climbed(self.fitted, self.surrogate.designs, ascent, k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate with the queries."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate with the queries."""
        self.surrogate = NEMOSurrogate(self.config.surrogate)
        self.fitted = Fitted.load(
            folder, self.problem, self.config.encoder, self.context, self.surrogate
        )
