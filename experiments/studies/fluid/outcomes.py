"""Outcomes of the study, one line of JSON each, and their tables with intervals over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mbo_gym
from mbo_gym.benchmark.analysis.statistics import stratified_bootstrap

__all__ = ["AT", "Outcome", "append", "draw", "expected_best", "kept", "markdown", "read"]

AT = (1, 4, 8, 16, 32, 64, 160, 320)
"""Numbers of new evaluations at which the best score so far is kept."""
SHOWN = (4, 8, 32, 320)
"""Those that tables show."""


@dataclass(frozen=True)
class Outcome:
    """What a search or the samples of a prior came to under one seed.

    Args:
        task: Id of the task.
        question: Question of the study that it answers.
        name: Search or form.
        seed: Seed.
        best: Expected best score after ``AT[i]`` new evaluations, as far as these were made.
        mean: Mean score of samples; None for a search.
        rows: Rows that it learned from; each was an evaluation before.
        before: Evaluations of the simulator before the first design that `best` counts.
        rollouts: Episodes of the learned simulator.
        gradients: Gradients of the learned simulator.
        seconds: Time of search or sampling, without the training of the prior.
    """

    task: str
    question: str
    name: str
    seed: int
    best: tuple[float, ...]
    mean: float | None = None
    rows: int = 0
    before: int = 0
    rollouts: int = 0
    gradients: int = 0
    seconds: float = 0.0


def expected_best(scores: np.ndarray) -> np.ndarray:
    """Return the expected best of 1 .. n of n scores drawn without replacement, (n,)."""
    ascending = np.sort(scores.astype(np.float64))
    n = len(ascending)
    best = np.empty(n)
    for k in range(1, n + 1):
        # chance that rank j is the highest of k: C(j, k - 1) / C(n, k), by a recurrence
        chance = np.zeros(n)
        chance[n - 1] = k / n
        for j in range(n - 2, k - 2, -1):
            chance[j] = chance[j + 1] * (j + 2 - k) / (j + 1)
        best[k - 1] = ascending @ chance
    return best


def kept(curve: np.ndarray) -> tuple[float, ...]:
    """Return the values of a curve (n,) at `AT`, as far as it goes."""
    return tuple(round(float(curve[at - 1]), 4) for at in AT if at <= len(curve))


def read(path: Path) -> list[Outcome]:
    """Return the outcomes of a file, none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [Outcome(**{**record, "best": tuple(record["best"])}) for record in records]


def append(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add outcomes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)


def markdown(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a Markdown table of one task and question: means over seeds with 95 % intervals."""
    longest = max(len(o.best) for o in outcomes)
    reached = [at for at in AT[:longest] if at in SHOWN or longest == 1]
    heads = "".join(f" {at} |" for at in reached)
    yield f"| search | seeds | rows | before | learned |{heads} mean of samples |"
    yield "| --- | ---: | ---: | ---: | ---: |" + " --- |" * (len(reached) + 1)
    for name in dict.fromkeys(o.name for o in outcomes):
        own = [o for o in outcomes if o.name == name]
        places = [AT.index(at) for at in reached]
        cells = [_interval([o.best[i] for o in own if len(o.best) > i]) for i in places]
        cells.append(_interval([o.mean for o in own if o.mean is not None]))
        learned = _calls(own)
        facts = f"{len(own)} | {own[0].rows or ''} | {own[0].before} | {learned}"
        yield f"| {name} | {facts} | " + " | ".join(cells) + " |"


def _calls(own: Sequence[Outcome]) -> str:
    """Return the mean numbers of learned episodes and gradients; empty where there are none."""
    rollouts, gradients = (
        round(float(np.mean([getattr(o, key) for o in own]))) for key in ("rollouts", "gradients")
    )
    if not rollouts:
        return ""
    return f"{rollouts}, {gradients} gradients" if gradients else str(rollouts)


def _interval(values: Sequence[float]) -> str:
    """Return mean and 95 % bootstrap interval of values; only the mean of fewer than 3."""
    if len(values) < 3:
        return f"{np.mean(values):.3f}" if values else ""
    found = stratified_bootstrap([values], lambda resampled: resampled[0].mean(axis=1))
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def draw(outcomes: Sequence[Outcome], names: Sequence[str], path: Path) -> None:
    """Draw the best score against new evaluations, a panel a task, with 95 % intervals.

    Args:
        outcomes: Outcomes of one question.
        names: Searches to draw.
        path: PNG to write.
    """
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(o.task for o in outcomes))
    size = (4.2 * len(tasks), 3.4)
    figure, panels = plt.subplots(1, len(tasks), figsize=size, layout="constrained", squeeze=False)
    for panel, task_id in zip(panels[0], tasks, strict=True):
        for name in names:
            own = [o for o in outcomes if (o.task, o.name) == (task_id, name)]
            if own:
                _curve(panel, name, own)
        best = mbo_gym.make_task(task_id).dataset.y.max()
        panel.axhline(best, color="0.4", linestyle=":", linewidth=1, label="best visible row")
        panel.set_xscale("log", base=2)
        panel.set(title=task_id, xlabel="new evaluations of the simulator")
        panel.set_xticks(AT, [str(at) for at in AT])
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("best score so far")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _curve(panel: Any, name: str, own: Sequence[Outcome]) -> None:
    """Draw the mean of a search over seeds, and its interval."""
    n = min(len(o.best) for o in own)
    values = np.array([o.best[:n] for o in own])
    found = [
        stratified_bootstrap([column], lambda resampled: resampled[0].mean(axis=1))
        for column in values.T
    ]
    places = [own[0].before + at for at in AT[:n]]
    (line,) = panel.plot(places, [f.value for f in found], marker=".", label=name)
    low, high = [f.low for f in found], [f.high for f in found]
    panel.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
