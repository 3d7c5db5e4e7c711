"""The heat map of skill: methods x tasks, with the rows that are folded at first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mbo_gym.benchmark.analysis.model import Analysis, Entry, TaskSetting
from mbo_gym.benchmark.analysis.statistics import Interval

__all__ = ["MOST_ROWS", "HeatCell", "HeatMap", "HeatRow", "heat_map", "variants"]

MOST_ROWS = 12
"""Number of rows up to which a table folds none."""


@dataclass(frozen=True)
class HeatCell:
    """Skill of a method on a task.

    Args:
        skill: Skill by the median over distinct designs, with its interval.
        text: Skill in few digits.
        shade: Skill between -1 and 1, for the colour.
        better: Whether the interval lies above 0; None where that is unknown.
        number: Index of the entry in `Analysis.entries`.
        title: Value, interval and seeds in words.
    """

    skill: Interval
    text: str
    shade: float
    better: bool | None
    number: int
    title: str


@dataclass(frozen=True)
class HeatRow:
    """A method: its mean skill (None if incomplete), and a cell a task (None where unknown)."""

    label: str
    control: bool
    variant: bool
    mean: Interval | None
    cells: tuple[HeatCell | None, ...]


@dataclass(frozen=True)
class HeatMap:
    """Heat map of skill.

    Args:
        tasks: Tasks of known skill, a column each.
        rows: Methods, as in `Analysis.standings`.
        n_controls: Number of rows folded at first as controls.
        n_variants: Number of rows folded at first as variants.
    """

    tasks: tuple[TaskSetting, ...]
    rows: tuple[HeatRow, ...]
    n_controls: int
    n_variants: int


def heat_map(analysis: Analysis) -> HeatMap | None:
    """Return the heat map of skill; None where no skill is known.

    Args:
        analysis: Analysis to show.
    """
    cells = {
        (entry.label, entry.task): _cell(entry, number)
        for number, entry in enumerate(analysis.entries)
        if "p50_distinct" in entry.skill
    }
    tasks = [p for p in analysis.tasks if any(task == p.name for _, task in cells)]
    if not tasks:
        return None
    folded = variants(analysis)
    rows = tuple(
        HeatRow(
            label=row.label,
            control=row.control,
            variant=row.label in folded,
            mean=row.skill,
            cells=tuple(cells.get((row.label, task.name)) for task in tasks),
        )
        for row in analysis.standings
    )
    controls = sum(row.control and not row.variant for row in rows)
    return HeatMap(
        tasks=tuple(tasks),
        rows=rows,
        n_controls=controls if len(rows) > MOST_ROWS else 0,
        n_variants=sum(row.variant for row in rows),
    )


def variants(analysis: Analysis) -> set[str]:
    """Return the labels that large tables fold: variants of a method that stands there plainly.

    The label of a variant continues that of the method: ``grad [boxed]``, ``pgs on coms`` or
    ``demo without editing``. Controls and the winners of the finding are no variants.

    Args:
        analysis: Analysis to show.
    """
    labels = dict.fromkeys(entry.label for entry in analysis.entries)
    if len(labels) <= MOST_ROWS:
        return set()
    controls = {entry.label for entry in analysis.entries if entry.control}
    found = {label for label in labels if _continues(label, labels)}
    return found - controls - set(analysis.finding.winners)


def _continues(label: str, labels: Iterable[str]) -> bool:
    """Return whether a label is another one with more words."""
    return any(label.startswith((f"{base} ", f"{base}, ")) for base in labels)


def _cell(entry: Entry, number: int) -> HeatCell:
    skill = entry.skill["p50_distinct"]
    seeds = len(entry.seeds)
    words = [f"skill {skill.value:.3f}"]
    if seeds > 1:
        words.append(f"[{skill.low:.3f}, {skill.high:.3f}]")
    words.append("exact" if entry.exact else f"({seeds} {'seed' if seeds == 1 else 'seeds'})")
    return HeatCell(
        skill=skill,
        # Plus 0.0 turns -0.0 into 0.0
        text=f"{round(skill.value, 2) + 0.0:.{2 if abs(skill.value) < 10 else 0}f}",
        shade=min(max(skill.value, -1.0), 1.0),
        better=entry.better_than_control,
        number=number,
        title=f"{entry.label} on {entry.task}: {' '.join(words)}",
    )
