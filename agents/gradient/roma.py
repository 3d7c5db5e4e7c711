"""RoMA: a smoothed Gaussian network, adapted anew at every step of the ascent so that it is flat
where the designs are.

Algorithm (Yu, Ahn, Song and Shin, Robust Model Adaptation for Offline Model-based Optimization,
NeurIPS 2021, arXiv 2110.14188):
    Phase 1, training. The network gives a Gaussian N(f(x), s(x)^2) of the score; for each batch:
        1. Add noise to the features.
        2. Move a copy of the weights, in a few steps, to where the negative log-likelihood (NLL) of
           the batch is worse; each weight matrix goes a set share of its own norm.
        3. Take the NLL's gradient there, clip it, and update the weights themselves with it.
    Phase 2, search, from the K best visible designs x_0. At each step:
        1. Adapt a copy f' of the network f to all current designs x at once, in steps scaled as in
               phase 1, down mean ||grad_x f'(x)|| + consistency * (the copy's NLL of f(x) at x).
        2. Move x by Adam up   f'(x) - (f'(x) - f(x_0))^2 / (2 region),   and forget the copy.

The published settings, preset `paper`: 2 x 64 softplus, 20 steps of perturbation, 100 of
adaptation, 500 updates of x. Superconductor has its own, `paper_superconductor`: weights go a tenth
as far; AntMorphology too, `paper_ant`: twice the training. By default both follow from the task
(SETTINGS).

Differs from the paper by default: 5 steps of perturbation and 20 of adaptation, each as much
longer, so that weights go as far in all; a shorter training. Always: the learning rate of phase 1
decays along a cosine; the bounds of the spread are learnt in phase 1 but neither perturbed nor
adapted; proposals are ordered by the phase-1 network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from agents.gradient._old_ascent import Ascent, AscentConfig
from agents.gradient._old_stacked import StackedMLP
from mbo_gym.methods.ascent import SearchWatch, ascend
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.mlp import MLPConfig

__all__ = [
    "AdaptedSurrogate",
    "RoMA",
    "RoMAConfig",
    "RoMASurrogate",
    "RoMASurrogateConfig",
    "roma_surrogate",
]

_SPREAD_BOUNDS = (0.1, 0.2)  # where they start
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class RoMASurrogateConfig(MLPConfig):
    """Settings of a smoothed Gaussian network; those of the network are in `MLPConfig`, softplus in
    place of ReLU.

    Args:
        input_noise: Standard deviation of the noise on the features in training.
        perturbation: How far each weight matrix is moved before a gradient is taken, as a share of
            its norm.
        perturbation_steps: Steps in which it is moved; 0 for plain training.
    """

    hidden: int = 64
    input_noise: float = 0.2
    perturbation: float = 5e-3
    perturbation_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "input_noise", "perturbation", "perturbation_steps")


class RoMASurrogate(StackedMLP):
    """A perceptron that predicts a Gaussian, smoothed in its inputs and weights; phase 1 of the
    module's docstring.

    Args:
        config: Its settings.
    """

    kind: ClassVar[str] = "roma"
    n_outputs: ClassVar[int] = 2
    config: RoMASurrogateConfig

    def __init__(self, config: RoMASurrogateConfig | None = None) -> None:
        super().__init__(config or RoMASurrogateConfig(), members=1)
        self._bounds = torch.tensor(_SPREAD_BOUNDS).log()  # lowest and highest log spread

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the NLL () under input noise, at weights moved to where it is worse."""
        config = self.config
        z = z + config.input_noise * torch.randn(z.shape, generator=generator, device=z.device)

        def loss(layers: Sequence[Tensor]) -> Tensor:
            return _nll(*self.gaussian(z, layers), y)

        layers = self.layers()
        worse = _scaled_steps(
            layers, lambda at: -loss(at), config.perturbation, config.perturbation_steps
        )
        # values of the moved weights, gradients to the weights themselves
        return loss(
            [own + (moved - own).detach() for own, moved in zip(layers, worse, strict=True)]
        )

    def before_update(self, parameters: list[Tensor]) -> None:
        """Clip the gradient's norm to 1."""
        torch.nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)

    def layers(self) -> list[Tensor]:
        """Return the weights (1, in, out), then the biases (1, 1, out), first layer first."""
        return [*self._weights, *self._biases]

    def gaussian(self, z: Tensor, layers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return mean and log spread of the standardised score, (1, B) each, at features (1, B, d)
        for given layers."""
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        z = _hidden_layers(z, weights[:-1], biases[:-1])
        mean, spread = torch.baddbmm(biases[-1], z, weights[-1]).unbind(dim=2)
        low, high = self._bounds
        spread = high - softplus(high - spread)
        return mean, low + softplus(spread - low)

    def outputs(self, z: Tensor) -> Tensor:
        """Return the means (1, B) at features (1, B, d), in the unit of `batch_loss`."""
        return self.gaussian(z, self.layers())[0]

    def spread(self, z: Tensor) -> Tensor:
        """Return the standard deviation of the predicted Gaussian at features (B, d); (B,)."""
        return self._unit[1] * self.gaussian(self._for_members(z), self.layers())[1][0].exp()

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the bounds of the spread and the unit of the scores."""
        return {**super().state(), "bounds": self._bounds}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().load_state(state)
        self._bounds = state["bounds"]

    def _initialise(self, n_features: int, generator: torch.Generator) -> list[Tensor]:
        bounds = torch.tensor(_SPREAD_BOUNDS, device=generator.device).log()
        self._bounds = bounds.requires_grad_()
        return [*super()._initialise(n_features, generator), self._bounds]

    def _last_hidden(self, z: Tensor) -> Tensor:
        return _hidden_layers(z, self._weights[:-1], self._biases[:-1])


def _hidden_layers(z: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    for weight, bias in zip(weights, biases, strict=True):
        z = softplus(torch.baddbmm(bias, z, weight))
    return z  # (1, B, width)


def _nll(mean: Tensor, log_spread: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative log-likelihood () of scores (1, B) under Gaussians (1, B), (1,
    B)."""
    return (((y - mean) / log_spread.exp()).square() / 2 + log_spread).mean() + math.log(
        2 * math.pi
    ) / 2


def _scaled_steps(
    layers: Sequence[Tensor], loss: Callable[[Sequence[Tensor]], Tensor], share: float, steps: int
) -> list[Tensor]:
    """Move a copy of layers down a loss; each of the steps takes each tensor `share` / `steps` of
    its own norm."""
    moved = [layer.detach() for layer in layers]
    for _ in range(steps):
        leaves = [layer.detach().requires_grad_() for layer in moved]
        gradients = torch.autograd.grad(loss(leaves), leaves)
        moved = [
            layer - share / steps * layer.norm() / gradient.norm().clamp_min(1e-12) * gradient
            for layer, gradient in zip(moved, gradients, strict=True)
        ]
    return moved


@dataclass(frozen=True)
class RoMAConfig(AscentConfig, RoMASurrogateConfig):
    """Settings of RoMA: the ascent's (`AscentConfig`) and the network's (`RoMASurrogateConfig`).

    For adam, `steps` None is 500 and `step_size` None 3e-3.

    Args:
        adaptation: How far each weight matrix of the copy is moved at a step of the ascent, as a
            share of its norm.
        adaptation_steps: Steps in which it is moved; 0 to climb the network as it was trained.
        consistency: Weight of the NLL that keeps the copy near the predictions of the network that
            was trained.
        region: How far the ascent goes, as the variance of a Gaussian penalty on the gain in the
            prediction: it halts where f' is `region` standard deviations of the score above f at
            the start.
    """

    optimiser: Literal["plain", "adam"] = "adam"
    adaptation: float = 5e-3
    adaptation_steps: int = 20
    consistency: float = 1.0
    region: float = 4.0

    def __post_init__(self) -> None:
        AscentConfig.__post_init__(self)
        RoMASurrogateConfig.__post_init__(self)
        require_at_least(self, 0, "adaptation", "adaptation_steps", "consistency")
        if not self.region > 0:
            raise ValueError(f"region is a variance above 0, got {self.region}")

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps and their size for a problem."""
        if self.optimiser != "adam":
            return super().recipe(problem, n_features)
        return (
            500 if self.steps is None else self.steps,
            3e-3 if self.step_size is None else self.step_size,
        )


class AdaptedSurrogate(RoMASurrogate):
    """A trained `RoMASurrogate` whose gradient is that of phase 2, of a copy adapted to the
    features it is asked at.

    Predictions stay those of the network as it was trained.

    Args:
        trained: The network.
        start: (B, d) features that the ascent starts from.
        config: The settings of the adaptation.
    """

    def __init__(self, trained: RoMASurrogate, start: Tensor, config: RoMAConfig) -> None:
        super().__init__(trained.config)
        self.load_state(trained.state())
        self._how = config
        with torch.no_grad():
            self._from = self.outputs(self._for_members(start))

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction (B,), and the gradient (B, d) that the ascent follows, at features
        (B, d)."""
        with torch.enable_grad():
            adapted = self.adapted(z)
            leaf = z.detach().requires_grad_()
            mean = self.gaussian(self._for_members(leaf), adapted)[0]
            penalised = mean - (mean - self._from).square() / (2 * self._how.region)
            (gradient,) = torch.autograd.grad(penalised.sum(), leaf)
        return self.predict(z), gradient

    def adapted(self, z: Tensor) -> list[Tensor]:
        """Return the layers of a copy adapted to features (B, d), all of them at once."""
        points = self._for_members(z.detach())
        own = self.outputs(points).detach()

        def loss(layers: Sequence[Tensor]) -> Tensor:
            leaf = points.detach().requires_grad_()
            mean, log_spread = self.gaussian(leaf, layers)
            (slope,) = torch.autograd.grad(mean.sum(), leaf, create_graph=True)
            flatness: Tensor = slope.norm(dim=2).mean()
            return flatness + self._how.consistency * _nll(mean, log_spread, own)

        return _scaled_steps(self.layers(), loss, self._how.adaptation, self._how.adaptation_steps)


def roma_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted `RoMASurrogate` of these fields of its config."""
    return RoMASurrogate(RoMASurrogateConfig(**config))


_SUPERCONDUCTOR: Mapping[str, Any] = {"perturbation": 5e-4, "adaptation": 5e-4}
_PAPER: Mapping[str, Any] = {"batch_size": 128, "perturbation_steps": 20, "adaptation_steps": 100}
_PAPER_STEPS = 11_600  # 50 epochs of TFBind8


class RoMA(Ascent):
    """Robust model adaptation; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = RoMAConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": RoMAConfig(train_steps=_PAPER_STEPS, **_PAPER),
        "paper_superconductor": RoMAConfig(train_steps=_PAPER_STEPS, **_PAPER, **_SUPERCONDUCTOR),
        "paper_ant": RoMAConfig(train_steps=2 * _PAPER_STEPS, **_PAPER),
        "boxed": RoMAConfig(bounds="data"),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {
        "Superconductor-RandomForest-v0": RoMAConfig(**_SUPERCONDUCTOR),
        "Superconductor-RandomForest-v1": RoMAConfig(**_SUPERCONDUCTOR),
        "AntMorphology-Exact-v0": RoMAConfig(train_steps=2 * RoMAConfig.train_steps),
    }
    _surrogate: RoMASurrogate

    def new_surrogate(self) -> Surrogate:
        """Return the smoothed network of phase 1."""
        return RoMASurrogate(part_of(self.config, RoMASurrogateConfig))

    def climb(self, z: Tensor, steps: int, size: float, watch: SearchWatch) -> Tensor:
        """Climb from features z (k, d), the network adapted at every step; returns (k, d)."""
        adapted = AdaptedSurrogate(self._surrogate, z, self.config)
        box, progress = self.box(), self._progress
        return ascend(
            adapted, z, self.config.optimiser, steps, size, box=box, progress=progress, watch=watch
        )
