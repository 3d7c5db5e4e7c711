"""The tables of a report as plain cells, for whatever shows them: Markdown, LaTeX, a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mbo_gym.benchmark.analysis.model import Analysis, Entry, Problem, Standing
from mbo_gym.benchmark.analysis.published import Reproduction
from mbo_gym.benchmark.analysis.statistics import Description, Interval

__all__ = [
    "MARK",
    "Cell",
    "Column",
    "Row",
    "Sheet",
    "failures_sheet",
    "overall_sheet",
    "problem_sheet",
    "reproduced_sheet",
]

MARK = "*"
"""Stands after the name of a method that is not better than a control."""

_MARKED = f"{MARK} no better than a control: the 95 % interval of its skill is not above 0."
_NONE = "-"


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        header: Two lines at most.
        best: 1 where the highest value is the best, -1 where the lowest is, 0 where none is.
        brief: Whether it also stands where room is short: on paper and in a terminal.
        prose: Of sentences rather than names and numbers.
    """

    header: str
    best: int = 0
    brief: bool = True
    prose: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the number that it is compared by, None where there is none."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A row: a cell a column, and whether it is a control's."""

    cells: tuple[Cell, ...]
    control: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table.

    Args:
        title: One line.
        columns: At least one.
        rows: At least one; each has a cell a column.
        caption: Sentences below or above it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str

    def best_rows(self, column: int) -> set[int]:
        """Return the rows with the best value of a column among those that are no control's."""
        sign = self.columns[column].best
        values = {
            i: sign * value
            for i, row in enumerate(self.rows)
            if sign and not row.control and (value := row.cells[column].value) is not None
        }
        return {i for i, value in values.items() if value == max(values.values())}

    def brief(self) -> Sheet:
        """Return the sheet with its brief columns only."""
        kept = [i for i, column in enumerate(self.columns) if column.brief]
        rows = tuple(Row(tuple(row.cells[i] for i in kept), row.control) for row in self.rows)
        return Sheet(self.title, tuple(self.columns[i] for i in kept), rows, self.caption)


def overall_sheet(analysis: Analysis) -> Sheet | None:
    """Return the leaderboard over problems; None where fewer than two problems have scores."""
    n_problems = len({name for row in analysis.standings for name in row.problems})
    if n_problems < 2:
        return None
    made: list[tuple[Column, Callable[[Standing], Cell]]] = [
        (Column("method"), lambda s: Cell(s.label)),
        (Column("problems", brief=False), lambda s: Cell(f"{len(s.problems)} of {n_problems}")),
        (Column("100th\nIQM", 1), lambda s: _interval(s.iqm.get("p100"))),
        (Column("50th distinct\nIQM", 1), lambda s: _interval(s.iqm.get("p50_distinct"))),
        (Column("100th\nmean rank", -1), lambda s: _interval(s.mean_rank.get("p100"), 2)),
        (
            Column("100th\nmedian rank", -1, brief=False),
            lambda s: _number(s.median_rank.get("p100"), "{:.1f}"),
        ),
        (
            Column("50th distinct\nmean rank", -1),
            lambda s: _interval(s.mean_rank.get("p50_distinct"), 2),
        ),
        (
            Column("50th distinct\nmedian rank", -1, brief=False),
            lambda s: _number(s.median_rank.get("p50_distinct"), "{:.1f}"),
        ),
        (
            Column("skill\nmean rank", -1, brief=False),
            lambda s: _interval(s.mean_rank.get("skill"), 2),
        ),
        (Column("skill", 1), lambda s: _interval(s.skill)),
        (Column("beats the\nbest control", 1), lambda s: _interval(s.improvement, 2)),
    ]
    caption = (
        "IQM: interquartile mean over problems and seeds. Ranks: 1 is best, among methods with scores on every "
        "problem. Skill: mean over problems of that by the 50th percentile over distinct designs, none below -1. "
        "Beats the best control: the probability that a run does, by the same percentile. Brackets: 95 % bootstrap "
        "intervals over seeds."
    )
    rows = tuple(Row(tuple(cell(s) for _, cell in made), s.control) for s in analysis.standings)
    return Sheet("Over all problems", tuple(column for column, _ in made), rows, caption)


def problem_sheet(analysis: Analysis, problem: Problem) -> Sheet:
    """Return the leaderboard of a problem; where it has no oracle, a table of counts."""
    entries = [entry for entry in analysis.entries if entry.problem == problem.name]
    made: list[tuple[Column, Callable[[Entry], Cell]]] = [
        (
            Column("method"),
            lambda e: Cell(e.label + (MARK if e.better_than_control is False else "")),
        ),
        (Column("seeds"), lambda e: Cell("exact" if e.exact else str(len(e.seeds)))),
        *(_score_columns() if any(entry.values for entry in entries) else _count_columns()),
        (Column("seconds"), lambda e: _number(e.facts["seconds"], "{:.1f}")),
        (
            Column("memory\nMiB", brief=False),
            lambda e: _number(e.facts["peak_memory_mb"], "{:.0f}"),
        ),
    ]
    rows = tuple(Row(tuple(cell(entry) for _, cell in made), entry.control) for entry in entries)
    return Sheet(
        problem.name, tuple(column for column, _ in made), rows, _problem_caption(problem, entries)
    )


