"""A benchmark's report as one HTML page that needs no network."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbo_gym.benchmark.analysis.model import Analysis, Entry, Failure, Standing, TaskSetting
from mbo_gym.benchmark.analysis.over_steps import AgentGain, gains
from mbo_gym.benchmark.analysis.statistics import Comparison, Interval
from mbo_gym.benchmark.report.charts import (
    LOWEST_SHOWN,
    Distribution,
    Dot,
    Point,
    distribution_chart,
    dot_chart,
    scatter_chart,
    search_chart,
)
from mbo_gym.benchmark.report.heat import heat_map, variants
from mbo_gym.benchmark.report.html_values import VALUES
from mbo_gym.benchmark.report.page import read, render
from mbo_gym.benchmark.report.recorded import RecordedTable, recorded_tables
from mbo_gym.benchmark.report.sheets import OFFLINE_CAPTION
from mbo_gym.benchmark.report.svg import Style, marker, svg

__all__ = ["to_html"]

_COSTS = (("seconds", "seconds a cell", True), ("peak_memory_mb", "peak memory, MB", False))

_THINNING = 2
"""Every second of the quantiles is drawn: the ribbon looks the same in half the size."""

_MOST_TESTS = 100
"""Pairs of methods on a task up to which all tests are shown."""

_MEASURES = {
    "p50_distinct": "Median, distinct",
    "p100": "Best",
    "p50": "Median, all K",
    "mean": "Mean",
    "first_p50": "Median, first 128",
    "first_p100": "Best, first 128",
    "share_above_best": "Share above D(best)",
}


def to_html(analysis: Analysis) -> str:
    """Return the report as one page with sortable tables, charts and commands.

    Styles and script are inside: the page opens without a network. It is readable without its
    script, and nothing from the records can act as markup.

    Args:
        analysis: Analysis to show.
    """
    styles = _styles(analysis)
    folded = variants(analysis)
    tasks = [_task(analysis, i, styles, folded) for i in range(len(analysis.tasks))]
    return render(
        read(__package__, "report.html.jinja"),
        css=read(__package__, "report.css"),
        script=read(__package__, "report.js") + read(__package__, "tables.js"),
        analysis=analysis,
        swatches={label: _swatch(style) for label, style in styles.items()},
        n_methods=len(styles),
        ranked=[s for s in analysis.standings if s.complete],
        overall=_overall_charts(analysis, styles),
        heat=heat_map(analysis),
        offline_caption=OFFLINE_CAPTION,
        variants=folded,
        n_variants=sum(row.label in folded for row in analysis.standings),
        anchors={(e.label, e.task): i for i, e in enumerate(analysis.entries)},
        measures=_run_measures(analysis),
        any_runs=any(entry.runs for entry in analysis.entries),
        tasks=tasks,
        searches=any(task.searches for task in tasks),
        learning=any(task.learning for task in tasks),
        controls={e.label for e in analysis.entries if e.control},
        **{name: _marked(value) for name, value in VALUES.items()},
    )


@dataclass(frozen=True)
class _Chart:
    """A chart with heading and sentence; `method` where it shows a single one."""

    title: str
    drawing: str
    text: str = ""
    method: str = ""
    control: bool = False


@dataclass(frozen=True)
class _Task:
    """Section of a task, its entries with the best median first.

    `n_variants` is the number of its rows that are folded at first.
    """

    anchor: str
    setting: TaskSetting
    entries: list[Entry]
    failures: list[Failure]
    scored: bool
    skilled: bool
    n_variants: int
    offline: list[Entry]
    recorded: list[list[RecordedTable]]
    tests: list[Comparison]
    n_tests: int
    charts: list[_Chart]
    searches: list[_Chart]
    learning: list[_Chart]
    gains: list[AgentGain]


def _marked(function: Any) -> Any:
    """Mark the text that a function returns as escaped markup."""
    from markupsafe import Markup

    return lambda *args, **kwargs: Markup(function(*args, **kwargs))


def _styles(analysis: Analysis) -> dict[str, Style]:
    """Return the style of each method's marks, in the order of the entries and failures."""
    control = {f.label: False for f in analysis.failures} | {
        e.label: e.control for e in analysis.entries
    }
    order = list(
        dict.fromkeys([e.label for e in analysis.entries] + [f.label for f in analysis.failures])
    )
    counts = {True: 0, False: 0}
    styles = {}
    for label in order:
        styles[label] = Style.of(counts[control[label]], control=control[label])
        counts[control[label]] += 1
    return styles


def _swatch(style: Style) -> str:
    return svg(14, 14, marker(style, 7, 7), label="", class_="swatch")


def _overall_charts(analysis: Analysis, styles: Mapping[str, Style]) -> list[_Chart]:
    complete = [s for s in analysis.standings if s.complete]
    none: dict[str, float] = {}
    panels: tuple[
        tuple[str, list[tuple[Standing, Interval | None]], dict[str, float], bool], ...
    ] = (
        ("Skill", [(s, s.skill) for s in complete], {"best control": 0.0, "ceiling": 1.0}, True),
        (
            "Chance to beat the best control",
            [(s, s.improvement) for s in complete],
            {"even": 0.5},
            True,
        ),
        (
            "Interquartile mean of median scores",
            [(s, s.iqm.get("p50_distinct")) for s in complete],
            none,
            True,
        ),
        (
            "Interquartile mean of best scores",
            [(s, s.iqm.get("p100")) for s in complete],
            none,
            True,
        ),
        (
            "Mean rank by median score",
            [(s, s.mean_rank.get("p50_distinct")) for s in complete],
            none,
            False,
        ),
    )
    charts = []
    for title, values, references, higher in panels:
        dots = [
            Dot(s.label, styles[s.label], i.value, i.low, i.high)
            for s, i in values
            if i is not None
        ]
        dots.sort(key=lambda dot: -dot.value if higher else dot.value)
        direction = "higher is better" if higher else "1 is best"
        if dots:
            ends = None if higher else (1.0, float(len(complete)))
            drawing = dot_chart(
                dots, label=f"{title}, a row a method", references=references, ends=ends
            )
            charts.append(_Chart(title, drawing, f"With 95 % intervals; {direction}."))
    return charts


