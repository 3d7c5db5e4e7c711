"""A surrogate that races model families on held-out rows, and takes one or their mean."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import (
    CannotFit,
    FitReport,
    NotDifferentiable,
    Surrogate,
    predict_in_pieces,
    require_fitted,
)
from mbo_gym.surrogates.committee import CommitteeConfig, CommitteeSurrogate
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["AutoConfig", "AutoSurrogate", "Entrant"]

_FOLDS = 5


@dataclass(frozen=True)
class AutoConfig:
    """Settings of a race of families.

    Args:
        trends: Unbounded families, judged by leave-one-out on all rows.
        bounded: Families that stay near the scores seen.
        committee: Members of the mean that is taken where no trend predicts best.
        letters: Families for sequences of letters, which are averaged by how well they predict.
        rows: Most rows that bounded families are judged on; a fifth of them is held out.
        few: Fewer rows than this are judged by five folds; a network of sequences needs as many.
        most_rows: Most rows that are used at all; of more, so many are drawn at random, and a
            warning says so.
        least_weight: A family of letters with less than this share of the best one's squared R2 is
            left out.
    """

    trends: tuple[str, ...] = ("trend",)
    bounded: tuple[str, ...] = ("trees", "kernel")
    committee: tuple[str, ...] = ("trees", "light_ensemble", "kernel")
    letters: tuple[str, ...] = ("sequence_ridge", "trees", "sequence_cnn")
    rows: int = 6000
    few: int = 2000
    most_rows: int = 100_000
    least_weight: float = 0.05

    def __post_init__(self) -> None:
        require_at_least(self, 10, "rows", "most_rows")
        require_at_least(self, 0, "few", "least_weight")
        for name in ("trends", "bounded", "committee", "letters"):
            families = getattr(self, name)
            if not families or "auto" in families:
                raise ValueError(
                    f"{name} must name at least one surrogate other than auto, got {families!r}"
                )


@dataclass(frozen=True)
class Entrant:
    """A family in the race.

    Args:
        name: Its registered name.
        r2: Share of the scores' variance that it predicts on rows it was not fitted on, the same
            rows for all; NaN where it was not judged.
        judged: How: ``leave-one-out``, ``folds`` or ``held out``; empty for a family that is taken
            into a committee unjudged, or could not be fitted.
        n: Rows that its R2 is of.
        weight: Its share of the surrogate that was taken; 0 for none.
        seconds: Wall-clock time.
        kind: Which of its kinds it chose, e.g. ``isotropic``; empty where it has none.
        obstacle: Why it could not be fitted; empty where it could.
    """

    name: str
    r2: float
    judged: str
    n: int
    weight: float = 0.0
    seconds: float = 0.0
    kind: str = ""
    obstacle: str = ""

    def row(self) -> dict[str, Any]:
        """Return the entrant as a row of plain JSON values."""
        return {**asdict(self), "r2": None if math.isnan(self.r2) else self.r2}


class AutoSurrogate(Surrogate):
    """The family that fits the task: a trend, a committee of unlike kinds, or models of letters.

    Algorithm:
        1. judge every family by R2 on rows that it was not fitted on, the same rows for all
        2. sequences of letters: the mean of their families, weighed by (R2 / best R2)^2
        3. else, where a trend predicts at least as well as the best bounded family: that trend
        4. else the equal mean of the committee

    A trend may lead only where it predicts best, since it is unbounded: inside a committee it would
    rule far from the data whether it is right there or not. Only visible rows are used. The
    table of the race goes to the progress, and from there into the result and the report of a run.

    Asked for a gradient (`for_ascent`), families without one do not take part.

    Args:
        config: Settings.

    Attributes:
        table: Every family of the last race.
        leads: Whether a trend was taken, which a search may climb.
        learned: Whether any family predicts rows it has not seen better than their mean does, by
            more than chance: R2 > 4 / n, a correlation of more than two standard errors.

    Example:
        >>> import torch
        >>> from mbo_gym.surrogates.registry import make_surrogate
        >>> z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> auto = make_surrogate("auto", bounded=("kernel",))
        >>> _ = auto.fit(z, z[:, 0] - z.square().sum(1), seed=0)
        >>> [(entrant.name, entrant.weight) for entrant in auto.table]
        [('trend', 1.0), ('kernel', 0.0)]

    References:
        Rules and constants are our own, see the documentation's page of the method `matched`.
    """

    kind: ClassVar[str] = "auto"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[AutoConfig]] = AutoConfig

    def __init__(self, config: AutoConfig | None = None) -> None:
        self.config = config or AutoConfig()
        self.table: tuple[Entrant, ...] = ()
        self.leads = False
        self.learned = True
        self._climbed = False
        self._weight: Tensor | None = None  # of the rows that race
        self._whole: dict[str, Surrogate] = {}  # families fitted on all rows by the race
        self._taken: CommitteeSurrogate | None = None
        self._problem: tuple[OfflineProblem, Encoder] | None = None

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether what was taken is."""
        return self._taken is None or self._taken.differentiable

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Let the families take over what depends on the problem."""
        self._problem = problem, encoder

    def for_ascent(self) -> None:
        """Let families that have a gradient take part alone."""
        self._climbed = True

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Race the families on features (N, d) and scores (N,), and fit what is taken.

        The report is of what was taken, on the rows that its members hold out.

        Raises:
            CannotFit: No family can be fitted on such features.
        """
        started, config = time.perf_counter(), self.config
        progress = progress or NullProgress()
        self._whole = {}
        self._weight = self.row_weight
        if len(z) > config.most_rows:
            z, y, self._weight = self._drawn(z, y, seed)
        letters = self._problem is not None and isinstance(self._problem[0].space, CategoricalSpace)
        names = self._able(config.letters if letters else (*config.trends, *config.bounded))
        found = [
            self._judge(name, z, y, seed, progress) for name in progress.track(names, "racing")
        ]
        if all(entrant.obstacle for entrant, _ in found):
            reasons = "; ".join(f"{entrant.name}: {entrant.obstacle}" for entrant, _ in found)
            raise CannotFit(f"no family can be fitted; {reasons}")
        judged = self._with_r2(found, y)
        able = [entrant for entrant in judged if not entrant.obstacle]
        self.learned = any(entrant.r2 * entrant.n > 4 for entrant in able)
        taken = self._weighed(able) if letters else self._led(able)
        judged += [
            Entrant(name, math.nan, "", 0)
            for name in taken
            if name not in {entrant.name for entrant in judged}
        ]
        total = sum(taken.values())
        self.table = tuple(replace(e, weight=taken.get(e.name, 0.0) / total) for e in judged)
        progress.table("race", [entrant.row() for entrant in self.table])
        self._taken = CommitteeSurrogate(CommitteeConfig(tuple(taken), tuple(taken.values())))
        self._taken.adopt(self._whole)
        self._whole = {}
        if self._problem is not None:
            self._taken.for_problem(*self._problem)
        self._taken.row_weight = self._weight
        if self._climbed:
            self._taken.for_ascent()
        report = self._taken.fit(z, y, seed=seed, progress=progress)
        self.report = replace(report, seconds=time.perf_counter() - started)
        return self.report

    def _drawn(self, z: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return `most_rows` of features (N, d), of scores (N,) and of the weights of rows."""
        n = self.config.most_rows
        warnings.warn(
            f"The race of families uses {n:,} of {len(z):,} rows, drawn at random. Raise most_rows "
            "to use more.",
            stacklevel=3,
        )
        rows = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:n]
        return z[rows], y[rows], self._weight_of(rows)

    def _able(self, names: Sequence[str]) -> list[str]:
        """Return the families that may take part.

        Raises:
            NotDifferentiable: A gradient is asked for, and none of them has one.
        """
        able = [n for n in names if not self._climbed or make_surrogate(n).differentiable]
        if not able:
            raise NotDifferentiable(
                f"none of the families {', '.join(names)} has a gradient to climb. Name one that "
                "has among the settings of auto (trend, kernel, light_ensemble, sequence_ridge)."
            )
        return able

    def _weighed(self, able: Sequence[Entrant]) -> dict[str, float]:
        """Return the weight of each family of letters that is taken."""
        best = max(able, key=lambda entrant: entrant.r2)
        self.leads = False
        if best.r2 <= 0:  # nothing was learned: the least bad alone
            return {best.name: 1.0}
        shares = {e.name: (max(e.r2, 0.0) / best.r2) ** 2 for e in able}
        return {name: w for name, w in shares.items() if w >= self.config.least_weight}

    def _led(self, able: Sequence[Entrant]) -> dict[str, float]:
        """Return the best trend where it leads, else the committee."""
        trends = [entrant for entrant in able if entrant.name in self.config.trends]
        others = [entrant.r2 for entrant in able if entrant.name not in self.config.trends]
        best = max(trends, key=lambda entrant: entrant.r2, default=None)
        self.leads = best is not None and best.r2 >= max(others, default=-torch.inf)
        if self.leads:
            assert best is not None
            return {best.name: 1.0}
        return dict.fromkeys(self._able(self.config.committee), 1.0)

    def _judge(
        self, name: str, z: Tensor, y: Tensor, seed: int, progress: Progress
    ) -> tuple[Entrant, Tensor]:
        """Judge a family on rows that it was not fitted on.

        Returns:
            The entrant, still without R2, and (N,) errors, NaN for rows that it was not judged on.
        """
        started = time.perf_counter()
        errors = torch.full_like(y, torch.nan)
        kind = obstacle = judged = ""
        try:
            if hasattr(make_surrogate(name), "left_out"):  # in closed form, on all rows
                judged = "leave-one-out"
                fitted = self._fitted(name, z, y, torch.arange(len(z)), seed, progress)
                self._whole[name] = fitted
                kind = fitted.chosen  # type: ignore[attr-defined]
                errors = fitted.left_out.to(y)  # type: ignore[attr-defined]
            elif name == "sequence_cnn" and len(z) < self.config.few:
                raise CannotFit(f"a network of sequences needs {self.config.few} rows")
            else:
                few = len(z) < self.config.few
                judged = "folds" if few else "held out"
                order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
                rows = order if few else order[-self.config.rows :]  # the first are for reports
                for part in range(_FOLDS if few else 1):
                    asked = torch.arange(len(rows)) % _FOLDS == part
                    fitted = self._fitted(name, z, y, rows[~asked], seed, progress)
                    found = predict_in_pieces(fitted.predict, z[rows[asked]])
                    errors[rows[asked]] = y[rows[asked]] - found
        except CannotFit as error:
            judged, obstacle = "", str(error)
        seconds = time.perf_counter() - started
        return Entrant(name, math.nan, judged, 0, 0.0, seconds, kind, obstacle), errors

    def _fitted(
        self, name: str, z: Tensor, y: Tensor, rows: Tensor, seed: int, progress: Progress
    ) -> Surrogate:
        """Return a family fitted on some rows."""
        surrogate = make_surrogate(name)
        if self._problem is not None:
            surrogate.for_problem(*self._problem)
        surrogate.row_weight = self._weight_of(rows)
        surrogate.fit(z[rows], y[rows], seed=seed, progress=progress)
        return surrogate

    def _weight_of(self, rows: Tensor) -> Tensor | None:
        """Return the weights of rows (n,), of mean 1; None where all count alike."""
        if self._weight is None:
            return None
        weight = self._weight[rows]
        return weight / weight.mean()

    def _with_r2(self, judged: Sequence[tuple[Entrant, Tensor]], y: Tensor) -> list[Entrant]:
        """Return the entrants with R2 on the rows that all were judged on.

        On the same rows, so that what is hard to predict there is so for all of them.
        """
        able = [errors for entrant, errors in judged if not entrant.obstacle]
        rows = torch.stack([errors.isfinite() for errors in able]).all(dim=0)
        weight = torch.ones_like(y) if self._weight is None else self._weight
        weight = weight[rows] / weight[rows].sum()
        spread = (weight * (y[rows] - (weight * y[rows]).sum()).square()).sum().clamp_min(1e-12)
        return [
            entrant
            if entrant.obstacle
            else replace(
                entrant,
                r2=1 - float((weight * errors[rows].square()).sum() / spread),
                n=int(rows.sum()),
            )
            for entrant, errors in judged
        ]

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,)."""
        return require_fitted(self._taken, self.kind).predict(z)

    @property
    def lead(self) -> Surrogate | None:  # type: ignore[override]
        """The member with the largest weight, if one has."""
        if self._taken is None or len(self._taken.parts) < 2:
            return None
        shares = self._taken.config.shares
        best = max(range(len(shares)), key=shares.__getitem__)
        return self._taken.parts[best] if shares.count(shares[best]) == 1 else None

    @property
    def spread(self) -> Callable[[Tensor], Tensor]:
        """The committee's `spread`; an AttributeError where one family alone was taken."""
        taken = require_fitted(self._taken, self.kind)
        if len(taken.parts) < 2:
            raise AttributeError(f"a single {taken.parts[0].kind} has no spread of members")
        return taken.spread

    def facts(self) -> dict[str, Any]:
        """Return the settings, and those of all families by name."""
        config = self.config
        names = {*config.trends, *config.bounded, *config.committee, *config.letters}
        made = {name: make_surrogate(name) for name in sorted(names)}
        return {
            **super().facts(),
            "climbed": self._climbed,
            "families": {name: [one.kind, one.facts()] for name, one in made.items()},
        }

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of what was taken, and which families these are."""
        taken = require_fitted(self._taken, self.kind)
        names = ",".join(taken.config.members).encode()
        return {
            **{f"taken.{key}": value for key, value in taken.state().items()},
            "names": torch.tensor(list(names), dtype=torch.uint8),
            "weights": torch.tensor(taken.config.shares, dtype=torch.float64),
            "leads": torch.tensor(self.leads),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        names = bytes(state["names"].tolist()).decode().split(",")
        weights = tuple(state["weights"].tolist())
        self._taken = CommitteeSurrogate(CommitteeConfig(tuple(names), weights))
        own = {k.removeprefix("taken."): v for k, v in state.items() if k.startswith("taken.")}
        self._taken.load_state(own)
        self.leads = bool(state["leads"])
