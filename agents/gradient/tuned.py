"""What ICT and tri-mentoring share: an ascent on three proxies that are tuned to each design at
every step."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient._old_ascent import Ascent, AscentConfig
from agents.gradient._old_stacked import EnsembleSurrogate
from mbo_gym.methods.ascent import SearchWatch, ascend
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.mlp import EnsembleConfig, MLPConfig

__all__ = ["PROXIES", "TunedAscent", "TunedProxies", "TuningConfig"]

PROXIES = 3
"""How many networks there are."""

_ON_CPU, _ON_GPU = (
    1 << 22,
    1 << 26,
)  # weights that are tuned at once: what a CPU's caches hold; 256 MB


@dataclass(frozen=True)
class TuningConfig(AscentConfig, MLPConfig):
    """Settings of an ascent on tuned proxies: the ascent's (`AscentConfig`) and the networks'
    (`MLPConfig`).

    Args:
        neighbours: Drawn around each design at each step (ICT: for each teacher).
        noise: Standard deviation of a neighbour's features around the design's.
        tuning_rate: Learning rate of the steps that tune the proxies.
        validation_rows: Visible rows, drawn anew each time, that a step is judged by; None for all.
    """

    optimiser: Literal["plain", "adam"] = "adam"
    hidden: int = 128
    train_steps: int = 1500
    neighbours: int = 8
    noise: float = 0.1
    tuning_rate: float = 1e-2
    validation_rows: int | None = 16

    def __post_init__(self) -> None:
        AscentConfig.__post_init__(self)
        MLPConfig.__post_init__(self)
        require_at_least(self, 1, "neighbours", "validation_rows")
        require_at_least(self, 0, "noise", "tuning_rate")


class TunedProxies(EnsembleSurrogate):
    """Proxies that are tuned to designs before each gradient, each design having its own; a
    subclass writes `tune`.

    They start as copies of the proxies handed in, which stay as they are and give the predictions.
    Layers are weights (3 k, in, out), then biases (3 k, 1, out), the three proxies of a design one
    after the other.

    Args:
        trained: The proxies.
        n_designs: k.
        z: (N, d) features of the visible designs.
        y: (N,) their scores, in the unit that `trained` was fitted on.
        config: Settings of the tuning.
        generator: Of the neighbours and the rows of validation, on z's device.
    """

    def __init__(
        self,
        trained: EnsembleSurrogate,
        n_designs: int,
        z: Tensor,
        y: Tensor,
        config: TuningConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(trained.config)
        self.load_state(trained.state())
        self.adopt([layer.repeat(n_designs, 1, 1) for layer in self.layers()])
        self._trained = trained
        self._z, self._y = z, (y - self._unit[0]) / self._unit[1]
        self._tuning, self._generator = config, generator

    @abstractmethod
    def tune(self, z: Tensor) -> None:
        """Tune each design's proxies to its features; (k, d)."""

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of any features (B, d) by the mean of the proxies as they were
        trained; (B,)."""
        return self._trained.predict(z)

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Tune the proxies to features (k, d); return the predictions (k,), and the gradient (k, d)
        of tuned means."""
        layers, gradient = self.layers(), torch.empty_like(z)
        numbers = _ON_CPU if z.device.type == "cpu" else _ON_GPU
        at_once = max(1, numbers // sum(layer[:PROXIES].numel() for layer in layers))
        for rows in torch.split(torch.arange(len(z), device=z.device), at_once):
            own = slice(PROXIES * int(rows[0]), PROXIES * (int(rows[-1]) + 1))
            some = copy.copy(self).adopt([layer[own] for layer in layers])
            with torch.enable_grad():
                some.tune(z[rows].detach())
                leaf = z[rows].detach().requires_grad_()
                mean = self._unit[1] * some.at_own(leaf.unsqueeze(1)).mean(dim=1)
                gradient[rows] = torch.autograd.grad(mean.sum(), leaf)[0]
            for layer, tuned in zip(layers, some.layers(), strict=True):
                layer[own] = tuned
        return self.predict(z), gradient

    def at_own(self, z: Tensor) -> Tensor:
        """Return what each design's proxies say of n features of its own (k, n, d); (k, 3, n),
        standardised."""
        return self.outputs(z.repeat_interleave(PROXIES, dim=0)).reshape(len(z), PROXIES, -1)

    def neighbours(self, z: Tensor, n_numbers: int | None = None) -> Tensor:
        """Draw neighbours of features (k, d), (k, neighbours, d), by a number for each feature, or
        by one for all."""
        size = (len(z), self._tuning.neighbours, n_numbers or z.shape[1])
        return z.unsqueeze(1) + self._tuning.noise * torch.randn(
            size, generator=self._generator, device=z.device
        )

    def layers(self) -> list[Tensor]:
        """Return the layers of all proxies."""
        return [*self._weights, *self._biases]

    def adopt(self, layers: Sequence[Tensor]) -> TunedProxies:
        """Take over layers, which may be of fewer proxies; returns itself."""
        half = len(layers) // 2
        self._weights, self._biases, self._members = (
            list(layers[:half]),
            list(layers[half:]),
            len(layers[0]),
        )
        return self

    def stepped(
        self, layers: Sequence[Tensor], loss: Callable[[TunedProxies], Tensor]
    ) -> list[Tensor]:
        """Return layers after one step of gradient descent down a loss of proxies; detached."""
        leaves = [layer.detach().requires_grad_() for layer in layers]
        gradients = torch.autograd.grad(loss(copy.copy(self).adopt(leaves)), leaves)
        rate = self._tuning.tuning_rate
        return [
            torch.sub(leaf.detach(), slope, alpha=rate)
            for leaf, slope in zip(leaves, gradients, strict=True)
        ]

    def meta_gradient(
        self,
        layers: Sequence[Tensor],
        loss: Callable[[TunedProxies, Tensor], Tensor],
        handle: Tensor,
    ) -> Tensor:
        """Return how the error on visible rows after a step down `loss` changes with `handle`;
        `handle`'s shape.

        By the chain rule that is -rate times the gradient in the handle of the slope of the loss at
        `layers`, along
        the gradient of the error after the step: one forward derivative, and no second backward
            pass.

        Args:
            layers: Of the proxies that take the step; their mean squared errors are summed.
            loss: Of proxies and the handle.
            handle: Weights or labels.
        """
        after = [
            layer.requires_grad_()
            for layer in self.stepped(layers, lambda proxies: loss(proxies, handle))
        ]
        rows: Tensor | slice = slice(None)
        if self._tuning.validation_rows is not None:
            size = (min(self._tuning.validation_rows, len(self._z)),)
            rows = torch.randint(
                len(self._z), size, generator=self._generator, device=self._z.device
            )
        proxies = copy.copy(self).adopt(after)
        error = (
            (proxies.outputs(proxies._for_members(self._z[rows])) - self._y[rows])
            .square()
            .mean(dim=1)
            .sum()
        )
        directions = torch.autograd.grad(error, after)
        leaf = handle.detach().requires_grad_()
        slope = torch.func.jvp(
            lambda *at: loss(copy.copy(self).adopt(at), leaf), tuple(layers), directions
        )[1]
        return torch.autograd.grad(-self._tuning.tuning_rate * slope, leaf)[0]


class TunedAscent(Ascent):
    """An `Ascent` on `TunedProxies`; a subclass names their class and has a `TuningConfig`."""

    proxies: ClassVar[type[TunedProxies]]
    _surrogate: EnsembleSurrogate

    def new_surrogate(self) -> Surrogate:
        """Return the three proxies, as they are before they are tuned."""
        return EnsembleSurrogate(
            EnsembleConfig(**asdict(part_of(self.config, MLPConfig)), members=PROXIES)
        )

    def climb(self, z: Tensor, steps: int, size: float, watch: SearchWatch) -> Tensor:
        """Climb from features z (k, d), the proxies tuned at every step; returns (k, d)."""
        data, device = self._problem.dataset, self._device
        x = torch.from_numpy(self._encoder.encode(data.x)).to(device)
        y = torch.from_numpy(data.score_scale.standardise(data.y)).to(device)
        generator = torch.Generator(device).manual_seed(self._seed)
        tuned = self.proxies(self._surrogate, len(z), x, y, self.config, generator)
        box, progress = self.box(), self._progress
        return ascend(
            tuned, z, self.config.optimiser, steps, size, box=box, progress=progress, watch=watch
        )
