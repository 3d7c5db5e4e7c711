"""The command `mbo-gym demo`: three methods on data that ship, a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from mbo_gym.cli.chatter import say

if TYPE_CHECKING:
    from rich.table import Table

    from mbo_gym.problem.task import Task
    from mbo_gym.runs.one_run import RunResult

__all__ = ["ENTRANTS", "Entrant", "demo"]

TASK = "TFBind8-Exact-v0"
SEED = 0
K = 256
_WIDTH = 79  # of paragraphs on the terminal


@dataclass(frozen=True)
class Entrant:
    """A method of the demo.

    Args:
        name: Name of the method.
        what: Lines that say in a few words what it does.
        preset: Named settings of the method, or None.
        settings: Fields of its config that differ.
    """

    name: str
    what: tuple[str, ...]
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


ENTRANTS = (
    Entrant("random_unseen", ("control: any designs that", "are not in the data")),
    Entrant(
        "grad",
        ("climbs the predictions", "of a neural network"),
        settings={"surrogate.train_steps": 1000},
    ),
    Entrant("matched", ("takes the model that predicts", "best, searches all designs"), "light"),
)
"""Methods, from top to bottom of the picture, the control first; settings cut for speed."""

CUT = "Cut for speed: grad trains for 1,000 steps, not 3,000; matched has the preset light."
NEXT = """\
Next:
  mbo-gym propose my.csv --score yield
      the next designs to measure, from your own table
  mbo-gym run grad,matched TFBind8-Exact-v0 --seeds 0-3
      the same methods with all of their settings; mbo-gym list methods
  python -c "import gymnasium, mbo_gym; print(gymnasium.make('mbo_gym/TFBind8-Exact-v0'))"
      the task as an environment for reinforcement learning"""


def demo(
    output: Annotated[Path, typer.Option(help="picture to write, an .svg file")] = Path(
        "mbo-gym-demo.svg"
    ),
) -> None:
    """Run three methods on data that ship, in about twenty seconds: a table and a picture.

    For the first contact: no download, no extra. Not the method demo, see mbo-gym show demo.

    Examples:
        mbo-gym demo
        mbo-gym demo --output first.svg --quiet
    """
    _check(output)
    from mbo_gym.cli.terminal import show
    from mbo_gym.files.store import write_atomic
    from mbo_gym.runs.apart import fork_nursery
    from mbo_gym.tasks.registry import make_task

    fork_nursery(training=True)  # while this process has made no task
    task = make_task(TASK)
    visible, hidden = _scores(task)
    opening = (
        f"{TASK}: {len(visible) + len(hidden):,} DNA sequences, and how strongly a protein binds "
        f"each. Three methods learn from the worse half, {len(visible):,} of them, and each "
        f"proposes {K} sequences. Their true scores are looked up when the methods are done."
    )
    say(f"{fill(opening, _WIDTH)}\n")
    results = _run(task)
    show(_table(task, results))
    say(f"{fill(_reading(task, results), _WIDTH)}\n{fill(CUT, _WIDTH)}\n")
    drawn = _picture(task, results, visible, hidden)
    written = write_atomic(output, drawn.encode())
    typer.echo(f"picture: {written} (open it in a browser)")
    say(f"\n{NEXT}")


def _check(output: Path) -> None:
    """Raise ValueError where the picture cannot be written, before any work."""
    folder = output.expanduser().resolve().parent
    if output.suffix != ".svg":
        raise ValueError(f"--output writes .svg, got {str(output)!r}. Change its suffix.")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{output}: {folder} is no folder to write to. Pass another --output.")


def _scores(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalised scores of the visible designs and of all others, each design once.

    They are for the picture; no method gets them.
    """
    from mbo_gym.problem.space import CategoricalSpace

    space = task.space
    assert isinstance(space, CategoricalSpace), "it is short DNA"
    designs = np.indices((space.n_categories,) * space.length).reshape(space.length, -1).T
    places = space.n_categories ** np.arange(space.length)[::-1]  # a design is at its own number
    seen = np.zeros(len(designs), dtype=bool)
    seen[task.dataset.x @ places] = True
    scores = task.normalise(task.oracle()(designs.astype(space.dtype)))
    return scores[seen], scores[~seen]


