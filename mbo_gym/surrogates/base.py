"""What a surrogate is: a model of the score, fitted on the visible data."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.errors import DamagedFile, MboGymError
from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.problem.space import DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress

__all__ = [
    "CannotFit",
    "FitReport",
    "NotDifferentiable",
    "Surrogate",
    "held_out_report",
    "hold_out",
    "predict_in_pieces",
    "require_fitted",
]

Fitted = TypeVar("Fitted")

_COVERED = 0.9
_ENOUGH_FOR_INTERVALS = 20


class CannotFit(MboGymError, ValueError):
    """A kind of surrogate cannot be fitted on such features; the message says which limit they
    pass, and what can."""


class NotDifferentiable(MboGymError, ValueError):
    """A surrogate without a gradient is asked for one; the message says what to take instead."""


@dataclass(frozen=True)
class FitReport:
    """How well a surrogate predicts rows that it was not fitted on.

    Args:
        rank_correlation: Spearman's, between predictions and scores of the held-out rows; NaN with
            fewer than 3 of them.
        rmse: Root mean squared error on them, in the unit of the scores that `fit` was given; NaN
            with none.
        n_train: Rows fitted on.
        n_held_out: Rows held out.
        steps: Gradient updates; 0 for a surrogate fitted in closed form.
        seconds: Wall-clock time.
        r2: Share of the variance of the held-out scores that is predicted; NaN with fewer than 3 of
            them.
        half_width: Half width of an interval around predictions: the 90th percentile of the
            absolute errors on one half of the held-out rows; NaN with fewer than 20 of them.
        coverage: Share of the other half that lies inside that interval; NaN likewise.
    """

    rank_correlation: float
    rmse: float
    n_train: int
    n_held_out: int
    steps: int
    seconds: float
    r2: float = float("nan")
    half_width: float = float("nan")
    coverage: float = float("nan")


class Surrogate(ABC):
    """A model f: R^d -> R of the score, most often differentiable. A subclass writes `fit`,
    `predict` and the state it is saved by.

    mbo_gym hands `fit` standardised scores (`ScoreScale`), so predictions, gradients and rewards
    are in standard deviations of the visible scores.

    Attributes:
        kind: The name under which `mbo_gym.surrogates` knows it.
        Config: Settings, a dataclass.
        config: The settings it was built from.
        name: The registered name whose settings it has; empty for one with settings of its own.
        report: Report of the last fit.
        weighs_rows: Whether `fit` lets each row count by `row_weight`.
        differentiable: Whether predictions have a gradient in the features.
        predicts_scores: Whether predictions are scores; else they only order designs.
        lead: A part of the fitted model that orders designs much as the whole does, in less time;
            None for none.
        row_weight: (N,) weights of the rows of the next `fit`, mean 1; None where all count alike.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[Any]]
    config: Any
    name: str = ""
    report: FitReport | None = None
    weighs_rows: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    predicts_scores: ClassVar[bool] = True
    row_weight: Tensor | None = None
    lead: Surrogate | None = None

    @abstractmethod
    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,), on their device; the same seed gives the same
        model on a CPU.

        The rows that the report is about are `hold_out`'s by a generator of `seed`, so that reports
        of surrogates of one seed and share tell of the same rows.

        Raises:
            CannotFit: This kind of surrogate cannot be fitted on such features.
        """

    def for_space(self, space: DesignSpace) -> None:  # noqa: B027 (most have nothing to take over)
        """Take over what depends on the space that the features stand for, before `fit`; here
        nothing does."""

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Take over what depends on the problem and its features, before `fit`; here its space.

        Args:
            problem: What a method may know.
            encoder: Encoder of the features, fitted on the problem.

        Raises:
            CannotFit: This kind of surrogate has no use on such a problem.
        """
        self.for_space(problem.space)

    def for_ascent(self) -> None:
        """Prepare for a search that climbs the prediction, before `fit`; a choice among surrogates
        then takes only those that have a gradient.

        Raises:
            NotDifferentiable: Predictions of this kind have no gradient.
        """
        self.require_gradient()

    @abstractmethod
    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), in `z` if it is `differentiable`."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return the tensors that make up the fitted model."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a fitted model."""

    def facts(self) -> dict[str, Any]:
        """Return all settings that a fit depends on, by which fitted surrogates are cached."""
        return asdict(self.config)

    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient of the prediction at features (B, d); (B, d)."""
        return self.value_and_gradient(z)[1]

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction (B,) and its gradient (B, d) at features (B, d), in one pass.

        Raises:
            NotDifferentiable: Predictions have no gradient.
        """
        self.require_gradient()
        with torch.enable_grad():
            leaf = z.detach().requires_grad_(True)
            value = self.predict(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    def require_gradient(self) -> None:
        """Check that predictions have a gradient.

        Raises:
            NotDifferentiable: They have none.
        """
        if not self.differentiable:
            raise NotDifferentiable(
                f"{self.name or self.kind!r} surrogates have no gradient to climb. Take one that "
                "has (light_ensemble, mlp, trend, kernel), or a method that only asks for "
                "predictions (matched, cem, cma_es, reinforce)."
            )

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), an embedding of the designs; (B, h).

        Raises:
            NotImplementedError: This kind of surrogate has none.
        """
        raise NotImplementedError(
            f"{self.kind!r} surrogates have no hidden layer to embed designs in; take one that has "
            "(mlp, mlp_paper, mean_ensemble, min_ensemble) or another embedding"
        )

    def to(self, device: torch.device | str) -> Surrogate:
        """Move the fitted model to a device; returns itself."""
        self.load_state({key: value.to(device) for key, value in self.state().items()})
        return self

    def save(self, path: Path | str) -> None:
        """Write the fitted model as one safetensors file, its config and report in the header,
        whole or not at all."""
        about = {
            "kind": self.kind,
            "name": self.name,
            "config": json.dumps(asdict(self.config)),
            "report": json.dumps(asdict(self.report) if self.report else None),
        }
        save_weights(Path(path), self.state(), about)

    def read(self, path: Path | str) -> None:
        """Take over state, name and report of the file that `save` of such a surrogate wrote."""
        tensors, facts = read_saved(path)
        self.load_state(tensors)
        self.name = facts["name"]
        self.report = FitReport(**facts["report"]) if facts["report"] else None


