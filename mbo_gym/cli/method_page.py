"""What `mbo-gym show METHOD` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mbo_gym.cli.docstrings import Docstring, parse
from mbo_gym.cli.settings import changes, settings_of
from mbo_gym.methods.base import MethodInfo
from mbo_gym.methods.costs import cost_in_words
from mbo_gym.methods.registry import method_class

__all__ = ["method_page", "method_title"]

_KINDS = {
    "reproduction": "Reproduction of a paper.",
    "adaptation": "Adaptation of a known algorithm to offline model-based optimization.",
    "control": "Control: learns nothing, or uses a surrogate only as a filter.",
    "own": "Method of this package.",
}


def method_title(kind: type[Any]) -> str:
    """Return what a method is, in a line."""
    info = getattr(kind, "info", None)
    if isinstance(info, MethodInfo):
        return info.title
    return parse(kind.__doc__).summary


def method_page(name: str) -> Group:
    """Return the facts of a method: algorithm, settings, presets, differences, metrics.

    Args:
        name: Name of the method.

    Raises:
        UnknownId: No method has that name.
    """
    kind = method_class(name)
    documented = parse(kind.__doc__)
    info = getattr(kind, "info", None)
    if not isinstance(info, MethodInfo):  # a method of the old protocol has its docstring only
        info = MethodInfo(title=documented.summary, kind="own")
    return Group(*_parts(name, kind, documented, info))


def _parts(
    name: str, kind: type[Any], documented: Docstring, info: MethodInfo
) -> Iterator[RenderableType]:
    yield Text.assemble((name, "bold"), f"  {info.title}")
    yield Text(info.paper or _KINDS[info.kind], "dim")
    if info.paper and info.kind != "reproduction":
        yield Text(_KINDS[info.kind], "dim")
    yield Text(f"Works on {', '.join(info.spaces)} spaces.", "dim")
    if cost := cost_in_words(name):
        yield Text(
            f"Recorded cost: {cost} (median run of 256 designs, one core, five tasks)", "dim"
        )
    for paragraph in documented.paragraphs:
        yield Padding(Text(paragraph), (1, 0, 0, 0))
    if algorithm := documented.sections.get("Algorithm"):
        yield _heading(f"Algorithm ({algorithm.note})" if algorithm.note else "Algorithm")
        yield Padding(Text(algorithm.text), (0, 0, 0, 2))
    yield from _settings(kind)
    rows = [(row.paper, row.here, row.why) for row in info.differences]
    yield from _section("Differences from the paper", ("paper", "here", "why"), rows, lines=True)
    yield from _section("Logged metrics", ("metric", "meaning"), list(info.metrics.items()))
    if references := documented.sections.get("References"):
        yield _heading("References")
        yield Padding(Text(references.text), (0, 0, 0, 2))


def _settings(kind: type[Any]) -> Iterator[RenderableType]:
    default = kind.Config()
    rows = [(s.name, s.default, s.kind, s.meaning) for s in settings_of(default)]
    columns = ("setting", "default", "type", "meaning")
    yield from _section("Settings: --set NAME=VALUE", columns, rows)
    presets = [
        (preset, changes(config, default) or "the defaults")
        for preset, config in getattr(kind, "PRESETS", {}).items()
    ]
    yield from _section("Presets: --preset NAME", ("preset", "changes"), presets)
    tasks = [
        (task_id, changes(config, default) or "the defaults")
        for task_id, config in getattr(kind, "SETTINGS", {}).items()
    ]
    yield from _section("Own settings for tasks", ("task", "changes"), tasks)


def _section(
    title: str, columns: Sequence[str], rows: Sequence[Iterable[str]], *, lines: bool = False
) -> Iterator[RenderableType]:
    if not rows:
        return
    table = Table(*columns, box=box.SIMPLE_HEAD, show_lines=lines, show_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # a long name is broken, not cut off
    for row in rows:
        table.add_row(*map(escape, row))
    yield _heading(title)
    yield table


def _heading(title: str) -> Padding:
    return Padding(Text(title, "bold"), (1, 0, 0, 0))
