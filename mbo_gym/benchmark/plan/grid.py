"""What a benchmark runs: a grid of methods x tasks x seeds x budgets, and the cells it consists
of."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.errors import UnknownId
from mbo_gym.files import store
from mbo_gym.settings import format_value, parse_seeds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "CONTROLS",
    "Cell",
    "Grid",
    "MethodChoice",
    "TaskChoice",
    "content_key",
    "method_choices",
    "read_grid",
]

CONTROLS = ("random", "top_k", "top_k_noise", "mean_design", "random_filtered")
"""What ``controls`` in a list of methods stands for."""


@dataclass(frozen=True)
class MethodChoice:
    """A method with its settings.

    Args:
        name: Of the method.
        preset: Its named settings, or None.
        settings: Fields of its config.
        label: Its name in tables; empty for one made of the three above.
    """

    name: str
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        chosen = [self.preset] if self.preset else []
        chosen += [f"{key}={format_value(value)}" for key, value in self.settings.items()]
        return self.label or (f"{self.name} [{', '.join(chosen)}]" if chosen else self.name)


@dataclass(frozen=True)
class TaskChoice:
    """A task with its options."""

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        method: The method with its settings.
        task: The task with its options.
        seed: Of the method.
        k: Designs proposed.
        config: Every field of the method's config, as the settings and the task resolve it.
    """

    method: MethodChoice
    task: TaskChoice
    seed: int
    k: int
    config: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """16 hex digits of the sha256 of the content: task, options, method, config, seed, k.

        A file among the options counts with its content, not its name; label, preset and device do
        not count.
        """
        options = {name: _content(value) for name, value in self.task.options.items()}
        return content_key(
            [self.task.id, options, self.method.name, self.config, self.seed, self.k]
        )

    @property
    def folder_name(self) -> str:
        """``<method>-<task>-k<k>-seed<seed>-<key>``."""
        return f"{self.method.name}-{self.task.id}-k{self.k}-seed{self.seed}-{self.key}"

    @property
    def command(self) -> str:
        """The command that repeats this run alone."""
        words = ["mbo-gym", "run", self.method.name, self.task.id]
        words += ["--preset", self.method.preset] if self.method.preset else []
        for flag, pairs in (("--set", self.method.settings), ("--option", self.task.options)):
            for key, value in pairs.items():
                words += [flag, f"{key}={format_value(value)}"]
        return shlex.join([*words, "--seeds", str(self.seed), "--k", str(self.k)])


@dataclass(frozen=True)
class Grid:
    """Methods x tasks x seeds x budgets.

    Args:
        methods: At least one.
        tasks: At least one.
        seeds: At least one.
        ks: Budgets, at least one, each at least 1.
    """

    methods: Sequence[MethodChoice]
    tasks: Sequence[TaskChoice]
    seeds: Sequence[int] = (0,)
    ks: Sequence[int] = (256,)

    def cells(self, configs: ConfigIndex | None = None) -> list[Cell]:
        """Return all cells, one task after the other.

        Args:
            configs: Remembers resolved configs from an earlier time, which spares importing the
                methods.

        Raises:
            UnknownId: No method, preset, setting, task or option has that name; the message names
                the nearest.
            ValueError: Something is missing, of the wrong type, or two choices are the same.
        """
        for what in ("methods", "tasks", "seeds", "ks"):
            if not getattr(self, what):
                raise ValueError(f"a benchmark needs {what}, got none")
        if bad := [k for k in self.ks if k < 1]:
            raise ValueError(f"k must be at least 1, got {bad[0]}")
        configs = configs or ConfigIndex()
        cells: dict[str, Cell] = {}
        for task in self.tasks:
            configs.check_task(task.id, task.options)
            for method, k, seed in product(self.methods, self.ks, self.seeds):
                config = configs.resolve(method.name, method.preset, task.id, method.settings)
                cell = Cell(method, task, seed, k, config)
                if cell.key in cells:
                    raise ValueError(
                        f"{method} and {cells[cell.key].method} on {task.id} are the same run (seed {seed}, k {k}): "
                        "leave one out"
                    )
                cells[cell.key] = cell
        return list(cells.values())


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file.

    ``methods`` is a list of names or tables {name, preset, settings, label}, ``tasks`` one of ids
    or tables {id, options}, ``seeds`` a list of numbers or a text such as "0-7", ``k`` a number or
    a list of numbers. ``controls`` among the methods stands for all of `CONTROLS`. Paths among the
    options are relative to the working folder.

    Raises:
        UnknownId: The file has a key that means nothing; the message names the nearest.
        ValueError: It is no TOML, or a value has the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_keys(content, {"methods", "tasks", "seeds", "k"})
        seeds, k = content.get("seeds", [0]), content.get("k", 256)
        return Grid(
            methods=method_choices(_listed(content, "methods")),
            tasks=[_choice(TaskChoice, "id", entry) for entry in _listed(content, "tasks")],
            seeds=parse_seeds(seeds) if isinstance(seeds, str) else _numbers(seeds, "seeds"),
            ks=_numbers(k if isinstance(k, list) else [k], "k"),
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    except UnknownId as error:
        raise UnknownId(f"{error.kind} in {path}", error.name, error.known) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def method_choices(entries: Iterable[Any]) -> list[MethodChoice]:
    """Turn names and tables into choices; ``controls`` becomes the controls that are not named
    anyway."""
    choices = [_choice(MethodChoice, "name", entry) for entry in entries]
    plain = {choice.name for choice in choices if choice == MethodChoice(choice.name)}
    found: list[MethodChoice] = []
    for choice in choices:
        if choice.name == "controls":
            found += [MethodChoice(name) for name in CONTROLS if name not in plain]
        else:
            found.append(choice)
    return found


def content_key(content: Any) -> str:
    """Return 16 hex digits that stand for plain content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _choice(kind: type[Any], name: str, entry: Any) -> Any:
    if isinstance(entry, str):
        return kind(entry)
    if not isinstance(entry, dict) or not isinstance(entry.get(name), str):
        raise ValueError(f"expected a name or a table with {name!r}, got {entry!r}")
    fields = asdict(kind(""))
    _check_keys(entry, fields)
    for key, value in entry.items():
        expected = str if fields[key] is None else type(fields[key])
        if not isinstance(value, expected):
            raise ValueError(f"{key} of {entry[name]} must be {expected.__name__}, got {value!r}")
    return kind(**entry)


def _check_keys(table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in known:
            raise UnknownId("key", key, known)


def _listed(content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content.get(key), list) or not content[key]:
        raise ValueError(f"needs {key} = [..] with at least one entry, got {content.get(key)!r}")
    entries: list[Any] = content[key]
    return entries


def _numbers(values: Any, key: str) -> list[int]:
    if not isinstance(values, list) or not all(
        isinstance(v, int) and not isinstance(v, bool) for v in values
    ):
        raise ValueError(f"{key} must be whole numbers, got {values!r}")
    return values


def _content(value: Any) -> Any:
    """Return what stands for an option's value in a key: for a file the sha256 of its content."""
    if isinstance(value, str) and value and Path(value).is_file():
        stat = Path(value).stat()
        return {"sha256": _sha256(value, stat.st_size, stat.st_mtime_ns)}
    return value


@cache
def _sha256(path: str, size: int, modified: int) -> str:
    return store.sha256(Path(path))
