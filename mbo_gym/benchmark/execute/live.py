"""Live display of a benchmark: a line a finished cell, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mbo_gym.benchmark.execute.runner import Plan, RunObserver
from mbo_gym.benchmark.plan.grid import Cell
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.progress.quiet import is_quiet

__all__ = ["Live", "duration"]


class Live(RunObserver):
    """Observer that prints cells as they start and end; a context manager.

    In a quiet block (`mbo_gym.progress.quiet`) it prints failed cells only.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._total = 0
        self._done = 0
        self._started = time.monotonic()
        self._running: dict[str, str] = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        left = TextColumn("{task.fields[left]}")
        self._bars = Progress(
            *columns,
            left,
            console=self._console,
            transient=True,
            disable=is_quiet() or not sys.stderr.isatty(),
        )
        self._bar = self._bars.add_task("cells", total=None, left="", visible=False)

    def __enter__(self) -> Live:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()
        if kind is not None and self._total:
            self._console.print(
                f"stopped after {self._done} of {self._total} cells; "
                "the same command goes on from here",
                style="yellow",
            )

    def plan(self, plan: Plan) -> None:
        """Print how many cells are done, have failed and are to run."""
        self._total = len(plan.to_run)
        counts = f"{len(plan.done)} done, {len(plan.failed)} failed, {self._total} to run"
        if not is_quiet():
            cells = len(plan.done) + len(plan.failed) + self._total
            self._console.print(f"{cells} cells: {counts}")
        self._bars.update(self._bar, total=self._total, visible=self._total > 0)

    def start(self, cell: Cell) -> None:
        """Show that a cell was handed to a worker."""
        request = cell.request
        self._running[cell.key] = f"{cell.label} on {request.task_id}, seed {request.seed}"
        self._describe()

    def end(self, record: CellRecord) -> None:
        """Print a finished cell."""
        self._done += 1
        what = escape(self._running.pop(record.key, record.label))
        took = duration(record.seconds)
        if record.error is not None:
            lines = record.error.message.splitlines()
            reason = f"{record.error.type}: {lines[0] if lines else ''}"
            text = f"[red]failed[/] {what}: {escape(reason)}"
        elif record.result is None or (scores := record.result.overall) is None:
            text = f"{what}: not scored, {took}"
        else:
            text = f"{what}: 100th {scores.p100:.3f}, 50th {scores.p50:.3f}, {took}"
        if record.error is not None or not is_quiet():
            self._console.print(f"[dim]{self._done}/{self._total}[/] {text}", soft_wrap=True)
        self._describe()

    def _describe(self) -> None:
        elapsed = time.monotonic() - self._started
        left = (
            f"about {duration(elapsed / self._done * (self._total - self._done))} left"
            if self._done
            else ""
        )
        working = escape("; ".join(list(self._running.values())[:2])) or "cells"
        self._bars.update(self._bar, description=working, completed=self._done, left=left)


def duration(seconds: float) -> str:
    """Return a time for people: 0.31 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
