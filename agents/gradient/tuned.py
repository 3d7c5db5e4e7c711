"""Three proxies that are tuned to each design: what ICT and tri-mentoring have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mbo_gym._moved import forwarded
from mbo_gym.encoders.base import encoded
from mbo_gym.methods.fitted import Fitted
from mbo_gym.nn.mlp import BatchedMLP, apply_layers
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.fitting import row_weights
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig, squared_error

__all__ = [
    "PROXIES",
    "DesignProxies",
    "Layers",
    "TuningConfig",
    "VisibleRows",
    "draw_neighbours",
    "meta_gradient",
    "own_outputs",
    "proxy_ensemble",
    "stepped",
]

__getattr__ = forwarded(__name__)  # names that have moved

PROXIES = 3
"""Number of proxies."""

Layers: TypeAlias = Sequence[Tensor]
"""Layers of proxies: weights (M, in, out), then biases (M, 1, out). The three proxies of a design
come one after the other, so k designs have M = 3 k."""

_ON_CPU = 1 << 22
"""Weights that are tuned at once on a CPU: what its caches hold."""

_ON_GPU = 1 << 26
"""Weights that are tuned at once on a GPU: 256 MB."""


@dataclass(frozen=True)
class TuningConfig:
    """Settings of proxies that are tuned to each design.

    Args:
        neighbours: Number of neighbours drawn around each design at each step (ICT: for each
            teacher).
        noise: Standard deviation of a neighbour's features around the design's.
        tuning_rate: Learning rate of the steps that tune the proxies.
        validation_rows: Visible rows, drawn anew each time, that a step is judged by; None for all.
    """

    neighbours: int = 8
    noise: float = 0.1
    tuning_rate: float = 1e-2
    validation_rows: int | None = 16

    def __post_init__(self) -> None:
        require_at_least(self, 1, "neighbours", "validation_rows")
        require_at_least(self, 0, "noise", "tuning_rate")


def proxy_ensemble(config: MLPConfig) -> EnsembleSurrogate:
    """Return the three proxies, unfitted; they predict by their mean.

    Args:
        config: Settings of each proxy.
    """
    return EnsembleSurrogate(EnsembleConfig(**asdict(config), members=PROXIES))


@dataclass(frozen=True, eq=False)
class VisibleRows:
    """The visible rows, by which a step of tuning is judged.

    Args:
        z: (N, d) features.
        y: (N,) scores, standardised as the proxies are.
        weight: (N,) weights of the rows in the error, mean 1; None where all count alike.
    """

    z: Tensor
    y: Tensor
    weight: Tensor | None = None

    @classmethod
    def of(cls, fitted: Fitted, unit: Tensor) -> VisibleRows:
        """Return all visible rows of a problem.

        Args:
            fitted: Encoder and proxies.
            unit: (2,) mean and standard deviation that the proxies were trained with.
        """
        device = fitted.context.device
        data = encoded(fitted.problem, fitted.encoder, device)
        weight = row_weights(fitted.problem, device)
        return cls(data.z, (data.y - unit[0]) / unit[1], weight)

    def draw(self, n: int | None, generator: torch.Generator) -> VisibleRows:
        """Return `n` rows drawn with replacement, at most N; None for all rows."""
        if n is None:
            return self
        size = (min(n, len(self.z)),)
        rows = torch.randint(len(self.z), size, generator=generator, device=self.z.device)
        return self.take(rows)

    def take(self, rows: Tensor) -> VisibleRows:
        """Return the given rows (n,)."""
        weight = None if self.weight is None else self.weight[rows]
        return VisibleRows(self.z[rows], self.y[rows], weight)


class DesignProxies:
    """Copies of three proxies for each of k designs.

    Args:
        trained: The three proxies, which stay as they are.
        k: Number of designs.

    Attributes:
        layers: Layers of all copies.
    """

    def __init__(self, trained: BatchedMLP, k: int) -> None:
        self.layers: list[Tensor] = trained.copies(k).layers()
        self._k = k

    def blocks(self) -> Iterator[Tensor]:
        """Yield the designs (n,) to be tuned at once, int64, so that memory is bounded."""
        first = self.layers[0]
        numbers = _ON_CPU if first.device.type == "cpu" else _ON_GPU
        at_once = max(1, numbers // sum(layer[:PROXIES].numel() for layer in self.layers))
        yield from torch.split(torch.arange(self._k, device=first.device), at_once)

    def of(self, designs: Tensor) -> list[Tensor]:
        """Return the layers (3 n, ...) of the proxies of a block of designs (n,)."""
        own = self._own(designs)
        return [layer[own] for layer in self.layers]

    def put(self, designs: Tensor, layers: Layers) -> None:
        """Replace the layers of the proxies of a block of designs (n,)."""
        own = self._own(designs)
        for layer, new in zip(self.layers, layers, strict=True):
            layer[own] = new.detach()

    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient (k, d) of the mean of each design's proxies at features (k, d)."""
        parts = []
        for designs in self.blocks():
            with torch.enable_grad():
                leaf = z[designs].detach().requires_grad_()
                mean = own_outputs(self.of(designs), leaf.unsqueeze(1)).mean(dim=1)
                parts.append(torch.autograd.grad(mean.sum(), leaf)[0])
        return torch.cat(parts)

    def _own(self, designs: Tensor) -> slice:
        return slice(PROXIES * int(designs[0]), PROXIES * (int(designs[-1]) + 1))


