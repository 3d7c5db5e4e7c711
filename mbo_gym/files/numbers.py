"""How a table writes numbers: decimal commas, thousands, percent signs, missing words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MISSING_WORDS", "NumberStyle", "find_style", "parse_number"]

MISSING_WORDS = frozenset(
    {
        *("", "na", "n/a", "nan", "null", "none", "-", "--", "?", "<na>", "n.a.", "n.d.", "nd"),
        *("#n/a", "#n/v", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "missing"),
    }
)
"""Words of a cell of numbers without a value, in small letters: pandas', R's and Excel's."""

_GROUP = " '’\u00a0\u202f"
_SIGN = r"[-+]?"
_POWER = r"(?:[eE][-+]?[0-9]+)?"
_END = r"\s*%?$"


@dataclass(frozen=True)
class NumberStyle:
    """How the numbers of a file are spelled.

    Args:
        decimal: The character before the fraction.
        grouped: Whether digits may stand in groups of three: 1,200 or 1 200 or 1'200 (1.200 beside
            a decimal comma).
        missing: Words of a cell without a value, in small letters.

    Example:
        >>> NumberStyle(",", grouped=True).parse("1.200,5")
        1200.5
    """

    decimal: Literal[".", ","] = "."
    grouped: bool = False
    missing: frozenset[str] = MISSING_WORDS

    @property
    def plain(self) -> bool:
        """Whether numbers are spelled as in programs, without groups."""
        return self.decimal == "." and not self.grouped

    @property
    def _groups(self) -> str:
        """Characters between groups, for a regular expression."""
        return f"{_GROUP}{'.' if self.decimal == ',' else ','}"

    @property
    def _pattern(self) -> str:
        digits = "[0-9]*"
        if self.grouped:
            digits = f"(?:[0-9]{{1,3}}(?:[{self._groups}][0-9]{{3}})+|[0-9]*)"
        return rf"^{_SIGN}{digits}(?:\{self.decimal}[0-9]*)?{_POWER}$"

    def parse(self, cell: str) -> float | None:
        """Return the number (or infinity, or NaN) that a cell spells, or None.

        A percent sign is left out: ``5 %`` is 5.
        """
        text = cell.strip().replace("\N{MINUS SIGN}", "-")
        if text.endswith("%"):
            text = text[:-1].rstrip()
        if self.plain or not re.match(self._pattern, text):
            return parse_number(text) if self.decimal == "." or "." not in text else None
        return parse_number(re.sub(f"[{self._groups}]", "", text).replace(self.decimal, "."))

    def numbers(self, text: pl.Expr) -> pl.Expr:
        """Return the numbers of a column of texts, null where a cell is not plainly one."""
        import polars as pl

        text = text.str.strip_chars().str.replace(r"\s*%$", "")
        if self.plain:
            return text.cast(pl.Float64, strict=False)
        bare = text.str.replace_all(f"[{self._groups}]", "").str.replace(
            self.decimal, ".", literal=True
        )
        spelled = text.str.contains(self._pattern)
        return pl.when(spelled).then(bare).cast(pl.Float64, strict=False)

    def is_missing(self, cell: str) -> bool:
        """Whether a cell of a column of numbers holds no value."""
        return cell.strip().casefold() in self.missing

    def remedy(self, cell: str) -> str:
        """Return what to do about a cell that is no number."""
        if _AMBIGUOUS.match(cell):
            low = cell.replace(",", ".")
            return (
                f"It may be {cell.replace(',', '')} or {low}: pass decimal='.' if the comma "
                "separates thousands, or decimal=','."
            )
        if self.decimal == "." and _DECIMAL_COMMA.match(cell):
            return "Write numbers with a decimal point, or pass decimal=','."
        if self.decimal == "," and "." in cell and parse_number(cell) is not None:
            return "Other cells have a decimal comma. Write one kind only, or pass decimal='.'."
        return "Fix the cell, exclude the column, or name the word in missing_words=."


PLAIN = NumberStyle()

