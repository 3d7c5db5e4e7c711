"""Tasks: design space, visible data, oracle and facts; and the part that a method may see."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np

from mbo_gym.errors import MissingData
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.oracle import MADE, MeteredOracle, Oracle
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.settings import Limits, typed_arguments

__all__ = [
    "Ceiling",
    "Drawing",
    "OfflineProblem",
    "Task",
    "TaskInfo",
    "name_of_score",
    "offline_split",
    "tasks_made",
]

_n_made = 0
_MINUS = "minus "
_MINIMISED = " (to be minimised)"


def name_of_score(name: str, *, minimise: bool) -> str:
    """Return what a task calls a score of a file, which is negated where it is minimised."""
    return f"{_MINUS}{name}{_MINIMISED}" if minimise else name


class Drawing(Protocol):
    """Draws designs of a task as what they are, e.g. a tool and the water it holds.

    Drawing asks the oracle where a picture tells the score; these calls are counted.
    """

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Kinds of files that `save` writes, e.g. ``.png``."""
        ...

    @property
    def references(self) -> Mapping[str, np.ndarray]:
        """Designs to compare with, by name, e.g. a flat tool."""
        ...

    def draw(self, axes: Any, design: np.ndarray) -> None:
        """Draw a design, of the space's shape, into axes of matplotlib."""
        ...

    def save(self, path: Path, designs: Mapping[str, np.ndarray]) -> None:
        """Draw designs, each by its name, into a file whose suffix is one of `suffixes`."""
        ...


@dataclass(frozen=True)
class Ceiling:
    """The best that any method could score on a task.

    Args:
        scores: (n,) raw scores of the best distinct designs, best first; a single one where designs
            can crowd around it.
        exact: Whether nothing better exists (complete table, known optimum), or only nothing better
            is known.
        note: Origin of the number.
    """

    scores: np.ndarray
    exact: bool
    note: str

    def percentile(self, q: float, k: int) -> float:
        """Return the raw score at percentile `q` of the best `k` distinct designs."""
        return float(np.percentile(self.scores[:k].astype(np.float64), q))


@dataclass(frozen=True)
class TaskInfo:
    """Facts of a task, from which `mbo-gym show`, `mbo-gym list` and the documentation are made.

    Every text is written here once. Numbers that follow from the data are filled in when the task
    is made; `mbo_gym.tasks.task_info` gives the facts without the data.

    Args:
        task_id: ``<Data>-<Oracle>-v<N>``.
        description: What is designed and what the score means, in a sentence or two.
        y_min: Lowest raw score of the full hidden data, the 0 of normalised scores; NaN where only
            the data tell.
        y_max: Highest raw score of the full hidden data, the 1 of normalised scores; NaN where only
            the data tell.
        licence: Licence of the data, and who carries them.
        oracle: What the oracle is, and how near it is to the one in the papers.
        references: Papers and sources.
        version_history: What each version of the id is.
        score_name: What is measured, with its unit.
        n_full: Rows of the full hidden data; filled in when the task is made.
        percentile: Upper percentile of the full data's scores at which visible rows end.
        n_visible: Visible rows, after the options; filled in when the task is made.
        d_best: Best visible score, normalised, before `noise`; filled in when the task is made.
        space: The design space in one sentence; filled in when the task is made, where empty.
        split: Which rows are visible, in one sentence.
        notes: What was done with a user's table, in a sentence each.
        columns: (name, role) of each column of a user's table.
        sources: Names in ``data/manifest.toml``; any one of them will do. Empty for data that are
            computed.
        family: Pattern of the ids that share one page, e.g. ``TFBind8_<FACTOR>-Exact-v0``; empty
            for an id that shares its page with its other versions only.
        noise_floor: Smallest difference of raw scores that means anything, because the oracle is
            chaotic below it; 0 where every difference counts.
    """

    task_id: str
    description: str
    y_min: float
    y_max: float
    licence: str
    oracle: str
    references: tuple[str, ...]
    version_history: tuple[str, ...]
    score_name: str = "score"
    n_full: int = 0
    percentile: float = 100.0
    n_visible: int = 0
    d_best: float = float("nan")
    space: str = ""
    split: str = ""
    notes: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    family: str = ""
    noise_floor: float = 0.0

    @property
    def minimised(self) -> bool:
        """Whether lower is better in the file; scores are negated inside."""
        return self.score_name.startswith(_MINUS) and self.score_name.endswith(_MINIMISED)

    @property
    def score_in_file(self) -> str:
        """Name of the score as the file has it."""
        if not self.minimised:
            return self.score_name
        return self.score_name.removeprefix(_MINUS).removesuffix(_MINIMISED)


