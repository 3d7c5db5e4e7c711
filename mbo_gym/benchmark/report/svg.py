"""Parts of charts: SVG elements, axes and the marks of methods."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "CHARACTER",
    "Axis",
    "Style",
    "element",
    "marker",
    "pixels",
    "points",
    "shorten",
    "svg",
    "text",
    "tick_label",
]

_SHAPES = ("circle", "square", "diamond", "up", "down")
_N_COLOURS = 6
CHARACTER = 6.4
"""Approximate width of a letter of 12 px, in px."""


@dataclass(frozen=True)
class Style:
    """Style of a method's marks.

    Args:
        colour: CSS class that sets `--c`: c0 to c5, or cx (grey) for a control.
        shape: circle, square, diamond, up or down.
    """

    colour: str
    shape: str

    @classmethod
    def of(cls, index: int, *, control: bool) -> Style:
        """Return the style of the `index`-th method; 30 styles differ in colour or shape."""
        return cls("cx" if control else f"c{index % _N_COLOURS}", _SHAPES[index % len(_SHAPES)])


@dataclass(frozen=True)
class Axis:
    """Map from values to pixels; values beyond the ends map to the ends.

    Args:
        low: Value at `start`.
        high: Value at `end`, higher than `low`.
        start: First pixel.
        end: Last pixel; lower than `start` for an axis that points up.
        log: Whether the map is logarithmic; `low` must then be positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(cls, values: list[float], start: float, end: float, *, log: bool = False) -> Axis:
        """Return an axis with a margin around all values, which may be equal or none."""
        if log:
            values = [v for v in values if v > 0] or [1.0]
            low, high = min(values) / 1.3, max(values) * 1.3
            widen = math.sqrt(max(1.0, 8 / (high / low)))  # a factor of 8 holds two ticks or more
            return cls(low / widen, high * widen, start, end, log=True)
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        # Below this range, ticks would differ in digits that are not shown
        least = 1e-4 * max(1.0, abs(low), abs(high))
        room = 0.04 * (high - low) if high - low > least else 500 * least
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Return whether a value lies between the ends."""
        return self.low <= value <= self.high

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values along the axis: at most `most` on a linear one."""
        if self.log:
            return self._log_ticks()
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{i * step:.12g}") for i in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for multiples in ((1, 2, 5), (1, 3), (1,)):
            ticks = [m * 10.0**d for d in decades for m in multiples]
            ticks = [t for t in ticks if self.holds(t)]
            if len(ticks) <= 6:
                return ticks
        return ticks[:: math.ceil(len(ticks) / 6)]


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return an SVG element; attribute values are escaped, `content` is markup already.

    A trailing underscore of an attribute's name is dropped, other underscores become hyphens;
    floats keep one decimal.
    """
    parts = [name]
    for key, value in attributes.items():
        shown = pixels(value) if isinstance(value, float) else str(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(shown)}"')
    return f"<{' '.join(parts)}>{content}</{name}>" if content else f"<{' '.join(parts)}/>"


def points(corners: Iterable[tuple[float, float]]) -> str:
    """Return corners (x, y) as the attribute `points` of a polygon or polyline."""
    return " ".join(f"{pixels(x)},{pixels(y)}" for x, y in corners)


def pixels(value: float) -> str:
    """Return a length of the drawing with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def text(content: str, x: float, y: float, **attributes: object) -> str:
    """Return a text element; `content` is escaped."""
    return element("text", html.escape(content), x=x, y=y, **attributes)


def svg(width: float, height: float, content: str, *, label: str, **attributes: object) -> str:
    """Return a drawing that scales with its container; without a `label` it is decoration."""
    role = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element("svg", content, viewBox=f"0 0 {width:g} {height:g}", **role, **attributes)


def shorten(label: str, width: float) -> str:
    """Cut a label to `width` px of 12 px letters."""
    most = max(2, int(width / CHARACTER))
    return label if len(label) <= most else label[: most - 1] + "…"


def tick_label(value: float) -> str:
    """Return a tick's value in few characters."""
    return f"{value:g}" if abs(value) < 10_000 else f"{value:.0e}".replace("e+0", "e")


def marker(style: Style, x: float, y: float, radius: float = 4.5) -> str:
    """Return a method's mark with its centre at (x, y)."""
    if style.shape == "circle":
        return element("circle", class_=f"m {style.colour}", cx=float(x), cy=float(y), r=radius)
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "up": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        "down": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    }[style.shape]
    outline = points((x + radius * dx, y + radius * dy) for dx, dy in corners)
    return element("polygon", class_=f"m {style.colour}", points=outline)
