"""Makes designs, scores, errors and failures of the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table, listed
from mbo_gym.files.design_columns import DesignOptions, Made, read_design_columns
from mbo_gym.files.replicates import groups_of_equal_designs, join_replicates
from mbo_gym.files.roles import Roles, counting_columns
from mbo_gym.files.sequences import AS_CAPITALS
from mbo_gym.problem.constraints import Constraint
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.space import DesignSpace

__all__ = ["Measurements", "read_measurements"]


@dataclass(frozen=True, eq=False)
class Measurements:
    """Designs and scores of a table.

    Args:
        space: Design space.
        parameters: Its parameters, with their units.
        constraints: Constraints between them.
        x: (N, *shape) designs in the type of the space.
        y: (N,) float32, the scores in the file's own sign.
        error: (N,) float32, standard errors of the scores, or None.
        failed: (M, *shape) designs whose measurement failed, or None.
        words: What a design is, e.g. "Designs of 2 numbers ('a', 'b')".
        n_dropped: Number of rows left out because they lack a value.
        notes: Sentences about what was done.
        columns: (name, role) of each column of the file.
        lines: (N,) line (or row) of the file on which each design stands, the first of several.
        units: Unit of each column that has one.
        case: ``upper`` if small letters of sequences were read as capitals, else ``keep``.
    """

    space: DesignSpace
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None
    failed: np.ndarray | None
    words: str
    n_dropped: int
    notes: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    lines: np.ndarray
    units: Mapping[str, str] = field(default_factory=dict)
    case: Literal["upper", "keep"] = "keep"


def read_measurements(
    table: Table,
    roles: Roles,
    options: DesignOptions | None = None,
    *,
    on_missing: str = "failed",
    replicates: str = "mean",
) -> Measurements:
    """Read the designs and scores of a table.

    Args:
        table: The file.
        roles: Roles of its columns.
        options: What is told about the columns of the design.
        on_missing: What becomes of a row without a value: ``failed`` takes a row without a score as
            a failed measurement and refuses a design that is not whole; ``error`` refuses both;
            ``drop`` leaves both out.
        replicates: ``mean`` joins equal designs with different scores; ``keep`` keeps the rows.

    Raises:
        InvalidData: The columns cannot be used as they are; the message names line and column.
    """
    design = read_design_columns(table, roles.designs, options or DesignOptions())
    y = table.float32([roles.score])[:, 0]
    rows = _used_rows(table, roles, design.missing, y, on_missing)
    kept = table.where(rows.keep)
    made = design.take(rows.keep).parameters(kept)
    scored = ~rows.failed
    y = y[rows.keep][scored]
    error, weighed = _errors(kept, roles, scored, y)
    each = _Scored(made.x[scored], y, error, kept.lines[scored])
    measured, repeated = _joined(each) if replicates == "mean" else _with_repeats(each)
    _require_different(table, roles.score, measured.y)
    notes = [
        *table.notes,
        *made.notes,
        *_merged_notes(design.merged),
        *_counting_notes(table, roles),
        *weighed,
        *repeated,
        *_failure_notes(roles, rows),
    ]
    return Measurements(
        space=made.space,
        parameters=made.parameters,
        constraints=made.constraints,
        x=measured.x,
        y=measured.y,
        error=measured.error,
        failed=made.x[rows.failed] if rows.failed.any() else None,
        words=made.words,
        n_dropped=int((~rows.keep).sum()),
        notes=tuple(notes),
        columns=_columns(table, roles, made),
        lines=measured.lines,
        units=made.units,
        case="upper" if any(AS_CAPITALS in note for note in made.notes) else "keep",
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Which rows of a table are used, and which of those are failed measurements.

    Args:
        keep: (N,) bool, the rows that are used; M of them.
        flagged: (M,) bool, which of those the failure flag calls failed.
        failed: (M,) bool, which of those failed: flagged, or without a score.
    """

    keep: np.ndarray
    flagged: np.ndarray
    failed: np.ndarray


@dataclass(frozen=True, eq=False)
class _Scored:
    """Designs with scores: (N, *shape) x, (N,) y, (N,) standard errors or None, (N,) lines."""

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None
    lines: np.ndarray


def _used_rows(
    table: Table, roles: Roles, missing: np.ndarray, y: np.ndarray, on_missing: str
) -> _Rows:
    """Find the rows that are used, and those of them that failed.

    Args:
        table: The file.
        roles: Roles of its columns.
        missing: (N, designs) bool, cells of the design without a value.
        y: (N,) scores, NaN for none.
        on_missing: What becomes of a row without a value.

    Raises:
        InvalidData: A value is missing and must not, a score is too large, or no row has all.
    """
    flagged = np.zeros(len(table), dtype=bool)
    if roles.failure is not None:
        words = roles.failure.words
        flagged = np.array([cell in words for cell in table.column(roles.failure.column)])
    no_score = np.isnan(y)
    failed = flagged | (no_score if on_missing == "failed" else False)
    names = [*roles.designs, roles.score]
    missing = np.concatenate([missing, (no_score & ~failed)[:, None]], axis=1)
    keep = table.complete_rows(names, missing, drop=on_missing == "drop")
    if not (keep & ~failed).any():
        raise InvalidData(
            f"{table.path}: no row has a design and a score {roles.score!r} and is no failure. "
            "Name another score_column=, or fill the scores in."
        )
    scored = keep & ~flagged & ~no_score
    table.where(scored).refuse_too_large([roles.score], y[scored][:, None])
    return _Rows(keep, flagged[keep], failed[keep])


