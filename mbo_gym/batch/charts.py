"""Charts of the batch card: parity, importance, intervals, the batch in the data's plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbo_gym.batch.importance import Importance
from mbo_gym.benchmark.report.svg import Axis, element, points, shorten, svg, text, tick_label

__all__ = ["bar_chart", "interval_chart", "parity_chart", "plane_chart"]

WIDTH = 420
N_DATA = 600
"""Measured designs drawn at most."""
N_BARS = 15


def parity_chart(y: np.ndarray, predicted: np.ndarray, unit: str) -> str:
    """Draw held-out predictions against scores (N,), in the file's unit."""
    keep = _some(len(y))
    y, predicted = y[keep], predicted[keep]
    both = [*y.tolist(), *predicted.tolist()]
    across = Axis.around(both, 52, WIDTH - 8)
    up = Axis.around(both, WIDTH - 60, 8)
    low, high = across.low, across.high
    line = element("line", class_="r", x1=across(low), y1=up(low), x2=across(high), y2=up(high))
    dots = _dots(across, up, y, predicted, "c0", 2.4)
    axes = _axes(across, up, f"measured {unit}", f"predicted {unit}, held out", WIDTH - 60)
    return _drawing(axes + line + dots, WIDTH - 20, "Held-out predictions against measured scores")


def plane_chart(
    data: np.ndarray, score: np.ndarray, batch: np.ndarray, shares: tuple[float, float]
) -> str:
    """Draw the batch over the data in the plane of two principal components.

    Args:
        data: (N, 2) measured designs.
        score: (N,) rank of their score, 0 for the worst, 1 for the best.
        batch: (k, 2) designs of the batch.
        shares: Share of the variance along each axis.
    """
    across = Axis.around([*data[:, 0].tolist(), *batch[:, 0].tolist()], 52, WIDTH - 8)
    up = Axis.around([*data[:, 1].tolist(), *batch[:, 1].tolist()], WIDTH - 60, 8)
    marks = "".join(
        element(
            "circle",
            class_="m cx",
            cx=across(float(a)),
            cy=up(float(b)),
            r=2.6,
            opacity=round(0.2 + 0.7 * float(s), 2),
        )
        for (a, b), s in zip(data, score, strict=True)
    )
    marks += "".join(_diamond(across(float(a)), up(float(b))) for a, b in batch)
    axes = _axes(
        across,
        up,
        f"first component ({shares[0]:.0%} of the variance)",
        f"second component ({shares[1]:.0%})",
        WIDTH - 60,
    )
    return _drawing(axes + marks, WIDTH - 20, "The batch among the measured designs")


def bar_chart(items: Sequence[Importance]) -> str:
    """Draw the importance of parameters, the most important first."""
    shown = list(items[:N_BARS])
    room = 150
    highest = max([1e-9, *(item.value for item in shown)])
    across = Axis(0.0, highest * 1.05, room, WIDTH - 46)
    step = 24
    parts = []
    for i, item in enumerate(shown):
        middle = step * (i + 0.5)
        end = across(max(0.0, item.value))
        parts.append(text(shorten(item.name, room - 10), 0.0, middle + 4))
        parts.append(
            element(
                "rect",
                class_="m c2",
                x=float(room),
                y=middle - 7,
                width=max(1.0, end - room),
                height=14.0,
            )
        )
        parts.append(text(f"{item.value:.3f}", end + 6, middle + 4, class_="tick"))
    return _drawing("".join(parts), step * len(shown) + 4, "Importance of the parameters")


def interval_chart(
    predicted: np.ndarray, low: np.ndarray, high: np.ndarray, best: float, unit: str
) -> str:
    """Draw each design's prediction and interval in the order of the batch, and the best measured
    score."""
    shown = slice(0, 96)
    predicted, low, high = predicted[shown], low[shown], high[shown]
    ends = [float(v) for v in (*predicted, *low, *high, best) if np.isfinite(v)]
    across = Axis(0.5, len(predicted) + 0.5, 52, WIDTH - 8)
    up = Axis.around(ends, WIDTH - 120, 8)
    marks = ""
    for i, (p, a, b) in enumerate(zip(predicted, low, high, strict=True), start=1):
        if np.isfinite(a):
            marks += element(
                "line",
                class_="i c0",
                x1=across(i),
                x2=across(i),
                y1=up(float(a)),
                y2=up(float(b)),
                opacity=0.45,
            )
        marks += element("circle", class_="m c0", cx=across(i), cy=up(float(p)), r=3.0)
    line = element("line", class_="r", x1=52.0, x2=WIDTH - 8.0, y1=up(best), y2=up(best))
    line += text("best measured", WIDTH - 10.0, up(best) - 5, class_="ref", text_anchor="end")
    axes = _axes(across, up, "design, in the order of the batch", unit, WIDTH - 120, whole=True)
    return _drawing(axes + marks + line, WIDTH - 80, "Predicted scores with intervals")


def _axes(
    across: Axis, up: Axis, x_title: str, y_title: str, bottom: float, *, whole: bool = False
) -> str:
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(element("line", class_="g", x1=across.start, x2=across.end, y1=y, y2=y))
        parts.append(
            text(tick_label(tick), across.start - 6, y + 4, class_="tick", text_anchor="end")
        )
    parts += [
        text(tick_label(tick), across(tick), bottom + 17, class_="tick mid")
        for tick in across.ticks()
        if not whole or tick == int(tick)
    ]
    parts.append(
        element("line", class_="axis", x1=across.start, x2=across.end, y1=bottom, y2=bottom)
    )
    middle = (across.start + across.end) / 2
    parts.append(text(shorten(x_title, 340), middle, bottom + 35, class_="tick mid"))
    parts.append(text(shorten(y_title, 340), across.start + 2, 6, class_="ref", dy="0.5em"))
    return "".join(parts)


def _dots(across: Axis, up: Axis, x: np.ndarray, y: np.ndarray, colour: str, radius: float) -> str:
    return "".join(
        element(
            "circle",
            class_=f"m {colour}",
            cx=across(float(a)),
            cy=up(float(b)),
            r=radius,
            opacity=0.7,
        )
        for a, b in zip(x, y, strict=True)
    )


def _diamond(x: float, y: float) -> str:
    corners = ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0))
    return element("polygon", class_="m c1", points=points((x + a, y + b) for a, b in corners))


def _some(n: int) -> np.ndarray:
    """Return up to `N_DATA` rows spread over n."""
    return np.unique(np.linspace(0, n - 1, min(n, N_DATA)).astype(int))


def _drawing(content: str, height: float, label: str) -> str:
    return svg(WIDTH, height, content, label=label, class_="chart")
