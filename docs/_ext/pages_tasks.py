"""Pages of the tasks, made from `TaskInfo`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from markup import code, prose, table

from mbo_gym import make_task, task_info
from mbo_gym.benchmark.analysis.published import published
from mbo_gym.cli.docstrings import entries, parse
from mbo_gym.cli.tables import noise_in_words
from mbo_gym.data import manifest
from mbo_gym.errors import MissingData, MissingDependency
from mbo_gym.evaluation import known_controls
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.tasks.registry import TASKS

__all__ = ["index_page", "page_names", "task_page"]

K = 256

_ORDER = (
    *("TFBind", "Superconductor", "Levy", "Rastrigin", "Rosenbrock", "Ackley", "Griewank"),
    *("Branin", "Fluid", "Olympus", "BOCoDe"),
)
_COMMON_OPTIONS = {
    "fraction": "share of the visible rows that is kept, in (0, 1]",
    "noise": "standard deviation of Gaussian noise on the normalised visible scores",
    "seed": "seed of `fraction` and `noise`",
    "max_rows": "at most this many rows: every n-th visible row, sorted by score",
}


def page_names() -> dict[str, list[str]]:
    """Return the task ids of each page by its name; versions share one, and so do families."""
    pages: dict[str, list[str]] = {}
    for task_id in TASKS:
        if task_id not in ("table", "csv"):
            name = task_info(task_id).family.translate({ord("<"): None, ord(">"): None}) or task_id
            pages.setdefault(name.rpartition("-v")[0], []).append(task_id)

    def order(page: str) -> tuple[int, str]:
        return next(
            (i for i, start in enumerate(_ORDER) if page.startswith(start)), len(_ORDER)
        ), page

    return {page: pages[page] for page in sorted(pages, key=order)}


def index_page() -> str:
    """Return the overview: a table of tasks."""
    rows = []
    for page, ids in page_names().items():
        info = task_info(ids[0])
        versions = ", ".join(f"`v{task_id.rpartition('-v')[2]}`" for task_id in ids)
        if info.family:
            versions = f"{len(ids)} tasks"
        space = prose(_info(ids[0])[0].space.rstrip("."))
        rows.append([f"[{code(page)}]({page}.md)", space, versions, _data_words(info)])
    rows.append(["[`csv`](../guides/csv.md)", "your columns, or your sequences", "", "your file"])
    options = [[code(name), prose(text)] for name, text in _COMMON_OPTIONS.items()]
    listing = "\n".join(f"{page} <{page}>" for page in page_names())
    parts = [
        "# Tasks",
        "Ids are `<Data>-<Oracle>-v<N>`. `-v0` is what the papers used, defects included. `-v1` "
        "mends them: doubled or contradicting rows, an optimum in the centre of the data, an "
        "oracle that rewards noise. `-v2` of the synthetic functions is [harder]"
        "(../concepts/synthetic_v2.md): three basins in place of one. `mbo-gym list` shows which "
        "data are on your machine, `mbo-gym show ID` the facts of a task.",
        table(["task", "designs", "versions", "data"], rows),
        "## Where data are looked for",
        "In the folder that `MBO_GYM_DATA` names, then in your cache folder; Design-Bench's own "
        "folder is named by `MBO_GYM_DESIGN_BENCH`. Files are checked before use. "
        "`mbo-gym data list` shows them all.",
        "## Options of every task",
        "`--option NAME=VALUE` on the command line, arguments of `mbo_gym.make_task` in Python.",
        table(["option", "meaning"], options),
        f"```{{toctree}}\n:hidden:\n\n{listing}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def task_page(page: str, ids: list[str]) -> str:
    """Return the page of a task: its versions side by side; of a family, its first task."""
    first = task_info(ids[0])
    shown = ids[:1] if first.family else ids
    parts = [f"# {page}", prose(first.description)]
    if first.family:
        parts.append(f"{len(ids)} tasks are made in this way; the facts below are of the first.")
    parts.append(
        f'```text\ntask = mbo_gym.make_task("{shown[0]}")\n'
        f'env = gym.make("mbo_gym/{shown[0]}")\n```'
    )
    parts.append(_facts_table({task_id: _facts(task_id) for task_id in shown}))
    parts += _data(first)
    if options := _own_options(shown[0]):
        words = "Besides the [options of every task](index.md)."
        parts += ["## Options", table(["option", "meaning"], options), words]
    if references := dict.fromkeys(line for id in shown for line in task_info(id).references):
        parts += ["## References", "\n".join(f"- {prose(reference)}" for reference in references)]
    parts += _published(shown)
    if first.family:
        parts += ["## Task ids", _family_table(ids)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _family_table(ids: list[str]) -> str:
    """Return the ids of a family, with what they are where they differ by more than a name."""
    infos = [task_info(task_id) for task_id in ids]
    if len({info.space for info in infos}) == 1:
        return ", ".join(code(task_id) for task_id in ids)
    rows = [
        [code(info.task_id), prose(info.description.rstrip(".")), prose(info.space.rstrip("."))]
        for info in infos
    ]
    return table(["id", "what", "designs"], rows)


def _facts_table(facts: Mapping[str, Mapping[str, str]]) -> str:
    rows = []
    for name in dict.fromkeys(name for task in facts.values() for name in task):
        texts = [task.get(name, "") for task in facts.values()]
        if len(set(texts)) == 1:
            texts[1:] = ["the same"] * (len(texts) - 1)
        rows.append([f"**{name}**", *texts])
    return table(["", *(code(task_id) for task_id in facts)], rows)


@cache
def _info(task_id: str) -> tuple[TaskInfo, Task | None]:
    """Return the facts of a task, and the task where its data are on this machine."""
    try:
        task = make_task(task_id)
    except (MissingData, MissingDependency):
        return task_info(task_id), None
    return task.info, task


def _facts(task_id: str) -> dict[str, str]:
    """Return the rows of the table of facts."""
    info, task = _info(task_id)
    rows = {"designs": prose(info.space), "score": f"{prose(info.score_name)}; higher is better"}
    if math.isfinite(info.y_min):
        rows["normalised"] = f"raw {info.y_min:.6g} is 0, raw {info.y_max:.6g} is 1"
    rows["visible"] = prose(info.split)
    if task is not None:
        rows["visible"] += f" {info.n_visible:,} of {info.n_full:,} rows."
        rows["D(best)"] = f"{info.d_best:.3f} normalised"
    rows["oracle"] = prose(info.oracle)
    if info.noise_floor:
        rows["noise floor"] = noise_in_words(info)
    if task is None:
        rows["numbers"] = "shown by `mbo-gym show` where the data are on the machine"
    else:
        rows |= _known_scores(task)
    return rows | {
        "licence": prose(info.licence),
        "versions": "; ".join(map(prose, info.version_history)),
    }


def _known_scores(task: Task) -> dict[str, str]:
    """Return the rows of the ceiling and of the controls whose scores follow from the data."""
    rows = {}
    if task.ceiling is not None:
        p100, p50 = task.normalise(np.array([task.ceiling.percentile(q, K) for q in (100, 50)]))
        how = "" if task.ceiling.exact else "; no better one is known"
        rows[f"ceiling, K = {K}"] = (
            f"100th {p100:.3f}, 50th {p50:.3f}: {prose(task.ceiling.note)}{how}"
        )
    for name, values in known_controls(task, K).items():
        rows[f"control `{name}`, K = {K}"] = f"100th {values['p100']:.3f}, 50th {values['p50']:.3f}"
    return rows


def _data_words(info: TaskInfo) -> str:
    if not info.sources:
        return "computed"
    first = manifest.entry(info.sources[0])
    if first.by_hand.startswith("pip "):
        return code(first.by_hand)
    if first.ships:
        return "ships"
    return f"{code(f'mbo-gym data get {first.name}')} or by hand" if first.fetchable else "by hand"


def _data(info: TaskInfo) -> list[str]:
    rows = []
    for source in map(manifest.entry, info.sources):
        how = "ships with mbo_gym" if source.ships else prose(source.by_hand)
        if source.fetchable:
            how = f"{code(f'mbo-gym data get {source.name}')}; or {how}"
        rows.append([code(source.name), prose(source.title), prose(source.licence), how])
    if not rows:
        return ["## Data", "Computed; nothing is read from disk."]
    order = "Any one of these will do." if len(rows) > 1 else ""
    return ["## Data", order, table(["source", "what", "licence", "how to get it"], rows)]


def _own_options(task_id: str) -> list[list[str]]:
    spec = TASKS.spec(task_id)
    function: Callable[..., Any] = spec.load()
    meanings = entries(parse(function.__doc__).sections.get("Args"))
    names = [name for name in inspect.signature(function).parameters if name not in spec.kwargs]
    return [[code(name), prose(meanings.get(name, ""))] for name in names]


def _published(ids: list[str]) -> list[str]:
    rows = [row for row in published() if row.task_id in ids]
    if not rows:
        return []
    rows.sort(key=lambda row: (row.method, row.variant, row.source))
    cells = [
        [
            code(row.method) + (f" ({prose(row.variant)})" if row.variant else ""),
            code(row.task_id),
            f"{row.percentile}th",
            f"{row.mean:.3f}" + (f" ± {row.std:.3f}" if row.std is not None else ""),
            str(row.k),
            str(row.seeds),
            prose(row.source),
        ]
        for row in rows
    ]
    headers = ["method", "task", "percentile", "score", "K", "seeds", "source"]
    return [
        "## Published numbers",
        "Normalised scores as the sources print them; not all of these methods are in mbo_gym.",
        f":::{{dropdown}} {len(rows)} numbers\n{table(headers, cells)}\n:::",
    ]
