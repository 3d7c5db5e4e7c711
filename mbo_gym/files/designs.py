"""Reads designs that any program has written, so that they can be scored.

Tables (CSV, TSV, Parquet, Excel, also compressed; `mbo_gym.files.table` reads them) and plain
arrays (``.npz``, ``.npy``). What a run of ours writes reads back exactly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mbo_gym.errors import InvalidData, InvalidDesign, MissingData
from mbo_gym.files import store
from mbo_gym.files.table import Table, listed, parse_number, read_table
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace

__all__ = ["OTHER_COLUMNS", "free_name", "read_designs"]

OTHER_COLUMNS = ("criterion", "own_criterion", "oracle_score", "score")
"""Columns that stand beside designs and are no part of them, unless the space has a feature of that
name, or no other column can hold its sequences."""

ARRAYS = (".npz", ".npy")
TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")


def read_designs(path: str | os.PathLike[str], space: DesignSpace) -> np.ndarray:
    """Read designs in file order; nothing is left out.

    Arrays: ``x`` of an ``.npz`` file or its only array, (K, *shape) numbers; for a categorical
        space also (K,) texts.

    Tables of a continuous space: columns called as the features, in any order, other columns are
    not read; or no header and exactly d columns in the features' order. A cell without a value
    (empty, NA, NaN, ..) is NaN.

    Tables of a mixed space: the same, in the words and numbers of its parameters.

    Tables of a categorical space, with or without a header: a column ``sequence``, or the only one
    that holds sequences, in the letters and the way of `space.format`; or exactly L columns beside
    those of `OTHER_COLUMNS`, one a site, which hold letters throughout or numbers 0 .. A-1
    throughout. A column of `OTHER_COLUMNS` counts where only it holds sequences.

    A Parquet file has names always, so no header is looked for.

    Args:
        path: The file; its suffix says whether it holds a table or arrays.
        space: Space of the designs.

    Returns:
        (K, *shape) in the type of the space. Values outside the space stay, for `evaluate` to
        count; in a categorical space the array then keeps the type that holds them.

    Raises:
        MissingData: There is no such file.
        MissingDependency: The library for this kind of file is not installed.
        InvalidData: The file cannot be read as designs of this space; the message names the place
            and what to do.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (*TABLES, *COMPRESSED, *ARRAYS):
        raise InvalidData(
            f"{path} has the suffix {path.suffix!r}, which says nothing about how to read it. "
            f"Write designs to a file that ends in {', '.join((*TABLES, *ARRAYS))}; a table may "
            f"be compressed ({', '.join(COMPRESSED)})."
        )
    if not path.is_file():
        raise MissingData(
            f"{path} (in {Path.cwd()}): there is no such file. Name an existing file of designs."
        )
    if suffix in ARRAYS:
        x = _from_array(path, space)
    elif isinstance(space, CategoricalSpace):
        x = _from_letters(_read_table(path, space), space)
    elif isinstance(space, MixedSpace):
        x = _from_terms(_read_table(path, space), space)
    else:
        assert isinstance(space, ContinuousSpace)
        x = _from_numbers(_read_table(path, space), space)
    if isinstance(space, CategoricalSpace) and not space.contains(x).all():
        return x  # int32 would turn 0.5 into 0, a letter
    with np.errstate(over="ignore"):  # too large for float32 is infinite, outside the space
        return x.astype(space.dtype)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name of a column beside designs, another one where a design column has it.

    Args:
        name: One of `OTHER_COLUMNS`.
        taken: Names of the design columns.
    """
    while name in taken or f"method_{name}" in taken:
        name = f"method_{name}"
    return name


def _from_array(path: Path, space: DesignSpace) -> np.ndarray:
    x = _load(path)
    if len(x.shape) == 1 and x.dtype.kind == "U" and isinstance(space, CategoricalSpace):
        x = _parse(space, x.tolist(), lambda row: f"{path}, row {row}")
    if x.dtype.kind not in "fiu":
        also = " or one text a sequence" if isinstance(space, CategoricalSpace) else ""
        raise InvalidData(
            f"{path} holds an array of {x.dtype}. Designs are numbers{also}; save them as such."
        )
    if x.shape[1:] != space.shape or len(x) == 0:
        raise InvalidData(
            f"{path} holds an array of shape {x.shape}. Designs of this space must have shape (K, "
            f"{space.shape[0]}), "
            "K >= 1, one a row; reshape the array before it is saved."
        )
    return x


def _load(path: Path) -> np.ndarray:
    """Return the array of an .npz or .npy file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files
            if "x" in names or len(names) == 1:
                return np.asarray(loaded["x" if "x" in names else names[0]])
    except store.ARRAY_DAMAGE as error:
        raise InvalidData(
            f"{path} is damaged or holds more than plain arrays ({error}). Pickled Python objects "
            "are refused, since "
            "reading them can run any program; save the designs with np.savez(path, x=designs), "
            "an array of numbers."
        ) from error
    raise InvalidData(
        f"{path} holds the arrays {listed(names)}. Call the one with the designs 'x'."
    )


