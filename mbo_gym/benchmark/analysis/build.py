"""Makes the analysis of a benchmark from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mbo_gym.benchmark.analysis import over_seeds
from mbo_gym.benchmark.analysis.finding import finding
from mbo_gym.benchmark.analysis.model import CEILINGS, Analysis, Entry, Failure, Run, TaskSetting
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
from mbo_gym.benchmark.record import CellError, CellRecord, CellResult, Environment

__all__ = ["analyse"]


def analyse(
    records: Sequence[CellRecord],
    *,
    title: str = "Benchmark",
    remarks: Sequence[Remark] = (),
) -> Analysis:
    """Compute what a report shows: scores, skill, ranks, tests and published numbers.

    Args:
        records: Records, the latest of each key, see
            `mbo_gym.benchmark.execute.results.ResultStore.records`.
        title: Title of the report.
        remarks: Remarks on scores below published ones.

    Raises:
        ValueError: There are no records.
    """
    if not records:
        raise ValueError("there are no records to analyse; run `mbo-gym benchmark` first")
    names = over_seeds.task_names(records)
    groups: dict[str, dict[str, list[CellRecord]]] = {}
    for name, record in zip(names, records, strict=True):
        groups.setdefault(name, {}).setdefault(record.label, []).append(record)
    environments = _distinct_environments(records)
    tasks = []
    entries = []
    for name, by_label in groups.items():
        mine = [_entry(name, same, environments) for same in by_label.values()]
        mine += _exact_controls(name, by_label)
        task = _task_setting(name, by_label, mine)
        tasks.append(task)
        entries += sorted((_with_skill(entry, task, mine) for entry in mine), key=_place)
    ranking = standings(tasks, entries)
    named = list(zip(names, records, strict=True))
    return Analysis(
        title=title,
        tasks=tuple(tasks),
        entries=tuple(entries),
        standings=ranking,
        comparisons={
            task.name: _comparisons([e for e in entries if e.task == task.name]) for task in tasks
        },
        reproduced=add_remarks(_reproductions(entries, groups), remarks),
        failures=tuple(_failure(n, r, r.error) for n, r in named if r.error is not None),
        environments=tuple(environments),
        notes=notes(tasks, entries, ranking, named),
        n_cells=len(records),
        finding=finding(tasks, entries, ranking, len(records)),
    )


def _distinct_environments(records: Sequence[CellRecord]) -> list[Environment]:
    found: list[Environment] = []
    for record in records:
        if record.environment not in found:
            found.append(record.environment)
    return found


def _entry(task: str, records: Sequence[CellRecord], environments: list[Environment]) -> Entry:
    """Return a method on a task from its cells, without its skill."""
    done = sorted((r for r in records if r.result is not None), key=lambda r: r.request.seed)
    results = [r.result for r in done if r.result is not None]
    values = over_seeds.measures(results)
    return Entry(
        label=records[0].label,
        task=task,
        control=records[0].control,
        exact=False,
        external=records[0].external,
        seeds=tuple(r.request.seed for r in done),
        n_failed=len(records) - len(done),
        values=values,
        scores={measure: describe(numbers) for measure, numbers in values.items()},
        skill={},
        better_than_control=None,
        quantiles=over_seeds.mean_quantiles(results),
        search=over_seeds.mean_search(results),
        learning=over_seeds.mean_learning(results),
        diagnostics=over_seeds.mean_diagnostics(done),
        offline=over_seeds.mean_offline(results),
        command=over_seeds.merged_command(records),
        environments=tuple(sorted({environments.index(r.environment) for r in records})),
        runs=tuple(_run(record, record.result) for record in done if record.result is not None),
        touched=tuple(dict.fromkeys(mark for result in results for mark in result.touched)),
    )


def _run(record: CellRecord, result: CellResult) -> Run:
    scores = over_seeds.measures([result])
    return Run(
        seed=record.request.seed,
        key=record.key,
        folder="" if record.external else record.folder_name,
        scores={measure: value for measure, (value,) in scores.items()},
        seconds=record.seconds,
        command=record.command,
        tables=result.tables,
    )


def _exact_controls(task: str, by_label: Mapping[str, Sequence[CellRecord]]) -> list[Entry]:
    """Return the controls that follow from the task's table and were not run."""
    done = [r for same in by_label.values() for r in same if r.result is not None]
    run = {record.request.method for record in done if record.control}
    known = done[0].result.controls if done and done[0].result else {}
    entries = []
    for name, scores in known.items():
        if name in run:
            continue
        # The exact median counts repeated designs; a uniform draw repeats few, so over distinct
        # ones it is the same.
        values = {"p100": (scores.p100,), "p50_distinct": (scores.p50,), "p50": (scores.p50,)}
        entries.append(
            Entry(
                label=f"{name} (exact)",
                task=task,
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
                diagnostics=dict.fromkeys(over_seeds.DIAGNOSTICS),
                offline=dict.fromkeys(over_seeds.OFFLINE),
                command="",
                environments=(),
            )
        )
    return entries


