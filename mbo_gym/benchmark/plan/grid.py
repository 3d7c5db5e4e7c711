"""Grids of methods x tasks x seeds x budgets, and the cells that they consist of."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.benchmark.plan.slurm import slurm_options
from mbo_gym.errors import UnknownId
from mbo_gym.files import store
from mbo_gym.runs.request import RunRequest, dotted
from mbo_gym.settings import format_value, parse_seeds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Cell",
    "Grid",
    "MethodChoice",
    "TaskChoice",
    "cells_of",
    "content_key",
    "method_choices",
    "read_grid",
    "read_grids",
    "read_slurm",
]

_CONTROLS = "controls"
_GRID_KEYS = ("methods", "tasks", "seeds", "k")
_SLURM = "slurm"


@dataclass(frozen=True)
class MethodChoice:
    """A method of a grid with its settings.

    Args:
        name: Name of the method; ``controls`` stands for every control that the grid does not name.
        preset: Named settings of the method, or None.
        settings: Fields of the method's config; nested ones as mappings or by dotted names.
        label: Name in tables; empty for one made of the three above.
        tasks: Ids of the grid's tasks that it runs on; empty for all of them.
    """

    name: str
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    tasks: Sequence[str] = ()

    def __str__(self) -> str:
        chosen = [self.preset] if self.preset else []
        chosen += [f"{key}={format_value(value)}" for key, value in dotted(self.settings).items()]
        return self.label or (f"{self.name} [{', '.join(chosen)}]" if chosen else self.name)


@dataclass(frozen=True)
class TaskChoice:
    """A task of a grid with its options."""

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        request: Method, task, seed and budget.
        label: Name of the method in tables.
        config: Every field of the method's config, as settings, preset and task resolve it.
    """

    request: RunRequest
    label: str
    config: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """16 hex digits of the sha256 of the content: task, options, method, config, seed, k.

        A file among the options counts with its content, not its name; label, preset and device do
        not count.
        """
        request = self.request
        options = {name: _content(value) for name, value in request.options.items()}
        return content_key(
            [request.task_id, options, request.method, self.config, request.seed, request.k]
        )

    @property
    def folder_name(self) -> str:
        """``<method>-<task>-k<k>-seed<seed>-<key>``."""
        request = self.request
        return f"{request.method}-{request.task_id}-k{request.k}-seed{request.seed}-{self.key}"


@dataclass(frozen=True)
class Grid:
    """Methods x tasks x seeds x budgets.

    Args:
        methods: Methods, at least one.
        tasks: Tasks, at least one.
        seeds: Seeds, at least one.
        ks: Budgets, at least one, each at least 1.

    Example:
        >>> grid = Grid([MethodChoice("random")], [TaskChoice("Branin-Exact-v0")], seeds=range(3))
        >>> [cell.request.seed for cell in grid.cells()]
        [0, 1, 2]
    """

    methods: Sequence[MethodChoice]
    tasks: Sequence[TaskChoice]
    seeds: Sequence[int] = (0,)
    ks: Sequence[int] = (256,)

    def cells(self, configs: ConfigIndex | None = None) -> list[Cell]:
        """Return all cells, one task after the other; see `cells_of`."""
        return cells_of([self], configs)


def cells_of(grids: Iterable[Grid], configs: ConfigIndex | None = None) -> list[Cell]:
    """Return the cells of grids, one grid after the other.

    Args:
        grids: Grids, none of which repeats a cell of another one.
        configs: Configs resolved by earlier commands, which spare importing the methods.

    Raises:
        UnknownId: No method, preset, setting, task or option has that name; the message names the
            nearest.
        MissingData: The file that a task is made of is not named, or there is none.
        ValueError: A part is missing, of the wrong type, or two cells are the same.
    """
    configs = configs or ConfigIndex()
    cells: dict[str, Cell] = {}
    for grid in grids:
        for cell in _cells(grid, configs):
            if cell.key in cells:
                request = cell.request
                raise ValueError(
                    f"{cell.label} and {cells[cell.key].label} on {request.task_id} are the same "
                    f"run (seed {request.seed}, k {request.k}): leave one out"
                )
            cells[cell.key] = cell
    return list(cells.values())


