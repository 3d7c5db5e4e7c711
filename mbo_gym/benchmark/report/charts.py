"""Charts of the HTML report: pure functions from numbers to SVG text, coloured by the page's CSS.

No charts library: the page filters rows and changes theme inside the SVG, which matplotlib's cannot
(and has 2.5 times the size). The reasons against libraries of the browser, with their sizes, are in
docs/guides/benchmark.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mbo_gym.benchmark.report.svg import (
    CHARACTER,
    Axis,
    Style,
    element,
    marker,
    pixels,
    points,
    shorten,
    svg,
    text,
    tick_label,
)

__all__ = [
    "Distribution",
    "Dot",
    "Point",
    "distribution_chart",
    "dot_chart",
    "scatter_chart",
    "search_chart",
]

LOWEST_SHOWN = -0.5
"""Normalised scores below this are drawn at the edge, so that one cannot flatten the others."""

_WIDTH = 340.0
_ROW = 22.0
_LINE = 15.0


@dataclass(frozen=True)
class Dot:
    """A method's value with its interval.

    Args:
        label: Name of the method.
        style: Style of the mark.
        value: Value at the mark.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    label: str
    style: Style
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Distribution:
    """Distribution of the scores of a method's proposals.

    Args:
        label: Name of the method.
        style: Style of the mark.
        quantiles: Scores at equally spaced shares from 0 to 100 %, an odd number of them; empty
            where unknown.
        p50: Median score.
        p100: Best score.
    """

    label: str
    style: Style
    quantiles: Sequence[float]
    p50: float
    p100: float


@dataclass(frozen=True)
class Point:
    """A method's score and what it cost.

    Args:
        label: Name of the method.
        style: Style of the mark.
        x: Cost, in the unit of the axis.
        y: Score.
        error: Half the height of the error bar; NaN for none.
    """

    label: str
    style: Style
    x: float
    y: float
    error: float


def dot_chart(
    dots: Sequence[Dot],
    *,
    label: str,
    references: Mapping[str, float] | None = None,
    ends: tuple[float, float] | None = None,
) -> str:
    """Draw a row a method, with a mark and a line for the interval, on a shared axis.

    Args:
        dots: Values from top to bottom.
        label: Description of the chart for screen readers.
        references: Named vertical lines.
        ends: Least range of the axis, e.g. the first and the last rank.
    """
    references = references or {}
    values = [v for dot in dots for v in (dot.value, dot.low, dot.high)] + [
        *references.values(),
        *(ends or ()),
    ]
    axis = _row_axis(values, [dot.label for dot in dots])
    rows = []
    for dot in dots:
        line = element(
            "line", class_=f"i {dot.style.colour}", x1=axis(dot.low), x2=axis(dot.high), y1=0, y2=0
        )
        tooltip = f"{dot.label}: {dot.value:.3f} [{dot.low:.3f}, {dot.high:.3f}]"
        rows.append(
            _Row(dot.label, dot.style, tooltip, line + marker(dot.style, axis(dot.value), 0))
        )
    return _row_chart(rows, axis, references, label)


def distribution_chart(
    distributions: Sequence[Distribution],
    *,
    label: str,
    references: Mapping[str, float] | None = None,
) -> str:
    """Draw a row a method: the distribution of scores as a ribbon.

    The thickness at a score is the share of proposals beyond it (a folded cumulative distribution),
    so the ribbon is thickest at the median, and nothing is smoothed. The darker part holds the
    middle half. The tick is the median, the mark the best proposal.

    Args:
        distributions: Distributions from top to bottom.
        label: Description of the chart for screen readers.
        references: Named vertical lines, e.g. D(best) and the ceiling.
    """
    references = references or {}
    values = [v for d in distributions for v in (*d.quantiles, d.p50, d.p100)] + list(
        references.values()
    )
    axis = _row_axis([max(v, LOWEST_SHOWN) for v in values], [d.label for d in distributions])
    rows = [
        _Row(
            d.label, d.style, f"{d.label}: median {d.p50:.3f}, best {d.p100:.3f}", _ribbon(d, axis)
        )
        for d in distributions
    ]
    return _row_chart(rows, axis, references, label)


