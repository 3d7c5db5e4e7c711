"""RoMA: robust model adaptation, a smoothed Gaussian network adapted at every ascent step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from agents.gradient.ascent import ORDER, AscentConfig, Climb
from mbo_gym._moved import forwarded
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.nn.mlp import BatchedMLP, apply_layers
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.trainer import TrainingConfig
from mbo_gym.nn.training import train
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, require_fitted
from mbo_gym.surrogates.mlp import MLPConfig, row_order
from mbo_gym.surrogates.network import Split

__all__ = [
    "GaussianMLP",
    "RoMA",
    "RoMAConfig",
    "RoMASurrogate",
    "RoMASurrogateConfig",
    "adapted",
    "gaussian_nll",
    "penalised_gradient",
    "scaled_steps",
    "smoothed_loss",
]

__getattr__ = forwarded(__name__)  # names that have moved

_SPREAD_BOUNDS = (0.1, 0.2)
"""Initial bounds of the spread."""

_CLIP_NORM = 1.0


@dataclass(frozen=True)
class RoMASurrogateConfig(MLPConfig):
    """Settings of a smoothed Gaussian network, with softplus in place of ReLU.

    Args:
        input_noise: Standard deviation of the noise on the features in training.
        perturbation: Distance that each weight matrix is moved before a gradient is taken, as a
            share of its norm.
        perturbation_steps: Steps in which it is moved; 0 for plain training.
    """

    hidden: int = 64
    input_noise: float = 0.2
    perturbation: float = 5e-3
    perturbation_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "input_noise", "perturbation", "perturbation_steps")

    def training(self) -> TrainingConfig:
        """Return the settings of the training, with the gradient's norm clipped to 1."""
        return replace(super().training(), clip=_CLIP_NORM)


