"""Picture of `mbo-gym demo`: the designs that were visible, and what the proposals are worth.

SVG, since any browser opens it and it needs no library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbo_gym.benchmark.report.svg import CHARACTER, Axis, element, svg, text, tick_label

__all__ = ["Row", "draw"]

_WIDTH, _MARGIN, _LEFT, _RIGHT = 960.0, 28.0, 222.0, 920.0
_TOP, _FLOOR = 124.0, 264.0  # of the histogram
_FIRST, _ROW = 304.0, 92.0  # top of the first row, height of a row
_SPREAD = 48.0  # height over which the dots of a row are spread
_BIN = 0.02
_GOLDEN = 0.6180339887498949  # the fractions of its multiples fill [0, 1) evenly
_INK, _DARK, _LIGHT, _GRID, _PAPER = "#1c1e21", "#8b9097", "#d3dbe3", "#ecece8", "#fdfdfc"
_COLOURS = ("#5c6168", "#0072b2", "#c8500a")  # that colour-blind people tell apart
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;fill:#1c1e21;"
    "font-size:13px}.h{font-size:22px;font-weight:600}.n{font-size:16px;font-weight:600}"
    ".s{fill:#5c6168}.end{text-anchor:end}.mid{text-anchor:middle}"
)


@dataclass(frozen=True, eq=False)
class Row:
    """The proposals of a method.

    Args:
        name: Name of the method.
        what: Lines that say in a few words what it does.
        scores: (n,) normalised scores of its proposals, of all seeds.
    """

    name: str
    what: Sequence[str]
    scores: np.ndarray


def draw(
    title: str,
    subtitle: str,
    notes: Sequence[str],
    visible: np.ndarray,
    hidden: np.ndarray,
    rows: Sequence[Row],
) -> str:
    """Return the picture, as the text of an SVG file.

    Args:
        title: Heading.
        subtitle: Line below the heading.
        notes: Lines at the foot.
        visible: (n,) normalised scores of the visible designs.
        hidden: (m,) normalised scores of the other designs.
        rows: Methods, from top to bottom.
    """
    best = float(visible.max())
    every = np.concatenate([visible, hidden, *(row.scores for row in rows)])
    across = Axis.around([float(every.min()), float(every.max())], _LEFT, _RIGHT)
    bottom = _FIRST + _ROW * len(rows)
    height = bottom + 66 + 18 * len(notes)
    parts = [
        element("style", _STYLE),
        element("rect", width=_WIDTH, height=height, fill=_PAPER),
        text(title, _MARGIN, 42.0, class_="h"),
        text(subtitle, _MARGIN, 67.0, class_="s"),
        _axis(across, bottom),
        _histogram(across, visible, hidden, best),
    ]
    for i, row in enumerate(rows):
        parts.append(_proposals(across, row, _FIRST + _ROW * i, _COLOURS[i % len(_COLOURS)]))
    parts.append(_best_visible(across, best, bottom))
    parts += [text(note, _MARGIN, bottom + 72 + 18 * i, class_="s") for i, note in enumerate(notes)]
    drawing = {"label": title, "xmlns": "http://www.w3.org/2000/svg"}
    return svg(_WIDTH, height, "\n".join(parts), **drawing) + "\n"


def _axis(across: Axis, bottom: float) -> str:
    parts = []
    for tick in across.ticks(10):
        x = across(tick)
        parts.append(_line(x, _TOP, x, bottom, _GRID))
        parts.append(text(tick_label(tick), x, bottom + 18, class_="s mid"))
    parts.append(_line(across.start, bottom, across.end, bottom, _DARK))
    meaning = "true score of a design: 0 is the worst of all, 1 the best"
    parts.append(text(meaning, (across.start + across.end) / 2, bottom + 40, class_="mid"))
    return "".join(parts)


def _histogram(across: Axis, visible: np.ndarray, hidden: np.ndarray, best: float) -> str:
    """Draw how many designs have a score; the best visible one is at an edge of the bars."""
    both = np.concatenate([visible, hidden])
    first, last = np.floor((both.min() - best) / _BIN), np.ceil((both.max() - best) / _BIN)
    edges = best + _BIN * np.arange(first, last + 1)
    edges[edges > best - 1e-9] += 1e-9  # a bar ends before its right edge
    seen, unseen = (np.histogram(scores, edges)[0] for scores in (visible, hidden))
    up = Axis(0.0, float(max(1, (seen + unseen).max())), _FLOOR, _TOP)
    parts = [
        text("all designs", _MARGIN, _TOP + 62, class_="n"),
        text("how many have a score", _MARGIN, _TOP + 81, class_="s"),
    ]
    for start, end, n_seen, n_unseen in zip(edges, edges[1:], seen, unseen, strict=False):
        for lower, count, colour in ((0, n_seen, _DARK), (n_seen, n_unseen, _LIGHT)):
            if count:
                parts.append(
                    element(
                        "rect",
                        x=across(float(start)) + 0.5,
                        y=up(float(lower + count)),
                        width=across(float(end)) - across(float(start)) - 1.0,
                        height=up(float(lower)) - up(float(lower + count)),
                        fill=colour,
                    )
                )
    parts.append(_line(across.start, _FLOOR, across.end, _FLOOR, _DARK))
    x = across(best)
    for scores, name, place, anchor in (
        (visible, "visible to the methods", x - 12, "end"),
        (hidden, "hidden", x + 12, "start"),
    ):
        label = f"{name}: {len(scores):,} designs"
        parts.append(text(label, place, _TOP - 10, text_anchor=anchor))
    return "".join(parts)


def _proposals(across: Axis, row: Row, top: float, colour: str) -> str:
    """Draw the scores of a method's proposals, with their median."""
    middle = top + _ROW / 2 + 6
    parts = [text(row.name, _MARGIN, middle - 8, class_="n")]
    parts += [
        text(line, _MARGIN, middle + 10 + 16 * i, class_="s") for i, line in enumerate(row.what)
    ]
    heights = middle + _SPREAD * ((np.arange(len(row.scores)) * _GOLDEN) % 1 - 0.5)
    parts += [
        element("circle", cx=across(float(score)), cy=float(y), r=2.6, fill=colour, opacity="0.4")
        for score, y in zip(row.scores, heights, strict=True)
    ]
    median = float(np.median(row.scores))
    x = across(median)
    ends = (top + 8, top + _ROW - 8)
    parts.append(_line(x, ends[0], x, ends[1], _PAPER, width=6))
    parts.append(_line(x, ends[0], x, ends[1], _INK, width=2.5))
    parts.append(_label(across, f"median {median:.3f}", x, top + 18))
    parts.append(_line(_MARGIN, top + _ROW, across.end, top + _ROW, _GRID))
    return "".join(parts)


def _best_visible(across: Axis, best: float, bottom: float) -> str:
    x = across(best)
    line = element("line", x1=x, x2=x, y1=_TOP - 24, y2=bottom, stroke=_INK, stroke_dasharray="5 4")
    return line + _label(across, f"best visible design {best:.3f}", x, _FLOOR + 22)


def _label(across: Axis, words: str, x: float, y: float) -> str:
    """Write words beside a line: to the right of it, where there is room."""
    fits = x + 7 + 1.1 * CHARACTER * len(words) < across.end
    place, anchor = (x + 7, "start") if fits else (x - 7, "end")
    halo = {"stroke": _PAPER, "stroke_width": "4", "stroke_linejoin": "round"}
    return text(words, place, y, paint_order="stroke", text_anchor=anchor, **halo)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)