def _task_setting(
    name: str, by_label: Mapping[str, Sequence[CellRecord]], entries: Sequence[Entry]
) -> TaskSetting:
    records = [record for same in by_label.values() for record in same]
    request = records[0].request
    result = next((r.result for r in records if r.result is not None), None)
    controls = [entry for entry in entries if entry.control and entry.values]
    best = {
        measure: max(controls, key=lambda e: e.scores[measure].mean)
        for measure in CEILINGS
        if controls
    }
    return TaskSetting(
        name=name,
        task_id=request.task_id,
        options=request.options,
        k=request.k,
        n_visible=result.n_visible if result else 0,
        d_best=result.d_best if result else float("nan"),
        ceiling=result.ceiling if result else None,
        best_control={
            measure: (entry.label, entry.scores[measure].mean) for measure, entry in best.items()
        },
    )


def _with_skill(entry: Entry, task: TaskSetting, entries: Sequence[Entry]) -> Entry:
    skill: dict[str, Interval] = {}
    for measure in CEILINGS if entry.values else ():
        if scale := skill_scale(task, entries, measure):
            interval = skill_interval(entry.values[measure], scale.controls, scale.ceiling)
            skill |= {measure: interval} if interval else {}
    judged = "p50_distinct" in skill and not entry.control and len(entry.seeds) > 1
    return replace(
        entry, skill=skill, better_than_control=skill["p50_distinct"].low > 0 if judged else None
    )


def _place(entry: Entry) -> float:
    """Return the sort key of an entry; those without scores come last, in the records' order."""
    return -entry.scores["p50_distinct"].mean if entry.scores else float("inf")


def _comparisons(entries: Sequence[Entry]) -> tuple[Comparison, ...]:
    return tuple(welch_tests({e.label: e.values["p50_distinct"] for e in entries if e.values}))


def _reproductions(
    entries: Sequence[Entry], groups: Mapping[str, Mapping[str, Sequence[CellRecord]]]
) -> list[Reproduction]:
    """Return our scores beside the published ones of the same method, task and budget."""
    rows = []
    for entry in entries:
        if entry.exact or not entry.values:
            continue
        of_entry = groups[entry.task][entry.label]
        request, result = next((r.request, r.result) for r in of_entry if r.result is not None)
        for percentile in (100, 50):
            for published in published_for(request.method, request.task_id, percentile=percentile):
                first = published.k <= 128
                rows.append(
                    reproduce(
                        published,
                        entry.values[f"first_p{percentile}" if first else f"p{percentile}"],
                        label=entry.label,
                        task=entry.task,
                        k=request.k,
                        scored=min(128, request.k) if first else request.k,
                        preset=request.preset,
                        options=request.options,
                        n_visible=result.n_visible,
                    )
                )
    return rows


def _failure(task: str, record: CellRecord, error: CellError) -> Failure:
    return Failure(
        key=record.key,
        label=record.label,
        task=task,
        seed=record.request.seed,
        error=f"{error.type}: {error.message}",
        traceback=error.traceback,
        command=record.command,
    )
