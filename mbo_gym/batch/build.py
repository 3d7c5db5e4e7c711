"""From a problem to a batch: health, candidates, choice and what is known of each design."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mbo_gym.batch.candidates import Pool, Taken, Value, draw_pool, spread_pool
from mbo_gym.batch.feasibility import Feasibility, fit_feasibility
from mbo_gym.batch.geometry import SUPPORT_PERCENTILE, Geometry
from mbo_gym.batch.health import (
    N_BEST_KEPT,
    Health,
    check_health,
    fit_committee,
    rows_to_fit,
)
from mbo_gym.batch.intervals import Intervals, fit_intervals
from mbo_gym.batch.models import Committee, Constant
from mbo_gym.batch.plates import choose_plates, group_slot
from mbo_gym.batch.result import Batch, Facts, Score
from mbo_gym.batch.select import SHARPNESS, Chooser, Trade
from mbo_gym.batch.writing import Writing
from mbo_gym.errors import InvalidData
from mbo_gym.methods.base import Context, Method
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["Wishes", "make_batch"]

N_MEASURED = 2_000
"""Random measured designs that a batch keeps away from where nothing was learned."""


@dataclass(frozen=True, eq=False)
class Wishes:
    """What a user wants of a batch.

    Args:
        k: Number of designs.
        include: (I, *shape) wanted designs, which take places in the batch.
        exclude: (E, *shape) designs not to propose: excluded or pending ones.
        diverse: Whether designs are spread wider, at the cost of predicted score.
        group: Parameter that is equal within a plate, or None.
        plate_size: Designs of a plate; None for the whole batch.

    Raises:
        ValueError: A number is out of range, or there are more wanted designs than places.
    """

    k: int
    include: np.ndarray
    exclude: np.ndarray
    diverse: bool = False
    group: str | None = None
    plate_size: int | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if len(self.include) > self.k:
            raise ValueError(
                f"include holds {len(self.include)} designs and the batch has {self.k} places. "
                "Pass a larger batch, or include fewer."
            )
        if self.plate_size is not None and self.group is None:
            raise ValueError(
                "plate_size needs group=, the parameter that is equal within a plate. Pass it."
            )
        if self.plate_size is not None and self.plate_size < 1:
            raise ValueError(f"plate_size must be at least 1, got {self.plate_size}")


def make_batch(
    problem: OfflineProblem,
    method: Method,
    wishes: Wishes,
    *,
    score: Score = Score(),  # noqa: B008 (frozen)
    name: str = "",
    context: Context = Context(),
    health: Health | None = None,
) -> Batch:
    """Make a batch that can be measured.

    Algorithm:
        1. judge the data by cross-validation; models with held-out R2 above 0 form a committee
        2. take the residuals of the hidden best fifth as errors of predictions
        3. list all designs of a small space; else ask the method for designs and add their
           neighbours; write all on the data's steps
        4. leave out what is measured, failed, excluded or pending
        5. rank by the committee's prediction (by the expected score where failures are known)
        6. choose by greedy maximum determinant among the best, plate by plate with a group
        7. where nothing was learned: spread random designs of the space instead

    Args:
        problem: Space and visible data.
        method: Unfitted method.
        wishes: Size of the batch, and what belongs in it.
        score: Name and direction of the score.
        name: Name of the method.
        context: Seed, device and progress.
        health: Health of the data where it is known already.

    Raises:
        InvalidData: Every design of the space is measured or excluded already.
        ValueError: The wanted designs do not fit on the plates.
    """
    slot = None if wishes.group is None else group_slot(problem.space, wishes.group)
    seed = context.seed
    if health is None:
        health = check_health(problem, unit=score.name, seed=seed, progress=context.progress)
    intervals = fit_intervals(problem, health, seed)
    committee = fit_committee(problem, health, rows_to_fit(problem, health), seed)
    feasibility = fit_feasibility(problem, seed)
    value = _value(problem, committee, feasibility)
    writing = Writing(problem)
    failed = problem.dataset.failed
    others = [wishes.exclude, wishes.include] + ([] if failed is None else [failed])
    taken = Taken(writing, problem.dataset.x, *others)
    n_wanted = wishes.k - len(wishes.include)
    if health.learned and n_wanted:
        pool = draw_pool(problem, method, context, taken, value, wishes.k)
    else:
        pool = spread_pool(taken, wishes.k, seed)
    if len(pool.x) == 0 and len(wishes.include) == 0:
        raise InvalidData(
            "there is nothing left to propose: every design of the space that was found is "
            "measured, excluded or failed. Widen the bounds or the steps of the space."
        )
    geometry = Geometry(problem.space, problem.dataset, seed)
    rng = np.random.default_rng([seed, 17])
    n = len(problem.dataset)
    measured = problem.dataset.x[rng.choice(n, size=min(n, N_MEASURED), replace=False)]
    way = "diverse" if wishes.diverse else "default"
    choosers = {
        each: Chooser(geometry, writing.same, sharpness, measured)
        for each, sharpness in SHARPNESS.items()
    }
    x, plate = _choose(pool, wishes, slot, choosers[way], taken, value)
    trades = _trades(pool, x, wishes, choosers, committee, geometry, score, way, health)
    criterion = committee.predict(x)
    facts = _facts(problem, x, criterion, score, committee, intervals, feasibility, geometry)
    wanted = np.zeros(len(x), dtype=bool)
    for design in wishes.include:
        wanted |= (x == design).all(axis=1)
    facts = replace(facts, plate=plate, wanted=wanted)
    notes = _notes(problem, wishes, pool, writing, health, geometry, x, name)
    return Batch(
        x,
        criterion,
        problem.space,
        problem.space.names,
        score,
        facts,
        health,
        intervals,
        feasibility,
        trades,
        notes,
        problem,
        name if pool.n_asked else "",
    )


def _value(problem: OfflineProblem, committee: Committee, feasibility: Feasibility | None) -> Value:
    """Return what designs are ranked by: the prediction, or the expected score with failures."""
    worst = float(problem.dataset.y.min())

    def value(x: np.ndarray) -> np.ndarray:
        prediction = committee.predict(x)
        if feasibility is None:
            return prediction
        works = feasibility.chance(x)
        return np.asarray(works * prediction + (1 - works) * worst)

    return value


def _choose(
    pool: Pool,
    wishes: Wishes,
    slot: int | None,
    chooser: Chooser,
    taken: Taken,
    value: Value,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the designs of the batch and their plates; best first within each plate."""
    plate: np.ndarray | None = None
    if slot is None:
        rows = chooser(pool.x, pool.value, wishes.k - len(wishes.include), wishes.include)
        x = np.concatenate([wishes.include, pool.x[rows]]).astype(pool.x.dtype)
    else:
        size = wishes.plate_size or wishes.k
        plates = choose_plates(pool, wishes.k, slot, size, chooser, taken, value, wishes.include)
        x, plate = plates.x, plates.plate
    worth = value(x)
    order = np.lexsort((-worth,) if plate is None else (-worth, plate))
    return x[order], None if plate is None else plate[order]


