"""Says what each column of a table is for: design, score, error, failure flag, or left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table, listed
from mbo_gym.files.kinds import flag_words, text_kind

__all__ = ["Failure", "Roles", "assign_roles", "counting_columns"]

N_SEEN = 2000
FEWEST_NUMBERED = 5
"""Rows from which whole numbers that count the rows may be row numbers."""

_ID_NAMES = re.compile(
    r"^(id|ids|idx|index|nr|no|num|row|rowid|sampleid|sample|samplename|name|label|code|barcode|well"
    r"|run|runid|exp|expid|experiment|experimentid|trial|trialindex|trialid|unnamed\d*)$"
)
_TEXT_NAMES = re.compile(r"^(comment|comments|note|notes|remark|remarks|doi|reference|source)$")
_REPEAT_NAMES = re.compile(
    r"^(technical|biological|tech|bio)?(replicate|replicates|rep|repeat|repetition)(id|no|nr|number)?$"
)
_BAD_NAMES = re.compile(r"^(is)?(failed|failure|fail|crashed|crash|aborted|invalid|infeasible)$")
_GOOD_NAMES = re.compile(r"^(is)?(success|succeeded|successful|ok|valid|feasible|worked|passed)$")
_STATUS_NAMES = re.compile(r"^(run|trial)?(status|state|outcome)$")
_BAD_WORDS = frozenset(
    [
        "fail",
        "failed",
        "failure",
        "error",
        "crashed",
        "crash",
        "aborted",
        "abandoned",
        "invalid",
        "infeasible",
        "bad",
        "nok",
        "ko",
    ]
)
_GOOD_WORDS = frozenset(
    [
        "ok",
        "success",
        "succeeded",
        "successful",
        "completed",
        "complete",
        "done",
        "valid",
        "feasible",
        "passed",
        "good",
    ]
)
_ERROR_ENDS = ("sem", "se", "stderr", "standarderror", "stderror", "error", "err")
_FIGURE_ENDS = ("std", "sd", "stdev", "min", "max", "n", "count", "variance", "var", "median")
_OWN_ERROR_NAMES = frozenset({"sem", "stderr", "standarderror", "stderror"})


@dataclass(frozen=True)
class Failure:
    """A column that says which measurements failed.

    Args:
        column: Its name.
        words: Cells of a failed row.
    """

    column: str
    words: frozenset[str]


@dataclass(frozen=True)
class Roles:
    """Role of each column.

    Args:
        designs: Columns of the design, in the order of the space.
        score: Column of the score.
        failure: Column that flags failed rows, or None.
        error: Column of the standard errors of the scores, or None.
        weights: Column of the weights of the rows, or None.
        left_out: Why each other column is not used.
    """

    designs: tuple[str, ...]
    score: str
    failure: Failure | None = None
    error: str | None = None
    weights: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def assign_roles(
    table: Table,
    designs: str | Sequence[str] | None,
    score: str | None,
    *,
    ignore: str | Sequence[str] = (),
    failed: str | Mapping[str, Sequence[str]] | None = None,
    error: str | None = None,
    weights: str | None = None,
    wanted: Iterable[str] = (),
) -> Roles:
    """Find the role of each column.

    Without `designs`, all columns are the design but for the score, what the other arguments name,
    and what is seen to be no design: empty columns, row numbers and identifiers, dates, comments,
    failure flags, and standard errors named after the score.

    Args:
        table: The file.
        designs: Column(s) of the design; None for all that are left.
        score: Column of the score.
        ignore: Columns that are left out.
        failed: Column that flags failed rows, or a mapping from it to the words of a failed row;
            ``"none"`` for no such column; None finds it by its name.
        error: Column of the standard errors of the scores; ``"none"`` for none; None finds it.
        weights: Column of the weights of the rows.
        wanted: Columns that are part of the design whatever they look like.

    Raises:
        InvalidData: A column is missing, without a name, or named in two roles; or which rows
            failed is not clear. The message names the column.
    """
    if score is None:
        raise InvalidData(
            f"Which column of {table.path} is the score? Pass score_column=, one of "
            f"{listed(table.names)}."
        )
    table.require(score)
    ignore = [ignore] if isinstance(ignore, str) else list(ignore)
    wanted = set(wanted)
    explicit = None if designs is None else _named(table, designs, score)
    for name in [*ignore, *(name for name in (error, weights) if name not in (None, "none"))]:
        table.require(str(name))
    head = dict(zip(table.names, table.head(N_SEEN), strict=True))
    taken = {score, *(explicit or ()), *ignore, *wanted}
    failure = _failure(table, failed, head, taken)
    if error is None:
        error = _error_column(table.names, score, {*taken, weights})
    elif error == "none":
        error = None
    left_out = dict.fromkeys(ignore, "you left it out")
    roles = Roles((), score, failure, error, weights, left_out)
    if explicit is not None:
        return _with_named_designs(table, roles, explicit)
    return _with_found_designs(table, roles, head, wanted)


def _with_named_designs(table: Table, roles: Roles, designs: tuple[str, ...]) -> Roles:
    """Return roles with the design that was told; all other columns are left out."""
    used = _used(roles)
    if twice := [name for name in designs if name in used or name in roles.left_out]:
        raise InvalidData(
            f"{listed(twice)} would be a design and something else too. Name each column once."
        )
    others = [name for name in table.names if name not in used and name not in designs]
    left_out = {name: roles.left_out.get(name, "not among design_columns") for name in others}
    return replace(roles, designs=designs, left_out=left_out)


def _with_found_designs(
    table: Table, roles: Roles, head: Mapping[str, Sequence[str]], wanted: set[str]
) -> Roles:
    """Return roles in which the design is all that has no other role and looks like one."""
    used = _used(roles)
    rest = [name for name in table.names if name not in used and name not in roles.left_out]
    if not rest:
        raise InvalidData(
            f"{table.path} has one column only, {roles.score!r}. If cells are not split, pass "
            "delimiter=."
        )
    reasons = {
        name: _figure_of(roles.score, name) or _no_design(table, name, head[name])
        for name in rest
        if name not in wanted
    }
    designs = [name for name in rest if reasons.get(name) is None]
    if not designs:  # one column that looks like a row number is a design all the same
        designs = [name for name in rest if name and reasons[name] != "empty"]
    if not designs:
        raise InvalidData(
            f"{table.path}: no column is left for the design beside {roles.score!r}. Name them "
            "with design_columns=."
        )
    if "" in designs:
        raise InvalidData(
            f"{table.path}: column {table.names.index('') + 1} has no name and is no row number. "
            "Name it in the first line, or say with design_columns= which columns make the design."
        )
    no_designs = {name: str(reasons[name]) for name in rest if name not in designs}
    return replace(roles, designs=tuple(designs), left_out={**roles.left_out, **no_designs})


def _used(roles: Roles) -> set[str | None]:
    """Return the columns that have a role other than the design."""
    failure = roles.failure.column if roles.failure else None
    return {roles.score, roles.error, roles.weights, failure}


def _named(table: Table, designs: str | Sequence[str], score: str) -> tuple[str, ...]:
    columns = [designs] if isinstance(designs, str) else list(designs)
    if not columns or len(set(columns)) < len(columns):
        raise InvalidData(
            f"design_columns must name at least one column and none twice, got {columns}."
        )
    for name in columns:
        table.require(name)
    if score in columns:
        raise InvalidData(
            f"the score column {score!r} is also a design column; leave it out of "
            f"design_columns={columns}."
        )
    return tuple(columns)


def _simple(name: str) -> str:
    """Return a name without case, spaces and marks."""
    return re.sub(r"[^0-9a-z]", "", name.casefold())


def _figure_of(score: str, name: str) -> str | None:
    """Return why a column that is named as a figure of the score is no design, or None."""
    bare, simple = (_simple(re.sub(r"[(\[].*", "", text)) for text in (score, name))
    if simple in {f"{bare}{end}" for end in _FIGURE_ENDS}:
        return f"a figure of {score}; pass error= if it is its standard error"
    return None


def _no_design(table: Table, name: str, cells: Sequence[str]) -> str | None:
    """Return why a column is no part of a design, or None."""
    full = [cell for cell in cells if cell]
    if not full and not any(table.column(name)):
        return "empty"
    simple = _simple(name)
    numbers = [table.style.parse(cell) for cell in cells]
    if _counts_rows(numbers) and (not name or _ID_NAMES.match(simple)):
        return "row numbers"
    distinct = len(set(full)) == len(full)
    if _ID_NAMES.match(simple) and distinct and len(full) > 1 and not _is_fraction(numbers):
        return "identifiers of the rows"
    if _TEXT_NAMES.match(simple):
        return "comments"
    if _REPEAT_NAMES.match(simple) and _numbers_repeats(numbers):
        return "numbers of the replicates"
    words = [cell for cell, value in zip(cells, numbers, strict=True) if value is None and cell]
    if 2 * len(words) > len(full):
        if text_kind(words, alone=False) == "dates":
            return (
                f"dates; pass kinds={{{name!r}: 'days'}} to use them as days since the first, or "
                "'date' to propose dates"
            )
        if distinct and len(full) >= 4 * FEWEST_NUMBERED and "id" in _id_like(words):
            return "identifiers of the rows"
    return None


def _id_like(words: Sequence[str]) -> str:
    """Return ``id`` where words are one stem with a number each: run-1, run-2, .."""
    stems = {re.sub(r"\d+", "", word) for word in words}
    return "id" if len(stems) == 1 and all(re.search(r"\d", word) for word in words) else ""


def _is_fraction(numbers: Sequence[float | None]) -> bool:
    return any(value is not None and value % 1 for value in numbers)


def _numbers_repeats(numbers: Sequence[float | None]) -> bool:
    """Whether cells count from 0 or 1 without a gap, or are words."""
    found = {value for value in numbers if value is not None}
    return any(found == set(range(first, first + len(found))) for first in (0, 1))


def counting_columns(table: Table, names: Sequence[str]) -> list[str]:
    """Return the columns that count the rows of a file, which may be row numbers."""
    seen = dict(zip(table.names, table.head(N_SEEN), strict=True))
    found = []
    for name in names:
        numbers = [table.style.parse(cell) for cell in seen[name]]
        if len(numbers) > FEWEST_NUMBERED and _counts_rows(numbers):
            found.append(name)
    return found


def _counts_rows(numbers: Sequence[float | None]) -> bool:
    """Whether numbers are 0, 1, 2, .. or 1, 2, 3, .. in the order of the file."""
    if len(numbers) < 2 or numbers[0] not in (0, 1) or any(value is None for value in numbers):
        return False
    steps = np.diff(np.array(numbers, dtype=np.float64))
    return bool((steps == 1).all())


def _error_column(names: Sequence[str], score: str, taken: set[str | None]) -> str | None:
    """Return the column named as the standard error of the score, or None."""
    bare = _simple(re.sub(r"[(\[].*", "", score))
    wanted = {f"{bare}{end}" for end in _ERROR_ENDS} | {f"{end}{bare}" for end in _ERROR_ENDS}
    for name in names:
        simple = _simple(re.sub(r"[(\[].*", "", name))
        if name not in taken and simple in wanted | _OWN_ERROR_NAMES:
            return name
    return None


def _failure(
    table: Table,
    failed: str | Mapping[str, Sequence[str]] | None,
    head: Mapping[str, Sequence[str]],
    taken: set[str],
) -> Failure | None:
    """Return the column that flags failed rows, or None."""
    if failed == "none":
        return None
    if isinstance(failed, Mapping):
        if len(failed) != 1:
            raise InvalidData(f"failed= names one column and its words, got {dict(failed)}.")
        ((name, given),) = failed.items()
        table.require(name)
        given = [given] if isinstance(given, str) else given
        return Failure(name, frozenset(str(word) for word in given))
    if failed is not None:
        table.require(failed)
        return _flag(table, failed, told=True)
    for name in head:
        simple = _simple(name)
        known = _BAD_NAMES.match(simple) or _GOOD_NAMES.match(simple)
        if name not in taken and (known or _STATUS_NAMES.match(simple)):
            return _flag(table, name, told=False)
    return None


def _flag(table: Table, name: str, *, told: bool) -> Failure:
    """Return which words of a column stand for a failed row."""
    words = sorted({cell for cell in table.column(name) if cell})
    simple = _simple(name)
    flag = flag_words(words)
    bad = [word for word in words if word.casefold() in _BAD_WORDS]
    good = [word for word in words if word.casefold() in _GOOD_WORDS]
    if flag is not None and not _STATUS_NAMES.match(simple):
        return Failure(name, frozenset(flag[0] if _GOOD_NAMES.match(simple) else flag[1]))
    if words and len(bad) + len(good) == len(words):
        return Failure(name, frozenset(bad))
    way = f'failed={{{name!r}: ["..."]}} with the words of a failed row'
    other = "" if told else f", ignore={name!r} to leave it out, or failed='none' to design by it"
    raise InvalidData(
        f"{table.path}: the column {name!r} seems to say which rows failed, but which of "
        f"{listed(words)} mean that is not clear. Pass {way}{other}."
    )
