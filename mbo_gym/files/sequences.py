"""Columns of sequences: equal or unequal lengths, gaps, small letters, mutation lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table
from mbo_gym.files.kinds import is_wild_type
from mbo_gym.problem.letters import Letters

__all__ = ["AS_CAPITALS", "SequenceOptions", "as_told", "letters_of", "read_sequences"]

GAP = "-"
AS_CAPITALS = "read as capitals"
"""Words of the note about small letters that were turned into capitals."""
FEWEST_ROWS = 5
"""Rows from which a place with one letter throughout is taken as one that must not vary."""

_BASES = frozenset("ACGTUN-")
_MUTATION = re.compile(r"([A-Za-z*-])(\d+)([A-Za-z*-])")


@dataclass(frozen=True)
class SequenceOptions:
    """How sequences are read.

    Args:
        alphabet: The letters in the order of their numbers; None takes the column's own, sorted.
        case: ``upper`` or ``lower`` turns all letters, ``keep`` none; None turns small letters
            where a column of bases holds both, or each sequence is in one case.
        conserved: Whether places that never vary are kept (``keep``) or may vary (``free``).
        wild_type: Sequence that a list of mutations refers to.
    """

    alphabet: str | None = None
    case: str | None = None
    conserved: str = "keep"
    wild_type: str | None = None


def letters_of(
    table: Table, name: str, cells: Sequence[str], options: SequenceOptions, *, mutations: bool
) -> tuple[Letters, np.ndarray, list[str]]:
    """Make a parameter of a column of sequences.

    Args:
        table: The file, for messages; its rows are those of `cells`.
        name: The column.
        cells: (N,) sequences or lists of mutations.
        options: How they are read.
        mutations: Whether cells are lists of mutations such as ``A1P:K2R``.

    Returns:
        The parameter, the sequences (N, longest) as numbers of letters, and sentences about what
        was done.

    Raises:
        InvalidData: A letter outside the alphabet, no alphabet of two letters, or a mutation that
            does not fit the wild type; the message names the place.
    """
    notes: list[str] = []
    if mutations:
        cells = _mutated(table, name, cells, options.wild_type)
        notes.append(f"{name!r} holds mutations; designs are whole sequences.")
    cells, told = _in_one_case(name, cells, options)
    notes += told
    longest = max(map(len, cells))
    padded = [cell.rstrip(GAP) for cell in cells]
    ends_in_gaps = options.alphabet is None and all(GAP not in cell for cell in padded)
    if ends_in_gaps and any(len(cell) < longest for cell in padded) and min(map(len, padded)):
        cells = padded
        longest = max(map(len, cells))
    shortest = min(map(len, cells))
    if shortest == 0:
        i = next(i for i, cell in enumerate(cells) if not cell)
        raise InvalidData(f"{table.place(i, name)}: the sequence is empty. Fill it in.")
    points = np.array(cells, dtype=f"<U{longest}").view("<u4").reshape(-1, longest)
    letters = _alphabet(table, name, points, options.alphabet)
    x = _numbers(table, name, cells, points, letters)
    gap = next(c for c in (GAP, "_", ".", "~", "\N{EMPTY SET}") if c not in letters)
    fixed = {}
    if options.conserved == "keep" and (mutations or len(cells) >= FEWEST_ROWS):
        same = (x[:, :shortest] == x[0, :shortest]).all(axis=0)
        fixed = {int(place): letters[int(x[0, place])] for place in np.flatnonzero(same)}
    if options.alphabet is None and set(letters) - set("ACGT") == {"N"}:
        count = sum("N" in cell for cell in cells)
        notes.append(f"{name!r}: N, in {count:,} sequences, counts as a letter of its own.")
    if shortest < longest:
        notes.append(
            f"{name!r} holds sequences of {shortest} to {longest} letters; proposals may have any "
            "of these lengths."
        )
    if fixed:
        notes.append(
            f"{name!r}: {_places(sorted(fixed))} of {longest} never vary and are kept. Pass "
            "conserved='free' to let them vary."
        )
    parameter = Letters(
        name,
        letters,
        longest,
        shortest if shortest < longest else None,
        gap=gap,
        fixed=fixed,
    )
    return parameter, x, notes


def as_told(
    table: Table, name: str, cells: Sequence[str], options: SequenceOptions
) -> Sequence[str]:
    """Return the sequences of cells in the case that was asked for; of mutations, whole ones."""
    if options.wild_type:
        cells = _mutated(table, name, cells, options.wild_type)
    if options.case in ("upper", "lower"):
        cells = [getattr(cell, options.case)() for cell in cells]
    return cells


def read_sequences(
    table: Table, name: str, alphabet: str | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Read a column of equally long sequences.

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
    letters = _alphabet(table, name, points, alphabet)
    return letters, _numbers(table, name, cells, points, letters)


def _alphabet(table: Table, name: str, points: np.ndarray, alphabet: str | None) -> tuple[str, ...]:
    """Return the letters, the given ones or those of the code points (N, L); 0 is no letter."""
    own = np.unique(points)
    letters = tuple(map(chr, own[own > 0])) if alphabet is None else tuple(alphabet)
    alike = len(letters) < 2 or len(set(letters)) < len(letters)
    if alike or any(len(letter) != 1 or letter.isspace() for letter in letters):
        where = "alphabet= is"
        if alphabet is None:
            where = f"the column {name!r} of {table.path} holds the letters"
        raise InvalidData(
            f"{where} {''.join(letters)!r}; it takes two or more different ones, no spaces among "
            "them."
        )
    return letters


def _numbers(
    table: Table, name: str, cells: Sequence[str], points: np.ndarray, letters: Sequence[str]
) -> np.ndarray:
    """Return the numbers (N, L) int32 of code points; places behind the end get the next number."""
    order = np.argsort([ord(letter) for letter in letters])
    known = np.array([ord(letters[a]) for a in order], dtype=np.uint32)
    index = np.minimum(np.searchsorted(known, points), len(known) - 1)
    behind = points == 0
    unknown = (known[index] != points) & ~behind
    if unknown.any():
        i, j = (int(k[0]) for k in np.nonzero(unknown))
        raise InvalidData(
            f"{table.place(i, name)}: letter {j + 1} of {cells[i][:60]!r} is {cells[i][j]!r}, "
            f"allowed are {''.join(letters)!r} (capital and small letters differ). Fix the cell, "
            "or add the letter to alphabet=."
        )
    return np.where(behind, len(letters), order[index]).astype(np.int32)


def _in_one_case(
    name: str, cells: Sequence[str], options: SequenceOptions
) -> tuple[Sequence[str], list[str]]:
    """Return sequences of one case, where that is asked for or plain."""
    case = options.case
    if case == "keep" or (case is None and options.alphabet is not None):
        return cells, []
    if case in ("upper", "lower"):
        return [getattr(cell, case)() for cell in cells], []
    small = sum(cell != cell.upper() for cell in cells)
    if small == 0 or all(cell == cell.lower() for cell in cells):
        return cells, []
    bases = set("".join(cells).upper()) <= _BASES
    if bases or all(cell in (cell.upper(), cell.lower()) for cell in cells):
        return [cell.upper() for cell in cells], [
            f"{name!r}: small letters of {small} sequence{'s'[: small > 1]} {AS_CAPITALS}. Pass "
            "case='keep' if they differ."
        ]
    return cells, [
        f"{name!r}: capital and small letters count as different. Pass case='upper' if they do not."
    ]


def _mutated(table: Table, name: str, cells: Sequence[str], wild_type: str | None) -> list[str]:
    """Return the whole sequences of lists of mutations; a whole sequence stays."""
    if not wild_type:
        first = next((cell for cell in cells if not is_wild_type(cell)), cells[0])
        raise InvalidData(
            f"{table.path}: the column {name!r} holds mutations ({first!r}), which refer to a "
            "wild type. Pass wild_type='MKT..', its sequence."
        )
    offset = _first_place(cells, wild_type)
    made = []
    for i, cell in enumerate(cells):
        if is_wild_type(cell):
            made.append(wild_type)
            continue
        if len(cell) == len(wild_type) and not any(c.isdigit() for c in cell):
            made.append(cell)
            continue
        letters = list(wild_type)
        for old, place, new in _MUTATION.findall(cell):
            at = int(place) - offset
            if not 0 <= at < len(letters) or letters[at] != old:
                there = "no letter" if not 0 <= at < len(letters) else repr(wild_type[at])
                raise InvalidData(
                    f"{table.place(i, name)}: {cell[:60]!r} changes {old!r} at place {place}, "
                    f"where the wild type has {there}. Fix the cell or wild_type=."
                )
            letters[at] = new
        made.append("".join(letters))
    return made


def _first_place(cells: Sequence[str], wild_type: str) -> int:
    """Return the number of the first place: 1, or the only other one that fits all mutations."""
    found = {(int(place), old) for cell in cells for old, place, _ in _MUTATION.findall(cell)}
    if not found:
        return 1
    places = [place for place, _ in found]
    others = range(max(places) - len(wild_type) + 1, min(places) + 1)
    fitting = [
        start
        for start in (1, 0, *(start for start in others if start not in (0, 1)))
        if all(
            0 <= place - start < len(wild_type) and wild_type[place - start] == old
            for place, old in found
        )
    ]
    if not fitting or fitting[0] in (0, 1):
        return fitting[0] if fitting else 1
    return fitting[0] if len(fitting) == 1 else 1


def _places(places: Sequence[int]) -> str:
    """Return places, counted from 1, as ranges."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    words = [str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in runs]
    shown = ", ".join(words[:8]) + (", .." if len(words) > 8 else "")
    return f"places {shown}" if len(places) > 1 else f"place {shown}"
