"""What ICT and tri-mentoring share: an ascent on three proxies that are tuned to the designs at every step."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient.ascent import Ascent, AscentConfig
from mbo_gym.search import SearchWatch, ascend
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates import EnsembleConfig, EnsembleSurrogate, MLPConfig, Surrogate

__all__ = ["PROXIES", "TunedAscent", "TunedProxies", "TuningConfig"]

PROXIES = 3
"""How many networks there are."""


@dataclass(frozen=True)
class TuningConfig(AscentConfig, MLPConfig):
    """Settings of an ascent on tuned proxies: the ascent's (`AscentConfig`) and the networks' (`MLPConfig`).

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
    tuning_rate: float = 1e-3
    validation_rows: int | None = 1024

    def __post_init__(self) -> None:
        AscentConfig.__post_init__(self)
        MLPConfig.__post_init__(self)
        require_at_least(self, 1, "neighbours", "validation_rows")
        require_at_least(self, 0, "noise", "tuning_rate")


class TunedProxies(EnsembleSurrogate):
    """The mean of proxies that are tuned to the designs before each gradient; a subclass writes `tune`.

    The networks handed in stay as they are. Layers are weights (M, in, out), then biases (M, 1, out).

    Args:
        trained: The proxies.
        z: (N, d) features of the visible designs.
        y: (N,) their scores, in the unit that `trained` was fitted on.
        config: Settings of the tuning.
        generator: Of the neighbours and the rows of validation, on z's device.
    """

    def __init__(
        self, trained: EnsembleSurrogate, z: Tensor, y: Tensor, config: TuningConfig, generator: torch.Generator
    ) -> None:
        super().__init__(trained.config)
        self.load_state(trained.state())
        self._z, self._y = z, (y - self._unit[0]) / self._unit[1]
        self._tuning, self._generator = config, generator

    @abstractmethod
    def tune(self, z: Tensor) -> None:
        """Tune the proxies to designs of features (k, d)."""

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Tune the proxies to features (B, d); return their mean prediction (B,) and its gradient (B, d)."""
        with torch.enable_grad():
            self.tune(z.detach())
        return super().value_and_gradient(z)

    def neighbours(self, z: Tensor, n_numbers: int | None = None) -> Tensor:
        """Draw neighbours of features (k, d), (k, neighbours, d), by a number for each feature, or by one for all."""
        size = (len(z), self._tuning.neighbours, n_numbers or z.shape[1])
        return z.unsqueeze(1) + self._tuning.noise * torch.randn(size, generator=self._generator, device=z.device)

    def layers(self) -> list[Tensor]:
        """Return the layers of all proxies."""
        return [*self._weights, *self._biases]

    def adopt(self, layers: Sequence[Tensor]) -> TunedProxies:
        """Take over layers, which may be of fewer proxies; returns itself."""
        half = len(layers) // 2
        self._weights, self._biases, self._members = list(layers[:half]), list(layers[half:]), len(layers[0])
        return self

    def stepped(self, layers: Sequence[Tensor], loss: Callable[[TunedProxies], Tensor]) -> list[Tensor]:
        """Return layers after one step of gradient descent down a loss, differentiable in what the loss depends on."""
        leaves = [layer.detach().requires_grad_() for layer in layers]
        gradients = torch.autograd.grad(loss(copy.copy(self).adopt(leaves)), leaves, create_graph=True)
        return [leaf - self._tuning.tuning_rate * slope for leaf, slope in zip(leaves, gradients, strict=True)]

    def meta_gradient(
        self, layers: Sequence[Tensor], loss: Callable[[TunedProxies, Tensor], Tensor], handle: Tensor
    ) -> Tensor:
        """Return how the error on visible rows after a step down `loss` changes with `handle`; `handle`'s shape.

        Args:
            layers: Of the proxies that take the step; their mean squared errors are summed.
            loss: Of proxies and the handle.
            handle: Weights or labels.
        """
        leaf = handle.detach().requires_grad_()
        after = copy.copy(self).adopt(self.stepped(layers, lambda proxies: loss(proxies, leaf)))
        rows: Tensor | slice = slice(None)
        if self._tuning.validation_rows is not None:
            size = (min(self._tuning.validation_rows, len(self._z)),)
            rows = torch.randint(len(self._z), size, generator=self._generator, device=self._z.device)
        error = (after.outputs(after._for_members(self._z[rows])) - self._y[rows]).square().mean(dim=1).sum()
        return torch.autograd.grad(error, leaf)[0]


class TunedAscent(Ascent):
    """An `Ascent` on `TunedProxies`; a subclass names their class and has a `TuningConfig`."""

    proxies: ClassVar[type[TunedProxies]]
    _surrogate: EnsembleSurrogate

    def new_surrogate(self) -> Surrogate:
        """Return the three proxies, as they are before they are tuned."""
        return EnsembleSurrogate(EnsembleConfig(**asdict(part_of(self.config, MLPConfig)), members=PROXIES))

    def climb(self, z: Tensor, steps: int, size: float, watch: SearchWatch) -> Tensor:
        """Climb from features z (k, d), the proxies tuned at every step; returns (k, d)."""
        data, device = self._problem.dataset, self._device
        x = torch.from_numpy(self._encoder.encode(data.x)).to(device)
        y = torch.from_numpy(data.score_scale.standardise(data.y)).to(device)
        generator = torch.Generator(device).manual_seed(self._seed)
        tuned = self.proxies(self._surrogate, x, y, self.config, generator)
        box, progress = self.box(), self._progress
        return ascend(tuned, z, self.config.optimiser, steps, size, box=box, progress=progress, watch=watch)
