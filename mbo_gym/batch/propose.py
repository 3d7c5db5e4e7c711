"""`propose`: from a table of measurements to a batch of designs, in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from mbo_gym.batch.build import Wishes, make_batch
from mbo_gym.batch.health import Health, check_health
from mbo_gym.batch.plates import group_slot
from mbo_gym.batch.result import Batch, Score
from mbo_gym.errors import InvalidData, InvalidDesign
from mbo_gym.files.designs import read_designs
from mbo_gym.files.frames import is_frame
from mbo_gym.methods.base import Context, Method
from mbo_gym.methods.registry import make_method
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem, Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import Progress
from mbo_gym.runs.one_run import check_device
from mbo_gym.tasks.registry import TASKS, make_task

__all__ = [
    "DEFAULT_BATCH",
    "DEFAULT_METHOD",
    "Prepared",
    "designs_of",
    "is_table_of_measurements",
    "prepare",
    "propose",
]

DEFAULT_METHOD = "matched"
"""It chooses its model by the data and its search by the space, and stays inside the box of the
data; the recorded benchmark has its figures (``experiments/results/baselines``)."""
DEFAULT_BATCH = 96

_OWN_WORDS = {
    f"{before}{old}{after}": f"{before}{new}{after}"
    for old, new in (("score_column", "score"), ("design_columns", "designs"))
    for before, after in (("", "="), ("", " must be"), ("leave ", " out"))
}
"""Arguments of the task ``csv`` in messages, and what they are called here."""

GivenDesigns: TypeAlias = str | os.PathLike[str] | Sequence[Mapping[str, Any]] | np.ndarray
"""Designs: a file that `mbo_gym.files.designs` reads, mappings from column to value, or an array
of native designs."""


@dataclass(frozen=True, eq=False)
class _Data:
    """A problem, and its score as the file has it."""

    problem: OfflineProblem
    score: Score


@dataclass(frozen=True, eq=False)
class Prepared:
    """A batch that is asked for: everything is read and checked, nothing is fitted.

    Args:
        problem: Space and visible data.
        score: Name and direction of the score.
        method: Unfitted method.
        name: Name of the method.
        wishes: Size of the batch, and what belongs in it.
        seed: Seed of models and method.
        device: Device of the tensors.
    """

    problem: OfflineProblem
    score: Score
    method: Method
    name: str
    wishes: Wishes
    seed: int
    device: str

    def health(self, progress: Progress) -> Health:
        """Judge the data by cross-validation."""
        return check_health(self.problem, unit=self.score.name, seed=self.seed, progress=progress)

    def make(self, progress: Progress, health: Health | None = None) -> Batch:
        """Make the batch; the health is computed unless it is given."""
        return make_batch(
            self.problem,
            self.method,
            self.wishes,
            score=self.score,
            name=self.name,
            context=Context(self.seed, self.device, progress),
            health=health,
        )


def propose(
    data: str | os.PathLike[str] | Task | OfflineProblem | Any,
    score: str | None = None,
    method: str | None = None,
    k: int | None = None,
    *,
    batch: int | None = None,
    designs: str | Sequence[str] | None = None,
    minimise: bool = False,
    include: GivenDesigns | None = None,
    exclude: GivenDesigns | None = None,
    diverse: bool = False,
    group: str | None = None,
    plate_size: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Batch:
    """Propose the next designs to measure, with what is known of each.

    The designs are distinct, not measured yet, on the steps and decimals of the data, and chosen
    for predicted score and diversity, see `mbo_gym.batch.build.make_batch`. Where no model predicts
    held-out rows, the batch is spread over the space.

    Args:
        data: Table of measurements (CSV and the other formats of `mbo_gym.files.table`), a data
            frame of polars or pandas, a task id, a `Task` or an `OfflineProblem`.
        score: Column of the score; needed for a table, unless `space` names it.
        method: Name of the method that proposes candidates, see `mbo_gym.list_methods`; None for
            ``matched``.
        k: Number of designs; None for 96.
        batch: Another name of `k`.
        designs: Column or columns of the design; None for all but the score.
        minimise: Whether a lower score is better.
        include: Wanted designs, which take places in the batch.
        exclude: Designs that must not be proposed: excluded or pending ones.
        diverse: Whether to spread the designs wider, at the cost of predicted score.
        group: Parameter that is equal within a plate, e.g. ``"temperature"``.
        plate_size: Designs of a plate; None for the whole batch.
        seed: Seed of the method; the same seed gives the same designs on a CPU.
        device: Device of the tensors: ``cpu``, ``cuda``, ...
        progress: Whether to show progress bars, where the error stream is a terminal.
        preset: Name of a preset of the method, or None.
        settings: Settings of the method, e.g. ``{"surrogate.hidden": 128}``.
        **options: Options of the task: `space`, `bounds`, `kinds`, `on_missing` and others of
            `mbo_gym.tasks.table_file.make_table_task`, `noise` and others of `mbo_gym.make_task`.

    Returns:
        The designs, best first, in the columns of the data. `to_csv` writes them,
        `mbo_gym.write_card` the batch card.

    Raises:
        MissingData: There is no such file.
        InvalidData: The file cannot be used as it is (the message names line and column), or
            nothing is left to propose.
        InvalidDesign: A wanted design is not allowed.
        UnknownId: No method, preset, setting, option or parameter has that name.
        ValueError: An argument is out of range, or belongs to a table and `data` is none.

    Example:
        >>> import mbo_gym
        >>> batch = mbo_gym.propose("Branin-Exact-v0", method="top_k", k=3, max_rows=60)
        >>> list(batch.columns)[:5]
        ['x0', 'x1', 'predicted', 'low', 'high']
    """
    prepared = prepare(
        data,
        score,
        method,
        k,
        batch=batch,
        designs=designs,
        minimise=minimise,
        include=include,
        exclude=exclude,
        diverse=diverse,
        group=group,
        plate_size=plate_size,
        seed=seed,
        device=device,
        preset=preset,
        settings=settings,
        **options,
    )
    with RichProgress(prefix=f"{prepared.name}: ", quiet=not progress) as bars:
        return prepared.make(bars)


def prepare(
    data: str | os.PathLike[str] | Task | OfflineProblem | Any,
    score: str | None = None,
    method: str | None = None,
    k: int | None = None,
    *,
    batch: int | None = None,
    designs: str | Sequence[str] | None = None,
    minimise: bool = False,
    include: GivenDesigns | None = None,
    exclude: GivenDesigns | None = None,
    diverse: bool = False,
    group: str | None = None,
    plate_size: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Prepared:
    """Read and check everything that `propose` is given; its arguments are these."""
    size = _size(k, batch)
    columns = {"score": score, "designs": designs, "minimise": minimise or None}
    given = [name for name, value in columns.items() if value is not None]
    is_table = is_table_of_measurements(data)
    task_id = data if isinstance(data, str) and not is_table else None
    name, chosen = _method(method, preset, settings, task_id)
    check_device(device)
    if is_table:
        read = _of_table(data, score, designs, minimise, options)
    elif given:
        raise ValueError(
            f"{', '.join(given)} belong to a table of measurements, and {_described(data)} is "
            "none. Leave them out."
        )
    else:
        read = _of_task(data, options)
    problem = read.problem
    if group is not None:  # a mistyped name shows before any work is done
        group_slot(problem.space, group)
    wishes = Wishes(
        size,
        designs_of(problem, include, "include"),
        designs_of(problem, exclude, "exclude"),
        diverse,
        group,
        plate_size,
    )
    return Prepared(problem, read.score, chosen, name, wishes, seed, device)


def is_table_of_measurements(data: Any) -> bool:
    """Return whether data are a file or a data frame, and no task."""
    if isinstance(data, str):
        return data not in TASKS
    return isinstance(data, os.PathLike) or is_frame(data)


def designs_of(problem: OfflineProblem, given: GivenDesigns | None, argument: str) -> np.ndarray:
    """Return given designs as native ones, (N, *shape).

    Args:
        problem: Space of the designs.
        given: File, mappings or array; None for no designs.
        argument: Name of the argument, for messages.

    Raises:
        InvalidDesign: A design is not allowed; only wanted ones (``include``) have to be.
        InvalidData: The file cannot be read as designs.
    """
    space = problem.space
    if given is None:
        return problem.dataset.x[:0]
    if isinstance(given, (str, os.PathLike)):
        x = read_designs(given, space)
    elif isinstance(given, np.ndarray):
        x = given
    else:
        x = _of_mappings(space, given)
    if x.ndim != 2 or x.shape[1:] != space.shape:
        raise InvalidDesign(
            f"{argument} must hold designs of shape (N, {space.shape[0]}), got {x.shape}"
        )
    inside = space.contains(x)
    if argument == "include" and not inside.all():
        row = int(np.argmin(inside))
        raise InvalidDesign(
            f"{argument}, row {row}: {space.why_not(x[row])}. Leave the design out, or widen the "
            "space."
        )
    return np.asarray(x[inside], dtype=space.dtype)


def _of_mappings(space: DesignSpace, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return designs given as mappings from column to value; further columns are not read."""
    for i, row in enumerate(rows):
        for name in space.names:
            if not isinstance(row, Mapping) or name not in row:
                raise InvalidDesign(
                    f"row {i}: {name} is missing; a design maps {list(space.names)} to values"
                )
    if isinstance(space, MixedSpace):
        return space.parse([{name: row[name] for name in space.names} for row in rows])
    if isinstance(space, CategoricalSpace):
        return space.parse([str(row[space.names[0]]) for row in rows])
    x = [[float(row[name]) for name in space.names] for row in rows]
    return np.array(x, dtype=np.float32).reshape(-1, len(space.names))