def _cells(grid: Grid, configs: ConfigIndex) -> Iterator[Cell]:
    for what in ("methods", "tasks", "seeds", "ks"):
        if not getattr(grid, what):
            raise ValueError(f"a benchmark needs {what}, got none")
    if bad := [k for k in grid.ks if k < 1]:
        raise ValueError(f"k must be at least 1, got {bad[0]}")
    known = [task.id for task in grid.tasks]
    methods = _with_controls(grid.methods, configs)
    for method in methods:
        for task_id in method.tasks:
            if task_id not in known:
                raise UnknownId(f"task of this grid, for {method},", task_id, known)
    for task in grid.tasks:
        options = configs.task_options(task.id, task.options)
        chosen = [method for method in methods if not method.tasks or task.id in method.tasks]
        for method, k, seed in product(chosen, grid.ks, grid.seeds):
            yield Cell(
                request=RunRequest(
                    method=method.name,
                    task_id=task.id,
                    seed=seed,
                    k=k,
                    preset=method.preset,
                    settings=method.settings,
                    options=options,
                ),
                label=str(method),
                config=configs.resolve(method.name, method.preset, task.id, method.settings),
            )


def _with_controls(methods: Sequence[MethodChoice], configs: ConfigIndex) -> list[MethodChoice]:
    """Put the controls that are not named anyway in the place of ``controls``."""
    named = {method.name for method in methods if method == MethodChoice(method.name)}
    found: list[MethodChoice] = []
    for method in methods:
        if method.name == _CONTROLS:
            names = [name for name in configs.controls() if name not in named]
            found += [replace(method, name=name) for name in names]
        else:
            found.append(method)
    return found


def read_grids(path: Path) -> list[Grid]:
    """Read the grids of a TOML file: one at its top, or a ``[[grid]]`` block each.

    ``methods`` is a list of names or tables {name, preset, settings, label, tasks}, ``tasks`` one
    of ids or tables {id, options}, ``seeds`` a list of numbers or a text such as "0-7", ``k`` a
    number or a list of numbers. ``controls`` among the methods stands for every control. A method's
    ``tasks`` are those of the grid's that it runs on; ``settings`` may be nested. What stands above
    the blocks holds for the blocks that do not have it. Paths among the options are relative to the
    working folder. A table ``[slurm]`` is `read_slurm`'s.

    Raises:
        UnknownId: The file has an unknown key; the message names the nearest.
        ValueError: The file is not TOML, or a value has the wrong type.
    """
    with _names_file(path):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_keys(content, (*_GRID_KEYS, "grid", _SLURM))
        slurm_options(_slurm_table(content))
        content.pop(_SLURM, None)
        blocks = content.pop("grid", [{}])
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise ValueError(f"write each grid as a [[grid]] block, got grid = {blocks!r}")
        return [_grid({**content, **block}) for block in blocks]


def read_slurm(path: Path) -> dict[str, Any]:
    """Read the table ``[slurm]`` of a TOML file: see `mbo_gym.benchmark.plan.slurm.SlurmOptions`.

    Raises:
        UnknownId: The table has an unknown key; the message names the nearest.
        ValueError: The file is not TOML, or a value has the wrong type.
    """
    with _names_file(path):
        table = _slurm_table(tomllib.loads(path.read_text(encoding="utf-8")))
        slurm_options(table)
        return table


def _slurm_table(content: Mapping[str, Any]) -> dict[str, Any]:
    table = content.get(_SLURM, {})
    if not isinstance(table, dict):
        raise ValueError(f"write slurm as a table [slurm], got slurm = {table!r}")
    return table


@contextmanager
def _names_file(path: Path) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply. Write its values flat.") from error
    except UnknownId as error:
        raise UnknownId(
            f"{error.kind} in {path}", error.name, error.known, error.moved_to
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_grid(path: Path) -> Grid:
    """Read the one grid of a TOML file; see `read_grids`."""
    grids = read_grids(path)
    if len(grids) != 1:
        raise ValueError(f"{path} holds {len(grids)} grids. Read them with read_grids.")
    return grids[0]


def method_choices(entries: Iterable[Any]) -> list[MethodChoice]:
    """Turn names and tables into choices."""
    return [_choice(MethodChoice, "name", entry) for entry in entries]


def _grid(table: Mapping[str, Any]) -> Grid:
    _check_keys(table, _GRID_KEYS)
    seeds = table.get("seeds", [0])
    k = table.get("k", 256)
    return Grid(
        methods=method_choices(_listed(table, "methods")),
        tasks=[_choice(TaskChoice, "id", entry) for entry in _listed(table, "tasks")],
        seeds=parse_seeds(seeds) if isinstance(seeds, str) else _numbers(seeds, "seeds"),
        ks=_numbers(k if isinstance(k, list) else [k], "k"),
    )


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
        expected = list if key == "tasks" else str if fields[key] is None else type(fields[key])
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
