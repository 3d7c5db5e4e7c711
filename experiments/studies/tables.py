"""Complete tables with known answers: what a batch of proposals finds, and what offline numbers
promised.

python -m experiments.studies tables --seeds 0-7
python -m experiments.studies tables --summary
"""

from __future__ import annotations

import argparse
import csv
import lzma
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import mbo_gym
from mbo_gym.batch.propose import prepare
from mbo_gym.batch.study import GOOD_R2
from mbo_gym.errors import MissingData, MissingDependency
from mbo_gym.files import store
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import METHODS, method_class
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.problem.task import Task
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import parse_seeds
from mbo_gym.tasks.olympus import TABLES

OUTPUT = Path("experiments/results/tables/records.csv.xz")
BATCH = 32
MORE = 4
"""Times as many designs are asked for, since repeats and measured ones are left out."""
FOLDS = 5
COVERED = 0.9
"""Share of true scores that an interval should hold."""
N_TREES = 100
TOP = 0.2
"""Share of the visible rows, the best ones, that a model does not see for the interval."""
COMPLETE = (
    *(f"Olympus_{name}-Exact-v0" for name, facts in TABLES.items() if facts.kind != "points"),
    *(
        f"BOCoDe_{name}-Exact-v0"
        for name in (
            *("HOIP", "CrossedBarrel", "Perovskite", "P3HT", "AgNP", "AutoAM"),
            *("NASBench201", "NASBench201_CIFAR100", "NASBench201_ImageNet16"),
        )
    ),
)
"""Tasks whose every design was measured."""
HIDING = {
    "random 30 % visible": (1.0, 0.3),
    "best tenth hidden": (0.9, 0.4),
    "best half hidden": (0.5, 0.6),
}
"""Share of the designs, the worse ones, that may be visible, and the share of them that is."""
CLASSES = {"R2 >= 0.5": (0.5, np.inf), "0 < R2 < 0.5": (0.0, 0.5), "R2 <= 0": (-np.inf, 0.0)}

PROPOSE = "propose"
"""The batch of `mbo_gym.propose`, beside the methods."""

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Cell:
    """One table with some of its rows visible.

    Args:
        table: The task, all rows visible.
        hiding: Name in `HIDING`.
        seed: Seed of the draw and of the methods.
        visible: (N,) rows of the table.
    """

    table: Task
    hiding: str
    seed: int
    visible: np.ndarray

    @property
    def task(self) -> Task:
        """The task with the visible rows only."""
        data = self.table.dataset
        return replace(
            self.table, dataset=OfflineDataset(data.x[self.visible], data.y[self.visible])
        )


def hide(table: Task, hiding: str, seed: int) -> Cell:
    """Return a table with some of its rows visible; see `HIDING`."""
    worse, share = HIDING[hiding]
    y = table.dataset.y
    allowed = np.flatnonzero(y <= np.quantile(y, worse))
    rng = np.random.default_rng([seed, list(HIDING).index(hiding)])
    n = max(10, round(share * len(allowed)))
    return Cell(table, hiding, seed, np.sort(rng.permutation(allowed)[:n]))


def features(space: DesignSpace, x: np.ndarray) -> np.ndarray:
    """Return designs as numbers (N, d): one-hot words and letters, numbers as they are."""
    if isinstance(space, MixedSpace):
        return space.features(x)
    if isinstance(space, CategoricalSpace):
        return np.eye(space.n_categories, dtype=np.float32)[x].reshape(len(x), -1)
    return np.asarray(x)


def fit_forest(z: np.ndarray, y: np.ndarray) -> Predict:
    """Fit a random forest."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(N_TREES, random_state=0).fit(z, y).predict


def fit_linear(z: np.ndarray, y: np.ndarray) -> Predict:
    """Fit ridge regression on standardised features; the weight by leave-one-out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(z, y).predict