def _read_table(path: Path, space: DesignSpace) -> Table:
    """Read a table.

    Without a header, columns are named after the features where their number fits, else 1, 2, ...
    """
    unpacked = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    delimiter = "\t" if unpacked.suffix.lower() == ".tsv" else None
    table = read_table(path, delimiter, header=False, units=False)
    if table.named:  # Parquet
        return table
    first = table.first_row()
    if _is_header(first, space):
        return read_table(path, delimiter, units=False)
    if first == [str(j) for j in range(len(first))]:
        raise InvalidData(
            f"{path}, {table.line(0)}: {listed(first)} may be a design or the numbers of "
            "the columns, as pandas "
            f"writes them. Make the first line name the columns: {listed(space.names)}."
        )
    if len(space.names) == len(table.names):
        return replace(table, names=space.names)
    return table


def _is_header(first: Sequence[str], space: DesignSpace) -> bool:
    """Return whether the first line names columns.

    A design with a typing error is not taken for a header.
    """
    if set(first) & {*space.names, *OTHER_COLUMNS}:
        return True
    numbers = [parse_number(cell) is not None for cell in first]
    if isinstance(space, ContinuousSpace):
        return not any(numbers)
    if not isinstance(space, CategoricalSpace):
        return len(first) != len(space.names)
    return not (all(numbers) or any(_resembles_sequence(space, cell) for cell in first))


def _resembles_sequence(space: CategoricalSpace, cell: str) -> bool:
    known = [letter in space.letters for letter in _split(space, cell)]
    return bool(known) and (
        all(known) or (len(known) == space.length and 2 * sum(known) > len(known))
    )


def _from_terms(table: Table, space: MixedSpace) -> np.ndarray:
    """Return the designs of a table in the user's terms; numbers outside the space stay."""
    _require_columns(table, space)
    x = np.empty((len(table), *space.shape), dtype=np.float64)
    for parameter in space.parameters:
        place = space.slots.of(parameter.name)
        if parameter.as_number:
            x[:, place] = table.numbers([parameter.name])
            continue
        for row, cell in enumerate(table.column(parameter.name)):
            try:
                x[row, place] = parameter.number(cell)
            except InvalidDesign as error:
                raise InvalidData(f"{table.place(row, parameter.name)}: {error}") from None
    return x


def _from_numbers(table: Table, space: ContinuousSpace) -> np.ndarray:
    _require_columns(table, space)
    return table.numbers(space.names)


def _require_columns(table: Table, space: DesignSpace) -> None:
    missing = [name for name in space.names if name not in table.names]
    if missing:
        raise InvalidData(
            f"{table.path} lacks the columns {listed(missing)}; it has {len(table.names)}: "
            f"{listed(table.names)}. The columns must be called as the {len(space.names)} "
            f"features of the task, {listed(space.names)}, in any order; without a line of names "
            "there must be exactly so many columns, in this order."
        )


