"""Makes designs and scores of the columns of a table: roles, contents and bounds of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.table import Table, listed, parse_number
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace

__all__ = [
    "Bounds",
    "Designs",
    "Measurements",
    "Roles",
    "assign_roles",
    "read_measurements",
    "read_sequences",
]

Bounds: TypeAlias = Mapping[str, Sequence[float | None]]
"""(low, high) of named columns; None for an open side."""


@dataclass(frozen=True)
class Roles:
    """Role of each column that is used.

    Args:
        designs: Columns of the design, in the order of the space.
        score: Column of the score.
        sequences: Whether the only design column holds sequences; otherwise all hold numbers.
    """

    designs: tuple[str, ...]
    score: str
    sequences: bool


@dataclass(frozen=True, eq=False)
class Designs:
    """The designs of a table.

    Args:
        space: The space they span.
        x: (N, *shape) in the type of the space.
        words: What a design is, e.g. "Designs of 2 numbers ('a', 'b')".
    """

    space: DesignSpace
    x: np.ndarray
    words: str


@dataclass(frozen=True, eq=False)
class Measurements:
    """Designs and scores of a table.

    Args:
        designs: The designs.
        y: (N,) float32, the scores in the file's own sign.
        n_dropped: Number of rows left out because they lack a value.
        lines: (N,) line (or row) of the file on which each row stands.
    """

    designs: Designs
    y: np.ndarray
    n_dropped: int
    lines: np.ndarray


def assign_roles(
    table: Table,
    designs: str | Sequence[str] | None,
    score: str | None,
    alphabet: str | None = None,
) -> Roles:
    """Find the columns of design and score.

    One design column in which no cell is a number is taken for sequences; so is one for which an
    alphabet is given.

    Args:
        table: The file.
        designs: Column(s) of the design; None for all but the score column.
        score: Column of the score.
        alphabet: Letters of the sequences, or None.

    Raises:
        InvalidData: A column is missing, without a name, or named in two roles; the message names
            it.
    """
    if score is None:
        raise InvalidData(
            f"Which column of {table.path} is the score? Pass score_column=, one of "
            f"{listed(table.names)}."
        )
    table.require(score)
    columns = _other_columns(table, score) if designs is None else _named(table, designs, score)
    return Roles(columns, score, _are_sequences(table, columns, alphabet))


def read_measurements(
    table: Table,
    roles: Roles,
    *,
    alphabet: str | None = None,
    bounds: Bounds | Literal["none"] | None = None,
    drop: bool = False,
) -> Measurements:
    """Read the designs and scores of a table.

    Args:
        table: The file.
        roles: Its columns.
        alphabet: Letters of the sequences in the order of their numbers; None takes the column's
            own, sorted.
        bounds: (low, high) of named numeric columns; columns not named keep the smallest and
            largest value of the data. ``"none"`` leaves all columns unbounded.
        drop: Whether rows that lack a value are left out (otherwise they are an error).

    Raises:
        InvalidData: The columns cannot be used as they are; the message names line and column.
    """
    used = [*roles.designs, roles.score]
    if roles.sequences:
        missing = np.array([[not cell] for cell in table.column(roles.designs[0])])
    else:
        x = table.float32(roles.designs, _Advice(roles))
        missing = np.isnan(x)
    y = table.float32([roles.score])
    missing = np.concatenate([missing, np.isnan(y)], axis=1)
    keep = table.complete_rows(used, missing, drop=drop)
    kept = table.where(keep)
    scores = _scores(kept, roles.score, y[keep])
    if roles.sequences:
        designs = _sequences(kept, roles.designs[0], alphabet, bounds)
    else:
        designs = _numeric(kept, roles.designs, x if kept is table else x[keep], bounds)
    return Measurements(designs, scores, len(table) - len(kept), kept.lines)


def read_sequences(
    table: Table, name: str, alphabet: str | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Read a column of sequences.

    Args:
        table: The file.
        name: The column.
        alphabet: The allowed letters in the order of their numbers; None takes the column's own,
            sorted.

    Returns:
        letters: The A letters.
        x: (N, L) int32, numbers 0 .. A-1.

    Raises:
        InvalidData: Unequal lengths, a letter outside the alphabet, or no alphabet of at least two
            letters.
    """
    cells = table.column(name)
    length = len(cells[0])
    for i, cell in enumerate(cells):
        if len(cell) != length:
            raise InvalidData(
                f"{table.place(i, name)}: {cell[:60]!r} has {len(cell)} letters, the first "
                f"sequence ({table.line(0)}) has {length}. Sequences must be equally long; pad "
                "them with a letter of their own."
            )
    points = np.array(cells, dtype=f"<U{length}").view("<u4").reshape(-1, length)  # code points
    letters = tuple(map(chr, np.unique(points))) if alphabet is None else tuple(alphabet)
    alike = len(letters) < 2 or len(set(letters)) < len(letters)
    if alike or any(len(letter) != 1 or letter.isspace() for letter in letters):
        where = "alphabet= is"
        if alphabet is None:
            where = f"the column {name!r} of {table.path} holds the letters"
        raise InvalidData(
            f"{where} {''.join(letters)!r}; it takes two or more different ones, no spaces among "
            "them."
        )
    order = np.argsort([ord(letter) for letter in letters])
    known = np.array([ord(letters[a]) for a in order], dtype=np.uint32)
    index = np.minimum(np.searchsorted(known, points), len(known) - 1)
    unknown = known[index] != points
    if unknown.any():
        i, j = (int(k[0]) for k in np.nonzero(unknown))
        raise InvalidData(
            f"{table.place(i, name)}: letter {j + 1} of {cells[i][:60]!r} is {cells[i][j]!r}, "
            f"allowed are {''.join(letters)!r} (capital and small letters differ). Fix the cell, "
            "or add the letter to alphabet=."
        )
    return letters, order[index].astype(np.int32)


