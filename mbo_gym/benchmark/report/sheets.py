"""Tables of a report as plain values, for Markdown, LaTeX and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbo_gym.benchmark.analysis.model import Analysis, Entry, Standing, TaskSetting
from mbo_gym.benchmark.analysis.published import Reproduction
from mbo_gym.benchmark.analysis.statistics import Description, Interval

__all__ = [
    "MARK",
    "TOUCHED",
    "Column",
    "Row",
    "Sheet",
    "Value",
    "failures_sheet",
    "offline_sheet",
    "overall_sheet",
    "reproduced_sheet",
    "task_sheet",
]

MARK = "*"
"""Mark after the name of a method that is not better than a control."""

TOUCHED = "!"
"""Mark after the name of a method whose process touched what a method needs not."""

_MARKED = f"{MARK} no better than a control: the 95 % interval of its skill is not above 0."
_TOUCHED = f"{TOUCHED} the process that learned touched what a method needs not: see the notes."
_NONE = "-"

OFFLINE_CAPTION = (
    "R2 and rank correlation on held-out visible rows. The interval is the 90th percentile of the "
    "errors on one half of them: how many rows of the other half, and how many proposals, lie "
    "inside? SI: area under the oracle's scores along the search over that of the best of them; "
    "OI: over that of D(best), above 1 for a search better than the data. Means over seeds."
)
"""Explains the numbers of `offline_sheet`."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        header: Header, two lines at most.
        best: 1 where the highest value is the best, -1 where the lowest is, 0 where none is.
        brief: Whether narrow tables (LaTeX, terminal) have the column too.
        prose: Whether the column holds sentences.
    """

    header: str
    best: int = 0
    brief: bool = True
    prose: bool = False


@dataclass(frozen=True)
class Value:
    """A value of a table: its text, and its number for comparison, or None."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Row:
    """A row: a value a column, and whether it is of a control."""

    values: tuple[Value, ...]
    control: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table.

    Args:
        title: Title, one line.
        columns: Columns, at least one.
        rows: Rows, at least one, each with a value a column.
        caption: Sentences below or above the table.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str

    def best_rows(self, column: int) -> set[int]:
        """Return the rows with the best value of a column; controls are left out."""
        sign = self.columns[column].best
        values = {
            i: sign * value
            for i, row in enumerate(self.rows)
            if sign and not row.control and (value := row.values[column].number) is not None
        }
        return {i for i, value in values.items() if value == max(values.values())}

    def brief(self) -> Sheet:
        """Return the sheet with its brief columns only."""
        kept = [i for i, column in enumerate(self.columns) if column.brief]
        rows = tuple(Row(tuple(row.values[i] for i in kept), row.control) for row in self.rows)
        return Sheet(self.title, tuple(self.columns[i] for i in kept), rows, self.caption)


def overall_sheet(analysis: Analysis) -> Sheet | None:
    """Return the leaderboard over tasks; None where fewer than two tasks have scores."""
    n_tasks = len({name for row in analysis.standings for name in row.tasks})
    if n_tasks < 2:
        return None
    made: list[tuple[Column, Callable[[Standing], Value]]] = [
        (Column("method"), lambda s: Value(s.label)),
        (Column("skill", 1), lambda s: _interval(s.skill)),
        (Column("beats the\nbest control", 1), lambda s: _interval(s.improvement, 2)),
        (Column("tasks\nbeaten", 1), _beaten),
        (Column("50th distinct\nIQM", 1), lambda s: _interval(s.iqm.get("p50_distinct"))),
        (Column("100th\nIQM", 1), lambda s: _interval(s.iqm.get("p100"))),
        (
            Column("skill\nmean rank", -1, brief=False),
            lambda s: _interval(s.mean_rank.get("skill"), 2),
        ),
        (
            Column("50th distinct\nmean rank", -1),
            lambda s: _interval(s.mean_rank.get("p50_distinct"), 2),
        ),
        (Column("100th\nmean rank", -1), lambda s: _interval(s.mean_rank.get("p100"), 2)),
        (
            Column("50th distinct\nmedian rank", -1, brief=False),
            lambda s: _number(s.median_rank.get("p50_distinct"), "{:.1f}"),
        ),
        (
            Column("100th\nmedian rank", -1, brief=False),
            lambda s: _number(s.median_rank.get("p100"), "{:.1f}"),
        ),
        (Column("tasks", brief=False), lambda s: Value(f"{len(s.tasks)} of {n_tasks}")),
    ]
    caption = (
        "Skill: mean over tasks of the skill by the 50th percentile over distinct designs, none "
        "below -1. Beats the best control: the probability that a run does, by the same "
        "percentile. Tasks beaten: those where the interval of the skill lies above 0. IQM: "
        "interquartile mean over tasks and seeds. Ranks: 1 is best, among methods with scores on "
        "every task. Brackets: 95 % bootstrap intervals over seeds."
    )
    rows = tuple(Row(tuple(value(s) for _, value in made), s.control) for s in analysis.standings)
    return Sheet("Over all tasks", tuple(column for column, _ in made), rows, caption)


