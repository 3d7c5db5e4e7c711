"""Designs as a person can set them: on the steps and decimals of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mbo_gym.problem.constraints import AllowedDesigns
from mbo_gym.problem.dates import Date
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Integer, Levels, Real
from mbo_gym.problem.sampling import sampling_space
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["SHARE_OF_RANGE", "Writing"]

SHARE_OF_RANGE = 1e-3
"""Smallest step of a real number without steps, as a share of its measured range, where the data's
own decimals are finer."""
MOST_DECIMALS = 7
MOST_DIGITS = 3
"""Significant digits of a number on a log scale, where the data have more."""
N_READ = 5_000
"""Rows whose decimals are counted."""


class Writing:
    """The grid on which designs are written, and which designs count as the same.

    A real number without a step gets the decimals of the data, and no finer ones than a power of
    ten of about a thousandth of the measured range. On a log scale it gets the significant digits
    of the data, at most three.

    Args:
        problem: Space and visible data.
    """

    def __init__(self, problem: OfflineProblem) -> None:
        self.space = problem.space
        self._sampling = sampling_space(problem)
        x = problem.dataset.x
        self.steps: Mapping[str, float] = {}
        self.digits: Mapping[str, int] = {}
        self._logs: list[int] = []
        if isinstance(self._sampling, MixedSpace):
            self._grid, self.steps = _on_steps(self._sampling, x)
            self.digits = _digits(self._grid, x)
            self._logs = [self._grid.slots.start[name] for name in self.digits]
            self._least = _least_steps(self._grid, x)
            self._least[self._logs] = [_least_ratio(n) for n in self.digits.values()]
        elif isinstance(self.space, ContinuousSpace):
            step = np.array([_step_of(x[:, j]) for j in range(x.shape[1])])
            self.steps = dict(zip(self.space.names, step.tolist(), strict=True))
            self._decimals = [_decimals_of_step(s) for s in step]
            size = np.maximum(np.abs(x[0].astype(np.float64)), 1.0)
            self._least = np.where(step > 0, step, SHARE_OF_RANGE * size) * (1 - 1e-3)
        else:
            self._least = np.full(self.space.shape[0], 0.5)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` random designs on the grid; infinite sides end at the measured range."""
        return self.write(self._sampling.sample(n, rng))

    def every_design(self, most: int) -> np.ndarray | None:
        """Return all designs on the grid (n, *shape), or None where there are more than `most`."""
        space = self._grid if isinstance(self.space, MixedSpace) else self.space
        return space.every_design(most)

    def write(self, x: np.ndarray) -> np.ndarray:
        """Return the nearest designs (N, *shape) on the grid; those outside the space are lost."""
        if isinstance(self.space, MixedSpace):
            x = self._grid.project(x)
            for name, digits in self.digits.items():
                place = self._grid.slots.start[name]
                parameter = self._grid.slots.parameters[name]
                rounded = _significant(x[:, place], digits)
                x[:, place] = np.clip(rounded, parameter.low, parameter.high)
        elif isinstance(self.space, CategoricalSpace):
            x = self.space.project(x)
        else:
            assert isinstance(self.space, ContinuousSpace)
            x = np.asarray(x, dtype=np.float64).copy()
            for j, decimals in enumerate(self._decimals):
                if decimals is not None:
                    x[:, j] = np.round(x[:, j], decimals)
            x = self.space.project(x) + np.float32(0)  # no -0.0
        return np.asarray(x[self.space.contains(x)])

    def same(self, x: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return which rows of x (N, slots) are closer to `other` (slots,) than any step; bool.

        `other` may also be (N, slots), compared row by row.
        """
        gap = np.abs(self._positions(x) - self._positions(other))
        return np.asarray((gap < self._least).all(axis=1))

    def keys(self, x: np.ndarray) -> np.ndarray:
        """Return a text of bytes for each design (N, slots), equal for designs on one grid point.

        Designs that are off the grid are rounded to it.
        """
        whole = np.rint(self._positions(x) / self._least).astype(np.int64)
        whole = np.ascontiguousarray(whole)
        return whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel()

    def _positions(self, x: np.ndarray) -> np.ndarray:
        """Return designs (.., slots) as float64, numbers on a log scale as their logarithms."""
        x = np.array(x, dtype=np.float64)
        x[..., self._logs] = np.log10(x[..., self._logs])
        return x

    def in_words(self) -> str:
        """Return how real numbers without steps of their own are written, in sentences."""
        steps = [f"{name} {step:g}" for name, step in self.steps.items() if step > 0]
        digits = [f"{name} {count}" for name, count in self.digits.items()]
        sentences = []
        if steps:
            sentences.append(
                f"Numbers are written in steps of: {_shown(steps)} (the data's own decimals, or "
                "about a thousandth of the measured range)."
            )
        if digits:
            sentences.append(f"Significant digits on a log scale: {_shown(digits)}.")
        return " ".join(sentences)


def _shown(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 8} more" if len(texts) > 8 else ""
    return ", ".join(texts[:8]) + more


def _step_of(column: np.ndarray) -> float:
    """Return the step of a column of numbers (N,): a power of ten; 0 where it never varies."""
    values = np.unique(np.asarray(column[:N_READ], dtype=np.float32))
    values = values[np.isfinite(values)]
    width = float(np.max(column) - np.min(column))
    if len(values) < 2 or width <= 0:
        return 0.0
    share = 10.0 ** round(math.log10(width * SHARE_OF_RANGE))
    finest = max(_decimals(v) for v in values.tolist()[:: max(1, len(values) // 500)])
    return max(share, 10.0**-finest)


def _decimals(value: float) -> int:
    """Return the decimals of the shortest text of a number that is the same as float32."""
    text = np.format_float_positional(np.float32(value), unique=True, trim="-")
    return min(MOST_DECIMALS, len(text.partition(".")[2]))


def _digits(space: MixedSpace, x: np.ndarray) -> dict[str, int]:
    """Return the significant digits of the numbers on a log scale without steps, by name.

    Numbers in a constraint keep all digits, and so do designs of a list.
    """
    if any(isinstance(c, AllowedDesigns) for c in space.constraints):
        return {}
    limits = [weights for c in space.constraints for weights, _, _ in c.linear(space.slots)]
    found = {}
    for parameter in space.parameters:
        place = space.slots.start[parameter.name]
        free = not any(weights[place] for weights in limits)
        if free and isinstance(parameter, Real) and parameter.log and parameter.step is None:
            values = np.unique(x[:N_READ, place])
            most = max(_significant_digits(v) for v in values.tolist())
            found[parameter.name] = min(most, MOST_DIGITS)
    return found


def _significant_digits(value: float) -> int:
    """Return the digits of the shortest text of a number that is the same as float32."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="-")
    return len(text.partition("e")[0].replace(".", "").lstrip("-"))


def _significant(x: np.ndarray, digits: int) -> np.ndarray:
    """Return numbers above 0 (N,) with that many significant digits."""
    x = np.asarray(x, dtype=np.float64)
    unit = 10.0 ** (np.floor(np.log10(x)) - (digits - 1))
    return np.asarray(np.rint(x / unit) * unit)


def _least_ratio(digits: int) -> float:
    """Return the smallest difference of logarithms (to 10) of numbers with that many digits."""
    return math.log10(1 + 10.0**-digits) * (1 - 1e-3)


def _decimals_of_step(step: float) -> int | None:
    return None if step <= 0 else -round(math.log10(step))


def _on_steps(space: MixedSpace, x: np.ndarray) -> tuple[MixedSpace, dict[str, float]]:
    """Return the space with steps for its real numbers, and these steps by name.

    Numbers in a constraint keep having none where the steps leave no design.
    """
    if any(isinstance(c, AllowedDesigns) for c in space.constraints):
        return space, {}
    steps = {}
    for parameter in space.parameters:
        if isinstance(parameter, Real) and parameter.step is None and not parameter.log:
            step = _step_of(x[:, space.slots.start[parameter.name]])
            off = abs(parameter.origin / step - round(parameter.origin / step)) if step else 1.0
            if step > 0 and off < 1e-3 and parameter.high > parameter.low:
                steps[parameter.name] = step
    in_sums = {
        name
        for constraint in space.constraints
        for weights, _, _ in constraint.linear(space.slots)
        for name in steps
        if weights[space.slots.start[name]] != 0
    }
    try:
        grid = _with_steps(space, steps)
        grid.sample(1, np.random.default_rng(0))
        return grid, steps
    except ValueError:
        free = {name: step for name, step in steps.items() if name not in in_sums}
        return _with_steps(space, free), free


def _with_steps(space: MixedSpace, steps: Mapping[str, float]) -> MixedSpace:
    def stepped(parameter: Parameter) -> Parameter:
        if parameter.name in steps:
            assert isinstance(parameter, Real)
            return replace(parameter, step=steps[parameter.name])
        return parameter

    return MixedSpace(tuple(map(stepped, space.parameters)), space.constraints)


def _least_steps(space: MixedSpace, x: np.ndarray) -> np.ndarray:
    """Return for each slot the difference below which two values count as the same."""
    least = np.full(space.slots.total, 0.5)
    for name, parameter in space.slots.parameters.items():
        place = space.slots.of(name)
        if isinstance(parameter, Integer) or not parameter.numeric:
            continue
        if isinstance(parameter, Real):
            width = float(np.ptp(x[:, place])) or (parameter.high - parameter.low) or 1.0
            least[place] = (parameter.step or width * SHARE_OF_RANGE) * (1 - 1e-3)
        elif isinstance(parameter, Date):
            least[place] = parameter.step * (1 - 1e-3)
        elif isinstance(parameter, Levels) and len(parameter.values) > 1:
            least[place] = np.diff(parameter.grid).min() * (1 - 1e-3)
    return least
