"""csv: your own table of designs and scores as a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.files.columns import Bounds, assign_roles, read_measurements
from mbo_gym.files.table import read_table
from mbo_gym.oracles.stand_in import ScoreFunction, stand_in_oracle
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.tasks.registry import described_by

__all__ = ["Bounds", "csv_info", "make_csv_task"]


def csv_info() -> TaskInfo:
    """Return what is known of the task before there is a file."""
    return TaskInfo(
        task_id="csv",
        description="Your own file: each row is a measured design with its score.",
        space="Numeric columns become real numbers within the range of their column, unless "
        "`bounds` says otherwise; one column of sequences becomes sites of letters.",
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="the score column, or its negative with `minimise`",
        split=_describe_split(100),
        oracle=_describe_oracle(None),
        licence="the file's own",
        references=(),
        version_history=("the file is the version",),
    )


@described_by(csv_info)
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
    """Make a task of a table file; `mbo_gym.files.table` says which files are read.

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
    table = read_table(path, delimiter)
    roles = assign_roles(table, design_columns, score_column, alphabet)
    measured = read_measurements(
        table, roles, alphabet=alphabet, bounds=bounds, drop=on_missing == "drop"
    )
    designs = measured.designs
    sign = -1 if minimise else 1
    y = sign * measured.y + 0.0  # + 0.0 turns -0.0 into 0.0
    left_out = ""
    if measured.n_dropped:
        left_out = f", {measured.n_dropped:,} more lack a value and were left out"
    info = replace(
        csv_info(),
        description=f"{designs.words}; {len(y):,} rows of {table.path.name}{left_out}.",
        space="",  # from the space itself
        y_min=float(y.min()),
        y_max=float(y.max()),
        score_name=f"minus {roles.score} (to be minimised)" if minimise else roles.score,
        split=_describe_split(percentile),
        oracle=_describe_oracle(oracle),
        n_full=len(y),
        percentile=percentile,
    )
    hidden = stand_in_oracle(oracle, designs.space, designs.x, y, sign=sign)
    every = OfflineDataset(designs.x, y, lines=measured.lines)
    visible = every.below_percentile(percentile)
    return Task(info, designs.space, visible, hidden).with_options()


def _describe_split(percentile: float) -> str:
    if percentile == 100:
        return "All rows; duplicates are kept."
    return f"Rows with scores at or below the {percentile:g}th percentile; duplicates are kept."


def _describe_oracle(oracle: str | ScoreFunction | None) -> str:
    if oracle is None:
        return "The file holds measurements only, so there is none."
    if callable(oracle):
        return f"Your function {getattr(oracle, '__name__', type(oracle).__name__)}."
    return (
        "A stand-in: a random forest of 100 trees fitted on all rows; its scores are predictions, "
        "not measurements."
    )
