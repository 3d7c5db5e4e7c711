"""Checkpoints of a training: one safetensors file, from which a stopped training goes on."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.nn.rows import RowPool
from mbo_gym.nn.trainer import Trainer

__all__ = [
    "CHECKPOINT",
    "Checkpoint",
    "KeptTraining",
    "Pace",
    "interrupts_held",
    "next_folder",
    "trainings_kept",
]

CHECKPOINT = "training.safetensors"
"""File name of a training's last checkpoint."""
SECONDS_VARIABLE = "MBO_GYM_CHECKPOINT_SECONDS"
_SECONDS_WORTH_IT = 1.0
"""A training that took less leaves no checkpoint of its end."""


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

    Attributes:
        facts: What decides the outcome.
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
        self.facts: dict[str, Any] = json.loads(
            json.dumps({**own, **asdict(trainer.config), **facts})
        )

    def write(self) -> None:
        """Write the state after the last update."""
        header = {
            "step": self._trainer.n_updates,
            "versions": {"torch": str(torch.__version__)},
            "training": self.facts,
        }
        save_weights(self.path, self.tensors(), {"json": json.dumps(header)})

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
        if differences := _differences(header["training"], self.facts):
            raise ValueError(
                f"{self.path} holds the checkpoint of another training: {differences}; "
                "choose another folder for checkpoints, or remove this one to train anew"
            )
        self.load(tensors, header["step"])

    def tensors(self) -> dict[str, Tensor]:
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

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over what `tensors` gave after `step` updates."""
        trainer = self._trainer
        for name, generator in self._generators.items():
            generator.set_state(tensors[name])
        trainer.module.load_state_dict(_below(tensors, "weights"))
        device = trainer.parameters[0].device
        self._rows.rest = tensors["pool"].to(device) if "pool" in tensors else None
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


class Pace:
    """Times of the checkpoints of one training.

    Args:
        seconds: Seconds from one to the next.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = self._last = time.monotonic()

    def due(self, *, end: bool = False) -> bool:
        """Return whether to write one now, after the last update (`end`) or another."""
        now = time.monotonic()
        worth_it = end and now - self._started >= min(_SECONDS_WORTH_IT, self._seconds)
        if now - self._last < self._seconds and not worth_it:
            return False
        self._last = now
        return True


@dataclass
class _Kept:
    """Where the trainings of a fit are kept, and how many of each kind there were."""

    folder: Path
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def trainings_kept(folder: Path | None, *, seconds: float | None = None) -> Iterator[None]:
    """Keep checkpoints of every training by `mbo_gym.nn.training.train` in this block, and go on
    from those that an earlier process left there.

    The block must make the same trainings in the same order, as one fit with one seed does. What is
    cached on disk may be missing from them.

    Args:
        folder: Folder of the checkpoints; None to keep none.
        seconds: Seconds from one checkpoint to the next; None for ``$MBO_GYM_CHECKPOINT_SECONDS``,
            30 where it is not set.
    """
    every = float(os.environ.get(SECONDS_VARIABLE, 30.0)) if seconds is None else seconds
    before = _kept.set(None if folder is None else _Kept(folder, every))
    try:
        yield
    finally:
        _kept.reset(before)


def next_folder() -> tuple[Path, Pace] | None:
    """Return the folder of the next training of the block, and its pace; None outside one."""
    kept = _kept.get()
    if kept is None:
        return None
    place = store.building()  # a cached surrogate makes its trainings once, and then none
    number = kept.counts[place]
    kept.counts[place] += 1
    name = hashlib.sha256(place.encode()).hexdigest()[:8] if place else "fit"
    return kept.folder / f"{name}-{number}", Pace(kept.seconds)


class KeptTraining:
    """Checkpoint of a training that nobody named: of one cell of a benchmark, see
    `trainings_kept`.

    A checkpoint counts where weights, generators and the first loss were the same to the bit at the
    start of its training; on a GPU, where the first loss is nearly the same. Else it is left aside,
    and the training begins anew. Metrics that were shown are shown again.

    Args:
        folder: Folder of the file.
        pace: Times of the checkpoints.
        trainer: Trainer before its first update.
        rows: Rows before the first draw.
        generators: Random generators by name.
    """

    def __init__(
        self,
        folder: Path,
        pace: Pace,
        trainer: Trainer,
        rows: RowPool,
        generators: Mapping[str, torch.Generator],
    ) -> None:
        self._file = Checkpoint(folder, trainer, rows, generators, {}, 1)
        self._pace = pace
        self._trainer = trainer
        self._rows = rows
        self._generators = generators
        self._start = self._digest()
        self._first = float("nan")

    def resume(self, first_loss: Callable[[], Tensor]) -> None:
        """Go on from the checkpoint, if there is one of this training.

        Args:
            first_loss: Draws the first batch and computes its loss ().
        """
        if not self._file.path.exists():
            return
        before = {name: generator.get_state() for name, generator in self._generators.items()}
        weights = {k: v.clone() for k, v in self._trainer.module.state_dict().items()}
        rest = self._rows.rest
        try:
            tensors, about = read_weights(self._file.path)
            header = json.loads(about["json"])
        except (DamagedFile, KeyError):
            return
        if header["start"] != self._start or header["training"] != self._file.facts:
            return
        first = float(first_loss().detach())
        tolerance = 0.0 if self._trainer.parameters[0].device.type == "cpu" else 1e-3
        if math.isclose(first, header["first"], rel_tol=tolerance):
            self._first = header["first"]
            self._file.load(tensors, header["step"])
            device = self._trainer.parameters[0].device
            unshown = {name: v.to(device) for name, v in _below(tensors, "unshown").items()}
            self._trainer.show_again(header["shown"], unshown)
            return
        for name, generator in self._generators.items():
            generator.set_state(before[name])
        self._trainer.module.load_state_dict(weights)
        self._rows.rest = rest

    def updated(self, loss: Tensor) -> None:
        """Write a checkpoint where one is due, after an update down a loss ()."""
        if self._trainer.n_updates == 1:
            self._first = float(loss.detach())
        if self._pace.due(end=self._trainer.n_updates == self._trainer.config.steps):
            self._write()

    def _write(self) -> None:
        header = {
            "step": self._trainer.n_updates,
            "start": self._start,
            "first": self._first,
            "shown": self._trainer.shown,
            "training": self._file.facts,
        }
        unshown = {f"unshown.{name}": v for name, v in self._trainer.unshown().items()}
        self._file.path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(
            self._file.path, {**self._file.tensors(), **unshown}, {"json": json.dumps(header)}
        )

    def _digest(self) -> str:
        """Return a hash of weights and generators."""
        found = hashlib.sha256()
        tensors = [generator.get_state() for generator in self._generators.values()]
        tensors += list(self._trainer.module.state_dict().values())
        for tensor in tensors:
            found.update(
                tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            )
        return found.hexdigest()


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
