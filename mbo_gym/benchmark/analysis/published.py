"""Published numbers, and whether our runs reproduce them.

The numbers stand in ``published.toml``; whoever adds some edits that file only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from mbo_gym.benchmark.analysis.statistics import Description, describe
from mbo_gym.errors import InvalidData

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Published",
    "Reproduction",
    "Verdict",
    "parse",
    "published",
    "published_for",
    "reproduce",
]

Verdict = Literal["yes", "above", "below", "cannot tell"]

_SPREADS = ("standard deviation", "standard error", "unknown")
_SOURCE_KEYS = ("name", "where", "k", "seeds", "percentile", "tasks", "rows")
_SOURCE_EXTRAS = ("spread", "d_best", "n_visible", "notes")
_HALF_A_DIGIT = 1e-3 / 2
"""Half of the last printed digit: sources print three, so nearer numbers are the same."""


@dataclass(frozen=True)
class Published:
    """A published percentile of the normalised scores of k designs, mean over seeds.

    Args:
        method: Our name of the method, which need not be a method here.
        task_id: Id of the task.
        percentile: 100 (the best design) or 50 (the median).
        mean: Mean over the seeds.
        std: Number printed after +-, None where none is known; `spread` tells its meaning.
        k: Number of proposals.
        seeds: Number of runs.
        source: Name of the source, with the table's number.
        note: Note on this row, or empty.
        variant: Variant of the method, e.g. ``without editing``; empty for the method itself.
        spread: ``standard deviation`` or ``standard error`` (of the mean) as the source says, or
            ``unknown``.
        source_notes: Notes on the source on this task.
        n_visible: Number of rows that the source's methods saw; None where unknown.
        d_best: Best visible score, normalised, as the source prints it; None where it does not.
        where: Address of the source, arXiv id, or repository and commit.
    """

    method: str
    task_id: str
    percentile: int
    mean: float
    std: float | None
    k: int
    seeds: int
    source: str
    note: str = ""
    variant: str = ""
    spread: str = "unknown"
    source_notes: tuple[str, ...] = ()
    n_visible: int | None = None
    d_best: float | None = None
    where: str = ""

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean; None where no spread is known.

        A spread of unknown kind counts as a standard deviation.
        """
        if self.std is None or self.spread == "standard error":
            return self.std
        return self.std / math.sqrt(self.seeds)


@dataclass(frozen=True)
class Reproduction:
    """A published number beside ours.

    Args:
        published: Published number.
        label: Name of our method in tables.
        task: Name of our task setting.
        ours: Our scores of the same percentile, described over seeds.
        k: Number of designs that we proposed.
        difference: Our mean minus the published one.
        standard_errors: The difference in standard errors, sqrt(ours^2 + theirs^2); None with fewer
            than two seeds of ours, and where neither side has a spread.
        verdict: ``yes`` for a difference of at most 2 standard errors, or of half the last printed
            digit; else ``above`` or ``below``; ``cannot tell`` with fewer than two seeds of ours.
        notes: Differences in protocol and remarks that a comparison needs: phrases without full
            stop.
    """

    published: Published
    label: str
    task: str
    ours: Description
    k: int
    difference: float
    standard_errors: float | None
    verdict: Verdict
    notes: tuple[str, ...]


@cache
def published() -> tuple[Published, ...]:
    """Return all published numbers, in the order of ``published.toml``.

    Raises:
        InvalidData: A block of the file is not as it should be; the message names its source.
    """
    return parse(
        files("mbo_gym.benchmark.analysis").joinpath("published.toml").read_text(encoding="utf-8")
    )


def published_for(
    method: str, task_id: str, percentile: int = 100, *, variant: str | None = ""
) -> list[Published]:
    """Return the published numbers of a method on a task; empty where there are none.

    Args:
        method: Our name of the method.
        task_id: Id of the task.
        percentile: 100 or 50.
        variant: Variant of the method; empty for the method itself, None for it and all variants.
    """
    return [
        row
        for row in published()
        if (row.method, row.task_id, row.percentile) == (method, task_id, percentile)
        and variant in (None, row.variant)
    ]