def _run_measures(analysis: Analysis) -> list[tuple[str, str]]:
    """Return the measures that runs have scores of, each with its header."""
    known = {measure for entry in analysis.entries for run in entry.runs for measure in run.scores}
    return [(measure, title) for measure, title in _MEASURES.items() if measure in known]


def _task(
    analysis: Analysis, index: int, styles: Mapping[str, Style], folded: Collection[str]
) -> _Task:
    setting = analysis.tasks[index]
    entries = [e for e in analysis.entries if e.task == setting.name]
    entries.sort(
        key=lambda e: (
            -e.scores["p50_distinct"].mean if "p50_distinct" in e.scores else math.inf,
            e.label,
        )
    )
    scored = [e for e in entries if "p50_distinct" in e.scores and "p100" in e.scores]
    return _Task(
        anchor=f"task-{index + 1}",
        setting=setting,
        entries=entries,
        failures=[f for f in analysis.failures if f.task == setting.name],
        scored=bool(scored),
        skilled=any(e.skill for e in entries),
        n_variants=sum(e.label in folded for e in entries),
        offline=[e for e in entries if any(v is not None for v in e.offline.values())],
        recorded=recorded_tables(entries),
        tests=_tests_shown(analysis, setting, scored),
        n_tests=len(analysis.comparisons.get(setting.name, ())),
        charts=_task_charts(setting, scored, styles) if scored else [],
        searches=_curves(setting, [(e, e.search) for e in entries], styles),
        learning=_curves(setting, [(e, e.learning) for e in entries], styles),
        gains=gains(entries),
    )


def _tests_shown(
    analysis: Analysis, setting: TaskSetting, scored: Sequence[Entry]
) -> list[Comparison]:
    """Return the tests of a task; of many pairs, those of the best method and of the best
    control."""
    tests = analysis.comparisons.get(setting.name, ())
    if len(tests) <= _MOST_TESTS:
        return list(tests)
    methods = [e.label for e in scored if not e.control]
    controls = [e.label for e in scored if e.control and not e.exact]
    kept = {*methods[:1], *controls[:1]}
    return [test for test in tests if {test.a, test.b} & kept]


def _references(setting: TaskSetting, ceiling: str) -> dict[str, float]:
    known = getattr(setting.ceiling, ceiling) if setting.ceiling else None
    lines = {"D(best)": setting.d_best, "ceiling": known}
    return {
        name: value for name, value in lines.items() if value is not None and math.isfinite(value)
    }


def _task_charts(
    setting: TaskSetting, scored: list[Entry], styles: Mapping[str, Style]
) -> list[_Chart]:
    ribbons = [
        Distribution(
            e.label,
            styles[e.label],
            e.quantiles[::_THINNING],
            e.scores["p50_distinct"].mean,
            e.scores["p100"].mean,
        )
        for e in scored
    ]
    drawing = distribution_chart(
        ribbons,
        label=f"Scores of the proposals on {setting.name}",
        references=_references(setting, "p100"),
    )
    text = (
        "Thickest at the median, dark over the middle half, mark at the best; "
        "an exact control is a line."
    )
    charts = [_Chart("Scores of the proposals", drawing, text)]
    for cost, unit, log in _COSTS:
        points = [
            Point(
                e.label,
                styles[e.label],
                x,
                e.scores["p50_distinct"].mean,
                e.scores["p50_distinct"].standard_error,
            )
            for e in scored
            if (x := e.diagnostics.get(cost)) is not None and (x > 0 or not log)
        ]
        if points:
            title = f"Score against {'time' if log else 'memory'}"
            drawing = scatter_chart(
                points,
                label=f"{title} on {setting.name}",
                x_title=unit,
                log=log,
                references=_references(setting, "p50"),
            )
            charts.append(
                _Chart(title, drawing, "Median of the distinct proposals ± standard error.")
            )
    return charts


def _curves(
    setting: TaskSetting,
    curves: Sequence[tuple[Entry, tuple[tuple[int, float, float | None], ...]]],
    styles: Mapping[str, Style],
) -> list[_Chart]:
    """Draw the curves of predictions and scores on a task on one scale, up to 1 above the best
    known score."""
    references = _references(setting, "p100")
    steps = [step for _, curve in curves for step in curve]
    scores = [score for _, _, score in steps if score is not None]
    if not steps:
        return []
    values = [prediction for _, prediction, _ in steps] + scores + list(references.values())
    reach = max([1.0, *references.values(), *scores]) + 1
    low, high = max(min(values), LOWEST_SHOWN), min(max(values), reach)
    room = 0.05 * (high - low) or 0.05
    charts = []
    for entry, curve in curves:
        if not curve:
            continue
        _, prediction, score = curve[-1]
        text = f"At the end predicted {prediction:.3f}, " + (
            "no oracle" if score is None else f"oracle {score:.3f}"
        )
        label = f"{entry.label} on {setting.name}. {text}"
        drawing = search_chart(
            curve,
            styles[entry.label],
            label=label,
            score_range=(low - room, high + room),
            references=references,
        )
        charts.append(_Chart(entry.label, drawing, f"{text}.", entry.label, entry.control))
    return charts
