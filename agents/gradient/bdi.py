"""BDI: bidirectional learning with the kernel of an infinitely wide network."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.gradient.ascent import ORDER, AscentConfig, Climb
from mbo_gym.machine import memory_gb
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.fitted import Fitted
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import CannotFit, FitReport, Surrogate, held_out_report

__all__ = ["BDI", "BDIConfig", "Kernel", "TwoWayMapping"]

_BLOCK = 1 << 18
"""Numbers in a block of the kernel's matrix: 2 MB, and about 60 such blocks in a backward pass."""

_EDGE = 1 - 1e-14
"""Largest cosine of an angle; nearer to 1 it is rounding error."""


@dataclass(frozen=True)
class Kernel:
    """Neural tangent kernel of an infinitely wide ReLU network with a linear output.

    Closed form (Jacot et al., 2018; arc-cosine kernels of Cho and Saul, 2009). With C the
    covariance of a layer's outputs at two inputs and T the tangent kernel so far, both w x.x' / d +
    b after the first linear map, each hidden layer and the linear map behind it give
        C' = b + w / (2 pi) sqrt(C(x, x) C(x', x')) (sin a + (pi - a) cos a)
        T' = C' + w / (2 pi) (pi - a) T
    where a is the angle between the two: cos a = C / sqrt(C(x, x) C(x', x')).

    Args:
        layers: Hidden layers.
        weight_variance: w, variance of a weight times the number of inputs of its layer; 2 keeps
            C(x, x) the same through the layers. The scale it gives to the kernel changes nothing in
            kernel regression.
        bias_variance: b, variance of a bias.
    """

    layers: int = 5
    weight_variance: float = 1.0
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(self, 1, "layers")
        require_at_least(self, 0, "bias_variance")
        if not self.weight_variance > 0:
            raise ValueError(f"weight_variance must be above 0, got {self.weight_variance!r}")

    def __call__(self, one: Tensor, two: Tensor) -> Tensor:
        """Return the kernel between features (n, d) and (m, d), both float64; (n, m),
        differentiable.

        Where the angle is 0 or pi the kernel has a cusp; its slope there is set to 0.
        """
        w, b = self.weight_variance, self.bias_variance
        covariance = b + (w / one.shape[1]) * (one @ two.T)
        tangent = covariance
        rows = self._first_variance(one)
        columns = self._first_variance(two)
        for _ in range(self.layers):
            size = rows.sqrt().unsqueeze(1) * columns.sqrt()  # (n, m)
            cosine = (covariance / size).clamp(-_EDGE, _EDGE)
            active = (w / 2) * (1 - cosine.arccos() / math.pi)
            covariance = b + size * (
                active * cosine + (w / 2 / math.pi) * (1 - cosine.square()).sqrt()
            )
            tangent = covariance + active * tangent
            rows = b + (w / 2) * rows
            columns = b + (w / 2) * columns
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
        norm = z.square().mean(dim=1).clamp_min(1e-12)  # features may all be 0
        return self.bias_variance + self.weight_variance * norm


_ASCENT = AscentConfig(optimiser="adam", steps=200)
_KERNEL = Kernel(bias_variance=1.0)


@dataclass(frozen=True)
class BDIConfig:
    """Settings of BDI.

    Args:
        ascent: Settings of the search.
        kernel: Settings of the network whose kernel it is.
        label: y_h, target score of the designs, in standard deviations above the visible mean.
        gamma: Weight of good rows in the backward loss; None for 0.001, and 0 on categorical
            spaces.
        ridge: Term on the diagonal of the kernel's matrix, as a share of the diagonal's mean.
        max_rows: Most visible designs that are used, drawn at random; None for all. Memory grows
            with its square, time with its cube.
        encoder: Name of the encoder.
    """

    ascent: AscentConfig = _ASCENT
    kernel: Kernel = _KERNEL
    label: float = 10.0
    gamma: float | None = None
    ridge: float = 1e-6
    max_rows: int | None = 2000
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_rows")
        require_at_least(self, 0, "gamma")
        if not self.ridge > 0:
            raise ValueError(f"ridge must be above 0, got {self.ridge!r}")