def require_fitted(model: Fitted | None, kind: str) -> Fitted:
    """Return what a surrogate of a kind has fitted.

    Raises:
        RuntimeError: It has not been fitted.
    """
    if model is None:
        raise RuntimeError(f"this {kind} surrogate is not fitted; call fit(z, y, seed=...) first")
    return model


def hold_out(n: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the rows to hold out of `n`, and return them and the others; (floor(n * share),) and the
    rest, int64."""
    order = torch.randperm(n, generator=generator, device=generator.device)
    return order[: int(n * share)], order[int(n * share) :]


def held_out_report(
    surrogate: Surrogate, z: Tensor, y: Tensor, *, n_train: int, steps: int, seconds: float
) -> FitReport:
    """Judge a fitted surrogate by held-out features (H, d) and scores (H,); the rest is written
    into the report."""
    from scipy.stats import spearmanr

    rank = rmse = r2 = half_width = coverage = float("nan")
    if len(z):
        prediction = predict_in_pieces(surrogate.predict, z)
        error = (prediction - y).abs()
        rmse = float(error.square().mean().sqrt())
        if len(z) >= 3 and float(y.std()) > 0:
            r2 = 1 - float(error.square().mean() / y.var(correction=0))
            if float(prediction.std()) > 0:
                rank = float(spearmanr(prediction.cpu().numpy(), y.cpu().numpy()).statistic)
        if len(z) >= _ENOUGH_FOR_INTERVALS:
            half_width = float(error[::2].double().quantile(_COVERED))
            coverage = float((error[1::2] <= half_width).double().mean())
    return FitReport(
        rank, rmse, n_train, len(z), steps, seconds, r2, half_width=half_width, coverage=coverage
    )


def read_saved(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the facts (kind, config, report) of a surrogate's file.

    Raises:
        MissingData: There is no such file.
        DamagedFile: It is not what was written, or no surrogate.
    """
    tensors, about = read_weights(path)
    try:
        facts = {
            "kind": about["kind"],
            "name": about["name"],
            "config": json.loads(about["config"]),
            "report": json.loads(about["report"]),
        }
    except (KeyError, ValueError) as error:
        raise DamagedFile(
            f"{path} is no saved surrogate. Pass a file that save() wrote."
        ) from error
    return tensors, facts


def predict_in_pieces(
    function: Callable[[Tensor], Tensor], z: Tensor, piece: int = 1 << 13
) -> Tensor:
    """Apply a function of rows to features (N, d) piece by piece, without gradients, in bounded
    memory."""
    with torch.no_grad():
        return (
            torch.cat([function(part) for part in torch.split(z, piece)])
            if len(z)
            else z.new_empty(0)
        )
