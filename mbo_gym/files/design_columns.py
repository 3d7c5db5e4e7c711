"""Makes a design space and designs of the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from mbo_gym.errors import InvalidData, InvalidDesign
from mbo_gym.files import kinds
from mbo_gym.files.bounds import Bounds, bounded
from mbo_gym.files.cells import Table, listed
from mbo_gym.files.dates import date_column, days_since_first
from mbo_gym.files.mixtures import find_sums
from mbo_gym.files.sequences import SequenceOptions, as_told, letters_of
from mbo_gym.problem.constraints import Constraint, FixedSum
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace, make_space
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Constant, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace

__all__ = ["Bounds", "DesignColumns", "DesignOptions", "Made", "read_design_columns", "unit_of"]

N_SEEN = 2000
_UNIT = re.compile(r"^.+?\s*[\(\[]\s*([^()\[\]]+?)\s*[\)\]]\s*$")
_NO_WORD = frozenset(
    {"", "NA", "N/A", "n/a", "nan", "NaN", "null", "?", "n.d.", "n.a."}
    | {"<NA>", "#N/A", "#N/V", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"}
)
"""Words of a cell of words that holds none, spelled so: NAN is a peptide, Na is sodium."""
_NO_SEQUENCE = frozenset(word for word in _NO_WORD if not word.isalpha())
"""Those in a table whose only design column holds texts: NA is a sequence there."""


@dataclass(frozen=True)
class DesignOptions:
    """What a user has said about the columns of the design.

    Args:
        kinds: Kind of named columns, of `mbo_gym.files.kinds.KINDS`; or ``real`` for all columns of
            numbers; None infers all.
        bounds: (low, high) of named numeric columns; ``none`` leaves all columns unbounded.
        sequences: How sequences are read.
        sums: Whether columns that add up to 1 or 100 are held to it.
        parameters: The parameters, if they are known.
        constraints: Constraints between known parameters.
    """

    kinds: Mapping[str, str] | str | None = None
    bounds: Bounds | Literal["none"] | None = None
    sequences: SequenceOptions = field(default_factory=SequenceOptions)
    sums: bool = True
    parameters: tuple[Parameter, ...] | None = None
    constraints: tuple[Constraint, ...] = ()

    def kind(self, name: str) -> str | None:
        """Return the kind that was asked for a column, or None."""
        if isinstance(self.kinds, str) or self.kinds is None:
            return None
        return self.kinds.get(name)


@dataclass(frozen=True, eq=False)
class Made:
    """A design space and the designs of a table in it.

    Args:
        space: The space.
        parameters: Its parameters, with their units.
        constraints: Constraints between them.
        x: (N, *shape) designs in the type of the space.
        words: What a design is.
        notes: Sentences about what was done.
        described: Allowed values of each parameter in words.
        units: Unit of each parameter that has one.
    """

    space: DesignSpace
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    x: np.ndarray
    words: str
    notes: list[str]
    described: dict[str, str]
    units: dict[str, str]


@dataclass(frozen=True, eq=False)
class DesignColumns:
    """Columns of a design as they were read.

    Args:
        names: The columns.
        numeric: Those that hold numbers.
        x: (N, numeric) float32; NaN without a value.
        texts: Cells of the others.
        missing: (N, names) bool, cells without a value.
        options: What is told about them.
        merged: Columns whose distinct numbers became equal as float32.
    """

    names: tuple[str, ...]
    numeric: tuple[str, ...]
    x: np.ndarray
    texts: Mapping[str, Sequence[str]]
    missing: np.ndarray
    options: DesignOptions
    merged: tuple[str, ...] = ()

    def take(self, keep: np.ndarray) -> DesignColumns:
        """Return the rows for which `keep` (N,) is true."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep).tolist()
        texts = {name: [cells[i] for i in rows] for name, cells in self.texts.items()}
        return replace(self, x=self.x[keep], texts=texts, missing=self.missing[keep])

    def parameters(self, table: Table) -> Made:
        """Return the space and its designs; no value is missing any more.

        Args:
            table: The file with the same rows, for messages.

        Raises:
            InvalidData: The columns cannot be used as they are; the message names the place.
        """
        table.refuse_too_large(self.numeric, self.x)
        if self.options.parameters is not None:
            return _in_known_space(self, table)
        return _in_inferred_space(self, table)


