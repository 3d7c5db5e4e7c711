"""The summary table of a results folder: skill and rank of methods, and scores by task."""

from __future__ import annotations

from mbo_gym.benchmark.analysis.model import Analysis, Entry
from mbo_gym.benchmark.analysis.statistics import Interval

__all__ = ["table"]


def cell(entry: Entry | None) -> str:
    if entry is None or "p100" not in entry.scores:
        return "-"
    best, median = entry.scores["p100"], entry.scores["p50_distinct"]
    star = "\\*" if entry.better_than_control is False else ""
    return f"{best.mean:.3f} / {median.mean:.3f} ± {median.standard_error:.3f}{star}"


def interval(found: Interval | None, digits: int) -> str:
    return (
        f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
        if found
        else "-"
    )


def table(analysis: Analysis) -> list[str]:
    """Return the lines of a Markdown table: methods that have scores on every task."""
    names = [task.name for task in analysis.tasks]
    entries = {(entry.label, entry.task): entry for entry in analysis.entries}
    lines = [f"| method | skill | rank | {' | '.join(names)} |", "|---" * (len(names) + 3) + "|"]
    most = max(len(entry.seeds) for entry in analysis.entries)
    for standing in (standing for standing in analysis.standings if standing.complete):
        seeds = min(len(entry.seeds) for entry in analysis.entries if entry.label == standing.label)
        cells = [cell(entries.get((standing.label, name))) for name in names]
        label = f"*{standing.label}*" if standing.control else f"`{standing.label}`"
        label += f" ({seeds} seeds)" if seeds < most else ""
        overall = interval(standing.skill, 2), interval(standing.mean_rank.get("p50_distinct"), 1)
        lines.append(f"| {' | '.join([label, *overall, *cells])} |")
    ceilings = [
        f"{p.ceiling.p100:.3f} / {p.ceiling.p50:.3f}" if p.ceiling else "-" for p in analysis.tasks
    ]
    visible = [f"{p.d_best:.3f}" for p in analysis.tasks]
    return [
        *lines,
        f"| ceiling | 1 | | {' | '.join(ceilings)} |",
        f"| D(best) | | | {' | '.join(visible)} |",
    ]
