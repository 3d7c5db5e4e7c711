"""Methods: what every method can do, and how one is found by its name and built from its settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from mbo_gym.files import store

if TYPE_CHECKING:  # torch comes with them, and to look at settings nobody needs it
    from mbo_gym.problem.task import OfflineProblem
    from mbo_gym.progress.protocol import Progress

__all__ = ["Method", "Resources", "save_config"]


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


def save_config(folder: Path, config: Any) -> None:
    """Write a config dataclass as ``config.json`` into a method's folder."""
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str)
    store.write_atomic(folder / "config.json", text.encode())