def unit_of(table: Table, name: str) -> str:
    """Return the unit of a column, of its row of units or its name, or nothing."""
    found = _UNIT.match(name)
    return table.units.get(name) or (found[1] if found else "")


def read_design_columns(
    table: Table, names: Sequence[str], options: DesignOptions
) -> DesignColumns:
    """Read the columns of a design.

    Args:
        table: The file.
        names: The columns.
        options: What is told about them.

    Raises:
        InvalidData: A cell of a column of numbers holds something else.
    """
    _check(table, names, options)
    head = dict(zip(table.names, table.head(N_SEEN), strict=True))
    numeric = tuple(
        name for name in names if _holds_numbers(table, name, names, options, head[name])
    )
    merged: list[str] = []
    x = table.float32(numeric, _Advice(tuple(names)), merged)
    texts: dict[str, list[str]] = {}
    missing = np.zeros((len(table), len(names)), dtype=bool)
    for k, name in enumerate(names):
        if name in numeric:
            missing[:, k] = np.isnan(x[:, numeric.index(name)])
        else:
            texts[name] = table.column(name)
            none = _NO_WORD if len(names) > 1 else _NO_SEQUENCE
            missing[:, k] = [cell in none for cell in texts[name]]
    return DesignColumns(tuple(names), numeric, x, texts, missing, options, tuple(merged))


def _check(table: Table, names: Sequence[str], options: DesignOptions) -> None:
    """Raise InvalidData unless the options name columns of the design."""
    chosen = options.kinds
    if isinstance(chosen, str) and chosen != "real":
        raise InvalidData(
            f"kinds is 'real' for all columns, or a mapping such as {{'temp': 'real'}}, got "
            f"{chosen!r}."
        )
    if isinstance(chosen, Mapping):
        for name, kind in chosen.items():
            table.require(name)
            if kind not in kinds.KINDS:
                raise InvalidData(
                    f"kinds[{name!r}] must be one of {', '.join(kinds.KINDS)}, got {kind!r}."
                )
    if isinstance(options.bounds, str) and options.bounds != "none":
        raise InvalidData(
            f"bounds must map column names to (low, high), or be 'none', got {options.bounds!r}."
        )
    if isinstance(options.bounds, Mapping):
        for name in options.bounds:
            table.require(name)
            if name not in names:
                raise InvalidData(
                    f"bounds names {name!r}, which is not a design column; these are "
                    f"{listed(names)}."
                )


@dataclass(frozen=True)
class _Advice:
    """Says how to use a design column that does not hold numbers."""

    names: tuple[str, ...]

    def __call__(self, name: str) -> str:
        if len(self.names) == 1:
            return f"If {name!r} holds sequences, pass alphabet=."
        return f"If {name!r} holds words, pass kinds={{{name!r}: 'category'}}."


def _holds_numbers(
    table: Table,
    name: str,
    names: Sequence[str],
    options: DesignOptions,
    cells: Sequence[str],
) -> bool:
    """Whether a column of the design is read as numbers."""
    if options.parameters is not None:
        return next(p for p in options.parameters if p.name == name).as_number
    kind = options.kind(name)
    if kind is not None:
        return kind in ("real", "log", "integer", "levels")
    alone = len(names) == 1
    if name in table.categories and options.kinds != "real":
        return False
    if options.sequences.alphabet is not None and alone:
        return False
    full = [cell for cell in cells if not table.style.is_missing(cell)]
    if not full:
        full = [cell for cell in table.column(name) if not table.style.is_missing(cell)]
    values = [table.style.parse(cell) for cell in full]
    finite = sum(value is not None and bool(np.isfinite(value)) for value in values)
    if alone:
        return finite > 0 or (not full and all(len(cell) < 2 for cell in cells))
    return 2 * finite > len(full) or not full