def scatter_chart(
    marks: Sequence[Point],
    *,
    label: str,
    x_title: str,
    log: bool,
    references: Mapping[str, float] | None = None,
) -> str:
    """Draw a mark a method, score against cost.

    Args:
        marks: Marks, one a method.
        label: Description of the chart for screen readers.
        x_title: Name of the cost with its unit.
        log: Whether the axis of the cost is logarithmic.
        references: Named horizontal lines.
    """
    references = references or {}
    errors = [0.0 if math.isnan(p.error) else p.error for p in marks]
    heights = [y for p, e in zip(marks, errors, strict=True) for y in (p.y - e, p.y + e)]
    y = Axis.around([max(v, LOWEST_SHOWN) for v in [*heights, *references.values()]], 236, 12)
    x = Axis.around([p.x for p in marks], 44, 328, log=log)
    parts = [
        _frame(x, y),
        *_level_lines(references, y, x),
        text(x_title, (x.start + x.end) / 2, 272, class_="mid"),
    ]
    for point, error in zip(marks, errors, strict=True):
        px, title = (
            x(point.x),
            element("title", escape(f"{point.label}: {point.y:.3f} at {point.x:.3g} {x_title}")),
        )
        bar = element(
            "line",
            class_=f"i {point.style.colour}",
            x1=px,
            x2=px,
            y1=y(point.y - error),
            y2=y(point.y + error),
        )
        parts.append(
            _group(point.label, point.style, title + bar + marker(point.style, px, y(point.y)))
        )
    return svg(_WIDTH, 278, "".join(parts), label=label, class_="chart")


def search_chart(
    steps: Sequence[tuple[int, float, float | None]],
    style: Style,
    *,
    label: str,
    score_range: tuple[float, float],
    references: Mapping[str, float] | None = None,
) -> str:
    """Draw prediction (dashed) and oracle score (solid) along a search.

    Args:
        steps: (step, prediction, score or None).
        style: Style of the method.
        label: Description of the chart for screen readers.
        score_range: Ends of the score's axis; lines beyond are clipped.
        references: Named horizontal lines.
    """
    references = references or {}
    x, y = Axis.around([float(s) for s, _, _ in steps], 36, 252), Axis(*score_range, 132, 8)
    inner = []
    for class_, column in (("predicted", 1), ("scored", 2)):
        known = [(float(row[0]), value) for row in steps if (value := row[column]) is not None]
        line = points((x(step) - x.start, _beyond(y, value) - y.end) for step, value in known)
        inner.append(element("polyline", class_=f"{class_} {style.colour}", points=line))
    window = element(
        "svg",
        "".join(inner),
        x=x.start,
        y=y.end,
        width=x.end - x.start,
        height=y.start - y.end,
        class_="window",
    )
    parts = [_frame(x, y, most=4), *_level_lines(references, y, x), window]
    return svg(260, 154, "".join(parts), label=label, class_="chart")


@dataclass(frozen=True)
class _Row:
    label: str
    style: Style
    tooltip: str
    body: str


def _row_axis(values: list[float], labels: list[str]) -> Axis:
    """Return the axis of a row chart, to the right of a column as wide as the labels need."""
    widest = max((len(label) for label in labels), default=0)
    return Axis.around(values, min(150.0, 34 + CHARACTER * widest), _WIDTH - 10)


