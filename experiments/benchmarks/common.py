"""What the benchmark scripts share: a timer and a table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


def seconds_per_call(
    function: Callable[[], Any], *, budget_s: float = 1.0, repeats: int = 7, device: str = "cpu"
) -> float:
    """Return the median over `repeats` of the seconds a call takes, after one call that does not
    count.

    Each repeat calls as often as fits into its share of `budget_s`, at least once.
    """

    def timed(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / calls

    timed(1)
    calls = max(1, int(budget_s / repeats / max(timed(1), 1e-9)))
    return statistics.median(timed(calls) for _ in range(repeats))


def where(device: str = "cpu") -> str:
    """Say in words what the figures were measured on."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads"


def rate(per_second: float) -> str:
    """Return a rate in three digits with thousands or millions."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if per_second >= size:
            return f"{per_second / size:.3g} {unit}"
    return f"{per_second:.3g}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """Print the one table of a script: the first column is text, the others are figures."""
    table = Table(title=title, caption=note, title_justify="left", caption_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
