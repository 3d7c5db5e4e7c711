"""COMs: gradient ascent on a network that was taught to be low where gradient ascent leads.

Algorithm (Trabucco, Kumar, Geng and Levine, ICML 2021, arXiv 2107.06882):
    1. For each batch (x, y): climb the network as it stands, from x, by T plain steps; that gives
       x_neg. No gradient flows through the climb.
    2. Update the network along   mean (f(x) - y)^2 + alpha (mean f(x_neg) - mean f(x)),   down, and
       log alpha, by Adam, along   alpha (mean f(x_neg) - mean f(x) - tau),   up: the weight grows
       while the network is higher on x_neg than on the data by more than tau.
    3. From the K best visible designs, take T steps of the same size.

T = 50. Step and tau depend on the kind of space: 0.05 sqrt(d) and 0.5 for continuous, 2 sqrt(d) and
2 for categorical ones, with features and scores at unit variance.

Differs from the paper: by default a network of 2 x 128 and a shorter training (`paper` has the
published 2 x 2048 on batches of 128, for a GPU); ReLU; the learning rate decays along a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from agents.gradient._old_ascent import Ascent, AscentConfig
from agents.gradient._old_stacked import StackedMLP
from mbo_gym.methods.ascent import ascend
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.mlp import MLPConfig

__all__ = ["COMs", "COMsConfig", "COMsSurrogate", "COMsSurrogateConfig", "coms_surrogate"]


Settings = TypeVar("Settings", bound="COMsSurrogateConfig")


@dataclass(frozen=True)
class COMsSurrogateConfig(MLPConfig):
    """Settings of a conservative network; those of the network are in `MLPConfig`.

    Args:
        categorical: Whether the features stand for letters, which decides what None means for the
            next two; None for what the problem's space is, see `Surrogate.for_space`.
        negative_step_size: Of a plain step towards x_neg; None for 0.05 sqrt(d) (categorical 2
            sqrt(d)).
        tau: How far the mean prediction on x_neg may lie above that on the data, in standard
            deviations of the score; None for 0.5 (categorical 2).
        negative_steps: T, plain steps towards x_neg; 0 for a network that nothing but the data
            teaches.
        alpha: Weight of the conservative term at the start, above 0.
        alpha_rate: Adam's learning rate for log alpha; 0 keeps it.
    """

    hidden: int = 128
    train_steps: int = 2000
    batch_size: int = 128
    categorical: bool | None = None
    negative_step_size: float | None = None
    tau: float | None = None
    negative_steps: int = 50
    alpha: float = 0.1
    alpha_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "negative_step_size", "negative_steps", "alpha_rate")
        if not self.alpha > 0:
            raise ValueError(
                f"alpha must be above 0, since its logarithm is learnt; got {self.alpha}"
            )

    def negative_recipe(self, n_features: int) -> tuple[float, float]:
        """Return the size of a step towards x_neg and tau, for d features."""
        size, tau = (2.0, 2.0) if self.categorical else (0.05, 0.5)
        return (
            size * n_features**0.5 if self.negative_step_size is None else self.negative_step_size,
            tau if self.tau is None else self.tau,
        )


class COMsSurrogate(StackedMLP):
    """A perceptron that is held down where climbing it leads; see the module's docstring.

    Args:
        config: Its settings.

    Attributes:
        alpha: Weight of the conservative term, as the last fit left it.
    """

    kind: ClassVar[str] = "coms"
    config: COMsSurrogateConfig

    def __init__(self, config: COMsSurrogateConfig | None = None) -> None:
        super().__init__(config or COMsSurrogateConfig(), members=1)
        self.alpha = self.config.alpha

    def for_space(self, space: DesignSpace) -> None:
        """Take over whether the space is categorical, unless the config says it."""
        self.config = _of_space(self.config, space)

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        self._log_alpha = torch.tensor(math.log(self.config.alpha), device=z.device)
        self._dual = torch.optim.Adam([self._log_alpha], lr=self.config.alpha_rate, maximize=True)
        report = super().fit(z, y, seed=seed, progress=progress)
        self.alpha = float(self._log_alpha.exp())
        return report

    def batch_loss(self, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return the squared error and the weighted overestimation on x_neg (), and update the
        weight."""
        size, tau = self.config.negative_recipe(z.shape[2])
        x_neg = ascend(
            self, z[0], "plain", self.config.negative_steps, size, box=None, progress=NullProgress()
        )
        on_data = self.outputs(z)
        overestimation = self.outputs(x_neg.unsqueeze(0)).mean() - on_data.mean()
        alpha = self._log_alpha.exp()
        loss = (on_data - y).square().mean() + alpha * overestimation
        self._log_alpha.grad = alpha * (overestimation.detach() - tau)
        self._dual.step()
        return loss

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the unit of the scores and alpha."""
        return {**super().state(), "alpha": torch.tensor(self.alpha)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().load_state(state)
        self.alpha = float(state["alpha"])


def coms_surrogate(**config: Any) -> Surrogate:
    """Return an unfitted `COMsSurrogate` of these fields of its config."""
    return COMsSurrogate(COMsSurrogateConfig(**config))


@dataclass(frozen=True)
class COMsConfig(AscentConfig, COMsSurrogateConfig):
    """Settings of COMs: the ascent's (`AscentConfig`) and the network's (`COMsSurrogateConfig`).

    For the plain optimiser, `steps` None is 50, and `step_size` None that of the steps towards
    x_neg.
    """

    def __post_init__(self) -> None:
        AscentConfig.__post_init__(self)
        COMsSurrogateConfig.__post_init__(self)

    def recipe(self, problem: OfflineProblem, n_features: int) -> tuple[int, float]:
        """Return the number of steps and their size for a problem."""
        if self.optimiser != "plain":
            return super().recipe(problem, n_features)
        size, _ = _of_space(self, problem.space).negative_recipe(n_features)
        return (
            50 if self.steps is None else self.steps,
            size if self.step_size is None else self.step_size,
        )


class COMs(Ascent):
    """Conservative objective models; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = COMsConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": COMsConfig(
            hidden=2048, train_steps=11_600, learning_rate=3e-4
        ),  # 50 epochs of TFBind8
        "boxed": COMsConfig(bounds="data"),
    }

    def new_surrogate(self) -> Surrogate:
        """Return the conservative network."""
        return COMsSurrogate(part_of(self.config, COMsSurrogateConfig))


def _of_space(config: Settings, space: DesignSpace) -> Settings:
    """Return settings with `categorical` filled in for a space."""
    categorical = isinstance(space, CategoricalSpace)
    return replace(config, categorical=categorical) if config.categorical is None else config
