"""Scores of proposals; a method's designs are scored here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mbo_gym.errors import InvalidDesign
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.evaluation.distances import diversity, novelty
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.oracle import MeteredOracle
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Task

__all__ = ["QUANTILES", "Evaluation", "Summary", "evaluate"]

N_FIRST = 128
"""Designs of the first part that is scored too: papers propose 128 or 256."""

QUANTILES = np.linspace(0, 1, 41)
"""Where the distribution of a set of scores is kept."""


@dataclass(frozen=True)
class Summary:
    """Normalised scores of a set of designs.

    Args:
        n: How many designs it is over.
        p100: 100th percentile, the best.
        p50: 50th percentile, the median.
        mean: Arithmetic mean.
    """

    n: int
    p100: float
    p50: float
    mean: float

    @classmethod
    def of(cls, normalised: np.ndarray) -> Summary:
        """Summarise normalised scores (n,), n >= 1."""
        return cls(
            len(normalised),
            float(normalised.max()),
            float(np.median(normalised)),
            float(normalised.mean()),
        )


@dataclass(frozen=True)
class Evaluation:
    """Scores and counts of a set of proposals.

    An infeasible design (outside the space, or without a finite score) is not scored. In the
    summaries it counts as the worst: the lower of 0 and the worst feasible score.

    Args:
        task_id: Id of the task.
        k: Number of proposals.
        d_best: Best visible score, normalised.
        note: Empty, or why nothing was scored.
        overall: Over all k, or None without an oracle.
        first: Over the first 128 (all, where there are fewer).
        distinct: Over the distinct designs among them.
        share_above_best: Share of the k that score above D(best); None without an oracle.
        n_unique: Distinct designs.
        n_in_data: Proposals that are visible designs already.
        n_infeasible: Proposals that could not be scored.
        oracle_calls: Designs scored for this evaluation.
        n_visible: Visible designs of the task.
        diversity: Mean distance between two proposals, see `mbo_gym.evaluation.distances`; 0 for a
            single feasible one.
        novelty: Mean distance of a proposal to the nearest visible design; both over the feasible
            proposals, and None where there are none.
        quantiles: Normalised scores at `QUANTILES`; empty without an oracle.
        ceiling: Best reachable {"p100", "p50"} over k distinct designs, normalised, and whether
            that is "exact"; empty where unknown.
        controls: {"p100", "p50"} that methods which learn nothing reach with k designs, normalised,
            where known exactly.
        scores: (k,) raw scores, NaN for infeasible designs; None without an oracle. Not part of
            `to_dict`.
    """

    task_id: str
    k: int
    d_best: float
    note: str
    overall: Summary | None
    first: Summary | None
    distinct: Summary | None
    share_above_best: float | None
    n_unique: int
    n_in_data: int
    n_infeasible: int
    oracle_calls: int
    n_visible: int
    diversity: float | None
    novelty: float | None
    quantiles: tuple[float, ...] = ()
    ceiling: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    scores: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single scores as plain JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scores"}
        for name in ("overall", "first", "distinct"):
            plain[name] = vars(plain[name]).copy() if plain[name] else None
        return plain

    def __str__(self) -> str:
        if self.overall is None or self.distinct is None or self.share_above_best is None:
            return (
                f"{self.task_id}: {self.k} designs, {self.n_unique} distinct, "
                f"{self.n_in_data} in the data. {self.note}"
            )
        return (
            f"{self.task_id}: {self.k} designs, 100th {self.overall.p100:.3f}, "
            f"50th {self.overall.p50:.3f} (distinct {self.distinct.p50:.3f}), "
            f"D(best) {self.d_best:.3f}, above it {self.share_above_best:.0%}, "
            f"{self.n_unique} distinct, {self.n_in_data} in the data, "
            f"{self.n_infeasible} infeasible, {self.oracle_calls} oracle calls"
        )


def evaluate(
    task: Task, designs: ArrayLike | Sequence[str], *, oracle: MeteredOracle | None = None
) -> Evaluation:
    """Score proposals with the task's oracle.

    Args:
        task: The task.
        designs: (K, *shape) native designs or a method's `Proposals`, best first; for categorical
            spaces also K sequences of letters.
        oracle: Metered oracle to go on with, whose budget holds; None for a fresh one.

    Returns:
        The evaluation. Without an oracle it has the counts only, and says so in `note`.

    Example:
        >>> import mbo_gym
        >>> task = mbo_gym.make_task("Branin-Exact-v0")
        >>> mbo_gym.evaluate(task, task.dataset.top(8).x).oracle_calls
        8

    Raises:
        InvalidDesign: The array has the wrong shape or holds no designs. (Single bad rows are
            counted, not raised.)
        BudgetExceeded: The oracle's budget does not cover the feasible designs.
    """
    x = _as_designs(task, designs)
    feasible = task.space.contains(x)
    inside = x[feasible].astype(task.space.dtype)
    facts: dict[str, Any] = {
        "task_id": task.info.task_id,
        "k": len(x),
        "d_best": task.info.d_best,
        "n_unique": len(first_of_each_design(x)),
        "n_in_data": _count_in(inside, task.dataset.x),
        "n_visible": len(task.dataset.y),
        "diversity": diversity(task.space, task.dataset, inside) if len(inside) else None,
        "novelty": novelty(task.space, task.dataset, inside) if len(inside) else None,
    }
    if not task.has_oracle:
        note = f"Not scored: this task has no oracle. {task.info.oracle}"
        facts |= dict.fromkeys(("overall", "first", "distinct", "share_above_best"))
        return Evaluation(**facts, note=note, n_infeasible=int((~feasible).sum()), oracle_calls=0)
    oracle = oracle or task.oracle()
    before = oracle.calls
    scores = np.full(len(x), np.nan)
    if feasible.any():
        scores[feasible] = oracle(x[feasible])
    scores[~np.isfinite(scores)] = np.nan
    normalised = task.normalise(scores)
    bad = np.isnan(normalised)
    normalised[bad] = min(0.0, float(np.nanmin(normalised)) if (~bad).any() else 0.0)
    return Evaluation(
        **facts,
        note="",
        overall=Summary.of(normalised),
        first=Summary.of(normalised[:N_FIRST]),
        distinct=Summary.of(normalised[first_of_each_design(x)]),
        share_above_best=float((normalised[~bad] > task.info.d_best).sum() / len(x)),
        n_infeasible=int(bad.sum()),
        oracle_calls=oracle.calls - before,
        quantiles=tuple(np.quantile(normalised, QUANTILES).tolist()),
        ceiling=_ceiling(task, len(x)),
        controls=known_controls(task, len(x)),
        scores=scores,
    )


def _ceiling(task: Task, k: int) -> dict[str, Any]:
    if task.ceiling is None:
        return {}
    p100, p50 = task.normalise(np.array([task.ceiling.percentile(q, k) for q in (100, 50)]))
    return {
        "p100": float(p100),
        "p50": float(p50),
        "exact": task.ceiling.exact,
        "note": task.ceiling.note,
    }


def _as_designs(task: Task, designs: Any) -> np.ndarray:
    if isinstance(task.space, MixedSpace):
        if isinstance(designs, Mapping):
            designs = [designs]
        if isinstance(designs, (list, tuple)) and designs and isinstance(designs[0], Mapping):
            designs = task.space.parse(designs)
    x = np.asarray(designs)
    if x.dtype.kind in "US" and x.ndim == 1 and isinstance(task.space, CategoricalSpace):
        x = task.space.parse([str(s) for s in x])
    if len(x) == 0:
        raise InvalidDesign("there are no designs to evaluate")
    if x.dtype.kind not in "fiu":
        raise InvalidDesign(f"designs must be numbers{_or_letters(task)}, got {x.dtype=}")
    if task.space.shape != x.shape[1:]:
        raise InvalidDesign(f"designs must have shape (K, {task.space.shape[0]}), got {x.shape=}")
    return x


def _or_letters(task: Task) -> str:
    if isinstance(task.space, MixedSpace):
        return " or mappings from parameter to value"
    return " or sequences of letters" if isinstance(task.space, CategoricalSpace) else ""


def _count_in(x: np.ndarray, data: np.ndarray) -> int:
    """Count the rows of `x` (K, *shape) that are rows of `data` (N, *shape)."""
    # few rows share the first number
    candidates = data[np.isin(data[:, 0], x[:, 0])] if len(x) else data[:0]
    zero = x.dtype.type(0)  # added, so that -0.0 and 0.0 are one number
    x, candidates = x + zero, candidates + zero
    wanted = {row.tobytes() for row in x}
    present = {row.tobytes() for row in candidates} & wanted
    return sum(row.tobytes() in present for row in x)
