"""Methods by name: found, listed, built from settings, and loaded from a folder."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from mbo_gym.errors import UnknownId
from mbo_gym.methods.base import Method, read_facts
from mbo_gym.methods.legacy import LegacyMethod
from mbo_gym.registry import Registry
from mbo_gym.settings import with_settings

__all__ = [
    "METHODS",
    "list_methods",
    "load_method",
    "make_method",
    "method_class",
    "register_method",
]

METHODS = Registry("method", table="METHODS", group="mbo_gym.methods")
"""Every method by name; other packages add theirs in the table ``METHODS`` of their plugin."""


def list_methods() -> list[str]:
    """Return the names of all methods, those of other packages too, sorted."""
    return list(METHODS)


def register_method(name: str, entry_point: str | type[Method]) -> None:
    """Add a method in this process.

    Args:
        name: Name of the method.
        entry_point: The class, or ``"module:Class"`` to import it on use.

    Raises:
        ValueError: The name is taken.
    """
    METHODS.register(name, entry_point)


def method_class(name: str) -> type[Any]:
    """Return a method's class.

    Raises:
        UnknownId: No method has that name; the message names the nearest.
    """
    loaded = METHODS.spec(name).load()
    if not isinstance(loaded, type) or not hasattr(loaded, "Config"):
        raise TypeError(
            f"the entry point of the method {name!r} must be a class with a Config dataclass, got "
            f"{loaded!r}"
        )
    return loaded


def make_method(
    name: str, *, preset: str | None = None, task_id: str | None = None, **settings: Any
) -> Method:
    """Build a method.

    Settings come from, later ones winning: the defaults of its config; its own settings for the
    task, where it has any; the preset; `settings`.

    Args:
        name: Name of the method, see `list_methods`.
        preset: Name of a preset of the method; replaces the task's own settings.
        task_id: The task it will work on.
        **settings: Fields of the method's config; nested ones as mappings or by dotted names, e.g.
            ``surrogate={"hidden": 128}`` or ``**{"surrogate.hidden": 128}``.

    Raises:
        UnknownId: No method, preset or setting has that name, nor a surrogate that is chosen, nor a
            setting of it.
        ValueError: A setting is of the wrong type.
    """
    from mbo_gym.surrogates.registry import check_chosen, settings_of_surrogate

    kind = method_class(name)
    presets = getattr(kind, "PRESETS", {})
    settings_of_tasks = getattr(kind, "SETTINGS", {})
    base = settings_of_tasks[task_id] if task_id in settings_of_tasks else kind.Config()
    if preset is not None:
        if preset not in presets:
            raise UnknownId(f"preset of {name}", preset, presets)
        base = presets[preset]
    config = with_settings(base, settings, settings_of_surrogate)
    check_chosen(base, config)
    method = kind(config)
    return method if isinstance(method, Method) else LegacyMethod(method, name)


def load_method(folder: str | os.PathLike[str], *, device: str | None = None) -> Method:
    """Return a fitted method from the folder it was saved in.

    It proposes the same designs as before.

    Args:
        folder: Folder of the method; the folder of a run, which holds it as ``model``, will do too.
        device: Device to go on with; None for the one it was fitted on.

    Raises:
        MissingData: The folder holds no method.
        DamagedFile: A file of it is missing or was changed.
    """
    path = Path(folder)
    if not (path / "method.json").exists() and (path / "model" / "method.json").exists():
        path = path / "model"
    module, _, name = read_facts(path)["class"].partition(":")
    kind = getattr(import_module(module), name)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise TypeError(f"{path} names {module}:{name}, which is no method class")
    return kind.load(path, device=device)