def _size(k: int | None, batch: int | None) -> int:
    """Return the number of designs.

    Raises:
        ValueError: Both names are used and differ, or the number is below 1.
    """
    if k is not None and batch is not None and k != batch:
        raise ValueError(f"k and batch are two names of one number, got {k} and {batch}.")
    size = k if k is not None else batch if batch is not None else DEFAULT_BATCH
    if size < 1:
        raise ValueError(f"k must be at least 1, got {size}")
    return size


def _method(
    method: str | None,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    task_id: str | None,
) -> tuple[str, Method]:
    """Return name and method; without a name the default."""
    method = method or DEFAULT_METHOD
    return method, make_method(method, preset=preset, task_id=task_id, **(settings or {}))


def _of_table(
    data: Any,
    score: str | None,
    designs: str | Sequence[str] | None,
    minimise: bool,
    options: Mapping[str, Any],
) -> _Data:
    with _own_words():
        task = make_task(
            "table",
            **{"frame" if is_frame(data) else "path": data},
            score_column=score,
            design_columns=designs,
            minimise=minimise,
            **options,
        )
    return _of_made(task)


def _of_task(data: Any, options: Mapping[str, Any]) -> _Data:
    if isinstance(data, str):
        return _of_made(make_task(data, **options))
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
    return _of_made(data)


def _of_made(data: Task | OfflineProblem) -> _Data:
    """Return the problem, with the name and the direction that its score has in the file."""
    problem = data.problem() if isinstance(data, Task) else data
    if not isinstance(data, Task):
        name = str(problem.options.get("score_column") or "score")
        return _Data(problem, Score(name, problem.options.get("minimise", False) is True))
    return _Data(problem, Score(data.info.score_in_file, data.info.minimised))


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
