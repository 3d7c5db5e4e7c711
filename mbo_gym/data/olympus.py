"""Reader of the tables of Olympus: measured chemistry and materials, MIT, Aspuru-Guzik group.

A table is a folder ``dataset_<name>`` with data.csv, which has no header, and config.json, which
names the columns and the goal. The package is not imported: its release of 2020 does not import
today.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.data.installed import installed_file
from mbo_gym.errors import InvalidData, MissingData, MissingDependency, UnknownId
from mbo_gym.problem.constraints import AllowedDesigns, Constraint, FixedSum
from mbo_gym.problem.mixed import make_space
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Levels, Real
from mbo_gym.problem.space import DesignSpace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TABLES", "Measured", "TableFacts", "olympus_folder", "read_measured"]

FOLDER = "datasets"
MIXTURE_ROUNDING = 1e-6
"""Difference of a mixture's sum from 1 up to which rounding explains it."""


@dataclass(frozen=True)
class TableFacts:
    """What is known of a table without its files.

    Args:
        name: Name of the table.
        kind: ``factorial`` (every combination was measured), ``list`` (a finite list of planned
            designs was measured) or ``points`` (designs anywhere between bounds were measured).
        source: Entry of manifest.toml that brings it.
        designs: Number of distinct designs.
        measurement: Name of the first measurement.
        goal: ``maximize`` or ``minimize``, of the first measurement.
        title: What is designed and what is measured.
        reference: Paper of the table, where it is not that of Olympus.
        parameters: Names of the columns where config.json has wrong ones.
    """

    name: str
    kind: str
    source: str
    designs: int
    measurement: str
    goal: str
    title: str
    reference: str = ""
    parameters: Sequence[str] = ()


TABLES: dict[str, TableFacts] = {
    name: TableFacts(name, **facts)
    for name, facts in tomllib.loads(
        files("mbo_gym.data").joinpath("olympus.toml").read_text(encoding="utf-8")
    )["tables"].items()
}
"""Every table that is a task, by name."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A table as designs and scores.

    Args:
        space: Design space.
        x: (N, *shape) distinct designs.
        y: (N,) float64 mean score of each, higher is better.
        n_rows: Rows of the file, before equal designs were averaged.
        measurement: Name of the measurement.
        minimise: Whether lower is better in the file, so that scores are negated.
    """

    space: DesignSpace
    x: np.ndarray
    y: np.ndarray
    n_rows: int
    measurement: str
    minimise: bool


