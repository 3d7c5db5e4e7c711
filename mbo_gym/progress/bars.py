"""Progress bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from types import TracebackType
from typing import Any

import numpy as np

from mbo_gym.progress.loggers import MetricsLogger
from mbo_gym.progress.protocol import SearchPoint, T
from mbo_gym.progress.quiet import is_quiet

__all__ = ["RichProgress"]


class RichProgress:
    """Progress bars on a terminal, loggers for metrics, and the trace of the search.

    No bars are drawn where the error stream is not a terminal, nor in a quiet block
    (`mbo_gym.progress.quiet`).

    A context manager, which closes the loggers at its end.

    Args:
        loggers: Loggers of the metrics.
        prefix: Text before every description.
        quiet: Whether to draw no bars on a terminal either, as in worker processes.

    Attributes:
        trace: The designs that were recorded, in order.
        tables: The tables that were recorded, by name.
    """

    def __init__(
        self, loggers: Sequence[MetricsLogger] = (), prefix: str = "", *, quiet: bool = False
    ) -> None:
        self.trace: list[SearchPoint] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self._loggers, self._prefix, self._quiet = loggers, prefix, quiet
        self._bars: Any = None

    def __enter__(self) -> RichProgress:
        if not self._quiet and not is_quiet() and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bars

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bars = Bars(
                *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        for logger in self._loggers:
            logger.close()

    @property
    def draws(self) -> bool:
        """Whether bars are drawn."""
        return self._bars is not None

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
        return self.open_bar(description, total)

    def open_bar(self, description: str, total: int | None) -> Callable[[int | None], None]:
        """Show a bar; it goes when `total` steps are done, or None."""
        if self._bars is None:
            return lambda done: None
        bars, task = self._bars, self._bars.add_task(self._prefix + description, total=total)

        def update(done: int | None) -> None:
            if done is None or (total is not None and done >= total):
                bars.update(task, completed=total, visible=False)
            else:
                bars.update(task, completed=done)

        return update

    def metrics(self, stage: str, step: int, **values: float) -> None:
        """Hand the numbers to every logger."""
        for logger in self._loggers:
            logger.log(stage, step, values)

    def designs(self, stage: str, step: int, x: np.ndarray, prediction: np.ndarray) -> None:
        """Append copies of the designs and their predictions to `trace`."""
        if np.shape(prediction) != (len(x),):
            raise ValueError(
                f"{len(x)} designs need as many predictions, got {np.shape(prediction)=}"
            )
        self.trace.append(
            SearchPoint(stage, step, np.array(x), np.array(prediction, dtype=np.float64))
        )

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the rows in `tables`."""
        self.tables[name] = [dict(row) for row in rows]
