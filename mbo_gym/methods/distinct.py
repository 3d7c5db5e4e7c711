"""Distinct proposals on mixed spaces, where many features decode to one design."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mbo_gym.methods.base import CriterionUnit, Proposals
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Levels, Real
from mbo_gym.problem.sampling import sampling_space

if TYPE_CHECKING:
    from mbo_gym.problem.task import OfflineProblem

__all__ = ["as_they_come", "distinct_proposals", "mutated"]

STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Standard deviations of changes, as shares of a parameter's range, tried one after the other."""
N_RANDOM = 30
"""Rounds of random designs without a new one after which the space counts as used up."""
OWN_STREAM = 1
"""Part of the seed that keeps these random numbers apart from a method's own."""


def distinct_proposals(
    problem: OfflineProblem,
    x: np.ndarray,
    k: int,
    *,
    seed: int,
    predict: Callable[[np.ndarray], np.ndarray] | None = None,
    criterion: np.ndarray | None = None,
    unit: CriterionUnit = "own",
) -> Proposals:
    """Return `k` distinct designs of a mixed space, best first.

    Where `x` holds fewer than `k` distinct designs, near ones are added: designs of `x` with one
    parameter changed, moved into the constraints, the highest predictions first. Only where the
    space itself has fewer than `k` designs do they repeat.

    Args:
        problem: Problem with a mixed space.
        x: (N, slots) designs inside the space.
        k: Number of designs.
        seed: Seed of the changes.
        predict: Predictions (n,) of designs (n, slots), which become the criterion; None for a
            method without any. The order of `x` then counts, and a changed design has the
            criterion of the one that it replaces.
        criterion: (N,) criterion of the designs, without `predict`; None for 0.
        unit: Unit of the predictions or of the criterion.
    """
    space = problem.space
    assert isinstance(space, MixedSpace)
    x = np.asarray(x, dtype=np.float32) + np.float32(0)  # -0.0 and 0.0 are one design
    rng = np.random.default_rng([seed, OWN_STREAM])
    if predict is None:
        value = np.zeros(len(x)) if criterion is None else np.asarray(criterion)
        first = first_of_each_design(x)[:k]
        repeated = np.setdiff1d(np.arange(min(k, len(x))), first)
        parents = repeated if len(repeated) else first
        found, source = _filled(problem, x[first], x[parents], k, rng, None)
        of_parents = np.append(value[parents], value[parents].min())  # -1: a random design
        value = np.concatenate([value[first], of_parents[source[len(first) :]]])
    else:
        x = x[first_of_each_design(x)]
        x = x[np.argsort(-predict(x), kind="stable")[:k]]
        found, _ = _filled(problem, x, x, k, rng, predict)
        value = predict(found)
    order = np.argsort(-value, kind="stable")
    order = order[np.sort(np.arange(k) % len(order))]
    return Proposals(found[order], value[order], unit=unit)


def as_they_come(
    problem: OfflineProblem,
    x: np.ndarray,
    criterion: np.ndarray,
    k: int,
    seed: int,
    *,
    unit: CriterionUnit = "own",
) -> Proposals:
    """Return the first `k` designs; on mixed spaces the first distinct ones.

    Args:
        problem: Problem of the fit.
        x: (N, *shape) designs, best first by the criterion.
        criterion: (N,) criterion of each.
        k: Number of designs.
        seed: Seed of the changes that make designs distinct, see `distinct_proposals`.
        unit: Unit of the criterion.
    """
    if not isinstance(problem.space, MixedSpace):
        return Proposals(x[:k], criterion[:k], unit=unit)
    return distinct_proposals(problem, x, k, seed=seed, criterion=criterion, unit=unit)


