"""Methods: what every method can do, and how one is found by its name and built from its settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from mbo_gym.data import store
from mbo_gym.errors import UnknownId
from mbo_gym.registry import Registry
from mbo_gym.settings import typed_fields

if TYPE_CHECKING:  # torch comes with them, and to look at settings nobody needs it
    from mbo_gym.progress import Progress
    from mbo_gym.task import OfflineProblem

__all__ = ["METHODS", "Method", "Resources", "list_methods", "make_method", "method_class", "save_config"]

METHODS = Registry("method", group="mbo_gym.methods")
"""Every method by name; other packages add theirs through the entry-point group ``mbo_gym.methods``."""


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one run of a method takes; a benchmark starts as many runs at once as fit.

    Args:
        cpus: CPU cores, which is also the number of threads it is given: the same everywhere, so that results are.
        gpu_share: Share of a GPU, in (0, 1], where it runs on one.
        memory_gb: Main memory, GiB.
    """

    cpus: int = 1
    gpu_share: float = 0.25
    memory_gb: float = 2.0


class Method(Protocol):
    """A way to propose designs from offline data alone.

    Class attributes:
        Config: Its settings, a frozen dataclass.
        PRESETS: Named settings, e.g. ``paper``; may be left out.
        SETTINGS: Settings for a task id, where a task needs its own; may be left out.
        CONTROL: True where it learns nothing, or uses a surrogate only as a filter; may be left out.
        RESOURCES: What a run takes; may be left out.

    Attributes:
        config: The settings it was built from.
        criterion: (k,) its own offline score of each design it proposed last, best first; all equal where it has none.
            May be left out, as may `save`.
    """

    Config: ClassVar[type[Any]]
    PRESETS: ClassVar[Mapping[str, Any]]
    SETTINGS: ClassVar[Mapping[str, Any]]
    config: Any
    criterion: np.ndarray

    def __init__(self, config: Any = None) -> None: ...

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Learn from the visible data. The same seed gives the same proposals on a CPU."""
        ...

    def propose(self, k: int) -> np.ndarray:
        """Return `k` designs (k, *shape), inside the space, best first by the method's own criterion."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learned to a folder: JSON and safetensors or npz, never pickle."""
        ...


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


def save_config(folder: Path, config: Any) -> None:
    """Write a config dataclass as ``config.json`` into a method's folder."""
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str)
    store.write_atomic(folder / "config.json", text.encode())
