"""BOCoDe: problems of engineering, materials, architectures and hyperparameters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.data.bocode import PROBLEMS, Problem, ProblemFacts, read_list
from mbo_gym.errors import InvalidData, UnknownId
from mbo_gym.files import store
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks.registry import described_by
from mbo_gym.tasks.table import rows_task, table_task

__all__ = ["bocode_info", "make_bocode", "sample_feasible"]

PERCENTILE = 50.0
"""Percentile of the scores at which visible rows end, as in most tasks of Design-Bench."""
N_SAMPLES = 5_000
"""Random designs of a function, of which the feasible ones are scored."""
MOST_SAMPLES = 50_000
"""Random designs drawn at most, where few are feasible."""
ENOUGH_FEASIBLE = 2_000
"""Feasible designs at which drawing ends."""
HOPELESS = 10_000
"""Random designs after which drawing ends where none was feasible."""
LEAST_FEASIBLE = 100
"""Feasible designs without which a problem is no task."""
MOST_FAILED = 2_000
"""Infeasible designs that methods may learn from."""
OPTIMUM_ROUNDING = 1e-6
"""Excess of a score over the stated optimum, relative, that rounding explains."""

_BOCODE = (
    "Yu et al., BOCoDe: Benchmarks for Optimization and Computational Design, 2025, "
    "https://github.com/rosenyu304/BOCoDe"
)


def bocode_info(problem: str) -> TaskInfo:
    """Return the facts of a task of BOCoDe.

    Args:
        problem: Name in `mbo_gym.data.bocode.PROBLEMS`, e.g. ``Car``.
    """
    facts = _facts(problem)
    return TaskInfo(
        task_id=f"BOCoDe_{problem}-Exact-v0",
        description=f"{facts.title.rstrip('.')}.",
        space=_space(facts),
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="objective, in BOCoDe's direction",
        split=_split(facts, PERCENTILE),
        oracle=_oracle(facts),
        licence=manifest.entry("bocode").licence,
        references=(_BOCODE, f"the paper that bocode.get_metadata({_name(facts)!r}) names"),
        version_history=(
            "v0: bocode 1.0.1; its problems with several objectives are left out, and those that "
            "need a download or a further library",
        ),
        percentile=PERCENTILE,
        sources=("bocode",),
        family="BOCoDe_<PROBLEM>-Exact-v0",
    )


@described_by(bocode_info)
def make_bocode(problem: str, percentile: float = PERCENTILE) -> Task:
    """Make a task of a problem of BOCoDe.

    Linear constraints are constraints of the space. A design that breaks another constraint scores
    the worst score of the full data; sampled ones are kept as failed designs of the data set.

    Args:
        problem: Name of the problem.
        percentile: The visible rows have scores at or below this percentile, in (0, 100].

    Raises:
        UnknownId: There is no such problem.
        MissingDependency: The package, or a library that the problem needs, is not installed.
        InvalidData: The release of the package differs from the one that this version was made for.
    """
    facts = _facts(problem)
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile must lie in (0, 100], got {percentile}")
    info = replace(bocode_info(problem), split=_split(facts, percentile), percentile=percentile)
    if facts.kind in ("list", "csv"):
        return rows_task(info, *read_list(facts)).with_options()
    loaded = Problem(facts)
    if facts.kind == "letters":
        return _letters_task(info, loaded).with_options()
    return _function_task(info, loaded).with_options()


def sample_feasible(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw random designs of a function, with numpy's default generator of seed 0.

    Designs are drawn in batches of 5,000 until 2,000 are feasible, at most 50,000.

    Returns:
        x: (N, *shape) feasible designs.
        y: (N,) float64 their scores.
        failed: (M, *shape) infeasible designs, at most 2,000.
    """
    rng = np.random.default_rng(0)
    designs: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    failed: list[np.ndarray] = []
    found = 0
    for drawn in range(N_SAMPLES, MOST_SAMPLES + 1, N_SAMPLES):
        x = problem.space.sample(N_SAMPLES, rng)
        y = problem.score(x)
        good = np.isfinite(y)
        designs.append(x[good])
        scores.append(y[good])
        failed.append(x[~good])
        found += int(good.sum())
        if found >= ENOUGH_FEASIBLE or (found == 0 and drawn >= HOPELESS):
            break
    return np.concatenate(designs), np.concatenate(scores), np.concatenate(failed)[:MOST_FAILED]


