"""Notes of a report: sentences that a reader must know before the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbo_gym.benchmark.analysis.model import Entry, Standing, TaskSetting
from mbo_gym.benchmark.analysis.standings import skill_scale
from mbo_gym.benchmark.record import CellRecord

__all__ = ["N_SEEDS", "notes", "short_commit"]

N_SEEDS = 8
"""Number of seeds that the papers run."""


def notes(
    tasks: Sequence[TaskSetting],
    entries: Sequence[Entry],
    standings: Sequence[Standing],
    records: Sequence[tuple[str, CellRecord]],
) -> tuple[str, ...]:
    """Return the notes of a benchmark, those on all of it last.

    Args:
        tasks: Task settings.
        entries: Methods on tasks.
        standings: Methods over tasks.
        records: Records, each with the name of its task setting.
    """
    lines: list[str] = []
    for task in tasks:
        mine = [entry for entry in entries if entry.task == task.name]
        lines += _on_scores(task, mine)
        lines += _on_seeds(task, mine)
        lines += _on_oracle_calls(task, mine)
        lines += _on_touched(task, mine)
    return (
        *lines,
        *_on_comparability(entries, standings),
        *_on_failures(records),
        *_on_origin(records),
    )


def _on_scores(task: TaskSetting, entries: Sequence[Entry]) -> list[str]:
    name = task.name
    if not any(entry.seeds for entry in entries):
        return [f"No cell is done on {name}."]
    if not any(entry.values for entry in entries):
        return [f"{name} has no oracle: designs are counted, not scored."]
    if not task.best_control:
        return [
            f"No control was run on {name}: the skill is unknown. Add `controls` to the methods."
        ]
    if not task.ceiling:
        return [f"The ceiling of {name} is unknown, and so is the skill."]
    if not skill_scale(task, entries, "p50_distinct"):
        label, value = task.best_control["p50_distinct"]
        return [
            f"On {name} the control {label} reaches the ceiling ({value:.3f}): "
            "no skill is left to show."
        ]
    return []


def _on_seeds(task: TaskSetting, entries: Sequence[Entry]) -> list[str]:
    scored = [entry for entry in entries if entry.values and not entry.exact]
    counts = {entry.label: len(entry.seeds) for entry in scored}
    lines = [
        f"{entry.label} on {task.name} has two cells with one seed: they differ in settings that "
        "the name does not show. Both count. Give them different labels."
        for entry in entries
        if len(set(entry.seeds)) < len(entry.seeds)
    ]
    if few := {label: n for label, n in counts.items() if n < N_SEEDS}:
        lines.append(f"Fewer than {N_SEEDS} seeds on {task.name}: {_counted(few)}.")
    elif len(set(counts.values())) > 1:
        lines.append(f"Unequal numbers of seeds on {task.name}: {_counted(counts)}.")
    return lines


def _on_oracle_calls(task: TaskSetting, entries: Sequence[Entry]) -> list[str]:
    return [
        f"{entry.label} on {task.name} asked the oracle while it learned and searched "
        f"({calls:.0f} calls a run): it is not offline."
        for entry in entries
        if (calls := entry.diagnostics["search_oracle_calls"])
    ]


def _on_touched(task: TaskSetting, entries: Sequence[Entry]) -> list[str]:
    return [
        f"The process in which {entry.label} learned on {task.name} did what a method needs not: "
        f"{'; '.join(entry.touched)}. Its scores may not be honest."
        for entry in entries
        if entry.touched
    ]


def _on_comparability(entries: Sequence[Entry], standings: Sequence[Standing]) -> list[str]:
    lines = []
    if partial := [row.label for row in standings if not row.complete]:
        lines.append(f"Not on every task, so not compared over tasks: {', '.join(partial)}.")
    if external := dict.fromkeys(entry.label for entry in entries if entry.external):
        lines.append(
            f"Scored from a file: {', '.join(external)}. Whether the program that made the designs "
            "asked the oracle is not known."
        )
    return lines


def _on_failures(records: Sequence[tuple[str, CellRecord]]) -> list[str]:
    failed: dict[str, list[int]] = {}
    for task, record in records:
        if record.status == "failed":
            failed.setdefault(f"{record.label} on {task}", []).append(record.request.seed)
    if not failed:
        return []
    which = [
        f"{cell} (seed {', '.join(map(str, sorted(seeds)))})" for cell, seeds in failed.items()
    ]
    n = sum(map(len, failed.values()))
    return [f"{n} of {len(records)} cells failed and count in no number: {'; '.join(which)}."]


def _on_origin(records: Sequence[tuple[str, CellRecord]]) -> list[str]:
    environments = [record.environment for _, record in records]
    commits = _distinct(short_commit(environment.git) for environment in environments)
    lines = []
    if len(commits) > 1:
        lines.append(
            f"The records come from {len(commits)} states of the code: {', '.join(commits)}."
        )
    if any(commit.endswith("+changes") for commit in commits):
        lines.append(
            "Some records were made with uncommitted changes (+changes): "
            "no commit repeats them for certain."
        )
    for what in ("versions", "machine"):
        differing = _differing([getattr(environment, what) for environment in environments])
        if differing:
            lines.append(f"The records differ in {what}: {'; '.join(differing)}.")
    return lines


def short_commit(git: str | None) -> str:
    """Return the first 10 digits of a commit, with its ``+changes``, or "no commit known"."""
    if git is None:
        return "no commit known"
    commit, plus, changes = git.partition("+")
    return commit[:10] + plus + changes


def _differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each name whose value is not the same in all tables, with its values."""
    names = _distinct(name for table in tables for name in table)
    values = {name: _distinct(str(table.get(name, "none")) for table in tables) for name in names}
    return [f"{name} {', '.join(found)}" for name, found in values.items() if len(found) > 1]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({n})" for label, n in counts.items())