def reproduced_sheet(analysis: Analysis) -> Sheet | None:
    """Return published numbers beside ours; None where none is published."""
    made: list[tuple[Column, Callable[[Reproduction], Cell]]] = [
        (Column("method"), lambda r: Cell(r.label)),
        (Column("problem"), lambda r: Cell(r.problem)),
        (Column("percentile"), lambda r: Cell(f"{r.published.percentile}th")),
        (Column("ours"), lambda r: Cell(_described(r.ours))),
        (Column("theirs"), lambda r: Cell(_theirs(r))),
        (Column("difference"), lambda r: Cell(f"{r.difference:+.3f}")),
        (Column("in standard\nerrors"), lambda r: _number(r.standard_errors, "{:+.1f}")),
        (Column("reproduced?"), lambda r: Cell(r.verdict)),
        (
            Column("difference in protocol", prose=True),
            lambda r: Cell("; ".join(r.protocol) or "none known"),
        ),
        (Column("source", prose=True), lambda r: Cell(r.published.source)),
    ]
    caption = (
        "Reproduced: the difference is at most 2 standard errors, sqrt(ours^2 + theirs^2), or half of the last printed "
        "digit. Theirs: (std) stands after a standard deviation, (?) after what may be that or a standard error."
    )
    rows = tuple(Row(tuple(cell(r) for _, cell in made)) for r in analysis.reproduced)
    return (
        Sheet("Published numbers beside ours", tuple(column for column, _ in made), rows, caption)
        if rows
        else None
    )


def failures_sheet(analysis: Analysis) -> Sheet | None:
    """Return the cells that failed; None where none did."""
    columns = (Column("method"), Column("problem"), Column("seed"), Column("error", prose=True))
    rows = tuple(
        Row((Cell(f.label), Cell(f.problem), Cell(str(f.seed)), Cell(_shortened(f.error))))
        for f in analysis.failures
    )
    caption = "These count in no number above. The report in HTML has the tracebacks."
    return Sheet("Failed cells", columns, rows, caption) if rows else None


def _score_columns() -> list[tuple[Column, Callable[[Entry], Cell]]]:
    def score(measure: str) -> Callable[[Entry], Cell]:
        return lambda e: _score(e.scores.get(measure))

    def share(entry: Entry) -> Cell:
        shares = entry.scores.get("share_above_best")
        return _number(shares.mean if shares else None, "{:.0%}")

    return [
        (Column("100th", 1), score("p100")),
        (Column("50th\ndistinct", 1), score("p50_distinct")),
        (Column("50th", 1), score("p50")),
        (Column("first 128\n100th", 1), score("first_p100")),
        (Column("first 128\n50th", 1), score("first_p50")),
        (Column("above\nD(best)", 1), share),
        (Column("skill", 1), _skill),
    ]


def _count_columns() -> list[tuple[Column, Callable[[Entry], Cell]]]:
    return [
        (Column("distinct"), lambda e: _number(e.facts["n_unique"], "{:.0f}")),
        (Column("in data"), lambda e: _number(e.facts["n_in_data"], "{:.0f}")),
        (Column("infeasible"), lambda e: _number(e.facts["n_infeasible"], "{:.0f}")),
        (Column("diversity"), lambda e: _number(e.facts["diversity"], "{:.3f}")),
        (Column("novelty"), lambda e: _number(e.facts["novelty"], "{:.3f}")),
    ]


def _problem_caption(problem: Problem, entries: Sequence[Entry]) -> str:
    if not any(entry.seeds for entry in entries):
        return f"{problem.k} designs; no cell is done."
    if not any(entry.values for entry in entries):
        return f"{problem.k} designs; not scored, as this task has no oracle."
    parts = [f"{problem.k} designs, normalised scores. D(best) {problem.d_best:.3f}."]
    if problem.ceiling:
        how = "exact" if problem.ceiling["exact"] else "known"
        parts.append(
            f"Ceiling ({how}): 100th {problem.ceiling['p100']:.3f}, 50th {problem.ceiling['p50']:.3f}."
        )
    else:
        parts.append("Ceiling: unknown.")
    if problem.best_control:
        (best, p100), (middle, p50) = (problem.best_control[m] for m in ("p100", "p50_distinct"))
        parts.append(
            f"Best control: 100th {p100:.3f} ({best}), 50th distinct {p50:.3f} ({middle})."
        )
    else:
        parts.append("Best control: none was run.")
    if any(entry.skill for entry in entries):
        parts.append(
            "Skill: (50th distinct - best control) / (ceiling - best control) with its 95 % interval."
        )
    if any(entry.better_than_control is False for entry in entries):
        parts.append(_MARKED)
    return " ".join(parts)


def _score(scores: Description | None) -> Cell:
    return Cell(_described(scores), scores.mean) if scores else Cell(_NONE)


def _described(scores: Description) -> str:
    """Write a mean over seeds with its standard error, which one seed has not."""
    return (
        f"{scores.mean:.3f} +- {scores.standard_error:.3f}"
        if scores.n > 1
        else f"{scores.mean:.3f}"
    )


def _skill(entry: Entry) -> Cell:
    skill = entry.skill.get("p50_distinct")
    if skill and len(entry.seeds) < 2:  # nothing to resample
        return Cell(f"{skill.value:.3f}", skill.value)
    return _interval(skill)


def _interval(interval: Interval | None, digits: int = 3) -> Cell:
    if interval is None:
        return Cell(_NONE)
    value, low, high = (
        f"{number:.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return Cell(f"{value} [{low}, {high}]", interval.value)


def _number(value: float | None, form: str) -> Cell:
    return Cell(_NONE) if value is None else Cell(form.format(value), value)


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
