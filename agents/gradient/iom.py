"""IOM: ascent on a model that cannot tell the designs found from the data by their representation.

Algorithm (Qi, Su, Kumar and Levine, Data-Driven Offline Decision-Making via Invariant
Representation Learning, NeurIPS 2022):
    A representation phi, a predictor h and a discriminator D are trained together; f = h(phi(x)) is
    the surrogate.
    1. M <- the best visible designs: the moving set.
    2. For each minibatch (x, y) of the data: m <- m + step_size * grad f(m)   for every m of M,
           through the representation D   goes down      g = 1/2 mean (D(phi(x)) - 1)^2 + 1/2 mean
           D(phi(m))^2          (least-squares GAN) phi and h go down  mean (f(x) - y)^2 -
           invariance * g
    3. Return M, the highest f(m) first.

A representation that looks alike for both keeps the predictor among representations that it was
trained on. Representations have length 1, so that f is bounded.

`paper` has networks of 2 x 2048, an invariance of 2, 128 moving designs and 200 passes over
TFBind8's data; only its learning rate differs, which decays to 0 here.

Differs from the paper: smaller networks and fewer updates; an invariance of .5, the only one of .5,
1 and 2 that cost no error on held-out rows of TFBind8 (at 2, such short training learns little of
the scores); and 256 moving designs, as many as are usually asked for. A public port moves the set
down the hill and cuts the gradient at the representation; here it goes up, through it.

Where more designs are asked for than move, the next best visible designs climb the finished model,
as many steps as the moving set took. Where fewer are asked for, the best of the moving set are
returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from agents.gradient._old_ascent import SearchedWhileFitted
from agents.gradient._old_stacked import StackedMLP
from mbo_gym.methods.ascent import SearchWatch, best_rows
from mbo_gym.methods.fitted import Bounds
from mbo_gym.nn.weights import linear_layers
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, predict_in_pieces
from mbo_gym.surrogates.mlp import MLPConfig

__all__ = [
    "IOM",
    "IOMConfig",
    "IOMSurrogate",
    "IOMSurrogateConfig",
    "discriminator_loss",
    "iom_surrogate",
]


@dataclass(frozen=True)
class IOMSurrogateConfig(MLPConfig):
    """Settings of IOM's surrogate; `hidden` and `layers` are those of the representation and of the
    predictor.

    Args:
        representation: Numbers in a representation.
        invariance: Weight of the discriminator's loss.
        discriminator: Width of the discriminator's first two hidden layers; the third is half as
            wide.
        discriminator_rate: Learning rate of the discriminator, Adam with betas .5 and .999.
        designs: Size of the moving set: the best distinct visible designs, or all where there are
            fewer.
        step_size: Of the moving set's step; None for .05 sqrt(d).
        bounds: ``none``, or ``data``: after each step, features are clipped to the box that the
            visible designs span.
    """

    hidden: int = 128
    batch_size: int = 128
    learning_rate: float = 3e-4
    representation: int = 128
    invariance: float = 0.5
    discriminator: int = 128
    discriminator_rate: float = 1e-3
    designs: int = 256
    step_size: float | None = None
    bounds: Bounds = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "representation", "designs")
        require_at_least(self, 2, "discriminator")
        require_at_least(self, 0, "invariance", "discriminator_rate", "step_size")

    def step(self, n_features: int) -> float:
        """Return the size of a step of the moving set with d features."""
        return 0.05 * n_features**0.5 if self.step_size is None else self.step_size


class IOMSurrogate(StackedMLP):
    """The predictor of the representation, and the set of designs that climbed it while it was
    trained.

    Args:
        config: Its settings.
        watch: Called with the update, the moving set's features (n, d) and predictions (n,) before
            each update.

    Attributes:
        designs: (n, d) features of the moving set.
    """

    kind: ClassVar[str] = "iom"
    config: IOMSurrogateConfig
    designs: Tensor

    def __init__(
        self,
        config: IOMSurrogateConfig | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__(config or IOMSurrogateConfig(), members=1)
        self._watch = watch

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Train on features (N, d) and scores (N,), and move the best of them uphill; see
        `Surrogate.fit`."""
        self.designs, self._moves = z[best_rows(z, y, self.config.designs)], 0
        self._box = (z.amin(dim=0), z.amax(dim=0)) if self.config.bounds == "data" else None
        return super().fit(z, y, seed=seed, progress=progress)

    def finish(self, z: Tensor, y: Tensor) -> None:
        """Show where the moving set ended; what was learned on, (n, d) and (n,), plays no part."""
        if self._watch is not None:
            self._watch(self._moves, self.designs, predict_in_pieces(self.predict, self.designs))

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Move the set by one step, train the discriminator, and return the loss () of
        representation and predictor."""
        self._move()
        both = self.representation(torch.cat([z, self.designs.unsqueeze(0)], dim=1))
        data, moving = both[:, : z.shape[1]], both[:, z.shape[1] :]
        self._discriminator_adam.zero_grad()
        discriminator_loss(
            self._discriminate(data.detach()), self._discriminate(moving.detach())
        ).backward()  # type: ignore[no-untyped-call]
        self._discriminator_adam.step()
        gap = discriminator_loss(self._discriminate(data), self._discriminate(moving))
        return (self._head(data) - y).square().mean() - self.config.invariance * gap

    def outputs(self, z: Tensor) -> Tensor:
        """Return the predictor's outputs (1, B) at features (1, B, d), in the unit of
        `batch_loss`."""
        return self._head(self.representation(z))

    def representation(self, z: Tensor) -> Tensor:
        """Return the representations of features (1, B, d); (1, B, r), each of length 1."""
        cut = self.config.layers + 1
        return functional.normalize(_perceptron(z, self._weights[:cut], self._biases[:cut]), dim=2)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the unit of the scores and the moving set."""
        return {**super().state(), "designs": self.designs}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().load_state(state)
        self.designs = state["designs"]

    def _initialise(self, n_features: int, generator: torch.Generator) -> list[Tensor]:
        config = self.config
        inner, wide = [config.hidden] * config.layers, config.discriminator
        self._weights, self._biases = linear_layers(
            [n_features, *inner, config.representation, *inner, 1], 1, generator
        )
        self._discriminator = linear_layers(
            [config.representation, wide, wide, wide // 2, 1], 1, generator
        )
        self._discriminator_adam = torch.optim.Adam(
            [*self._discriminator[0], *self._discriminator[1]],
            lr=config.discriminator_rate,
            betas=(0.5, 0.999),
            fused=True,
        )
        return [*self._weights, *self._biases]

    def _move(self) -> None:
        value, gradient = self.value_and_gradient(self.designs)
        if self._watch is not None:
            self._watch(self._moves, self.designs, value)
        self.designs, self._moves = (
            self.designs + self.config.step(gradient.shape[1]) * gradient,
            self._moves + 1,
        )
        if self._box is not None:
            self.designs = self.designs.clamp(*self._box)

    def _head(self, representation: Tensor) -> Tensor:
        cut = self.config.layers + 1
        return _perceptron(representation, self._weights[cut:], self._biases[cut:]).squeeze(2)

    def _last_hidden(self, z: Tensor) -> Tensor:
        cut = self.config.layers + 1
        return _perceptron(
            self.representation(z), self._weights[cut:-1], self._biases[cut:-1]
        ).relu()

    def _discriminate(self, representation: Tensor) -> Tensor:
        return _perceptron(representation, *self._discriminator, slope=0.2).sigmoid()


def iom_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted surrogate ``iom``; the arguments are fields of `IOMSurrogateConfig`."""
    return IOMSurrogate(IOMSurrogateConfig(**config))


def discriminator_loss(data: Tensor, moving: Tensor) -> Tensor:
    """Return the least-squares loss () of a discriminator's answers, for which 1 means data and 0
    moving set."""
    return ((data - 1).square().mean() + moving.square().mean()) / 2


def _perceptron(
    z: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], slope: float = 0.0
) -> Tensor:
    """Apply linear layers with leaky ReLUs between them to (1, B, in); (1, B, out)."""
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = torch.baddbmm(bias, functional.leaky_relu(z, slope) if i else z, weight)
    return z


@dataclass(frozen=True)
class IOMConfig(IOMSurrogateConfig):
    """Settings of IOM: its surrogate's, and the encoder's name.

    Args:
        encoder: Name of the encoder.
    """

    encoder: str = "z_score"

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps of the moving set and their size."""
        return self.train_steps, self.step(n_features)


class IOM(SearchedWhileFitted):
    """Invariant objective models; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = IOMConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": IOMConfig(
            hidden=2048, invariance=2.0, discriminator=512, designs=128, train_steps=51_400
        ),
        "boxed": IOMConfig(bounds="data"),
    }

    def new_surrogate(self) -> Surrogate:
        """Return the surrogate, which shows the moving set while it is trained."""
        steps = self.config.train_steps
        watch = SearchWatch(self._problem, self._encoder, "moving set", steps, self._progress)
        return IOMSurrogate(part_of(self.config, IOMSurrogateConfig), watch)
