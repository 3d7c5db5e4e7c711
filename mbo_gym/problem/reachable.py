"""Whether parameters in steps, whole numbers and levels can add up to what a constraint asks for.

Sums are counted exactly: all values are multiples of one rational unit, and a set of sums is a
whole number whose bit i stands for i units above the smallest sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

import numpy as np

from mbo_gym.problem.constraints import (
    ROUNDING,
    AtMostNonZero,
    Constraint,
    FixedSum,
    LinearLimit,
    Slots,
)
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Levels, Real

__all__ = ["require_reachable"]

MOST_UNITS = 1 << 22
"""Units between the smallest and the largest sum up to which all sums are counted. Above, only the
range and the common unit are looked at."""
LARGEST_DENOMINATOR = 10_000
"""Denominator up to which a number counts as a fraction, such as 1/3, and not by its decimals."""
PRECISION = 1e-7
"""Relative difference, that of float32, up to which it does."""
N_NAMED = 4
"""Parameters that a message describes."""

Number: TypeAlias = Fraction | float
"""A fraction, or an infinite number."""


def require_reachable(slots: Slots, constraints: Iterable[Constraint]) -> None:
    """Raise ValueError unless every sum can have a value that its constraint allows.

    Each sum is looked at alone and with each limit on non-zero numbers. Numbers without steps count
    by their range.

    Args:
        slots: Parameters of the space.
        constraints: Constraints between them.
    """
    constraints = tuple(constraints)
    limits = [c for c in constraints if isinstance(c, AtMostNonZero)]
    for constraint in constraints:
        if not isinstance(constraint, (FixedSum, LinearLimit)):
            continue
        weights, low, high = _wanted(constraint, slots)
        for limit in (None, *limits):
            found = _Sums.of(weights, slots, limit).nearest(low, high)
            if found is not None:
                raise ValueError(_refusal(constraint, limit, *found, slots))


def _wanted(
    constraint: FixedSum | LinearLimit, slots: Slots
) -> tuple[Mapping[str, float], Number, Number]:
    """Return the weights of a sum, and its smallest and largest value with room for rounding."""
    low: float
    high: float
    if isinstance(constraint, FixedSum):
        weights: Mapping[str, float] = dict.fromkeys(constraint.names, 1.0)
        low = constraint.total - constraint.tolerance
        high = constraint.total + constraint.tolerance
    else:
        weights, low, high = constraint.weights, constraint.low, constraint.high
    parameters = [(w, slots.parameters[name]) for name, w in weights.items()]
    terms = [abs(w) * max(abs(p.low), abs(p.high)) for w, p in parameters]
    size = sum(term for term in terms if math.isfinite(term))
    size += max((abs(end) for end in (low, high) if math.isfinite(end)), default=0.0)
    room = _fraction(ROUNDING) * _fraction(size)
    return weights, _fraction(low) - room, _fraction(high) + room


def _fraction(value: float) -> Number:
    """Return a number as the fraction that it was meant to be; infinite ones stay."""
    value = float(value)
    if not math.isfinite(value):
        return value
    exact = Fraction(value)
    near = exact.limit_denominator(LARGEST_DENOMINATOR)
    if abs(near - exact) <= PRECISION * abs(exact):
        return near
    return Fraction(repr(value))


@dataclass(frozen=True)
class _Values:
    """Values first + places * step of one parameter, times its weight.

    Args:
        first: Smallest value.
        step: Distance between places.
        runs: (first place, last place) of neighbouring places that are values.
        zero: Place of the value 0, or None.
    """

    first: Fraction
    step: Fraction
    runs: tuple[tuple[int, int], ...]
    zero: int | None

    @property
    def last(self) -> int:
        """Largest place."""
        return self.runs[-1][1]

    def but_zero(self) -> Iterator[tuple[int, int]]:
        """Yield the runs without the place of 0."""
        for first, last in self.runs:
            if self.zero is None or not first <= self.zero <= last:
                yield first, last
                continue
            if first < self.zero:
                yield first, self.zero - 1
            if self.zero < last:
                yield self.zero + 1, last


def _values(parameter: Parameter, weight: Fraction) -> _Values:
    """Return the values of a bounded parameter that holds numbers in steps, levels or one value."""
    if isinstance(parameter, Levels) and parameter.n_values > 1:
        numbers = sorted(weight * _finite(value) for value in parameter.grid.tolist())
        gaps = [b - numbers[0] for b in numbers[1:]]
        step = reduce(_common, gaps)
        places = [0, *(int(gap / step) for gap in gaps)]
        runs = tuple((place, place) for place in places)
    else:
        count = int(parameter.n_values)
        own = parameter.grid_step or 1.0
        step = abs(weight) * _finite(own)
        ends = (_finite(parameter.low), _finite(parameter.low) + (count - 1) * _finite(own))
        numbers = sorted(weight * end for end in ends)
        runs = ((0, count - 1),)
    zero = -numbers[0] / step
    is_value = zero.denominator == 1 and any(a <= zero <= b for a, b in runs)
    return _Values(numbers[0], step, runs, int(zero) if is_value else None)


def _finite(value: float) -> Fraction:
    return Fraction(_fraction(value))


def _common(a: Fraction, b: Fraction) -> Fraction:
    """Return the largest number of which two others are multiples."""
    denominator = math.lcm(a.denominator, b.denominator)
    return Fraction(math.gcd(int(a * denominator), int(b * denominator)), denominator)


@dataclass(frozen=True)
class _Places:
    """Places of sums, which are whole numbers.

    Args:
        bits: Bit i stands for place i; None for every place between the ends.
        least: Smallest place where `bits` is None; None for no end.
        most: Largest place where `bits` is None.
    """

    bits: int | None = None
    least: int | None = None
    most: int | None = None

    def any_of(self, first: int | None, last: int | None) -> bool:
        """Whether there is a place from one to another; None for no end."""
        if first is None:
            return last is None or self.at_most(last) is not None
        found = self.at_least(first)
        return found is not None and (last is None or found <= last)

    def at_least(self, place: int) -> int | None:
        """Return the smallest place from a given one on, or None."""
        if self.bits is not None:
            skipped = max(0, place)
            bits = self.bits >> skipped
            return (bits & -bits).bit_length() - 1 + skipped if bits else None
        found = place if self.least is None else max(place, self.least)
        return None if self.most is not None and found > self.most else found

    def at_most(self, place: int) -> int | None:
        """Return the largest place up to a given one, or None."""
        if self.bits is not None:
            bits = self.bits & ((1 << max(0, place + 1)) - 1)
            return bits.bit_length() - 1 if bits else None
        found = place if self.most is None else min(place, self.most)
        return None if self.least is not None and found < self.least else found


@dataclass(frozen=True)
class _Sums:
    """The sums that parameters can have.

    Args:
        discrete: Values of numbers in steps, and whether a limit counts them.
        ranges: (smallest, largest) value of each number without steps.
        choices: The same of those of which the limit lets some differ from 0; each holds 0.
        budget: How many counted numbers may differ from 0.
        endless: Steps of numbers without an end.
        start: Sum of the values that these are counted from.
    """

    discrete: tuple[tuple[_Values, bool], ...]
    ranges: tuple[tuple[Number, Number], ...]
    choices: tuple[tuple[Number, Number], ...]
    budget: int
    endless: tuple[Fraction, ...]
    start: Fraction

    @classmethod
    def of(cls, weights: Mapping[str, float], slots: Slots, limit: AtMostNonZero | None) -> _Sums:
        """Sort the parameters of a weighted sum; the limit may be None."""
        counted = set() if limit is None else set(limit.names)
        terms = {name: _finite(weight) for name, weight in weights.items() if weight != 0}
        budget = 0 if limit is None else limit.most
        budget -= sum(not _may_be_zero(slots.parameters[name]) for name in counted - set(terms))
        discrete: list[tuple[_Values, bool]] = []
        ranges: list[tuple[Number, Number]] = []
        choices: list[tuple[Number, Number]] = []
        endless: list[Fraction] = []
        start = Fraction(0)
        for name, weight in terms.items():
            parameter = slots.parameters[name]
            bounded = math.isfinite(parameter.low) and math.isfinite(parameter.high)
            if isinstance(parameter, Real) and parameter.step is not None and not bounded:
                endless.append(abs(weight) * _finite(parameter.step))
                start += weight * _finite(parameter.origin)
            elif isinstance(parameter, Real) and parameter.n_values == math.inf:
                ends = sorted(weight * _fraction(end) for end in (parameter.low, parameter.high))
                chosen = name in counted and _may_be_zero(parameter)
                (choices if chosen else ranges).append((ends[0], ends[1]))
                budget -= name in counted and not chosen
            else:
                discrete.append((_values(parameter, weight), name in counted))
        return cls(tuple(discrete), tuple(ranges), tuple(choices), budget, tuple(endless), start)

    def nearest(self, low: Number, high: Number) -> tuple[Number | None, Number | None] | None:
        """Return None if a sum lies between two ends, else the nearest below and above.

        One of these is None where there is no such sum. With numbers without an end, and where too
        many sums would have to be counted, all multiples of the common unit count as sums.
        """
        first = self.start + sum((values.first for values, _ in self.discrete), Fraction(0))
        steps = [values.step for values, _ in self.discrete if values.last] + list(self.endless)
        unit = reduce(_common, steps) if steps else Fraction(1)
        span = sum((values.last * values.step for values, _ in self.discrete), Fraction(0)) / unit
        if self.endless:
            sums = {0: _Places()}
        elif span > MOST_UNITS:
            sums = {0: _Places(None, 0, int(span))}
        else:
            sums = {count: _Places(bits) for count, bits in self._counted(unit).items()}
        below: list[Number] = []
        above: list[Number] = []
        for count, places in sums.items():
            down, up = self._range(count)
            least = None if low - up == -math.inf else math.ceil((low - up - first) / unit)
            most = None if high - down == math.inf else math.floor((high - down - first) / unit)
            if places.any_of(least, most):
                return None
            if least is not None and (place := places.at_most(least - 1)) is not None:
                below.append(first + place * unit + up)
            if most is not None and (place := places.at_least(most + 1)) is not None:
                above.append(first + place * unit + down)
        return max(below, default=None), min(above, default=None)

    def _range(self, count: int) -> tuple[Number, Number]:
        """Return what the numbers without steps add, if others use `count` of the limit."""
        rest = max(0, self.budget - count)
        lows = [a for a, _ in self.ranges] + sorted(a for a, _ in self.choices)[:rest]
        highs = [b for _, b in self.ranges]
        highs += sorted((b for _, b in self.choices), reverse=True)[:rest]
        return sum(lows, Fraction(0)), sum(highs, Fraction(0))

    def _counted(self, unit: Fraction) -> dict[int, int]:
        """Return the sums of numbers in steps as bits, by how many counted ones differ from 0."""
        states = {0: 1}
        for values, counted in self.discrete:
            scale = int(values.step / unit)
            runs = tuple(values.but_zero()) if counted else values.runs
            after: dict[int, int] = {}
            for count, bits in states.items():
                if counted and values.zero is not None:
                    after[count] = after.get(count, 0) | bits << (values.zero * scale)
                used = count + counted
                if counted and used > self.budget:
                    continue
                for start, end in runs:
                    moved = _spread(bits << (start * scale), scale, end - start + 1)
                    after[used] = after.get(used, 0) | moved
            states = after
        return states


def _spread(bits: int, step: int, count: int) -> int:
    """Return the union of bits moved up by 0, 1, .. count - 1 steps."""
    done = 1
    while done < count:
        more = min(done, count - done)
        bits |= bits << (step * more)
        done += more
    return bits


def _may_be_zero(parameter: Parameter) -> bool:
    return bool(parameter.contains(np.zeros((1, 1), dtype=np.float32))[0])


def _refusal(
    constraint: FixedSum | LinearLimit,
    limit: AtMostNonZero | None,
    below: Number | None,
    above: Number | None,
    slots: Slots,
) -> str:
    """Return what cannot be reached, why, and what would work."""
    names = constraint.names if isinstance(constraint, FixedSum) else tuple(constraint.weights)
    allowed = [f"{name}: {slots.parameters[name].allowed()}" for name in names[:N_NAMED]]
    if len(names) > N_NAMED:
        allowed.append(f"and {len(names) - N_NAMED} more")
    words = constraint.in_words() + (f" and {limit.in_words()}" if limit else "")
    ends = [f"{float(end):.6g}" for end in (below, above) if end is not None]
    if len(ends) == 2:
        can = f"the nearest sums that can be reached are {ends[0]} and {ends[1]}"
    else:
        can = f"the {'largest' if above is None else 'smallest'} sum is {ends[0]}"
    remedies = ["Change a bound or a step"]
    if isinstance(constraint, FixedSum):
        gaps = [abs(float(end) - constraint.total) for end in (below, above) if end is not None]
        remedies.append(f"set the total to {' or '.join(ends)}")
        remedies.append(f"give the sum a tolerance of {min(gaps):.6g}")
    else:
        remedies.append("widen the limit")
    if limit is not None:
        remedies.append("raise `most`")
    return (
        f"no design within the bounds satisfies the constraints {words} ({'; '.join(allowed)}): "
        f"{can}. {', '.join(remedies[:-1])}, or {remedies[-1]}."
    )
