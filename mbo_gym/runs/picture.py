"""Picture of one run: visible designs, walks of the search, proposals and their scores.

Designs of two real numbers are drawn where they lie, over the true landscape. All others are drawn
on the first two principal components of the visible designs' features, beside the proposals' sorted
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.evaluation.scoring import Evaluation
from mbo_gym.optional import optional_import
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import ContinuousSpace, DesignSpace
from mbo_gym.problem.task import Task
from mbo_gym.progress.protocol import SearchPoint

__all__ = [
    "DESIGNS",
    "PICTURE",
    "Walks",
    "assemble_walks",
    "principal_components",
    "save_designs",
    "save_picture",
]

PICTURE = "picture.png"
"""Name of the picture in a run's folder."""

DESIGNS = "designs_drawn"
"""Name, without suffix, of the drawings of single designs, where a task has them."""

N_WALKS = 64
N_VISIBLE = 2000
_GRID = 100  # points a side of the landscape
_BANDS = 20  # of the landscape, each as large as the others
_MARGIN = 0.03  # around the space's box, as a share of its sides
# of Okabe and Ito's palette, which colour-blind people tell apart
_BLUE, _VERMILLION = "#0072B2", "#D55E00"
_PROPOSAL: dict[str, Any] = {
    "s": 36,
    "marker": "D",
    "edgecolors": "black",
    "linewidths": 0.6,
    "zorder": 4,
}


@dataclass(frozen=True, eq=False)
class Walks:
    """Searches that ran side by side.

    Args:
        stage: Stage of the search, as the method named it.
        x: (w, T, *shape) designs of w walks at T recorded steps.
        n_recorded: Walks that were recorded, of which `x` holds w.
    """

    stage: str
    x: np.ndarray
    n_recorded: int


def assemble_walks(trace: Sequence[SearchPoint], most: int = N_WALKS) -> Walks | None:
    """Return the walks of a search's last stage.

    Row i of successive points of one stage is the same walk. Points go on with the walks before
    them where stage and number of rows are the same and the step is higher; else other walks begin.
    The last ones with two points or more are returned.

    Args:
        trace: Points that the method recorded, in order.
        most: Largest number of walks, evenly spaced over the rows.

    Returns:
        The walks, or None where there are none.
    """
    groups: list[list[SearchPoint]] = []
    for point in trace:
        last = groups[-1][-1] if groups else None
        if (
            last
            and (last.stage, len(last.x)) == (point.stage, len(point.x))
            and last.step < point.step
        ):
            groups[-1].append(point)
        else:
            groups.append([point])
    walks = [group for group in groups if len(group) > 1 and len(group[0].x)]
    if not walks:
        return None
    x = np.stack([_evenly(point.x, most) for point in walks[-1]], axis=1)
    return Walks(walks[-1][0].stage, x, len(walks[-1][0].x))


