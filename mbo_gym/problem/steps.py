"""Values next to a value, and ranges that a forbidden combination leaves free."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mbo_gym.problem.constraints import ROUNDING, Forbidden, Slots
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Levels, Real

__all__ = ["free_ranges", "next_value"]


def next_value(parameter: Parameter, x: np.ndarray, direction: int) -> np.ndarray:
    """Return the next value up (1) or down (-1) of values (N, 1), or the same at the end."""
    if isinstance(parameter, Levels):
        index = np.clip(parameter.index(x) + direction, 0, len(parameter.values) - 1)
        return np.asarray(parameter.grid[index][:, None])
    if isinstance(parameter, Real) and parameter.step is None:
        side = math.inf if direction > 0 else -math.inf
        other = np.nextafter(x.astype(np.float32), np.float32(side)).astype(np.float64)
        return np.asarray(np.clip(other, parameter.low, parameter.high))
    step = parameter.grid_step or 1.0
    return parameter.nearest(x + direction * step)


def free_ranges(
    rule: Forbidden, slots: Slots, name: str, parameter: Parameter
) -> Iterator[tuple[float, float]]:
    """Yield ranges of a one-slot parameter in which it does not meet its condition of a rule."""
    if parameter.numeric:
        for low, high in rule.ranges(slots, name):
            if low > parameter.low:
                below = next_value(parameter, np.array([[_up(parameter, low)]]), -1).item()
                yield parameter.low, below
            if high < parameter.high:
                above = next_value(parameter, np.array([[_down(parameter, high)]]), 1).item()
                yield above, parameter.high
        return
    numbers = np.arange(parameter.low, parameter.high + 1)
    met = rule.meets(slots, name, numbers[:, None])
    for value in numbers[~met]:
        yield float(value), float(value)


def _up(parameter: Parameter, value: float) -> float:
    """Return the smallest value of a parameter that is at least `value`."""
    near = parameter.nearest(np.array([[value]]))
    room = ROUNDING * max(1.0, abs(value))
    return float((near if near.item() >= value - room else next_value(parameter, near, 1)).item())


def _down(parameter: Parameter, value: float) -> float:
    """Return the largest value of a parameter that is at most `value`."""
    near = parameter.nearest(np.array([[value]]))
    room = ROUNDING * max(1.0, abs(value))
    return float((near if near.item() <= value + room else next_value(parameter, near, -1)).item())
