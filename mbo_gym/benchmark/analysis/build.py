"""From a benchmark's records to what a report shows: scores over seeds, skill, ranks, tests,
published numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mbo_gym.benchmark.analysis import over_seeds as cells
from mbo_gym.benchmark.analysis.model import CEILINGS, Analysis, Entry, Failure, Problem
from mbo_gym.benchmark.analysis.notes import notes
from mbo_gym.benchmark.analysis.published import Reproduction, published_for, reproduce
from mbo_gym.benchmark.analysis.remarks import Remark, add_remarks
from mbo_gym.benchmark.analysis.standings import skill_scale, standings
from mbo_gym.benchmark.analysis.statistics import (
    Comparison,
    Interval,
    describe,
    skill_interval,
    welch_tests,
)

__all__ = ["analyse"]

Record = Mapping[str, Any]


def analyse(
    records: Sequence[Mapping[str, Any]],
    *,
    title: str = "Benchmark",
    remarks: Sequence[Remark] = (),
) -> Analysis:
    """Work out what a report shows from the records of a results file (the latest of each key).

    Args:
        records: As `mbo_gym.benchmark.execute.results.ResultStore.records` gives them.
        title: Of the report.
        remarks: Stand beside the scores that they are about.

    Raises:
        ValueError: There are no records.
    """
    if not records:
        raise ValueError("there are no records to analyse; run `mbo-gym benchmark` first")
    names = cells.problem_names(records)
    groups: dict[str, dict[str, list[Record]]] = {}
    for name, record in zip(names, records, strict=True):
        groups.setdefault(name, {}).setdefault(record["label"], []).append(record)
    environments = {json.dumps(r["environment"], sort_keys=True): r["environment"] for r in records}
    problems, entries = [], []
    for name, by_label in groups.items():
        mine = [_entry(name, same, list(environments)) for same in by_label.values()]
        mine += _exact_controls(name, by_label)
        problem = _problem(name, by_label, mine)
        problems.append(problem)
        entries += sorted((_with_skill(entry, problem, mine) for entry in mine), key=_place)
    ranking = standings(problems, entries)
    return Analysis(
        title=title,
        problems=tuple(problems),
        entries=tuple(entries),
        standings=ranking,
        comparisons={
            p.name: _comparisons([e for e in entries if e.problem == p.name]) for p in problems
        },
        reproduced=add_remarks(_reproductions(entries, groups), remarks),
        failures=tuple(
            _failure(n, r) for n, r in zip(names, records, strict=True) if r["status"] == "failed"
        ),
        environments=tuple(environments.values()),
        notes=notes(problems, entries, ranking, list(zip(names, records, strict=True))),
        n_cells=len(records),
    )


def _entry(problem: str, records: Sequence[Record], environments: Sequence[str]) -> Entry:
    """Return a method on a problem from its cells; its skill is not known yet."""
    done = sorted((r for r in records if r["status"] == "done"), key=lambda r: r["seed"])
    values = cells.measures(done)
    used = {environments.index(json.dumps(r["environment"], sort_keys=True)) for r in records}
    return Entry(
        label=records[0]["label"],
        problem=problem,
        control=records[0]["control"],
        exact=False,
        external=records[0]["external"],
        seeds=tuple(r["seed"] for r in done),
        n_failed=len(records) - len(done),
        values=values,
        scores={measure: describe(numbers) for measure, numbers in values.items()},
        skill={},
        better_than_control=None,
        quantiles=cells.mean_quantiles(done),
        search=cells.mean_search(done),
        facts=cells.mean_facts(done),
        command=cells.merged_command(records),
        environments=tuple(sorted(used)),
    )


def _exact_controls(problem: str, by_label: Mapping[str, Sequence[Record]]) -> list[Entry]:
    """Return the controls that follow from the task's table and were not run."""
    done = [r for same in by_label.values() for r in same if r["status"] == "done"]
    run = {r["method"] for r in done if r["control"]}
    entries = []
    for name, known in done[0]["result"]["controls"].items() if done else ():
        if name in run:
            continue
        # The exact median counts repeated designs; a uniform draw repeats few, so over distinct
        # ones it is the same.
        values = {"p100": (known["p100"],), "p50_distinct": (known["p50"],), "p50": (known["p50"],)}
        entries.append(
            Entry(
                label=f"{name} (exact)",
                problem=problem,
                control=True,
                exact=True,
                external=False,
                seeds=(),
                n_failed=0,
                values=values,
                scores={measure: describe(numbers) for measure, numbers in values.items()},
                skill={},
                better_than_control=None,
                quantiles=(),
                search=(),
                facts=dict.fromkeys(cells.FACTS),
                command="",
                environments=(),
            )
        )
    return entries


