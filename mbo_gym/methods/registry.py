"""Methods by name: found, listed and built from settings."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mbo_gym.errors import UnknownId
from mbo_gym.registry import Registry
from mbo_gym.settings import typed_fields

if TYPE_CHECKING:  # torch comes with them, and to look at settings nobody needs it
    pass
from mbo_gym.methods.base import Method

__all__ = ["METHODS", "list_methods", "make_method", "method_class"]


METHODS = Registry("method", group="mbo_gym.methods")
"""Every method by name; other packages add theirs through the entry-point group ``mbo_gym.methods``."""


def list_methods() -> list[str]:
    """Return the names of all methods, those of other packages too, sorted."""
    return list(METHODS)


def method_class(name: str) -> type[Any]:
    """Return a method's class.

    Raises:
        UnknownId: No method has that name; the message names the nearest.
    """
    loaded = METHODS.spec(name).load()
    if not isinstance(loaded, type) or not hasattr(loaded, "Config"):
        raise TypeError(
            f"the entry point of the method {name!r} must be a class with a Config dataclass, got {loaded!r}"
        )
    return loaded


def make_method(name: str, *, preset: str | None = None, task_id: str | None = None, **settings: Any) -> Method:
    """Build a method.

    Settings come from, later ones winning: the defaults of its config; its own settings for the task, where it has any;
    the preset; `settings`.

    Args:
        name: As `list_methods` shows it.
        preset: Name of a preset of the method; replaces the task's own settings.
        task_id: The task it will work on.
        **settings: Fields of the method's config.

    Raises:
        UnknownId: No method, preset or setting has that name.
        ValueError: A setting is of the wrong type.
    """
    kind = method_class(name)
    presets, settings_of_tasks = getattr(kind, "PRESETS", {}), getattr(kind, "SETTINGS", {})
    base = settings_of_tasks[task_id] if task_id in settings_of_tasks else kind.Config()
    if preset is not None:
        if preset not in presets:
            raise UnknownId(f"preset of {name}", preset, presets)
        base = presets[preset]
    method: Method = kind(dataclasses.replace(base, **typed_fields(kind.Config, settings)))
    return method
