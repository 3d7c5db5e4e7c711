"""Infers what kind of parameter a column is: the rules that the guide on tables states.

Numbers are looked at as float32, as designs are kept; their decimals are those of the shortest text
that reads back as the same float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real

__all__ = [
    "KINDS",
    "flag_words",
    "is_wild_type",
    "number",
    "of_kind",
    "parts",
    "shortest",
    "suggests_log",
    "text_kind",
    "widened",
    "words_of",
]

KINDS = ("real", "log", "integer", "levels", "category", "sequence", "days", "date")
"""Kinds that a user can ask for."""

MOST_LEVELS = 12
"""Values up to which unevenly spaced numbers are ordered levels."""
FEW_LEVELS = 3
"""Values up to which evenly spaced numbers are ordered levels too."""
MOST_STEPS = 1000
"""Values of a grid that has gaps."""
FULL = 0.7
"""Share of a grid's values that occur, from which it counts as a grid without further evidence."""
LARGEST_INTEGER = 1 << 24
N_FIRST = 4096

FLAG_WORDS = (
    ("false", "true"),
    ("no", "yes"),
    ("off", "on"),
    ("n", "y"),
    ("f", "t"),
    ("nein", "ja"),
    ("falsch", "wahr"),
    ("non", "oui"),
    ("faux", "vrai"),
    ("nee", "ja"),
    ("no", "sí"),
    ("no", "si"),
    ("0", "1"),
)
"""Pairs of words of a flag, the one for no first."""

_SCALES = (
    ("very low", "low", "medium", "high", "very high"),
    ("very low", "low", "moderate", "high", "very high"),
    ("very small", "small", "medium", "large", "very large"),
    ("very slow", "slow", "medium", "fast", "very fast"),
    ("very weak", "weak", "medium", "strong", "very strong"),
    ("none", "mild", "moderate", "severe"),
    ("xs", "s", "m", "l", "xl", "xxl"),
)
"""Words in an order, each scale from its lowest."""
_AMOUNT = re.compile(r"^([-+]?\d+(?:[.,]\d+)?)(\s*)([^\d\s.,][^\d]*)$")
"""A number and its unit in one cell: 5 min, 10mM."""
LOG_RATIO = 1000
"""Ratio of the largest to the smallest number from which a log scale is thought of."""
LOG_MEDIAN = 0.1
"""Share of the largest number that the median is then below."""

_NUCLEOTIDES = frozenset("ACGTUN-")
_RESIDUES = frozenset("ABCDEFGHIKLMNOPQRSTUVWXYZ*-.")
_MUTATIONS = re.compile(r"^[A-Za-z*-]\d+[A-Za-z*-](?:[\s:;,+/_|]+[A-Za-z*-]\d+[A-Za-z*-])*$")
_WILD_TYPE = ("wt", "wildtype", "wild-type", "wild type", "_wt")
_DATE = re.compile(
    r"^(?:\d{4}-\d{2}-\d{2}|\d{4}/\d{2}/\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4})"
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:Z|[+-]\d{2}:?\d{2})?$"
)
N_LONG_WORD = 6
"""Letters from which capital words without repeats may be a protein's sequence."""


def number(name: str, x: np.ndarray, unit: str = "") -> Parameter:
    """Return the parameter of a column of numbers.

    Args:
        name: The column.
        x: (N,) finite float32 values.
        unit: Unit.

    Example:
        >>> number("struts", np.float32([6, 8, 10, 12] * 2)).allowed()
        'the numbers from 6 to 12 in steps of 2'
    """
    low = float(x.min())
    high = float(x.max())
    if low == high:
        return Constant(name, _plain(shortest(low)), unit)
    whole = bool((x == np.rint(x)).all()) and max(abs(low), abs(high)) <= LARGEST_INTEGER
    if not whole and len(np.unique(x[:N_FIRST])) > MOST_STEPS:
        return Real(name, low, high, unit=unit)
    values = np.unique(x)
    grid = _grid(values, whole=whole)
    if grid is None:
        return Real(name, low, high, unit=unit)
    step, n_grid = grid
    repeated = 2 * len(values) <= len(x)
    full = len(values) >= FULL * n_grid
    if whole and step == 1 and (full or not (repeated and len(values) <= MOST_LEVELS)):
        return Integer(name, int(low), int(high), unit)
    if repeated and (len(values) <= FEW_LEVELS or (not full and len(values) <= MOST_LEVELS)):
        return Levels(name, tuple(_plain(shortest(v)) for v in values), unit)
    several = len(values) > FEW_LEVELS and 5 * len(values) <= 4 * len(x)
    if (several and full) or (repeated and n_grid <= MOST_STEPS):
        return Real(name, shortest(low), shortest(high), step=float(step), unit=unit)
    if whole:
        return Integer(name, int(low), int(high), unit)
    return Real(name, low, high, unit=unit)


