"""The record of a cell: what ran, on what, and what came out; the one place that knows its JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mbo_gym.runs.request import RunRequest

__all__ = [
    "SCHEMA",
    "CellError",
    "CellRecord",
    "CellResult",
    "Environment",
    "KnownCeiling",
    "KnownControl",
    "ScoreSummary",
    "SearchStep",
    "finite",
]

SCHEMA = 1
"""Number of the JSON layout; records written before there was one count as 0."""


@dataclass(frozen=True)
class Environment:
    """Software and machine of a run.

    Args:
        versions: Version of each library.
        git: Commit of the source, with ``+changes`` where it was changed; None where unknown.
        machine: Platform and number of threads.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    git: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreSummary:
    """Normalised scores of a set of designs.

    Args:
        n: Number of designs.
        p100: 100th percentile, the best.
        p50: 50th percentile, the median.
        mean: Arithmetic mean.
    """

    n: int
    p100: float
    p50: float
    mean: float


@dataclass(frozen=True)
class KnownCeiling:
    """Best reachable normalised scores of k distinct designs.

    Args:
        p100: 100th percentile.
        p50: 50th percentile.
        exact: Whether nothing better exists; else nothing better is known.
        note: Meaning of the numbers.
    """

    p100: float
    p50: float
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class KnownControl:
    """Normalised scores of a control that follow exactly from the task's table.

    Args:
        p100: 100th percentile.
        p50: 50th percentile.
    """

    p100: float
    p50: float


@dataclass(frozen=True)
class SearchStep:
    """A recorded step of a search, averaged over designs.

    Args:
        step: Number of the step.
        prediction: Normalised prediction of the surrogate; None where it diverged.
        score: Normalised score of the oracle; None where unknown.
    """

    step: int
    prediction: float | None
    score: float | None


