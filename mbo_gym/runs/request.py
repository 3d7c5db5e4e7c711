"""What a run is asked for; plain values, so that reading them loads no torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mbo_gym.settings import format_value

__all__ = ["RunRequest", "dotted"]


@dataclass(frozen=True)
class RunRequest:
    """A run of a method on a task.

    Args:
        method: Name of the method.
        task_id: Id of the task.
        seed: Seed of the method.
        k: Number of designs to propose.
        preset: Named settings of the method, or None.
        settings: Fields of the method's config; nested ones as mappings or by dotted names.
        options: Options of the task.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..
        loggers: Loggers of the metrics besides ``metrics.jsonl``: ``tensorboard``, ``wandb``.
    """

    method: str
    task_id: str
    seed: int = 0
    k: int = 256
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    loggers: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """Command that repeats this run."""
        words = ["mbo-gym", "run", self.method, self.task_id]
        words += ["--preset", self.preset] if self.preset else []
        for flag, pairs in (("--set", dotted(self.settings)), ("--option", self.options)):
            for key, value in pairs.items():
                words += [flag, f"{key}={format_value(value)}"]
        return shlex.join([*words, "--seeds", str(self.seed), "--k", str(self.k)])


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings by their dotted names, as the command line takes them."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": inner for name, inner in dotted(value).items()}
        else:
            found[key] = value
    return found
