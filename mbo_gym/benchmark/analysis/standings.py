"""Skill against the controls, and methods compared over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mbo_gym.benchmark.analysis.model import CEILINGS, Entry, Scale, Standing, TaskSetting
from mbo_gym.benchmark.analysis.statistics import (
    ROUNDING,
    Interval,
    iqm_interval,
    mean_rank_intervals,
    mean_skill_interval,
    probability_of_improvement,
    ranks,
)

__all__ = ["skill_scale", "standings"]


def skill_scale(task: TaskSetting, entries: Sequence[Entry], measure: str) -> Scale | None:
    """Return the scale of a task's skill.

    None where ceiling or control is unknown, or no control lies below the ceiling.

    Args:
        task: Task setting.
        entries: Methods on any tasks.
        measure: ``p100`` or ``p50_distinct``.
    """
    controls = [
        np.array(entry.values[measure])
        for entry in entries
        if entry.task == task.name and entry.control and entry.values
    ]
    if not controls or not task.ceiling:
        return None
    scale = Scale(controls, getattr(task.ceiling, CEILINGS[measure]))
    return scale if scale.ceiling - max(scores.mean() for scores in controls) > ROUNDING else None


def standings(tasks: Sequence[TaskSetting], entries: Sequence[Entry]) -> tuple[Standing, ...]:
    """Compare the methods that were run over tasks; exact controls have no runs and are left out.

    Args:
        tasks: Task settings.
        entries: Methods on tasks, with their scores.

    Returns:
        Standings, the highest skill first, or the best mean rank by p50_distinct where no skill is
        known; incomplete methods last.
    """
    runs: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if not entry.exact and entry.values:
            runs.setdefault(entry.label, {})[entry.task] = entry
    scored = [p for p in tasks if any(p.name in of_label for of_label in runs.values())]
    complete = {label: of_label for label, of_label in runs.items() if len(of_label) == len(scored)}
    mean_rank, median_rank = _ranks(complete, scored, entries)
    rows = []
    for label, of_label in runs.items():
        whole, some = label in complete, next(iter(of_label.values()))
        rows.append(
            Standing(
                label=label,
                control=some.control,
                tasks=tuple(p.name for p in scored if p.name in of_label),
                complete=whole,
                iqm={m: iqm_interval(_scores(of_label, scored, m)) for m in CEILINGS}
                if whole
                else {},
                mean_rank=mean_rank.get(label, {}),
                median_rank=median_rank.get(label, {}),
                skill=_mean_skill(of_label, scored, entries) if whole else None,
                improvement=_improvement(of_label, scored, entries) if whole else None,
                beaten=_beaten(of_label),
            )
        )
    return tuple(sorted(rows, key=_place))


def _place(row: Standing) -> tuple[float, float, float]:
    if not row.complete:
        return float("inf"), -len(row.tasks), 0
    skill = -row.skill.value if row.skill else 0
    return skill, row.mean_rank["p50_distinct"].value, -row.iqm["p50_distinct"].value


def _beaten(of_label: Mapping[str, Entry]) -> tuple[int, int] | None:
    judged = [e.better_than_control for e in of_label.values() if e.better_than_control is not None]
    return (sum(judged), len(judged)) if judged else None


def _scores(
    of_label: Mapping[str, Entry], tasks: Sequence[TaskSetting], measure: str
) -> list[np.ndarray]:
    return [np.array(of_label[task.name].values[measure]) for task in tasks]


def _ranks(
    complete: Mapping[str, Mapping[str, Entry]],
    scored: Sequence[TaskSetting],
    entries: Sequence[Entry],
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, float]]]:
    """Return for each method its mean and median rank by each ranking."""
    mean: dict[str, dict[str, Interval]] = {label: {} for label in complete}
    median: dict[str, dict[str, float]] = {label: {} for label in complete}
    with_skill = [p for p in scored if skill_scale(p, entries, "p50_distinct")]
    rankings = {
        "p100": ("p100", scored),
        "p50_distinct": ("p50_distinct", scored),
        "skill": ("p50_distinct", with_skill),
    }
    for name, (measure, tasks) in rankings.items():
        if not complete or not tasks:
            continue
        scores = [_scores(of_label, tasks, measure) for of_label in complete.values()]
        places = ranks(np.array([[values.mean() for values in row] for row in scores]))  # (M, T)
        for label, interval, row in zip(complete, mean_rank_intervals(scores), places, strict=True):
            mean[label][name] = interval
            median[label][name] = float(np.median(row))
    return mean, median


def _mean_skill(
    of_label: Mapping[str, Entry], scored: Sequence[TaskSetting], entries: Sequence[Entry]
) -> Interval | None:
    parts = []
    for task in scored:
        if scale := skill_scale(task, entries, "p50_distinct"):
            values = np.array(of_label[task.name].values["p50_distinct"])
            parts.append((values, scale.controls, scale.ceiling))
    return mean_skill_interval(parts) if parts else None


def _improvement(
    of_label: Mapping[str, Entry], scored: Sequence[TaskSetting], entries: Sequence[Entry]
) -> Interval | None:
    """Return the probability that a run beats one of the best control, over tasks with one."""
    with_control = [task for task in scored if task.best_control]
    if not with_control:
        return None
    best = []
    for task in with_control:
        label, _ = task.best_control["p50_distinct"]
        entry = next(e for e in entries if (e.task, e.label) == (task.name, label))
        best.append(np.array(entry.values["p50_distinct"]))
    return probability_of_improvement(_scores(of_label, with_control, "p50_distinct"), best)
