"""Printing to a terminal or a file."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

__all__ = ["show"]


def show(
    table: RenderableType, *, left_out_first: Sequence[str] = (), where: str = "result.json"
) -> None:
    """Print a table or a page.

    A wide table is not squeezed where the output is a file, and loses columns in a narrow terminal.

    Args:
        table: What to print.
        left_out_first: Headers of the columns that a narrow terminal goes without, the first one
            first; of a table only.
        where: File that has these columns, named below the table.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(160, console.width))
    if isinstance(table, Table):
        _leave_out(table, console, left_out_first, where)
    console.print(table)


def _leave_out(table: Table, console: Console, headers: Sequence[str], where: str) -> None:
    """Take columns out of a table until it fits the terminal, and say so below it."""
    left_out = []
    for header in headers:
        if _width(table, console) > console.width and header in [c.header for c in table.columns]:
            table.columns = [c for c in table.columns if c.header != header]
            left_out.append(header.replace("\n", ": "))
    if left_out:
        note = f"Left out for want of width: {', '.join(left_out)}; {where} has them."
        table.caption = f"{table.caption or ''}\n{note}".strip()


def _width(table: Table, console: Console) -> int:
    """Return the columns of text that a table takes where nothing is wrapped."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum
