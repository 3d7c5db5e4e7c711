"""BDI: designs that predict a high score from the data, and the data from a high score, both
through one kernel.

Algorithm (Chen, Zhang, Fu, Liu and Coates, Bidirectional Learning for Offline Infinite-width
Model-based Optimization, NeurIPS 2022):
    K is the neural tangent kernel of an infinitely wide ReLU network, X, y are the visible features
    and scores, and x_h is a design to be found, whose score is said to be y_h = 10 standard
    deviations.
    1. x_h <- one of the best visible designs.
    2. Repeat `steps` times: one step of Adam down the gradient in x_h of the sum of forward    1/2
           (K(x_h, X) (K(X, X) + ridge I)^-1 y - y_h)^2             the data predict the label
           backward   1/2 sum_i w_i (K(X_i, x_h) K(x_h, x_h)^-1 y_h - y_i)^2       the design
           predicts the data
       with w = softmax(gamma y).
    3. Return all x_h, the highest forward prediction first.

Each design is found on its own; all of them are computed as one batch, in float64. The network has
5 hidden layers.

Differs from the paper: the network has biases, as random as its weights. Without, as in `paper`,
the fit is
proportional to the length of the features: whatever scores above the mean improves by moving
outward, and the backward loss pulls the same way. On Levy that ends far below the starts.

The kernel's matrix has N^2 numbers, so by default the data are at most `max_rows` visible designs,
drawn at random. `paper` takes every row: 1.8 GB twice for 15,000 rows, 8.7 GB twice for TFBind8;
more than the machine has is refused before it is tried. Where there are no more rows than that, and
no more designs are asked for than there are rows, nothing is random and every seed gives the same
designs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.gradient._old_ascent import Ascent, AscentConfig
from mbo_gym.machine import memory_gb
from mbo_gym.methods.base import Resources
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import CannotFit, FitReport, Surrogate, held_out_report

__all__ = ["BDI", "BDIConfig", "Kernel", "TwoWayMapping"]

_BLOCK = (
    1 << 18
    # numbers in a block of the kernel's matrix: 2 MB, and some 60 such blocks while it is
    # differentiated
)
_EDGE = 1 - 1e-14  # nearer to 1 than this, an angle's cosine is rounding error


@dataclass(frozen=True)
class Kernel:
    """The neural tangent kernel of an infinitely wide ReLU network with a linear output.

    Closed form (Jacot et al., 2018; arc-cosine kernels of Cho and Saul, 2009). With C the
    covariance of a layer's outputs at two inputs and T the tangent kernel so far, both w x.x' / d +
    b after the first linear map, each hidden layer and the linear map behind it give
        C' = b + w / (2 pi) sqrt(C(x, x) C(x', x')) (sin a + (pi - a) cos a)
        T' = C' + w / (2 pi) (pi - a) T
    where a is the angle between the two: cos a = C / sqrt(C(x, x) C(x', x')).

    Args:
        layers: Hidden layers.
        weight_variance: w, of a weight times the number of inputs of its layer; 2 keeps C(x, x) the
            same through the layers. The scale it gives to the kernel changes nothing in kernel
            regression.
        bias_variance: b.
    """

    layers: int = 5
    weight_variance: float = 1.0
    bias_variance: float = 0.0

    def __call__(self, one: Tensor, two: Tensor) -> Tensor:
        """Return the kernel between features (n, d) and (m, d), both float64; (n, m),
        differentiable.

        Where the angle is 0 or pi the kernel has a cusp; its slope there counts as 0.
        """
        w, b = self.weight_variance, self.bias_variance
        covariance = b + (w / one.shape[1]) * (one @ two.T)
        tangent, rows, columns = covariance, self._first_variance(one), self._first_variance(two)
        for _ in range(self.layers):
            size = rows.sqrt().unsqueeze(1) * columns.sqrt()
            cosine = (covariance / size).clamp(-_EDGE, _EDGE)
            active = (w / 2) * (1 - cosine.arccos() / math.pi)
            covariance = b + size * (
                active * cosine + (w / 2 / math.pi) * (1 - cosine.square()).sqrt()
            )
            tangent = covariance + active * tangent
            rows, columns = b + (w / 2) * rows, b + (w / 2) * columns
        return tangent

    def diagonal(self, z: Tensor) -> Tensor:
        """Return the kernel of each row of features (n, d) float64 with itself; (n,),
        differentiable."""
        variance = tangent = self._first_variance(z)
        for _ in range(self.layers):
            variance = self.bias_variance + (self.weight_variance / 2) * variance
            tangent = variance + (self.weight_variance / 2) * tangent
        return tangent

    def _first_variance(self, z: Tensor) -> Tensor:
        norm = z.square().mean(dim=1)
        return self.bias_variance + self.weight_variance * norm.clamp_min(
            1e-12
        )  # features may all be 0


@dataclass(frozen=True)
class BDIConfig(AscentConfig):
    """Settings of BDI; those that all ascent shares are in `AscentConfig`.

    Args:
        label: y_h, the score that the designs are said to have, in standard deviations above the
            visible mean.
        gamma: How much more the backward loss weighs good rows; None for .001, and 0 on categorical
            spaces.
        layers: Hidden layers of the network.
        weight_variance: See `Kernel`.
        bias_variance: See `Kernel`.
        ridge: Added to the kernel's diagonal, as a share of the diagonal's mean.
        max_rows: Most visible designs that are used; None for all. Memory grows with its square,
            time with its cube.
    """

    optimiser: Literal["plain", "adam"] = "adam"
    steps: int | None = 200
    label: float = 10.0
    gamma: float | None = None
    layers: int = 5
    weight_variance: float = 1.0
    bias_variance: float = 1.0
    ridge: float = 1e-6
    max_rows: int | None = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "layers", "max_rows")
        require_at_least(self, 0, "gamma", "bias_variance")
        for name in ("weight_variance", "ridge"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")


class TwoWayMapping(Surrogate):
    """What BDI climbs. Its predictions are the forward mapping's; its gradient is that of minus
    both losses.

    So `ascend` goes down the losses, while what is shown and ordered by are predicted scores. It is
    no model to search with by other methods, and is registered under no name.

    Args:
        config: Its settings.
        gamma: The setting of that name, resolved.
    """

    kind: ClassVar[str] = "bdi"

    def __init__(self, config: BDIConfig, gamma: float) -> None:
        self.config, self._gamma = config, gamma
        self._kernel = Kernel(config.layers, config.weight_variance, config.bias_variance)
        self._state: dict[str, Tensor] = {}

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Solve the kernel regression on features (N, d) and scores (N,), or on the rows drawn from
        them.

        No row is held out, so the report holds no error.

        Raises:
            CannotFit: The kernel's matrix and its factor need more memory than the device has.
        """
        started = time.perf_counter()
        z, y = z.double(), y.double()
        if self.config.max_rows is not None and len(y) > self.config.max_rows:
            generator = torch.Generator(z.device).manual_seed(seed)
            rows = torch.randperm(len(y), generator=generator, device=z.device)[
                : self.config.max_rows
            ]
            z, y = z[rows], y[rows]
        self._require_memory(len(z), str(z.device))
        matrix = z.new_empty(len(z), len(z))
        for part in (progress or NullProgress()).track(
            torch.split(torch.arange(len(z)), self._block(z)), "kernel of BDI"
        ):
            matrix[part] = self._kernel(z[part], z)
        diagonal = matrix.diagonal()
        diagonal += self.config.ridge * diagonal.mean()
        weights = torch.cholesky_solve(y.unsqueeze(1), torch.linalg.cholesky(matrix)).squeeze(1)
        backward = (self._gamma * y).softmax(dim=0)
        self._state = {"features": z, "scores": y, "weights": weights, "backward_weights": backward}
        self.report = held_out_report(
            self, z[:0], y[:0], n_train=len(z), steps=0, seconds=time.perf_counter() - started
        )
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d) by the forward mapping; (B,)."""
        known = self._state["features"]
        blocks = torch.split(z.double(), self._block(known))
        return torch.cat(
            [self._kernel(part, known) @ self._state["weights"] for part in blocks]
        ).to(z.dtype)

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the forward mapping's predictions (B,) at features (B, d), and minus the losses'
        gradients (B, d)."""
        parts = [
            self._downhill(part)
            for part in torch.split(z.double(), self._block(self._state["features"]))
        ]
        prediction, direction = (
            torch.cat(column).to(z.dtype) for column in zip(*parts, strict=True)
        )
        return prediction, direction

    def losses(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return forward prediction, forward loss and backward loss of features (B, d) float64;
        (B,) each."""
        known, y, label = self._state["features"], self._state["scores"], self.config.label
        between = self._kernel(z, known)  # (B, n)
        prediction = between @ self._state["weights"]
        backward = (label / self._kernel.diagonal(z)).unsqueeze(1) * between - y
        return (
            prediction,
            (prediction - label).square() / 2,
            backward.square() @ self._state["backward_weights"] / 2,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the rows' features (n, d) and scores (n,), their weights forward (n,) and backward
        (n,)."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)

    def _downhill(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_(True)
            prediction, forward, backward = self.losses(leaf)
            (gradient,) = torch.autograd.grad((forward + backward).sum(), leaf)
        return prediction.detach(), -gradient

    def _require_memory(self, n: int, device: str) -> None:
        needed, there = 2 * 8 * n**2 / 2**30, memory_gb(device)
        if needed > there:
            raise CannotFit(
                f"BDI's kernel of {n:,} rows takes {needed:,.1f} GiB with its factor, and {device} has {there:,.1f}; "
                f"set max_rows to at most {int((there * 2**30 / 16) ** 0.5):,}, or leave it at its default"
            )

    def _block(self, known: Tensor) -> int:
        return max(1, _BLOCK // len(known))


class BDI(Ascent):
    """Bidirectional learning on an infinitely wide network; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = BDIConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": BDIConfig(max_rows=None, bias_variance=0.0),
        "boxed": BDIConfig(bounds="data"),
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2)

    def new_surrogate(self) -> Surrogate:
        """Return the two mappings, with the problem's weight of good rows."""
        gamma = 0.0 if isinstance(self._problem.space, CategoricalSpace) else 1e-3
        return TwoWayMapping(self.config, gamma if self.config.gamma is None else self.config.gamma)
