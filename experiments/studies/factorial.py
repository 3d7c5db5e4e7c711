"""Model or search? Every surrogate with every search, and which offline number predicts success.

python -m experiments.studies factorial --seeds 0-3
python -m experiments.studies factorial --summary
python -m experiments.studies factorial --picture docs/_static/factorial.png
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import mbo_gym
from mbo_gym.evaluation.search import score_search, stability
from mbo_gym.methods.base import Context, Proposals
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, search
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem, Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.runs.offline import offline_numbers
from mbo_gym.settings import parse_seeds
from mbo_gym.surrogates.base import NotDifferentiable

OUTPUT = Path("experiments/results/factorial/outcomes.jsonl")
PAGE = OUTPUT.with_suffix(".md")
TASKS = (
    "TFBind8-Exact-v0",
    "Levy-Exact-v1",
    "Rastrigin-Exact-v1",
    "Superconductor-RandomForest-v1",
)
K = 256
ENCODER = "z_score"
NETWORKS = ("mlp", "light_ensemble")
OTHERS = ("trend", "kernel", "trees", "extra_trees")
FAMILIES = {
    "numbers": (*OTHERS, *NETWORKS, "residual", "committee"),
    "letters": (*OTHERS, *NETWORKS, "sequence_ridge", "sequence_cnn"),
}
"""Surrogates for spaces of numbers and of letters."""
HIDDEN = 0.2
"""Share of the visible rows, the best ones, that is hidden from a family to judge it, beside the
same share of the others, drawn at random."""
NUMBERS = {
    "r2": "R2, held-out rows",
    "rank_correlation": "rank correlation, held-out rows",
    "pool_rank": "rank correlation, hidden top and random rows",
    "overlap": "share of the hidden top found",
    "coverage_data": "interval covers the data",
    "promise": "mean prediction of the proposals",
}
"""Numbers that are known without an oracle."""

Search = Callable[[Fitted, int], Proposals]
"""Function from a fitted surrogate and a budget to proposals."""


def by_method(name: str, **settings: Any) -> Search:
    """Return the search of a registered method, with a surrogate that is fitted already."""

    def propose(fitted: Fitted, k: int) -> Proposals:
        method: Any = mbo_gym.make_method(name, **settings)
        method.start(fitted.problem, fitted.context)
        method.fitted = fitted
        proposals: Proposals = method.propose(k)
        return proposals

    return propose


def by_search(*, climb: bool, most: int = 0) -> Search:
    """Return ascent, crossover, or enumeration up to a number of designs."""
    config = SearchConfig(max_enumerated=most)
    return lambda fitted, k: search(fitted, k, config, climb=climb)[0]


SEARCHES: dict[str, Search] = {
    "random": by_method("random_filtered"),
    "grad": by_method("grad"),
    "ascent in the box": by_search(climb=True),
    "cem": by_method("cem"),
    "reinforce": by_method("reinforce"),
    "crossover": by_search(climb=False),
    "enumeration": by_search(climb=False, most=10_000_000),
}
"""``random``: the best of 4,096 random designs. ``grad``: the papers' 50 plain steps, without a box.
``enumeration`` is for spaces of letters."""
CLIMB = ("grad", "ascent in the box")
"""Searches that need a gradient."""


@dataclass(frozen=True)
class Outcome:
    """A surrogate with a search on a task.

    Args:
        task: Id of the task.
        family: Name of the surrogate.
        search: Name in `SEARCHES`.
        seed: Seed of fit and search.
        p50: Median normalised score of the proposals.
        p100: Best one.
        n_unique: Number of distinct proposals.
        numbers: Values of `NUMBERS`; None where unknown.
        coverage_proposals: Share of the proposals inside their interval; None where unknown.
        si: Stability of the search; None where it was not recorded.
        oi: Optimality of the search, likewise.
        seconds: Wall-clock seconds of the search.
    """

    task: str
    family: str
    search: str
    seed: int
    p50: float
    p100: float
    n_unique: int
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    coverage_proposals: float | None = None
    si: float | None = None
    oi: float | None = None
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells outcomes apart."""
        return self.task, self.family, self.search, self.seed