def olympus_folder(facts: TableFacts, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a table.

    Args:
        facts: The table.
        folder: Folder that holds ``dataset_<name>`` folders; None takes ``$MBO_GYM_OLYMPUS``, else
            the installed package.

    Raises:
        MissingDependency: The package that has the table is not installed.
        MissingData: The folder has no such table, or only the repository has it.
    """
    named = folder or os.environ.get("MBO_GYM_OLYMPUS")
    if named:
        found = Path(named).expanduser() / f"dataset_{facts.name}"
        if not (found / "data.csv").exists():
            raise MissingData(
                f"{found} has no data.csv. Name the folder that holds the folders dataset_<name>, "
                "e.g. src/olympus/datasets of a clone of Olympus."
            )
        return found
    inside = installed_file("olympus", f"{FOLDER}/dataset_{facts.name}/data.csv")
    if inside:
        return inside.parent
    if facts.source == "olymp":
        raise MissingDependency("olymp", "olymp")
    raise MissingData(
        f"the table {facts.name} is in Olympus' repository, not in its release on PyPI: "
        f"{manifest.entry(facts.source).by_hand}."
    )


def read_measured(
    facts: TableFacts,
    folder: str | os.PathLike[str] | None = None,
    objective: str | None = None,
) -> Measured:
    """Read a table. Scores of equal designs are averaged.

    Args:
        facts: The table.
        folder: See `olympus_folder`.
        objective: Measurement that is the score; None for the first.

    Raises:
        MissingData, MissingDependency: See `olympus_folder`.
        UnknownId: The table has no such measurement.
        InvalidData: The files are not what config.json or `facts` say.
    """
    place = olympus_folder(facts, folder)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    with (place / "data.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    columns = config["parameters"]
    measurements = [column["name"] for column in config["measurements"]]
    wanted = measurements[0] if objective is None else objective
    if wanted not in measurements:
        raise UnknownId(f"measurement of {facts.name}", str(objective), measurements)
    width = len(columns) + len(measurements)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InvalidData(
                f"{place / 'data.csv'}, line {i + 1} has {len(row)} cells; config.json names "
                f"{width} columns"
            )
    names = facts.parameters or [column["name"] for column in columns]
    cells = [[row[j] for row in rows] for j in range(len(columns))]
    mixture = config.get("constraints", {}).get("parameters") == "simplex"
    planned = facts.kind != "points" and not mixture
    parameters = [
        _parameter(name, column, values, planned=planned)
        for name, column, values in zip(names, columns, cells, strict=True)
    ]
    place_of_goal = measurements.index(wanted)
    y = np.array([float(row[len(columns) + place_of_goal]) for row in rows])
    goals = config["default_goal"]
    goal = goals if isinstance(goals, str) else goals[place_of_goal]
    minimise = goal == "minimize"
    designs, x, y = _averaged(parameters, cells, -y if minimise else y)
    listed = facts.kind == "list"
    space = make_space(
        parameters, _constraints(parameters, designs, x, mixture=mixture, listed=listed)
    )
    _require_kind(facts, parameters, designs)
    return Measured(space, x, y, len(rows), wanted, minimise)


def _parameter(
    name: str, column: Mapping[str, Any], cells: Sequence[str], *, planned: bool
) -> Parameter:
    """Return the parameter of a column; numbers of a plan are levels."""
    if column.get("options"):
        options = [str(option) for option in column["options"]]
        if not all(map(_is_number, options)):
            return Category(name, tuple(options))
        return Levels(name, tuple(sorted(map(float, options))))
    numbers = sorted({float(cell) for cell in cells})
    if planned:
        return Levels(name, tuple(numbers))
    low = float(column.get("low", column.get("lower", math.inf)))
    high = float(column.get("high", column.get("upper", -math.inf)))
    return Real(name, min(low, numbers[0]), max(high, numbers[-1]))


def _averaged(
    parameters: Sequence[Parameter], cells: Sequence[Sequence[str]], y: np.ndarray
) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Return distinct designs as mappings and as slots, and their mean scores."""
    slots = np.array(
        [
            [parameter.number(cell)[0] for cell in values]
            for parameter, values in zip(parameters, cells, strict=True)
        ],
        dtype=np.float32,
    ).T
    x, first, group = np.unique(slots, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    mean = np.bincount(group, weights=y) / np.bincount(group)
    order = np.argsort(first)  # file order
    designs = [
        {p.name: values[i] for p, values in zip(parameters, cells, strict=True)}
        for i in first[order]
    ]
    return designs, x[order], mean[order]


def _constraints(
    parameters: Sequence[Parameter],
    designs: Sequence[Mapping[str, Any]],
    x: np.ndarray,
    *,
    mixture: bool,
    listed: bool,
) -> list[Constraint]:
    """Return a fixed sum where the designs are mixtures, and the list where it is finite.

    Some tables that config.json calls mixtures are none.
    """
    found: list[Constraint] = []
    if mixture and np.abs(x.sum(axis=1) - 1).max() < MIXTURE_ROUNDING:
        found.append(FixedSum(tuple(p.name for p in parameters), 1.0, MIXTURE_ROUNDING))
    if listed:
        found.append(AllowedDesigns(tuple(designs)))
    return found


def _require_kind(
    facts: TableFacts, parameters: Sequence[Parameter], designs: Sequence[Mapping[str, Any]]
) -> None:
    """Raise InvalidData unless the table holds the designs that `facts` promise."""
    if facts.kind == "factorial" and len(designs) != math.prod(p.n_values for p in parameters):
        raise InvalidData(
            f"{facts.name} has {len(designs)} of {math.prod(p.n_values for p in parameters):,.0f} "
            "combinations, so it is no full factorial. The files differ from the ones this version "
            "was made for; get them again."
        )
    if len(designs) != facts.designs:
        raise InvalidData(
            f"{facts.name} has {len(designs)} distinct designs, and {facts.designs} were expected. "
            "The files differ from the ones this version was made for; get them again."
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
