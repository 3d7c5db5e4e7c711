"""Tasks: a design space, visible data, an oracle and the facts; and the part of it that a method
may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np

from mbo_gym.errors import MissingData
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.oracle import MeteredOracle, Oracle
from mbo_gym.problem.space import DesignSpace

__all__ = ["Ceiling", "OfflineProblem", "Task", "TaskInfo", "offline_split"]


@dataclass(frozen=True)
class Ceiling:
    """The best that any method could score on a task.

    Args:
        scores: (n,) raw scores of the best distinct designs, best first; a single one where designs
            can crowd around it.
        exact: Whether nothing better exists (a complete table, a known optimum), or just nothing
            better is known.
        note: What the number is.
    """

    scores: np.ndarray
    exact: bool
    note: str

    def percentile(self, q: float, k: int) -> float:
        """Return the raw score at percentile `q` of the best `k` distinct designs."""
        return float(np.percentile(self.scores[:k].astype(np.float64), q))


@dataclass(frozen=True)
class TaskInfo:
    """The facts of a task, fixed with its id.

    Args:
        task_id: ``<Data>-<Oracle>-v<N>``.
        description: What is designed and what the score means, in a sentence or two.
        y_min: Lowest raw score of the full hidden data, the 0 of normalised scores.
        y_max: Highest raw score of the full hidden data, the 1 of normalised scores.
        licence: Of the data, and who carries it.
        oracle: What the oracle is, and how near it is to the one in the papers.
        references: Papers and sources.
        version_history: What each version of the id is.
        score_name: What is measured, with its unit.
        n_full: Rows of the full hidden data.
        percentile: The visible rows have y at or below this percentile of the full data.
        n_visible: Rows that are visible, after the options; filled in when the task is made.
        d_best: Best visible score, normalised, before `noise`; filled in when the task is made.
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


@dataclass(frozen=True, eq=False)
class OfflineProblem:
    """All that a method may know. It holds no oracle and nothing that leads to one.

    Args:
        task_id: The task's id.
        space: Where designs live.
        dataset: The visible designs and scores.
        score_range: (min, max) of the *full* data's raw scores, as the papers use it for target
            scores. It is more than the visible data tell: a method that reads it says so in its
            docstring.
        options: The task's options that can be written to a file (never the oracle).
    """

    task_id: str
    space: DesignSpace
    dataset: OfflineDataset
    score_range: tuple[float, float]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Task:
    """A benchmark task: what is visible, what is hidden, and the facts about both.

    Args:
        info: The facts.
        space: Where designs live.
        dataset: The visible designs and scores.
        hidden_oracle: The true score, or None where there is none; reach it through `oracle()`,
            which counts.
        ceiling: The best reachable scores, where known.
        options: What `make_task` was called with.
    """

    info: TaskInfo
    space: DesignSpace
    dataset: OfflineDataset
    hidden_oracle: Oracle | None = field(repr=False)
    ceiling: Ceiling | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_oracle(self) -> bool:
        """Whether proposals can be scored."""
        return self.hidden_oracle is not None

    def problem(self) -> OfflineProblem:
        """Return what a method may see: the same object every time, without the oracle."""
        return self._problem

    @cached_property
    def _problem(self) -> OfflineProblem:
        plain = {
            key: value
            for key, value in self.options.items()
            if key != "oracle" or isinstance(value, str)
        }
        return OfflineProblem(
            self.info.task_id, self.space, self.dataset, (self.info.y_min, self.info.y_max), plain
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
                f"{self.info.task_id} has no oracle, so designs cannot be scored: {self.info.oracle} Measure them "
                "yourself, or make the task with oracle='random_forest' (a stand-in fitted on all rows) or "
                "oracle=<your function>."
            )
        return MeteredOracle(self.hidden_oracle, budget)

    def normalise(self, y: np.ndarray) -> np.ndarray:
        """Map raw scores (N,) to (y - y_min) / (y_max - y_min), constants of the full hidden data;
        (N,) float64."""
        return np.asarray(
            (np.asarray(y, dtype=np.float64) - self.info.y_min)
            / (self.info.y_max - self.info.y_min)
        )

    def with_options(
        self,
        *,
        fraction: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
        max_rows: int | None = None,
    ) -> Task:
        """Return this task with less or noisier visible data; oracle and constants stay.

        Args:
            fraction: Share of the visible rows kept, drawn at random, in (0, 1] (GTG's sparse
                setting).
            noise: Standard deviation of Gaussian noise on the normalised visible scores (GTG's
                noisy setting; GTG's program also clips the noisy scores to [0, 1], which would bend
                the distribution, so we do not).
            seed: Of the draw and the noise.
            max_rows: At most this many rows, every n-th of the visible rows sorted by score (how
                papers cut TFBind10).
        """
        numbers = {
            "fraction": fraction,
            "noise": noise,
            "seed": seed,
            "max_rows": 1 if max_rows is None else max_rows,
        }
        for name, value in numbers.items():
            kind, words = (
                (Real, "a number")
                if name in ("fraction", "noise")
                else (Integral, "a whole number")
            )
            if not isinstance(value, kind):
                raise ValueError(f"{name} must be {words}, got {value!r}")
        dataset = self.dataset
        rows_rng, noise_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        if fraction != 1.0:
            dataset = dataset.subsample(fraction, rows_rng)
        if max_rows is not None:
            dataset = dataset.every_nth_by_score(max_rows)
        d_best = float(self.normalise(dataset.y.max()))
        if noise != 0.0:
            dataset = dataset.with_noise(noise * (self.info.y_max - self.info.y_min), noise_rng)
        return replace(
            self, dataset=dataset, info=replace(self.info, n_visible=len(dataset), d_best=d_best)
        )


def offline_split(
    x: np.ndarray, y: np.ndarray, percentile: float, min_percentile: float = 0.0
) -> OfflineDataset:
    """Return the visible rows of full data: y at or below its percentile, in file order, nothing
    removed.

    Args:
        x: (N, *shape) all designs.
        y: (N,) all raw scores.
        percentile: Upper percentile of y, numpy's linear rule.
        min_percentile: Lower percentile of y.
    """
    return OfflineDataset(x, y).below_percentile(percentile, min_p=min_percentile)
