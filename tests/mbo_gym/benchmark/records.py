"""Made-up records: one cell with chosen scores, and a results file with all that can occur."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mbo_gym.benchmark.record import SCHEMA, CellRecord

__all__ = ["failed", "make_records", "record", "values"]

ENVIRONMENT: dict[str, Any] = {
    "versions": {"mbo_gym": "0.1.0", "python": "3.11.7", "torch": "2.5.1", "numpy": "1.26.4"},
    "git": "0123456789abcdef0123456789abcdef01234567",
    "machine": {"platform": "Linux-6.1-x86_64", "threads": 1},
}

_TFBIND, _LEVY, _CSV = "TFBind8-Exact-v0", "Levy-Exact-v0", "csv"
_FACTS: dict[str, dict[str, Any]] = {
    _TFBIND: {
        "d_best": 0.439,
        "n_visible": 32898,
        "ceiling": {
            "p100": 1.0,
            "p50": 0.931,
            "exact": True,
            "note": "the best K designs of the table",
        },
        "controls": {
            "random": {"p100": 0.959, "p50": 0.440},
            "top_k": {"p100": 0.439, "p50": 0.437},
        },
    },
    _LEVY: {
        "d_best": 0.613,
        "n_visible": 15000,
        "ceiling": {
            "p100": 1.354,
            "p50": 1.354,
            "exact": True,
            "note": "the minimum of the formula, at 1",
        },
        "controls": {},
    },
    _CSV: {"d_best": 1.0, "n_visible": 412, "ceiling": {}, "controls": {}},
}
_OPTIONS: dict[str, dict[str, Any]] = {
    _TFBIND: {},
    _LEVY: {"dim": 30},
    _CSV: {"path": "peptides.csv", "score_column": "activity <IC50 & more>"},
}
_PREDICTORS = ("grad", "pgs")


def record(
    label: str = "grad",
    task_id: str = _TFBIND,
    seed: int = 0,
    *,
    p100: float | None = 0.9,
    p50: float | None = None,
    result: Mapping[str, Any] | None = None,
    **changes: Any,
) -> CellRecord:
    """Return the record of a finished cell; see `values`."""
    made = values(label, task_id, seed, p100=p100, p50=p50, result=result, **changes)
    return CellRecord.from_json(made)


def values(
    label: str = "grad",
    task_id: str = _TFBIND,
    seed: int = 0,
    *,
    p100: float | None = 0.9,
    p50: float | None = None,
    result: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the JSON values of a finished cell.

    Args:
        label: "method" or "method [preset]".
        task_id: The task; of three of them the facts are known, any other has none.
        seed: Of the method.
        p100: Best normalised score; None for a task without an oracle.
        p50: Median over all and over distinct proposals, also of the first 128; the mean is the
            same. None for `p100`.
        result: Parts of the result that differ.
        **changes: Fields of the record that differ.
    """
    method, _, preset = label.rstrip("]").partition(" [")
    p50 = p100 if p50 is None else p50
    options, k = changes.get("options", _OPTIONS.get(task_id, {})), changes.get("k", 256)
    flags = "".join(f" --option {name}={value}" for name, value in options.items())
    flags = (f" --preset {preset}" if preset else "") + flags
    scores = None if p100 is None else {"n": k, "p100": p100, "p50": p50, "mean": p50}
    facts = _FACTS.get(task_id, {"d_best": 0.5, "n_visible": 1000, "ceiling": {}, "controls": {}})
    cell: dict[str, Any] = {
        "schema": SCHEMA,
        "key": hashlib.sha256(
            f"{label} {task_id} {sorted(options.items())} {k} {seed}".encode()
        ).hexdigest()[:16],
        "status": "done",
        "label": label,
        "method": method,
        "preset": preset or None,
        "settings": {},
        "config": {"steps": 100},
        "control": method in ("random", "top_k", "top_k_noise", "mean_design", "random_filtered"),
        "external": False,
        "task": task_id,
        "options": dict(options),
        "seed": seed,
        "k": k,
        "device": "cpu",
        "cpus": 1,
        "command": f"mbo-gym run {method} {task_id}{flags} --seeds {seed} --k {k}",
        "attempts": 1,
        "finished": f"2026-11-21T13:{seed % 60:02d}:00+00:00",
        "seconds": 12.5,
        "environment": ENVIRONMENT,
        "error": None,
        "result": {
            "task_id": task_id,
            "k": k,
            "note": ""
            if scores
            else "Not scored: this task has no oracle. Measure the designs yourself.",
            "overall": scores,
            "first": scores and {**scores, "n": min(128, k)},
            "distinct": scores,
            "share_above_best": None if p100 is None else 0.5,
            "n_unique": k,
            "n_in_data": 0,
            "n_infeasible": 0,
            "oracle_calls": k if scores else 0,
            "search_oracle_calls": 0,
            "trace_oracle_calls": 0,
            "fit_seconds": 10.0,
            "propose_seconds": 2.0,
            "peak_memory_mb": 512.25,
            "diversity": 0.71,
            "novelty": 0.55,
            "quantiles": None if p100 is None else np.linspace(2 * p50 - p100, p100, 41).tolist(),
            "search": [],
            **facts,
            **(result or {}),
        },
    }
    return {**cell, **changes}