def held_out(fit: Callable[..., Predict], z: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Return the prediction of each row by a model that did not see it, (N,)."""
    fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    found = np.zeros(len(y))
    for k in range(FOLDS):
        found[fold == k] = fit(z[fold != k], y[fold != k])(z[fold == k])
    return found


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance that is explained."""
    total = ((y - y.mean()) ** 2).sum()
    return float(1 - ((y - predicted) ** 2).sum() / total) if total > 0 else 0.0


def offline_numbers(cell: Cell) -> tuple[dict[str, float], dict[str, Predict]]:
    """Return what the visible rows tell, and the models fitted on all of them.

    Returns:
        numbers: held-out R2 of forest and linear model; half widths of 90 % intervals from held-out
            residuals and from the residuals of the hidden top fifth.
        models: Forest and linear model, on features.
    """
    data = cell.task.dataset
    z, y = features(cell.table.space, data.x), data.y.astype(np.float64)
    by_forest = held_out(fit_forest, z, y, cell.seed)
    order = np.argsort(y)
    low = order[: len(y) - max(2, round(TOP * len(y)))]
    top = order[len(low) :]
    off = np.abs(y[top] - fit_forest(z[low], y[low])(z[top]))
    numbers = {
        "r2_forest": r2(y, by_forest),
        "r2_linear": r2(y, held_out(fit_linear, z, y, cell.seed)),
        "half_cv": float(np.quantile(np.abs(y - by_forest), COVERED)),
        "half_top": float(np.quantile(off, COVERED)),
    }
    return numbers, {"rank_forest": fit_forest(z, y), "rank_linear": fit_linear(z, y)}


def batch_of(x: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return the first designs that are new and differ, at most a batch, (n, *shape)."""
    known = {row.tobytes() for row in visible}
    rows = []
    for i, row in enumerate(x):
        if row.tobytes() not in known:
            known.add(row.tobytes())
            rows.append(i)
    return x[rows[:BATCH]]


def run_cell(cell: Cell, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a record of each method on a cell."""
    task = cell.task
    table = cell.table.dataset
    numbers, models = offline_numbers(cell)
    unseen = np.delete(table.y, cell.visible)
    best = float(task.dataset.y.max())
    gain = float(table.y.max()) - best
    shared = {
        "table": task.info.task_id,
        "hiding": cell.hiding,
        "seed": cell.seed,
        "designs": len(table),
        "visible": len(task.dataset),
        "chance": float((unseen > best).mean()),
        **numbers,
    }
    for name in methods:
        control = name in models or (name != PROPOSE and method_class(name).CONTROL)
        record = {**shared, "method": name, "control": control}
        start = time.perf_counter()
        if name == PROPOSE:
            yield {**record, **run_propose(cell), "seconds": time.perf_counter() - start}
            continue
        try:
            x = batch_of(_proposals(name, cell, models), task.dataset.x)
            y = task.oracle()(x)
        except Exception as error:
            yield {**record, "error": f"{type(error).__name__}: {error}"[:200]}
            continue
        record |= {"seconds": time.perf_counter() - start, "new": len(x), "error": ""}
        record |= {"above": float((y > best).sum()) / BATCH, "gain": 0.0 if gain > 0 else np.nan}
        if len(x):
            off = np.abs(y - models["rank_forest"](features(task.space, x)))
            record["rank"] = int((table.y > y.max()).sum()) + 1
            record["covered_cv"] = float((off <= numbers["half_cv"]).mean())
            record["covered_top"] = float((off <= numbers["half_top"]).mean())
            if gain > 0:
                record["gain"] = max(0.0, float(y.max()) - best) / gain
        yield record


def run_propose(cell: Cell) -> dict[str, Any]:
    """Return what the batch of `mbo_gym.propose` promised and what its designs have."""
    prepared = prepare(cell.task, k=BATCH, seed=cell.seed)
    health = prepared.health(NullProgress())
    batch = prepared.make(NullProgress(), health)
    table = cell.table.dataset
    best = float(cell.task.dataset.y.max())
    gain = float(table.y.max()) - best
    y = cell.table.oracle()(batch.x)
    half = batch.intervals.half_width
    return {
        "new": len(batch),
        "error": "",
        "above": float((y > best).sum()) / BATCH,
        "gain": max(0.0, float(y.max()) - best) / gain if gain > 0 else np.nan,
        "rank": int((table.y > y.max()).sum()) + 1,
        "r2_health": health.best.r2 if health.best else np.nan,
        "covered": float((np.abs(y - batch.criterion) <= half).mean()),
        "chance_said": float(batch.facts.chance.mean()),
    }


def _proposals(name: str, cell: Cell, models: Mapping[str, Predict]) -> np.ndarray:
    """Return more designs than a batch holds, best first."""
    task = cell.task
    if name in models:
        x = np.delete(cell.table.dataset.x, cell.visible, axis=0)
        return x[np.argsort(-models[name](features(task.space, x)), kind="stable")[:BATCH]]
    method = mbo_gym.make_method(name, preset="light", task_id=task.info.task_id)
    method.fit(task.problem(), Context(cell.seed))
    return method.propose(MORE * BATCH).x


FIELDS = (
    *("table", "hiding", "seed", "method", "control", "designs", "visible", "chance"),
    *("r2_forest", "r2_linear", "half_cv", "half_top", "seconds", "new", "above"),
    *("rank", "gain", "covered_cv", "covered_top", "r2_health", "covered", "chance_said", "error"),
)


def read_records(path: Path) -> list[dict[str, str]]:
    """Return the records of a file, none where there is no file."""
    if not path.exists():
        return []
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records whole or not at all."""

    def write(target: Path) -> None:
        with lzma.open(target, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n", restval="")
            writer.writeheader()
            for record in records:
                writer.writerow(
                    {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in record.items()}
                )

    store.write_atomic(path, write)


def available() -> dict[str, Task]:
    """Return the complete tables that are on this machine, all rows visible."""
    found = {}
    for task_id in COMPLETE:
        try:
            found[task_id] = mbo_gym.make_task(task_id, percentile=100)
        except (MissingData, MissingDependency) as error:
            print(f"{task_id} is left out: {error}", flush=True)
    return found


def summary(records: Sequence[Mapping[str, str]]) -> str:
    """Return the tables of the study in Markdown: by method, and by held-out R2."""
    good = [r for r in records if not r["error"]]
    failed = [r for r in records if r["error"]]
    n_cells = len({(r["table"], r["hiding"], r["seed"]) for r in good})
    tables = {r["table"] for r in good}
    seeds = sorted({int(r["seed"]) for r in good})
    lines = [
        f"{len(good):,} runs: {len(tables)} tables, seeds {seeds}, {n_cells} cells of table, "
        f"hiding and seed; {len(failed)} runs failed. A batch is the first {BATCH} new and distinct "
        f"of {MORE * BATCH} proposals.",
        "",
        f"By method: designs above the best visible row as a share of {BATCH}; share of the "
        "reachable gain that the best of them has; new designs in the batch; median rank of its "
        "best design in the whole table.",
        "",
        f"| method | {' | '.join(f'above, {h} | gain' for h in HIDING)} | new | median rank |",
        f"| --- {'| --- | --- ' * len(HIDING)}| --- | --- |",
    ]
    rows = []
    for method in sorted({r["method"] for r in good}):
        own = [r for r in good if r["method"] == method]
        values = [
            mean([r for r in own if r["hiding"] == h], name)
            for h in HIDING
            for name in ("above", "gain")
        ]
        rank = float(np.median([float(r["rank"]) for r in own if r["rank"]] or [np.nan]))
        facts = f"{mean(own, 'new'):.1f} | {rank:.0f}"
        rows.append((float(np.nanmean(values[::2])), method, values, facts, own[0]["control"]))
    for _, method, values, facts, control in sorted(rows, reverse=True):
        name = f"{method} (control)" if control == "True" else method
        shown = " | ".join("-" if np.isnan(v) else f"{v:.3f}" for v in values)
        lines.append(f"| {name} | {shown} | {facts} |")
    lines += [
        "",
        "By the better held-out R2 of forest and linear model, methods without controls: designs "
        f"above the best visible row as a share of {BATCH}; the share among all unseen designs; "
        "the same share for designs ranked by a forest; and what 90 % intervals cover.",
        "",
        "| hiding | held-out R2 | cells | above | among unseen | above, rank_forest | covered, "
        "held-out residuals | covered, hidden top 20 % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for hiding in HIDING:
        for name, (low, high) in CLASSES.items():
            here = [
                r
                for r in good
                if r["hiding"] == hiding
                and low <= max(float(r["r2_forest"]), float(r["r2_linear"])) < high
            ]
            own = [r for r in here if r["control"] == "False"]
            forest = [r for r in here if r["method"] == "rank_forest"]
            n = len({(r["table"], r["seed"]) for r in own})
            cells = [(own, "above"), (own, "chance"), (forest, "above")]
            cells += [(own, "covered_cv"), (own, "covered_top")]
            shown = " | ".join("-" if np.isnan(v := mean(r, f)) else f"{v:.3f}" for r, f in cells)
            lines.append(f"| {hiding} | {name} | {n} | {shown} |")
    return "\n".join([*lines, "", *propose_summary(good)])


def seen_of(records: Sequence[Mapping[str, str]]) -> dict[str, tuple[int, int, int]]:
    """Return per cent of the designs of `propose` by hiding: above the best visible row with a
    stated R2 of 0.5 and more, the same below, and inside the intervals; as `batch.study` has them.
    """
    found = {}
    for hiding in HIDING:
        own = [r for r in records if r["method"] == PROPOSE and r["hiding"] == hiding]
        good = [r for r in own if float(r["r2_health"]) >= GOOD_R2]
        other = [r for r in own if float(r["r2_health"]) < GOOD_R2]
        parts = (mean(good, "above"), mean(other, "above"), mean(own, "covered"))
        found[hiding] = tuple(round(100 * part) for part in parts)
    return found


def propose_summary(records: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the table of the batches of `propose`, by hiding and by the R2 that it states."""
    lines = [
        f"Batches of `propose`, {BATCH} designs each, by the held-out R2 that it states: designs "
        "above the best visible row, and the chance of that which it states; share of the "
        "reachable gain; batches with the best design of the whole table; true scores inside "
        "the intervals.",
        "",
        "| hiding | stated R2 | batches | above | among unseen | stated chance | gain | best found "
        "| covered |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for hiding in HIDING:
        for name, (low, high) in CLASSES.items():
            own = [
                r
                for r in records
                if r["method"] == PROPOSE
                and r["hiding"] == hiding
                and low <= float(r["r2_health"]) < high
            ]
            found = float(np.mean([r["rank"] == "1" for r in own])) if own else float("nan")
            values = [mean(own, n) for n in ("above", "chance", "chance_said", "gain")]
            values += [found, mean(own, "covered")]
            shown = " | ".join("-" if np.isnan(v) else f"{v:.3f}" for v in values)
            lines.append(f"| {hiding} | {name} | {len(own)} | {shown} |")
    return lines


def mean(records: Sequence[Mapping[str, str]], name: str) -> float:
    """Return the mean of a field over records that have it."""
    values = [float(r[name]) for r in records if r[name] not in ("", "nan")]
    return float(np.mean(values)) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-7")
    parser.add_argument(
        "--methods", default=",".join((PROPOSE, "rank_forest", "rank_linear", *METHODS))
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="finished cells are left")
    parser.add_argument("--summary", action="store_true", help="print the tables and end")
    args = parser.parse_args()
    records: list[Mapping[str, Any]] = list(read_records(args.output))
    if not args.summary:
        tables = available()
        methods = args.methods.split(",")
        for seed in parse_seeds(args.seeds):
            for task_id, table in tables.items():
                for hiding in HIDING:
                    key = (task_id, hiding, str(seed))
                    done = {
                        r["method"]
                        for r in records
                        if (r["table"], r["hiding"], str(r["seed"])) == key
                    }
                    left = [name for name in methods if name not in done]
                    if left:
                        records += list(run_cell(hide(table, hiding, seed), left))
                        write_records(args.output, records)
                        print(f"{task_id}, {hiding}, seed {seed}: {len(left)} runs", flush=True)
    print(summary(read_records(args.output)))


if __name__ == "__main__":
    main()