def _row_chart(
    rows: Sequence[_Row], axis: Axis, references: Mapping[str, float], label: str
) -> str:
    """Put rows below an axis; it is at the top, so that the page can close gaps of hidden rows."""
    head = _LINE * (1 + len(references)) + 4
    height = head + _ROW * len(rows) + 2
    parts = []
    for tick in axis.ticks():
        px = axis(tick)
        parts.append(element("line", class_="g", x1=px, x2=px, y1=head, y2=height))
        parts.append(text(tick_label(tick), px, _LINE - 3, class_="mid tick"))
    for i, (name, value) in enumerate(references.items()):
        px, y = axis(value), _LINE * (i + 2) - 3
        anchor = "end" if px > (axis.start + axis.end) / 2 else "start"
        parts.append(element("line", class_="r", x1=px, x2=px, y1=y - 8, y2=height))
        parts.append(
            text(name, px + (-4 if anchor == "end" else 4), y, class_="ref", text_anchor=anchor)
        )
    for i, row in enumerate(rows):
        content = (
            element("title", escape(row.tooltip))
            + element("rect", class_="hit", x=0, y=-_ROW / 2, width=_WIDTH, height=_ROW)
            + marker(row.style, 7, 0)
            + text(shorten(row.label, axis.start - 32), 18, 4)
            + row.body
        )
        parts.append(
            _group(row.label, row.style, content, f"translate(0,{head + _ROW * (i + 0.5):g})")
        )
    return svg(
        _WIDTH,
        height,
        "".join(parts),
        label=label,
        class_="chart rows",
        data_head=head,
        data_row=_ROW,
    )


def _ribbon(d: Distribution, axis: Axis) -> str:
    colour, parts = d.style.colour, []
    if d.quantiles:
        n = len(d.quantiles) - 1
        halves = [(axis(v), 9 * 2 * min(i, n - i) / n) for i, v in enumerate(d.quantiles)]
        for part in (halves, halves[n // 4 : n - n // 4 + 1]):
            outline = [(px, -half) for px, half in part] + [
                (px, half) for px, half in reversed(part)
            ]
            parts.append(element("polygon", class_=f"d {colour}", points=points(outline)))
    else:
        parts.append(
            element("line", class_=f"i {colour}", x1=axis(d.p50), x2=axis(d.p100), y1=0, y2=0)
        )
    if axis.holds(d.p50):
        parts.append(
            element("line", class_=f"median {colour}", x1=axis(d.p50), x2=axis(d.p50), y1=-9, y2=9)
        )
    if min([d.p50, *d.quantiles]) < axis.low:
        parts.append(text("◂", axis.start - 9, 4, class_="ref"))
    parts.append(marker(d.style, axis(d.p100), 0, 3))
    return "".join(parts)


def _frame(x: Axis, y: Axis, most: int = 5) -> str:
    """Draw the grid and tick labels of a chart with two axes."""
    lines, parts = [], []
    for tick in y.ticks(most):
        lines.append(f"M{pixels(x.start)} {pixels(y(tick))}H{pixels(x.end)}")
        parts.append(
            text(tick_label(tick), x.start - 6, y(tick) + 4, class_="tick", text_anchor="end")
        )
    for tick in x.ticks(most):
        lines.append(f"M{pixels(x(tick))} {pixels(y.start)}v4")
        parts.append(text(tick_label(tick), x(tick), y.start + 17, class_="mid tick"))
    # one element for all lines: a page has some hundred charts
    parts.append(element("path", class_="g", d="".join(lines)))
    parts.append(element("line", class_="g axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start))
    return "".join(parts)


def _level_lines(references: Mapping[str, float], y: Axis, x: Axis) -> list[str]:
    """Draw horizontal lines, named at alternating ends so that close names do not collide."""
    parts = []
    for i, (name, value) in enumerate(references.items()):
        if not y.holds(value):
            continue
        py, left = y(value), i % 2 == 1
        parts.append(element("line", class_="r", x1=x.start, x2=x.end, y1=py, y2=py))
        anchor, px = ("start", x.start + 3) if left else ("end", x.end)
        parts.append(text(name, px, max(py - 4, y.end + 8), class_="ref", text_anchor=anchor))
    return parts


def _group(label: str, style: Style, content: str, transform: str = "") -> str:
    control = " control" if style.colour == "cx" else ""
    placed = {"transform": transform} if transform else {}
    return element("g", content, class_=f"mark{control}", data_method=label, **placed)


def _beyond(axis: Axis, value: float) -> float:
    """Return the pixel of a value, up to 20 axis lengths beyond the ends, for clipped lines."""
    span = axis.high - axis.low
    value = min(max(value, axis.low - 20 * span), axis.high + 20 * span)
    return axis.start + (value - axis.low) / span * (axis.end - axis.start)
