"""Print a method, the best control and the best other method on each task of results folders.

python experiments/leaders_table.py matched experiments/results/baselines experiments/results/matched
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.model import Analysis, Entry, TaskSetting
from mbo_gym.benchmark.execute.results import ResultStore


def table(method: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of a Markdown table, one row a task that the method has scores on."""
    yield f"| task | `{method}`, median | best control | best other method | `{method}`, best | others' best |"
    yield "|---|---|---|---|---|---|"
    for folder in folders:
        analysis = analyse(ResultStore(folder).records())
        for task in analysis.tasks:
            if row := _row(method, analysis, task):
                yield row


def _row(method: str, analysis: Analysis, task: TaskSetting) -> str:
    entries = [e for e in analysis.entries if e.task == task.name and e.values and not e.exact]
    own = next((entry for entry in entries if entry.label == method), None)
    if own is None:
        return ""
    family = [entry for entry in entries if not entry.label.startswith(method)]
    controls = [entry for entry in family if entry.control]
    others = [entry for entry in family if not entry.control]
    medians = [_best(group, "p50_distinct") for group in (controls, others)]
    own_median, own_best = (_score(own, m, named=False) for m in ("p50_distinct", "p100"))
    cells = [task.name, own_median, *medians, own_best, _best(family, "p100")]
    return f"| {' | '.join(cells)} |"


def _best(entries: Sequence[Entry], measure: str) -> str:
    if not entries:
        return "not run"
    return _score(max(entries, key=lambda e: e.scores[measure].mean), measure)


def _score(entry: Entry, measure: str, *, named: bool = True) -> str:
    score = entry.scores[measure]
    text = f"{score.mean:.3f}"
    if score.n > 1:
        text += f" ± {score.standard_error:.3f}"
    return f"{text} `{entry.label}`" if named else text


if __name__ == "__main__":
    print("\n".join(table(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])))
