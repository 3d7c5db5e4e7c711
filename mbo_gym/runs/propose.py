"""`propose`: from a table of measurements to a table of designs, in one line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files import store
from mbo_gym.files.designs import free_name
from mbo_gym.files.frames import is_frame
from mbo_gym.methods.base import Context, Proposals
from mbo_gym.methods.registry import make_method
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import ContinuousSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem, Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.runs.one_run import check_device
from mbo_gym.tasks.registry import TASKS, make_task

__all__ = ["ProposedTable", "propose"]

N_SHOWN = 10
"""Rows of a table that is printed."""

_OWN_WORDS = {
    f"{before}{old}{after}": f"{before}{new}{after}"
    for old, new in (("score_column", "score"), ("design_columns", "designs"))
    for before, after in (("", "="), ("", " must be"), ("leave ", " out"))
}
"""Arguments of the task ``csv`` in messages, and what they are called here."""


@dataclass(frozen=True, eq=False)
class ProposedTable(Proposals):
    """Proposals in the columns of the data they were made from.

    Printed, it shows the first rows. ``pandas.DataFrame(table.columns)`` makes a data frame of it.

    Args:
        x: (k, *shape) native designs inside the space.
        criterion: (k,) the method's own offline score of each design, higher is better; all equal
            where it has none.
        space: Design space.
        names: Names of the design columns, as in the data.
    """

    space: DesignSpace
    names: tuple[str, ...]

    @property
    def columns(self) -> dict[str, Any]:
        """Values of each design column as in the data, then the criterion, by name."""
        table: dict[str, Any] = {}
        if isinstance(self.space, MixedSpace):
            rows = self.space.values(self.x)
            table = {name: [row[name] for row in rows] for name in self.names}
        elif isinstance(self.space, ContinuousSpace):
            table = {name: self.x[:, j] for j, name in enumerate(self.names)}
        else:
            table = {self.names[0]: [row[0] for row in self.space.format(self.x)]}
        return table | {free_name("criterion", self.names): self.criterion}

    def rows(self) -> list[dict[str, Any]]:
        """Return each design as a mapping from column to value, best first."""
        columns = self.columns
        plain = [list(v.tolist() if isinstance(v, np.ndarray) else v) for v in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]

    def to_csv(self, path: str | os.PathLike[str], delimiter: str | None = None) -> Path:
        """Write the designs and their criterion, best first, atomically.

        The numbers read back exactly: a rounded design could lie outside the space.

        Args:
            path: File, which is replaced if it exists.
            delimiter: Character between cells; None for a tab in a ``.tsv`` file, else a comma.
                `mbo-gym evaluate` reads commas, semicolons and tabs.

        Returns:
            The path.
        """
        path = Path(path).expanduser()
        if delimiter is None:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerows([[*self.names, free_name("criterion", self.names)], *self._cells()])
        return store.write_atomic(path, text.getvalue().encode())

    def _cells(self) -> Iterator[list[str]]:
        for cells, criterion in zip(self.space.format(self.x), self.criterion, strict=True):
            yield [*cells, f"{criterion:.7g}"]

    def __str__(self) -> str:
        header = [*self.names, free_name("criterion", self.names)]
        shown = [header, *(row for _, row in zip(range(N_SHOWN), self._cells(), strict=False))]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in shown]
        if len(self) > N_SHOWN:
            lines.append(f"... and {len(self) - N_SHOWN} more")
        return "\n".join(lines)


def propose(
    data: str | os.PathLike[str] | Task | OfflineProblem | Any,
    score: str | None = None,
    method: str = "grad",
    k: int = 128,
    *,
    designs: str | Sequence[str] | None = None,
    minimise: bool = False,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> ProposedTable:
    """Propose the next designs to measure.

    Args:
        data: Table of measurements (CSV and the other formats of `mbo_gym.files.table`), a data
            frame of polars or pandas, a task id, a `Task` or an `OfflineProblem`.
        score: Column of the score; needed for a table, unless `space` names it.
        method: Name of the method, see `mbo_gym.list_methods`.
        k: Number of designs.
        designs: Column or columns of the design; None for all but the score.
        minimise: Whether a lower score is better.
        seed: Seed of the method; the same seed gives the same designs on a CPU.
        device: Device of the tensors: ``cpu``, ``cuda``, ...
        progress: Whether to show progress bars, where the error stream is a terminal.
        preset: Name of a preset of the method, or None.
        settings: Settings of the method, e.g. ``{"surrogate.hidden": 128}``.
        **options: Options of the task: `bounds`, `kinds`, `on_missing`, `percentile` and others of
            `mbo_gym.tasks.table_file.make_table_task`, `noise` and others of `mbo_gym.make_task`.

    Returns:
        The designs, best first, in the columns of the data; `to_csv` writes them.

    Raises:
        MissingData: There is no such file.
        InvalidData: The file cannot be used as it is; the message names line and column.
        UnknownId: No method, preset, setting or option has that name.
        ValueError: An argument is out of range, or belongs to a table and `data` is none.

    Example:
        >>> import mbo_gym
        >>> table = mbo_gym.propose("Branin-Exact-v0", method="top_k", k=3)
        >>> list(table.columns)
        ['x0', 'x1', 'criterion']
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    columns = {"score": score, "designs": designs, "minimise": minimise or None}
    given = [name for name, value in columns.items() if value is not None]
    is_table = (
        isinstance(data, os.PathLike)
        or is_frame(data)
        or (isinstance(data, str) and data not in TASKS)
    )
    task_id = data if isinstance(data, str) and not is_table else None
    chosen = make_method(method, preset=preset, task_id=task_id, **(settings or {}))
    check_device(device)
    if is_table:
        problem = _problem_of_table(data, score, designs, minimise, options)
    elif given:
        raise ValueError(
            f"{', '.join(given)} belong to a table of measurements, and {_described(data)} is "
            "none. Leave them out."
        )
    else:
        problem = _problem(data, options)
    with RichProgress(prefix=f"{method}: ", quiet=not progress) as bars:
        chosen.fit(problem, Context(seed, device, bars))
        proposals = chosen.propose(k)
    return ProposedTable(proposals.x, proposals.criterion, problem.space, problem.space.names)


def _problem_of_table(
    data: Any,
    score: str | None,
    designs: str | Sequence[str] | None,
    minimise: bool,
    options: Mapping[str, Any],
) -> OfflineProblem:
    with _own_words():
        task = make_task(
            "table",
            **{"frame" if is_frame(data) else "path": data},
            score_column=score,
            design_columns=designs,
            minimise=minimise or None,
            **options,
        )
    return task.problem()


def _problem(data: Any, options: Mapping[str, Any]) -> OfflineProblem:
    if isinstance(data, str):
        return make_task(data, **options).problem()
    if not isinstance(data, (Task, OfflineProblem)):
        raise TypeError(
            f"data must be the path of a table, a task id, a Task or an OfflineProblem, "
            f"got {_described(data)}"
        )
    if options:
        raise ValueError(
            f"the options {', '.join(options)} belong to a table or a task id, and "
            f"{_described(data)} is made already. Make it with them."
        )
    return data.problem() if isinstance(data, Task) else data


@contextmanager
def _own_words() -> Iterator[None]:
    """Let messages about a table name the arguments of `propose`."""
    try:
        yield
    except InvalidData as error:
        message = str(error)
        for old, new in _OWN_WORDS.items():
            message = message.replace(old, new)
        raise InvalidData(message) from None


def _described(data: Any) -> str:
    return repr(data) if isinstance(data, str) else f"a {type(data).__name__}"