def _from_letters(table: Table, space: CategoricalSpace) -> np.ndarray:
    pairs = list(zip(table.names, table.columns(), strict=True))
    beside = {_beside(name, table.names) for name in OTHER_COLUMNS}
    columns = [pair for pair in pairs if pair[0] not in beside]
    named = [pair for pair in columns if pair[0] in space.names]
    if not named:
        named = _with_most_sequences(columns, space)
        others = _with_most_sequences([pair for pair in pairs if pair[0] in beside], space)
        may_be_sites = len(columns) == space.length and (space.length > 1 or not others)
        if may_be_sites and not named:
            return _from_sites(table, columns, space)
        named = named or others or columns
    if len(named) != 1:
        raise InvalidData(
            f"{table.path} must have one column of sequences ({space.length} letters out of "
            f"{listed(space.letters)}) "
            f"or {space.length} columns, one a site; it has {len(table.names)}: "
            f"{listed(table.names)}, and "
            f"which one is meant is not clear. Call it {space.names[0]!r}."
        )
    ((name, cells),) = named
    return _parse(space, cells, lambda row: table.place(row, name))


def _beside(name: str, names: Collection[str]) -> str:
    """Return the name that `free_name` gave to a column, out of the names of a table."""
    while (longer := f"method_{name}") in names:
        name = longer
    return name


def _with_most_sequences(
    columns: Sequence[tuple[str, list[str]]], space: CategoricalSpace
) -> list[tuple[str, list[str]]]:
    """Return the columns in which most cells are sequences; none where no cell is one."""
    counts = [sum(_is_sequence(space, cell) for cell in cells) for _, cells in columns]
    most = max(counts, default=0) or 1
    return [pair for pair, count in zip(columns, counts, strict=True) if count == most]


def _from_sites(
    table: Table, columns: Sequence[tuple[str, Sequence[str]]], space: CategoricalSpace
) -> np.ndarray:
    """Read one column a site: letters throughout, else numbers throughout."""
    rows = [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    if all(cell in space.letters for row in rows for cell in row):
        return np.array([[space.letters.index(cell) for cell in row] for row in rows])
    numbers = [[parse_number(cell) for cell in row] for row in rows]
    if all(value is not None for row in numbers for value in row):
        return np.array(numbers, dtype=np.float64)
    lettered = any(cell in space.letters for row in rows for cell in row)
    i, j = next(
        (i, j)
        for i, row in enumerate(rows)
        for j, cell in enumerate(row)
        if (cell not in space.letters if lettered else numbers[i][j] is None)
    )
    raise InvalidData(
        f"{table.place(i, columns[j][0])}: {rows[i][j][:60]!r} is no letter of this site. Allowed "
        "are "
        f"{listed(space.letters)} in all cells, or the numbers 0 .. {space.n_categories - 1} in "
        "all. Fix the cell."
    )


def _parse(
    space: CategoricalSpace, sequences: Sequence[str], place: Callable[[int], str]
) -> np.ndarray:
    """Parse sequences into designs (K, L) int32; `place` names the k-th one's place."""
    code = {letter: number for number, letter in enumerate(space.letters)}
    for row, text in enumerate(sequences):
        letters = _split(space, text)
        advice = (
            f"Fix it; if it is the column's name, call the column {space.names[0]!r}."
            if row == 0
            else "Fix it."
        )
        if len(letters) != space.length:
            raise InvalidData(
                f"{place(row)}: {text[:60]!r} has {len(letters)} letters, this space has "
                f"{space.length}. {advice}"
            )
        j = next((j for j, letter in enumerate(letters) if letter not in code), None)
        if j is not None:
            raise InvalidData(
                f"{place(row)}: letter {j + 1} of {text[:60]!r} is {letters[j]!r}, allowed are "
                f"{listed(code)} (capital "
                f"and small letters differ). {advice}"
            )
    designs = [[code[letter] for letter in _split(space, text)] for text in sequences]
    return np.array(designs, dtype=np.int32).reshape(-1, space.length)


def _is_sequence(space: CategoricalSpace, text: str) -> bool:
    letters = _split(space, text)
    return len(letters) == space.length and set(letters) <= set(space.letters)


def _split(space: CategoricalSpace, text: str) -> list[str]:
    """Undo `space.format`: letters of several characters are joined with spaces."""
    return list(text) if all(len(letter) == 1 for letter in space.letters) else text.split()