def _problem(
    name: str, by_label: Mapping[str, Sequence[Record]], entries: Sequence[Entry]
) -> Problem:
    records = [record for same in by_label.values() for record in same]
    result = next((r["result"] for r in records if r["status"] == "done"), None)
    controls = [entry for entry in entries if entry.control and entry.values]
    best = {
        measure: max(controls, key=lambda e: e.scores[measure].mean)
        for measure in CEILINGS
        if controls
    }
    return Problem(
        name=name,
        task_id=records[0]["task"],
        options=records[0]["options"],
        k=records[0]["k"],
        n_visible=result["n_visible"] if result else 0,
        d_best=result["d_best"] if result else float("nan"),
        ceiling=result["ceiling"] if result else {},
        best_control={
            measure: (entry.label, entry.scores[measure].mean) for measure, entry in best.items()
        },
    )


def _with_skill(entry: Entry, problem: Problem, entries: Sequence[Entry]) -> Entry:
    skill: dict[str, Interval] = {}
    for measure in CEILINGS if entry.values else ():
        if scale := skill_scale(problem, entries, measure):
            interval = skill_interval(entry.values[measure], scale.controls, scale.ceiling)
            skill |= {measure: interval} if interval else {}
    judged = "p50_distinct" in skill and not entry.control and len(entry.seeds) > 1
    return replace(
        entry, skill=skill, better_than_control=skill["p50_distinct"].low > 0 if judged else None
    )


def _place(entry: Entry) -> float:
    """Return what entries of a problem are sorted by: those without scores come last, in the order
    of the records."""
    return -entry.scores["p50_distinct"].mean if entry.scores else float("inf")


def _comparisons(entries: Sequence[Entry]) -> tuple[Comparison, ...]:
    return tuple(welch_tests({e.label: e.values["p50_distinct"] for e in entries if e.values}))


def _reproductions(
    entries: Sequence[Entry], groups: Mapping[str, Mapping[str, Sequence[Record]]]
) -> list[Reproduction]:
    """Return our numbers beside the published ones of the same method and task, on the same number
    of designs."""
    rows = []
    for entry in entries:
        if entry.exact or not entry.values:
            continue
        record = next(r for r in groups[entry.problem][entry.label] if r["status"] == "done")
        for percentile in (100, 50):
            for published in published_for(record["method"], record["task"], percentile=percentile):
                first = published.k <= 128
                rows.append(
                    reproduce(
                        published,
                        entry.values[f"first_p{percentile}" if first else f"p{percentile}"],
                        label=entry.label,
                        problem=entry.problem,
                        k=record["k"],
                        scored=min(128, record["k"]) if first else record["k"],
                        preset=record["preset"],
                        options=record["options"],
                        n_visible=record["result"]["n_visible"],
                    )
                )
    return rows


def _failure(problem: str, record: Record) -> Failure:
    error = record["error"]
    return Failure(
        key=record["key"],
        label=record["label"],
        problem=problem,
        seed=record["seed"],
        error=f"{error['type']}: {error['message']}",
        traceback=error["traceback"],
        command=record["command"],
    )