def own_outputs(layers: Layers, z: Tensor) -> Tensor:
    """Return the standardised outputs (k, 3, n) of each design's proxies.

    Args:
        layers: Layers (3 k, ...).
        z: (k, n, d) features, n for each design.
    """
    of_proxies = z.repeat_interleave(PROXIES, dim=0)  # (3 k, n, d)
    return apply_layers(of_proxies, layers).squeeze(2).reshape(len(z), PROXIES, -1)


def draw_neighbours(
    z: Tensor, config: TuningConfig, generator: torch.Generator, *, shared: bool = False
) -> Tensor:
    """Draw neighbours (k, neighbours, d) of features (k, d).

    Args:
        z: Features.
        config: Settings.
        generator: Source of the noise.
        shared: Whether all features of a neighbour are moved by one number; else each by its own.
    """
    size = (len(z), config.neighbours, 1 if shared else z.shape[1])
    noise = torch.randn(size, generator=generator, device=z.device)
    return z.unsqueeze(1) + config.noise * noise


def stepped(layers: Layers, loss: Callable[[Layers], Tensor], rate: float) -> list[Tensor]:
    """Return layers after one step of gradient descent down a loss of layers; detached."""
    with torch.enable_grad():
        leaves = [layer.detach().requires_grad_() for layer in layers]
        gradients = torch.autograd.grad(loss(leaves), leaves)
    return [
        torch.sub(leaf.detach(), slope, alpha=rate)
        for leaf, slope in zip(leaves, gradients, strict=True)
    ]


def meta_gradient(
    layers: Layers,
    loss: Callable[[Layers, Tensor], Tensor],
    handle: Tensor,
    rate: float,
    rows: Callable[[], VisibleRows],
) -> Tensor:
    """Return the gradient, in a handle, of the error on visible rows after a step down a loss.

    By the chain rule it is -rate times the gradient in the handle of the slope of the loss at
    `layers`, along the gradient of the error after the step: one forward derivative, and no second
    backward pass.

    Args:
        layers: Layers of the proxies that take the step; their mean squared errors are summed.
        loss: Loss () of layers and the handle.
        handle: Weights or labels.
        rate: Learning rate of the step.
        rows: Draws the visible rows.

    Returns:
        Tensor of the shape of `handle`.
    """
    with torch.enable_grad():
        after = [
            layer.requires_grad_() for layer in stepped(layers, lambda at: loss(at, handle), rate)
        ]
        seen = rows()
        of_proxies = seen.z.expand(len(after[0]), *seen.z.shape)  # (M, n, d)
        outputs = apply_layers(of_proxies, after).squeeze(2)  # (M, n)
        error = squared_error(outputs, seen.y, seen.weight)
        directions = torch.autograd.grad(error, after)
        leaf = handle.detach().requires_grad_()
        slope = torch.func.jvp(lambda *at: loss(at, leaf), tuple(layers), directions)[1]
        return torch.autograd.grad(-rate * slope, leaf)[0]
