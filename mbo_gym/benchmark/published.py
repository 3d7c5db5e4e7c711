"""The papers' numbers, with source, budget and seeds: what a run's own numbers are printed beside."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published", "published_for"]


@dataclass(frozen=True)
class Published:
    """A published 100th percentile of normalised scores.

    Args:
        method: Our name of the method.
        task_id: The task.
        p100: The mean over the seeds.
        std: Standard deviation over the seeds, or None where the source gives none.
        k: Designs proposed.
        seeds: Number of trials.
        source: Where it stands.
    """

    method: str
    task_id: str
    p100: float
    std: float | None
    k: int
    seeds: int
    source: str


_TASKS = {
    "SC": "Superconductor-RandomForest-v0",
    "Ant": "AntMorphology-Exact-v0",
    "DKitty": "DKittyMorphology-Exact-v0",
    "Levy": "Levy-Exact-v0",
    "TF8": "TFBind8-Exact-v0",
    "TF10": "TFBind10-Exact-v0",
    "NAS": "CIFARNAS-Exact-v0",
}
_DEMO = ("DEMO, arXiv:2405.13964v1, Tables 1-2", 256, 8)
_RAM = ("RaM, ICLR 2025, Table 2", 128, 8)
_BASELINES = ("design-baselines README", 128, 8)
_Score = float | tuple[float, float]


def _row(method: str, source: tuple[str, int, int], scores: dict[str, _Score]) -> list[Published]:
    name, k, seeds = source
    rows = []
    for task, score in scores.items():
        mean, std = score if isinstance(score, tuple) else (score, None)
        rows.append(Published(method, _TASKS[task], mean, std, k, seeds, name))
    return rows


PUBLISHED: tuple[Published, ...] = (
    *_row(
        "grad",
        _DEMO,
        {"SC": 0.489, "Ant": 0.927, "DKitty": 0.949, "Levy": 0.948, "TF8": 0.898, "TF10": 0.638, "NAS": 0.611},
    ),
    *_row("grad", _RAM, {"Ant": 0.273, "DKitty": 0.853, "SC": 0.510, "TF8": 0.969, "TF10": 0.646}),
    *_row("grad", _BASELINES, {"SC": 0.518, "Ant": 0.291, "DKitty": 0.874, "TF8": 0.977}),
    *_row(
        "pgs",
        _RAM,
        {
            "Ant": (0.715, 0.046),
            "DKitty": (0.954, 0.022),
            "SC": (0.444, 0.020),
            "TF8": (0.889, 0.061),
            "TF10": (0.634, 0.040),
        },
    ),
)
"""All rows known so far."""


def published_for(method: str, task_id: str) -> list[Published]:
    """Return the published numbers of a method on a task; empty where there are none."""
    return [row for row in PUBLISHED if row.method == method and row.task_id == task_id]
