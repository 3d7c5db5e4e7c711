"""Statistics over seeds and tasks: bootstrap intervals, ranks, tests and skill.

A seed is the unit that is resampled. The stratified bootstrap draws seeds with replacement within
each group (the runs of one method on one task) and never mixes groups; its intervals are percentile
intervals, as in Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021. Generators are fixed: the same numbers give the same interval. R is the
number of seeds, M of methods, T of tasks.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Comparison",
    "Description",
    "Interval",
    "describe",
    "holm",
    "interquartile_mean",
    "iqm_interval",
    "mean_rank_intervals",
    "mean_skill_interval",
    "probability_of_improvement",
    "ranks",
    "skill_interval",
    "stratified_bootstrap",
    "welch_tests",
]

N_RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
ROUNDING = 1e-9
"""Distances from control to ceiling below this (normalised) are rounding errors of a mean."""

Skills = Sequence[tuple[ArrayLike, Sequence[ArrayLike], float]]


@dataclass(frozen=True)
class Description:
    """Scores of a method on one task, over seeds.

    Args:
        n: Number of seeds.
        mean: Arithmetic mean.
        std: Standard deviation with n - 1; NaN for one seed.
        standard_error: Standard error of the mean, std / sqrt(n); NaN for one seed.
        median: Median over seeds.
        low: Lowest score.
        high: Highest score.
    """

    n: int
    mean: float
    std: float
    standard_error: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """A statistic and the bounds of its percentile bootstrap interval, 95 % by default."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Welch's test of one pair of methods.

    Args:
        a: First method.
        b: Second method.
        difference: Mean of a minus mean of b.
        t: Welch's statistic; 0 or +-inf where both samples are constant.
        degrees: Welch-Satterthwaite degrees of freedom; NaN where both samples are constant.
        p: Two-sided p-value.
        p_holm: p-value corrected for the number of pairs.
    """

    a: str
    b: str
    difference: float
    t: float
    degrees: float
    p: float
    p_holm: float


def describe(values: ArrayLike) -> Description:
    """Describe the scores (R,) of the seeds.

    Raises:
        ValueError: No scores, not one-dimensional, or a score that is not finite.
    """
    x = _seeds(values)
    n = len(x)
    # Shifted, equal scores have a deviation of exactly 0, whatever their sum rounds to
    shifted = x - x[0]
    std = float(shifted.std(ddof=1)) if n > 1 else float("nan")
    mean = float(x[0] + shifted.mean())
    return Description(
        n, mean, std, std / n**0.5, float(np.median(x)), float(x.min()), float(x.max())
    )


@overload
def interquartile_mean(values: ArrayLike, axis: None = None) -> float: ...


@overload
def interquartile_mean(values: ArrayLike, axis: int) -> np.ndarray: ...


def interquartile_mean(values: ArrayLike, axis: int | None = None) -> float | np.ndarray:
    """Return the interquartile mean: the mean without the lowest and highest quarter.

    n // 4 values are dropped at either end, as scipy.stats.trim_mean(values, 0.25) and rliable do.

    Args:
        values: Values of any shape.
        axis: Axis of the mean; None for all values together.

    Returns:
        A number, or an array without that axis.

    Raises:
        ValueError: No values, or a value that is not finite.
    """
    x = _finite(values)
    middle = _middle_half(x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1))
    return float(middle) if axis is None else middle


def stratified_bootstrap(
    groups: Sequence[ArrayLike],
    statistic: Callable[[list[np.ndarray]], np.ndarray],
    *,
    n_resamples: int = N_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Interval:
    """Return a statistic of several groups of seeds with its percentile bootstrap interval.

    Seeds are drawn with replacement within each group. A group of one seed adds nothing to the
    width; where all groups have one seed, the interval is a point.

    Args:
        groups: For each group (task) the scores (R_i,); the groups may differ in R_i.
        statistic: Function from one array (n, R_i) for each group to (n,), row by row. It is
            called with the resamples and with the data themselves (n = 1).
        n_resamples: Number of resamples; memory grows as n_resamples times the number of all seeds.
        confidence: Share of the resampled statistics inside the interval.
        seed: Seed of the generator.

    Raises:
        ValueError: No groups, an empty group, a score that is not finite, or an option out of
            range.
    """
    if n_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "n_resamples must be at least 1 and confidence lie in (0, 1), "
            f"got {n_resamples=} and {confidence=}"
        )
    samples = _groups(groups)
    value = statistic([x[None] for x in samples])
    return _interval(value[0], statistic(list(_resamples(samples, n_resamples, seed))), confidence)


def iqm_interval(groups: Sequence[ArrayLike]) -> Interval:
    """Return the interquartile mean over tasks and seeds, with its 95 % interval.

    Args:
        groups: For each task the scores (R_i,). The values are pooled, so a task with more seeds
            weighs more.

    Raises:
        ValueError: As `stratified_bootstrap`.
    """
    return stratified_bootstrap(
        groups, lambda resampled: _middle_half(np.concatenate(resampled, axis=-1))
    )


def ranks(scores: ArrayLike) -> np.ndarray:
    """Rank methods within each task: 1 is the highest score, ties share their average.

    Scores that agree to 12 decimals are tied, as the mean of the same numbers in another order can
    differ in its last bit. NaN (no score) stays NaN and takes no rank.

    Args:
        scores: (M, T), a column for each task.

    Returns:
        (M, T) ranks.

    Raises:
        ValueError: Not two-dimensional, or no scores.
    """
    from scipy.stats import rankdata

    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(
            f"scores must have shape (methods, tasks) with at least one of each, got {x.shape=}"
        )
    return np.asarray(rankdata(-np.round(x, 12), axis=0, nan_policy="omit"))


def mean_rank_intervals(scores: Sequence[Sequence[ArrayLike]]) -> list[Interval]:
    """Return the mean rank over tasks of each method, with 95 % bootstrap intervals.

    Methods are ranked on each task by their mean over seeds. In a resample the seeds of every
    (method, task) group are drawn independently, the resampled means ranked within each task and
    the ranks averaged over tasks, for all methods together.

    Args:
        scores: Scores (R,) by method and task; every method has every task.

    Returns:
        An interval for each method, in the order given.

    Raises:
        ValueError: No methods or tasks, methods that differ in tasks, an empty group, or a score
            that is not finite.
    """
    n_tasks = {len(tasks) for tasks in scores}
    if len(n_tasks) != 1 or 0 in n_tasks:
        raise ValueError(
            "every method needs scores on the same tasks, at least one; "
            f"got {sorted(n_tasks)} tasks"
        )
    shape = (len(scores), n_tasks.pop(), -1)
    samples = _groups([group for tasks in scores for group in tasks])
    means = np.array([x.mean() for x in samples]).reshape(shape)
    resampled = np.array([x.mean(axis=1) for x in _resamples(samples, N_RESAMPLES, SEED)])
    value = _mean_ranks(means)  # (M, 1)
    rank = _mean_ranks(resampled.reshape(shape))  # (M, n_resamples)
    return [_interval(value[i, 0], rank[i], CONFIDENCE) for i in range(shape[0])]


def _mean_ranks(means: np.ndarray) -> np.ndarray:
    """Return the ranks of means (M, T, n) averaged over tasks, (M, n)."""
    of_tasks = [ranks(means[:, task]) for task in range(means.shape[1])]
    return np.asarray(np.mean(of_tasks, axis=0))


def probability_of_improvement(x: Sequence[ArrayLike], y: Sequence[ArrayLike]) -> Interval:
    """Return the probability that a run of X scores above a run of Y, mean over tasks.

    On a task it is P(X > Y) + P(X = Y) / 2 over all pairs of seeds, which is Mann-Whitney's U over
    the number of pairs. For the 95 % interval the seeds of both are resampled within each task.

    Args:
        x: For each task the scores (R_x,) of X.
        y: For each task the scores (R_y,) of Y, in the same order of tasks.

    Raises:
        ValueError: Unequal numbers of tasks, and as `stratified_bootstrap`.
    """
    if len(x) != len(y):
        raise ValueError(
            f"both need the same tasks, got {len(x)} and {len(y)}; leave out what one of them lacks"
        )

    samples = _groups([*x, *y])
    wins = [_wins(a, b) for a, b in zip(samples[: len(x)], samples[len(x) :], strict=True)]

    def statistic(rows: list[np.ndarray]) -> np.ndarray:
        counts = [_counts(r, len(sample)) for r, sample in zip(rows, samples, strict=True)]
        of_x, of_y = counts[: len(x)], counts[len(x) :]
        shares = [
            ((a @ w) * b).sum(axis=1) / w.size for w, a, b in zip(wins, of_x, of_y, strict=True)
        ]
        return np.asarray(np.mean(shares, axis=0))

    rows = [np.arange(len(sample)) for sample in samples]  # resampled in place of scores
    return stratified_bootstrap(rows, statistic)


def welch_tests(samples: Mapping[str, ArrayLike]) -> list[Comparison]:
    """Compare the means of all pairs of methods by Welch's t-test, Holm-corrected.

    Where both samples are constant there is no spread to judge by: p is 1 if they are equal and 0
    if not, t is 0 or +-inf, the degrees of freedom are NaN.

    Args:
        samples: For each method the scores (R,). Pairs where either has fewer than 2 seeds are left
            out.

    Returns:
        The pairs in the order of the methods: (first, second), (first, third), ...; empty where no
            pair is left.

    Raises:
        ValueError: A score that is not finite.
    """
    tested = {name: _seeds(x) for name, x in samples.items() if np.size(x) >= 2}
    pairs = list(itertools.combinations(tested, 2))
    if not pairs:
        return []
    tests = [_welch(tested[a], tested[b]) for a, b in pairs]
    corrected = holm(np.array([p for *_, p in tests]))
    means = {name: describe(x).mean for name, x in tested.items()}
    return [
        Comparison(a, b, means[a] - means[b], *test, p_holm=float(p_holm))
        for (a, b), test, p_holm in zip(pairs, tests, corrected, strict=True)
    ]


def holm(p: ArrayLike) -> np.ndarray:
    """Correct p-values for their number by Holm's step-down procedure.

    The i-th smallest of m (i from 0) is multiplied by m - i, is no lower than the one before it,
    and at most 1.
    Reference: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Args:
        p: (m,) p-values in [0, 1].

    Returns:
        (m,) corrected p-values, in the order given.

    Raises:
        ValueError: No p-values, or one outside [0, 1].
    """
    x = _seeds(p)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"p-values must lie in [0, 1], got {x.min()} to {x.max()}")
    order = np.argsort(x, kind="stable")
    corrected = np.empty_like(x)
    corrected[order] = np.minimum(np.maximum.accumulate(x[order] * np.arange(len(x), 0, -1)), 1.0)
    return corrected


def skill_interval(
    scores: ArrayLike, controls: Sequence[ArrayLike], ceiling: float
) -> Interval | None:
    """Return the skill of a method against the controls, with its 95 % interval.

    Skill is (mean - best control) / (ceiling - best control): 0 is the best control, 1 the ceiling.
    The best control is the one with the highest mean. The seeds of the method and of each control
    are resampled, and the best control is chosen anew in each resample. The highest of several
    resampled means tends to lie above the highest mean of the data. So the interval lies low: it is
    conservative for a claim that the method is better. In a resample whose best control reaches the
    ceiling, the distance from control to ceiling of the data is the unit.

    Args:
        scores: Scores (R,) of the method.
        controls: For each control its scores (R_i,); an array of one for one that is known exactly.
        ceiling: Best reachable score.

    Returns:
        The interval, or None where the best control reaches the ceiling (to within rounding).

    Raises:
        ValueError: No controls, an empty group, or a score or ceiling that is not finite.
    """
    return mean_skill_interval([(scores, controls, ceiling)], floor=-np.inf)


def mean_skill_interval(tasks: Skills, floor: float = -1.0) -> Interval | None:
    """Return the mean skill of a method over tasks, with its 95 % interval.

    Args:
        tasks: For each task (scores, controls, ceiling) as `skill_interval` takes them. Tasks
            without a skill, as the best control reaches the ceiling, are left out.
        floor: Least skill that a task counts with, in the data and in each resample. Otherwise one
            task whose control is near the ceiling could outweigh all others.

    Returns:
        The interval, or None where no task is left.

    Raises:
        ValueError: As `skill_interval`.
    """
    # Scores of the method and of the controls; ceiling; distance from best control to ceiling
    known: list[tuple[list[np.ndarray], float, float]] = []
    for scores, controls, ceiling in tasks:
        samples = [*_groups([scores]), *_groups(controls, "controls")]
        distance = float(_finite(ceiling) - max(x.mean() for x in samples[1:]))
        if distance > ROUNDING:
            known.append((samples, ceiling, distance))
    if not known:
        return None

    def statistic(resampled: list[np.ndarray]) -> np.ndarray:
        groups = iter(resampled)
        skills = []
        for samples, ceiling, distance in known:
            mean, *controls = (x.mean(axis=1) for x in itertools.islice(groups, len(samples)))
            best = np.max(controls, axis=0)
            unit = np.where(ceiling - best > ROUNDING, ceiling - best, distance)
            skills.append(np.maximum((mean - best) / unit, floor))
        return np.asarray(np.mean(skills, axis=0))

    return stratified_bootstrap([x for samples, *_ in known for x in samples], statistic)


def _finite(values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("there are no values; leave out what was not run")
    if not np.isfinite(x).all():
        raise ValueError(
            f"values must be finite, got {x[~np.isfinite(x)][0]}; leave out the seeds that failed"
        )
    return x


def _seeds(values: ArrayLike) -> np.ndarray:
    x = _finite(values)
    if x.ndim != 1:
        raise ValueError(f"values must have shape (n,), one for each seed, got {x.shape=}")
    return x


def _groups(groups: Sequence[ArrayLike], name: str = "groups") -> list[np.ndarray]:
    if len(groups) == 0:
        raise ValueError(f"there are no {name}; give at least one array of scores")
    return [_seeds(group) for group in groups]


def _resamples(samples: Sequence[np.ndarray], n: int, seed: int) -> Iterator[np.ndarray]:
    """Yield each group's seeds drawn with replacement, (n, R_i); one group at a time."""
    rng = np.random.default_rng(seed)
    for x in samples:
        yield x[rng.integers(len(x), size=(n, len(x)))]


