"""Values of the HTML report's tables: a number to read, and `data-value` to sort by."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from mbo_gym.benchmark.analysis.model import Entry
from mbo_gym.benchmark.analysis.published import Published, Reproduction
from mbo_gym.benchmark.analysis.statistics import Description, Interval

__all__ = [
    "VALUES",
    "amount",
    "count",
    "interval",
    "number",
    "ours",
    "p_value",
    "score",
    "seeds",
    "shade",
    "skill",
    "theirs",
]


def number(
    value: float | None,
    digits: int = 3,
    *,
    detail: str = "",
    sign: bool = False,
    exact: bool = True,
    link: str = "",
) -> str:
    """Return a `<td>` with a number in fixed decimals, a dash where there is none.

    Args:
        value: Number; None or NaN for a dash, which is sorted last.
        digits: Number of decimals.
        detail: Small line below the number.
        sign: Whether to write a plus sign.
        exact: Whether to sort by more digits than are shown.
        link: Address that the number leads to.
    """
    if value is None or math.isnan(value):
        return '<td class="none">—</td>'
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    full = f"{value:.6g}"
    data = f' data-value="{full}"' if detail or (exact and full != text) else ""
    small = f"<small>{escape(detail)}</small>" if detail else ""
    shown = f'<a href="{escape(link)}">{text}</a>' if link else text
    return f"<td{data}>{shown}{small}</td>"


def count(value: float | None) -> str:
    """Return a `<td>` with a count (a mean over seeds), decimals only where it has some."""
    return number(value, 0 if value is None or value == round(value) else 1)


def amount(value: float | None) -> str:
    """Return a `<td>` with seconds or megabytes in about three digits."""
    return number(value, 2 if value is None or abs(value) < 10 else 1 if abs(value) < 100 else 0)


def score(entry: Entry, measure: str) -> str:
    """Return a `<td>` with the mean over seeds, below it standard deviation and error, or why there
    are none."""
    described: Description | None = entry.scores.get(measure)
    if described is None:
        return number(None)
    if entry.exact:
        detail = "exact"
    elif described.n == 1:
        detail = "1 seed"
    else:
        detail = f"{described.std:.3f} · {described.standard_error:.3f}"
    return number(described.mean, detail=detail)


def interval(value: Interval | None, digits: int = 3) -> str:
    """Return a `<td>` with a value and below it its interval."""
    if value is None:
        return number(None)
    return number(value.value, digits, detail=f"[{value.low:.{digits}f}, {value.high:.{digits}f}]")


def skill(entry: Entry, measure: str) -> str:
    """Return a `<td>` with the skill and its interval, which a single run or an exact number has
    not."""
    value = entry.skill.get(measure)
    if value is not None and (entry.exact or len(entry.seeds) == 1):
        return number(value.value, 2, detail="exact" if entry.exact else "1 seed")
    return interval(value, 2)


def p_value(value: float) -> str:
    """Return a `<td>` with a p-value; tiny ones in powers of ten."""
    if math.isnan(value):
        return number(None)
    return f"<td>{f'{value:.4f}' if value >= 0.0001 else f'{value:.0e}'}</td>"


def seeds(entry: Entry, link: str) -> str:
    """Return a `<td>` with the number of seeds that are done, and below it how many failed.

    Args:
        entry: Method on a task.
        link: Address of its runs.
    """
    if entry.exact:
        return '<td class="none">exact</td>'
    failed = f"{entry.n_failed} failed" if entry.n_failed else ""
    return number(len(entry.seeds), 0, detail=failed, link=link)


def shade(value: Interval | None) -> str:
    """Return a `<td>` with a skill, coloured by its sign and size."""
    if value is None:
        return number(None)
    share = min(abs(value.value), 1.0)
    title = f"mean skill {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    return (
        f'<td class="mean {"low" if value.value < 0 else "high"}" style="--v:{share:.2f}" '
        f'title="{title}" data-value="{value.value:.5g}">{value.value:.2f}</td>'
    )


def ours(row: Reproduction, link: str) -> str:
    """Return a `<td>` with our mean, and below it the seeds and their standard deviation.

    Args:
        row: Published number beside ours.
        link: Address of our runs.
    """
    return number(row.ours.mean, detail=_over_seeds(row.ours.n, row.ours.std, "std"), link=link)


def theirs(published: Published) -> str:
    """Return a `<td>` with the published mean, and below it the budget, the seeds and what follows
    the ± there."""
    words = {"standard deviation": "std", "standard error": "s.e."}
    spread = _over_seeds(published.seeds, published.std, words.get(published.spread, "±"))
    return number(published.mean, detail=f"K\u00a0{published.k}, {spread}")


def _over_seeds(n: int, spread: float | None, word: str) -> str:
    known = spread is not None and not math.isnan(spread)
    # Hard spaces: lines break between the parts only.
    return f"{n}\u00a0{'seed' if n == 1 else 'seeds'}" + (
        f", {word}\u00a0{spread:.3f}" if known else ""
    )


VALUES: dict[str, Callable[..., str]] = {
    "amount": amount,
    "count": count,
    "interval": interval,
    "number": number,
    "ours": ours,
    "p_value": p_value,
    "score": score,
    "seeds": seeds,
    "shade": shade,
    "skill": skill,
    "theirs": theirs,
}
"""Functions that the template calls, by name."""
