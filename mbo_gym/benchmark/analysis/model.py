"""The data model of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mbo_gym.benchmark.analysis.published import Reproduction
from mbo_gym.benchmark.analysis.statistics import Comparison, Description, Interval
from mbo_gym.benchmark.record import Environment, KnownCeiling

__all__ = [
    "CEILINGS",
    "MEASURES",
    "RANKINGS",
    "Analysis",
    "Entry",
    "Failure",
    "Finding",
    "Run",
    "Scale",
    "Standing",
    "TaskSetting",
]

MEASURES = ("p100", "p50_distinct", "p50", "mean", "first_p100", "first_p50", "share_above_best")
"""Normalised scores of a cell.

Best and median of the K proposals (the median also over distinct designs), their mean, best and
median of the first 128, and the share above D(best).
"""

RANKINGS = ("p100", "p50_distinct", "skill")
"""Measures that methods are ranked by; `skill` is that of the 50th percentile, distinct."""


@dataclass(frozen=True)
class TaskSetting:
    """A task with its options and a budget.

    Args:
        name: Id of the task, with its options in brackets, and K where the results hold several.
        task_id: Id of the task.
        options: Options of the task.
        k: Number of proposals.
        n_visible: Number of visible rows; 0 where no cell is done.
        d_best: Best visible score, normalised; NaN where no cell is done.
        ceiling: Best reachable scores; None where unknown.
        best_control: For each of p100 and p50_distinct, the label of the control with the highest
            mean and that mean; empty where the results hold no control.
    """

    name: str
    task_id: str
    options: Mapping[str, Any]
    k: int
    n_visible: int
    d_best: float
    ceiling: KnownCeiling | None
    best_control: Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class Run:
    """A finished cell of an entry: one seed, its scores and where they come from.

    Args:
        seed: Seed of the run.
        key: Key of the cell.
        folder: Name of the run's folder below ``cells/``; empty where designs came from a file.
        scores: Score of each measure; empty without an oracle.
        seconds: Wall-clock seconds of the whole cell.
        command: Command that repeats the cell.
        tables: Tables that the method recorded, by name: rows of plain values.
    """

    seed: int
    key: str
    folder: str
    scores: Mapping[str, float]
    seconds: float
    command: str
    tables: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """A method on a task, over its seeds.

    Args:
        label: Name of the method in tables.
        task: Name of the task setting.
        control: Whether the method is a control.
        exact: Whether the scores follow from the task's table: no run, no seeds, no interval.
        external: Whether the designs came from a file.
        seeds: Seeds that are done.
        n_failed: Number of seeds that failed.
        values: For each measure, a number a seed (one number for an exact control); empty without
            an oracle.
        scores: For each measure, these numbers described.
        skill: For p100 and p50_distinct, (score - best control) / (ceiling - best control) with its
            interval; left out where ceiling or control is unknown.
        better_than_control: Whether the 95 % interval of the p50_distinct skill lies above zero;
            None for controls, with fewer than two seeds, and where the skill is unknown.
        quantiles: Normalised scores of the proposals at 0, 2.5, .. 100 %, means over seeds; empty
            where unknown.
        search: (step, prediction, score or None) along the search, means over seeds; empty without
            a search.
        diagnostics: Means over seeds of `mbo_gym.benchmark.analysis.over_seeds.DIAGNOSTICS`; None
            where unknown.
        offline: Means over seeds of `mbo_gym.benchmark.analysis.over_seeds.OFFLINE`; None where
            unknown.
        command: Command that repeats all seeds; several lines where one cannot; empty for an exact
            control.
        environments: Indices into `Analysis.environments`.
        runs: The finished cells, in the order of `seeds`; empty for an exact control.
        touched: What any of the processes that learned touched that a method needs not.
        learning: (step, prediction, score or None) along the training of a policy, means over
            seeds; empty without one.
    """

    label: str
    task: str
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
    diagnostics: Mapping[str, float | None]
    offline: Mapping[str, float | None]
    command: str
    environments: tuple[int, ...]
    runs: tuple[Run, ...] = ()
    touched: tuple[str, ...] = ()
    learning: tuple[tuple[int, float, float | None], ...] = ()


@dataclass(frozen=True)
class Failure:
    """A cell that failed, with its error."""

    key: str
    label: str
    task: str
    seed: int
    error: str
    traceback: str
    command: str


@dataclass(frozen=True)
class Finding:
    """What the results say, and how far to trust it; see `mbo_gym.benchmark.analysis.finding`.

    Args:
        winners: Labels of the best methods, the best first: those that the intervals cannot tell
            apart. Empty where no method can be compared.
        measure: ``skill``, or ``score`` where no skill is known; empty without a winner.
        interval: Mean skill (or interquartile mean of the median scores) of the first winner.
        headline: The result in one sentence.
        sentences: Further results, a sentence each.
        trust: What to know before trusting them, a sentence each.
    """

    winners: tuple[str, ...]
    measure: str
    interval: Interval | None
    headline: str
    sentences: tuple[str, ...]
    trust: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Args:
        title: Title of the report.
        tasks: Task settings, in the order of the records.
        entries: Methods on tasks, controls included: by task, the highest mean p50_distinct first.
        standings: Methods over all tasks, the highest skill first (the best mean rank by
            p50_distinct where no skill is known), incomplete ones last.
        comparisons: For each task, Welch's tests between all pairs of methods on p50_distinct,
            Holm-corrected.
        reproduced: Published numbers beside ours.
        failures: Cells that failed.
        environments: Distinct environments of the records.
        notes: Sentences that a reader must know, e.g. that controls are missing.
        n_cells: Number of cells in the records.
        finding: The winner, and what to trust.
    """

    title: str
    tasks: tuple[TaskSetting, ...]
    entries: tuple[Entry, ...]
    standings: tuple[Standing, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    reproduced: tuple[Reproduction, ...]
    failures: tuple[Failure, ...]
    environments: tuple[Environment, ...]
    notes: tuple[str, ...]
    n_cells: int
    finding: Finding


CEILINGS = {"p100": "p100", "p50_distinct": "p50"}
"""Measures that skill is computed for, and the field of the ceiling that belongs to each."""


@dataclass(frozen=True)
class Standing:
    """A method over all tasks.

    Args:
        label: Name of the method in tables.
        control: Whether the method is a control.
        tasks: Names of the task settings that it has scores on.
        complete: Whether these are all tasks that have an oracle; only complete methods are
            compared over tasks.
        iqm: For p100 and p50_distinct, the interquartile mean over tasks and seeds, with a
            stratified bootstrap interval; empty unless complete.
        mean_rank: For each of RANKINGS, the mean rank among the complete methods; rank 1 is best,
            ties are averaged; empty unless complete. On a task, skill orders methods as
            p50_distinct does. Tasks of unknown skill are left out of the rank by skill, which is
            missing where no skill is known.
        median_rank: The median rank, likewise.
        skill: Mean p50_distinct skill over the tasks where it is known, each no lower than -1; None
            where it is known on none, or incomplete.
        improvement: Probability that a run of the method beats a run of the best control
            (p50_distinct), mean over the tasks with a control; None where there is none, or
            incomplete.
        beaten: Number of tasks where the method is better than the best control
            (`Entry.better_than_control`), and of tasks where that is known; None for a control, and
            where it is known on no task.
    """

    label: str
    control: bool
    tasks: tuple[str, ...]
    complete: bool
    iqm: Mapping[str, Interval]
    mean_rank: Mapping[str, Interval]
    median_rank: Mapping[str, float]
    skill: Interval | None
    improvement: Interval | None
    beaten: tuple[int, int] | None


@dataclass(frozen=True)
class Scale:
    """Scale of skill: 0 is the best control, 1 the ceiling.

    Args:
        controls: For each control, its scores (R,).
        ceiling: Best reachable score.
    """

    controls: Sequence[np.ndarray]
    ceiling: float