def _interval(value: float, resampled: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))


def _middle_half(x: np.ndarray) -> np.ndarray:
    """Return the interquartile mean along the last axis, (..., n) -> (...)."""
    n = x.shape[-1]
    cut = n // 4
    return np.asarray(
        np.partition(x, (cut, n - cut - 1), axis=-1)[..., cut : n - cut].mean(axis=-1)
    )


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (R_x, R_y): 1 where a run of x beats one of y, 1/2 for a tie, else 0."""
    return np.asarray((1 + np.sign(x[:, None] - y)) / 2)


def _counts(rows: np.ndarray, n: int) -> np.ndarray:
    """Return how often each of `n` rows was drawn in each resample, (n_resamples, n)."""
    places = rows.astype(np.int64) + n * np.arange(len(rows))[:, None]
    return (
        np.bincount(places.ravel(), minlength=n * len(rows))
        .reshape(len(rows), n)
        .astype(np.float64)
    )


def _welch(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return Welch's t, its degrees of freedom and the two-sided p."""
    from scipy.stats import ttest_ind

    if np.ptp(x) == 0 and np.ptp(y) == 0:
        difference = float(np.sign(x[0] - y[0]))
        return (difference * np.inf if difference else 0.0), float("nan"), float(difference == 0)
    with warnings.catch_warnings():
        # scipy warns where one sample is constant, which is usual here: a control that never varies
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ttest_ind(x, y, equal_var=False)
    return float(result.statistic), float(result.df), float(result.pvalue)
