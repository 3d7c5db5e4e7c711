"""What happens in the process that learns: fit, propose, save; nothing is scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbo_gym.machine import peak_memory_mb, reset_peak_memory
from mbo_gym.methods.base import Context, Method, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.nn.checkpoints import trainings_kept
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import SearchPoint
from mbo_gym.surrogates.base import FitReport
from mbo_gym.surrogates.calls import count_learned_calls

__all__ = ["Learned", "learn", "report_of"]


@dataclass(frozen=True, eq=False)
class Learned:
    """What a method made of a problem, before anything is scored.

    Args:
        proposals: The proposals.
        fit_seconds: Wall-clock time of `fit`.
        propose_seconds: Wall-clock time of `propose`.
        peak_memory_mb: Most memory that the process held while the method learned and proposed,
            MiB, see `mbo_gym.machine.peak_memory_mb`.
        oracle_calls: Designs that oracles of this process have scored.
        learned_rollouts: Episodes that learned simulators computed.
        learned_gradients: Gradients of such episodes.
        report: How well the method's surrogate predicts held-out rows; None where it has none that
            predicts scores.
        trace: Designs along the search.
        tables: Tables that the method recorded, by name.
        touched: What the process touched that a method needs not, see `mbo_gym.runs.audit`.
        isolated: Whether the process held the problem alone.
    """

    proposals: Proposals
    fit_seconds: float
    propose_seconds: float
    peak_memory_mb: float | None
    oracle_calls: int
    learned_rollouts: int
    learned_gradients: int
    report: FitReport | None
    trace: list[SearchPoint]
    tables: Mapping[str, list[dict[str, Any]]]
    touched: tuple[str, ...] = ()
    isolated: bool = False


def learn(
    method: Method,
    problem: OfflineProblem,
    context: Context,
    k: int,
    folder: Path,
    checkpoints: Path | None = None,
) -> Learned:
    """Fit a method, let it propose, and save it.

    Args:
        method: Unfitted method.
        problem: All that it may know.
        context: Seed, device and progress; the latter is a `RichProgress`.
        k: Number of designs.
        folder: Folder of the fitted method.
        checkpoints: Folder of checkpoints within the fit and the search, see
            `mbo_gym.nn.checkpoints.trainings_kept`; None to keep none.
    """
    progress = context.progress
    assert isinstance(progress, RichProgress)
    reset_peak_memory()
    with (
        count_oracle_calls() as calls,
        count_learned_calls() as learned,
        trainings_kept(checkpoints),
    ):
        started = time.perf_counter()
        method.fit(problem, context)
        fitted = time.perf_counter()
        proposals = method.propose(k)
        proposed = time.perf_counter()
    peak = peak_memory_mb()
    method.save(folder)
    return Learned(
        proposals,
        fitted - started,
        proposed - fitted,
        peak,
        calls.count,
        learned.rollouts,
        learned.gradients,
        report_of(method),
        progress.trace,
        progress.tables,
    )


def report_of(method: Method) -> FitReport | None:
    """Return the report of a method's surrogate, if it predicts scores."""
    fitted = getattr(method, "fitted", None)
    if not isinstance(fitted, Fitted) or not fitted.surrogate.predicts_scores:
        return None
    return fitted.surrogate.report
