"""Bounds that a user gives for columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files import kinds
from mbo_gym.files.cells import Table
from mbo_gym.problem.dates import Date
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.parameter import Parameter

__all__ = ["Bounds", "bounded"]

Bounds: TypeAlias = Mapping[str, Sequence[float | None]]
"""(low, high) of named columns; None for an open side."""


def bounded(
    table: Table, parameter: Parameter, values: np.ndarray, bounds: Bounds | str | None
) -> Parameter:
    """Return a parameter within the bounds that a user has given.

    Args:
        table: The file, for messages; its rows are those of `values`.
        parameter: What was inferred.
        values: (N, 1) or (N,) numbers of its column.
        bounds: (low, high) of named columns, ``none`` for no bounds, or None for those of the data.

    Raises:
        InvalidData: A value is outside, or the bounds make no sense.
    """
    name = parameter.name
    if bounds is None:
        return parameter
    if isinstance(parameter, Date):
        if bounds != "none" and name in bounds:
            raise InvalidData(
                f"bounds[{name!r}] belongs to dates. Pass space= of a file in which they have a "
                "low and a high date; `mbo-gym init` writes one."
            )
        return parameter
    if not parameter.numeric:
        if bounds == "none" and not isinstance(parameter, Letters):
            return parameter
        if bounds == "none" or name in bounds:
            raise InvalidData(
                "bounds= belongs to numeric columns; sequences have an alphabet= instead."
            )
        return parameter
    if bounds == "none":
        return kinds.widened(parameter, -np.inf, np.inf)
    assert isinstance(bounds, Mapping)
    if name not in bounds:
        return parameter
    low, high = _pair(name, bounds[name])
    with np.errstate(over="ignore"):  # beyond float32 is as good as open
        outside = (values < np.float32(low)) | (values > np.float32(high))
    if outside.any():
        row = int(np.argmax(outside))
        raise InvalidData(
            f"{table.place(row, name)}: {values[row]:g} is outside the bounds [{low:g}, {high:g}] "
            f"({int(outside.sum())} such rows). Widen the bounds or remove the rows."
        )
    return kinds.widened(parameter, low, high)


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (
            side if end is None else float(end)
            for end, side in zip(pair, (-np.inf, np.inf), strict=True)
        )
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"bounds[{name!r}] must be (low, high), two numbers or None for an open side, got "
            f"{pair!r}."
        ) from error
    if not low <= high:
        raise InvalidData(f"bounds[{name!r}] must be (low, high) with low <= high, got {pair!r}.")
    return low, high
