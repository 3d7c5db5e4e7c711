"""The batch card: one HTML page about a batch that needs no network."""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbo_gym.batch.charts import N_DATA, bar_chart, interval_chart, parity_chart, plane_chart
from mbo_gym.batch.geometry import Geometry
from mbo_gym.batch.importance import Importance, permutation_importance
from mbo_gym.batch.result import Batch
from mbo_gym.batch.study import SEEN, STUDY
from mbo_gym.benchmark.report.page import read, render
from mbo_gym.files import store
from mbo_gym.problem.dates import Date
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace

__all__ = ["to_html", "write_card"]

MEANINGS = {
    "predicted": "predicted score, in the file's unit and sign",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "chance": "chance to beat the best measured score",
    "works": "chance that the measurement works",
    "distance": "distance to the nearest measured design",
    "nearest_line": "line of that design in the file",
    "nearest_row": "row of that design in the data, from 0",
    "support": "inside or outside of the data's support",
    "slack": "distance from the nearest limit of a constraint",
    "agree": "models that predict a better score than the best measured one",
    "plate": "number of the plate",
    "wanted": "asked for by include",
}


@dataclass(frozen=True)
class _Row:
    """A parameter of the space, for a table."""

    name: str
    allowed: str
    measured: str


@dataclass(frozen=True)
class _Cell:
    """A cell of the batch's table; `value` where it is sorted as a number."""

    text: str
    value: float | None
    plain: bool


def to_html(batch: Batch, title: str = "") -> str:
    """Return the card of a batch as one page with a table, charts and a download.

    Styles and script are inside: the page opens without a network. It is readable without its
    script, and nothing from the data can act as markup.

    Args:
        batch: Batch to show.
        title: Title; empty for one made of the score's name.
    """
    importance = permutation_importance(batch.problem, batch.health)
    facts = set(batch.fact_columns())
    return render(
        read(__package__, "card.html.jinja"),
        css=read(__package__, "card.css"),
        script=read(__package__, "card.js"),
        batch=batch,
        title=title or f"Batch of {len(batch)} designs for {batch.score.name}",
        header=[(name, name in facts, MEANINGS.get(_plain(name), "")) for name in batch.header()],
        rows=_rows(batch),
        space=_space(batch),
        constraints=_constraints(batch),
        parity=_parity(batch),
        bars=bar_chart(importance) if importance else "",
        n_important=_n_important(importance),
        plane=_plane(batch),
        intervals=_intervals(batch),
        covered=SEEN,
        study=STUDY,
        csv_header=_csv(batch.header()),
        csv_rows=[_csv(cells) for cells in batch.cells()],
        chance=_mean(batch.facts.chance),
        predicted=_range(batch.predicted),
        n_inside=int(batch.facts.inside.sum()),
        nan=math.isnan,
        sums=" ".join(store.sha256(batch.text(mark).encode()) for mark in (",", "\t")),
    )


def write_card(batch: Batch, path: str | os.PathLike[str], title: str = "") -> Path:
    """Write the card of a batch, one page that opens without a network, atomically.

    Args:
        batch: Batch that `mbo_gym.propose` returned.
        path: File, which is replaced if it exists.
        title: Title; empty for one made of the score's name.

    Returns:
        The path.
    """
    return store.write_atomic(Path(path).expanduser(), to_html(batch, title).encode())


def _plain(name: str) -> str:
    return name if name in MEANINGS else name.removeprefix("batch_")


def _rows(batch: Batch) -> list[list[_Cell]]:
    """Return the cells of the batch's table."""
    values = list(batch.columns.values())
    n_designs = len(batch.names)
    found = []
    for i, row in enumerate(batch.cells()):
        cells = []
        for j, cell in enumerate(row):
            value = values[j][i]
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            number = number and not math.isnan(float(value))
            cells.append(_Cell(cell, float(value) if number else None, j < n_designs))
        found.append(cells)
    return found


def _space(batch: Batch) -> list[_Row]:
    """Return the parameters with their allowed and measured values."""
    space, x = batch.space, batch.problem.dataset.x
    if isinstance(space, CategoricalSpace):
        allowed = f"{space.length} letters out of {' '.join(space.letters)}"
        return [_Row(space.name, allowed, f"{len(x):,} sequences")]
    if isinstance(space, ContinuousSpace):
        return [
            _Row(
                name,
                f"the numbers from {_number(space.low[j])} to {_number(space.high[j])}",
                f"{_number(x[:, j].min())} to {_number(x[:, j].max())}",
            )
            for j, name in enumerate(space.names)
        ]
    assert isinstance(space, MixedSpace)
    rows = []
    for name, parameter in space.slots.parameters.items():
        part = x[:, space.slots.of(name)]
        if isinstance(parameter, Date):
            measured = " to ".join(parameter.text(np.array([[part.min()], [part.max()]])))
        elif parameter.numeric:
            measured = f"{_number(part.min())} to {_number(part.max())}"
        else:
            n = len(np.unique(part, axis=0))
            measured = f"{n:,} different"
        unit = f" ({parameter.unit})" if parameter.unit else ""
        rows.append(_Row(f"{name}{unit}", parameter.allowed(), measured))
    return rows


def _constraints(batch: Batch) -> list[str]:
    if not isinstance(batch.space, MixedSpace):
        return []
    return [constraint.in_words() for constraint in batch.space.constraints]


def _number(value: float) -> str:
    return str(np.float32(value)).removesuffix(".0")


def _parity(batch: Batch) -> str:
    health = batch.health
    if not health.models:
        return ""
    sign = batch.score.sign
    y = sign * batch.problem.dataset.y[health.rows].astype(np.float64)
    return parity_chart(y, sign * health.held_out, batch.score.name)


def _plane(batch: Batch) -> str:
    """Draw data and batch along the two directions in which the data vary most."""
    dataset = batch.problem.dataset
    geometry = Geometry(batch.space, dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), N_DATA)).astype(int))
    data = geometry.points(dataset.x[rows]).astype(np.float64)
    mean = data.mean(axis=0)
    _, size, axes = np.linalg.svd(data - mean, full_matrices=False)
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), data.shape[1]))])
        size = np.concatenate([size, np.zeros(2)])
    total = float((size**2).sum()) or 1.0
    shares = (float(size[0] ** 2) / total, float(size[1] ** 2) / total)
    rank = dataset.y[rows].argsort().argsort() / max(1, len(rows) - 1)
    batch_points = (geometry.points(batch.x).astype(np.float64) - mean) @ axes[:2].T
    return plane_chart((data - mean) @ axes[:2].T, rank, batch_points, shares)


def _intervals(batch: Batch) -> str:
    facts = batch.facts
    unit = f"predicted {batch.score.name}"
    return interval_chart(batch.predicted, facts.low, facts.high, batch.best_measured, unit)


def _n_important(importance: list[Importance]) -> int:
    return sum(item.value > 0.01 for item in importance)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(np.min(values)), float(np.max(values))) if len(values) else (math.nan, math.nan)


def _csv(cells: list[str]) -> str:
    """Return cells as one line of CSV, which the page's button saves."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