def _in_known_space(columns: DesignColumns, table: Table) -> Made:
    """Return designs in the space that a user has described."""
    options = columns.options
    assert options.parameters is not None
    space = make_space(options.parameters, options.constraints)
    made: list[np.ndarray] = []
    for parameter in options.parameters:
        name = parameter.name
        if name in columns.numeric:
            made.append(columns.x[:, [columns.numeric.index(name)]])
            continue
        cells = columns.texts[name]
        if isinstance(parameter, Letters):
            cells = as_told(table, name, cells, options.sequences)
        known: dict[str, Sequence[float]] = {}
        for row, cell in enumerate(cells):
            if cell not in known:
                try:
                    known[cell] = parameter.number(cell)
                except InvalidDesign as error:
                    raise InvalidData(
                        f"{table.place(row, name)}: {error}. Fix the cell, or the space."
                    ) from None
        made.append(np.array([known[cell] for cell in cells], dtype=np.float32))
    x = np.concatenate(made, axis=1, dtype=np.float32).astype(space.dtype)
    inside = space.contains(x)
    if not inside.all():
        row = int(np.argmin(inside))
        raise InvalidData(
            f"{table.path}, {table.line(row)}: {space.why_not(x[row])} ({int((~inside).sum())} "
            "such rows). Widen the space, or remove the rows."
        )
    _refuse_one_design(table, columns, x)
    return _described(columns, space, options.parameters, x, [])


def _in_inferred_space(columns: DesignColumns, table: Table) -> Made:
    """Return designs in a space that is inferred from them."""
    options = columns.options
    notes: list[str] = []
    sums: list[FixedSum] = []
    if options.sums and options.kinds != "real" and options.bounds != "none":
        free = [n for n in columns.numeric if options.kind(n) in (None, "real", "integer")]
        chosen = [columns.numeric.index(name) for name in free]
        sums = find_sums(free, columns.x[:, chosen])
    parts: dict[str, Parameter] = {}
    units = {name: unit for name in columns.names if (unit := unit_of(table, name))}
    for constraint in sums:
        at = [columns.numeric.index(name) for name in constraint.names]
        made_parts = kinds.parts(constraint.names, columns.x[:, at], units)
        parts |= {part.name: part for part in made_parts}
        off = f", up to {constraint.tolerance:g}" if constraint.tolerance else ""
        notes.append(
            f"{listed(constraint.names)} add up to {constraint.total:g} in every row{off}; "
            "proposals do so too. Pass sums=False if they need not."
        )
    parameters: list[Parameter] = []
    x: list[np.ndarray] = []
    for name in columns.names:
        if name in columns.numeric:
            values = columns.x[:, columns.numeric.index(name)]
            parameter = parts.get(name)
            if parameter is None or options.kind(name):
                kind = "real" if options.kinds == "real" else options.kind(name)
                if name in columns.merged:
                    kind = kind or "real"  # what is left of the numbers tells nothing of steps
                parameter = _number(name, values, units.get(name, ""), kind)
                if kind is None and parameter.kind == "real" and kinds.suggests_log(values):
                    notes.append(
                        f"{name!r} spans {np.log10(values.max() / values.min()):.1f} decades, most "
                        f"rows at the lower end. Pass kinds={{{name!r}: 'log'}} for a log scale."
                    )
            x.append(values[:, None])
        else:
            parameter, values, told = _text(table, columns, name, units.get(name, ""))
            notes += told
            x.append(values)
        parameters.append(bounded(table, parameter, values, options.bounds))
    single = x[0] if len(x) == 1 else np.concatenate(x, axis=1)
    _refuse_one_design(table, columns, single)
    parameters = parameters if sums else _pure(parameters, columns)
    space = make_space(parameters, tuple(sums))
    if isinstance(space, ContinuousSpace) and len(columns.numeric) == len(columns.names):
        single = columns.x
    return _described(columns, space, parameters, single.astype(space.dtype), notes)


def _pure(parameters: list[Parameter], columns: DesignColumns) -> list[Parameter]:
    """Keep a constant number as a real where all others are plain reals, and all are numbers."""
    plain = all(
        isinstance(p, Constant) or (isinstance(p, Real) and p.step is None and not p.log)
        for p in parameters
    )
    if not plain or len(columns.numeric) < len(columns.names):
        return parameters
    return [
        Real(p.name, p.low, p.high, unit=p.unit) if isinstance(p, Constant) else p
        for p in parameters
    ]