_AMBIGUOUS = re.compile(rf"^{_SIGN}[1-9][0-9]{{0,2}},[0-9]{{3}}{_END}")
_DECIMAL_COMMA = re.compile(
    rf"^{_SIGN}(?:[0-9]{{1,3}}(?:[.{_GROUP}][0-9]{{3}})+|[0-9]*),[0-9]+{_POWER}{_END}"
)
_GROUPED_BY_POINTS = re.compile(rf"^{_SIGN}[0-9]{{1,3}}(?:\.[0-9]{{3}}){{2,}}{_END}")
_GROUPED_BY_COMMAS = re.compile(
    rf"^{_SIGN}[0-9]{{1,3}}(?:(?:,[0-9]{{3}})+\.[0-9]+|(?:,[0-9]{{3}}){{2,}}){_END}"
)
_GROUPED_BY_SPACES = re.compile(
    rf"^{_SIGN}[0-9]{{1,3}}(?:[{_GROUP}][0-9]{{3}})+(?:\.[0-9]+)?{_END}"
)


def parse_number(cell: str) -> float | None:
    """Return the number (or infinity, or NaN) that a cell spells as programs do, or None."""
    try:
        return None if "_" in cell else float(cell)  # only Python reads 1_000 as a number
    except ValueError:
        return None


def find_style(
    names: Sequence[str],
    columns: Iterable[Sequence[str]],
    delimiter: str | None,
    decimal: str | None = None,
    missing: frozenset[str] = MISSING_WORDS,
) -> tuple[NumberStyle, list[str]]:
    """Find out how a file writes numbers.

    Only columns count in which at least half of the cells look like numbers. Where a comma may be
    of either kind (1,200), it separates thousands in a file whose cells are separated by commas or
    that has a decimal point elsewhere; else the style is plain, so that reading the cell fails.

    Args:
        names: Column names.
        columns: Cells of each column, or of its first rows.
        delimiter: The character between cells; None for a sheet.
        decimal: The character before the fraction, if it is known.
        missing: Words of a cell without a value.

    Returns:
        The style, and sentences about what is not plain in it.
    """
    seen: dict[str, str] = {}
    for name, cells in zip(names, columns, strict=True):
        kinds = [_kind(cell) for cell in map(str.strip, cells) if cell.casefold() not in missing]
        if 2 * sum(kind is not None for kind in kinds) < len(kinds):
            continue
        for cell in map(str.strip, cells):
            kind = _kind(cell)
            if kind is not None and kind not in seen:
                seen[kind] = f"{cell!r} in column {name!r}"
    comma = seen.get("decimal comma") or seen.get("points")
    point = seen.get("point") or seen.get("commas")
    unsure = seen.get("ambiguous")
    if decimal is None:
        decimal = "," if comma and not point else "."
        if unsure and not (point or comma or delimiter in (",", None)):
            unsure = None
    grouped = seen.get("commas") or seen.get("spaces") or (unsure if decimal == "." else None)
    if decimal == ",":
        style = NumberStyle(",", grouped=True, missing=missing)
        return style, [f"Numbers have a decimal comma ({comma or unsure or 'as told'})."]
    if grouped:
        style = NumberStyle(grouped=True, missing=missing)
        return style, [f"Numbers have separated thousands ({grouped})."]
    return NumberStyle(missing=missing), []


def _kind(cell: str) -> str | None:
    """Return what a cell says about the style of numbers; None if it is no number."""
    if parse_number(cell.rstrip("% ")) is not None:
        if _GROUPED_BY_POINTS.match(cell):
            return "points"
        single = re.match(rf"^{_SIGN}[1-9][0-9]{{0,2}}\.[0-9]{{3}}{_END}", cell)
        return "point" if "." in cell and not single else "whole"
    if _AMBIGUOUS.match(cell):
        return "ambiguous"
    if _GROUPED_BY_COMMAS.match(cell):
        return "commas"
    if _GROUPED_BY_POINTS.match(cell):
        return "points"
    if _GROUPED_BY_SPACES.match(cell):
        return "spaces"
    if _DECIMAL_COMMA.match(cell):
        return "decimal comma"
    return None
