"""Tables that the command line prints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from mbo_gym.benchmark.analysis.published import published_for
from mbo_gym.cli.docstrings import parse
from mbo_gym.cli.method_page import method_title
from mbo_gym.cli.settings import settings_of
from mbo_gym.data import manifest
from mbo_gym.data.placed import hash_of
from mbo_gym.encoders.registry import ENCODERS
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.evaluation.scoring import Evaluation
from mbo_gym.files import store
from mbo_gym.methods.base import MethodInfo
from mbo_gym.methods.costs import cost_in_words
from mbo_gym.methods.registry import METHODS, method_class
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.runs.one_run import RunResult
from mbo_gym.surrogates.registry import SURROGATES, make_surrogate
from mbo_gym.tasks.registry import list_tasks, task_info

__all__ = [
    "LEFT_OUT_FIRST",
    "data_sources",
    "encoders",
    "methods",
    "noise_in_words",
    "results",
    "surrogates",
    "task_facts",
    "tasks",
]

LEFT_OUT_FIRST = ("seconds", "first 128\n50th", "first 128\n100th", "infeasible", "in data")
"""Columns of a table of results that a narrow terminal goes without."""

METHODS_CAPTION = (
    "Cost: median of a recorded run (256 designs, one core, five tasks). Settings, presets and "
    "paper: mbo-gym show METHOD"
)

_HERE = "[green]here[/]"
_MISSING = "[yellow]missing[/]"


def tasks(everything: bool = False) -> Table:
    """Return the table of tasks: id, whether its data are here, where they come from.

    Args:
        everything: Also each id of a family that shares a page.
    """
    table = Table("task", "data", "from", title="Tasks")
    table.caption, table.caption_justify = "How to get what is missing: mbo-gym data list", "left"
    families: dict[str, list[TaskInfo]] = {}
    for info in map(task_info, list_tasks()):
        key = info.task_id if everything or not info.family else info.family
        families.setdefault(key, []).append(info)
    for name, infos in families.items():
        if name == infos[0].task_id:
            table.add_row(name, *_availability(infos[0]))
        else:
            cells = _availability_of_family(infos)
            table.add_row(escape(f"{name} ({len(infos)})"), *cells, style="dim")
    table.columns[0].overflow = "fold"  # a long id goes on in the next line
    return table


def methods() -> Table:
    """Return the table of methods, a line each: name, kind, title, recorded cost."""
    table = Table("method", "kind", "what it is", title="Methods", box=box.SIMPLE_HEAD)
    table.add_column("cost", justify="right")
    table.columns[0].min_width = max(map(len, METHODS))
    table.columns[0].no_wrap = table.columns[1].no_wrap = table.columns[3].no_wrap = True
    table.columns[1].min_width = len("reproduction")
    table.columns[3].min_width = len("under 1 s")
    table.columns[2].no_wrap = True  # a narrow terminal shows the beginning
    table.columns[2].overflow = "ellipsis"
    table.caption, table.caption_justify = METHODS_CAPTION, "left"
    for name in METHODS:
        kind = method_class(name)
        info = getattr(kind, "info", None)
        what = info.kind if isinstance(info, MethodInfo) else "other"
        table.add_row(name, what, escape(method_title(kind)), cost_in_words(name))
    return table


def surrogates() -> Table:
    """Return the table of surrogates: name, settings with their defaults."""
    table = Table("surrogate", "settings", title="Surrogates")
    for name in SURROGATES:
        table.add_row(name, escape(_settings(make_surrogate(name).config)))
    return table


def encoders() -> Table:
    """Return the table of encoders: name, what it is."""
    table = Table("encoder", "what it is", title="Encoders")
    for name in ENCODERS:
        table.add_row(name, escape(parse(ENCODERS.spec(name).load().__doc__).summary))
    return table


def _settings(config: Any) -> str:
    return ", ".join(f"{setting.name}={setting.default}" for setting in settings_of(config))


def data_sources() -> Table:
    """Return the table of data sources: name, whether it is here, licence, how to get it."""
    table = Table(
        "name", "here", "what, licence, how to get it", title=f"Data, looked for in {_folders()}"
    )
    table.show_lines = True
    table.columns[0].no_wrap = True
    table.columns[2].overflow = "fold"
    for name, facts in manifest.ENTRIES.items():
        place = None if facts.ships else manifest.find(name)
        here = "[green]ships[/]" if facts.ships else _HERE if place else _MISSING
        lines = [facts.title, f"[dim]licence[/] {facts.licence}"]
        if place is not None and not facts.package and place.exists() and (sha := hash_of(place)):
            of = "" if place.is_file() else " of the files read so far"
            lines.append(f"[dim]sha256[/]  {sha}..{of}")
        if not facts.ships:
            fetched = f"mbo-gym data get {name}; or " if facts.fetchable else ""
            lines.append(f"[dim]get it[/]  {fetched}{escape(facts.by_hand)}")
        table.add_row(name, here, "\n".join(lines))
    return table


def task_facts(task: Task | TaskInfo, k: int = 256) -> Table:
    """Return the facts of a task as a table of two columns.

    Args:
        task: The task, or its facts where its data are missing.
        k: Budget K of ceiling and controls.
    """
    info = task.info if isinstance(task, Task) else task
    table = Table(show_header=False, title=info.task_id)
    rows = [
        ("description", info.description),
        ("design space", info.space),
        ("score", f"{info.score_name}, higher is better"),
    ]
    if np.isfinite(info.y_min):
        ends = f"raw {info.y_min:.7g} is 0, raw {info.y_max:.7g} is 1"
        rows.append(("normalised", f"{ends}: the range of the full data"))
    if isinstance(task, Task):
        count = f"{info.n_visible:,} of {info.n_full:,}"
        rows += [("visible rows", f"{count}. {info.split}"), ("D(best)", f"{info.d_best:.4f}")]
        rows.append(("data hash", f"{task.data_hash}; the records of runs hold it too"))
    else:
        rows.append(("visible rows", info.split))
    rows += [("columns", _columns(info))]
    rows += [("what was done", "\n".join(info.notes))]
    rows.append(("oracle", info.oracle))
    rows.append(("noise floor", noise_in_words(info)))
    if isinstance(task, Task):
        rows += _reachable(task, k)
    rows.append(("data", _where(info)))
    rows += [("licence", info.licence), ("references", "\n".join(info.references))]
    rows.append(("versions", "\n".join(info.version_history)))
    for name, text in rows:
        if text:
            table.add_row(name, escape(text))  # names of a user's columns may look like markup
    return table


def noise_in_words(info: TaskInfo) -> str:
    """Return the noise floor of a task as a sentence; empty where there is none."""
    if not info.noise_floor:
        return ""
    normalised = info.noise_floor / (info.y_max - info.y_min)
    also = f" ({normalised:.3f} normalised)" if np.isfinite(normalised) else ""
    return f"differences under {info.noise_floor:g}{also} mean nothing."


def _columns(info: TaskInfo) -> str:
    """Return a line for each column of a user's table, and how one is left out."""
    if not info.columns:
        return ""
    lines = [f"{name or '(no name)'}: {role}" for name, role in info.columns]
    advice = "One that is no setting of yours, such as another measurement: -o ignore=NAME."
    return "\n".join([*lines, advice])


