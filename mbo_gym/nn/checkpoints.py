"""Checkpoints of a training: one safetensors file, from which a stopped training goes on."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from mbo_gym.errors import DamagedFile
from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.trainer import Trainer

__all__ = ["CHECKPOINT", "Checkpoint", "interrupts_held"]

CHECKPOINT = "training.safetensors"
"""File name of a training's last checkpoint."""


class Checkpoint:
    """One safetensors file with a training's state; its header holds, as JSON, the step and what
    decides the outcome.

    A new checkpoint takes the place of the last one at once, so that there is always a whole one.

    Args:
        folder: Folder of the file.
        trainer: Trainer with the weights, their average and Adam's moments.
        rows: Rows not dealt out yet.
        generators: Random generators by name.
        facts: What decides the outcome, as JSON values.
        every: Updates from one checkpoint to the next.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        rows: RowPool,
        generators: Mapping[str, torch.Generator],
        facts: Mapping[str, Any],
        every: int,
    ) -> None:
        self.path = folder / CHECKPOINT
        self.every = every
        self._trainer = trainer
        self._rows = rows
        self._generators = generators
        state = trainer.module.state_dict()
        shapes = {name: list(value.shape) for name, value in state.items()}
        own = {"stage": trainer.stage, "weights": shapes}
        self._facts: dict[str, Any] = json.loads(
            json.dumps({**own, **asdict(trainer.config), **facts})
        )

    def write(self) -> None:
        """Write the state after the last update."""
        header = {
            "step": self._trainer.n_updates,
            "versions": {"torch": str(torch.__version__)},
            "training": self._facts,
        }
        save_weights(self.path, self._tensors(), {"json": json.dumps(header)})

    def resume(self) -> None:
        """Load the checkpoint, if there is one, into trainer, rows and generators.

        Raises:
            DamagedFile: It is damaged, or no checkpoint.
            ValueError: It is of another training.
        """
        if not self.path.exists():
            return
        try:
            tensors, about = read_weights(self.path)
            header = json.loads(about["json"])
        except (DamagedFile, KeyError) as error:
            raise DamagedFile(
                f"{self.path} is damaged or no checkpoint: {error} Remove it to train anew."
            ) from error
        if differences := _differences(header["training"], self._facts):
            raise ValueError(
                f"{self.path} holds the checkpoint of another training: {differences}; "
                "choose another folder for checkpoints, or remove this one to train anew"
            )
        self._load(tensors, header["step"])

    def _tensors(self) -> dict[str, Tensor]:
        """Return everything but the number of updates, by name."""
        trainer = self._trainer
        found = {name: generator.get_state() for name, generator in self._generators.items()}
        if self._rows.rest is not None:
            found["pool"] = self._rows.rest
        found |= {f"weights.{name}": value for name, value in trainer.module.state_dict().items()}
        if trainer.average is not None:
            found |= {f"average.{name}": v for name, v in trainer.average.weights.items()}
        for i, moments in trainer.adam.state_dict()["state"].items():
            found |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        return {name: value.detach().cpu().contiguous() for name, value in found.items()}

    def _load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over what `_tensors` gave after `step` updates."""
        trainer = self._trainer
        for name, generator in self._generators.items():
            generator.set_state(tensors[name])
        trainer.module.load_state_dict(_below(tensors, "weights"))
        self._rows.rest = tensors["pool"].to(trainer.parameters[0].device)
        if trainer.average is not None:
            for name, value in _below(tensors, "average").items():
                trainer.average.weights[name].copy_(value)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "adam").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        trainer.adam.load_state_dict(
            {"state": moments, "param_groups": trainer.adam.state_dict()["param_groups"]}
        )
        trainer.resume(step)


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], within: str = "") -> str:
    """Name what differs between two checkpoints' facts, with both values; empty where nothing
    does."""
    found = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        before, now = theirs.get(key, "nothing"), ours.get(key, "nothing")
        if isinstance(before, dict) and isinstance(now, dict):
            if inner := _differences(before, now, f"{within}{key}."):
                found.append(inner)
        elif before != now:
            found.append(f"{within}{key} is {before} there and {now} here")
    return ", ".join(found)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) + 1 :]: value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


@contextmanager
def interrupts_held() -> Iterator[list[int]]:
    """Collect a signal that would raise KeyboardInterrupt, so that it cuts no update in two, and
    raise at the end.

    A second one raises at once.
    """
    caught: list[int] = []
    held = [number for number in (signal.SIGINT, signal.SIGTERM) if _raises_interrupt(number)]

    def hold(number: int, frame: FrameType | None) -> None:
        if caught:
            signal.default_int_handler(number, frame)
        caught.append(number)

    for number in held:
        signal.signal(number, hold)
    try:
        yield caught
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt


def _raises_interrupt(number: signal.Signals) -> bool:
    """Tell whether a signal raises KeyboardInterrupt here; only the main thread gets any, and may
    change handlers."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(number) is signal.default_int_handler
