"""COMs: gradient ascent on a surrogate that is trained to be low on its own adversarial designs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from agents.gradient.ascent import ORDER, AscentConfig, ascend_from_best
from mbo_gym._moved import forwarded
from mbo_gym.methods.ascent import ascend
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.nn.mlp import BatchedMLP
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.training import Trainer
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import FitReport, Surrogate, require_fitted
from mbo_gym.surrogates.mlp import MLPConfig, row_order
from mbo_gym.surrogates.network import ScoreNetwork, Split

__all__ = ["COMs", "COMsConfig", "COMsSurrogate", "COMsSurrogateConfig", "conservative_loss"]

__getattr__ = forwarded(__name__)  # names that have moved


@dataclass(frozen=True)
class COMsSurrogateConfig(MLPConfig):
    """Settings of a conservative network; those of the network are in `MLPConfig`.

    Args:
        categorical: Whether the features stand for letters, which decides what None means for the
            next two; None for the kind of the problem's space, see `Surrogate.for_space`.
        negative_step_size: Size of a plain step towards x_neg; None for 0.05 sqrt(d) (categorical
            2 sqrt(d)).
        tau: How far the mean prediction on x_neg may lie above that on the data, in standard
            deviations of the score; None for 0.5 (categorical 2).
        negative_steps: T, plain steps towards x_neg; 0 disables the conservative term.
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

    def of_space(self, space: DesignSpace) -> COMsSurrogateConfig:
        """Return the settings with `categorical` filled in for a space, unless it is set."""
        if self.categorical is not None:
            return self
        return replace(self, categorical=isinstance(space, CategoricalSpace))

    def negative_recipe(self, n_features: int) -> tuple[float, float]:
        """Return the size of a step towards x_neg and tau, for d features."""
        size, tau = (2.0, 2.0) if self.categorical else (0.05, 0.5)
        return (
            size * n_features**0.5 if self.negative_step_size is None else self.negative_step_size,
            tau if self.tau is None else self.tau,
        )


