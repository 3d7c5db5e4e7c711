"""The data model of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mbo_gym.benchmark.analysis.statistics import (
    Interval,
)

if TYPE_CHECKING:  # that module builds on this one
    from mbo_gym.benchmark.analysis.model import Entry, Problem


from typing import Any

from mbo_gym.benchmark.analysis.published import Reproduction
from mbo_gym.benchmark.analysis.statistics import Comparison, Description

__all__ = [
    "CEILINGS",
    "MEASURES",
    "RANKINGS",
    "Analysis",
    "Entry",
    "Failure",
    "Problem",
    "Scale",
    "Standing",
]


MEASURES = ("p100", "p50_distinct", "p50", "mean", "first_p100", "first_p50", "share_above_best")
"""Normalised scores of a cell: best and median of the K proposals (the median also over distinct
designs), their mean, best and median of the first 128, and the share above D(best)."""


RANKINGS = ("p100", "p50_distinct", "skill")
"""What methods are ranked by; `skill` is that of the 50th percentile over distinct designs."""


@dataclass(frozen=True)
class Problem:
    """A task with its options and a budget.

    Args:
        name: The task's id, with its options in brackets and K where the results hold several.
        task_id: The task.
        options: Of the task.
        k: Designs proposed.
        n_visible: Visible rows; 0 where no cell is done.
        d_best: Best visible score, normalised; NaN where no cell is done.
        ceiling: {"p100", "p50", "exact", "note"}, empty where unknown.
        best_control: For each of p100 and p50_distinct, the label of the control with the highest
            mean and that mean; empty where the results hold no control.
    """

    name: str
    task_id: str
    options: Mapping[str, Any]
    k: int
    n_visible: int
    d_best: float
    ceiling: Mapping[str, Any]
    best_control: Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class Entry:
    """A method on a problem, over its seeds.

    Args:
        label: The method's name in tables.
        problem: The problem's name.
        control: Whether it learns nothing.
        exact: An expectation that follows from the task's table, not a run: no seeds, no interval.
        external: Scored from a file.
        seeds: Seeds that are done.
        n_failed: Seeds that failed.
        values: For each measure, a number a seed (one number for an exact control); empty without
            an oracle.
        scores: For each measure, these described.
        skill: For p100 and p50_distinct: (score - best control) / (ceiling - best control) with its
            interval; left out where ceiling or control is unknown.
        better_than_control: Whether the 95 % interval of the p50_distinct skill lies above zero;
            None for controls, with fewer than two seeds, and where the skill is unknown.
        quantiles: Normalised scores of the proposals at 0, 2.5, .. 100 %, averaged over seeds;
            empty where unknown.
        search: (step, prediction, score or None) along the search, averaged over seeds; empty
            without a search.
        facts: Means over seeds of seconds, fit_seconds, propose_seconds, peak_memory_mb, n_unique,
            n_in_data, n_infeasible, diversity, novelty, oracle_calls, trace_oracle_calls,
            search_oracle_calls; None where unknown.
        command: What repeats it, all seeds; several lines where one command cannot; empty for an
            exact control.
        environments: Indices into `Analysis.environments`.
    """

    label: str
    problem: str
    control: bool
    exact: bool
    external: bool
    seeds: tuple[int, ...]
    n_failed: int
    values: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, Description]
    skill: Mapping[str, Interval]
    better_than_control: bool | None
    quantiles: tuple[float, ...]
    search: tuple[tuple[int, float, float | None], ...]
    facts: Mapping[str, float | None]
    command: str
    environments: tuple[int, ...]


@dataclass(frozen=True)
class Failure:
    """A cell that failed: what it was, and the error with its traceback."""

    key: str
    label: str
    problem: str
    seed: int
    error: str
    traceback: str
    command: str


@dataclass(frozen=True)
class Analysis:
    """All that a report shows.

    Args:
        title: Of the report.
        problems: In the order of the records.
        entries: Methods on problems, controls included: by problem, the highest mean p50_distinct
            first.
        standings: Over problems, the best mean rank by p50_distinct first, incomplete ones last.
        comparisons: For each problem, Welch's tests between all pairs of methods on p50_distinct,
            Holm-corrected.
        reproduced: Published numbers beside ours.
        failures: Cells that failed.
        environments: Distinct environments (versions, git, machine) in the records.
        notes: Sentences a reader must know, e.g. that controls are missing.
        n_cells: Cells in the records.
    """

    title: str
    problems: tuple[Problem, ...]
    entries: tuple[Entry, ...]
    standings: tuple[Standing, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    reproduced: tuple[Reproduction, ...]
    failures: tuple[Failure, ...]
    environments: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    n_cells: int


CEILINGS = {"p100": "p100", "p50_distinct": "p50"}
"""Measures that skill is worked out for, and which ceiling they have."""


@dataclass(frozen=True)
class Standing:
    """A method over all problems.

    Args:
        label: The method's name in tables.
        control: Whether it learns nothing.
        problems: Problems it has scores on.
        complete: Whether these are all problems that have an oracle: only then is it compared over
            problems.
        iqm: For p100 and p50_distinct, the interquartile mean over problems and seeds, with a
            stratified bootstrap interval; empty unless complete.
        mean_rank: For each of RANKINGS, among the complete methods; rank 1 is best, ties averaged;
            empty unless complete. Within a problem, skill orders methods as p50_distinct does; over
            problems its rank leaves out those where skill is unknown, and it is missing where that
            is all of them.
        median_rank: The same.
        skill: Mean over the problems where it is known of the p50_distinct skill, each no lower
            than -1; None where it is known on none, or incomplete.
        improvement: Probability that a run of it beats a run of the best control (p50_distinct),
            mean over the problems with a control; None where there is none, or incomplete.
    """

    label: str
    control: bool
    problems: tuple[str, ...]
    complete: bool
    iqm: Mapping[str, Interval]
    mean_rank: Mapping[str, Interval]
    median_rank: Mapping[str, float]
    skill: Interval | None
    improvement: Interval | None


@dataclass(frozen=True)
class Scale:
    """What skill is measured on: 0 is the best control, 1 the ceiling.

    Args:
        controls: For each control, its scores (R,).
        ceiling: The most that any method can score.
    """

    controls: Sequence[np.ndarray]
    ceiling: float
