"""Loggers of metrics: a file of JSON lines, TensorBoard, Weights & Biases.

A logger is open from the moment it is made until `close`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mbo_gym.errors import UnknownId
from mbo_gym.optional import optional_import

__all__ = [
    "LOGGERS",
    "JsonLinesLogger",
    "MetricsLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "check_loggers",
    "make_loggers",
]

LOGGERS = ("tensorboard", "wandb")
"""What `make_loggers` knows."""


class MetricsLogger(Protocol):
    """Takes the numbers of a run as they come."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers of a stage at a step; each stage counts its own steps."""
        ...

    def close(self) -> None:
        """Write what is left and let go of files and connections."""
        ...


class JsonLinesLogger:
    """One JSON object a line, on disk at once.

    Args:
        path: The file; an older one is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write one line; a value that is not finite becomes null."""
        finite = {
            name: value if math.isfinite(value) else None for name, value in values.items()
        }  # JSON has no NaN
        self._file.write(json.dumps({"stage": stage, "step": step, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogger:
    """Event files for TensorBoard, with tags ``stage/name``.

    Args:
        folder: Folder of the event files.

    Raises:
        MissingDependency: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        library = optional_import("torch.utils.tensorboard", "report", "tensorboard")
        self._writer: Any = library.SummaryWriter(str(folder))

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        """Write what is left and close the files."""
        self._writer.close()


class WandbLogger:
    """A run of the project ``mbo-gym`` on Weights & Biases.

    Metrics are ``stage/name`` over ``stage/step``.

    Whether it goes online is up to wandb's own settings (``WANDB_MODE``, ``wandb login``).

    Args:
        folder: Folder of wandb's files.
        name: Name of the run.
        config: Settings of the run.

    Raises:
        MissingDependency: wandb is not installed.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        wandb = optional_import("wandb", "wandb")
        self._run: Any = wandb.init(
            project="mbo-gym", name=name, dir=str(folder), config=dict(config)
        )
        self._stages: set[str] = set()

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Send the values of one step."""
        if (
            stage not in self._stages
        ):  # wandb's own step may never fall, while each stage counts from 0
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)
        self._run.log(
            {f"{stage}/step": step, **{f"{stage}/{name}": value for name, value in values.items()}}
        )

    def close(self) -> None:
        """Send what is left and finish the run."""
        self._run.finish()


def check_loggers(names: Sequence[str]) -> None:
    """Raise UnknownId where there is no logger of a name."""
    for name in names:
        if name not in LOGGERS:
            raise UnknownId("logger", name, LOGGERS)


def make_loggers(
    names: Sequence[str], folder: Path, *, run_name: str, config: Mapping[str, Any]
) -> list[MetricsLogger]:
    """Open the named loggers for one run.

    Args:
        names: Names in `LOGGERS`.
        folder: The run's folder; TensorBoard's files go to ``tensorboard/`` in it, wandb's to
            ``wandb/``.
        run_name: Name of the run on wandb.
        config: Settings of the run, for wandb.

    Raises:
        UnknownId: There is no logger of that name; nothing was opened.
        MissingDependency: A logger's library is not installed; what was opened is closed again.
    """
    check_loggers(names)
    loggers: list[MetricsLogger] = []
    try:
        for name in names:
            if name == "tensorboard":
                loggers.append(TensorBoardLogger(folder / "tensorboard"))
            else:
                loggers.append(WandbLogger(folder, run_name, config))
    except BaseException:
        for logger in loggers:
            logger.close()
        raise
    return loggers
