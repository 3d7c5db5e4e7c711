"""Refuted: pessimism by the spread of unlike families. The mean minus some spread, searched.

python -m experiments.studies lcb --seeds 0-3
python -m experiments.studies lcb --summary
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import mbo_gym
from experiments.studies.common import append_rows, read_rows
from mbo_gym.methods.base import Context
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, search
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import parse_seeds
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.committee import CommitteeConfig, CommitteeSurrogate

OUTPUT = Path("experiments/results/lcb/outcomes.csv")
TASKS = ("TFBind8-Exact-v0", "Superconductor-RandomForest-v1")
MEMBERS = {
    "numbers": ("trees", "light_ensemble", "kernel"),
    "letters": ("sequence_ridge", "trees", "sequence_cnn"),
}
WEIGHTS = (-0.5, 0.0, 0.5, 1.0)
"""Weights of the spread that are subtracted; below 0, added."""
K = 256


class Pessimistic(Surrogate):
    """The mean of a fitted committee minus its members' spread times a weight."""

    kind: ClassVar[str] = "pessimistic"
    differentiable: ClassVar[bool] = False

    def __init__(self, committee: CommitteeSurrogate, weight: float) -> None:
        self.committee, self.weight = committee, weight

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Raise an error: the committee is fitted on its own."""
        raise NotImplementedError("fit the committee, and wrap it then")

    def predict(self, z: Tensor) -> Tensor:
        """Return mean - weight * spread of features (B, d); (B,)."""
        with torch.no_grad():
            each = torch.stack([part.predict(z) for part in self.committee.parts])
        return each.mean(dim=0) - self.weight * each.std(dim=0, correction=0)

    def state(self) -> dict[str, Tensor]:
        """Return the committee's tensors."""
        return self.committee.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the committee's tensors."""
        self.committee.load_state(state)


def outcomes_of(task_id: str, seed: int) -> Iterator[dict[str, Any]]:
    """Fit a committee once, and search it with each weight."""
    task = mbo_gym.make_task(task_id)
    kind = "letters" if isinstance(task.space, CategoricalSpace) else "numbers"
    committee = CommitteeSurrogate(CommitteeConfig(MEMBERS[kind]))
    first = Fitted.fit(task.problem(), committee, "z_score", Context(seed))
    for weight in WEIGHTS:
        wrapped = Pessimistic(committee, weight)
        fitted = Fitted(first.problem, first.encoder, wrapped, first.context)
        proposals, _ = search(fitted, K, SearchConfig(), climb=False)
        scores = mbo_gym.evaluate(task, proposals.x).overall
        assert scores is not None
        yield {
            "task": task_id,
            "seed": seed,
            "weight": weight,
            "p50": round(scores.p50, 4),
            "p100": round(scores.p100, 4),
        }


def summary(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield a Markdown table: mean p50 over seeds, and its standard error."""
    found = defaultdict(list)
    for row in rows:
        found[row["task"], float(row["weight"])].append(float(row["p50"]))
    tasks = list(dict.fromkeys(task for task, _ in found))
    yield f"| mean minus | {' | '.join(tasks)} |"
    yield "|---|" + "---|" * len(tasks)
    for weight in WEIGHTS:
        cells = []
        for task in tasks:
            values = found[task, weight]
            if not values:
                cells.append("")
                continue
            cell = f"{np.mean(values):.3f}"
            if len(values) > 1:
                cell += f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
            cells.append(cell)
        yield f"| {weight:g} x spread | {' | '.join(cells)} |"


def main() -> None:
    """Run what is not done yet, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="task ids with commas")
    parser.add_argument("--seeds", default="0-3", help="e.g. 0-3")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--summary", action="store_true", help="only show the table")
    args = parser.parse_args()
    if not args.summary:
        done = {(row["task"], int(row["seed"])) for row in read_rows(args.output)}
        for task_id in args.tasks.split(","):
            for seed in parse_seeds(args.seeds):
                if (task_id, seed) not in done:
                    append_rows(args.output, list(outcomes_of(task_id, seed)))
    print("\n".join(summary(read_rows(args.output))))


if __name__ == "__main__":
    main()
