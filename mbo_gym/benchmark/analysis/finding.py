"""The finding of a benchmark: which method wins, and what to know before trusting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mbo_gym.benchmark.analysis.model import Entry, Finding, Standing, TaskSetting
from mbo_gym.benchmark.analysis.notes import N_SEEDS
from mbo_gym.benchmark.analysis.standings import skill_scale
from mbo_gym.benchmark.analysis.statistics import Interval

__all__ = ["finding"]

LITTLE_ROOM = 0.05
"""Distance from best control to ceiling (normalised) below which a task has little room."""
NEAR_CEILING = 0.95
"""Skill from which a method counts as at the ceiling."""
_MOST_NAMED = 6


def finding(
    tasks: Sequence[TaskSetting],
    entries: Sequence[Entry],
    standings: Sequence[Standing],
    n_cells: int,
) -> Finding:
    """Say which method wins, and what to know before trusting it.

    The winner has the highest mean skill over all tasks among the methods that are no controls and
    have scores on every task; where no skill is known, the highest interquartile mean of median
    scores. Methods whose 95 % intervals overlap that of the best are named with it.

    Args:
        tasks: Task settings.
        entries: Methods on tasks.
        standings: Methods over tasks.
        n_cells: Number of cells in the records.
    """
    rows = [row for row in standings if row.complete and not row.control]
    known = any(row.skill for row in rows)
    rated = [(row, value) for row in rows if (value := row.skill if known else _score(row))]
    rated.sort(key=lambda pair: -pair[1].value)
    scored = [task for task in tasks if any(e.task == task.name and e.values for e in entries)]
    trust = tuple(_trust(tasks, scored, entries, n_cells, compared=bool(rated)))
    if not rated:
        return Finding((), "", None, _nothing(scored, standings), (), trust)
    best = rated[0][1]
    winners = tuple(row.label for row, value in rated if value.high >= best.low)
    resampled = all(len(e.seeds) > 1 for e in entries if e.label in winners and e.values)
    return Finding(
        winners=winners,
        measure="skill" if known else "score",
        interval=best,
        headline=_headline(winners, best, known, resampled, _n(len(scored), "task")),
        sentences=tuple(_sentences(rated, winners, entries, known)),
        trust=trust,
    )


def _score(row: Standing) -> Interval | None:
    return row.iqm.get("p50_distinct")


def _nothing(scored: Sequence[TaskSetting], standings: Sequence[Standing]) -> str:
    """Say why no method can be compared."""
    if not scored:
        return "No cell has a score: there is nothing to compare."
    if all(row.control for row in standings):
        return "Only controls were run: there is no method to compare with them."
    return "No method has scores on every task: none can be compared over tasks."


def _headline(
    winners: Sequence[str], best: Interval, known: bool, resampled: bool, where: str
) -> str:
    name = "mean skill" if known else "interquartile mean of median scores"
    first, *others = winners
    if not resampled:
        return (
            f"{first} has the highest {name} on {where}, {best.value:.3f}, but one seed has no "
            "interval: the order may be luck."
        )
    value = f"{_interval(best)} (95 % interval over seeds)"
    if others:
        return (
            f"{_named(winners)} cannot be told apart: their intervals overlap. "
            f"{first} has the highest {name} on {where}, {value}."
        )
    if known and best.high < 0:
        return (
            f"No method beats the best control on average over {where}. "
            f"The best is {first}, with a {name} of {value}."
        )
    return f"{first} wins: its {name} on {where} is {value}."


def _sentences(
    rated: Sequence[tuple[Standing, Interval]],
    winners: Sequence[str],
    entries: Sequence[Entry],
    known: bool,
) -> Iterator[str]:
    if known:
        yield "Skill 0 is the best control of a task, 1 its ceiling, the best that is possible."
        best = rated[0][1]
        if len(winners) > 1 and best.high < 0:
            yield "All of them are below the best control on average."
        elif best.low <= 0 <= best.high:
            yield f"{winners[0]} is not shown to beat the best control on average."
    beaten = {row.label: row.beaten for row, _ in rated}
    for label in winners[:_MOST_NAMED]:
        if counts := beaten[label]:
            share = f"{counts[0]} of {_n(counts[1], 'task')}" if counts[0] else "no task"
            yield f"{label} beats the best control on {share}."
        lost = [e.task for e in entries if e.label == label and _skill(e) < -1]
        if known and lost:
            yield f"{label} is below -1 on {_named(lost)}, which counts as -1."
    if len(winners) == 1 and len(rated) > 1:
        row, value = rated[1]
        yield f"Next is {row.label} with {_interval(value)}."
    judged = [counts for counts in beaten.values() if counts]
    none = sum(counts[0] == 0 for counts in judged)
    if 1 < none == len(judged):
        yield f"None of the {none} methods compared beats the best control on any task."
    elif none and len(judged) > 1:
        verb = "beats" if none == 1 else "beat"
        yield f"{none} of the {len(judged)} methods compared {verb} the best control on no task."


def _trust(
    tasks: Sequence[TaskSetting],
    scored: Sequence[TaskSetting],
    entries: Sequence[Entry],
    n_cells: int,
    *,
    compared: bool,
) -> Iterator[str]:
    touched = dict.fromkeys(entry.label for entry in entries if entry.touched)
    if touched:
        yield (
            "The process that learned did what a method needs not, so that scores may not be "
            f"honest (see the notes): {_named(list(touched))}."
        )
    yield from _on_seeds(entries)
    failed = sum(entry.n_failed for entry in entries)
    if failed:
        yield f"{failed} of {_n(n_cells, 'cell')} failed and count in no number."
    yield from _on_controls(scored)
    yield from _on_ceilings(scored)
    yield from _on_room(scored, entries)
    asked = dict.fromkeys(e.label for e in entries if e.diagnostics["search_oracle_calls"])
    if asked:
        yield f"Not offline, as the oracle was asked during the search: {_named(list(asked))}."
    external = dict.fromkeys(entry.label for entry in entries if entry.external)
    if external:
        yield f"Scored from a file, so oracle calls are unknown: {_named(list(external))}."
    without = [task.name for task in tasks if task not in scored]
    if without:
        yield f"No scores on {_named(without)}."
    if compared:
        yield f"The order holds for {'this task' if len(scored) == 1 else 'these tasks'} only."


def _on_seeds(entries: Sequence[Entry]) -> Iterator[str]:
    counts = [len(entry.seeds) for entry in entries if entry.values and not entry.exact]
    few = sum(count < N_SEEDS for count in counts)
    if not counts:
        return
    if max(counts) == 1:
        yield "Every method has one seed: no interval, and no test against the controls."
    elif few:
        yield (
            f"{few} of {len(counts)} pairs of method and task have fewer than {N_SEEDS} seeds; "
            f"the least is {min(counts)}."
        )
    else:
        yield f"Every method has {min(counts)} seeds or more on every task it ran on."


def _on_controls(scored: Sequence[TaskSetting]) -> Iterator[str]:
    missing = [task.name for task in scored if not task.best_control]
    if missing:
        yield f"No control was run on {_named(missing)}: the skill is unknown there."


def _on_ceilings(scored: Sequence[TaskSetting]) -> Iterator[str]:
    unknown = [task.name for task in scored if not task.ceiling]
    if unknown:
        yield f"The ceiling is unknown on {_named(unknown)}, and so is the skill."
    rough = [task.name for task in scored if task.ceiling and not task.ceiling.exact]
    if rough:
        yield f"The ceiling is not exact on {_named(rough)}: skill above 0 may be too high there."
    if scored and not unknown and not rough:
        yield "All ceilings are exact."


def _on_room(scored: Sequence[TaskSetting], entries: Sequence[Entry]) -> Iterator[str]:
    for task in scored:
        if not (task.ceiling and task.best_control):
            continue
        label, control = task.best_control["p50_distinct"]
        if not skill_scale(task, entries, "p50_distinct"):
            yield f"On {task.name} the control {label} reaches the ceiling: it counts in no skill."
            continue
        if task.ceiling.p50 - control < LITTLE_ROOM:
            yield (
                f"On {task.name} the control {label} ({control:.3f}) is close to the ceiling "
                f"({task.ceiling.p50:.3f}): small differences become large skills."
            )
        at = [e.label for e in _of(entries, task) if not e.control and _skill(e) >= NEAR_CEILING]
        if len(at) > 1:
            yield f"On {task.name} {len(at)} methods are at the ceiling and cannot be told apart."


def _of(entries: Sequence[Entry], task: TaskSetting) -> list[Entry]:
    return [entry for entry in entries if entry.task == task.name]


def _skill(entry: Entry) -> float:
    """Return the skill by the median, 0 where it is unknown."""
    skill = entry.skill.get("p50_distinct")
    return skill.value if skill else 0.0


def _interval(value: Interval) -> str:
    # Plus 0.0 turns -0.0, what a tiny negative number rounds to, into 0.0
    mean, low, high = (round(x, 3) + 0.0 for x in (value.value, value.low, value.high))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _named(names: Sequence[str]) -> str:
    """Join names, the first few where there are many."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _n(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