def failed(
    label: str = "grad", task_id: str = _TFBIND, seed: int = 0, **changes: Any
) -> CellRecord:
    """Return the record of a cell that failed with a ValueError."""
    trace = 'Traceback (most recent call last):\n  File "a.py", line 3, in fit\nValueError: loss is <nan>\n'
    error = {"type": "ValueError", "message": "loss is <nan>", "traceback": trace}
    made = values(label, task_id, seed, **{"status": "failed", "error": error, **changes})
    return CellRecord.from_json({**made, "result": None})


def make_records() -> list[CellRecord]:
    """Return the records of a benchmark with all that can occur; the same ones at each call.

    TFBind8: exact controls from the table, no control run. Levy in 30 dimensions: controls run, a
    failed cell, one method missing, a method with fewer seeds. A CSV of the user's without an
    oracle. Two commits.
    """
    rng = np.random.default_rng(7)
    records = []
    for label, p100, p50, seeds in (
        ("grad", 0.971, 0.55, 8),
        ("grad [adam]", 0.985, 0.71, 8),
        ("pgs", 0.930, 0.62, 8),
    ):
        records += [_noisy(rng, label, _TFBIND, seed, p100, p50) for seed in range(seeds)]
    records.append(_external(rng))
    for label, p100, p50, seeds in (
        ("random", 0.48, -0.35, 8),
        ("top_k", 0.613, 0.580, 8),
        ("grad", 0.93, 0.71, 8),
        ("pgs", 0.66, 0.575, 5),
    ):
        records += [_noisy(rng, label, _LEVY, seed, p100, p50) for seed in range(seeds)]
    records.append(
        failed("pgs", _LEVY, 5, environment={**ENVIRONMENT, "git": ENVIRONMENT["git"] + "+changes"})
    )
    believed = [
        {"step": step, "prediction": 0.8 + step / 50, "score": None} for step in range(0, 101, 5)
    ]
    for label, search in (("random", []), ("grad", believed)):
        records += [
            record(label, _CSV, seed, p100=None, result={"search": search}) for seed in range(3)
        ]
    return records


def _noisy(
    rng: np.random.Generator,
    label: str,
    task_id: str,
    seed: int,
    p100: float,
    p50: float,
    result: Mapping[str, Any] | None = None,
    **more: Any,
) -> CellRecord:
    """Return a cell whose scores scatter about the given ones, with quantiles, and a search where a
    method has one."""
    spread = 0.0 if label == "top_k" else 0.02
    top, middle = (float(v) for v in rng.normal([p100, p50], spread))
    top = min(max(top, middle), _FACTS[task_id]["ceiling"]["p100"])
    distinct = middle - (0.01 if task_id == _TFBIND else 0.0)
    first = {"n": 128, "p100": top - 0.005, "p50": middle + 0.005, "mean": middle}
    shape = np.sort(rng.normal(0.0, 0.4, 41))
    quantiles = middle + np.where(shape < 0, shape, (top - middle) * shape / shape[-1])
    quantiles[20] = middle
    changes = {
        "overall": {"n": 256, "p100": top, "p50": middle, "mean": middle - 0.02},
        "first": first,
        "distinct": {"n": 240, "p100": top, "p50": distinct, "mean": distinct - 0.02},
        "share_above_best": float(np.mean(quantiles > _FACTS[task_id]["d_best"])),
        "n_unique": 240 if task_id == _TFBIND else 256,
        "n_in_data": 256 if label == "top_k" else 3 if task_id == _TFBIND else 0,
        "diversity": float(rng.uniform(0.4, 0.8)),
        "novelty": 0.0 if label == "top_k" else float(rng.uniform(0.2, 0.5)),
        "fit_seconds": float(rng.uniform(5, 9)),
        "propose_seconds": float(rng.uniform(1, 2)),
        "peak_memory_mb": float(rng.uniform(400, 600)),
        "quantiles": np.sort(quantiles).tolist(),
        "search": _search(rng, task_id, middle) if label.split()[0] in _PREDICTORS else [],
    }
    changes["trace_oracle_calls"] = 21 * 256 if changes["search"] else 0
    seconds = float(rng.uniform(8, 14))
    return record(
        label, task_id, seed, result=changes | dict(result or {}), seconds=seconds, **more
    )


def _search(rng: np.random.Generator, task_id: str, end: float) -> list[dict[str, Any]]:
    """Return a search whose surrogate believes in more and more while the score rises and then
    falls to `end`."""
    start, steps = _FACTS[task_id]["d_best"], np.arange(0, 101, 5)
    score = (
        start
        + (end - start) * steps / 100
        + 0.3 * np.sin(np.pi * steps / 100)
        + rng.normal(0, 0.005, len(steps))
    )
    prediction = start + 0.012 * steps
    return [
        {"step": int(step), "prediction": float(p), "score": float(s)}
        for step, p, s in zip(steps, prediction, score, strict=True)
    ]


def _external(rng: np.random.Generator) -> CellRecord:
    """Return a cell that was scored from a file."""
    return _noisy(
        rng,
        "my_method",
        _TFBIND,
        0,
        0.99,
        0.83,
        {"search": [], "fit_seconds": 0.0, "propose_seconds": 0.0, "peak_memory_mb": None},
        external=True,
        config={"file": "designs.csv", "sha256": "ab" * 32},
        command=f"mbo-gym evaluate {_TFBIND} designs.csv --label my_method",
    )
