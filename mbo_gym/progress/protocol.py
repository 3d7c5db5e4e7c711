"""The progress protocol: what a method reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

__all__ = ["LEARNING", "NullProgress", "Progress", "SearchPoint"]

LEARNING = "learning"
"""Stage of the designs that a policy reaches in the course of its training."""


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class SearchPoint:
    """Designs that a search held at one of its steps.

    Args:
        stage: Name of the stage.
        step: Step of the stage.
        x: (k, *shape) native designs.
        prediction: (k,) what the surrogate expected of them, in raw score units.
    """

    stage: str
    step: int
    x: np.ndarray
    prediction: np.ndarray


class Progress(Protocol):
    """What a method reports to while it works."""

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield `items`, showing how far it is; `total` where the items have no length."""
        ...

    def bar(self, description: str, total: int) -> Callable[[int], None]:
        """Show a bar for a loop elsewhere; call the result with the steps done so far."""
        ...

    def metrics(self, stage: str, step: int, **values: float) -> None:
        """Record named numbers of a stage of the work at a step."""
        ...

    def designs(self, stage: str, step: int, x: np.ndarray, prediction: np.ndarray) -> None:
        """Record designs along the search, for the exploitation curve.

        They are scored after the search is over.

        Args:
            stage: Name of the stage; `LEARNING` for the learning curve.
            step: Step of the stage.
            x: (k, *shape) native designs.
            prediction: (k,) the surrogate's predictions in raw score units.
        """
        ...

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record a small table for the result and the report, such as the race of families.

        Args:
            name: Name of the table; a later one of that name replaces it.
            rows: Rows of the same columns, as plain JSON values.
        """
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

    def designs(self, stage: str, step: int, x: np.ndarray, prediction: np.ndarray) -> None:
        """Record nothing."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record nothing."""