def of_kind(kind: str, name: str, x: np.ndarray, unit: str = "") -> Parameter:
    """Return the parameter of a column of numbers (N,) as a user has asked for.

    Raises:
        InvalidData: The numbers are of another kind.
    """
    low = float(x.min())
    high = float(x.max())
    if kind in ("real", "days"):
        return Real(name, low, high, unit=unit)
    if kind == "log":
        if low <= 0:
            raise InvalidData(
                f"the column {name!r} holds {low:g}, and a log scale needs numbers above 0. Leave "
                f"kinds={{{name!r}: 'log'}} out."
            )
        return Real(name, low, high, log=True, unit=unit)
    if kind == "integer":
        odd = x[x != np.rint(x)]
        if len(odd) or max(abs(low), abs(high)) > LARGEST_INTEGER:
            shown = odd[0] if len(odd) else high
            raise InvalidData(
                f"the column {name!r} holds {shown:g}, which is no whole number within +-2^24. "
                f"Leave kinds={{{name!r}: 'integer'}} out."
            )
        return Integer(name, int(low), int(high), unit)
    assert kind == "levels"
    return Levels(name, tuple(_plain(shortest(v)) for v in np.unique(x)), unit)


def parts(names: Sequence[str], x: np.ndarray, units: Mapping[str, str]) -> list[Parameter]:
    """Return the parameters of numbers (N, parts) that add up to a constant.

    They share one step where all values lie on a grid, and 70 % of its values occur or each occurs
    ten times on average. Else they are whole numbers or plain reals.
    """
    pooled = np.unique(x)
    whole = bool((pooled == np.rint(pooled)).all())
    grid = _grid(pooled, whole=whole) if whole or len(pooled) <= MOST_STEPS else None
    step = None
    if grid is not None and grid[1] <= MOST_STEPS:
        full = len(pooled) >= FULL * grid[1] and 2 * len(pooled) <= x.size
        if full or 10 * len(pooled) <= x.size:
            step = grid[0]
    made: list[Parameter] = []
    for name, column in zip(names, x.T, strict=True):
        low = shortest(float(column.min()))
        high = shortest(float(column.max()))
        unit = units.get(name, "")
        if step is not None and step != 1:
            made.append(Real(name, low, high, step=float(step), unit=unit))
        elif whole:
            made.append(Integer(name, int(low), int(high), unit))
        else:
            made.append(Real(name, low, high, unit=unit))
    return made


def widened(parameter: Parameter, low: float, high: float) -> Parameter:
    """Return a parameter of numbers within other bounds; steps stay where they are."""
    name, unit = parameter.name, parameter.unit
    if isinstance(parameter, Real) and parameter.step is not None:
        origin = parameter.origin
        if math.isfinite(low):
            low = origin + math.ceil((low - origin) / parameter.step - 1e-9) * parameter.step
        return replace(parameter, low=low, high=high)
    if isinstance(parameter, Real):
        return replace(parameter, low=low, high=high)
    if isinstance(parameter, Integer):
        ends = (low, high)
        if all(math.isfinite(end) and abs(end) <= LARGEST_INTEGER for end in ends):
            return Integer(name, math.ceil(low), math.floor(high), unit)
        return Real(name, low, high, step=1.0, unit=unit)
    values = [low, high, *(parameter.values if isinstance(parameter, Levels) else [0.5])]
    if all(math.isfinite(v) and float(v).is_integer() for v in values if not isinstance(v, str)):
        return Integer(name, int(low), int(high), unit)
    return Real(name, low, high, unit=unit)


def shortest(value: float) -> float:
    """Return the number with the fewest digits that is the same as float32."""
    return float(str(np.float32(value)))