def task_sheet(analysis: Analysis, task: TaskSetting) -> Sheet:
    """Return the leaderboard of a task, or a table of counts where it has no oracle."""
    entries = [entry for entry in analysis.entries if entry.task == task.name]
    made: list[tuple[Column, Callable[[Entry], Value]]] = [
        (
            Column("method"),
            lambda e: Value(
                e.label
                + (MARK if e.better_than_control is False else "")
                + (TOUCHED if e.touched else "")
            ),
        ),
        (Column("seeds"), lambda e: Value("exact" if e.exact else str(len(e.seeds)))),
        *(
            _score_columns(any(entry.skill for entry in entries))
            if any(entry.values for entry in entries)
            else _count_columns()
        ),
        (Column("seconds"), lambda e: _number(e.diagnostics["seconds"], "{:.1f}")),
        (
            Column("memory\nMiB", brief=False),
            lambda e: _number(e.diagnostics["peak_memory_mb"], "{:.0f}"),
        ),
    ]
    if any(entry.touched for entry in entries):
        made.append((Column("touched", prose=True), lambda e: Value("; ".join(e.touched) or _NONE)))
    rows = tuple(Row(tuple(value(entry) for _, value in made), entry.control) for entry in entries)
    return Sheet(task.name, tuple(column for column, _ in made), rows, _task_caption(task, entries))


def offline_sheet(analysis: Analysis, task: TaskSetting) -> Sheet | None:
    """Return what was known without an oracle beside how far it held; None where nothing was."""
    entries = [
        entry
        for entry in analysis.entries
        if entry.task == task.name and any(v is not None for v in entry.offline.values())
    ]
    if not entries:
        return None

    def number(name: str) -> Callable[[Entry], Value]:
        return lambda entry: _number(entry.offline[name], "{:.2f}")

    made: list[tuple[Column, Callable[[Entry], Value]]] = [
        (Column("method"), lambda e: Value(e.label)),
        (Column("50th\ndistinct"), lambda e: _score(e.scores.get("p50_distinct"))),
        (Column("held-out\nR2"), number("r2")),
        (Column("held-out\nrank corr."), number("rank_correlation")),
        (Column("interval covers\nthe data"), number("coverage_data")),
        (Column("covers the\nproposals"), number("coverage_proposals")),
        (Column("stability\nSI"), number("stability")),
        (Column("optimality\nOI"), number("optimality")),
    ]
    rows = tuple(Row(tuple(value(entry) for _, value in made), entry.control) for entry in entries)
    title = f"Known without an oracle: {task.name}"
    return Sheet(title, tuple(column for column, _ in made), rows, OFFLINE_CAPTION)


def reproduced_sheet(analysis: Analysis) -> Sheet | None:
    """Return published numbers beside ours; None where none is published."""
    made: list[tuple[Column, Callable[[Reproduction], Value]]] = [
        (Column("method"), lambda r: Value(r.label)),
        (Column("task"), lambda r: Value(r.task)),
        (Column("percentile"), lambda r: Value(f"{r.published.percentile}th")),
        (Column("ours"), lambda r: Value(_described(r.ours))),
        (Column("theirs"), lambda r: Value(_theirs(r))),
        (Column("difference"), lambda r: Value(f"{r.difference:+.3f}")),
        (Column("in standard\nerrors"), lambda r: _number(r.standard_errors, "{:+.1f}")),
        (Column("reproduced?"), lambda r: Value(r.verdict)),
        (
            Column("notes", prose=True),
            lambda r: Value("; ".join(r.notes) or "none known"),
        ),
        (Column("source", prose=True), lambda r: Value(r.published.source)),
    ]
    caption = (
        "Reproduced: the difference is at most 2 standard errors, sqrt(ours^2 + theirs^2), or half "
        "of the last printed digit. Theirs: (std) marks a standard deviation, (?) a spread that "
        "may be a standard deviation or a standard error."
    )
    rows = tuple(Row(tuple(value(r) for _, value in made)) for r in analysis.reproduced)
    return (
        Sheet("Published numbers beside ours", tuple(column for column, _ in made), rows, caption)
        if rows
        else None
    )


