"""The `space.toml` that is inferred from a table, for a user to correct."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table, listed
from mbo_gym.files.dates import date_column
from mbo_gym.files.design_columns import DesignOptions, unit_of
from mbo_gym.files.measurements import Measurements, read_measurements
from mbo_gym.files.roles import Roles, assign_roles
from mbo_gym.files.sequences import SequenceOptions
from mbo_gym.files.space_file import DataRules, Goal, SpaceFile, space_text
from mbo_gym.files.space_schema import SCHEMA_FILE
from mbo_gym.files.table import read_table
from mbo_gym.problem.dates import Date

__all__ = ["infer_space", "write_space"]

_SCORE_NAMES = re.compile(
    r"^(yield|score|y|target|objective|fitness|activity|response|output|value|result)"
)


def infer_space(
    path: str | os.PathLike[str],
    score: str | None = None,
    *,
    minimise: bool = False,
    failed: str | None = None,
    wild_type: str | None = None,
    **reading: Any,
) -> tuple[SpaceFile, Measurements, Roles]:
    """Infer parameters, constraints and rules of a table.

    Args:
        path: The table.
        score: Column of the score; None for one that is called so, else the last column of numbers.
        minimise: Whether a lower score is better.
        failed: Column that flags failed rows; None finds it by its name.
        wild_type: Sequence that a column of mutations refers to.
        **reading: How the file is read, see `mbo_gym.files.table.read_table`.

    Raises:
        MissingData: There is no such file.
        InvalidData: The table cannot be used as it is.
    """
    table = read_table(path, **reading)
    score = score or _guess_score(table)
    roles = assign_roles(table, None, score, failed=failed)
    options = DesignOptions(sequences=SequenceOptions(wild_type=wild_type))
    measured = read_measurements(table, roles, options)
    goal = Goal(score, "minimise" if minimise else "maximise", unit_of(table, score))
    data = DataRules(
        failed=roles.failure.column if roles.failure else "",
        failed_words=tuple(sorted(roles.failure.words)) if roles.failure else (),
        error=roles.error or "",
        ignore=tuple(name for name in roles.left_out if name),
        wild_type=wild_type or "",
        case=measured.case,
    )
    parameters = tuple(
        replace(parameter, unit=measured.units.get(parameter.name, ""))  # type: ignore[type-var]
        for parameter in measured.parameters
    )
    return SpaceFile(goal, parameters, measured.constraints, data), measured, roles


def write_space(
    path: str | os.PathLike[str], score: str | None = None, **options: Any
) -> tuple[str, tuple[str, ...]]:
    """Return the text of the `space.toml` of a table, and sentences about what was done.

    Args:
        path: The table.
        score: Column of the score, see `infer_space`.
        **options: Those of `infer_space`.
    """
    space, measured, roles = infer_space(path, score, **options)
    notes = measured.notes
    if score is None:
        notes = (f"{space.goal.score!r} was taken for the score. Pass --score if not.", *notes)
    dates = _dates(read_table(path, **_reading(options)), roles)
    text = space_text(space, str(path), SCHEMA_FILE.as_uri(), roles.left_out, dates)
    return text, notes


def _reading(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say how the file is read."""
    others = ("minimise", "failed", "wild_type")
    return {name: value for name, value in options.items() if name not in others}


def _dates(table: Table, roles: Roles) -> list[Date]:
    """Return the columns that are left out because they hold dates, as parameters."""
    found = []
    for name, reason in roles.left_out.items():
        if reason.startswith("dates"):
            cells = [cell for cell in table.column(name) if not table.style.is_missing(cell)]
            try:
                found.append(date_column(table, name, cells)[0])
            except InvalidData:  # can be read in two ways
                continue
    return found


def _guess_score(table: Table) -> str:
    """Return the column that is called like a score, else the last one of numbers."""
    head = table.head(1000)
    numeric = [
        name
        for name, cells in zip(table.names, head, strict=True)
        if name and any(table.style.parse(cell) is not None for cell in cells)
    ]
    if not numeric:
        raise InvalidData(
            f"{table.path} has no column of numbers that could be the score; it has "
            f"{listed(table.names)}. Pass --score."
        )
    called = [name for name in numeric if _SCORE_NAMES.match(name.casefold())]
    return called[0] if called else numeric[-1]
