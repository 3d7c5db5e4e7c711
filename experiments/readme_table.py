"""Print the README's table of a results folder: python experiments/readme_table.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.execute.results import ResultStore

TASKS = {
    "TFBind8-Exact-v0": "TFBind8-v0",
    "Levy-Exact-v1": "Levy-v1",
    "Superconductor-RandomForest-v1": "Superconductor-v1",
}
"""Tasks shown and their short names; the mean skill is over all tasks of the folder."""
ROWS = ("matched", "demo", "reinforce", "pgs", "grad_mean [boxed]", "roma")
CONTROLS = ("pair_ridge", "trend", "kernel_crossover", "random_unseen")


def main(folder: Path) -> None:
    """Print medians over distinct designs with standard errors over seeds, and mean skill."""
    analysis = analyse(ResultStore(folder).records())
    entries = {(entry.label, entry.task): entry for entry in analysis.entries}
    skills = {row.label: row.skill for row in analysis.standings}
    print(f"| method | {' | '.join(TASKS.values())} | mean skill |")
    print("|---" * (len(TASKS) + 2) + "|")
    for label in (*ROWS, *CONTROLS):
        cells = []
        for task in TASKS:
            score = entries[label, task].scores["p50_distinct"]
            cells.append(f"{score.mean:.3f} ± {score.standard_error:.3f}")
        skill = skills.get(label)
        name = f"*{label}*" if label in CONTROLS else f"`{label}`"
        print(f"| {name} | {' | '.join(cells)} | {skill.value:.2f} |" if skill else "-")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
