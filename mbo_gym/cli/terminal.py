"""Printing to a terminal or a file."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

__all__ = ["show"]


def show(table: Table, *, left_out_first: Sequence[str] = (), where: str = "result.json") -> None:
    """Print a table: wide ones are not squeezed where the output is a file, and lose columns in a
    narrow terminal.

    Args:
        table: The table.
        left_out_first: Headers of the columns that a narrow terminal goes without, the first one
            first.
        where: Says below such a table where to find them.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(160, console.width))
    left_out = []
    for header in left_out_first:
        if _width(table, console) > console.width and header in [c.header for c in table.columns]:
            table.columns = [c for c in table.columns if c.header != header]
            left_out.append(header.replace("\n", ": "))
    if left_out:
        note = f"Left out for want of width: {', '.join(left_out)}; {where} has them."
        table.caption = f"{table.caption or ''}\n{note}".strip()
    console.print(table)


def _width(table: Table, console: Console) -> int:
    """Return the columns of text that a table takes where nothing is wrapped."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum
