"""One registry for tasks, methods and surrogates: string entry points loaded on use, did-you-mean answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from mbo_gym.errors import UnknownId

__all__ = ["Registry", "Spec"]


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
        kind: What the names stand for, e.g. ``"task"``; used in error messages.
        group: Entry-point group in which other packages announce more names, read once, when first needed.
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind, self.group = kind, group
        self._specs: dict[str, Spec] = {}
        self._discovered = group is None

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

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __contains__(self, id: object) -> bool:
        return id in self._all()

    def _all(self) -> dict[str, Spec]:
        if not self._discovered:
            self._discovered = True
            for point in entry_points(group=self.group or ""):
                self._specs.setdefault(point.name, Spec(point.name, point.value))
        return self._specs