def failures_sheet(analysis: Analysis) -> Sheet | None:
    """Return the cells that failed; None where none did."""
    columns = (Column("method"), Column("task"), Column("seed"), Column("error", prose=True))
    rows = tuple(
        Row((Value(f.label), Value(f.task), Value(str(f.seed)), Value(_shortened(f.error))))
        for f in analysis.failures
    )
    caption = "Failed cells count in no number above. The HTML report has the tracebacks."
    return Sheet("Failed cells", columns, rows, caption) if rows else None


def _score_columns(skilled: bool) -> list[tuple[Column, Callable[[Entry], Value]]]:
    def score(measure: str) -> Callable[[Entry], Value]:
        return lambda e: _score(e.scores.get(measure))

    def share(entry: Entry) -> Value:
        shares = entry.scores.get("share_above_best")
        return _number(shares.mean if shares else None, "{:.0%}")

    skill: list[tuple[Column, Callable[[Entry], Value]]] = [(Column("skill", 1), _skill)]
    return [
        *(skill if skilled else []),
        (Column("50th\ndistinct", 1), score("p50_distinct")),
        (Column("100th", 1), score("p100")),
        (Column("50th", 1), score("p50")),
        (Column("first 128\n100th", 1), score("first_p100")),
        (Column("first 128\n50th", 1), score("first_p50")),
        (Column("above\nD(best)", 1), share),
    ]


def _count_columns() -> list[tuple[Column, Callable[[Entry], Value]]]:
    return [
        (Column("distinct"), lambda e: _number(e.diagnostics["n_unique"], "{:.0f}")),
        (Column("in data"), lambda e: _number(e.diagnostics["n_in_data"], "{:.0f}")),
        (Column("infeasible"), lambda e: _number(e.diagnostics["n_infeasible"], "{:.0f}")),
        (Column("diversity"), lambda e: _number(e.diagnostics["diversity"], "{:.3f}")),
        (Column("novelty"), lambda e: _number(e.diagnostics["novelty"], "{:.3f}")),
    ]


def _task_caption(task: TaskSetting, entries: Sequence[Entry]) -> str:
    if not any(entry.seeds for entry in entries):
        return f"{task.k} designs; no cell is done."
    if not any(entry.values for entry in entries):
        return f"{task.k} designs; not scored, as this task has no oracle."
    parts = [f"{task.k} designs, normalised scores. D(best) {task.d_best:.3f}."]
    if task.ceiling:
        how = "exact" if task.ceiling.exact else "known"
        parts.append(
            f"Ceiling ({how}): 100th {task.ceiling.p100:.3f}, 50th {task.ceiling.p50:.3f}."
        )
    else:
        parts.append("Ceiling: unknown.")
    if task.best_control:
        (best, p100), (middle, p50) = (task.best_control[m] for m in ("p100", "p50_distinct"))
        parts.append(
            f"Best control: 100th {p100:.3f} ({best}), 50th distinct {p50:.3f} ({middle})."
        )
    else:
        parts.append("Best control: none was run.")
    if any(entry.skill for entry in entries):
        parts.append(
            "Skill: (50th distinct - best control) / (ceiling - best control) "
            "with its 95 % interval."
        )
    if any(entry.better_than_control is False for entry in entries):
        parts.append(_MARKED)
    if any(entry.touched for entry in entries):
        parts.append(_TOUCHED)
    return " ".join(parts)


def _score(scores: Description | None) -> Value:
    return Value(_described(scores), scores.mean) if scores else Value(_NONE)


def _described(scores: Description) -> str:
    """Write a mean over seeds, with its standard error where there are several."""
    return (
        f"{scores.mean:.3f} +- {scores.standard_error:.3f}"
        if scores.n > 1
        else f"{scores.mean:.3f}"
    )


def _beaten(row: Standing) -> Value:
    if row.beaten is None:
        return Value(_NONE)
    better, known = row.beaten
    return Value(f"{better} of {known}", better / known)


def _skill(entry: Entry) -> Value:
    skill = entry.skill.get("p50_distinct")
    if skill and len(entry.seeds) < 2:  # nothing to resample
        return Value(f"{skill.value:.3f}", skill.value)
    return _interval(skill)


def _interval(interval: Interval | None, digits: int = 3) -> Value:
    if interval is None:
        return Value(_NONE)
    value, low, high = (
        f"{number:.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return Value(f"{value} [{low}, {high}]", interval.value)


def _number(value: float | None, form: str) -> Value:
    return Value(_NONE) if value is None else Value(form.format(value), value)


def _theirs(row: Reproduction) -> str:
    theirs = row.published
    spread = {"standard deviation": " (std)", "standard error": "", "unknown": " (?)"}[
        theirs.spread
    ]
    return f"{theirs.mean:.3f}" + (
        f" +- {theirs.std:.3f}{spread}" if theirs.std is not None else ""
    )


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}.."