def _number(name: str, values: np.ndarray, unit: str, kind: str | None) -> Parameter:
    """Return the parameter of a column of numbers (N,), of a kind that was asked for if any."""
    if kind is not None:
        return kinds.of_kind(kind, name, values, unit)
    return kinds.number(name, values, unit)


def _text(
    table: Table, columns: DesignColumns, name: str, unit: str
) -> tuple[Parameter, np.ndarray, list[str]]:
    """Return the parameter of a column of texts, its slots (N, size) and what was done."""
    options = columns.options
    cells = columns.texts[name]
    alone = len(columns.names) == 1
    sequences = options.sequences
    declared = table.categories.get(name) if options.kind(name) is None else None
    if declared:
        seen = set(cells)
        levels = Levels(name, tuple(word for word in declared if word in seen), unit)
        number = {word: float(k) for k, word in enumerate(levels.values)}
        return levels, np.array([[number[cell]] for cell in cells], dtype=np.float32), []
    kind = options.kind(name) or kinds.text_kind(cells, alone=alone)
    if declared is not None and not alone:
        kind = "category"
    if alone and sequences.alphabet is not None:
        kind = "mutations" if sequences.wild_type else "sequence"
    elif (kind == "sequence" and sequences.wild_type) or (
        alone and sequences.wild_type and kind != "category"
    ):
        kind = "mutations"
    if kind in ("days", "dates"):
        days, first = days_since_first(table, name, cells)
        parameter = Real(name, float(days.min()), float(days.max()), unit="d")
        return parameter, days[:, None], [f"{name!r} counts the days since {first}."]
    if kind == "date":
        dates, days = date_column(table, name, cells)
        return dates, days, []
    if kind == "category":
        words = kinds.words_of(name, cells, unit, ordered=options.kind(name) is None)
        if isinstance(words, Constant):
            return words, np.zeros((len(cells), 1), dtype=np.float32), []
        code = {str(word): float(k) for k, word in enumerate(words.values)}
        values = np.array([[code[cell]] for cell in cells], dtype=np.float32)
        told = []
        if len(words.values) == len(cells) > 2:
            told = [f"{name!r} has another word in every row, so nothing is learned of it."]
        elif words.kind == "levels":
            told = [
                f"The words of {name!r} are taken in order. Pass kinds={{{name!r}: 'category'}} if "
                "they have none."
            ]
        return words, values, told
    letters, numbers, told = letters_of(
        table, name, cells, sequences, mutations=kind == "mutations"
    )
    return letters, numbers, told


def _refuse_one_design(table: Table, columns: DesignColumns, x: np.ndarray) -> None:
    if (x != x[0]).any():
        return
    remedy = "Name other design_columns=."
    if columns.merged:
        remedy = "As float32 (7 digits) they are equal: subtract an offset from the column."
    raise InvalidData(
        f"{table.path}: all rows hold the same design (columns {listed(columns.names)}), so there "
        f"is nothing to learn from. {remedy}"
    )


def _described(
    columns: DesignColumns,
    space: DesignSpace,
    parameters: Sequence[Parameter],
    x: np.ndarray,
    notes: list[str],
) -> Made:
    """Return designs with words about them."""
    names = [parameter.name for parameter in parameters]
    if isinstance(space, CategoricalSpace):
        letters = "".join(space.letters)
        words = f"Sequences of {space.length} letters out of {letters} (column {names[0]!r})"
    else:
        what = "numbers" if len(columns.numeric) == len(names) else "parameters"
        words = f"Designs of {len(names)} {what if len(names) > 1 else what[:-1]} ({listed(names)})"
    still = [p.name for p in parameters if p.n_values == 1]
    if still:
        words += f", of which {listed(still)} never var{'y' if len(still) > 1 else 'ies'}"
    if isinstance(space, MixedSpace) and space.constraints:
        words += f", with {'; '.join(c.in_words() for c in space.constraints)}"
    units = {p.name: str(getattr(p, "unit", "")) for p in parameters if getattr(p, "unit", "")}
    described = {
        p.name: f"{p.kind}, {p.allowed()}{f' {units[p.name]}' if p.name in units else ''}"
        for p in parameters
    }
    constraints = space.constraints if isinstance(space, MixedSpace) else ()
    return Made(space, tuple(parameters), constraints, x, words, notes, described, units)