def _joined(each: _Scored) -> tuple[_Scored, list[str]]:
    """Join equal designs with different scores; also return what was done."""
    joined = join_replicates(each.x.reshape(len(each.x), -1), each.y, each.error)
    if joined is None:
        return each, []
    rows = joined.rows
    were = "designs were" if joined.n_designs > 1 else "design was"
    return _Scored(each.x[rows], joined.y, joined.error, each.lines[rows]), [
        f"{joined.n_designs:,} {were} measured several times ({joined.n_rows:,} rows); "
        f"{len(each.x):,} rows became {len(rows):,} designs with mean and standard error. Pass "
        "replicates='keep' to keep the rows."
    ]


def _with_repeats(each: _Scored) -> tuple[_Scored, list[str]]:
    """Return all rows as they are, and how many designs stand in several."""
    first, _, counts = groups_of_equal_designs(each.x.reshape(len(each.x), -1))
    if len(first) == len(each.x):
        return each, []
    n_repeated = int((counts > 1).sum())
    return each, [f"{n_repeated:,} designs stand in several rows, which are kept."]


def _require_different(table: Table, name: str, y: np.ndarray) -> None:
    if (y == y[0]).all():
        raise InvalidData(
            f"{table.path}: the score {name!r} is {y[0]:g} in every row (as float32), so no design "
            "is better than another. Name another score_column=, or subtract an offset that hides "
            "the differences."
        )


def _errors(
    table: Table, roles: Roles, scored: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray | None, list[str]]:
    """Return the standard errors of the scores of the scored rows, and what was done."""
    name = roles.error or roles.weights
    if name is None:
        return None, []
    if roles.error and roles.weights:
        raise InvalidData(
            f"error={roles.error!r} and weights={roles.weights!r} say the same in two ways. Name "
            "one of them."
        )
    values = table.float32([name])[scored, 0]
    rows = np.flatnonzero(scored)
    least = 0.0 if roles.error else np.finfo(np.float32).tiny
    bad = ~(np.isfinite(values) & (values >= least))
    if roles.error:
        known = np.isfinite(values)
        if known.any() and not known.all() and not bad[known].any():
            middle = float(np.median(values[known]))
            filled = np.where(known, values, np.float32(middle))
            count = int((~known).sum())
            return filled, [
                f"{name!r} is the standard error of {roles.score!r}; {count:,} rows lack it and "
                f"get the median, {middle:g}."
            ]
    if bad.any():
        row = int(rows[np.argmax(bad)])
        what = "a standard error is at least 0" if roles.error else "a weight is above 0"
        raise InvalidData(
            f"{table.place(row, name)}: {table.column(name)[row]!r}: {what}. Fix the cell, "
            "or leave the column out with ignore=."
        )
    if roles.error:
        return values, [f"{name!r} is the standard error of {roles.score!r} and weighs its rows."]
    # 1 / (s^2 + error^2), the weight in a fit, is then in proportion to the given weight.
    own = 0.1 * float(y.astype(np.float64).var())
    ratio = float(values.max()) / values.astype(np.float64)
    error = np.sqrt(own * (ratio - 1)).astype(np.float32)
    return error, [f"{name!r} weighs the rows."]


def _merged_notes(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"Warning: numbers of {listed(names)} differ by less than float32 can tell (7 digits), so "
        "different values became equal. Subtract an offset from the column."
    ]


def _counting_notes(table: Table, roles: Roles) -> list[str]:
    return [
        f"{name!r} counts the rows and is taken as part of the design. If it is a row number, "
        f"leave it out with ignore={name!r}."
        for name in counting_columns(table, roles.designs)
    ]


def _failure_notes(roles: Roles, rows: _Rows) -> list[str]:
    n_rows, n_failed, n_flagged = len(rows.failed), int(rows.failed.sum()), int(rows.flagged.sum())
    if not n_failed:
        return []
    reasons = []
    if roles.failure is not None and n_flagged:
        reasons.append(f"{n_flagged:,} of {n_rows:,} rows failed, as {roles.failure.column!r} says")
    if n_failed > n_flagged:
        reasons.append(f"{n_failed - n_flagged:,} of {n_rows:,} rows have no score")
    return [f"{', '.join(reasons)}; they are kept as failed designs."]


def _columns(table: Table, roles: Roles, made: Made) -> tuple[tuple[str, str], ...]:
    """Return the role of each column in words."""
    found = {roles.score: "score", **{k: f"left out: {v}" for k, v in roles.left_out.items()}}
    if roles.failure is not None:
        words = ", ".join(sorted(roles.failure.words))
        found[roles.failure.column] = f"failed rows: {words or 'none'}"
    if roles.error:
        found[roles.error] = f"standard error of {roles.score}"
    if roles.weights:
        found[roles.weights] = "weight of the row"
    found |= {name: f"design: {words}" for name, words in made.described.items()}
    return tuple((name, found[name]) for name in table.names)