@dataclass(frozen=True, eq=False)
class OfflineProblem:
    """All that a method may know. It holds no oracle and nothing that leads to one.

    Args:
        task_id: Id of the task.
        space: Design space.
        dataset: Visible designs and scores.
        score_range: (min, max) of the *full* data's raw scores, as the papers use it for target
            scores. It is more than the visible data tell: a method that reads it says so in its
            docstring.
        options: Options of the task that can be written to a file (never the oracle).
        context: (c,) float32, specification that proposals are scored under, in the terms of
            `dataset.context`; None where the task has but one.
        files: sha256 of each file that the task is made of, by the option that names the file.
    """

    task_id: str
    space: DesignSpace
    dataset: OfflineDataset
    score_range: tuple[float, float]
    options: Mapping[str, Any] = field(default_factory=dict)
    context: np.ndarray | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def recovery_options(self) -> dict[str, Any]:
        """Options that make the same task again, and refuse a file that is missing or changed."""
        return {**self.options, **({"sha256": dict(self.files)} if self.files else {})}

    def opaque(self) -> OfflineProblem:
        """Return the problem without what a task could be made by.

        The id ends at its first ``-`` (``TFBind8``), which no task has. Options are kept where they
        hold numbers alone: no path of the data is among them.
        """
        options = {key: value for key, value in self.options.items() if _is_numeric(value)}
        dataset = replace(self.dataset, lines=None)
        name = self.task_id.partition("-")[0]
        return replace(self, task_id=name, options=options, dataset=dataset, files={})