def judged_by_hidden_top(problem: OfflineProblem, family: str, seed: int) -> dict[str, float]:
    """Fit a family without the best visible rows, and see how it ranks them among others."""
    from scipy.stats import spearmanr

    y = problem.dataset.y
    order = np.argsort(-y, kind="stable")
    n_top = int(HIDDEN * len(y))
    top, rest = order[:n_top], np.random.default_rng(seed).permutation(order[n_top:])
    n_random = int(HIDDEN * len(rest))
    pool = np.concatenate([top, rest[:n_random]])
    surrogate = mbo_gym.make_surrogate(family)
    fitted = Fitted.fit(problem, surrogate, ENCODER, Context(seed), rows=np.sort(rest[n_random:]))
    predicted = fitted.predict(problem.dataset.x[pool])
    chosen = np.argsort(-predicted, kind="stable")[:n_top]
    return {
        "pool_rank": float(spearmanr(predicted, y[pool]).statistic),
        "overlap": float((chosen < n_top).mean()),
    }


def outcomes_of(task: Task, family: str, seed: int, done: set[Any]) -> Iterator[Outcome]:
    """Fit a family once, and run every search that is not done."""
    problem = task.problem()
    letters = isinstance(problem.space, CategoricalSpace)
    surrogate = mbo_gym.make_surrogate(family)
    names = [
        name
        for name in SEARCHES
        if (letters or name != "enumeration")
        and (surrogate.differentiable or name not in CLIMB)
        and (task.info.task_id, family, name, seed) not in done
    ]
    if not names:
        return
    hidden = judged_by_hidden_top(problem, family, seed)
    first = Fitted.fit(problem, surrogate, ENCODER, Context(seed))
    for name in names:
        progress = RichProgress(quiet=True)
        fitted = Fitted(problem, first.encoder, first.surrogate, Context(seed, progress=progress))
        started = time.perf_counter()
        try:
            proposals = SEARCHES[name](fitted, K)
        except NotDifferentiable:
            continue
        seconds = time.perf_counter() - started
        yield _scored(task, family, name, seed, proposals, fitted, hidden, progress, seconds)


def _scored(
    task: Task,
    family: str,
    name: str,
    seed: int,
    proposals: Proposals,
    fitted: Fitted,
    hidden: Mapping[str, float],
    progress: RichProgress,
    seconds: float,
) -> Outcome:
    """Score proposals; the only place that asks the oracle."""
    evaluation = mbo_gym.evaluate(task, proposals.x)
    scale = fitted.problem.dataset.score_scale
    report = fitted.surrogate.report if fitted.surrogate.predicts_scores else None
    told = offline_numbers(report, scale, proposals, evaluation.scores)
    covered = told.pop("coverage_proposals", None)
    predicted = proposals.scores(scale)
    promise = None if predicted is None else float(np.mean(task.normalise(predicted)))
    steps, _ = score_search(task, progress.trace)
    along = [step["score"] for step in steps if step["score"] is not None]
    si, oi = stability(along, evaluation.d_best) if along else (None, None)
    assert evaluation.overall is not None
    return Outcome(
        task.info.task_id,
        family,
        name,
        seed,
        evaluation.overall.p50,
        evaluation.overall.p100,
        evaluation.n_unique,
        {**told, **hidden, "promise": promise},
        covered,
        si,
        oi,
        seconds,
    )


def read(path: Path) -> list[Outcome]:
    """Return the outcomes of a file; none where there is no file."""
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


def means(outcomes: Sequence[Outcome]) -> dict[tuple[str, str, str], float]:
    """Return the mean p50 over seeds by (task, family, search)."""
    found = defaultdict(list)
    for o in outcomes:
        found[o.task, o.family, o.search].append(o.p50)
    return {key: float(np.mean(values)) for key, values in found.items()}


