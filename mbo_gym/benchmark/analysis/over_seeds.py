"""Combines the records of one method on one task over seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from mbo_gym.benchmark.record import CellRecord, CellResult, SearchStep
from mbo_gym.evaluation.search import stability

__all__ = [
    "DIAGNOSTICS",
    "OFFLINE",
    "mean_diagnostics",
    "mean_offline",
    "mean_quantiles",
    "mean_search",
    "measures",
    "merged_command",
    "task_names",
]

DIAGNOSTICS = (
    "seconds",
    "fit_seconds",
    "propose_seconds",
    "peak_memory_mb",
    "n_unique",
    "n_in_data",
    "n_infeasible",
    "diversity",
    "novelty",
    "oracle_calls",
    "trace_oracle_calls",
    "search_oracle_calls",
    "learned_rollouts",
    "learned_gradients",
)
"""Numbers of a cell besides its scores; `seconds` is of the whole cell, the rest of its result."""

OFFLINE = (
    "r2",
    "rank_correlation",
    "coverage_data",
    "coverage_proposals",
    "stability",
    "optimality",
)
"""What a surrogate says of itself (`mbo_gym.runs.offline.offline_numbers`), and how steadily the
search stayed above the data (`mbo_gym.evaluation.search.stability`)."""

_SEEDS = re.compile(r"(?<=--seeds )\S+")


def task_names(records: Sequence[CellRecord]) -> list[str]:
    """Return the name of each record's task setting.

    That is the task, its options in brackets, K where the records hold several, and the hash of the
    data where records of one task were made with different data.
    """
    several = len({record.request.k for record in records}) > 1
    names = [_task_name(record, with_k=several) for record in records]
    data: dict[str, Counter[str]] = defaultdict(Counter)
    for name, record in zip(names, records, strict=True):
        if record.result is not None and record.result.data:
            data[name][record.result.data] += 1
    return [
        _with_data(name, record, data[name]) if len(data[name]) > 1 else name
        for name, record in zip(names, records, strict=True)
    ]


def _with_data(name: str, record: CellRecord, known: Counter[str]) -> str:
    """Return the name of a task setting of different data; a failed cell goes to the most."""
    own = record.result.data if record.result else known.most_common(1)[0][0]
    text = f"data {own[:8] or 'unknown'}"
    return f"{name[:-1]}, {text}]" if name.endswith("]") else f"{name} [{text}]"


def _task_name(record: CellRecord, *, with_k: bool) -> str:
    request = record.request
    parts = [f"{name}={value}" for name, value in sorted(request.options.items())]
    parts += [f"K={request.k}"] if with_k else []
    return f"{request.task_id} [{', '.join(parts)}]" if parts else request.task_id


def measures(results: Sequence[CellResult]) -> dict[str, tuple[float, ...]]:
    """Return the scores of finished cells, a number a cell; empty without an oracle."""
    rows = [row for result in results if (row := _scores(result)) is not None]
    if not rows or len(rows) < len(results):
        return {}
    return {name: tuple(row[name] for row in rows) for name in rows[0]}


def _scores(result: CellResult) -> dict[str, float] | None:
    overall, first, distinct = result.overall, result.first, result.distinct
    share = result.share_above_best
    if overall is None or first is None or distinct is None or share is None:
        return None
    return {
        "p100": overall.p100,
        "p50_distinct": distinct.p50,
        "p50": overall.p50,
        "mean": overall.mean,
        "first_p100": first.p100,
        "first_p50": first.p50,
        "share_above_best": share,
    }


def mean_quantiles(results: Sequence[CellResult]) -> tuple[float, ...]:
    """Return the quantiles of the scores, means over the cells that have them; empty if none."""
    known = [result.quantiles for result in results if result.quantiles]
    return tuple(np.mean(known, axis=0).tolist()) if known else ()


def mean_search(results: Sequence[CellResult]) -> tuple[tuple[int, float, float | None], ...]:
    """Return (step, prediction, score) along the search, means over cells."""
    return _mean_curve([result.search for result in results])


def mean_learning(results: Sequence[CellResult]) -> tuple[tuple[int, float, float | None], ...]:
    """Return the same along the training of a policy."""
    return _mean_curve([result.learning for result in results])


def _mean_curve(
    curves: Sequence[Sequence[SearchStep]],
) -> tuple[tuple[int, float, float | None], ...]:
    """Return (step, prediction, score), means over the curves that are not empty.

    A step needs a prediction from every cell that searched: else the mean would jump where one
    cell, whose surrogate diverged, say, drops out. The score needs the same, and is None otherwise.
    """
    searches = [{point.step: point for point in points} for points in curves if points]
    curve = []
    for step in sorted(set[int]().union(*searches)):
        points = [search[step] for search in searches if step in search]
        predictions = [p.prediction for p in points if p.prediction is not None]
        scores = [p.score for p in points if p.score is not None]
        if len(predictions) < len(searches):
            continue
        score = float(np.mean(scores)) if len(scores) == len(points) else None
        curve.append((step, float(np.mean(predictions)), score))
    return tuple(curve)


def mean_diagnostics(records: Sequence[CellRecord]) -> dict[str, float | None]:
    """Return DIAGNOSTICS, means over the finished cells that have them; None where none has."""
    means: dict[str, float | None] = dict.fromkeys(DIAGNOSTICS)
    for name in DIAGNOSTICS:
        values = [getattr(r if name == "seconds" else r.result, name) for r in records]
        known = [value for value in values if value is not None]
        if known:
            means[name] = float(np.mean(known))
    return means


def mean_offline(results: Sequence[CellResult]) -> dict[str, float | None]:
    """Return OFFLINE, means over the finished cells that have them; None where none has."""
    rows = [_offline(result) for result in results]
    means: dict[str, float | None] = dict.fromkeys(OFFLINE)
    for name in OFFLINE:
        known = [value for row in rows if (value := row.get(name)) is not None]
        if known:
            means[name] = float(np.mean(known))
    return means


def _offline(result: CellResult) -> dict[str, float | None]:
    numbers = dict(result.offline)
    scores = [point.score for point in result.search if point.score is not None]
    if scores and len(scores) == len(result.search):
        numbers["stability"], numbers["optimality"] = stability(scores, result.d_best)
    return numbers


def merged_command(records: Sequence[CellRecord]) -> str:
    """Return the commands that repeat the cells, one for all seeds, e.g. ``--seeds 0-6,8``."""
    seeds: dict[str, set[int]] = {}
    for record in records:
        seeds.setdefault(_SEEDS.sub("\0", record.command), set()).add(record.request.seed)
    return "\n".join(
        command.replace("\0", _ranges(sorted(numbers))) for command, numbers in seeds.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write ascending whole numbers as ``--seeds`` takes them: 0-3,5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
