"""table (also csv): your own table of designs and scores as a task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files.cells import Table
from mbo_gym.files.changes import file_sum
from mbo_gym.files.design_columns import Bounds, DesignOptions
from mbo_gym.files.frames import array_table, frame_table
from mbo_gym.files.kept import kept_files
from mbo_gym.files.measurements import Measurements, read_measurements
from mbo_gym.files.roles import Roles, assign_roles
from mbo_gym.files.sequences import SequenceOptions
from mbo_gym.files.space_file import SpaceFile, read_space_file
from mbo_gym.files.table import read_table
from mbo_gym.oracles.stand_in import ScoreFunction, stand_in_oracle
from mbo_gym.problem.constraints import Constraint
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.task import Task, TaskInfo, name_of_score
from mbo_gym.settings import Limits
from mbo_gym.tasks.registry import described_by

__all__ = ["Bounds", "make_table_task", "table_info"]

_SAID_BY_FILE = (
    *("design_columns", "bounds", "kinds", "ignore", "alphabet", "conserved", "sums"),
    *("failed", "error", "weights"),
)
"""Arguments that a space file takes the place of."""
_BOUNDS_IN_WORDS = 'a mapping of columns to (low, high) such as {"temp": [0, null]}'


def table_info(task_id: str = "table") -> TaskInfo:
    """Return what is known of the task before there is a table.

    Args:
        task_id: ``table``, or its other name ``csv``.
    """
    return TaskInfo(
        task_id=task_id,
        description="Your own table: each row is a measured design with its score.",
        space="Columns become real or whole numbers, steps, levels, words or sequences; what they "
        "are is inferred and shown, and `space` or `kinds` correct it.",
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="the score column, or its negative with `minimise`",
        split=_describe_split(100),
        oracle=_describe_oracle(None),
        licence="the file's own",
        references=(),
        version_history=("the file is the version",),
    )


def _check(
    path: str | None = None,
    design_columns: str | Sequence[str] | None = None,
    score_column: str | None = None,
    *,
    task_id: str = "table",
    frame: Any = None,
    x: Any = None,
    y: Any = None,
    **others: Any,
) -> None:
    """Raise what is wrong with the table and the names of its columns."""
    given = {"path": path, "space": others.get("space")}
    path = kept_files(given, others.get("sha256") or {}).get("path")
    table = _table(path, frame, x, y, score_column, task_id, others)
    if others.get("space") is None:
        assign_roles(table, design_columns, "score" if x is not None else score_column)


def _table(
    path: str | os.PathLike[str] | None,
    frame: Any,
    x: Any,
    y: Any,
    score_column: str | None,
    task_id: str,
    dialect: Mapping[str, Any],
) -> Table:
    """Read the one table that is given."""
    given = [value is not None for value in (path, frame, x)]
    if sum(given) > 1 or (x is None) != (y is None):
        raise InvalidData("pass one of path=, frame=, or x= with y=, and only one.")
    if x is not None:
        return array_table(x, y, score_column or "score")
    if frame is not None:
        return frame_table(frame)
    if path is None:
        raise MissingData(
            f"the task {task_id!r} is made of your own file: pass path='my.csv' and "
            "score_column='...'"
        )
    return read_table(
        path,
        dialect.get("delimiter"),
        header=dialect.get("header", True),
        encoding=dialect.get("encoding"),
        decimal=dialect.get("decimal"),
        missing_words=_several(dialect.get("missing_words")),
    )


@described_by(table_info, _check)
def make_table_task(
    path: str | os.PathLike[str] | None = None,
    design_columns: str | Sequence[str] | None = None,
    score_column: str | None = None,
    minimise: bool = False,
    oracle: Literal["random_forest"] | ScoreFunction | None = None,
    *,
    task_id: str = "table",
    frame: Any = None,
    x: Any = None,
    y: Any = None,
    space: str | os.PathLike[str] | None = None,
    bounds: Annotated[Bounds, _BOUNDS_IN_WORDS] | Literal["none"] | None = None,
    kinds: Mapping[str, str] | Literal["real"] | None = None,
    ignore: str | Sequence[str] | None = None,
    alphabet: str | None = None,
    wild_type: str | None = None,
    case: Literal["upper", "lower", "keep"] | None = None,
    conserved: Literal["keep", "free"] | None = None,
    sums: bool | None = None,
    failed: str | Mapping[str, Sequence[str]] | None = None,
    error: str | None = None,
    weights: str | None = None,
    replicates: Literal["mean", "keep"] | None = None,
    on_missing: Literal["failed", "error", "drop"] | None = None,
    missing_words: str | Sequence[str] | None = None,
    percentile: Annotated[float, Limits(0, 100, above=True)] = 100.0,
    delimiter: str | None = None,
    header: bool = True,
    encoding: str | None = None,
    decimal: Literal[".", ","] | None = None,
    sha256: Mapping[str, str] | None = None,
) -> Task:
    """Make a task of a table; `mbo_gym.files.table` says which files are read.

    The kind of each column is inferred (`mbo_gym.files.kinds`): real numbers, whole numbers, steps,
    ordered levels, words, sequences. Plain real numbers alone, or one column of equally long
    sequences, make the two pure spaces. `info.columns` says what each column was taken for,
    `info.notes` what was done.

    Args:
        path: The file.
        design_columns: Column(s) of the design; None for all that are not seen to be something
            else.
        score_column: Column of the score.
        minimise: Whether lower is better in the file; the scores are then negated. A space
            file may say it too.
        oracle: What scores proposals: None for nothing; ``"random_forest"`` for a forest fitted on
            all rows (a stand-in, see `mbo_gym.oracles.forest`); or a function of native designs (N,
            *shape) that returns (N,) scores in the file's own sign.
        task_id: Id of the task.
        frame: A polars or pandas data frame in place of a file.
        x: (N, d) numbers or (N,) sequences in place of a file, with `y`.
        y: (N,) scores of `x`.
        space: A `space.toml` that `mbo-gym init` wrote and you corrected; what it says is said
            there only.
        bounds: (low, high) of named numeric columns, None for an open side; columns not named keep
            the smallest and largest value of the data. ``"none"`` leaves all columns unbounded.
        kinds: Kind of named columns: real, log, integer, levels, category, sequence, days or date;
            or ``"real"`` for all columns of numbers.
        ignore: Columns that are left out.
        alphabet: The letters of the sequences, in the order of their numbers; None takes the
            column's own, sorted.
        wild_type: Sequence that a column of mutations such as A1P:K2R refers to.
        case: Whether letters are turned into capitals (``upper``), small letters, or kept; None
            turns them where a column of bases or residues holds both.
        conserved: Whether places of a sequence that never vary are kept (the default) or may vary
            (``free``).
        sums: Whether columns that add up to 1 or 100 in every row are held to it (the default).
        failed: Column that flags failed rows, or a mapping from it to the words of a failed row;
            ``"none"`` for none; None finds it by its name.
        error: Column of the standard errors of the scores; ``"none"`` for none; None finds it.
        weights: Column of the weights of the rows in a fit.
        replicates: ``"mean"`` (the default) joins equal designs with different scores to one with
            mean and standard error; ``"keep"`` keeps the rows.
        on_missing: What to do about rows without a value in a column that is used: ``"failed"``
            (the default) takes a row without a score as a failed measurement and refuses a design
            that is not whole, ``"error"`` refuses both, ``"drop"`` leaves both out.
        missing_words: More words of a cell without a value.
        percentile: The visible rows have scores at or below this percentile, in (0, 100].
        delimiter: The character between cells; None finds out whether it is a comma, a semicolon, a
            tab or a bar.
        header: Whether the first line names the columns; if not, they are called 1, 2, ..
        encoding: Encoding of a text, such as latin-1; None for UTF-8 or what the file says.
        decimal: The character before the fraction of a number; None finds out.
        sha256: Known sha256 of the files by option, ``{"path": "..", "space": ".."}``; exported
            data sets and specs of environments have it. Another content is refused. A file that has
            moved is looked for by its name in the working folder and the data folders.

    Raises:
        MissingData: No table was given, or there is no such file.
        InvalidData: The table cannot be used as it is; the message names line and column and what
            to do.
        UnknownId: `oracle` is an unknown word.
    """
    dialect = {
        "delimiter": delimiter,
        "header": header,
        "encoding": encoding,
        "decimal": decimal,
        "missing_words": missing_words,
    }
    files = kept_files({"path": path, "space": space}, sha256 or {})
    path, space = files.get("path"), files.get("space")
    table = _table(path, frame, x, y, score_column, task_id, dialect)
    contents = {name: file_sum(Path(file)) for name, file in files.items()}
    if x is not None:
        score_column = score_column or "score"
    told = _Told(
        design_columns=design_columns,
        score_column=score_column,
        minimise=minimise,
        kinds=kinds,
        bounds=bounds,
        ignore=ignore,
        alphabet=alphabet,
        wild_type=wild_type,
        case=case,
        conserved=conserved,
        sums=sums,
        failed=_mapping(failed),
        error=error,
        weights=weights,
        replicates=replicates,
        on_missing=on_missing,
    )
    if space is not None:
        told = told.completed_by(read_space_file(space), os.fspath(space))
    roles, measured = _read(table, told)
    task = _assembled(table, roles.score, measured, task_id, told.minimise, oracle, percentile)
    return replace(task, files=contents).with_options()


@dataclass(frozen=True)
class _Told:
    """What arguments, or a space file, say about the columns of a table; None says nothing."""

    design_columns: str | Sequence[str] | None
    score_column: str | None
    minimise: bool
    kinds: Mapping[str, str] | Literal["real"] | None
    bounds: Bounds | Literal["none"] | None
    ignore: str | Sequence[str] | None
    alphabet: str | None
    wild_type: str | None
    case: str | None
    conserved: str | None
    sums: bool | None
    failed: str | Mapping[str, Sequence[str]] | None
    error: str | None
    weights: str | None
    replicates: str | None
    on_missing: str | None
    parameters: tuple[Parameter, ...] | None = None
    constraints: tuple[Constraint, ...] = ()

    def completed_by(self, file: SpaceFile, path: str) -> _Told:
        """Return this with what a space file says.

        Raises:
            InvalidData: An argument says what is the file's to say.
        """
        twice = [f"{name}=" for name in _SAID_BY_FILE if getattr(self, name) is not None]
        if twice:
            raise InvalidData(
                f"{', '.join(twice)} would be said twice, since space={path!r} is given. "
                "Write it there, and leave it out here."
            )
        data = file.data
        failed: str | dict[str, Sequence[str]] = data.failed or "none"
        if data.failed and data.failed_words:
            failed = {data.failed: data.failed_words}
        return replace(
            self,
            design_columns=[parameter.name for parameter in file.parameters],
            score_column=self.score_column or file.goal.score,
            minimise=self.minimise or file.goal.direction == "minimise",
            ignore=data.ignore,
            wild_type=self.wild_type or data.wild_type or None,
            case=self.case or data.case,
            failed=failed,
            error=data.error or "none",
            weights=data.weights or None,
            replicates=self.replicates or data.replicates,
            on_missing=self.on_missing or data.on_missing,
            parameters=file.parameters,
            constraints=file.constraints,
        )


def _read(table: Table, told: _Told) -> tuple[Roles, Measurements]:
    """Read roles of columns, and designs and scores."""
    roles = assign_roles(
        table,
        told.design_columns,
        told.score_column,
        ignore=_several(told.ignore),
        failed=told.failed,
        error=told.error,
        weights=told.weights,
        wanted=told.kinds if isinstance(told.kinds, Mapping) else (),
    )
    if told.alphabet is not None and len(roles.designs) > 1:
        raise InvalidData(
            "alphabet= is for one column of sequences, got the design columns "
            f"{', '.join(map(repr, roles.designs))}. Name one."
        )
    sequences = SequenceOptions(told.alphabet, told.case, told.conserved or "keep", told.wild_type)
    options = DesignOptions(
        told.kinds,
        told.bounds,
        sequences,
        told.sums is not False,
        told.parameters,
        told.constraints,
    )
    measured = read_measurements(
        table,
        roles,
        options,
        on_missing=told.on_missing or "failed",
        replicates=told.replicates or "mean",
    )
    return roles, measured


def _assembled(
    table: Table,
    score: str,
    measured: Measurements,
    task_id: str,
    minimise: bool,
    oracle: Literal["random_forest"] | ScoreFunction | None,
    percentile: float,
) -> Task:
    """Return the task of the measurements of a table."""
    sign = -1 if minimise else 1
    scores = sign * measured.y + 0.0  # + 0.0 turns -0.0 into 0.0
    left_out = ""
    if measured.n_dropped:
        left_out = f", {measured.n_dropped:,} more lack a value and were left out"
    info = replace(
        table_info(task_id),
        description=f"{measured.words}; {_rows(measured.x, table)}{left_out}.",
        space="",  # from the space itself
        y_min=float(scores.min()),
        y_max=float(scores.max()),
        score_name=name_of_score(score, minimise=minimise),
        split=_describe_split(percentile),
        oracle=_describe_oracle(oracle),
        n_full=len(scores),
        percentile=percentile,
        notes=measured.notes,
        columns=measured.columns,
    )
    hidden = stand_in_oracle(oracle, measured.space, measured.x, scores, sign=sign)
    dataset = OfflineDataset(measured.x, scores, measured.error, measured.failed, measured.lines)
    return Task(info, measured.space, dataset.below_percentile(percentile), hidden)


def _mapping(
    failed: str | Mapping[str, Sequence[str]] | None,
) -> str | Mapping[str, Sequence[str]] | None:
    """Return a mapping that is written as JSON, as on a command line; anything else as it is."""
    if isinstance(failed, str) and failed.startswith("{"):
        try:
            found = json.loads(failed)
        except ValueError:
            return failed
        return found if isinstance(found, dict) else failed
    return failed


def _several(names: str | Sequence[str] | None) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def _rows(x: np.ndarray, table: Table) -> str:
    return f"{len(x):,} rows of {table.path.name}"


def _describe_split(percentile: float) -> str:
    if percentile == 100:
        return "All rows."
    return f"Rows with scores at or below the {percentile:g}th percentile."


def _describe_oracle(oracle: str | ScoreFunction | None) -> str:
    if oracle is None:
        return "The file holds measurements only, so there is none."
    if callable(oracle):
        return f"Your function {getattr(oracle, '__name__', type(oracle).__name__)}."
    return (
        "A stand-in: a random forest of 100 trees fitted on all rows; its scores are predictions, "
        "not measurements."
    )