class GaussianMLP(nn.Module):
    """A network that predicts a Gaussian of the standardised score, with a bounded spread.

    Args:
        network: Network with two outputs, mean and raw log spread; one member.
        log_bounds: (2,) logarithms of the lowest and the highest spread, which are learned too.
    """

    def __init__(self, network: BatchedMLP, log_bounds: Tensor) -> None:
        super().__init__()
        self.network = network
        self.bounds = nn.ParameterList([nn.Parameter(log_bounds, requires_grad=False)])

    @classmethod
    def draw(cls, sizes: Sequence[int], generator: torch.Generator) -> GaussianMLP:
        """Return a network with initial weights from a generator, on its device."""
        network = BatchedMLP.draw(sizes, 1, generator, softplus)
        return cls(network, torch.tensor(_SPREAD_BOUNDS, device=generator.device).log())

    def forward(self, z: Tensor, layers: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log spread (1, B) of the standardised score.

        Args:
            z: (1, B, d) features.
            layers: Layers in place of the network's own, or None.
        """
        own = self.network.layers() if layers is None else layers
        mean, spread = apply_layers(z, own, softplus).unbind(dim=2)
        low, high = self.bounds[0]
        spread = high - softplus(high - spread)
        return mean, low + softplus(spread - low)


def gaussian_nll(
    mean: Tensor, log_spread: Tensor, y: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Return the mean negative log-likelihood () of scores (1, B) under Gaussians.

    With weights (1, B), each row counts by its weight.
    """
    error = (y - mean) / log_spread.exp()
    nll = error.square() / 2 + log_spread
    if weight is not None:
        nll = weight * nll
    return nll.mean() + math.log(2 * math.pi) / 2


def scaled_steps(
    layers: Sequence[Tensor], loss: Callable[[Sequence[Tensor]], Tensor], share: float, steps: int
) -> list[Tensor]:
    """Return copies of layers, moved down a loss.

    Args:
        layers: Tensors, which stay as they are.
        loss: Loss () of layers.
        share: Distance that each tensor goes in all, as a share of its own norm.
        steps: Number of steps.
    """
    moved = [layer.detach() for layer in layers]
    for _ in range(steps):
        leaves = [layer.detach().requires_grad_() for layer in moved]
        gradients = torch.autograd.grad(loss(leaves), leaves)
        moved = [
            layer - share / steps * layer.norm() / gradient.norm().clamp_min(1e-12) * gradient
            for layer, gradient in zip(moved, gradients, strict=True)
        ]
    return moved


def smoothed_loss(
    model: GaussianMLP,
    z: Tensor,
    y: Tensor,
    config: RoMASurrogateConfig,
    generator: torch.Generator,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the loss () of phase 1: the NLL under input noise, at weights where it is worse.

    Args:
        model: Network.
        z: (1, B, d) features.
        y: (1, B) standardised scores.
        config: Settings.
        generator: Source of the noise.
        weight: (1, B) weights of the rows, or None where all count alike.
    """
    noisy = z + config.input_noise * torch.randn(z.shape, generator=generator, device=z.device)
    layers = model.network.layers()

    def nll(at: Sequence[Tensor]) -> Tensor:
        mean, log_spread = model(noisy, at)
        return gaussian_nll(mean, log_spread, y, weight)

    worse = scaled_steps(
        layers, lambda at: -nll(at), config.perturbation, config.perturbation_steps
    )
    # values of the moved weights, gradients to the weights themselves
    return nll([own + (moved - own).detach() for own, moved in zip(layers, worse, strict=True)])


def adapted(model: GaussianMLP, z: Tensor, config: RoMAConfig) -> list[Tensor]:
    """Return layers adapted to features (B, d), all of them at once: phase 2, line 6.

    Args:
        model: Trained network, which stays as it is.
        z: (B, d) features of the current designs.
        config: Settings.
    """
    points = z.detach().unsqueeze(0)  # (1, B, d)
    own = model(points)[0].detach()  # (1, B)

    def loss(layers: Sequence[Tensor]) -> Tensor:
        leaf = points.detach().requires_grad_()
        mean, log_spread = model(leaf, layers)
        (slope,) = torch.autograd.grad(mean.sum(), leaf, create_graph=True)
        flatness: Tensor = slope.norm(dim=2).mean()
        return flatness + config.consistency * gaussian_nll(mean, log_spread, own)

    return scaled_steps(model.network.layers(), loss, config.adaptation, config.adaptation_steps)


def penalised_gradient(
    model: GaussianMLP, layers: Sequence[Tensor], z: Tensor, start: Tensor, region: float
) -> Tensor:
    """Return the gradient of the adapted prediction, less a penalty on its gain: phase 2, line 7.

    Args:
        model: Trained network.
        layers: Layers adapted to z.
        z: (B, d) features of the current designs.
        start: (1, B) predictions at the designs they started from.
        region: Variance of the penalty.

    Returns:
        (B, d) gradient.
    """
    leaf = z.detach().requires_grad_()
    mean = model(leaf.unsqueeze(0), layers)[0]  # (1, B)
    penalised = mean - (mean - start).square() / (2 * region)
    (gradient,) = torch.autograd.grad(penalised.sum(), leaf)
    return gradient


class RoMASurrogate(Surrogate):
    """The Gaussian network of RoMA, smoothed in its inputs and weights (phase 1).

    Args:
        config: Settings.

    Example:
        >>> surrogate = RoMASurrogate(RoMASurrogateConfig(hidden=16, train_steps=20))
        >>> report = surrogate.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> surrogate.spread(torch.rand(5, 3)).shape
        torch.Size([5])
    """

    kind: ClassVar[str] = "roma"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[RoMASurrogateConfig]] = RoMASurrogateConfig

    def __init__(self, config: RoMASurrogateConfig | None = None) -> None:
        self.config: RoMASurrogateConfig = config or RoMASurrogateConfig()
        self._model: GaussianMLP | None = None
        self._unit = torch.tensor([0.0, 1.0])

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Train on features (N, d) and scores (N,); see `Surrogate.fit`."""
        config = self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        model = GaussianMLP.draw(config.sizes(z.shape[1], n_outputs=2), generator)

        def loss(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            weight = data.weight_of(rows)
            value = smoothed_loss(model, data.z[rows], data.y[rows], config, generator, weight)
            return value, {"loss": value}

        train(
            model,
            loss,
            RowPool(row_order(config, data.y, 1), config.batch_size),
            config.training(),
            seed=generator,
            device=z.device,
            progress=progress,
            stage="surrogate",
            description=f"fitting {self.kind}",
        )
        self._model = model
        self._unit = data.unit
        self.report = data.report(self, config.train_steps)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        mean: Tensor = self.model(z.unsqueeze(0))[0]
        return self._unit[0] + self._unit[1] * mean[0]

    def spread(self, z: Tensor) -> Tensor:
        """Return the standard deviation of the predicted Gaussian at features (B, d); (B,)."""
        log_spread: Tensor = self.model(z.unsqueeze(0))[1]
        return self._unit[1] * log_spread[0].exp()

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d); (B, width)."""
        return self.model.network.hidden(z)[0]

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the bounds of the spread and the unit of the scores."""
        model = self.model
        bounds = model.bounds[0].detach()
        return {**model.network.state_dict(), "unit": self._unit, "bounds": bounds}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._model = GaussianMLP(BatchedMLP.from_state(state, softplus), state["bounds"])
        self._unit = state["unit"]

    @property
    def model(self) -> GaussianMLP:
        """The trained network."""
        return require_fitted(self._model, self.kind)


_ASCENT = AscentConfig(optimiser="adam")


@dataclass(frozen=True)
class RoMAConfig:
    """Settings of RoMA.

    Args:
        surrogate: Settings of the network and of phase 1.
        ascent: Settings of the ascent; for adam, `steps` None is 500 and `step_size` None 3e-3.
        adaptation: Distance that each weight matrix of the copy is moved at a step of the ascent,
            as a share of its norm.
        adaptation_steps: Steps in which it is moved; 0 to climb the network as it was trained.
        consistency: Weight of the NLL that keeps the copy near the predictions of the trained
            network.
        region: Variance of a Gaussian penalty on the gain in the prediction: the ascent halts where
            f' is `region` standard deviations of the score above f at the start.
        encoder: Name of the encoder.
    """

    surrogate: RoMASurrogateConfig = RoMASurrogateConfig()
    ascent: AscentConfig = _ASCENT
    adaptation: float = 5e-3
    adaptation_steps: int = 20
    consistency: float = 1.0
    region: float = 4.0
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "adaptation", "adaptation_steps", "consistency")
        if not self.region > 0:
            raise ValueError(f"region is a variance above 0, got {self.region}")

    def resolved_ascent(self) -> AscentConfig:
        """Return the settings of the ascent with RoMA's own steps of adam filled in."""
        ascent = self.ascent
        if ascent.optimiser != "adam":
            return ascent
        return replace(
            ascent,
            steps=500 if ascent.steps is None else ascent.steps,
            step_size=3e-3 if ascent.step_size is None else ascent.step_size,
        )


_PAPER_STEPS = 11_600
"""50 epochs of TFBind8."""

_PAPER = RoMAConfig(
    RoMASurrogateConfig(train_steps=_PAPER_STEPS, batch_size=128, perturbation_steps=20),
    adaptation_steps=100,
)


def _for_superconductor(config: RoMAConfig) -> RoMAConfig:
    """Return settings in which weights go a tenth as far."""
    return replace(config, surrogate=replace(config.surrogate, perturbation=5e-4), adaptation=5e-4)


def _for_ant(config: RoMAConfig) -> RoMAConfig:
    """Return settings with twice the training."""
    steps = 2 * config.surrogate.train_steps
    return replace(config, surrogate=replace(config.surrogate, train_steps=steps))


class RoMA(Method):
    """RoMA: robust model adaptation (Yu et al., NeurIPS 2021).

    Climbs a smoothed network whose weights are adapted at every step so that it is flat at the
    designs.

    Algorithm:
        Phase 1, training. The network gives a Gaussian N(f(x), s(x)^2) of the score. For each
        batch:

        1. add noise to the features
        2. move a copy of the weights, in a few steps, to where the negative log-likelihood (NLL) of
           the batch is worse; each weight matrix goes a set share of its own norm
        3. take the NLL's gradient there, clip it, and update the weights themselves with it

        Phase 2, search:

        4. x_0 <- the K best visible designs
        5. repeat:
        6.     adapt a copy f' of f to all current designs x at once, in steps scaled as in line 2,
               down mean ||grad_x f'(x)|| + consistency * (the copy's NLL of f(x) at x)
        7.     move x by Adam up f'(x) - (f'(x) - f(x_0))^2 / (2 region), and forget the copy
        8. propose x, the highest f(x) first

    Args:
        config: Settings; presets `paper`, `paper_superconductor` (weights go a tenth as far) and
            `paper_ant` (twice the training) have the published ones. By default the latter two
            follow from the task.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("roma", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Yu et al. 2021, RoMA: Robust Model Adaptation for Offline Model-based Optimization, arXiv
        2110.14188.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="RoMA: robust model adaptation",
        paper="Yu, Ahn, Song and Shin 2021, RoMA: Robust Model Adaptation for Offline Model-based "
        "Optimization, NeurIPS, arXiv 2110.14188",
        differences=(
            Difference(
                "20 steps of perturbation and 100 of adaptation",
                "5 steps of perturbation and 20 of adaptation, over the same distance in all; the "
                "presets `paper` have 20 and 100",
                "the default has to end within a minute on a CPU",
            ),
            Difference(
                "50 epochs (AntMorphology: 100), batches of 128",
                "3,000 updates (AntMorphology: 6,000), batches of 256; the presets `paper`: 11,600 "
                "(23,200), the epochs of TFBind8, batches of 128",
                "the default has to end within a minute on a CPU",
            ),
            Difference(
                "a constant learning rate of 1e-3 in phase 1",
                "a learning rate that decays from 1e-3 to 0 along a cosine, also in the presets "
                "`paper`",
                "one training recipe for all surrogates",
            ),
            Difference(
                "the bounds of the spread are perturbed and adapted with the weights",
                "the bounds are learned in phase 1, but neither perturbed nor adapted",
                "they bound the output and are no weights; the effect is not measured",
            ),
            replace(
                ORDER,
                here="proposals are ordered by the network of phase 1",
                why="predictions of one network are comparable between designs",
            ),
        ),
        metrics={
            "surrogate/loss": "NLL on a batch at the perturbed weights; scores at unit variance",
            "ascent/prediction": "mean prediction of the phase-1 network for the designs at a "
            "step, in standard deviations of the visible scores",
            "ascent/diverged": "designs that became inf or NaN and were reset to their start",
        },
        equations=(
            r"\min_\theta \mathbb{E} \max_{\theta' \approx \theta} "
            r"\mathrm{NLL}_{\theta'}(y \mid x + \epsilon)",
            r"\theta' = \arg\min \lVert \nabla_x f_{\theta'}(x) \rVert "
            r"+ \lambda\, \mathrm{NLL}_{\theta'}(f(x) \mid x)",
            r"x \leftarrow x + \eta \nabla_x \left[f'(x) - (f'(x) - f(x_0))^2 / (2 r)\right]",
        ),
    )
    Config: ClassVar[type[Any]] = RoMAConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": _PAPER,
        "paper_superconductor": _for_superconductor(_PAPER),
        "paper_ant": _for_ant(_PAPER),
        "boxed": RoMAConfig(ascent=replace(_ASCENT, bounds="data")),
        "light": RoMAConfig(
            RoMASurrogateConfig(hidden=16, train_steps=20, batch_size=32, perturbation_steps=2),
            replace(_ASCENT, steps=20),
            adaptation_steps=2,
        ),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {
        "Superconductor-RandomForest-v0": _for_superconductor(RoMAConfig()),
        "Superconductor-RandomForest-v1": _for_superconductor(RoMAConfig()),
        "AntMorphology-Exact-v0": _for_ant(RoMAConfig()),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Train the smoothed network."""
        self.start(problem, context)
        self.surrogate = RoMASurrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, self.surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Climb from the `k` best visible designs, with the network adapted at every step."""
        config = self.config
        model = self.surrogate.model
        climb = Climb(self.fitted, config.resolved_ascent(), k)
        start = model(climb.z.unsqueeze(0))[0].detach()  # (1, k)
        for designs in climb.steps():  # (k, d)
            copy = adapted(model, designs, config)
            climb.move(penalised_gradient(model, copy, designs, start, config.region))
        return climb.proposals()

    def write_state(self, folder: Path) -> None:
        """Write the network."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the network."""
        self.surrogate = RoMASurrogate(self.config.surrogate)
        self.fitted = Fitted.load(
            folder, self.problem, self.config.encoder, self.context, self.surrogate
        )