def shares(outcomes: Sequence[Outcome], task: str) -> dict[str, float]:
    """Return the share of the variance of a task's mean scores that family and search explain.

    Only families with a gradient count, on which every search was run: a two-way analysis of
    variance of their means over seeds. The rest is that of the pairs.
    """
    mean = {key[1:]: value for key, value in means(outcomes).items() if key[0] == task}
    searches = [s for s in SEARCHES if any(key[1] == s for key in mean)]
    families = sorted({f for f, _ in mean if all((f, s) in mean for s in searches)})
    if len(families) < 2 or len(searches) < 2:
        return {}
    table = np.array([[mean[f, s] for s in searches] for f in families])
    total = table.var()
    by_family, by_search = table.mean(axis=1).var(), table.mean(axis=0).var()
    return {
        "model": float(by_family / total),
        "search": float(by_search / total),
        "pair": float(1 - (by_family + by_search) / total),
    }


def by_number(
    outcomes: Sequence[Outcome], number: str
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield the task and (number, p50) of each family that has the number, for every search and
    seed."""
    groups = defaultdict(list)
    for o in outcomes:
        value = o.numbers.get(number)
        if value is not None:
            groups[o.task, o.search, o.seed].append((value, o.p50))
    for (task, _, _), pairs in groups.items():
        yield task, pairs


def predicts(outcomes: Sequence[Outcome], number: str) -> dict[str, float]:
    """Return how a number ranks families by their true score: mean Spearman's correlation by task.

    It is taken over the families of one search and one seed, and averaged over both.
    """
    from scipy.stats import spearmanr

    found = defaultdict(list)
    for task, pairs in by_number(outcomes, number):
        a, b = np.array(pairs).T
        if len(a) >= 4 and a.std() > 0 and b.std() > 0:
            found[task].append(float(spearmanr(a, b).statistic))
    return {task: float(np.mean(values)) for task, values in found.items()}


def regret(outcomes: Sequence[Outcome], number: str) -> dict[str, float]:
    """Return what choosing the family by the highest value of a number costs, by task.

    It is the mean over searches and seeds of the best family's score minus the chosen one's, among
    the families that have the number.
    """
    found = defaultdict(list)
    for task, pairs in by_number(outcomes, number):
        found[task].append(max(p50 for _, p50 in pairs) - max(pairs)[1])
    return {task: float(np.mean(values)) for task, values in found.items()}


def summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of the tables, as Markdown."""
    mean = means(outcomes)
    tasks = [task for task in TASKS if any(key[0] == task for key in mean)]
    n_seeds = {task: len({o.seed for o in outcomes if o.task == task}) for task in tasks}
    yield "## Median score of 256 proposals"
    for task in tasks:
        families = dict.fromkeys(o.family for o in outcomes if o.task == task)
        searches = [s for s in SEARCHES if any(k[0] == task and k[2] == s for k in mean)]
        yield f"\n**{task}**, mean of {n_seeds[task]} seeds\n"
        yield f"| surrogate | {' | '.join(searches)} |"
        yield f"|---|{'---|' * len(searches)}"
        for family in families:
            values = [mean.get((task, family, s)) for s in searches]
            cells = ["" if v is None else f"{v:.3f}" for v in values]
            yield f"| `{family}` | {' | '.join(cells)} |"
    yield "\n## Model or search?\n"
    yield "| task | model | search | pair |"
    yield "|---|---|---|---|"
    for task in tasks:
        if share := shares(outcomes, task):
            parts = " | ".join(f"{share[part]:.2f}" for part in ("model", "search", "pair"))
            yield f"| {task} | {parts} |"
    yield "\n## Which number seen offline predicts success?\n"
    yield f"| number | {' | '.join(tasks)} | mean |"
    yield f"|---|{'---|' * (len(tasks) + 1)}"
    for number, words in NUMBERS.items():
        rank = predicts(outcomes, number)
        cells = [f"{rank[task]:.2f}" if task in rank else "" for task in tasks]
        middle = f"{np.mean(list(rank.values())):.2f}" if rank else ""
        yield f"| {words} | {' | '.join(cells)} | {middle} |"
    yield "\n## What does choosing the family by it cost?\n"
    yield f"| number | {' | '.join(tasks)} |"
    yield f"|---|{'---|' * len(tasks)}"
    for number, words in NUMBERS.items():
        cost = regret(outcomes, number)
        cells = [f"{cost[task]:.3f}" if task in cost else "" for task in tasks]
        yield f"| {words} | {' | '.join(cells)} |"
    yield "\n## Do intervals hold, and is the search steady?\n"
    yield "| search | covers the data | covers the proposals | SI | OI |"
    yield "|---|---|---|---|---|"
    for name in SEARCHES:
        mine = [o for o in outcomes if o.search == name]
        columns = (
            [o.numbers.get("coverage_data") for o in mine],
            [o.coverage_proposals for o in mine],
            [o.si for o in mine],
            [o.oi for o in mine],
        )
        known = [[v for v in column if v is not None] for column in columns]
        if mine:
            cells = [f"{np.median(column):.2f}" if column else "" for column in known]
            yield f"| {name} | {' | '.join(cells)} |"


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the scores as a heat map a task, and write it as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    mean = means(outcomes)
    tasks = [task for task in TASKS if any(key[0] == task for key in mean)]
    n_rows = (len(tasks) + 1) // 2
    figure, axes = pyplot.subplots(
        n_rows, 2, figsize=(10, 4.3 * n_rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(tasks) :]:
        axis.remove()
    for axis, task in zip(axes.flat, tasks, strict=False):
        families = list(dict.fromkeys(o.family for o in outcomes if o.task == task))
        searches = [s for s in SEARCHES if any(k[0] == task and k[2] == s for k in mean)]
        table = np.array([[mean.get((task, f, s), np.nan) for s in searches] for f in families])
        low, high = np.nanquantile(table, [0.1, 1.0])  # a few diverge
        axis.imshow(table, vmin=low, vmax=high, cmap="cividis", aspect="auto")
        axis.set_title(task, fontsize=10)
        axis.set_xticks(range(len(searches)), searches, rotation=40, ha="right", fontsize=9)
        axis.set_yticks(range(len(families)), families, fontsize=9)
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                dark = value < (low + high) / 2
                colour = "white" if dark else "black"
                axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
    figure.suptitle("Median normalised score of 256 proposals; empty: no gradient to climb")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run what is not done yet, and show the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="task ids with commas")
    parser.add_argument("--seeds", default="0-3", help="e.g. 0-3")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--summary", action="store_true", help="only show the tables")
    parser.add_argument("--picture", type=Path, help="PNG of the heat maps")
    args = parser.parse_args()
    if not (args.summary or args.picture):
        args.output.parent.mkdir(parents=True, exist_ok=True)
        done = {outcome.key for outcome in read(args.output)}
        for seed in parse_seeds(args.seeds):
            for task_id in args.tasks.split(","):
                run(task_id, seed, done, args.output)
    outcomes = read(args.output)
    text = "\n".join(summary(outcomes))
    print(text)
    args.output.with_suffix(".md").write_text(text + "\n")
    if args.picture:
        draw(outcomes, args.picture)


def run(task_id: str, seed: int, done: set[Any], output: Path) -> None:
    """Run all families and searches of a task and a seed, and append what is new."""
    task = mbo_gym.make_task(task_id)
    kind = "letters" if isinstance(task.space, CategoricalSpace) else "numbers"
    for family in FAMILIES[kind]:
        for outcome in outcomes_of(task, family, seed, done):
            with output.open("a") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
            key = f"{task_id} {family} {outcome.search} seed {seed}"
            print(f"{key}: p50 {outcome.p50:.3f}, {outcome.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
