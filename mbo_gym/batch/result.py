"""The result: a batch of designs in the file's columns, with what is known of each."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.batch.feasibility import Feasibility
from mbo_gym.batch.health import Health
from mbo_gym.batch.intervals import Intervals
from mbo_gym.batch.select import Trade
from mbo_gym.files import store
from mbo_gym.methods.base import CriterionUnit, Proposals
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import ContinuousSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Batch", "Facts", "Score", "free_name"]

N_SHOWN = 10
"""Rows of a batch that is printed."""
N_SCORES = 3
"""Facts that are scores, with six digits; the others have three."""


@dataclass(frozen=True)
class Score:
    """The score as the file has it.

    Args:
        name: Name of the column.
        minimise: Whether lower is better in the file.
    """

    name: str = "score"
    minimise: bool = False

    @property
    def sign(self) -> int:
        """-1 where the file's scores are negated inside, else 1."""
        return -1 if self.minimise else 1

    @property
    def better(self) -> str:
        """Word for a better score."""
        return "below" if self.minimise else "above"


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of each design of a batch; arrays (k,).

    Args:
        low: Lower end of the interval, in the file's unit and sign; NaN without intervals.
        high: Upper end of the interval.
        chance: Chance to beat the best measured score.
        works: Chance that the measurement works, or None where no failure is known.
        distance: Distance to the nearest measured design.
        row: Row of that design in the data, from 0.
        line: Line of that design in the file, or None where there is no file.
        inside: Whether the design lies inside the data's support.
        slack: Distance from the nearest limit of a constraint, or None where there is none.
        agree: Names of the models that predict a better score than the best measured one.
        n_models: Number of models asked.
        plate: Number of the plate, from 1, or None.
        wanted: Whether the design was asked for by `include`.
    """

    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    works: np.ndarray | None
    distance: np.ndarray
    row: np.ndarray
    line: np.ndarray | None
    inside: np.ndarray
    slack: np.ndarray | None
    agree: Sequence[tuple[str, ...]]
    n_models: int
    plate: np.ndarray | None
    wanted: np.ndarray


@dataclass(frozen=True, eq=False)
class Batch(Proposals):
    """Designs to measure next, in the columns of the data they were made from.

    Printed, it shows the finding and the first rows. ``pandas.DataFrame(batch.columns)`` makes a
    data frame of it.

    Args:
        x: (k, *shape) native designs inside the space: best first, or plate by plate.
        criterion: (k,) prediction of each design as it is written, higher is better.
        space: Design space.
        names: Names of the design columns, as in the data.
        score: Name and direction of the score.
        facts: What is known of each design.
        health: How well held-out rows are predicted.
        intervals: Intervals of the predictions.
        feasibility: What was learned about failures, or None.
        trades: Score against diversity of this batch and of others.
        notes: Sentences about how the batch was made.
        problem: Space and data it was made from.
        method: Name of the method that was searched with; empty where none was needed.
        unit: Unit of the criterion, which is a score.
    """

    space: DesignSpace
    names: tuple[str, ...]
    score: Score
    facts: Facts
    health: Health
    intervals: Intervals
    feasibility: Feasibility | None
    trades: tuple[Trade, ...]
    notes: tuple[str, ...]
    problem: OfflineProblem
    method: str
    unit: CriterionUnit = field(default="score", kw_only=True)

    @property
    def predicted(self) -> np.ndarray:
        """(k,) predicted scores in the file's unit and sign."""
        return self.score.sign * np.asarray(self.criterion, dtype=np.float64)

    @property
    def best_measured(self) -> float:
        """Best measured score, in the file's unit and sign."""
        return self.score.sign * self.intervals.best

    @property
    def columns(self) -> dict[str, Any]:
        """Values of each design column as in the data, then the facts, by name."""
        table: dict[str, Any] = {}
        if isinstance(self.space, MixedSpace):
            rows = self.space.values(self.x)
            table = {name: [row[name] for row in rows] for name in self.names}
        elif isinstance(self.space, ContinuousSpace):
            table = {name: self.x[:, j] for j, name in enumerate(self.names)}
        else:
            table = {self.names[0]: [row[0] for row in self.space.format(self.x)]}
        return table | self.fact_columns()

    def fact_columns(self) -> dict[str, Any]:
        """Return what is known of each design, by the name of the column in files."""
        facts = self.facts
        found: dict[str, Any] = {
            "predicted": self.predicted,
            "low": facts.low,
            "high": facts.high,
            "chance": facts.chance,
        }
        if facts.works is not None:
            found["works"] = facts.works
        found["distance"] = facts.distance
        if facts.line is not None:
            found["nearest_line"] = facts.line
        else:
            found["nearest_row"] = facts.row
        found["support"] = ["inside" if inside else "outside" for inside in facts.inside]
        if facts.slack is not None:
            found["slack"] = facts.slack
        found["agree"] = [f"{len(names)} of {facts.n_models}" for names in facts.agree]
        if facts.plate is not None:
            found["plate"] = facts.plate
        if facts.wanted.any():
            found["wanted"] = ["yes" if wanted else "no" for wanted in facts.wanted]
        return {free_name(name, self.names): values for name, values in found.items()}

    def rows(self) -> list[dict[str, Any]]:
        """Return each design as a mapping from column to value, in the order of the batch."""
        columns = self.columns
        plain = [list(v.tolist() if isinstance(v, np.ndarray) else v) for v in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]

    def to_csv(self, path: str | os.PathLike[str], delimiter: str | None = None) -> Path:
        """Write the designs and what is known of them, atomically.

        Designs are on the steps and decimals of the data and read back exactly.

        Args:
            path: File, which is replaced if it exists.
            delimiter: Character between cells; None for a tab in a ``.tsv`` file, else a comma.
                `mbo-gym evaluate` reads commas, semicolons and tabs.

        Returns:
            The path.
        """
        path = Path(path).expanduser()
        if delimiter is None:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        return store.write_atomic(path, self.text(delimiter).encode())

    def text(self, delimiter: str = ",") -> str:
        """Return the content of the file that `to_csv` writes."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerows([self.header(), *self.cells()])
        return text.getvalue()

    def header(self) -> list[str]:
        """Return the names of all columns."""
        return [*self.names, *self.fact_columns()]

    def cells(self) -> list[list[str]]:
        """Return all columns of each design as texts."""
        designs = self.space.format(self.x)
        facts = [
            [_text(value, 6 if i < N_SCORES else 3) for value in values]
            for i, values in enumerate(self.fact_columns().values())
        ]
        return [[*row, *more] for row, more in zip(designs, zip(*facts, strict=True), strict=True)]

    def __str__(self) -> str:
        header = self.header()
        shown = [header, *self.cells()[:N_SHOWN]]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in shown]
        if len(self) > N_SHOWN:
            lines.append(f"... and {len(self) - N_SHOWN} more")
        return "\n".join([self.health.finding, "", *lines])


def free_name(name: str, taken: Sequence[str]) -> str:
    """Return a name of a column, another one where a design column has it."""
    while name in taken:
        name = f"batch_{name}"
    return name


def _text(value: Any, digits: int) -> str:
    """Return a value as text: numbers with up to some digits, nothing for NaN."""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{value:.{digits}g}"
    return str(value)