def _other_columns(table: Table, score: str) -> tuple[str, ...]:
    columns = tuple(name for name in table.names if name != score)
    if not columns:
        raise InvalidData(
            f"{table.path} has one column only, {score!r}. If cells are not split, pass delimiter=."
        )
    if "" in columns:
        raise InvalidData(
            f"{table.path}: column {table.names.index('') + 1} has no name (row numbers that "
            "pandas wrote?). Name it in the first line, or say with design_columns= which columns "
            "make the design."
        )
    return columns


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


def _are_sequences(table: Table, columns: Sequence[str], alphabet: str | None) -> bool:
    if alphabet is not None:
        if len(columns) > 1:
            raise InvalidData(
                "alphabet= is for one column of sequences, got the design columns "
                f"{listed(columns)}. Name one."
            )
        return True
    if len(columns) > 1:
        return False
    values = (parse_number(cell) for cell in table.column(columns[0]))
    finite = (value is not None and np.isfinite(value) for value in values)
    return not any(finite)  # "NAN" and "INF" are peptides, not numbers


@dataclass(frozen=True)
class _Advice:
    """Says how to use a design column that does not hold numbers."""

    roles: Roles

    def __call__(self, name: str) -> str:
        way = f"design_columns={name!r} (a design is numbers or one sequence)"
        if len(self.roles.designs) == 1:
            way = "alphabet="
        return f"If {name!r} holds sequences, pass {way}."


def _scores(table: Table, name: str, column: np.ndarray) -> np.ndarray:
    table.refuse_too_large([name], column)
    y: np.ndarray = column[:, 0]
    if (y == y[0]).all():
        raise InvalidData(
            f"{table.path}: the score {name!r} is {y[0]:g} in every row (as float32), so no design "
            "is better than another. Name another score_column=, or subtract an offset that hides "
            "the differences."
        )
    return y


def _numeric(
    table: Table,
    columns: Sequence[str],
    x: np.ndarray,
    bounds: Bounds | Literal["none"] | None,
) -> Designs:
    table.refuse_too_large(columns, x)
    same = (x == x[0]).all(axis=0)
    _refuse_one_design(table, columns, varies=not same.all())
    words = f"Designs of {len(columns)} numbers ({listed(columns)})"
    if same.any():
        constant = [name for name, is_same in zip(columns, same, strict=True) if is_same]
        words += f", of which {listed(constant)} never vary"
    low, high = _limits(table, columns, x, bounds)
    return Designs(ContinuousSpace(low, high, tuple(columns)), x, words)


def _sequences(
    table: Table, column: str, alphabet: str | None, bounds: Bounds | Literal["none"] | None
) -> Designs:
    if bounds is not None:
        raise InvalidData(
            "bounds= belongs to numeric columns; sequences have an alphabet= instead."
        )
    letters, x = read_sequences(table, column, alphabet)
    _refuse_one_design(table, [column], varies=bool((x != x[0]).any()))
    length = x.shape[1]
    words = f"Sequences of {length} letters out of {''.join(letters)} (column {column!r})"
    return Designs(CategoricalSpace(length, len(letters), letters, column), x, words)


def _refuse_one_design(table: Table, columns: Sequence[str], *, varies: bool) -> None:
    if not varies:
        raise InvalidData(
            f"{table.path}: all rows hold the same design (columns {listed(columns)}), so there is "
            "nothing to learn from. Name other design_columns=."
        )


def _limits(
    table: Table, columns: Sequence[str], x: np.ndarray, bounds: Bounds | Literal["none"] | None
) -> tuple[np.ndarray, np.ndarray]:
    low = x.min(axis=0)
    high = x.max(axis=0)
    if bounds == "none":
        return np.full_like(low, -np.inf), np.full_like(high, np.inf)
    if bounds is None:
        return low, high
    if not isinstance(bounds, Mapping):
        raise InvalidData(
            f"bounds must map column names to (low, high), or be 'none', got {bounds!r}."
        )
    for name, pair in bounds.items():
        table.require(name)
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
            f"{table.place(i, columns[j])}: {x[i, j]:g} is outside the bounds [{low[j]:g}, "
            f"{high[j]:g}] ({int(outside.any(axis=1).sum())} such rows). Widen the bounds or "
            "remove the rows."
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
            f"bounds[{name!r}] must be (low, high), two numbers or None for an open side, got "
            f"{pair!r}."
        ) from error
    if not low <= high:
        raise InvalidData(f"bounds[{name!r}] must be (low, high) with low <= high, got {pair!r}.")
    return low, high
