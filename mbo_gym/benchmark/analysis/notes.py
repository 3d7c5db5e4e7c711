"""What a reader of a report must know before the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mbo_gym.benchmark.analysis.model import Standing
from mbo_gym.benchmark.analysis.standings import skill_scale

if TYPE_CHECKING:  # that module builds on this one
    from mbo_gym.benchmark.analysis.model import Entry, Problem

__all__ = ["N_SEEDS", "notes", "short_commit"]

N_SEEDS = 8
"""Seeds that the papers run."""

Record = Mapping[str, Any]


def notes(
    problems: Sequence[Problem],
    entries: Sequence[Entry],
    standings: Sequence[Standing],
    records: Sequence[tuple[str, Record]],
) -> tuple[str, ...]:
    """Return the sentences, those on the whole benchmark last.

    Args:
        problems: All of them.
        entries: All of them.
        standings: All of them.
        records: All of them, each with the name of its problem.
    """
    lines: list[str] = []
    for problem in problems:
        mine = [entry for entry in entries if entry.problem == problem.name]
        lines += _on_scores(problem, mine)
        lines += _on_seeds(problem, mine)
        lines += _on_oracle_calls(problem, mine)
    return (
        *lines,
        *_on_comparability(entries, standings),
        *_on_failures(records),
        *_on_origin(records),
    )


def _on_scores(problem: Problem, entries: Sequence[Entry]) -> list[str]:
    name = problem.name
    if not any(entry.seeds for entry in entries):
        return [f"No cell is done on {name}."]
    if not any(entry.values for entry in entries):
        return [f"{name} has no oracle: designs are counted, not scored."]
    if not problem.best_control:
        return [
            f"No control was run on {name}: skill cannot be told. Add `controls` to the methods."
        ]
    if not problem.ceiling:
        return [f"The ceiling of {name} is unknown: skill cannot be told."]
    if not skill_scale(problem, entries, "p50_distinct"):
        label, value = problem.best_control["p50_distinct"]
        return [
            f"On {name} the control {label} reaches the ceiling ({value:.3f}): no skill is left to show."
        ]
    return []


def _on_seeds(problem: Problem, entries: Sequence[Entry]) -> list[str]:
    scored = [entry for entry in entries if entry.values and not entry.exact]
    counts = {entry.label: len(entry.seeds) for entry in scored}
    lines = [
        f"{entry.label} on {problem.name} has two cells with one seed: they differ in settings that its name does not "
        "tell. Both count; give them labels of their own."
        for entry in entries
        if len(set(entry.seeds)) < len(entry.seeds)
    ]
    if few := {label: n for label, n in counts.items() if n < N_SEEDS}:
        lines.append(f"Fewer than {N_SEEDS} seeds on {problem.name}: {_counted(few)}.")
    elif len(set(counts.values())) > 1:
        lines.append(f"Unequal numbers of seeds on {problem.name}: {_counted(counts)}.")
    return lines


def _on_oracle_calls(problem: Problem, entries: Sequence[Entry]) -> list[str]:
    return [
        f"{entry.label} on {problem.name} asked the oracle while it learned and searched ({calls:.0f} calls a run): "
        "it is not offline."
        for entry in entries
        if (calls := entry.facts["search_oracle_calls"])
    ]


def _on_comparability(entries: Sequence[Entry], standings: Sequence[Standing]) -> list[str]:
    lines = []
    if partial := [row.label for row in standings if not row.complete]:
        lines.append(f"Not on every problem, so not compared over problems: {', '.join(partial)}.")
    if external := dict.fromkeys(entry.label for entry in entries if entry.external):
        lines.append(
            f"Scored from a file: {', '.join(external)}. What the program that made the designs has seen, "
            "the oracle perhaps, is not known."
        )
    return lines


def _on_failures(records: Sequence[tuple[str, Record]]) -> list[str]:
    failed: dict[str, list[int]] = {}
    for problem, record in records:
        if record["status"] == "failed":
            failed.setdefault(f"{record['label']} on {problem}", []).append(record["seed"])
    if not failed:
        return []
    which = [
        f"{cell} (seed {', '.join(map(str, sorted(seeds)))})" for cell, seeds in failed.items()
    ]
    n = sum(map(len, failed.values()))
    return [f"{n} of {len(records)} cells failed and count in no number: {'; '.join(which)}."]


def _on_origin(records: Sequence[tuple[str, Record]]) -> list[str]:
    environments = [record["environment"] for _, record in records]
    commits = _distinct(short_commit(environment["git"]) for environment in environments)
    lines = []
    if len(commits) > 1:
        lines.append(
            f"The records come from {len(commits)} states of the code: {', '.join(commits)}."
        )
    if any(commit.endswith("+changes") for commit in commits):
        lines.append(
            "Some records were made with uncommitted changes (+changes): no commit repeats them for certain."
        )
    for what in ("versions", "machine"):
        differing = _differing([environment[what] for environment in environments])
        if differing:
            lines.append(f"The records differ in {what}: {'; '.join(differing)}.")
    return lines


def short_commit(git: str | None) -> str:
    """Return a commit's first 10 digits, with ``+changes`` where it has that; a phrase where none
    is known."""
    if git is None:
        return "no commit known"
    commit, plus, changes = git.partition("+")
    return commit[:10] + plus + changes


def _differing(facts: Sequence[Record]) -> list[str]:
    """Return each fact that is not the same everywhere, with its values."""
    names = _distinct(name for some in facts for name in some)
    values = {name: _distinct(str(some.get(name, "none")) for some in facts) for name in names}
    return [f"{name} {', '.join(found)}" for name, found in values.items() if len(found) > 1]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({n})" for label, n in counts.items())
