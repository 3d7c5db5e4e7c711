"""csv: your own file of designs and scores as a task.

Description: each row of the file is a measured design with its score; find the next designs to
measure.
Design space: numeric columns become as many reals, each within the smallest and largest value of
    its column unless `bounds` says otherwise; one column of sequences becomes L sites whose letters
    are those of the column unless `alphabet` says otherwise.
Score: the score column; with `minimise` its negative, since higher is better everywhere in mbo_gym.
Offline split: all rows are visible, or those at or below `percentile` of the scores. Duplicated
rows are kept.
Oracle: none, as in life; a forest fitted on all rows as a stand-in; or your own function.
Licence: the file's own.
References: none.
Version history: none; the file is the version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.files.table import Table, listed, parse_number, read_sequences, read_table
from mbo_gym.oracles.stand_in import ScoreFunction, stand_in_oracle
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.problem.task import Task, TaskInfo, offline_split

__all__ = ["Bounds", "make_csv_task"]


Bounds: TypeAlias = Mapping[str, Sequence[float | None]]
"""(low, high) of named columns; None for an open side."""


def make_csv_task(
    path: str | os.PathLike[str] | None = None,
    design_columns: str | Sequence[str] | None = None,
    score_column: str | None = None,
    minimise: bool = False,
    oracle: str | ScoreFunction | None = None,
    *,
    bounds: Bounds | Literal["none"] | None = None,
    alphabet: str | None = None,
    on_missing: str = "error",
    percentile: float = 100.0,
    delimiter: str | None = None,
) -> Task:
    """Make a task of a CSV file; `mbo_gym.files.table` says which files are read.

    One design column in which no cell is a number is taken for sequences, all other columns for
    numbers; give `alphabet` where sequences are spelled with digits. Numbers are kept as float32. A
    numeric column that never varies is kept and named in `info.description`: every encoder maps it
    to 0 and back to its constant.

    Args:
        path: The file.
        design_columns: Column(s) of the design; None for all but the score column.
        score_column: Column of the score.
        minimise: Whether lower is better in the file; the scores are then negated.
        oracle: What scores proposals: None for nothing; ``"random_forest"`` for a forest fitted on
            all rows (a stand-in, see `mbo_gym.oracles.forest`); or a function of native designs (N,
            *shape) that returns (N,) scores in the file's own sign.
        bounds: (low, high) of named numeric columns, None for an open side; columns not named keep
            the smallest and largest value of the data. ``"none"`` leaves all columns unbounded.
        alphabet: The letters of the sequences, in the order of their numbers; None takes the
            column's own, sorted.
        on_missing: What to do about rows with an empty, NaN or infinite cell in a column that is
            used: ``"error"``, or ``"drop"`` to leave them out.
        percentile: The visible rows have scores at or below this percentile, in (0, 100].
        delimiter: The character between cells; None finds out whether it is a comma, a semicolon or
            a tab.

    Raises:
        MissingData: No path was given, or there is no such file.
        InvalidData: The file cannot be used as it is; the message names line and column and what to
            do.
        UnknownId: `oracle` or `on_missing` is an unknown word.
    """
    if path is None:
        raise MissingData(
            "the task 'csv' is made of your own file: pass path='my.csv' and score_column='...'"
        )
    path, score_column = (
        str(path),
        None if score_column is None else str(score_column),
    )  # names may look like numbers
    if on_missing not in ("error", "drop"):
        raise UnknownId("on_missing treatment", on_missing, ("error", "drop"))
    if not 0 < percentile <= 100:
        raise InvalidData(
            f"percentile must lie in (0, 100], got {percentile}. 100 makes all rows visible."
        )
    whole = read_table(path, delimiter)
    columns, score = _choose_columns(whole, design_columns, score_column)
    sequences = _are_sequences(whole, columns, alphabet)
    table, values = _read_values(
        whole, columns, score, sequences=sequences, drop=on_missing == "drop"
    )
    sign = -1 if minimise else 1
    y = sign * _scores(table, score, values[:, -1]) + 0.0  # + 0.0 turns -0.0 into 0.0
    space: DesignSpace
    if sequences:
        space, x, words = _sequences(table, columns[0], alphabet, bounds)
    else:
        space, x, words = _numeric(table, columns, values[:, :-1], bounds)
    n_dropped = len(whole.lines) - len(y)
    left_out = f", {n_dropped:,} more lack a value and were left out" if n_dropped else ""
    info = TaskInfo(
        task_id="csv",
        description=f"{words}; {len(y):,} rows of {table.path.name}{left_out}.",
        y_min=float(y.min()),
        y_max=float(y.max()),
        score_name=f"minus {score} (to be minimised)" if minimise else score,
        licence="the file's own",
        oracle=_describe_oracle(oracle),
        references=(),
        version_history=("the file is the version",),
        n_full=len(y),
        percentile=percentile,
    )
    hidden = stand_in_oracle(oracle, space, x, y, sign=sign)
    return Task(info, space, offline_split(x, y, percentile), hidden).with_options()


def _describe_oracle(oracle: str | ScoreFunction | None) -> str:
    if oracle is None:
        return "The file holds measurements only, so there is none."
    if callable(oracle):
        return f"Your function {getattr(oracle, '__name__', type(oracle).__name__)}."
    return "A stand-in: a random forest of 100 trees fitted on all rows; its scores are predictions, not measurements."


def _choose_columns(
    table: Table, designs: str | Sequence[str] | None, score: str | None
) -> tuple[list[str], str]:
    """Return the design columns and the score column, all of which exist."""
    if score is None:
        raise InvalidData(
            f"Which column of {table.path} is the score? Pass score_column=, one of {listed(table.names)}."
        )
    table.column(score)
    if designs is None:
        columns = [name for name in table.names if name != score]
        if not columns:
            raise InvalidData(
                f"{table.path} has one column only, {score!r}. If cells are not split, pass delimiter=."
            )
        if "" in columns:
            raise InvalidData(
                f"{table.path}: column {table.names.index('') + 1} has no name (row numbers that pandas wrote?). Name "
                "it in the first line, or say with design_columns= which columns make the design."
            )
        return columns, score
    columns = [designs] if isinstance(designs, str) else list(designs)
    if not columns or len(set(columns)) < len(columns):
        raise InvalidData(
            f"design_columns must name at least one column and none twice, got {columns}."
        )
    for name in columns:
        table.column(name)
    if score in columns:
        raise InvalidData(
            f"the score column {score!r} is also a design column; leave it out of design_columns={columns}."
        )
    return columns, score


def _are_sequences(table: Table, columns: list[str], alphabet: str | None) -> bool:
    if alphabet is not None:
        if len(columns) > 1:
            raise InvalidData(
                f"alphabet= is for one column of sequences, got the design columns {listed(columns)}. Name one."
            )
        return True
    if len(columns) > 1:
        return False
    values = (
        parse_number(cell) for cell in table.column(columns[0])
    )  # "NAN" and "INF" are peptides, not numbers
    return not any(value is not None and np.isfinite(value) for value in values)


def _read_values(
    table: Table, columns: list[str], score: str, *, sequences: bool, drop: bool
) -> tuple[Table, np.ndarray]:
    """Read the cells as numbers, without the rows that lack one.

    Returns:
        table: The rows that stay.
        values: (N, columns + 1) float64, the score last; a sequence counts as 0 here.
    """
    if sequences:
        read = [np.array([0.0 if cell.strip() else np.nan for cell in table.column(columns[0])])]
    else:
        read = [_numbers(table, name, columns) for name in columns]
    values = np.stack([*read, table.numbers(score)], axis=1)
    keep = table.complete_rows([*columns, score], values, drop=drop)
    return table.where(keep), values[keep]


def _numbers(table: Table, name: str, columns: list[str]) -> np.ndarray:
    try:
        return table.numbers(name)
    except InvalidData as error:
        way = (
            "alphabet="
            if len(columns) == 1
            else f"design_columns={name!r} (a design is numbers or one sequence)"
        )
        raise InvalidData(f"{error} If {name!r} holds sequences, pass {way}.") from None


def _scores(table: Table, name: str, values: np.ndarray) -> np.ndarray:
    y = table.float32(name, values)
    if (y == y[0]).all():
        raise InvalidData(
            f"{table.path}: the score {name!r} is {y[0]:g} in every row (as float32), so no design is better than "
            "another. Name another score_column=, or subtract an offset that hides the differences."
        )
    return y


def _numeric(
    table: Table, columns: list[str], values: np.ndarray, bounds: Any
) -> tuple[ContinuousSpace, np.ndarray, str]:
    """Return the space, the designs (N, d) float32 and what they are in words."""
    x = np.stack([table.float32(name, values[:, j]) for j, name in enumerate(columns)], axis=1)
    constant = [name for name, same in zip(columns, (x == x[0]).all(axis=0), strict=True) if same]
    _refuse_one_design(table, columns, varies=len(constant) < len(columns))
    words = f"Designs of {len(columns)} numbers ({listed(columns)})"
    if constant:
        words += f", of which {listed(constant)} never vary"
    return ContinuousSpace(*_limits(table, columns, x, bounds), tuple(columns)), x, words


def _sequences(
    table: Table, column: str, alphabet: str | None, bounds: Any
) -> tuple[CategoricalSpace, np.ndarray, str]:
    """Return the space, the designs (N, L) int32 and what they are in words."""
    if bounds is not None:
        raise InvalidData(
            "bounds= belongs to numeric columns; sequences have an alphabet= instead."
        )
    letters, x = read_sequences(table, column, alphabet)
    _refuse_one_design(table, [column], varies=bool((x != x[0]).any()))
    space = CategoricalSpace(x.shape[1], len(letters), letters)
    return (
        space,
        x,
        f"Sequences of {x.shape[1]} letters out of {''.join(letters)} (column {column!r})",
    )


def _refuse_one_design(table: Table, columns: list[str], *, varies: bool) -> None:
    if not varies:
        raise InvalidData(
            f"{table.path}: all rows hold the same design (columns {listed(columns)}), so there is nothing to learn "
            "from. Name other design_columns=."
        )


def _limits(
    table: Table, columns: list[str], x: np.ndarray, bounds: Any
) -> tuple[np.ndarray, np.ndarray]:
    low, high = x.min(axis=0), x.max(axis=0)
    if bounds == "none":
        return np.full_like(low, -np.inf), np.full_like(high, np.inf)
    if bounds is None:
        return low, high
    if not isinstance(bounds, Mapping):
        raise InvalidData(
            f"bounds must map column names to (low, high), or be 'none', got {bounds!r}."
        )
    for name, pair in bounds.items():
        table.column(name)
        if name not in columns:
            raise InvalidData(
                f"bounds names {name!r}, which is not a design column; these are {listed(columns)}."
            )
        with np.errstate(over="ignore"):  # beyond float32 is as good as open
            low[columns.index(name)], high[columns.index(name)] = _pair(name, pair)
    outside = (x < low) | (x > high)
    if outside.any():
        i, j = (int(k[0]) for k in np.nonzero(outside))
        raise InvalidData(
            f"{table.place(i, columns[j])}: {x[i, j]:g} is outside the bounds [{low[j]:g}, {high[j]:g}] "
            f"({int(outside.any(axis=1).sum())} such rows). Widen the bounds or remove the rows."
        )
    return low, high


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (
            side if end is None else float(end)
            for end, side in zip(pair, (-np.inf, np.inf), strict=True)
        )
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"bounds[{name!r}] must be (low, high), two numbers or None for an open side, got {pair!r}."
        ) from error
    if not low <= high:
        raise InvalidData(f"bounds[{name!r}] must be (low, high) with low <= high, got {pair!r}.")
    return low, high