class TwoWayMapping(Surrogate):
    """The forward and the backward mapping of BDI, both kernel regressions in float64.

    The forward mapping predicts scores. No row is held out, so the report has no error.

    Args:
        config: Settings of BDI.
    """

    kind: ClassVar[str] = "bdi"
    weighs_rows: ClassVar[bool] = True

    def __init__(self, config: BDIConfig) -> None:
        self.config: BDIConfig = config
        self._kernel = config.kernel
        self._gamma = 1e-3 if config.gamma is None else config.gamma
        self._state: dict[str, Tensor] = {}

    def for_space(self, space: DesignSpace) -> None:
        """Set the weight of good rows to 0 on categorical spaces, where the settings give none."""
        if self.config.gamma is None:
            self._gamma = 0.0 if isinstance(space, CategoricalSpace) else 1e-3

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Solve the forward regression on features (N, d) and scores (N,), or on a draw of rows.

        Raises:
            CannotFit: The kernel's matrix and its factor need more memory than the device has.
        """
        started = time.perf_counter()
        rows = self._drawn(y, seed)
        z = z.double()[rows]
        y = y.double()[rows]
        self._require_memory(len(z), str(z.device))
        matrix = z.new_empty(len(z), len(z))
        blocks = torch.split(torch.arange(len(z)), self._block(z))
        for rows in (progress or NullProgress()).track(blocks, "kernel of BDI"):
            matrix[rows] = self._kernel(z[rows], z)
        diagonal = matrix.diagonal()
        ridge = self.config.ridge * diagonal.mean()
        if self.row_weight is not None:
            weight = self.row_weight.double()[rows]
            ridge = ridge * weight.mean() / weight
        diagonal += ridge
        factor = torch.linalg.cholesky(matrix)
        self._state = {
            "features": z,
            "scores": y,
            "weights": torch.cholesky_solve(y.unsqueeze(1), factor).squeeze(1),
            "backward_weights": (self._gamma * y).softmax(dim=0),
        }
        seconds = time.perf_counter() - started
        self.report = held_out_report(self, z[:0], y[:0], n_train=len(z), steps=0, seconds=seconds)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d) by the forward mapping; (B,)."""
        known = self._state["features"]
        weights = self._state["weights"]
        blocks = torch.split(z.double(), self._block(known))
        return torch.cat([self._kernel(part, known) @ weights for part in blocks]).to(z.dtype)

    def losses(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the forward and the backward loss of features (B, d) float64; (B,) each."""
        label = self.config.label
        between = self._kernel(z, self._state["features"])  # (B, N)
        forward = between @ self._state["weights"] - label
        scale = (label / self._kernel.diagonal(z)).unsqueeze(1)  # (B, 1)
        backward = scale * between - self._state["scores"]  # (B, N)
        return (
            forward.square() / 2,
            backward.square() @ self._state["backward_weights"] / 2,
        )

    def downhill(self, z: Tensor) -> Tensor:
        """Return minus the gradient of both losses at features (B, d); (B, d)."""
        blocks = torch.split(z.double(), self._block(self._state["features"]))
        return torch.cat([self._downhill(part) for part in blocks]).to(z.dtype)

    def state(self) -> dict[str, Tensor]:
        """Return the rows' features (N, d) and scores (N,), and their weights forward (N,) and
        backward (N,)."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)

    def _downhill(self, z: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_(True)
            forward, backward = self.losses(leaf)
            (gradient,) = torch.autograd.grad((forward + backward).sum(), leaf)
        return -gradient

    def _drawn(self, y: Tensor, seed: int) -> Tensor | slice:
        """Return `max_rows` of the rows of scores (N,), drawn at random; all if there are less."""
        most = self.config.max_rows
        if most is None or len(y) <= most:
            return slice(None)
        generator = torch.Generator(y.device).manual_seed(seed)
        return torch.randperm(len(y), generator=generator, device=y.device)[:most]

    def _require_memory(self, n: int, device: str) -> None:
        needed = 2 * 8 * n**2 / 2**30
        available = memory_gb(device)
        if needed > available:
            most = int((available * 2**30 / 16) ** 0.5)
            raise CannotFit(
                f"BDI's kernel of {n:,} rows takes {needed:,.1f} GiB with its factor, and {device} "
                f"has {available:,.1f}. Set max_rows to at most {most:,}, or leave it at its "
                "default."
            )

    def _block(self, known: Tensor) -> int:
        return max(1, _BLOCK // len(known))


class BDI(Method):
    """BDI: bidirectional learning for offline model-based optimization (Chen et al., NeurIPS 2022).

    Finds designs that predict the data as well as the data predict the designs. K is the neural
    tangent kernel of an infinitely wide ReLU network with 5 hidden layers, X and y are the visible
    features and scores, and y_h = 10 standard deviations is the target score of a design x_h.

    Algorithm:
        1. x_h <- one of the best visible designs
        2. repeat: one step of Adam in x_h, down the sum of
               forward    1/2 (K(x_h, X) (K(X, X) + ridge I)^-1 y - y_h)^2
               backward   1/2 sum_i w_i (K(X_i, x_h) K(x_h, x_h)^-1 y_h - y_i)^2
           with w = softmax(gamma y)
        3. propose all x_h, the highest forward prediction first

    Each design is searched on its own; all are computed as one batch, in float64. The kernel's
    matrix has N^2 numbers: preset `paper` takes every row, twice 1.8 GB for 15,000 rows and twice
    8.7 GB for TFBind8. A fit for which the memory does not suffice is refused. With no more than
    `max_rows` rows, and no more designs than rows, nothing is random: all seeds give equal designs.

    Args:
        config: Settings; preset `paper` has all rows and no biases.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("bdi", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Chen et al. 2022, Bidirectional Learning for Offline Infinite-width Model-based
        Optimization, arXiv 2209.07507.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="BDI: bidirectional learning for offline infinite-width model-based optimization",
        paper="Chen, Zhang, Fu, Liu and Coates 2022, Bidirectional Learning for Offline "
        "Infinite-width Model-based Optimization, NeurIPS, arXiv 2209.07507",
        differences=(
            Difference(
                "the network has no biases",
                "biases as random as the weights; preset `paper` has none",
                "without, the fit is proportional to the length of the features, so designs leave "
                "outward: on Levy they end far below their starts",
            ),
            Difference(
                "every visible design is used",
                "at most 2,000 visible designs (`max_rows`), drawn at random; preset `paper` uses "
                "all",
                "the kernel's matrix has N^2 numbers",
            ),
            replace(ORDER, here="proposals are ordered by the forward prediction"),
        ),
        metrics={
            "ascent/prediction": "mean forward prediction of the designs at a step, in standard "
            "deviations of the visible scores",
            "ascent/diverged": "designs that became inf or NaN and were reset to their start",
        },
        equations=(
            r"L_f(x_h) = \tfrac{1}{2} \left(K(x_h, X) (K(X, X) + \beta I)^{-1} y - y_h\right)^2",
            r"L_b(x_h) = \tfrac{1}{2} \sum_i w_i "
            r"\left(K(X_i, x_h) K(x_h, x_h)^{-1} y_h - y_i\right)^2",
        ),
    )
    Config: ClassVar[type[Any]] = BDIConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": BDIConfig(max_rows=None, kernel=Kernel()),
        "boxed": BDIConfig(ascent=replace(_ASCENT, bounds="data")),
        "light": BDIConfig(max_rows=100, ascent=replace(_ASCENT, steps=20)),
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=2)

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Solve the forward regression."""
        self.start(problem, context)
        self.mapping = TwoWayMapping(self.config)
        self.fitted = Fitted.fit(problem, self.mapping, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Search from the `k` best visible designs, down both losses."""
        climb = Climb(self.fitted, self.config.ascent, k)
        for designs in climb.steps():
            climb.move(self.mapping.downhill(designs))
        return climb.proposals()

    def write_state(self, folder: Path) -> None:
        """Write the mapping."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the mapping."""
        self.mapping = TwoWayMapping(self.config)
        self.fitted = Fitted.load(
            folder, self.problem, self.config.encoder, self.context, self.mapping
        )
