"""Reader of BOCoDe: problems and tables of engineering, materials and hyperparameters (MIT).

Functions are called in the installed package, tables are read from it; nothing is copied.
"""

from __future__ import annotations

import csv
import math
import string
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np

from mbo_gym.data.installed import installed_file
from mbo_gym.errors import InvalidData, MissingDependency
from mbo_gym.optional import optional_import
from mbo_gym.problem.constraints import AllowedDesigns, LinearLimit
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace, make_space
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, DesignSpace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PROBLEMS", "Problem", "ProblemFacts", "is_enumerable", "read_list"]

MOST_LISTED = 5_000
"""Designs of a list; of a longer table as many rows are taken, evenly spaced."""
MOST_LEVELS = 64
"""Distinct numbers of a column of a list up to which they are levels."""
MOST_ENUMERATED = 1 << 17
"""Designs of letters up to which every one is scored, so that the oracle is a table."""
LINEAR = 1e-9
"""Largest error of a constraint's linear fit, relative to its largest value."""


@dataclass(frozen=True)
class ProblemFacts:
    """What is known of a problem without the package.

    Args:
        name: Name in the ids of tasks.
        kind: ``function``, ``letters`` (a complete table), ``list`` (a finite list of designs that
            the package holds), or ``csv`` (such a list in a file of the package).
        parameters: Number of parameters.
        title: What is designed.
        constraints: Number of constraints.
        designs: Number of designs of a list or a table; 0 for a function, -1 where not yet counted.
        problem: Name in the package; empty for `name`.
        arguments: Arguments of the problem's class.
        file: File of the package, for ``csv``.
        columns: Columns of the design in that file.
        score: Column of the score in that file.
        minimise: Whether lower is better in that file.
        words: Whether the numbers of that file stand for words.
    """

    name: str
    kind: str
    parameters: int
    title: str
    constraints: int = 0
    designs: int = 0
    problem: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    columns: Sequence[str] = ()
    score: str = ""
    minimise: bool = False
    words: bool = False


PROBLEMS: dict[str, ProblemFacts] = {
    name: ProblemFacts(name, **facts)
    for name, facts in tomllib.loads(
        files("mbo_gym.data").joinpath("bocode.toml").read_text(encoding="utf-8")
    )["problems"].items()
}
"""Every problem that is a task, by name."""


