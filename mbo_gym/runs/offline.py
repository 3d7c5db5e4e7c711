"""Numbers that are known of a method without an oracle, beside how far they hold."""

from __future__ import annotations

import math

import numpy as np

from mbo_gym.methods.base import Proposals
from mbo_gym.problem.dataset import ScoreScale
from mbo_gym.surrogates.base import FitReport

__all__ = ["offline_numbers"]


def offline_numbers(
    report: FitReport | None, scale: ScoreScale, proposals: Proposals, scores: np.ndarray | None
) -> dict[str, float | None]:
    """Return what a method's surrogate says of itself; None where unknown.

    Args:
        report: Report of the surrogate; without one the result is empty.
        scale: Mean and standard deviation of the visible scores.
        proposals: The method's proposals.
        scores: (k,) raw scores of these, NaN for infeasible designs; None without an oracle.

    Returns:
        ``r2``, ``rank_correlation`` and ``coverage_data`` on held-out rows, see `FitReport`, and
        ``coverage_proposals``: the share of the proposals whose score lies inside the interval that
        covers 90 % of the held-out rows.
    """
    if report is None:
        return {}
    numbers = {
        "r2": report.r2,
        "rank_correlation": report.rank_correlation,
        "coverage_data": report.coverage,
        "coverage_proposals": _coverage(report, scale, proposals, scores),
    }
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _coverage(
    report: FitReport, scale: ScoreScale, proposals: Proposals, scores: np.ndarray | None
) -> float:
    """Return the share of the proposals' scores inside the interval; NaN where unknown."""
    predicted = proposals.scores(scale)
    if scores is None or predicted is None or not math.isfinite(report.half_width):
        return math.nan
    known = np.isfinite(scores)
    error = np.abs(predicted - scores)[known]
    return float((error <= report.half_width * scale.std).mean()) if known.any() else math.nan