def _plain(value: float) -> float:
    """Return a whole number as int."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value


def _grid(values: np.ndarray, *, whole: bool) -> tuple[float, int] | None:
    """Return the largest step of which all differences are multiples, and the grid's size.

    Args:
        values: (n,) distinct float32, increasing.
        whole: Whether all are whole numbers.
    """
    if whole:
        common = int(np.gcd.reduce(np.diff(values).astype(np.int64)))
        return common, int((values[-1] - values[0]) // common) + 1
    if len(values) > MOST_STEPS:
        return None
    spelled = [Decimal(str(value)) for value in values]
    last = min(int(value.as_tuple().exponent) for value in spelled)
    if last < -6:
        return None
    units = [int(value.scaleb(-last)) for value in spelled]
    divisor = math.gcd(*(unit - units[0] for unit in units[1:]))
    step = float(Decimal(divisor).scaleb(last))
    return step, (units[-1] - units[0]) // divisor + 1


def flag_words(words: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Return the words of a column that stand for no, and those for yes; None if it is no flag."""
    small = {word.casefold() for word in words}
    for no, yes in FLAG_WORDS:
        if small and small <= {no, yes}:
            nos = [word for word in words if word.casefold() == no]
            return nos, [word for word in words if word.casefold() == yes]
    return None


def words_of(
    name: str, cells: Sequence[str], unit: str = "", *, ordered: bool = True
) -> Category | Levels | Constant:
    """Return the parameter of a column of words.

    A flag has the order no, yes. Words of a known scale (low, medium, high) and numbers with one
    unit (5 min, 10 min) are ordered levels. Others are a category, sorted.

    Args:
        name: The column.
        cells: Its cells, each with a word.
        unit: Unit.
        ordered: Whether words may be levels.

    Example:
        >>> words_of("power", ["high", "low", "medium", "low"]).values
        ('low', 'medium', 'high')
    """
    words = sorted(set(cells))
    if len(words) == 1:
        return Constant(name, words[0], unit)
    flag = flag_words(words)
    if flag is not None:
        return Category(name, (*flag[0], *flag[1]), unit)
    levels = _in_order(words) if ordered else None
    return Category(name, tuple(words), unit) if levels is None else Levels(name, levels, unit)


def _in_order(words: Sequence[str]) -> tuple[str, ...] | None:
    """Return distinct words from the lowest to the highest; None where they have no order."""
    small = [word.casefold() for word in words]
    for scale in _SCALES:
        if len(set(small)) == len(words) > 2 and set(small) <= set(scale):
            return tuple(sorted(words, key=lambda word: scale.index(word.casefold())))
    amounts = [_AMOUNT.match(word) for word in words]
    if not all(amounts) or len({found[3].strip() for found in amounts if found}) > 1:
        return None
    values = [float(found[1].replace(",", ".")) for found in amounts if found]
    if len(set(values)) < len(words):
        return None
    return tuple(word for _, word in sorted(zip(values, words, strict=True)))


def suggests_log(x: np.ndarray) -> bool:
    """Whether numbers (N,) above 0 span three decades and crowd at the lower end."""
    low, high = float(x.min()), float(x.max())
    return low > 0 and high >= LOG_RATIO * low and float(np.median(x)) < LOG_MEDIAN * high


def text_kind(cells: Sequence[str], *, alone: bool) -> str:
    """Say what a column of texts holds: category, sequence, mutations or dates.

    Args:
        cells: The cells with a value.
        alone: Whether it is the only column of the design.
    """
    words = set(cells)
    if all(_DATE.match(word) for word in words):
        return "dates"
    named = {word for word in words if word.casefold() not in _WILD_TYPE}
    if named and all(_MUTATIONS.match(word) for word in named):
        return "mutations"
    spaced = any(word != "".join(word.split()) for word in words)
    if spaced or flag_words(sorted(words)) is not None:
        return "category"
    repeats = 2 * len(words) <= len(cells)
    equal = len({len(word) for word in words}) == 1
    if alone and equal:
        return "sequence"
    if not _is_biological(words):
        if alone and not repeats and not all(word.isalpha() for word in words):
            return "sequence"  # SMILES, say
        return "category"
    least = min(map(len, words))
    bases = {letter.upper() for letter in "".join(words)} <= _NUCLEOTIDES
    long = least >= N_LONG_WORD or (bases and least >= FEW_LEVELS)
    if alone:
        return "sequence" if long or not repeats else "category"
    if long and (not repeats or (equal and least > 2 * N_LONG_WORD)):
        return "sequence"
    return "category"


def is_wild_type(word: str) -> bool:
    """Whether a word stands for the sequence without mutations."""
    return word.casefold() in _WILD_TYPE


def _is_biological(words: set[str]) -> bool:
    """Whether words are spelled with letters of residues in capitals, or of bases in any case."""
    letters = set("".join(words))
    return letters <= _RESIDUES or {letter.upper() for letter in letters} <= _NUCLEOTIDES