def mutated(
    space: MixedSpace, x: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Change one parameter of each design, and move it into the constraints.

    Numbers move by a normal deviate of at least one step, categories and letters are drawn anew.

    Args:
        space: Space of the designs, with finite bounds.
        x: (N, slots) designs.
        strength: Standard deviation of a number's change, as a share of its range.
        rng: Random numbers.

    Returns:
        (N, slots) float32 allowed designs; some may equal those given.
    """
    varied = [parameter for parameter in space.parameters if parameter.n_values > 1]
    y = np.array(x, dtype=np.float64)
    if not varied:
        return np.asarray(y, dtype=np.float32)
    chosen = rng.integers(0, len(varied), size=len(y))
    for i, parameter in enumerate(varied):
        rows = np.flatnonzero(chosen == i)
        place = space.slots.of(parameter.name)
        y[rows, place] = _changed(parameter, y[rows, place], strength, rng)
    return space.project(y)


def _changed(
    parameter: Parameter, x: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Return other values (n, size) of a parameter, near the given ones where it has an order."""
    n = len(x)
    if isinstance(parameter, Category):
        count = len(parameter.values)
        return np.asarray((x + rng.integers(1, count, size=(n, 1))) % count)
    if isinstance(parameter, Letters):
        site = rng.integers(0, parameter.length, size=n)
        y = x.copy()
        y[np.arange(n), site] = rng.integers(0, int(parameter.high) + 1, size=n)
        return y
    deviate = rng.standard_normal((n, 1)) * strength
    if isinstance(parameter, Levels):
        index = parameter.index(x)[:, None]
        steps = _at_least_one(deviate * len(parameter.values))
        index = np.clip(index + steps, 0, len(parameter.grid) - 1).astype(np.int64)
        return np.asarray(parameter.grid[index])
    width = parameter.high - parameter.low
    step = parameter.grid_step
    if step is not None:
        return np.asarray(x + step * _at_least_one(deviate * width / step))
    if isinstance(parameter, Real) and parameter.log:
        return np.asarray(x * np.exp(deviate * math.log(parameter.high / parameter.low)))
    return np.asarray(x + deviate * width)


def _at_least_one(steps: np.ndarray) -> np.ndarray:
    """Round numbers of steps away from 0."""
    return np.asarray(np.where(steps < 0, np.floor(steps), np.ceil(steps)))


def _within_share(rows: np.ndarray, taken: np.ndarray, share: int) -> np.ndarray:
    """Return the places of rows, in order, as long as none comes more than `share` times."""
    counts = np.bincount(taken, minlength=1 + max(rows, default=0))
    places = []
    for place, row in enumerate(rows):
        if counts[row] < share:
            counts[row] += 1
            places.append(place)
    return np.array(places, dtype=np.int64)


def _filled(
    problem: OfflineProblem,
    found: np.ndarray,
    parents: np.ndarray,
    k: int,
    rng: np.random.Generator,
    predict: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Add new designs to distinct ones (n, slots) until there are `k`, or no more.

    Returns:
        found: (k or fewer, slots) distinct designs, the given ones first.
        source: Row of `parents` that each came from; -1 for a given or random one.
    """
    space = sampling_space(problem)
    assert isinstance(space, MixedSpace)
    source = np.full(len(found), -1)
    share = -(-(k - len(found)) // len(parents))
    idle = 0
    for attempt in range(len(STRENGTHS) + 10_000):
        missing = k - len(found)
        if missing <= 0 or idle >= N_RANDOM:
            break
        from_row = np.arange(4 * missing + 16) % len(parents)
        if attempt < len(STRENGTHS):
            tried = mutated(space, parents[from_row], STRENGTHS[attempt], rng)
        else:
            tried = space.sample(len(from_row), rng)
            from_row = np.full(len(tried), -1)
        inside = problem.space.contains(tried)
        tried = tried[inside] + np.float32(0)
        from_row = from_row[inside]
        known = len(found)
        new = first_of_each_design(np.concatenate([found, tried])) - known
        new = new[new >= 0]
        idle = 0 if len(new) else idle + (attempt >= len(STRENGTHS))
        if predict is not None and len(new):
            new = new[np.argsort(-predict(tried[new]), kind="stable")]
        elif attempt < len(STRENGTHS):
            new = new[_within_share(from_row[new], source[source >= 0], share)]
        new = new[:missing]
        found = np.concatenate([found, tried[new]])
        source = np.concatenate([source, from_row[new]])
    return found, source
