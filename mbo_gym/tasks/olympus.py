"""Olympus: measured tables of chemistry and materials."""

from __future__ import annotations

import os
from dataclasses import replace

from mbo_gym.data import manifest
from mbo_gym.data.olympus import TABLES, TableFacts, read_measured
from mbo_gym.errors import UnknownId
from mbo_gym.oracles.forest import ForestConfig, fit_forest
from mbo_gym.problem.task import Task, TaskInfo, name_of_score, offline_split
from mbo_gym.tasks.registry import described_by
from mbo_gym.tasks.table import rows_task

__all__ = ["make_olympus", "olympus_info"]

PERCENTILE = 50.0
"""Percentile of the scores at which visible rows end, as in most tasks of Design-Bench."""
_OLYMPUS = (
    "Häse et al., Olympus: a benchmarking framework for noisy optimization and experiment "
    "planning, Mach. Learn.: Sci. Technol. 2 (2021), arXiv:2010.04153"
)
_SPACES = {
    "factorial": "Every combination of the values of its parameters: {designs:,} designs.",
    "list": "A list of {designs:,} planned designs; no other is allowed.",
    "points": "Numbers between bounds; {designs:,} designs were measured.",
}
_ORACLES = {
    "factorial": "Exact: every combination was measured; scores of repeated ones are averaged.",
    "list": "Exact: every design of the list was measured; scores of repeated ones are averaged.",
    "points": "A stand-in: a random forest of 100 trees fitted on all rows. Its scores are "
    "predictions, not measurements.",
}


def olympus_info(table: str) -> TaskInfo:
    """Return the facts of a task of Olympus.

    Args:
        table: Name of the table, e.g. ``fullerenes``.
    """
    facts = _facts(table)
    oracle = "RandomForest" if facts.kind == "points" else "Exact"
    return TaskInfo(
        task_id=f"Olympus_{table}-{oracle}-v0",
        description=f"{facts.title}.",
        space=_SPACES[facts.kind].format(designs=facts.designs),
        y_min=float("nan"),
        y_max=float("nan"),
        score_name=name_of_score(facts.measurement, minimise=facts.goal == "minimize"),
        split=_split(PERCENTILE),
        oracle=_ORACLES[facts.kind],
        licence=manifest.entry(facts.source).licence,
        references=(facts.reference, _OLYMPUS) if facts.reference else (_OLYMPUS,),
        version_history=("v0: the table of the release; repeated measurements averaged",),
        percentile=PERCENTILE,
        sources=(facts.source,),
        family=f"Olympus_<TABLE>-{oracle}-v0",
    )


@described_by(olympus_info)
def make_olympus(
    table: str,
    folder: str | os.PathLike[str] | None = None,
    objective: str | None = None,
    percentile: float = PERCENTILE,
) -> Task:
    """Make a task of a table of Olympus.

    Args:
        table: Name of the table.
        folder: Folder that holds the folders ``dataset_<name>``; None takes ``$MBO_GYM_OLYMPUS``,
            else the installed package.
        objective: Measurement that is the score; None for the first.
        percentile: The visible rows have scores at or below this percentile, in (0, 100].

    Raises:
        UnknownId: There is no such table or measurement.
        MissingDependency: The package that has the table is not installed.
        MissingData: The folder has no such table, or only the repository of Olympus has it.
        InvalidData: The table differs from the one that this version was made for.
    """
    facts = _facts(table)
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must lie in (0, 100], got {percentile}")
    measured = read_measured(facts, folder, objective)
    info = replace(
        olympus_info(table),
        score_name=name_of_score(measured.measurement, minimise=measured.minimise),
        split=_split(percentile),
        percentile=percentile,
    )
    if facts.kind != "points":
        return rows_task(info, measured.space, measured.x, measured.y).with_options()
    info = replace(
        info, n_full=len(measured.y), y_min=float(measured.y.min()), y_max=float(measured.y.max())
    )
    oracle = fit_forest(measured.space, measured.x, measured.y, ForestConfig())
    visible = offline_split(measured.x, measured.y, percentile)
    return Task(info, measured.space, visible, oracle).with_options()


def _facts(table: str) -> TableFacts:
    if table not in TABLES:
        raise UnknownId("table of Olympus", table, TABLES)
    return TABLES[table]


def _split(percentile: float) -> str:
    if percentile == 100:
        return "All designs."
    return f"Designs with scores at or below the {percentile:g}th percentile, in file order."
