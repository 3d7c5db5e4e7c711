"""The summary of a results folder: a row a cell, for spreadsheets and diffs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from mbo_gym.benchmark.record import CellRecord, CellResult

__all__ = ["COLUMNS", "summary_csv"]

COLUMNS = (
    "method",
    "task",
    "options",
    "k",
    "seed",
    "status",
    "p100",
    "p50",
    "p50_distinct",
    "mean",
    "first_p100",
    "first_p50",
    "share_above_best",
    "n_unique",
    "n_in_data",
    "n_infeasible",
    "diversity",
    "novelty",
    "search_oracle_calls",
    "seconds",
    "peak_memory_mb",
)
"""Columns of ``summary.csv``: the name in tables, the request, scores, counts and costs."""


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that spreadsheets would compute."""


def summary_csv(records: Iterable[CellRecord]) -> str:
    """Return a table with a row a record, in their order; numbers have five significant digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow([_text(value) for value in _row(record)])
    return text.getvalue()


def _row(record: CellRecord) -> list[Any]:
    request = record.request
    options = ";".join(f"{key}={value}" for key, value in sorted(request.options.items()))
    start = [record.label, request.task_id, options, request.k, request.seed, record.status]
    if record.result is None:
        unknown = [None] * (len(COLUMNS) - len(start) - 2)
        return [*start, *unknown, record.seconds, None]
    costs = [record.seconds, record.result.peak_memory_mb]
    return [*start, *_scores(record.result), *_counts(record.result), *costs]


def _scores(result: CellResult) -> list[float | None]:
    overall, first, distinct = result.overall, result.first, result.distinct
    if overall is None or first is None or distinct is None:
        return [None] * 7
    return [
        overall.p100,
        overall.p50,
        distinct.p50,
        overall.mean,
        first.p100,
        first.p50,
        result.share_above_best,
    ]


def _counts(result: CellResult) -> list[float | None]:
    return [
        result.n_unique,
        result.n_in_data,
        result.n_infeasible,
        result.diversity,
        result.novelty,
        result.search_oracle_calls,
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