@dataclass(frozen=True)
class CellResult:
    """Scores, counts and costs of a finished cell; see `mbo_gym.evaluation.Evaluation`.

    Args:
        task_id: Id of the task.
        k: Number of proposals.
        d_best: Best visible score, normalised.
        note: Reason why nothing was scored; empty where the proposals were scored.
        overall: Scores of all proposals; None without an oracle.
        first: Scores of the first 128.
        distinct: Scores of the distinct designs among the proposals.
        share_above_best: Share of the proposals above D(best); None without an oracle.
        n_unique: Number of distinct designs.
        n_in_data: Number of proposals that are visible designs.
        n_infeasible: Number of proposals that could not be scored.
        oracle_calls: Oracle calls of the evaluation.
        n_visible: Number of visible designs of the task.
        diversity: Mean distance between two proposals.
        novelty: Mean distance of a proposal to the nearest visible design.
        quantiles: Normalised scores of the proposals at 0, 2.5, .. 100 %; empty where unknown.
        ceiling: Best reachable scores; None where unknown.
        controls: Controls whose scores are known exactly, by name.
        search_oracle_calls: Oracle calls while the method learned and proposed; None where unknown.
        trace_oracle_calls: Oracle calls for the scores of `search` and `learning`, made after the
            search.
        fit_seconds: Wall-clock seconds of fitting; None where unknown.
        propose_seconds: Wall-clock seconds of proposing; None where unknown.
        peak_memory_mb: Peak memory of the run in MiB, reading the task included (older
            records: of fitting and proposing alone); None where unknown.
        search: Predictions and scores along the search; empty without a search.
        learning: The same of the designs that a policy reaches, by updates or environment steps of
            its training; empty without a policy.
        learned_rollouts: Episodes of learned simulators while the method learned and proposed; None
            where unknown.
        learned_gradients: Gradients of such episodes; None where unknown.
        tables: Tables that the method recorded, by name: rows of the same columns. ``race`` is that
            of the families (`mbo_gym.surrogates.auto.Entrant`).
        offline: What the method's surrogate says of itself, see
            `mbo_gym.runs.offline.offline_numbers`; empty where it is not known.
        data: Hash of the task's data, see `mbo_gym.problem.task.Task.data_hash`; empty where
            unknown.
        touched: What the process that learned touched that a method needs not, see
            `mbo_gym.runs.audit`.
        isolated: Whether that process held the problem alone; None where unknown.
    """

    task_id: str
    k: int
    d_best: float
    note: str
    overall: ScoreSummary | None
    first: ScoreSummary | None
    distinct: ScoreSummary | None
    share_above_best: float | None
    n_unique: int
    n_in_data: int
    n_infeasible: int
    oracle_calls: int
    n_visible: int
    diversity: float | None
    novelty: float | None
    quantiles: tuple[float, ...]
    ceiling: KnownCeiling | None
    controls: Mapping[str, KnownControl]
    search_oracle_calls: int | None
    trace_oracle_calls: int | None
    fit_seconds: float | None
    propose_seconds: float | None
    peak_memory_mb: float | None
    search: tuple[SearchStep, ...]
    learned_rollouts: int | None = None
    learned_gradients: int | None = None
    tables: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    offline: Mapping[str, float | None] = field(default_factory=dict)
    data: str = ""
    touched: tuple[str, ...] = ()
    isolated: bool | None = None
    learning: tuple[SearchStep, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CellResult:
        """Build a result from JSON values, or from the plain values of a run."""
        known = {item.name for item in dataclasses.fields(cls)}
        fields = {key: finite(value) for key, value in values.items() if key in known}
        for name in ("overall", "first", "distinct"):
            fields[name] = ScoreSummary(**fields[name]) if fields[name] else None
        ceiling = fields["ceiling"]
        controls = fields["controls"]
        fields["ceiling"] = KnownCeiling(**ceiling) if ceiling else None
        fields["controls"] = {name: KnownControl(**known) for name, known in controls.items()}
        fields["quantiles"] = tuple(fields["quantiles"] or ())
        fields["search"] = tuple(SearchStep(**step) for step in fields["search"])
        fields["learning"] = tuple(SearchStep(**step) for step in fields.get("learning", ()))
        fields["tables"] = {name: tuple(rows) for name, rows in fields.get("tables", {}).items()}
        fields["touched"] = tuple(fields.get("touched", ()))
        return cls(**fields)


@dataclass(frozen=True)
class CellError:
    """The error that a cell failed with.

    Args:
        type: Name of the exception's class.
        message: Message of the exception.
        traceback: Traceback as text.
    """

    type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CellRecord:
    """A finished or failed cell of a benchmark.

    Args:
        key: Key of the cell, see `mbo_gym.benchmark.plan.grid.Cell.key`.
        label: Name of the method in tables.
        request: Method, task, seed, budget, settings and device that were asked for.
        config: Every field of the method's config, as it ran.
        status: ``done`` or ``failed``.
        environment: Software and machine.
        finished: End of the run, ISO 8601.
        seconds: Wall-clock seconds of the whole cell.
        command: Command that repeats the cell.
        control: Whether the method is a control.
        external: Whether the designs came from a file.
        cpus: Number of CPU cores, and of threads.
        attempts: Number of attempts; more than 1 where a worker was lost.
        result: Scores, counts and costs; None where the cell failed.
        error: The error; None where the cell is done.
        schema: Number of the JSON layout that the record was read from.

    Example:
        >>> from pathlib import Path
        >>> from mbo_gym.benchmark.execute.results import ResultStore
        >>> record = ResultStore(Path("experiments/results/core")).records()[0]
        >>> record.request.method, record.result.overall.p100 > 0.9
        ('random', True)
    """

    key: str
    label: str
    request: RunRequest
    config: Mapping[str, Any]
    status: Literal["done", "failed"]
    environment: Environment
    finished: str
    seconds: float
    command: str
    control: bool = False
    external: bool = False
    cpus: int = 1
    attempts: int = 1
    result: CellResult | None = None
    error: CellError | None = None
    schema: int = SCHEMA

    @property
    def folder_name(self) -> str:
        """Name of the run's folder, as `mbo_gym.benchmark.plan.grid.Cell.folder_name` writes it."""
        request = self.request
        return f"{request.method}-{request.task_id}-k{request.k}-seed{request.seed}-{self.key}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CellRecord:
        """Build a record from the values of a JSON line, of this layout or an older one.

        Raises:
            ValueError: The values are no record, of a newer layout, or not those that were written.
        """
        try:
            schema = values.get("schema", 0)
            if schema > SCHEMA:
                raise ValueError(
                    f"the record has schema {schema}, this version reads up to {SCHEMA}. "
                    "Update mbo-gym."
                )
            if "sha256" in values and values["sha256"] != _checksum(values):
                raise ValueError("it was changed after it was written: its sha256 differs")
            if unknown := set(values) - _FIELDS:
                raise ValueError(f"a record has no {', '.join(sorted(map(repr, unknown)))}")
            result = values["result"]
            error = values["error"]
            return cls(
                key=values["key"],
                label=values["label"],
                request=RunRequest(
                    method=values["method"],
                    task_id=values["task"],
                    seed=values["seed"],
                    k=values["k"],
                    preset=values["preset"],
                    settings=values["settings"],
                    options=values["options"],
                    device=values["device"],
                ),
                config=values["config"],
                status=values["status"],
                environment=Environment(**values["environment"]),
                finished=values["finished"],
                seconds=values["seconds"],
                command=values["command"],
                control=values["control"],
                external=values["external"],
                cpus=values["cpus"],
                attempts=values["attempts"],
                result=CellResult.from_json(result) if result is not None else None,
                error=CellError(**error) if error is not None else None,
                schema=schema,
            )
        except KeyError as missing:
            raise ValueError(f"a record needs {missing}") from missing
        except (AttributeError, TypeError) as error:
            raise ValueError(f"no record: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the record as values of a JSON line, in the layout of `SCHEMA`.

        Numbers of the result that are not finite become None, which JSON has for them. The last
        value is the sha256 of the others, by which a changed record is known.
        """
        request = self.request
        values = {
            "schema": SCHEMA,
            "key": self.key,
            "status": self.status,
            "label": self.label,
            "method": request.method,
            "preset": request.preset,
            "settings": dict(request.settings),
            "config": dict(self.config),
            "control": self.control,
            "external": self.external,
            "task": request.task_id,
            "options": dict(request.options),
            "seed": request.seed,
            "k": request.k,
            "device": request.device,
            "cpus": self.cpus,
            "command": self.command,
            "attempts": self.attempts,
            "finished": self.finished,
            "seconds": self.seconds,
            "environment": dataclasses.asdict(self.environment),
            "result": _plain(dataclasses.asdict(self.result)) if self.result else None,
            "error": dataclasses.asdict(self.error) if self.error else None,
        }
        return {**values, "sha256": _checksum(values)}

    def line(self) -> str:
        """Return the record as a JSON line, without the line end.

        Raises:
            ValueError: A number outside the result is not finite.
        """
        return json.dumps(self.to_json(), default=str, allow_nan=False)


_FIELDS = {
    *("schema", "key", "status", "label", "method", "preset", "settings", "config", "control"),
    *("external", "task", "options", "seed", "k", "device", "cpus", "command", "attempts"),
    *("finished", "seconds", "environment", "result", "error", "sha256"),
}
"""Values of a JSON line."""


def _checksum(values: Mapping[str, Any]) -> str:
    """Return the sha256 of the values of a JSON line, but for that itself."""
    rest = {key: value for key, value in values.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """Write a result with lists and an empty ceiling, as JSON has them."""
    changed: dict[str, Any] = {
        name: list(result[name]) for name in ("quantiles", "search", "learning", "touched")
    }
    changed["tables"] = {name: list(rows) for name, rows in result["tables"].items()}
    return {**result, **changed, "ceiling": result["ceiling"] or {}}


def finite(value: Any) -> Any:
    """Return plain values with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