def _trades(
    pool: Pool,
    x: np.ndarray,
    wishes: Wishes,
    choosers: dict[str, Chooser],
    committee: Committee,
    geometry: Geometry,
    score: Score,
    chosen: str,
    health: Health,
) -> tuple[Trade, ...]:
    """Return mean score and distance of the best k, the default and the diverse way."""
    if not health.learned or len(pool.x) == 0:
        return ()
    found = []
    for way, chooser in choosers.items():
        batch = x if way == chosen else pool.x[chooser(pool.x, pool.value, wishes.k)]
        mean = score.sign * float(committee.predict(batch).mean())
        distance = float(geometry.nearest_in(batch).mean())
        found.append(Trade(way, mean, distance, way == chosen))
    return tuple(found)


def _facts(
    problem: OfflineProblem,
    x: np.ndarray,
    criterion: np.ndarray,
    score: Score,
    committee: Committee,
    intervals: Intervals,
    feasibility: Feasibility | None,
    geometry: Geometry,
) -> Facts:
    """Return what is known of each design, without plates and wishes."""
    dataset = problem.dataset
    distance, row = geometry.nearest(x)
    predicted = score.sign * criterion
    slack = None
    if isinstance(problem.space, MixedSpace):
        room = problem.space.slack(x)
        slack = room if np.isfinite(room).any() else None
    learned = [m for m in committee.models if not isinstance(m, Constant)]
    above = [m.predict(x) > intervals.best for m in learned]
    agree = [
        tuple(m.name for m, a in zip(learned, above, strict=True) if a[i]) for i in range(len(x))
    ]
    return Facts(
        low=predicted - intervals.half_width,
        high=predicted + intervals.half_width,
        chance=intervals.chance(criterion),
        works=None if feasibility is None else feasibility.chance(x),
        distance=distance,
        row=row,
        line=None if dataset.lines is None else dataset.lines[row],
        inside=distance <= geometry.reach() * (1 + 1e-6) + 1e-9,
        slack=slack,
        agree=agree,
        n_models=len(learned),
        plate=None,
        wanted=np.zeros(len(x), dtype=bool),
    )


def _notes(
    problem: OfflineProblem,
    wishes: Wishes,
    pool: Pool,
    writing: Writing,
    health: Health,
    geometry: Geometry,
    x: np.ndarray,
    name: str,
) -> tuple[str, ...]:
    """Return sentences about how the batch was made."""
    notes: list[str] = []
    if len(x) < wishes.k:
        notes.append(
            f"Only {len(x)} of {wishes.k} designs: no further allowed design was found that is "
            "neither measured nor excluded."
        )
    if pool.n_asked:
        notes.append(
            f"Candidates: {len(pool.x):,}, of which {pool.n_from_method:,} from the method "
            f"{name} (asked for {pool.n_asked:,}; measured and equal ones are left out), the "
            "others their neighbours. The committee's prediction ranks them."
        )
    elif pool.listed:
        notes.append(
            f"Candidates: all {len(pool.x):,} designs of the space that are left, ranked by the "
            f"committee's prediction; no search by {name} is needed."
        )
    elif not health.learned:
        notes.append(
            f"Candidates: {len(pool.x):,} random designs of the space. Each design is the one "
            "farthest from the measured and the chosen ones."
        )
    if health.n_used < health.n_rows:
        notes.append(
            f"The committee is fitted on the {health.n_used:,} sampled rows and the "
            f"{N_BEST_KEPT} best of all {health.n_rows:,}; the method sees every row."
        )
    if wishes.group is not None:
        notes.append(
            f"Within a plate, {wishes.group} is equal. The other choices of score against "
            "diversity are without plates."
        )
    if len(wishes.include):
        notes.append(f"{len(wishes.include)} wanted designs are in the batch.")
    if len(wishes.exclude):
        notes.append(f"{len(wishes.exclude)} excluded or pending designs were left out.")
    notes.append(
        f"Inside the data's support: not farther from the nearest measured design than "
        f"{geometry.reach():.3g}, the {SUPPORT_PERCENTILE}th percentile of the measured designs' "
        "own nearest distances."
    )
    steps = writing.in_words()
    return tuple([*notes, steps] if steps else notes)