def _run(task: Task) -> list[RunResult]:
    """Run every method; their folders are not kept."""
    from mbo_gym.runs.one_run import RunRequest
    from mbo_gym.runs.one_run import run as run_one

    requests = [RunRequest(e.name, TASK, SEED, K, e.preset, e.settings) for e in ENTRANTS]
    results = []
    with TemporaryDirectory() as folder:
        for i, request in enumerate(requests, start=1):
            result = run_one(request, Path(folder, str(i)), task=task)
            results.append(result)
            median, best = _percentiles(result)
            say(
                f"{i}/{len(requests)} {request.method}, seed {request.seed}: "
                f"median {median:.3f}, best {best:.3f}",
                err=True,
            )
    return results


def _percentiles(result: RunResult) -> tuple[float, float]:
    """Return the median and the best normalised score of a run."""
    overall = result.evaluation.overall
    assert overall is not None, "the task has an oracle"
    return overall.p50, overall.p100


def _table(task: Task, results: Sequence[RunResult]) -> Table:
    """Return a row for each run, and what their scores compare with."""
    from rich import box
    from rich.table import Table

    table = Table("method", box=box.SIMPLE_HEAD, title=f"True scores of {K} proposals, from 0 to 1")
    for name in ("seed", "median", "best", "better than all visible"):
        table.add_column(name, justify="right")
    for result in results:
        scores = [f"{score:.3f}" for score in _percentiles(result)]
        share = f"{result.evaluation.share_above_best:.0%}"
        table.add_row(result.request.method, str(result.request.seed), *scores, share)
    table.add_section()
    table.add_row("best visible design", "", "", f"{task.info.d_best:.3f}", "", style="dim")
    ceiling = results[0].evaluation.ceiling
    reachable = [f"{ceiling[name]:.3f}" for name in ("p50", "p100")]
    table.add_row(f"best {K} of all designs", "", *reachable, "", style="dim")
    calls = sum(result.search_oracle_calls for result in results)
    table.caption = f"True scores that methods asked for while learning and searching: {calls}."
    table.caption_justify = "left"
    return table


def _reading(task: Task, results: Sequence[RunResult]) -> str:
    """Return in words what the table shows."""
    medians = {
        entrant.name: float(
            np.mean([_percentiles(r)[0] for r in results if r.request.method == entrant.name])
        )
        for entrant in ENTRANTS
    }
    control = ENTRANTS[0].name
    first = max(medians, key=lambda name: medians[name])
    return (
        f"The best design that any method has seen scores {task.info.d_best:.3f}. Here every "
        f"design that is not in the data scores more, so the control {control} is what to beat: "
        f"{medians[control]:.3f} (median of the proposals, one seed). "
        f"First is {first} with {medians[first]:.3f}."
    )


def _picture(
    task: Task, results: Sequence[RunResult], visible: np.ndarray, hidden: np.ndarray
) -> str:
    from mbo_gym.cli.demo_picture import Row, draw

    rows = []
    for entrant in ENTRANTS:
        runs = [r.evaluation.scores for r in results if r.request.method == entrant.name]
        scores = task.normalise(np.concatenate([scores for scores in runs if scores is not None]))
        rows.append(Row(entrant.name, entrant.what, scores[np.isfinite(scores)]))
    return draw(
        "Shown the worse half of all designs, what does a method propose?",
        f"{TASK}: {len(visible) + len(hidden):,} DNA sequences of eight letters, and how strongly "
        "a protein binds each.",
        (
            f"A dot is a proposed design: {K} a run, seed {SEED}. "
            "True scores were looked up when the methods were done.",
            CUT,
        ),
        visible,
        hidden,
        rows,
    )