class Problem:
    """A problem of the package: its space and its scores.

    Linear constraints become constraints of the space. All others are known by evaluation only: a
    design that breaks one, or has no finite score, is infeasible.

    Args:
        facts: The problem.

    Raises:
        MissingDependency: The package, or a library that the problem needs, is not installed.
    """

    def __init__(self, facts: ProblemFacts) -> None:
        self.facts = facts
        with warnings.catch_warnings():  # the package turns all warnings off when imported
            package = optional_import("bocode", "bocode")
            try:
                kind = package.get_problem(facts.problem or facts.name)
                self.problem = kind(**facts.arguments)
            except ImportError as error:
                raise MissingDependency(error.name or "bocode", "bocode") from error
        bounds = [sorted(map(float, ends)) for ends in self.problem.bounds]  # some are reversed
        self.low = np.array([low for low, _ in bounds])
        self.high = np.array([high for _, high in bounds])

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, or one sequence of letters where all are alike and without order."""
        types = self.problem.resolved_variable_types()
        names = getattr(self.problem, "variable_names", None)
        names = names or [f"x{j + 1}" for j in range(len(types))]
        found = [
            _parameter(name, kind, low, high)
            for name, kind, low, high in zip(names, types, self.low, self.high, strict=True)
        ]
        sizes = {len(p.values) if isinstance(p, Category) else 0 for p in found}
        letters = string.digits + string.ascii_lowercase
        if len(found) > 1 and len(sizes) == 1 and 1 < max(sizes) <= len(letters):
            return (Letters("design", tuple(letters[: max(sizes)]), len(found)),)
        return tuple(found)

    @cached_property
    def linear(self) -> dict[int, LinearLimit]:
        """The linear constraints by their number."""
        box = make_space(self.parameters)
        if not self.facts.constraints or isinstance(box, CategoricalSpace):
            return {}
        names = [p.name for p in self.parameters]
        numeric = np.array([p.numeric for p in self.parameters])
        n = 4 * (len(names) + 10)
        x = box.sample(n, np.random.default_rng(0))
        _, values = self.evaluate(x)
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        u = (self._numbers(box, x) - self.low) / width
        u = np.concatenate([u[:, numeric], np.ones((n, 1))], axis=1)
        found = {}
        for k, value in enumerate(values.T):
            size = np.abs(value).max()
            if not np.isfinite(size) or size == 0:
                continue
            half = n // 2
            fit, *_ = np.linalg.lstsq(u[:half], value[:half], rcond=None)
            if np.abs(u @ fit - value).max() > LINEAR * size:
                continue
            weights = fit[:-1] / width[numeric]
            limit = float(weights @ self.low[numeric] - fit[-1])
            limit = 0.0 if abs(limit) < LINEAR * size else limit
            used = np.abs(fit[:-1]) > LINEAR * size
            chosen = [name for name, number in zip(names, numeric, strict=True) if number]
            terms = {
                name: float(weight)
                for name, weight, use in zip(chosen, weights, used, strict=True)
                if use
            }
            if terms:
                found[k] = LinearLimit(terms, high=limit)
        return found

    @cached_property
    def space(self) -> DesignSpace:
        """The design space, with the constraints that are linear."""
        return make_space(self.parameters, tuple(self.linear.values()))

    def _numbers(self, space: DesignSpace, x: np.ndarray) -> np.ndarray:
        """Return designs as the numbers (N, d) float64 that the package expects."""
        numbers = np.asarray(x, dtype=np.float64)
        if isinstance(space, MixedSpace):
            numbers = space.feasible.nearest_values(numbers)
        return np.clip(numbers, self.low, self.high)  # a float32 bound may lie just outside

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Call the package.

        Args:
            x: (N, *shape) designs inside the bounds.

        Returns:
            y: (N,) float64 scores, higher is better.
            constraints: (N, n_constraints) float64; at most 0 where one holds.
        """
        import torch

        box = make_space(self.parameters)
        numbers = torch.from_numpy(self._numbers(box, x))
        with torch.no_grad(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values, constraints = self.problem.evaluate(numbers)
        y = np.asarray(values.numpy(), dtype=np.float64).reshape(len(x))
        if constraints is None:
            return y, np.zeros((len(x), 0))
        return y, np.asarray(constraints.numpy(), dtype=np.float64).reshape(len(x), -1)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Return the scores of designs (N, *shape) of the space, (N,); NaN where infeasible."""
        y, constraints = self.evaluate(x)
        black_box = [k for k in range(constraints.shape[1]) if k not in self.linear]
        feasible = np.isfinite(y) & (constraints[:, black_box] <= 0).all(axis=1)
        return np.asarray(np.where(feasible, y, np.nan))

    @property
    def optimum(self) -> float | None:
        """The best score that the package states, or None."""
        stated = self.problem.optimum
        if stated is None:
            return None
        value = np.ravel(np.asarray(stated, dtype=np.float64))
        return -float(value[0]) if len(value) == 1 and np.isfinite(value[0]) else None


def read_list(facts: ProblemFacts) -> tuple[DesignSpace, np.ndarray, np.ndarray]:
    """Read the finite list of designs of a problem. Scores of equal designs are averaged.

    Args:
        facts: A problem of kind ``list`` or ``csv``.

    Returns:
        space: Design space: the list, or the product of all values where every one is there.
        x: (N, slots) designs.
        y: (N,) their scores, higher is better.

    Raises:
        MissingDependency: The package is not installed.
        InvalidData: The file is not the one that this version was made for.
    """
    if facts.kind == "csv":
        names, columns, y = _read_csv(facts)
    else:
        problem = Problem(facts).problem
        columns = np.asarray(problem.candidates.numpy(), dtype=np.float64)
        y = np.asarray(problem.values.numpy(), dtype=np.float64)
        names = getattr(problem, "variable_names", None) or facts.columns
    if len(columns) > MOST_LISTED:
        rows = np.linspace(0, len(columns) - 1, MOST_LISTED).round().astype(np.int64)
        columns, y = columns[rows], y[rows]
    columns = columns.astype(np.float32)
    x, first, group = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    y = np.bincount(group.ravel(), weights=y) / np.bincount(group.ravel())
    order = np.argsort(first)
    x, y = x[order], y[order]
    if len(x) != facts.designs and facts.designs >= 0:
        raise InvalidData(
            f"{facts.name} has {len(x)} distinct designs, and {facts.designs} were expected. "
            "Install the release of bocode that constraints.txt names."
        )
    parameters = [_of_list(name, x[:, j], facts.words) for j, name in enumerate(names)]
    if math.prod(p.n_values for p in parameters) == len(x):
        return make_space(parameters), x, y
    box = MixedSpace(tuple(parameters))
    return make_space(parameters, [AllowedDesigns(tuple(box.values(x)))]), x, y


def _read_csv(facts: ProblemFacts) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    place = installed_file("bocode", facts.file)
    if place is None:
        raise MissingDependency("bocode", "bocode")
    with place.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = np.array([[float(row[name]) for name in facts.columns] for row in rows])
    y = np.array([float(row[facts.score]) for row in rows])
    return facts.columns, columns, -y if facts.minimise else y


def _of_list(name: str, values: np.ndarray, words: bool) -> Parameter:
    """Return the parameter of a column of a list."""
    distinct = np.unique(values)
    if words:
        return Category(name, tuple(str(a) for a in range(int(distinct.max()) + 1)))
    if len(distinct) <= MOST_LEVELS:
        return Levels(name, tuple(distinct.tolist()))
    if (distinct == np.rint(distinct)).all() and np.abs(distinct).max() < 1 << 24:
        return Integer(name, int(distinct[0]), int(distinct[-1]))
    return Real(name, float(distinct[0]), float(distinct[-1]))


def _parameter(name: str, kind: Any, low: float, high: float) -> Parameter:
    """Return the parameter of one dimension of a problem.

    Args:
        name: Name of the parameter.
        kind: ``"continuous"``, ``"integer"`` or the allowed values, as the package has it.
        low: Smallest value.
        high: Largest value.
    """
    if kind == "continuous":
        return Real(name, low, high)
    if kind == "integer":
        return Integer(name, math.ceil(low), math.floor(high))
    values = sorted({float(value) for value in kind})
    if values == list(range(len(values))):
        return Category(name, tuple(str(a) for a in range(len(values))))
    return Levels(name, tuple(values))


def is_enumerable(space: DesignSpace) -> bool:
    """Whether every design of a space of letters can be scored, so that the oracle is a table."""
    return (
        isinstance(space, CategoricalSpace)
        and float(space.n_categories) ** space.length <= MOST_ENUMERATED
    )
