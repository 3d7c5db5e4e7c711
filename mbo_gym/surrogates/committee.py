"""The mean of unlike surrogates, and one on what another leaves over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.space import DesignSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import (
    CannotFit,
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
)
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["CommitteeConfig", "CommitteeSurrogate", "ResidualConfig", "ResidualSurrogate"]


@dataclass(frozen=True)
class CommitteeConfig:
    """Settings of a committee.

    Args:
        members: Registered names of surrogates, each fitted with the settings of its name.
        weights: Weight of each member; empty for equal ones.
    """

    members: tuple[str, ...] = ("trees", "light_ensemble", "kernel")
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.members or "committee" in self.members:
            raise ValueError(
                "members must name at least one surrogate other than committee, "
                f"got {list(self.members)}"
            )
        if self.weights and (len(self.weights) != len(self.members) or min(self.weights) < 0):
            raise ValueError(
                f"weights must be {len(self.members)} numbers of at least 0, one for each member, "
                f"got {list(self.weights)}"
            )

    @property
    def shares(self) -> list[float]:
        """The members' weights, of sum 1."""
        weights = self.weights or (1.0,) * len(self.members)
        total = sum(weights)
        return [weight / total for weight in weights]


class _Parts:
    """What surrogates made of other surrogates share.

    Attributes:
        parts: The other surrogates.
    """

    weighs_rows: ClassVar[bool] = True
    config: Any
    parts: list[Surrogate]

    @property
    def differentiable(self) -> bool:
        """Whether all parts are."""
        return all(part.differentiable for part in self.parts)

    def for_space(self, space: DesignSpace) -> None:
        """Let the parts take over what depends on the space."""
        for part in self.parts:
            part.for_space(space)

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Let the parts take over what depends on the problem."""
        for part in self.parts:
            part.for_problem(problem, encoder)

    def facts(self) -> dict[str, Any]:
        """Return own settings, and kind and settings of the parts."""
        return {**asdict(self.config), "parts": [[part.kind, part.facts()] for part in self.parts]}

    def state(self) -> dict[str, Tensor]:
        """Return the parts' tensors."""
        return {
            f"{i}.{key}": value
            for i, part in enumerate(self.parts)
            for key, value in part.state().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        for i, part in enumerate(self.parts):
            own = {k.split(".", 1)[1]: v for k, v in state.items() if k.split(".", 1)[0] == str(i)}
            part.load_state(own)


class CommitteeSurrogate(_Parts, Surrogate):  # type: ignore[override]
    """The weighed mean of surrogates of unlike kinds, whose errors cancel where they differ.

    Where one family is steep and wrong, the others hold the mean back.

    Args:
        config: Settings.

    Attributes:
        parts: The members.
    """

    kind: ClassVar[str] = "committee"
    Config: ClassVar[type[CommitteeConfig]] = CommitteeConfig

    def __init__(self, config: CommitteeConfig | None = None) -> None:
        self.config = config or CommitteeConfig()
        self.parts = [make_surrogate(name) for name in self.config.members]
        self._fitted: set[str] = set()

    def adopt(self, members: Mapping[str, Surrogate]) -> None:
        """Take over members that are fitted already, on the rows and the seed of the next `fit`."""
        for place, name in enumerate(self.config.members):
            if name in members:
                self.parts[place] = members[name]
                self._fitted.add(name)

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit all members on features (N, d) and scores (N,); see `Surrogate.fit`.

        The report is of the mean, on the rows that all members hold out.

        Raises:
            CannotFit: A member cannot be fitted on such features; the message names it.
        """
        started, reports = time.perf_counter(), []
        for name, part in zip(self.config.members, self.parts, strict=True):
            if name in self._fitted and part.report is not None:
                reports.append(part.report)
                continue
            part.row_weight = self.row_weight if part.weighs_rows else None
            try:
                reports.append(part.fit(z, y, seed=seed, progress=progress))
            except CannotFit as error:
                raise CannotFit(f"member {name} of the committee: {error}") from error
        self._fitted.clear()
        self.report = _joint_report(self, z, y, reports, seed, started)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        shares = self.config.shares
        return torch.stack(
            [share * part.predict(z) for share, part in zip(shares, self.parts, strict=True)]
        ).sum(dim=0)

    def spread(self, z: Tensor) -> Tensor:
        """Return the standard deviation of the members' predictions at features (B, d); (B,)."""
        return torch.stack([part.predict(z) for part in self.parts]).std(dim=0, correction=0)


@dataclass(frozen=True)
class ResidualConfig:
    """Settings of a surrogate on the residual of another.

    Args:
        first: Registered name of the surrogate of the scores.
        second: Registered name of that of what the first leaves over.
    """

    first: str = "trend"
    second: str = "light_ensemble"

    def __post_init__(self) -> None:
        if "residual" in (self.first, self.second):
            raise ValueError("first and second must name surrogates other than residual")


class ResidualSurrogate(_Parts, Surrogate):  # type: ignore[override]
    """A first surrogate plus a second one, which is fitted on what the first leaves over.

    A trend carries the shape far from the data, a network its details near them.

    Args:
        config: Settings.

    Attributes:
        parts: The first and the second.
    """

    kind: ClassVar[str] = "residual"
    Config: ClassVar[type[ResidualConfig]] = ResidualConfig

    def __init__(self, config: ResidualConfig | None = None) -> None:
        self.config = config or ResidualConfig()
        names = self.config.first, self.config.second
        self.parts = [make_surrogate(name) for name in names]

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit both on features (N, d) and scores (N,); see `Surrogate.fit`.

        Both hold out the same rows, of which the report tells.
        """
        started, left, reports = time.perf_counter(), y, []
        for part in self.parts:
            part.row_weight = self.row_weight if part.weighs_rows else None
            reports.append(part.fit(z, left, seed=seed, progress=progress))
            with torch.no_grad():
                left = left - torch.cat([part.predict(rows) for rows in torch.split(z, 1 << 13)])
        self.report = _joint_report(self, z, y, reports, seed, started)
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        first, second = self.parts
        return first.predict(z) + second.predict(z)


def _joint_report(
    surrogate: Surrogate,
    z: Tensor,
    y: Tensor,
    reports: Sequence[FitReport],
    seed: int,
    started: float,
) -> FitReport:
    """Judge a surrogate on the rows that all its parts held out."""
    n_held = min(report.n_held_out for report in reports)
    order, _ = hold_out(len(z), 1.0, torch.Generator(z.device).manual_seed(seed))
    held = order[:n_held]  # the parts held out the first rows of the same order
    return held_out_report(
        surrogate,
        z[held],
        y[held],
        n_train=max(report.n_train for report in reports),
        steps=sum(report.steps for report in reports),
        seconds=time.perf_counter() - started,
    )