def _function_task(info: TaskInfo, problem: Problem) -> Task:
    space = problem.space
    x, y, failed = _cached_samples(problem)
    if len(y) < LEAST_FEASIBLE:
        raise InvalidData(
            f"{info.task_id} has {len(y)} feasible designs among {MOST_SAMPLES:,} random ones. "
            "Install the release of bocode that constraints.txt names."
        )
    worst = float(np.float32(y.min()))

    def score(designs: np.ndarray) -> np.ndarray:
        found = problem.score(designs)
        return np.asarray(np.where(np.isfinite(found), found, worst))

    info = replace(info, n_full=len(y), y_min=worst, y_max=float(np.float32(y.max())))
    visible = offline_split(x, y.astype(np.float32), info.percentile)
    if len(failed):
        visible = OfflineDataset(visible.x, visible.y, failed=failed)
    return Task(info, space, visible, FunctionOracle(space, score), _ceiling(problem, y))


def _cached_samples(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the samples of a function from the cache, drawn the first time."""
    key = json.dumps([version("bocode"), asdict(problem.facts), 1], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]

    def build() -> dict[str, np.ndarray]:
        x, y, failed = sample_feasible(problem)
        return {"x": x, "y": y, "failed": failed}

    arrays = store.cached_arrays(f"bocode-{digest}", build)
    return arrays["x"], arrays["y"], arrays["failed"]


def _ceiling(problem: Problem, y: np.ndarray) -> Ceiling | None:
    """Return the optimum that the package states, unless a sampled score is better."""
    best = problem.optimum
    if best is None or y.max() > best + OPTIMUM_ROUNDING * abs(best):
        return None
    note = "the optimum that BOCoDe states; no sampled design is better"
    return Ceiling(np.array([max(best, float(y.max()))]), exact=False, note=note)


def _letters_task(info: TaskInfo, problem: Problem) -> Task:
    space = problem.space
    assert isinstance(space, CategoricalSpace)
    shape = (space.n_categories,) * space.length
    x = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1).astype(np.int32)
    y = problem.score(x).astype(np.float32)
    info = replace(info, n_full=len(y), y_min=float(y.min()), y_max=float(y.max()))
    return table_task(info, space, x, y, y)


def _facts(problem: str) -> ProblemFacts:
    if problem not in PROBLEMS:
        raise UnknownId("problem of BOCoDe", problem, PROBLEMS)
    return PROBLEMS[problem]


def _name(facts: ProblemFacts) -> str:
    return facts.problem or facts.name


def _space(facts: ProblemFacts) -> str:
    text = f"{facts.parameters} parameters"
    if facts.kind == "function":
        limits = f", {facts.constraints} constraints" if facts.constraints else ""
        return f"{text}{limits}."
    return f"{text}; {facts.designs:,} designs, all of them scored."


def _oracle(facts: ProblemFacts) -> str:
    if facts.kind != "function":
        return "Exact: the table of every design; scores of repeated ones are averaged."
    text = "Exact: the function of the package."
    if facts.constraints:
        text += (
            " Linear constraints belong to the space; a design that breaks another one scores the "
            "worst score of the full data."
        )
    return text


def _split(facts: ProblemFacts, percentile: float) -> str:
    what = "designs of the table"
    if facts.kind == "function":
        what = (
            f"random feasible designs ({N_SAMPLES:,} are drawn, seed 0; more, up to "
            f"{MOST_SAMPLES:,}, until {ENOUGH_FEASIBLE:,} are feasible)"
        )
    if percentile == 100:
        return f"All {what}."
    return f"Scores at or below the {percentile:g}th percentile of the {what}."