def reproduce(
    published: Published,
    values: Sequence[float],
    *,
    label: str,
    task: str,
    k: int,
    scored: int,
    preset: str | None,
    options: Mapping[str, Any],
    n_visible: int,
) -> Reproduction:
    """Compare our scores with a published number.

    Args:
        published: Published number.
        values: Our normalised scores, the same percentile, one a seed; at least one.
        label: Our method's name in tables.
        task: Name of our task setting.
        k: Number of designs that we proposed.
        scored: Number of designs that `values` are over: k, or fewer for the first of them.
        preset: Preset of our method; None for the defaults.
        options: Options of our task.
        n_visible: Number of rows that our method saw.
    """
    ours = describe(values)
    difference = ours.mean - published.mean
    standard_errors: float | None = None
    verdict: Verdict = "cannot tell"
    if ours.n >= 2:
        error = math.hypot(ours.standard_error, published.standard_error or 0.0)
        if error > 0:
            standard_errors = difference / error
        near = abs(difference) <= max(2 * error, _HALF_A_DIGIT)
        verdict = "yes" if near else "above" if difference > 0 else "below"
    notes = (
        *_budget(published, ours.n, k, scored),
        *_settings(published, preset, options, n_visible),
        *_source_notes(published),
    )
    return Reproduction(
        published, label, task, ours, k, difference, standard_errors, verdict, notes
    )


def _budget(theirs: Published, seeds: int, k: int, scored: int) -> list[str]:
    lines = []
    if scored != k:
        lines.append(f"first {scored} of our {k}")
    if scored != theirs.k:
        lines.append(f"{scored} designs, theirs {theirs.k}")
    if seeds != theirs.seeds:
        lines.append(f"{seeds} {'seed' if seeds == 1 else 'seeds'}, theirs {theirs.seeds}")
    return lines


def _settings(
    theirs: Published, preset: str | None, options: Mapping[str, Any], n_visible: int
) -> list[str]:
    lines = []
    if preset is None:
        lines.append("our default settings, not the paper's")
    elif not preset.startswith("paper"):
        lines.append(f"our preset {preset}, not the paper's settings")
    if options:
        lines.append(
            f"task options {', '.join(f'{key}={value}' for key, value in options.items())}"
        )
    if theirs.n_visible not in (None, n_visible):
        lines.append(f"{n_visible:,} visible rows, theirs {theirs.n_visible:,}")
    return lines


def _source_notes(theirs: Published) -> list[str]:
    lines = [f"theirs is the variant {theirs.variant}"] if theirs.variant else []
    if theirs.std is None:
        lines.append("their spread is not known")
    elif theirs.spread == "unknown":
        lines.append(
            "their +- may be a standard deviation or a standard error: "
            "taken as a standard deviation"
        )
    return [*lines, *filter(None, [theirs.note]), *theirs.source_notes]


def parse(text: str) -> tuple[Published, ...]:
    """Read published numbers from TOML and check them; ``published.toml`` explains the format.

    Raises:
        InvalidData: A key is missing or unknown, a row has too few or too many scores, a number
            makes no sense or stands twice; the message names the source.
    """
    document = tomllib.loads(text)
    _check_keys("the file", document, ("tasks", "source"))
    tasks = document["tasks"]
    for short, facts in tasks.items():
        _check_keys(f"[tasks], {short}", facts, ("id", "n_visible"))
    rows = [row for source in document["source"] for row in _source_rows(source, tasks)]
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        key = (row.method, row.task_id, row.percentile, row.source, row.variant)
        _require(key not in seen, row.source, f"{row.method} on {row.task_id} stands twice")
        seen.add(key)
    return tuple(rows)