@dataclass(frozen=True, eq=False)
class Task:
    """A benchmark task: what is visible, what is hidden, and the facts about both.

    Args:
        info: Facts of the task.
        space: Design space.
        dataset: Visible designs and scores.
        hidden_oracle: Holder of the true score, or None where there is none; reach it through
            `oracle()`, which counts.
        ceiling: Best reachable scores, where known.
        options: Arguments that `make_task` was called with.
        context: (c,) specification that the oracle scores under, where the data have one for each
            row.
        controls: Raw scores of designs that learn nothing, by the name of the control, where they
            are stored with the data.
        drawing: What draws designs as what they are; None where there is nothing to see.
        files: sha256 of each file that the task is made of, by the option that names the file.

    Example:
        >>> import mbo_gym
        >>> task = mbo_gym.make_task("Branin-Exact-v0")
        >>> len(task.dataset), task.has_oracle
        (2500, True)
    """

    info: TaskInfo
    space: DesignSpace
    dataset: OfflineDataset
    hidden_oracle: Oracle | None = field(repr=False)
    ceiling: Ceiling | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    context: np.ndarray | None = field(default=None, repr=False)
    controls: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    drawing: Drawing | None = field(default=None, repr=False)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        global _n_made
        _n_made += 1
        sys.audit(MADE, "task", self.info.task_id)

    @property
    def has_oracle(self) -> bool:
        """Whether proposals can be scored."""
        return self.hidden_oracle is not None

    @cached_property
    def data_hash(self) -> str:
        """16 hex digits of the sha256 of visible data, range of the scores, and ceiling.

        Results of different data have different ones, as where two machines hold different files
        under one name.
        """
        digest = hashlib.sha256(self.dataset.content_hash().encode())
        digest.update(repr((float(self.info.y_min), float(self.info.y_max))).encode())
        if self.ceiling is not None:
            digest.update(np.asarray(self.ceiling.scores, dtype=np.float64).tobytes())
        return digest.hexdigest()[:16]

    def problem(self) -> OfflineProblem:
        """Return what a method may see: the same object every time, without the oracle."""
        return self._problem

    @cached_property
    def _problem(self) -> OfflineProblem:
        plain = {key: value for key, value in self.options.items() if _is_plain(value)}
        score_range = (self.info.y_min, self.info.y_max)
        return OfflineProblem(
            self.info.task_id,
            self.space,
            self.dataset,
            score_range,
            plain,
            self.context,
            self.files,
        )

    def oracle(self, budget: int | None = None) -> MeteredOracle:
        """Return the oracle behind a fresh counter.

        Args:
            budget: Most designs it will score; None for no limit.

        Raises:
            MissingData: This task has no oracle.
        """
        if self.hidden_oracle is None:
            raise MissingData(
                f"{self.info.task_id} has no oracle, so designs cannot be scored: "
                f"{self.info.oracle} Measure them yourself, or make the task with "
                "oracle='random_forest' (a stand-in fitted on all rows) or oracle=<your function>."
            )
        return MeteredOracle(self.hidden_oracle, budget)

    def normalise(self, y: np.ndarray) -> np.ndarray:
        """Return raw scores (N,) as (y - y_min) / (y_max - y_min), (N,) float64.

        `y_min` and `y_max` are constants of the full hidden data.
        """
        return np.asarray(
            (np.asarray(y, dtype=np.float64) - self.info.y_min)
            / (self.info.y_max - self.info.y_min)
        )

    def with_options(
        self,
        *,
        fraction: Annotated[float, Limits(0, 1, above=True)] = 1.0,
        noise: Annotated[float, Limits(0, 1000)] = 0.0,
        seed: Annotated[int, Limits(0)] = 0,
        max_rows: Annotated[int, Limits(1)] | None = None,
    ) -> Task:
        """Return this task with less or noisier visible data; oracle and constants stay.

        Args:
            fraction: Share of the visible rows kept, drawn at random, in (0, 1] (GTG's sparse
                setting).
            noise: Standard deviation of Gaussian noise on the normalised visible scores (GTG's
                noisy setting; GTG's program also clips the noisy scores to [0, 1], which would bend
                the distribution, so we do not).
            seed: Seed of the draw and of the noise.
            max_rows: At most this many rows, every n-th of the visible rows sorted by score (how
                papers cut TFBind10).

        Raises:
            InvalidData: A value is of another type or out of range.
        """
        given = {"fraction": fraction, "noise": noise, "seed": seed, "max_rows": max_rows}
        typed_arguments(Task.with_options, given)
        dataset = self.dataset
        rows_rng = np.random.default_rng([seed, 0])
        noise_rng = np.random.default_rng([seed, 1])
        if fraction != 1.0:
            dataset = dataset.subsample(fraction, rows_rng)
        if max_rows is not None:
            dataset = dataset.every_nth_by_score(max_rows)
        d_best = float(self.normalise(_best_score(dataset, self.context)))
        if noise != 0.0:
            dataset = dataset.with_noise(noise * (self.info.y_max - self.info.y_min), noise_rng)
        info = replace(
            self.info,
            n_visible=len(dataset),
            d_best=d_best,
            space=self.info.space or _space_in_words(self.space),
        )
        return replace(self, dataset=dataset, info=info)


def tasks_made() -> int:
    """Return the number of tasks that this process has made: 0 where it holds nothing hidden."""
    return _n_made


def _best_score(dataset: OfflineDataset, context: np.ndarray | None) -> np.ndarray:
    """Return the best raw score; of the rows measured under a context, where there are any."""
    if dataset.context is not None and context is not None:
        same = (dataset.context == context).all(axis=1)
        if same.any():
            return np.asarray(dataset.y[same].max())
    return np.asarray(dataset.y.max())


def _is_plain(value: Any) -> bool:
    """Whether an option can be written to a file: text, number, or list or mapping of such."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, bool, Real))


def _is_numeric(value: Any) -> bool:
    """Whether an option is a number, or a list of numbers."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_numeric, value))
    return isinstance(value, Real)


def _space_in_words(space: DesignSpace) -> str:
    if isinstance(space, CategoricalSpace):
        letters = " ".join(space.letters[:26])
        return f"{space.length} sites of {space.n_categories} letters ({letters})."
    if isinstance(space, MixedSpace):
        return space.in_words()
    assert isinstance(space, ContinuousSpace)
    low = float(space.low.min())
    high = float(space.high.max())
    return f"{space.shape[0]} real numbers, smallest bound {low:g}, largest {high:g}."


def offline_split(
    x: np.ndarray, y: np.ndarray, percentile: float, min_percentile: float = 0.0
) -> OfflineDataset:
    """Return the visible rows of full data: y at or below its percentile, in file order.

    Args:
        x: (N, *shape) all designs.
        y: (N,) all raw scores.
        percentile: Upper percentile of y, numpy's linear rule.
        min_percentile: Lower percentile of y.
    """
    return OfflineDataset(x, y).below_percentile(percentile, min_p=min_percentile)
