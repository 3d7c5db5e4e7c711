"""Records of one method on one problem, put together over seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "FACTS",
    "mean_facts",
    "mean_quantiles",
    "mean_search",
    "measures",
    "merged_command",
    "problem_names",
]

FACTS = (
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
)
"""Numbers of a cell that are no scores; `seconds` is the whole cell's, the others stand in its
result."""

_SCORES = {
    "p100": ("overall", "p100"),
    "p50_distinct": ("distinct", "p50"),
    "p50": ("overall", "p50"),
    "mean": ("overall", "mean"),
    "first_p100": ("first", "p100"),
    "first_p50": ("first", "p50"),
}
_SEEDS = re.compile(r"(?<=--seeds )\S+")

Record = Mapping[str, Any]


def problem_names(records: Sequence[Record]) -> list[str]:
    """Return the name of each record's problem: the task, its options in brackets, and K where
    there are several."""
    several = len({record["k"] for record in records}) > 1
    return [_problem_name(record, several) for record in records]


def _problem_name(record: Record, with_k: bool) -> str:
    parts = [f"{name}={value}" for name, value in sorted(record["options"].items())]
    parts += [f"K={record['k']}"] if with_k else []
    return f"{record['task']} [{', '.join(parts)}]" if parts else str(record["task"])


def measures(records: Sequence[Record]) -> dict[str, tuple[float, ...]]:
    """Return the scores of finished cells, a number a cell; empty where the task has no oracle."""
    results = [record["result"] for record in records]
    if not results or any(result["overall"] is None for result in results):
        return {}
    values = {
        name: tuple(float(r[part][field]) for r in results)
        for name, (part, field) in _SCORES.items()
    }
    return values | {"share_above_best": tuple(float(r["share_above_best"]) for r in results)}


def mean_quantiles(records: Sequence[Record]) -> tuple[float, ...]:
    """Return the quantiles of the proposals' scores averaged over the cells that have them; empty
    where none has."""
    known = [record["result"]["quantiles"] for record in records if record["result"]["quantiles"]]
    return tuple(np.mean(known, axis=0).tolist()) if known else ()


def mean_search(records: Sequence[Record]) -> tuple[tuple[int, float, float | None], ...]:
    """Return (step, prediction, score) along the search, averaged over cells.

    A step needs a prediction from every cell that searched, else its mean would jump where one cell
    (whose surrogate left the finite numbers, say) drops out. The same holds for the score, which is
    None otherwise.
    """
    searches = [
        {s["step"]: s for s in r["result"]["search"]} for r in records if r["result"]["search"]
    ]
    curve = []
    for step in sorted(set[int]().union(*searches)):
        points = [search[step] for search in searches if step in search]
        predictions = [point["prediction"] for point in points]
        if len(points) < len(searches) or None in predictions:
            continue
        scores = [point["score"] for point in points]
        curve.append(
            (step, float(np.mean(predictions)), None if None in scores else float(np.mean(scores)))
        )
    return tuple(curve)


def mean_facts(records: Sequence[Record]) -> dict[str, float | None]:
    """Return FACTS averaged over the cells that know them; None where none does."""
    facts: dict[str, float | None] = {}
    for name in FACTS:
        values = [(record if name == "seconds" else record["result"])[name] for record in records]
        known = [value for value in values if value is not None]
        facts[name] = float(np.mean(known)) if known else None
    return facts


def merged_command(records: Sequence[Record]) -> str:
    """Return what repeats the cells: one line for commands that differ in their seeds only, e.g.
    ``--seeds 0-6,8``."""
    seeds: dict[str, set[int]] = {}
    for record in records:
        seeds.setdefault(_SEEDS.sub("\0", record["command"]), set()).add(record["seed"])
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