def conservative_loss(
    on_data: Tensor,
    on_negative: Tensor,
    y: Tensor,
    alpha: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the squared error plus alpha times the overestimation on x_neg (), and the latter ().

    Args:
        on_data: (1, B) outputs on the data.
        on_negative: (1, B) outputs on x_neg.
        y: (B,) scores of the data.
        alpha: () weight.
        weight: (B,) weights of the squared errors, or None where all count alike.
    """
    overestimation = on_negative.mean() - on_data.mean()
    error = (on_data - y).square()
    if weight is not None:
        error = weight * error
    return error.mean() + alpha * overestimation, overestimation


class COMsSurrogate(Surrogate):
    """A multilayer perceptron that is pushed down where climbing it leads; see `COMs`.

    Args:
        config: Settings.

    Attributes:
        alpha: Weight of the conservative term, as the last fit left it.

    Example:
        >>> surrogate = COMsSurrogate(COMsSurrogateConfig(hidden=16, train_steps=20))
        >>> report = surrogate.fit(torch.rand(100, 3), torch.rand(100), seed=0)
        >>> surrogate.predict(torch.rand(5, 3)).shape
        torch.Size([5])
    """

    kind: ClassVar[str] = "coms"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[Any]] = COMsSurrogateConfig
    config: COMsSurrogateConfig

    def __init__(self, config: COMsSurrogateConfig | None = None) -> None:
        self.config = config or COMsSurrogateConfig()
        self.alpha = self.config.alpha
        self._model: ScoreNetwork | None = None

    def for_space(self, space: DesignSpace) -> None:
        """Take over whether the space is categorical, unless the config says it."""
        self.config = self.config.of_space(space)

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        config = self.config
        step_size, tau = config.negative_recipe(z.shape[1])
        generator = torch.Generator(z.device).manual_seed(seed)
        data = Split.draw(z, y, config.held_out, generator, self.row_weight)
        network = BatchedMLP.draw(config.sizes(z.shape[1]), 1, generator)
        self._model = ScoreNetwork(network, data.unit)
        trainer = Trainer(
            network,
            config.training(),
            stage="surrogate",
            description=f"fitting {self.kind}",
            progress=progress,
        )
        log_alpha = torch.tensor(math.log(config.alpha), device=z.device)
        dual = torch.optim.Adam([log_alpha], lr=config.alpha_rate, maximize=True)
        rows = RowPool(row_order(config, data.y, members=1), config.batch_size)
        for _ in trainer.steps():
            batch = rows.draw(generator)[0]
            x = data.z[batch]  # (B, d)
            negative = self._climbed(x, step_size)
            alpha = log_alpha.exp()
            loss, overestimation = conservative_loss(
                network.outputs(x),
                network.outputs(negative),
                data.y[batch],
                alpha,
                data.weight_of(batch),
            )
            trainer.update(loss, loss=loss)
            log_alpha.grad = alpha * (overestimation.detach() - tau)
            dual.step()
        trainer.finish()
        self.alpha = float(log_alpha.exp())
        self.report = data.report(self, config.train_steps)
        return self.report

    def _climbed(self, x: Tensor, step_size: float) -> Tensor:
        """Climb the network as it stands by T plain steps from x (B, d); (B, d), no gradient."""
        steps = self.config.negative_steps
        return ascend(self, x, "plain", steps, step_size, box=None, progress=NullProgress())

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return self._fitted.scores(z)[0]

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d); (B, width)."""
        return self._fitted.hidden(z)

    def state(self) -> dict[str, Tensor]:
        """Return weights, biases, the unit of the scores and alpha."""
        return {**self._fitted.state(), "alpha": torch.tensor(self.alpha)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._model = ScoreNetwork.from_state(state)
        self.alpha = float(state["alpha"])

    @property
    def _fitted(self) -> ScoreNetwork:
        return require_fitted(self._model, self.kind)


_PLAIN = AscentConfig()


@dataclass(frozen=True)
class COMsConfig:
    """Settings of `COMs`.

    Args:
        surrogate: Settings of the conservative network.
        ascent: Settings of the search. For its optimiser ``plain``, `steps` None is 50, and
            `step_size` None is the size of the steps towards x_neg.
        encoder: Name of the encoder.
    """

    surrogate: COMsSurrogateConfig = COMsSurrogateConfig()
    ascent: AscentConfig = _PLAIN
    encoder: str = "z_score"

    def search(self, problem: OfflineProblem, n_features: int) -> AscentConfig:
        """Return the settings of the search with its number and size of steps filled in."""
        steps, size = self.ascent.recipe(problem, n_features)
        if self.ascent.optimiser == "plain":
            steps = 50 if self.ascent.steps is None else steps
            own, _ = self.surrogate.of_space(problem.space).negative_recipe(n_features)
            size = own if self.ascent.step_size is None else size
        return replace(self.ascent, steps=steps, step_size=size)


class COMs(Method):
    """COMs: conservative objective models (Trabucco et al., ICML 2021).

    Trains a surrogate f that is pushed down on its own adversarial designs, then climbs it.

    Algorithm:
        1. for each batch (x, y), climb f as it stands from x by T plain steps to x_neg; no gradient
           flows through the climb
        2. update f down   mean (f(x) - y)^2 + alpha (mean f(x_neg) - mean f(x))
        3. update log alpha, by Adam, up   alpha (mean f(x_neg) - mean f(x) - tau):
           the weight grows while f is higher on x_neg than on the data by more than tau
        4. climb f from the K best visible designs by T steps of the same size; propose the ends,
           the highest f first

    T = 50. Step size and tau depend on the kind of space: 0.05 sqrt(d) and 0.5 for continuous, 2
    sqrt(d) and 2 for categorical ones, with features and scores at unit variance.

    Args:
        config: Settings; preset `paper` has the published network of 2 x 2048, for a GPU.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("coms", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Trabucco, Kumar, Geng and Levine 2021, Conservative Objective Models for Effective Offline
        Model-Based Optimization, ICML, arXiv 2107.06882.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="COMs: conservative objective models",
        paper="Trabucco, Kumar, Geng and Levine 2021, Conservative Objective Models for Effective "
        "Offline Model-Based Optimization, ICML, arXiv 2107.06882",
        differences=(
            Difference(
                "2 x 2048 units, 50 epochs",
                "2 x 128 units, 2,000 updates; preset `paper` has 2 x 2048 and 11,600 updates (50 "
                "epochs of TFBind8)",
                "seconds in place of minutes on a CPU",
            ),
            Difference("leaky ReLU", "ReLU, also in preset `paper`", "one network for all methods"),
            Difference(
                "a constant learning rate of 3e-4",
                "a learning rate that decays from 1e-3 to 0 along a cosine; preset `paper`: from "
                "3e-4 along a cosine",
                "one training recipe for all surrogates",
            ),
            ORDER,
        ),
        metrics={
            "surrogate/loss": "squared error plus the weighted conservative term on a batch",
            "ascent/prediction": "mean prediction of the designs at a step, in standard deviations "
            "of the visible scores",
            "ascent/diverged": "designs that became inf or NaN and were reset to their start",
        },
        equations=(
            r"x^- = x + \eta \sum_{t<T} \nabla f(x_t)",
            r"\min_f \; \mathbb{E}\,(f(x) - y)^2 + \alpha \left(\mathbb{E} f(x^-) - "
            r"\mathbb{E} f(x)\right)",
            r"\max_{\log\alpha} \; \alpha \left(\mathbb{E} f(x^-) - \mathbb{E} f(x) - \tau\right)",
        ),
    )
    Config: ClassVar[type[Any]] = COMsConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": COMsConfig(  # 50 epochs of TFBind8
            COMsSurrogateConfig(hidden=2048, train_steps=11_600, learning_rate=3e-4)
        ),
        "boxed": COMsConfig(ascent=AscentConfig(bounds="data")),
        "light": COMsConfig(
            COMsSurrogateConfig(hidden=16, train_steps=20, batch_size=32, negative_steps=3),
            AscentConfig(steps=20),
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the conservative network."""
        self.start(problem, context)
        surrogate = COMsSurrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Ascend from the `k` best visible designs."""
        search = self.config.search(self.problem, self.fitted.encoder.n_features)
        return ascend_from_best(self.fitted, search, k)

    def write_state(self, folder: Path) -> None:
        """Write the network."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the network."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)
