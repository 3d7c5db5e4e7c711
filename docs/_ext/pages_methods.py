"""Pages of the methods, made from `MethodInfo`, docstrings and config dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markup import code, prose, table
from settings_tables import changes, settings_table

from mbo_gym.benchmark.analysis.published import published
from mbo_gym.cli.docstrings import items, parse
from mbo_gym.methods.registry import METHODS, method_class
from mbo_gym.surrogates.registry import SURROGATES

__all__ = ["index_page", "method_names", "method_page"]

_GROUPS = {
    "agents.controls": "Controls: they learn nothing, or use a surrogate only as a filter",
    "agents.optima": "Controls: the optimum of a model in closed form",
    "agents.gradient": "Gradient ascent on a surrogate",
    "agents.search": "Search on a surrogate without its gradient",
    "agents.generative": "Generative models",
    "diffusion": "Diffusion models",
    "agents.rl": "Offline reinforcement learning",
    "agents.online": "Online reinforcement learning",
}
_KINDS = {
    "reproduction": "reproduction of a published method",
    "adaptation": "adaptation of a published method",
    "control": "control: learns nothing, or uses a surrogate only as a filter",
    "own": "method of this project",
}


def method_names() -> list[str]:
    """Return the names of the methods of this project, grouped as on the index page."""
    groups = list(_GROUPS)
    ours = [name for name in METHODS if _group(name) in _GROUPS]
    return sorted(ours, key=lambda name: (groups.index(_group(name)), name))


def index_page() -> str:
    """Return the overview: a table of methods for each kind."""
    parts = [
        "# Methods",
        "Every method runs with `mbo-gym run METHOD TASK`; in Python, "
        '`mbo_gym.make_method("METHOD")` builds it. `mbo-gym show METHOD` shows all settings.',
    ]
    for group, heading in _GROUPS.items():
        rows = [
            [
                f"[{code(name)}]({name}.md)",
                prose(method_class(name).info.title),
                _presets_cell(name),
            ]
            for name in method_names()
            if _group(name) == group
        ]
        if rows:
            parts += [f"## {heading}", table(["method", "what it is", "presets"], rows)]
    listing = "\n".join(f"{name} <{name}>" for name in method_names())
    parts.append(f"```{{toctree}}\n:hidden:\n\n{listing}\n```")
    return "\n\n".join(parts) + "\n"


def method_page(name: str) -> str:
    """Return the page of a method."""
    return "\n\n".join(part for part in _parts(name) if part) + "\n"


def _parts(name: str) -> Iterator[str]:
    kind = method_class(name)
    info = kind.info
    doc = parse(kind.__doc__)
    yield f"# {prose(info.title)}"
    facts = {"Name": code(name), "Kind": _KINDS[info.kind], "Paper": prose(info.paper)}
    facts["Design spaces"] = ", ".join(info.spaces)
    facts["Class"] = code(f"{kind.__module__}.{kind.__qualname__}")
    if name in SURROGATES:
        facts["Also a surrogate"] = f"for other methods: {code(f'--set surrogate={name}')}"
    yield "\n".join(f":{field}: {value}" for field, value in facts.items() if value)
    yield f"```text\nmbo-gym run {name} TFBind8-Exact-v0 --seeds 0-7\n```"
    yield from (prose(paragraph) for paragraph in doc.paragraphs)
    if algorithm := doc.sections.get("Algorithm"):
        note = algorithm.note[:1].upper() + algorithm.note[1:]
        source = f"{prose(note)}.\n\n" if note else ""
        yield f"## Algorithm\n\n{source}```text\n{algorithm.text}\n```"
    if info.equations:
        lines = (f"```{{math}}\n{line}\n```" for line in info.equations)
        yield "## Equations\n\n" + "\n\n".join(lines)
    yield from _settings(kind)
    if info.differences:
        rows = [[prose(row.paper), prose(row.here), prose(row.why)] for row in info.differences]
        yield f"## Differences from the paper\n\n{table(['paper', 'here', 'why'], rows)}"
    if info.metrics:
        rows = [[code(metric), prose(text)] for metric, text in info.metrics.items()]
        metrics = table(["metric", "what it is"], rows)
        yield f"## Logged metrics\n\nIn `metrics.jsonl` of a run.\n\n{metrics}"
    if references := items(doc.sections.get("References")):
        yield "## References\n\n" + "\n".join(f"- {prose(reference)}" for reference in references)
    yield _published(name)


def _settings(kind: type[Any]) -> Iterator[str]:
    settings = settings_table(kind.Config)
    if settings:
        yield (
            "## Settings\n\n`--set NAME=VALUE` on the command line, arguments of `make_method` in "
            f"Python.\n\n{settings}"
        )
    presets = getattr(kind, "PRESETS", {})
    if presets:
        rows = [[code(preset), changes(kind.Config, config)] for preset, config in presets.items()]
        yield f"## Presets\n\n{table(['preset', 'what it sets'], rows)}"
    of_tasks = getattr(kind, "SETTINGS", {})
    if of_tasks:
        rows = [[code(task), changes(kind.Config, config)] for task, config in of_tasks.items()]
        single = table(["task", "what is set"], rows)
        yield f"## Settings of single tasks\n\nUsed unless a preset is named.\n\n{single}"


def _published(name: str) -> str:
    rows = [row for row in published() if row.method == name]
    if not rows:
        return ""
    rows.sort(key=lambda row: (row.task_id, -row.percentile))
    cells = [
        [
            code(row.task_id),
            f"{row.percentile}th",
            f"{row.mean:.3f}" + (f" ± {row.std:.3f}" if row.std is not None else ""),
            str(row.k),
            str(row.seeds),
            prose(row.source + (f" ({row.variant})" if row.variant else "")),
        ]
        for row in rows
    ]
    headers = ["task", "percentile", "score", "K", "seeds", "source"]
    return (
        "## Published numbers\n\nNormalised scores as the sources print them; "
        "[Results](../results/index.md) has ours. What stands after ± is a standard deviation or a "
        f"standard error, as the source has it.\n\n{table(headers, cells)}"
    )


def _presets_cell(name: str) -> str:
    return ", ".join(code(preset) for preset in getattr(method_class(name), "PRESETS", {}))


def _group(name: str) -> str:
    module = method_class(name).__module__
    return next(
        (group for group in _GROUPS if module == group or module.startswith(group + ".")), ""
    )