def _source_rows(source: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[Published]:
    """Check one [[source]] block and return its numbers."""
    name = str(source.get("name", "a source without a name"))
    _check_source(name, source, tasks)
    return [number for row in source["rows"] for number in _row_numbers(name, source, row, tasks)]


def _check_source(name: str, source: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
    """Raise InvalidData unless a source is as it should be, its rows apart."""
    _check_keys(name, source, _SOURCE_KEYS, _SOURCE_EXTRAS)
    shorts, d_best = source["tasks"], source.get("d_best")
    for key in ("k", "seeds"):
        _require(
            type(source[key]) is int and source[key] > 0,
            name,
            f"{key} must be 1 or more, got {source[key]!r}",
        )
    _require(
        source["percentile"] in (50, 100),
        name,
        f"percentile must be 50 or 100, got {source['percentile']!r}",
    )
    _check_names(name, "tasks", shorts, tasks)
    _check_names(name, "n_visible", source.get("n_visible", {}), shorts)
    _require(
        d_best is None or len(d_best) == len(shorts),
        name,
        f"d_best must hold {len(shorts)} numbers",
    )


def _row_numbers(
    name: str, source: Mapping[str, Any], row: Mapping[str, Any], tasks: Mapping[str, Any]
) -> list[Published]:
    """Check one row of a source, and return its number on each task."""
    where = f"{name}, {row.get('method', 'a row without a method')}"
    _check_keys(where, row, ("method", "scores"), ("variant", "spread", "notes"))
    shorts, d_best, visible = source["tasks"], source.get("d_best"), source.get("n_visible", {})
    scores, spread = row["scores"], row.get("spread", source.get("spread"))
    _require(
        isinstance(scores, list) and len(scores) == len(shorts),
        where,
        f"{len(shorts)} tasks need a list of as many scores, got {scores!r}",
    )
    notes, row_notes = (_notes(where, table.get("notes", {}), shorts) for table in (source, row))
    numbers = []
    for i, short in enumerate(shorts):
        mean, std = _score(where, scores[i])
        _require(
            std is None or spread in _SPREADS,
            where,
            f"spread must be one of {_SPREADS}, got {spread!r}",
        )
        numbers.append(
            Published(
                method=row["method"],
                task_id=tasks[short]["id"],
                percentile=source["percentile"],
                mean=mean,
                std=std,
                k=source["k"],
                seeds=source["seeds"],
                source=name,
                note="; ".join(row_notes[short]),
                variant=row.get("variant", ""),
                spread=spread if std is not None else "unknown",
                source_notes=tuple(notes[short]),
                n_visible=visible.get(short, tasks[short]["n_visible"]),
                d_best=d_best[i] if d_best else None,
                where=source["where"],
            )
        )
    return numbers


def _score(where: str, score: Any) -> tuple[float, float | None]:
    """Return mean and spread of a cell: a mean, or [mean, spread]."""
    numbers = score if isinstance(score, list) else [score]
    plain = all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
    )
    if not plain or len(numbers) not in (1, 2) or (len(numbers) == 2 and numbers[1] < 0):
        raise InvalidData(
            f"published numbers, {where}: a score is a mean or [mean, spread], got {score!r}"
        )
    return (float(numbers[0]), float(numbers[1]) if len(numbers) == 2 else None)


def _notes(where: str, notes: Mapping[str, str], shorts: Sequence[str]) -> dict[str, list[str]]:
    """Return the notes of each task; a key holds short names, or is "all"."""
    for key in notes:
        _check_names(where, "notes", key.split(), (*shorts, "all"))
    return {
        s: [note for key, note in notes.items() if {s, "all"} & set(key.split())] for s in shorts
    }


def _check_names(where: str, what: str, names: Collection[str], allowed: Collection[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    _require(
        not unknown, where, f"{what} names {', '.join(unknown)}; known are {', '.join(allowed)}"
    )


def _check_keys(
    where: str, table: Mapping[str, Any], needed: Sequence[str], extra: Sequence[str] = ()
) -> None:
    missing = [key for key in needed if key not in table]
    unknown = [key for key in table if key not in (*needed, *extra)]
    allowed = f"needed are {', '.join(needed)}" + (f", allowed {', '.join(extra)}" if extra else "")
    _require(not missing, where, f"{', '.join(missing)} missing; {allowed}")
    _require(not unknown, where, f"{', '.join(unknown)} not known; {allowed}")


def _require(holds: bool, where: str, message: str) -> None:
    if not holds:
        raise InvalidData(f"published numbers, {where}: {message}")
