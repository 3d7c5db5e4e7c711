"""Samplers of trajectories: T + 1 distinct visible designs in some order.

Scores are in standard deviations of the visible scores (`ScoreScale`), the unit of the
environment's rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.encoders.letters import OneHot
from mbo_gym.encoders.mixed import MixedFeatures
from mbo_gym.encoders.scaling import Chain, ZScore
from mbo_gym.errors import InvalidData
from mbo_gym.problem.dataset import first_of_each_design
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.trajectories.batch import TrajectoryBatch
from mbo_gym.trajectories.neighbours import NearestPlaces, walk

__all__ = [
    "SAMPLERS",
    "Distance",
    "local_improving",
    "random_top",
    "sorted_top",
    "top_rows_of_percentile",
]


Randomness: TypeAlias = torch.Generator | np.random.Generator
Distance: TypeAlias = Literal["hamming", "z_score", "raw"]
"""Hamming (categorical designs), or Euclidean on z-scored or on raw features (all others)."""


def random_top(
    problem: OfflineProblem, encoder: Encoder, p: float, n: int, horizon: int, generator: Randomness
) -> TrajectoryBatch:
    """Draw trajectories of distinct designs, in random order, from the best `p` percent (PGS).

    A design that stands several times in the data counts once, with its best score.

    Args:
        problem: What a method may know.
        encoder: Maps designs to features (d).
        p: Rows with y at or above the (100 - p)-th percentile take part, 0 < p <= 100.
        n: B, number of trajectories.
        horizon: T; each trajectory has T + 1 designs.
        generator: Source of randomness, torch's (on the CPU) or numpy's.

    Raises:
        InvalidData: The best `p` percent hold fewer than T + 1 distinct designs.
    """
    top = top_rows_of_percentile(problem, p)
    if len(top) < horizon + 1:
        raise InvalidData(
            f"a trajectory of {horizon=} needs {horizon + 1} distinct designs, "
            f"the best {p} % hold {len(top)}; raise p or shorten the horizon"
        )
    chosen = _draw_distinct(n, horizon + 1, len(top), generator)  # (B, T+1) positions in `top`
    return _batch_of(problem, encoder, top, chosen, sampler="random_top", p=p)


def sorted_top(
    problem: OfflineProblem, encoder: Encoder, p: float, n: int, horizon: int, generator: Randomness
) -> TrajectoryBatch:
    """Draw trajectories as `random_top` does and sort each by score, worst design first."""
    batch = random_top(problem, encoder, p, n, horizon, generator)
    order = batch.y.argsort(dim=1, stable=True)
    assert batch.rows is not None
    z = batch.z.gather(1, order.unsqueeze(2).expand_as(batch.z))
    meta = {**batch.meta, "sampler": "sorted_top"}
    return TrajectoryBatch(z, batch.y.gather(1, order), rows=batch.rows.gather(1, order), meta=meta)


def local_improving(
    problem: OfflineProblem,
    encoder: Encoder,
    p: float,
    n: int,
    horizon: int,
    generator: Randomness,
    *,
    k: int = 50,
    eps: float = 0.05,
    distance: Distance | None = None,
) -> TrajectoryBatch:
    """Draw trajectories from neighbour to neighbour that stay near their best score (GTG).

    Each starts at a design of the best `p` percent. Every step goes to one of the `k` nearest
    designs that are new to the trajectory and score at least its running best - `eps`, all equally
    likely. Where there are fewer than `k` of them the step goes to one of those; where there is
    none, to the best-scoring of the k nearest new designs of all (``meta["stuck_steps"]`` counts
    these steps). Equally distant designs, common among sequences, are put in an order drawn at
    random for each step. A design that stands several times in the data counts once, with its best
    score.

    Reads `OfflineProblem.score_range`, which is more than the visible data tell: it is the unit of
    `eps`.

    Reference: GTG (arXiv:2407.01624), the construction of trajectories. The paper's runs use p=80,
    64 designs (horizon=63) and eps=0.05, with k=50 and n=1000 on TFBind8 and TFBind10, k=20 and
    n=4000 on Superconductor and Ant (D'Kitty: also eps=0.01). Differs from its program: no design
    comes twice (there, one can where fewer than k candidates are left); what one trajectory has
    visited does not count against the next; distances of continuous designs are taken after
    z-scoring, so that no feature rules by its unit (``distance="raw"`` gives the program's); a
    single candidate left is taken, where the program already turns to all designs; ties are drawn,
    where the program leaves them to its sort.

    Args:
        problem: What a method may know.
        encoder: Maps designs to features (d); it has no part in the distances.
        p: Trajectories start at rows with y at or above the (100 - p)-th percentile, 0 < p <= 100;
            later designs come from all rows.
        n: B, number of trajectories.
        horizon: T; each trajectory has T + 1 designs.
        generator: Source of randomness, torch's (on the CPU) or numpy's.
        k: Number of nearest candidates, at least 1.
        eps: Largest fall below the running best, as a share of `score_range`, at least 0.
        distance: None for ``hamming`` on a categorical space, ``z_score`` on a continuous one.

    Raises:
        InvalidData: The data hold fewer than T + 1 distinct designs.
        ValueError: `k`, `eps` or `p` is out of range, or the space has no such distance.
    """
    if k < 1 or not 0 <= eps < float("inf"):
        raise ValueError(
            f"k must be at least 1 and eps finite and not negative, got {k=} and {eps=}"
        )
    n_starts, rows = len(top_rows_of_percentile(problem, p)), top_rows_of_percentile(problem, 100)
    if len(rows) < horizon + 1:
        raise InvalidData(
            f"a trajectory of {horizon=} needs {horizon + 1} distinct designs, "
            f"the data hold {len(rows)}; shorten the horizon"
        )
    name, features = _distance_features(problem, rows, distance)
    y = problem.dataset.y[rows].astype(np.float64)  # best first
    low, high = problem.score_range
    reach = len(y) - np.searchsorted(
        y[::-1], y - eps * (high - low)
    )  # how many score at least y_i - eps
    generator = _torch_generator(generator)
    start = torch.randint(n_starts, (n,), generator=generator)
    nearest, reachable = NearestPlaces(features), torch.from_numpy(reach)
    chosen, n_stuck = walk(nearest, reachable, start, horizon=horizon, generator=generator, k=k)
    settings = {"p": p, "k": k, "eps": eps, "distance": name, "stuck_steps": n_stuck}
    return _batch_of(problem, encoder, rows, chosen, sampler="local_improving", **settings)


SAMPLERS: Mapping[
    str, Callable[[OfflineProblem, Encoder, float, int, int, Randomness], TrajectoryBatch]
] = {
    "random_top": random_top,
    "sorted_top": sorted_top,
    "local_improving": local_improving,
}
"""Samplers by name, all with the arguments of `random_top`.

In `local_improving`, p limits the starts only.
"""


def top_rows_of_percentile(problem: OfflineProblem, p: float) -> np.ndarray:
    """Return the distinct rows of the best `p` percent, (M,) int64.

    The best comes first; ties are in file order.
    """
    if not 0 < p <= 100:
        raise ValueError(f"p is a percentage in (0, 100], got {p}")
    y = problem.dataset.y
    rows = np.flatnonzero(y >= np.percentile(y, 100 - p))
    rows = rows[np.argsort(-y[rows], kind="stable")]
    return np.asarray(rows[first_of_each_design(problem.dataset.x[rows])])


def _batch_of(
    problem: OfflineProblem, encoder: Encoder, rows: np.ndarray, chosen: Tensor, **settings: Any
) -> TrajectoryBatch:
    """Return the trajectories of the designs `rows`[`chosen`], (B, T+1)."""
    z = torch.from_numpy(encoder.encode(problem.dataset.x[rows]))
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y[rows]))
    meta = {
        "task_id": problem.task_id,
        "task_options": problem.recovery_options,
        "encoder": encoder.name,
        **settings,
    }
    return TrajectoryBatch(z[chosen], y[chosen], rows=torch.from_numpy(rows)[chosen], meta=meta)


def _distance_features(
    problem: OfflineProblem, rows: np.ndarray, distance: Distance | None
) -> tuple[Distance, Tensor]:
    """Return the name of the distance, and the features (M, d) between which it is Euclidean."""
    space, x = problem.space, problem.dataset.x[rows]
    if isinstance(space, CategoricalSpace):
        if distance in (None, "hamming"):
            return "hamming", torch.from_numpy(OneHot(space).encode(x))
        kind, allowed = "categorical", "'hamming'"
    elif isinstance(space, MixedSpace):
        if distance in (None, "z_score"):
            chain = Chain(MixedFeatures(space), problem.dataset.x)
            return "z_score", torch.from_numpy(chain.encode(x))
        if distance == "raw":
            return "raw", torch.from_numpy(MixedFeatures(space).encode(x))
        kind, allowed = "mixed", "'z_score' or 'raw'"
    else:
        assert isinstance(space, ContinuousSpace)
        if distance in (None, "z_score"):
            return "z_score", torch.from_numpy(ZScore(space, problem.dataset.x).encode(x))
        if distance == "raw":
            return "raw", torch.from_numpy(x)
        kind, allowed = "continuous", "'z_score' or 'raw'"
    raise ValueError(
        f"distance must be {allowed} or None where designs are {kind}, got {distance!r}"
    )


def _torch_generator(generator: Randomness) -> torch.Generator:
    """Return the generator, or for numpy's a torch generator seeded from it."""
    if isinstance(generator, np.random.Generator):
        return torch.Generator().manual_seed(int(generator.integers(2**63 - 1)))
    return generator


def _draw_distinct(n: int, k: int, m: int, generator: Randomness) -> Tensor:
    """Draw `n` ordered samples of `k` distinct numbers below `m`, (n, k) int64.

    Floyd's algorithm for all rows at once: k rounds of n comparisons, memory O(n k) whatever m is;
    then each row is shuffled.
    """
    generator = _torch_generator(generator)
    chosen = torch.empty(n, k, dtype=torch.int32)
    for i, upper in enumerate(range(m - k, m)):
        candidate = torch.randint(0, upper + 1, (n, 1), generator=generator, dtype=torch.int32)
        taken = (chosen[:, :i] == candidate).any(dim=1, keepdim=True)
        chosen[:, i : i + 1] = torch.where(taken, upper, candidate)
    shuffle = torch.rand(n, k, generator=generator).argsort(dim=1)
    return chosen.gather(1, shuffle).long()
