"""NEMO: ascent on the score that is expected when every score of a design has been given its chance
to be believed.

Algorithm (Fu and Levine, Offline Model-Based Optimization via Normalized Maximum Likelihood
Estimation, ICLR 2021):
    The scores are cut into bins 1 .. K with values v_k. Each bin has a model p_k(bin | x) of its
    own.
    1. Q <- the best visible designs: the queries.
    2. Repeat `steps` times: each model k takes a step up the likelihood of a minibatch of the data,
           and of the queries with label k p(k | x) = p_k(k | x) / sum_j p_j(j | x)
           conditional normalised maximum likelihood x <- x + step_size * grad_x sum_k p(k | x) v_k
           for every query x
    3. Return Q, the highest expected value first.

Where the data say little about a design, each model comes to believe its own label, and the
expected value turns back to the middle of the scores; so the search stays where the data speak.

From the paper: bins, a model a bin, one step of training a step of ascent instead of training to
the end (amortisation), the normalised likelihood, and a discretised logistic distribution: p(bin |
x) is the mass that a logistic distribution around the network's one output has in the bin, so that
the gradient does not fade between bins.

Ours, as there is no public program to compare with: 20 bins of equal width over the visible scores,
the outermost reaching to infinity; all K models are copies of one that was first trained on the
data alone, so that they differ by what the queries taught them and by nothing else; they see the
same minibatches, as one batched network; all queries are shared by all models, and weigh
`query_weight` beside a minibatch; the spread of the logistic distribution is one learned number a
model; the models are stepped at the queries they are about to leave, so that the gradient lags by
one step; the sizes of networks and steps.

`paper` has the sizes that are told of the paper's experiments, 40 bins and networks of 2 x 256,
trained longer. They
are hearsay: without a program they could not be checked, and steps and weights are ours there too.

Where more designs are asked for than there are queries, the next best visible designs climb the
finished models. Where fewer are asked for, the best of the queries are returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from agents.gradient._old_ascent import SearchedWhileFitted
from agents.gradient._old_stacked import StackedMLP
from mbo_gym.methods.ascent import SearchWatch, ascend, best_rows
from mbo_gym.methods.fitted import Bounds
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.mlp import MLPConfig

__all__ = ["NEMO", "NEMOConfig", "NEMOSurrogate", "NEMOSurrogateConfig", "nemo_surrogate"]

_FAR = 1e3  # where the outermost bins end, in standard deviations


@dataclass(frozen=True)
class NEMOSurrogateConfig(MLPConfig):
    """Settings of NEMO's surrogate; those of the networks and of the training before the queries
    are in `MLPConfig`.

    Args:
        bins: K.
        query_weight: Weight of the queries' mean log-likelihood beside the minibatch's.
        query_rate: Learning rate of the models while the queries climb.
        designs: Number of queries: the best distinct visible designs, or all where there are fewer.
        steps: Steps of the queries, and of the models with them.
        step_size: Of a query's step; None for .01 sqrt(d).
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


