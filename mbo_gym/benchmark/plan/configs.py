"""Resolved configs of methods, remembered between commands.

Resolving a config, or checking a task's options, imports methods and tasks, and torch with them.
That takes longer than seeing that a finished grid has nothing left to run. So a results folder
keeps the answers, each with a hash of the source it came from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mbo_gym.files import store
from mbo_gym.methods.registry import METHODS, make_method, method_class
from mbo_gym.registry import Registry
from mbo_gym.tasks.registry import TASKS, check_task

__all__ = ["ConfigIndex", "source_hash"]


class ConfigIndex:
    """Index of resolved configs, checked task options and the names of the controls.

    Args:
        path: JSON file that keeps the index, with its checksum; None for this process alone. A file
            that cannot be read, or was changed, counts as empty.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = _read(path)
        self._changed = False

    def resolve(
        self, method: str, preset: str | None, task_id: str, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return every field of the config as plain JSON values.

        Raises:
            UnknownId: No method, preset or setting has that name.
            ValueError: A setting is of the wrong type.
        """
        source = _source_hash(METHODS, method)
        question = json.dumps(
            [method, preset, task_id, settings, source], sort_keys=True, default=str
        )
        if source is None or question not in self._known:
            config = asdict(make_method(method, preset=preset, task_id=task_id, **settings).config)
            self._known[question] = json.loads(json.dumps(config, default=str))
            self._changed = True
        return self._known[question]

    def task_options(self, task_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a task in their types, as plain JSON values.

        They are checked as far as that is possible without building the task; where an option names
        a file, whenever the file has changed.

        Raises:
            UnknownId: There is no such task, or it has no such option, or no such word.
            InvalidData: An option is of another type or out of range, or does not fit its file.
            MissingData: The file that a task is made of is not named, or there is none.
            ValueError: An option cannot be written to a file.
        """
        source = _source_hash(TASKS, task_id)
        states = [_state(value) for value in options.values()]
        question = json.dumps([task_id, options, states, os.getcwd(), source], default=str)
        if source is None or question not in self._known:
            kept = check_task(task_id, **options)
            try:
                self._known[question] = json.loads(json.dumps(kept))
            except TypeError as error:
                raise ValueError(
                    f"the options of {task_id} must be plain values in a benchmark, got "
                    f"{dict(options)}. Register a task of your own for a function."
                ) from error
            self._changed = True
        return self._known[question]

    def controls(self) -> list[str]:
        """Return the names of the methods that are controls."""
        sources = {name: _source_hash(METHODS, name) for name in METHODS}
        question = json.dumps(["controls", sources], sort_keys=True)
        if None in sources.values() or question not in self._known:
            controls = [name for name in METHODS if getattr(method_class(name), "CONTROL", False)]
            self._known[question] = {"controls": controls}
            self._changed = True
        found: list[str] = self._known[question]["controls"]
        return found

    def save(self) -> None:
        """Write the index where it has changed."""
        if self._path is not None and self._changed:
            kept = {"sha256": _checksum(self._known), "known": self._known}
            store.write_atomic(self._path, json.dumps(kept, indent=0).encode())
            self._changed = False


def _read(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        known: dict[str, dict[str, Any]] = kept["known"]
        return known if kept["sha256"] == _checksum(known) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _checksum(known: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _state(value: Any) -> list[int] | None:
    """Return what tells a file from its older contents; None for a value that names no file."""
    try:
        stat = os.stat(os.path.expanduser(value))
    except (OSError, TypeError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns]


def source_hash(method: str) -> str | None:
    """Return a hash of what a method computes with: its package, ours, and torch's version.

    None for a method that was registered by hand, or whose package is no source.
    """
    own = _source_hash(METHODS, method)
    ours = [_package_hash(package) for package in ("mbo_gym", "agents", "diffusion")]
    return None if own is None else "-".join([own, *map(str, ours), version("torch")])


def _source_hash(registry: Registry, name: str) -> str | None:
    """Return a hash of the package that a name comes from.

    None for a name that was registered by hand, or whose package is no source.
    """
    entry_point = registry.spec(name).entry_point
    return (
        _package_hash(entry_point.partition(":")[0].partition(".")[0])
        if isinstance(entry_point, str)
        else None
    )


@cache
def _package_hash(package: str) -> str | None:
    spec = find_spec(package)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    is_package = spec.submodule_search_locations is not None
    digest = hashlib.sha256()
    for file in sorted(origin.parent.rglob("*.py")) if is_package else [origin]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
