"""Synthetic tasks: Levy, Rastrigin and Rosenbrock at any dimension, and the 2-D Branin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.settings import Limits
from mbo_gym.tasks.registry import described_by

__all__ = [
    "FUNCTIONS",
    "branin",
    "branin_info",
    "levy",
    "make_branin",
    "make_synthetic",
    "rastrigin",
    "rosenbrock",
    "synthetic_info",
]

N_SAMPLES = 30_000
N_BRANIN_SAMPLES = 5_000
SAMPLE_SEED = 123
MOST_DIMENSIONS = 10_000  # of 30,000 samples, which take 2.4 GB then
CLIP_INSIDE = 1e-6

_REFERENCES = {
    "Levy": (
        "Laguna and Marti, J. Global Optimization 33 (2005)",
        "Yuan et al., DEMO, arXiv:2405.13964",
    ),
    "Rastrigin": (
        "Rastrigin, Systems of Extremal Control (1974)",
        "DEMO's released register_dataset (arXiv:2405.13964)",
    ),
    "Rosenbrock": (
        "Rosenbrock, The Computer Journal 3 (1960)",
        "DEMO's released register_dataset (arXiv:2405.13964)",
    ),
}


def levy(x: np.ndarray) -> np.ndarray:
    """Levy function of points (N, d); (N,), least 0 at x = (1, .., 1)."""
    w = 1 + (x - 1) / 4
    first = np.sin(np.pi * w[:, 0]) ** 2
    middle = ((w[:, :-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:, :-1] + 1) ** 2)).sum(axis=1)
    last = (w[:, -1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[:, -1]) ** 2)
    return np.asarray(first + middle + last)


def rastrigin(x: np.ndarray) -> np.ndarray:
    """Rastrigin function of points (N, d); (N,), least 0 at the origin."""
    return np.asarray(10 * x.shape[1] + (x**2 - 10 * np.cos(2 * np.pi * x)).sum(axis=1))


def rosenbrock(x: np.ndarray) -> np.ndarray:
    """Rosenbrock function of points (N, d), d >= 2; (N,), least 0 at x = (1, .., 1)."""
    return np.asarray((100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (x[:, :-1] - 1) ** 2).sum(axis=1))


def branin(x: np.ndarray) -> np.ndarray:
    """Branin function of points (N, 2); (N,), least 0.397887 at three points."""
    a, b = x[:, 0], x[:, 1]
    valley = b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6
    return np.asarray(valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10)


@dataclass(frozen=True)
class _Function:
    """A test function, its box, where it is least, and the 60-d constants of minus the function."""

    f: Callable[[np.ndarray], np.ndarray]
    half_width: float
    optimum: float
    range_60d: tuple[float, float]
    least_dim: int = 1


FUNCTIONS: dict[str, _Function] = {
    "Levy": _Function(levy, 10.0, 1.0, (-1390.8297333608755, -363.8953536677948)),
    "Rastrigin": _Function(rastrigin, 5.12, 0.0, (-1449.3958066747352, -816.3320154769958)),
    "Rosenbrock": _Function(
        rosenbrock, 2.048, 1.0, (-57996.031786920496, -10770.325986741422), least_dim=2
    ),
}


def synthetic_info(function: str, version: int = 0, dim: int = 60) -> TaskInfo:
    """Return the facts of a Levy, Rastrigin or Rosenbrock task.

    Args:
        function: ``"Levy"``, ``"Rastrigin"`` or ``"Rosenbrock"``.
        version: Version of the id.
        dim: d, the number of features.
    """
    facts = FUNCTIONS[function]
    published = version == 0 and dim == 60
    y_min, y_max = facts.range_60d if published else (float("nan"), float("nan"))
    return TaskInfo(
        task_id=f"{function}-Exact-v{version}",
        description=f"Minimise the {dim}-dimensional {function} function, seeing the worse half of "
        "uniform samples.",
        space=f"{dim} real numbers in [{-facts.half_width:g}, {facts.half_width:g}].",
        y_min=y_min,
        y_max=y_max,
        score_name=f"minus the {function} function",
        split=f"Rows with scores at or below the 50th percentile of {N_SAMPLES:,} uniform samples.",
        oracle="Exact: the function.",
        licence="none needed: the data are computed",
        references=_REFERENCES[function],
        version_history=(
            "v0: the recipe of the papers; the optimum lies near the centre of the data, so "
            "methods that shrink to the mean win",
            "v1: optimum at a fixed random place, space rotated around it",
        ),
        percentile=50,
    )


def branin_info() -> TaskInfo:
    """Return the facts of the 2-D Branin task."""
    return TaskInfo(
        task_id="Branin-Exact-v0",
        description="Minimise the 2-D Branin function (three equal minima), seeing the worse half "
        "of uniform samples.",
        space="2 real numbers in [-5, 10] x [0, 15].",
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="minus the Branin function",
        split="Rows with scores at or below the 50th percentile of "
        f"{N_BRANIN_SAMPLES:,} uniform samples.",
        oracle="Exact: the function.",
        licence="none needed: the data are computed",
        references=("Branin, IBM J. Res. Dev. 16 (1972)",),
        version_history=(f"v0: {N_BRANIN_SAMPLES:,} uniform samples, seed {SAMPLE_SEED}",),
        percentile=50,
    )


def _check(function: str, version: int = 0, dim: int = 60) -> None:
    """Raise ValueError where a function is not defined in `dim` dimensions."""
    least = FUNCTIONS[function].least_dim
    if dim < least:
        raise ValueError(f"{function} needs dim >= {least}, got {dim=}. Pass a larger one.")


@described_by(synthetic_info, _check)
def make_synthetic(
    function: str, version: int = 0, dim: Annotated[int, Limits(1, MOST_DIMENSIONS)] = 60
) -> Task:
    """Make a Levy, Rastrigin or Rosenbrock task.

    Version 1 moves the optimum to a fixed random place and rotates the space around it. In 60
    dimensions the mean of the data still beats D(best) of v1: it lies 20 to 45 % of the way from
    there to the optimum, in v0 98 % or more.

    Args:
        function: ``"Levy"``, ``"Rastrigin"`` or ``"Rosenbrock"``.
        version: 0 for the plain function, 1 for the shifted and rotated one.
        dim: d, the number of features; the papers use 60.
    """
    facts = FUNCTIONS[function]
    _check(function, version, dim)
    bound = np.full(dim, facts.half_width)
    f = facts.f if version == 0 else _moved(facts, dim)
    info = synthetic_info(function, version, dim)
    return _sampled_task(info, (-bound, bound), f, optimum=0.0, n=N_SAMPLES)


@described_by(branin_info)
def make_branin() -> Task:
    """Make the 2-D Branin task: for pictures and quick tests."""
    box = np.array([-5.0, 0.0]), np.array([10.0, 15.0])
    return _sampled_task(branin_info(), box, branin, optimum=-5 / (4 * np.pi), n=N_BRANIN_SAMPLES)


def _moved(facts: _Function, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return f(R (x - c) + x*), whose optimum is c.

    R rotates; c lies, in each feature, 0.6 to 0.9 of the way from the centre of the box to a side.
    """
    # numpy promises that the streams of RandomState never change
    rng = np.random.RandomState(SAMPLE_SEED + dim)
    c = facts.half_width * rng.uniform(0.6, 0.9, size=dim) * rng.choice([-1.0, 1.0], size=dim)
    q, r = np.linalg.qr(rng.normal(size=(dim, dim)))
    # uniform over rotations, the same whatever sign LAPACK chose
    rotation = q * np.sign(np.diag(r))

    def f(x: np.ndarray) -> np.ndarray:
        return facts.f((x - c) @ rotation.T + facts.optimum)

    return f


def _sampled_task(
    info: TaskInfo,
    box: tuple[np.ndarray, np.ndarray],
    f: Callable[[np.ndarray], np.ndarray],
    *,
    optimum: float,
    n: int,
) -> Task:
    # float64: from float32 bounds the samples would differ from the papers' in their last bits
    low, high = box
    space = ContinuousSpace(low, high)
    u = np.random.RandomState(SAMPLE_SEED).uniform(size=(n, low.size))
    x = np.clip(
        (low + (high - low) * u).astype(np.float32), low + CLIP_INSIDE, high - CLIP_INSIDE
    ).astype(np.float32)
    y = -f(x.astype(np.float64))
    if np.isnan(info.y_min):  # not published, but it follows from the same fixed samples
        info = replace(info, y_min=float(y.min()), y_max=float(y.max()))
    oracle = FunctionOracle(space, lambda x: -f(x.astype(np.float64)))
    ceiling = Ceiling(
        np.array([optimum]), exact=True, note="the function's optimum; designs can crowd around it"
    )
    return Task(
        replace(info, n_full=n), space, offline_split(x, y, info.percentile), oracle, ceiling
    )