class NEMOSurrogate(StackedMLP):
    """The expected score under the normalised likelihood, and the designs that climbed it while it
    was made.

    Args:
        config: Its settings.
        watch: Called with the step, the queries' features (n, d) and predictions (n,) before each
            step and at the end.

    Attributes:
        designs: (n, d) features of the queries.
    """

    kind: ClassVar[str] = "nemo"
    config: NEMOSurrogateConfig
    designs: Tensor
    _log_scale: Tensor

    def __init__(
        self,
        config: NEMOSurrogateConfig | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__(config or NEMOSurrogateConfig(), members=1)
        self._watch = watch

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,), and let the best of them climb; see
        `Surrogate.fit`."""
        self._members, self._progress = 1, progress or NullProgress()
        self._generator = torch.Generator(z.device).manual_seed(seed)
        self.designs = z[best_rows(z, y, self.config.designs)]
        self._box = (z.amin(dim=0), z.amax(dim=0)) if self.config.bounds == "data" else None
        standard = (y - y.mean()) / y.std(correction=0).clamp_min(1e-12)
        low, high = float(standard.min()), float(standard.max())
        high = max(high, low + 1e-3)  # where all scores are equal
        self._edges = torch.linspace(low, high, self.config.bins + 1, device=z.device)
        return super().fit(z, y, seed=seed, progress=progress)

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the negative log-likelihood () of the bins that the scores lie in, summed over the
        models."""
        return -self.log_likelihood(z, self.bin_of(y)).mean(dim=1).sum()

    def bin_of(self, y: Tensor) -> Tensor:
        """Return the bins, 0 to K - 1, that scores of `batch_loss`'s unit lie in; same shape,
        int64."""
        return torch.bucketize(y, self._edges[1:-1])

    def log_likelihood(self, z: Tensor, label: Tensor) -> Tensor:
        """Return how likely each model finds a bin at features (M, B, d): log p_m(label | z), (M,
        B).

        Args:
            z: Features as each model sees them.
            label: (M, B), or (M, 1) for one bin a model, int64.
        """
        mean, scale = self.outputs(z), self._log_scale.exp()
        edges = functional.pad(self._edges[1:-1], (1, 0), value=-_FAR)
        edges = functional.pad(edges, (0, 1), value=_FAR)
        below, above = edges[label], edges[label + 1]
        # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u)),
        # which cancels nowhere
        inside = functional.logsigmoid((above - mean) / scale) + functional.logsigmoid(
            (mean - below) / scale
        )
        return inside + torch.log(-torch.expm1((below - above) / scale))

    def normalised(self, z: Tensor) -> Tensor:
        """Return the normalised likelihood p(k | z) of each bin at features (B, d); (K, B), each
        column sums to 1."""
        own = torch.arange(self._members, device=z.device).unsqueeze(1)
        return self.log_likelihood(self._for_members(z), own).softmax(dim=0)

    def predict(self, z: Tensor) -> Tensor:
        """Return the expected scores of features (B, d); (B,)."""
        values = (self._edges[:-1] + self._edges[1:]) / 2
        return self._unit[0] + self._unit[1] * (values @ self.normalised(z))

    def finish(self, z: Tensor, y: Tensor) -> None:
        """Copy the trained model for every bin, and let the queries climb while the models see
        them.

        Args:
            z: (n, d) features of the rows trained on.
            y: (n,) their scores.
        """
        self._members, config = self.config.bins, self.config
        own, label = torch.arange(config.bins, device=z.device).unsqueeze(1), self.bin_of(y)
        self._weights, self._biases = (
            [self._copies(p) for p in ps] for ps in (self._weights, self._biases)
        )
        self._log_scale = self._copies(self._log_scale)
        parameters = [*self._weights, *self._biases, self._log_scale]
        adam = torch.optim.Adam(parameters, lr=config.query_rate, fused=True)

        def learn(step: int, queries: Tensor, prediction: Tensor) -> None:
            if self._watch is not None:
                self._watch(step, queries, prediction)
            rows = torch.randint(
                len(z), (config.batch_size,), generator=self._generator, device=z.device
            )
            data = self.log_likelihood(
                self._for_members(z[rows]), label[rows].expand(config.bins, -1)
            )
            asked = self.log_likelihood(self._for_members(queries), own)
            loss = -(data.mean(dim=1) + config.query_weight * asked.mean(dim=1)).sum()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()

        size, box = config.step(z.shape[1]), self._box
        self.designs = ascend(
            self,
            self.designs,
            "plain",
            config.steps,
            size,
            box=box,
            progress=self._progress,
            watch=learn,
        )
        for parameter in parameters:
            parameter.requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the unit of the scores, spreads, bins and queries."""
        return {
            **super().state(),
            "log_scale": self._log_scale,
            "edges": self._edges,
            "designs": self.designs,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().load_state(state)
        self._log_scale, self._edges, self.designs = (
            state["log_scale"],
            state["edges"],
            state["designs"],
        )
        self._members = len(self._log_scale)

    def _initialise(self, n_features: int, generator: torch.Generator) -> list[Tensor]:
        self._log_scale = torch.zeros(self._members, 1, device=generator.device, requires_grad=True)
        return [*super()._initialise(n_features, generator), self._log_scale]

    def _copies(self, parameter: Tensor) -> Tensor:
        return (
            parameter.detach().repeat(self._members, *[1] * (parameter.dim() - 1)).requires_grad_()
        )


def nemo_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted surrogate ``nemo``; the arguments are fields of `NEMOSurrogateConfig`."""
    return NEMOSurrogate(NEMOSurrogateConfig(**config))


@dataclass(frozen=True)
class NEMOConfig(NEMOSurrogateConfig):
    """Settings of NEMO: its surrogate's, and the encoder's name.

    Args:
        encoder: Name of the encoder.
    """

    encoder: str = "z_score"

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps of the queries and their size."""
        return self.steps, self.step(n_features)


class NEMO(SearchedWhileFitted):
    """Normalised maximum likelihood for offline optimization; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = NEMOConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": NEMOConfig(
            hidden=256, bins=40, train_steps=11_600, batch_size=128
        ),  # 50 epochs of TFBind8
        "boxed": NEMOConfig(bounds="data"),
    }

    def new_surrogate(self) -> Surrogate:
        """Return the surrogate, which shows the queries while they climb."""
        watch = SearchWatch(
            self._problem, self._encoder, "queries", self.config.steps, self._progress
        )
        return NEMOSurrogate(part_of(self.config, NEMOSurrogateConfig), watch)
