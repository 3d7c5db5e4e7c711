"""Progress and metrics of long work: a protocol, a silent one, and bars for a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Protocol, TextIO, TypeVar

__all__ = ["NullProgress", "Progress", "RichProgress"]

T = TypeVar("T")


class Progress(Protocol):
    """What a method reports to while it works."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield `items`, showing how far it is; `total` where the items have no length."""
        ...

    def bar(self, description: str, total: int) -> Callable[[int], None]:
        """Show a bar for work that is not a loop of ours; call the result with the steps done so far."""
        ...

    def metrics(self, stage: str, step: int, **values: float) -> None:
        """Record named numbers of a stage of the work at a step."""
        ...


class NullProgress:
    """Reports nothing."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield `items`."""
        yield from items

    def bar(self, description: str, total: int) -> Callable[[int], None]:
        """Return a function that does nothing."""
        return lambda done: None

    def metrics(self, stage: str, step: int, **values: float) -> None:
        """Record nothing."""


class RichProgress:
    """Bars on the terminal (nothing where the error stream is not one) and metrics as JSON lines. A context manager.

    Args:
        metrics_file: Open text file for one JSON object a line, or None.
        prefix: Stands before every description.
    """

    def __init__(self, metrics_file: TextIO | None = None, prefix: str = "") -> None:
        self._file, self._prefix = metrics_file, prefix
        self._bars: Any = None

    def __enter__(self) -> RichProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield `items` under a bar."""
        if self._bars is None:
            yield from items
            return
        if total is None and isinstance(items, Sized):
            total = len(items)
        bars = self._bars  # after Ctrl-C the loop is closed when the bars are gone already
        task = bars.add_task(self._prefix + description, total=total)
        try:
            for item in items:
                yield item
                bars.advance(task)
        finally:
            bars.remove_task(task)

    def bar(self, description: str, total: int) -> Callable[[int], None]:
        """Show a bar; it goes when `total` steps are done."""
        if self._bars is None:
            return lambda done: None
        bars, task = self._bars, self._bars.add_task(self._prefix + description, total=total)

        def update(done: int) -> None:
            if done >= total:
                bars.update(task, completed=total, visible=False)
            else:
                bars.update(task, completed=done)

        return update

    def metrics(self, stage: str, step: int, **values: float) -> None:
        """Write one JSON line."""
        if self._file is not None:
            finite = {key: value if math.isfinite(value) else None for key, value in values.items()}  # JSON has no NaN
            self._file.write(json.dumps({"stage": stage, "step": step, **finite}) + "\n")
            self._file.flush()