def principal_components(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean (d,), the first two principal components (d, 2) and their shares of the
    variance (2,).

    The largest weight of a component is positive. A component that the rows do not have is zero.

    Args:
        z: (N, d) features.
    """
    mean = z.mean(axis=0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(z - mean, full_matrices=False)
    components, shares = np.zeros((z.shape[1], 2)), np.zeros(2)
    for i in range(min(2, int((singular > 1e-9 * max(1.0, singular[0])).sum()))):
        components[:, i] = rows[i] * np.sign(rows[i, np.abs(rows[i]).argmax()])
        shares[i] = singular[i] ** 2 / (singular**2).sum()
    return mean, components, shares


def save_picture(
    path: Path,
    task: Task,
    designs: np.ndarray,
    evaluation: Evaluation,
    trace: Sequence[SearchPoint],
    *,
    name: str,
) -> None:
    """Draw a run that is over and evaluated, and write the picture as a PNG of 100 dots an inch.

    Only the landscape of a task of two real numbers asks the oracle: 10,000 designs on a grid,
    counted in nothing that was evaluated, and the picture says so. Infeasible designs are not
    drawn.

    Args:
        path: File to write.
        task: The task.
        designs: (K, *shape) proposals.
        evaluation: Evaluation of the proposals.
        trace: Points that the method recorded, in order.
        name: Name of the run, for the title.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    flat = _is_plane(task.space)
    wide = not flat and evaluation.scores is not None
    figure = optional_import("matplotlib.figure", "report").Figure(
        (12 if wide else 8.6, 6.4), dpi=100, layout="constrained"
    )
    optional_import("matplotlib.backends.backend_agg", "report").FigureCanvasAgg(figure)
    figure.suptitle(f"{name}\n{_worth(evaluation)}", fontsize=12)
    (_draw_plane if flat else _draw_projection)(
        figure, task, designs, evaluation, assemble_walks(trace)
    )
    figure.savefig(path, format="png")


def save_designs(folder: Path, task: Task, designs: np.ndarray, scores: np.ndarray) -> list[Path]:
    """Draw the best visible design, and the median and best proposal, as what they are.

    The drawings ask the oracle, counted in nothing that was evaluated.

    Args:
        folder: Folder to write into.
        task: The task.
        designs: (K, *shape) proposals.
        scores: (K,) their raw scores, NaN for infeasible ones.

    Returns:
        The files, none where the task has no `Task.drawing` or nothing was feasible.
    """
    feasible = np.flatnonzero(np.isfinite(scores))
    if task.drawing is None or not len(feasible):
        return []
    ascending = feasible[np.argsort(scores[feasible], kind="stable")]
    chosen = {
        "best visible design": task.dataset.top(1).x[0],
        "median proposal": designs[ascending[(len(ascending) - 1) // 2]],
        "best proposal": designs[ascending[-1]],
    }
    files = [folder / f"{DESIGNS}{suffix}" for suffix in task.drawing.suffixes]
    for file in files:
        task.drawing.save(file, chosen)
    return files


def _is_plane(space: DesignSpace) -> bool:
    """Whether a design is two numbers that can be drawn where they are."""
    if isinstance(space, MixedSpace):
        return len(space.parameters) == 2 and all(p.numeric for p in space.parameters)
    return isinstance(space, ContinuousSpace) and space.shape == (2,)


def _worth(evaluation: Evaluation) -> str:
    overall, k = evaluation.overall, evaluation.k
    if overall is None:
        return f"{k} designs, not scored: the task has no oracle"
    return (
        f"normalised scores of {k} designs: "
        f"100th percentile {overall.p100:.3f}, 50th {overall.p50:.3f}"
    )


def _draw_plane(
    figure: Any, task: Task, designs: np.ndarray, evaluation: Evaluation, walks: Walks | None
) -> None:
    """Draw designs of two real numbers where they lie."""
    axes, place = figure.subplots(), _Places(task, lambda x: x)
    low, high = _box(task, designs)
    if task.has_oracle:
        _draw_landscape(figure, axes, task, low, high)
    _draw_visible(axes, place, task.dataset.x)
    _draw_walks(axes, place, walks)
    axes.scatter(*place(designs).T, c=_VERMILLION, **_PROPOSAL, label=_proposals(evaluation))
    margin = _MARGIN * np.where(high > low, high - low, 1)
    limits = [(low[j] - margin[j], high[j] + margin[j]) for j in (0, 1)]
    axes.set(xlim=limits[0], ylim=limits[1], xlabel=task.space.names[0], ylabel=task.space.names[1])
    _draw_legend(figure)


def _box(task: Task, designs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (2,), (2,) of the space's box; an infinite side ends at the visible designs
    and proposals."""
    space = task.space
    assert isinstance(space, (ContinuousSpace, MixedSpace))
    sides = space if isinstance(space, ContinuousSpace) else space.feasible
    x = np.concatenate([task.dataset.x, designs[space.contains(designs)]])
    low = np.where(np.isfinite(sides.low), sides.low, x.min(axis=0))
    return low, np.where(np.isfinite(sides.high), sides.high, x.max(axis=0))


def _draw_landscape(figure: Any, axes: Any, task: Task, low: np.ndarray, high: np.ndarray) -> None:
    """Draw the true scores in bands of equal area, so that neither a cliff nor a peak takes all the
    colours."""
    sides = [np.linspace(low[j], high[j], _GRID, dtype=np.float32) for j in (0, 1)]
    # a rounded end may lie outside, and a design may lie on steps
    x = task.space.clip(np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2))
    values = np.ma.masked_invalid(task.normalise(task.oracle()(x)))
    caption = (
        f"landscape drawn after the run; its {len(x):,} oracle calls are not among those of the run"
    )
    known = values.compressed()
    levels = np.unique(np.quantile(known, np.linspace(0, 1, _BANDS + 1))) if len(known) else known
    if len(levels) < 2:
        caption += "; no colours, as it is flat or nowhere finite"
    else:
        greys = optional_import("matplotlib", "report").colormaps["Greys"](
            np.linspace(0.0, 0.6, len(levels) - 1)
        )
        ground = axes.contourf(*sides, values.reshape(_GRID, _GRID), levels=levels, colors=greys)
        bar = figure.colorbar(ground, ax=axes, ticks=levels[::2], spacing="uniform", format="%.3f")
        bar.set_label("true normalised score, in bands of equal area")
    axes.set_title(caption, fontsize=9)


def _draw_projection(
    figure: Any, task: Task, designs: np.ndarray, evaluation: Evaluation, walks: Walks | None
) -> None:
    """Draw designs on two principal components of the visible ones; beside them, where known, the
    proposals' scores."""
    encoder = make_encoder(task.problem())
    mean, components, shares = principal_components(
        encoder.encode(_evenly(task.dataset.x, N_VISIBLE))
    )
    place = _Places(task, lambda x: (encoder.encode(x) - mean) @ components)
    scores = None if evaluation.scores is None else task.normalise(evaluation.scores)
    axes, *beside = figure.subplots(1, 1 if scores is None else 2, squeeze=False)[0]
    _draw_visible(axes, place, task.dataset.x)
    _draw_walks(axes, place, walks)
    colours: dict[str, Any] = (
        {"c": _VERMILLION} if scores is None else {"c": scores, "cmap": "viridis"}
    )
    marks = axes.scatter(*place(designs).T, **colours, **_PROPOSAL, label=_proposals(evaluation))
    names = [
        f"principal component {i + 1} ({share:.0%} of the variance)"
        for i, share in enumerate(shares)
    ]
    axes.set(
        xlabel=names[0], ylabel=names[1], title="designs on the visible ones' principal components"
    )
    if scores is not None:
        figure.colorbar(marks, ax=axes, label="true normalised score of a proposal")
        _draw_scores(beside[0], task, scores)
    _draw_legend(figure)


def _draw_scores(axes: Any, task: Task, scores: np.ndarray) -> None:
    """Draw the sorted normalised scores (K,) over their ranks; infeasible designs take up the
    lowest, undrawn."""
    known = np.sort(scores[np.isfinite(scores)])
    ranks = (np.arange(len(scores) - len(known), len(scores)) + 0.5) / len(scores)
    axes.scatter(
        100 * ranks,
        known,
        c=known,
        cmap="viridis",
        s=20,
        edgecolors="black",
        linewidths=0.3,
        zorder=3,
    )
    median = float(task.normalise(np.median(task.dataset.y)))
    lines = {
        "D(best), the best visible score": (task.info.d_best, "--"),
        "median visible score": (median, ":"),
    }
    for label, (value, style) in lines.items():
        axes.axhline(
            value, color="black", linestyle=style, linewidth=1.2, label=f"{label}: {value:.3f}"
        )
    axes.set(
        xlim=(0, 100),
        xlabel="percentile of the proposals",
        ylabel="true normalised score",
        title="the proposals' sorted scores",
    )


class _Places:
    """Where designs are drawn.

    Args:
        task: The task.
        project: Maps designs (N, *shape) inside the space to places (N, 2).
    """

    def __init__(self, task: Task, project: Callable[[np.ndarray], np.ndarray]) -> None:
        self.space, self.project = task.space, project

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the places (.., 2) of designs (.., *shape); NaN, which is not drawn, outside the
        space."""
        rows = x.reshape(-1, *self.space.shape)
        inside = self.space.contains(rows)
        places = np.full((len(rows), 2), np.nan)
        places[inside] = self.project(rows[inside].astype(self.space.dtype))
        return places.reshape(*x.shape[:-1], 2)


def _draw_visible(axes: Any, place: _Places, x: np.ndarray) -> None:
    shown = _evenly(x, N_VISIBLE)
    some = f"{len(shown):,}" + (f" of {len(x):,}" if len(shown) < len(x) else "")
    axes.scatter(
        *place(shown).T, s=5, c="0.45", linewidths=0, zorder=2, label=f"visible designs ({some})"
    )


def _draw_walks(axes: Any, place: _Places, walks: Walks | None) -> None:
    if walks is None:
        return
    places = place(walks.x)  # (w, T, 2)
    some = f"{len(places)}" + (f" of {walks.n_recorded}" if len(places) < walks.n_recorded else "")
    axes.plot(*places.transpose(2, 1, 0), color=_BLUE, linewidth=0.8, alpha=0.8, zorder=3)
    axes.plot([], [], color=_BLUE, linewidth=0.8, label=f"walks of stage {walks.stage!r} ({some})")
    look = {"edgecolors": _BLUE, "linewidths": 1.2}
    axes.scatter(
        *places[:, 0].T,
        s=18,
        marker="o",
        facecolors="white",
        zorder=5,
        label="their starts",
        **look,
    )
    # Ends are often proposals too: a frame around them leaves both to be seen.
    axes.scatter(
        *places[:, -1].T, s=55, marker="s", facecolors="none", zorder=3, label="their ends", **look
    )


def _proposals(evaluation: Evaluation) -> str:
    left_out = (
        f"; {evaluation.n_infeasible} infeasible, not drawn" if evaluation.n_infeasible else ""
    )
    return f"proposals ({evaluation.k}{left_out})"


def _draw_legend(figure: Any) -> None:
    """Put the legend of all panels below them, where it hides nothing."""
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _evenly(x: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` rows of `x`, evenly spaced."""
    rows = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
    return np.asarray(x[rows])