def _reachable(task: Task, k: int) -> list[tuple[str, str]]:
    """Return the rows of ceiling and controls, where they are known."""
    rows = []
    if task.ceiling is not None:
        p100, p50 = task.normalise(np.array([task.ceiling.percentile(q, k) for q in (100, 50)]))
        how = "exact" if task.ceiling.exact else "known"
        note = f"100th {p100:.3f}, 50th {p50:.3f}: {task.ceiling.note}"
        rows.append((f"ceiling ({how}), K={k}", note))
    for name, values in known_controls(task, k).items():
        scores = f"100th {values['p100']:.3f}, 50th {values['p50']:.3f}"
        rows.append((f"control {name}, K={k}", scores))
    return rows


def _where(info: TaskInfo) -> str:
    """Return where the data of a task are, or every way to get them."""
    if info.task_id in ("table", "csv"):
        return ""
    if not info.sources:
        return "computed"
    if any(manifest.find(name) for name in info.sources):
        return f"here: {_availability(info)[1]}"
    ways = []
    for source in map(manifest.entry, info.sources):
        fetched = f"mbo-gym data get {source.name}; or " if source.fetchable else ""
        ways.append(f"{source.name}: {fetched}{source.by_hand}")
    return "\n".join(["missing; any one of these will do", *ways])


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
    origin = "stored" if task.controls else "exact"
    for name, values in controls.items():
        table.add_row(
            f"{name} ({origin})", "", f"{values['p100']:.3f}", f"{values['p50']:.3f}", style="dim"
        )
    if ceiling:
        name = "ceiling (exact)" if ceiling["exact"] else "ceiling (known)"
        table.add_row(name, "", f"{ceiling['p100']:.3f}", f"{ceiling['p50']:.3f}", style="dim")
    table.caption, table.caption_justify = escape("\n".join(_notes(task, runs))), "left"
    return table


def _notes(task: Task, runs: Sequence[RunResult]) -> list[str]:
    """Return the lines below a table of results: notes, published numbers, folder of the runs."""
    notes = [run.evaluation.note for run in runs if run.evaluation.note][:1]
    for method in dict.fromkeys(run.request.method for run in runs):
        for row in published_for(method, task.info.task_id):
            mean, kind = f"{row.mean:.3f}", ""
            if row.std is not None:
                mean, kind = f"{mean} +- {row.std:.3f}", f", +-: {row.spread}"
            notes.append(
                f"published {method}: {row.percentile}th {mean} "
                f"(K={row.k}, {row.seeds} seeds{kind}; {row.source})"
            )
    if task.info.noise_floor:
        notes.append(f"noise floor: {noise_in_words(task.info)}")
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
    """Add mean, standard deviation (n - 1) and standard error over the seeds of a method."""
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


def _availability(info: TaskInfo) -> tuple[str, str]:
    """Return whether the data of a task are here, and where they come from or how to get them."""
    if info.task_id in ("table", "csv"):
        return "yours", "-o path=.. -o score_column=.."
    if not info.sources:
        return _HERE, "computed"
    sources = [manifest.entry(name) for name in info.sources]
    for source in sources:
        if manifest.find(source.name):
            variable = source.environment if os.environ.get(source.environment) else ""
            place = f"package {source.package}" if source.package else source.file
            return _HERE, "ships" if source.ships else f"${variable}" if variable else place
    fetchable = next((source.name for source in sources if source.fetchable), None)
    if fetchable:
        return _MISSING, f"mbo-gym data get {fetchable}"
    installable = next((s.by_hand for s in sources if s.by_hand.startswith("pip ")), None)
    if installable:
        return _MISSING, escape(installable)
    return _MISSING, f"by hand: {', '.join(info.sources)}"


def _availability_of_family(infos: Sequence[TaskInfo]) -> tuple[str, str]:
    """Return how many of some tasks have their data here, and where the others come from."""
    ways = Counter(map(_availability, infos))
    if len(ways) == 1:
        return next(iter(ways))
    here = "\n".join(f"{count} {state}" for (state, _), count in ways.items())
    return here, "\n".join(place for _, place in ways)


def _folders() -> str:
    return ", then ".join(str(folder) for folder in store.folders())
