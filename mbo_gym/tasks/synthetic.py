"""Synthetic tasks: Ackley, Griewank, Levy, Rastrigin and Rosenbrock at any dimension, and the 2-D
Branin."""

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
    "HEIGHTS",
    "ackley",
    "branin",
    "branin_info",
    "griewank",
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
HEIGHTS = (0.0, 0.2, 0.3)
"""Least value of each basin of version 2, as a share of its mean over the samples."""
CONDITION = 30.0
"""Largest over smallest curvature of a basin of version 2, for a function with equal ones."""

_REFERENCES = {
    "Ackley": ("Ackley, A Connectionist Machine for Genetic Hillclimbing (1987)",),
    "Griewank": ("Griewank, J. Optimization Theory and Applications 34 (1981)",),
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


def ackley(x: np.ndarray) -> np.ndarray:
    """Ackley function of points (N, d); (N,), least 0 at the origin."""
    far = -20 * np.exp(-0.2 * np.sqrt((x**2).mean(axis=1)))
    return np.asarray(far - np.exp(np.cos(2 * np.pi * x).mean(axis=1)) + 20 + np.e)


def griewank(x: np.ndarray) -> np.ndarray:
    """Griewank function of points (N, d); (N,), least 0 at the origin."""
    root = np.sqrt(np.arange(1, x.shape[1] + 1))
    return np.asarray((x**2).sum(axis=1) / 4000 - np.cos(x / root).prod(axis=1) + 1)


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
    """A test function, its box, where it is least, and the 60-d constants of minus the function.

    Where there are no constants, the function has version 2 alone.
    """

    f: Callable[[np.ndarray], np.ndarray]
    half_width: float
    optimum: float
    range_60d: tuple[float, float] | None = None
    least_dim: int = 1


FUNCTIONS: dict[str, _Function] = {
    "Ackley": _Function(ackley, 32.768, 0.0),
    "Griewank": _Function(griewank, 600.0, 0.0),
    "Levy": _Function(levy, 10.0, 1.0, (-1390.8297333608755, -363.8953536677948)),
    "Rastrigin": _Function(rastrigin, 5.12, 0.0, (-1449.3958066747352, -816.3320154769958)),
    "Rosenbrock": _Function(
        rosenbrock, 2.048, 1.0, (-57996.031786920496, -10770.325986741422), least_dim=2
    ),
}


_HISTORY = (
    "v0: the recipe of the papers; the optimum lies near the centre of the data, so methods that "
    "shrink to the mean win",
    "v1: optimum at a fixed random place, space rotated around it; the place is near a corner, so "
    "a linear fit wins",
    "v2: the least of three rotated, anisotropic basins, centres half-way to a corner; one of them "
    "holds the optimum",
)


def synthetic_info(function: str, version: int = 0, dim: int = 60) -> TaskInfo:
    """Return the facts of a task of one of `FUNCTIONS`.

    Args:
        function: Name of the function, e.g. ``"Levy"``.
        version: Version of the id.
        dim: d, the number of features.
    """
    facts = FUNCTIONS[function]
    y_min, y_max = float("nan"), float("nan")
    if version == 0 and dim == 60 and facts.range_60d is not None:
        y_min, y_max = facts.range_60d
    what, score = f"the {dim}-dimensional {function} function", f"minus the {function} function"
    if version == 2:
        what = f"the least of {len(HEIGHTS)} basins of {what}"
        score = f"minus the least of {len(HEIGHTS)} basins, each of mean 1 over the samples"
    return TaskInfo(
        task_id=f"{function}-Exact-v{version}",
        description=f"Minimise {what}, seeing the worse half of uniform samples.",
        space=f"{dim} real numbers in [{-facts.half_width:g}, {facts.half_width:g}].",
        y_min=y_min,
        y_max=y_max,
        score_name=score,
        split=f"Rows with scores at or below the 50th percentile of {N_SAMPLES:,} uniform samples.",
        oracle="Exact: the function.",
        licence="none needed: the data are computed",
        references=_REFERENCES[function],
        version_history=_HISTORY if facts.range_60d else _HISTORY[2:],
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
    function: str,
    version: Annotated[int, Limits(0, 2)] = 0,
    dim: Annotated[int, Limits(1, MOST_DIMENSIONS)] = 60,
) -> Task:
    """Make a task of one of `FUNCTIONS`.

    Version 1 moves the optimum to a fixed random place and rotates the space around it. In 60
    dimensions the mean of the data still beats D(best) of v1: it lies 20 to 45 % of the way from
    there to the optimum, in v0 98 % or more.

    Version 2 is the least of three basins. With f the function, x* its optimum and M_j the mean of
    f(A_j (x - c_j) + x*) over the samples::

        F(x) = min_j (1 - h_j) f(A_j (x - c_j) + x*) / M_j + h_j,    h = (0, 0.2, 0.3)
        c_j: in each feature 0.3 to 0.7 of the way from the centre of the box to a random side
        A_j = diag(s) R_j: R_j a random rotation; s^2 from 1 to 30 in equal ratios, scaled to mean 1

    F is 0 at c_1 and greater elsewhere. All basins have mean 1 over the samples, so each is the
    least of them in about a third of the box, and the one with the optimum is the narrowest. In few
    dimensions the centre of a basin can lie inside another.

    Args:
        function: Name of the function, e.g. ``"Levy"``.
        version: 0 for the plain function, 1 for the shifted and rotated one, 2 for three basins.
        dim: d, the number of features; the papers use 60.
    """
    facts = FUNCTIONS[function]
    _check(function, version, dim)
    bound = np.full(dim, facts.half_width)
    x = _samples(-bound, bound, N_SAMPLES)
    f = facts.f
    if version == 1:
        f = _moved(facts, dim)
    elif version == 2:
        f = _least_of_basins(function, x)
    info = synthetic_info(function, version, dim)
    return _sampled_task(info, (-bound, bound), x, f, optimum=0.0)


@described_by(branin_info)
def make_branin() -> Task:
    """Make the 2-D Branin task: for pictures and quick tests."""
    low, high = np.array([-5.0, 0.0]), np.array([10.0, 15.0])
    x = _samples(low, high, N_BRANIN_SAMPLES)
    return _sampled_task(branin_info(), (low, high), x, branin, optimum=-5 / (4 * np.pi))


def _moved(facts: _Function, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return f(R (x - c) + x*), whose optimum is c.

    R rotates; c lies, in each feature, 0.6 to 0.9 of the way from the centre of the box to a side.
    """
    # numpy promises that the streams of RandomState never change
    rng = np.random.RandomState(SAMPLE_SEED + dim)
    c = facts.half_width * rng.uniform(0.6, 0.9, size=dim) * rng.choice([-1.0, 1.0], size=dim)
    rotation = _rotation(dim, rng)

    def f(x: np.ndarray) -> np.ndarray:
        return facts.f((x - c) @ rotation.T + facts.optimum)

    return f


def _least_of_basins(function: str, samples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return F of version 2, see `make_synthetic`; its optimum is the centre of the first basin.

    Args:
        function: Name in `FUNCTIONS`.
        samples: (N, d) samples, over which each basin has mean 1.
    """
    facts, dim = FUNCTIONS[function], samples.shape[1]
    rng = np.random.RandomState([SAMPLE_SEED, dim, *function.encode()])
    scales = CONDITION ** np.linspace(0, 0.5, dim)
    scales /= np.sqrt((scales**2).mean())
    basins = []
    for height in HEIGHTS:
        side = rng.uniform(0.3, 0.7, size=dim)
        c = facts.half_width * side * rng.choice([-1.0, 1.0], size=dim)
        a = scales[:, None] * _rotation(dim, rng)
        mean = facts.f((samples.astype(np.float64) - c) @ a.T + facts.optimum).mean()
        basins.append((height, c, a, mean))

    def f(x: np.ndarray) -> np.ndarray:
        least = np.full(len(x), np.inf)
        for height, c, a, mean in basins:
            value = (1 - height) * facts.f((x - c) @ a.T + facts.optimum) / mean + height
            least = np.minimum(least, value)
        return least

    return f


def _rotation(dim: int, rng: np.random.RandomState) -> np.ndarray:
    """Return a matrix (d, d), uniform over rotations and reflections."""
    q, r = np.linalg.qr(rng.normal(size=(dim, dim)))
    return np.asarray(q * np.sign(np.diag(r)))  # the same whatever sign LAPACK chose


def _samples(low: np.ndarray, high: np.ndarray, n: int) -> np.ndarray:
    """Return uniform samples (n, d) of a box, float32, always the same."""
    # float64: from float32 bounds the samples would differ from the papers' in their last bits
    u = np.random.RandomState(SAMPLE_SEED).uniform(size=(n, low.size))
    x = (low + (high - low) * u).astype(np.float32)
    return np.asarray(np.clip(x, low + CLIP_INSIDE, high - CLIP_INSIDE).astype(np.float32))


def _sampled_task(
    info: TaskInfo,
    box: tuple[np.ndarray, np.ndarray],
    x: np.ndarray,
    f: Callable[[np.ndarray], np.ndarray],
    *,
    optimum: float,
) -> Task:
    """Return the task of maximising -f in a box, of samples (n, d)."""
    space = ContinuousSpace(*box)
    y = -f(x.astype(np.float64))
    if np.isnan(info.y_min):  # not published, but it follows from the same fixed samples
        info = replace(info, y_min=float(y.min()), y_max=float(y.max()))
    oracle = FunctionOracle(space, lambda x: -f(x.astype(np.float64)))
    ceiling = Ceiling(
        np.array([optimum]), exact=True, note="the function's optimum; designs can crowd around it"
    )
    return Task(
        replace(info, n_full=len(x)), space, offline_split(x, y, info.percentile), oracle, ceiling
    )
