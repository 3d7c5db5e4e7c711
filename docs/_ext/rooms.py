"""Draws the diagram of the rooms as SVG from a text table: floors of folders, imports go down."""

from __future__ import annotations

from html import escape

__all__ = ["draw", "floors"]

WIDTH = 1000
MARGIN = 10
GAP = 8
WALL = 14
"""Height of the gap between two floors."""
NAME = 9.0
LETTER = 6.2
"""Widths of a letter of a room's name and of its subject."""


def floors(table: str) -> list[list[tuple[str, str]]]:
    """Return the floors, the highest first, each a list of (room, subject).

    Args:
        table: A line for each floor: ``room: subject`` entries separated by ``|``. Empty lines and
            lines that begin with # do not count.
    """
    lines = [line.strip() for line in table.splitlines()]
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            pairs = (entry.partition(":") for entry in line.split("|"))
            found.append([(name.strip(), subject.strip()) for name, _, subject in pairs])
    return found


def draw(table: str) -> str:
    """Return the diagram as SVG, in the colours of the theme or fixed ones without it."""
    shapes: list[str] = []
    top = float(MARGIN)
    rows = floors(table)
    for number, row in enumerate(rows):
        boxes, height = _floor(row, top)
        shapes += boxes
        top += height
        if number + 1 < len(rows):
            shapes.append(_arrow(WIDTH / 2, top + 1, WALL - 2))
            top += WALL
    return f"""<svg class="rooms" xmlns="http://www.w3.org/2000/svg" \
viewBox="0 0 {WIDTH} {top + MARGIN:.0f}" role="img">
<title>Rooms of mbo_gym: a room imports only from floors below it</title>
<style>
.rooms rect {{ stroke-width: 1.2; fill: var(--color-background-secondary, #f4f6f8); }}
.rooms .mbo_gym {{ stroke: var(--color-brand-primary, #1f5faa); }}
.rooms .agents {{ stroke: #b4591b; }}
.rooms .diffusion {{ stroke: #2e7d4f; }}
.rooms text {{ fill: var(--color-foreground-primary, #222); text-anchor: middle; }}
.rooms text {{ font-family: system-ui, sans-serif; }}
.rooms .name {{ font-size: 15px; font-weight: 600; }}
.rooms .subject {{ font-size: 11.5px; fill: var(--color-foreground-secondary, #555); }}
.rooms .arrow {{ fill: var(--color-foreground-muted, #888); }}
</style>
{chr(10).join(shapes)}
</svg>
"""


def _floor(row: list[tuple[str, str]], top: float) -> tuple[list[str], float]:
    """Return the boxes of a floor and its height; a box is as wide as its text needs."""
    needs = [max(len(name) * NAME, len(subject) * LETTER / 1.7) + 16 for name, subject in row]
    free = WIDTH - 2 * MARGIN - GAP * (len(row) - 1)
    widths = [free * need / sum(needs) for need in needs]
    subjects = [_lines(subject, width) for (_, subject), width in zip(row, widths, strict=True)]
    height = 30 + 14 * max(map(len, subjects))
    left = float(MARGIN)
    shapes = []
    for (name, _), lines, width in zip(row, subjects, widths, strict=True):
        kind = name if name in ("agents", "diffusion") else "mbo_gym"
        box = f'x="{left:.1f}" y="{top:.0f}" width="{width:.1f}" height="{height}" rx="5"'
        middle = f"{left + width / 2:.1f}"
        shapes.append(f'<rect class="{kind}" {box}/>')
        shapes.append(f'<text class="name" x="{middle}" y="{top + 19:.0f}">{escape(name)}</text>')
        for number, line in enumerate(lines):
            place = f'x="{middle}" y="{top + 35 + 14 * number:.0f}"'
            shapes.append(f'<text class="subject" {place}>{escape(line)}</text>')
        left += width + GAP
    return shapes, height


def _lines(subject: str, width: float) -> list[str]:
    """Break a subject that is wider than its box into two lines of about the same length."""
    words = subject.split()
    if len(subject) * LETTER < width - 10 or len(words) < 2:
        return [subject]

    def longest(cut: int) -> int:
        return max(len(" ".join(words[:cut])), len(" ".join(words[cut:])))

    best = min(range(1, len(words)), key=longest)
    return [" ".join(words[:best]), " ".join(words[best:])]


def _arrow(x: float, top: float, height: float) -> str:
    path = f"M{x - 6:.0f} {top:.0f} L{x + 6:.0f} {top:.0f} L{x:.0f} {top + height:.0f}z"
    return f'<path class="arrow" d="{path}"/>'
