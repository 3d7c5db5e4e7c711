"""A surrogate that fits several kinds and keeps the one that predicts held-out rows best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.space import DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import CannotFit, FitReport, Surrogate, require_fitted
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["LeastErrorConfig", "LeastErrorSurrogate"]


@dataclass(frozen=True)
class LeastErrorConfig:
    """Settings of the choice among surrogates.

    Args:
        candidates: Registered names, each fitted with the settings of its name; the first one wins
            a tie.
    """

    candidates: tuple[str, ...] = ("light_ensemble", "quadratic")

    def __post_init__(self) -> None:
        if not self.candidates or "least_error" in self.candidates:
            raise ValueError(
                "candidates must name at least one surrogate other than least_error, "
                f"got {self.candidates!r}"
            )


class LeastErrorSurrogate(Surrogate):
    """Of several surrogates the one with the least root mean squared error on the same held-out
    rows.

    The error rather than the rank correlation: a search follows the size of gradients, and a model
    that overfits exaggerates them while it still orders rows as well as a careful one. Which
    candidate wins can differ from seed to seed where they are equally good.

    A candidate that cannot be fitted on such features is left out. The others are fitted with one
    and the same seed, and what is kept equals that candidate fitted on its own. `save` writes the
    one that was kept, under its own kind and name, and `mbo_gym.surrogates.load_surrogate` returns
    that one.

    Args:
        config: Settings.

    Attributes:
        reports: The candidates' reports of the last fit, by name.
        chosen: Name of the one that was kept; empty before `fit`.
    """

    kind: ClassVar[str] = "least_error"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[LeastErrorConfig]] = LeastErrorConfig

    def __init__(self, config: LeastErrorConfig | None = None) -> None:
        self.config = config or LeastErrorConfig()
        self.reports: dict[str, FitReport] = {}
        self.chosen = ""
        self._surrogate: Surrogate | None = None
        self._space: DesignSpace | None = None
        self._problem: tuple[OfflineProblem, Encoder] | None = None

    def for_space(self, space: DesignSpace) -> None:
        """Let the candidates take over what depends on the space."""
        self._space = space

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Let the candidates take over what depends on the problem."""
        super().for_problem(problem, encoder)
        self._problem = problem, encoder

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit all candidates on features (N, d) and scores (N,), and keep one; see `Surrogate.fit`.

        The report is the kept one's, but for the time, which is that of all.

        Raises:
            CannotFit: No candidate can be fitted on such features.
            ValueError: The candidates hold no rows out, or not equally many.
            UnknownId: A candidate is not registered.
        """
        started, fitted, obstacles = time.perf_counter(), {}, []
        for name, surrogate in self._candidates().items():
            surrogate.row_weight = self.row_weight
            try:
                if self._problem is not None:
                    surrogate.for_problem(*self._problem)
                surrogate.fit(z, y, seed=seed, progress=progress)
                fitted[name] = surrogate
            except CannotFit as error:
                obstacles.append(f"{name}: {error}")
        if not fitted:
            raise CannotFit(f"none of the candidates can be fitted; {'; '.join(obstacles)}")
        reports = {name: surrogate.report for name, surrogate in fitted.items() if surrogate.report}
        counts = {name: report.n_held_out for name, report in reports.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(
                "candidates are judged by the same held-out rows, of which there must be one at "
                f"least; got {counts} of {len(z)} rows. Give more rows, candidates with one "
                "held_out, or name a surrogate in place of least_error"
            )
        self.chosen = min(
            reports, key=lambda name: (math.isnan(reports[name].rmse), reports[name].rmse)
        )
        self._surrogate, self.reports = fitted[self.chosen], reports
        self.report = replace(reports[self.chosen], seconds=time.perf_counter() - started)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return self._kept.predict(z)

    def value_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction (B,) and its gradient (B, d) at features (B, d), in one pass."""
        return self._kept.value_and_gradient(z)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer at features (B, d), where the kept one has any; (B, h)."""
        return self._kept.hidden(z)

    @property
    def spread(self) -> Callable[[Tensor], Tensor]:
        """The kept ensemble's `spread`; an AttributeError where the kept one is no ensemble, as on
        itself."""
        spread: Callable[[Tensor], Tensor] = self._kept.spread  # type: ignore[attr-defined]
        return spread

    def facts(self) -> dict[str, Any]:
        """Return the candidates' kinds and settings, in their order."""
        return {
            "candidates": [
                [name, made.kind, made.facts()] for name, made in self._candidates().items()
            ]
        }

    def state(self) -> dict[str, Tensor]:
        """Return the kept one's tensors."""
        return self._kept.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Give the kept one other tensors of its kind."""
        self._kept.load_state(state)

    def to(self, device: torch.device | str) -> LeastErrorSurrogate:
        """Move the kept one to a device; returns itself."""
        self._kept.to(device)
        return self

    def save(self, path: Path | str) -> None:
        """Write the kept one as a surrogate of its own kind and name."""
        self._kept.save(path)

    @property
    def _kept(self) -> Surrogate:
        return require_fitted(self._surrogate, self.kind)

    def _candidates(self) -> dict[str, Surrogate]:
        made = {name: make_surrogate(name) for name in self.config.candidates}
        if self._space is not None:
            for surrogate in made.values():
                surrogate.for_space(self._space)
        return made
