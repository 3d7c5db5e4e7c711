"""Registries: names with string entry points, loaded on use; and plugins."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mbo_gym.errors import UnknownId

__all__ = ["PLUGIN_GROUP", "Registry", "Spec", "announced", "plugins"]

PLUGIN_GROUP = "mbo_gym.plugins"
"""Entry-point group in which other packages announce methods, tasks, surrogates and encoders."""


@dataclass(frozen=True)
class Spec:
    """What a registry knows of a name before anything is imported.

    Args:
        id: The name.
        entry_point: ``"module:attribute"``, or the object itself.
        kwargs: Arguments that belong to this name; a caller's own arguments are added to them.
    """

    id: str
    entry_point: str | Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """Import and return what the entry point names."""
        if not isinstance(self.entry_point, str):
            return self.entry_point
        module, _, attribute = self.entry_point.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), attribute)
        return loaded

    def make(self, **kwargs: Any) -> Any:
        """Call what the entry point names with this name's own arguments and the caller's."""
        return self.load()(**{**self.kwargs, **kwargs})


class Registry:
    """Names of one kind.

    Args:
        kind: Kind of the names, e.g. ``"task"``, for messages.
        table: Name of the plugins' table of such names, e.g. ``"METHODS"``; None where plugins add
            none.
        group: Entry-point group in which other packages announced such names before there were
            plugins, or None.
    """

    def __init__(self, kind: str, table: str | None = None, group: str | None = None) -> None:
        self.kind = kind
        self.table = table
        self.group = group
        self._specs: dict[str, Spec] = {}
        self._discovered = table is None and group is None

    def register(self, id: str, entry_point: str | Callable[..., Any], **kwargs: Any) -> Spec:
        """Add a name.

        Raises:
            ValueError: The name is taken.
        """
        if id in self._specs:
            raise ValueError(f"the {self.kind} {id!r} is registered already")
        self._specs[id] = Spec(id, entry_point, kwargs)
        return self._specs[id]

    def spec(self, id: str) -> Spec:
        """Return what is known of a name.

        Raises:
            UnknownId: Nobody registered it; the message names the nearest ones.
        """
        specs = self._all()
        if id not in specs:
            raise UnknownId(self.kind, id, specs)
        return specs[id]

    @contextmanager
    def temporarily(
        self, id: str, entry_point: str | Callable[..., Any], **kwargs: Any
    ) -> Iterator[Spec]:
        """Register a name inside a block, in place of one that is there; for tests."""
        with self.restored():
            self._specs[id] = Spec(id, entry_point, kwargs)
            yield self._specs[id]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Forget, at the end of a block, the names registered inside it; for tests."""
        before = dict(self._all())
        try:
            yield
        finally:
            self._specs = before

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __contains__(self, id: object) -> bool:
        return id in self._all()

    def _all(self) -> dict[str, Spec]:
        if not self._discovered:
            self._discovered = True
            for id, spec in announced(self.table).items():
                self._specs.setdefault(id, spec)
            for point in entry_points(group=self.group or ""):
                self._specs.setdefault(point.name, Spec(point.name, point.value))
        return self._specs


@cache
def plugins() -> tuple[Any, ...]:
    """Return the imported plugins, the entry points of the group ``mbo_gym.plugins``.

    A plugin is a module with tables ``METHODS``, ``TASKS``, ``SURROGATES`` and ``ENCODERS``, each
    optional: name -> ``"module:attribute"``, or a pair of it and a mapping of arguments that belong
    to the name. It imports nothing heavy. One that cannot be imported is left out with a warning,
    so that it does not take everything else with it.
    """
    found = []
    for point in sorted(entry_points(group=PLUGIN_GROUP), key=_is_foreign):
        try:
            found.append(point.load())
        except Exception as error:
            warnings.warn(
                f"the plugin {point.name} ({point.value}) of {PLUGIN_GROUP} cannot be imported "
                f"and is left out: {error}",
                stacklevel=2,
            )
    return tuple(found)


def _is_foreign(point: EntryPoint) -> bool:
    """Whether an entry point is of another distribution; ours come first, so their names stay."""
    return getattr(point.dist, "name", "") != "mbo-gym"


def announced(table: str | None) -> dict[str, Spec]:
    """Return the names of one kind that plugins announce.

    Where two plugins announce one name, the first holds.
    """
    found: dict[str, Spec] = {}
    for plugin in plugins() if table else ():
        for id, value in getattr(plugin, table or "", {}).items():
            entry_point, kwargs = (value, {}) if isinstance(value, str) else value
            found.setdefault(id, Spec(id, entry_point, kwargs))
    return found
