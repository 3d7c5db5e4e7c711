"""Every Python snippet of the README runs as it stands, in a fresh process and folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
SECTIONS = [part.partition("\n") for part in README.read_text(encoding="utf-8").split("\n## ")[1:]]
SNIPPETS = [
    (title, code)
    for title, _, text in SECTIONS
    for code in re.findall(r"```python\n(.+?)```", text, re.S)
]


OWN_METHOD = "Benchmark, report, and your own method beside the others"
RUN = [snippet for snippet in SNIPPETS if snippet[0] != OWN_METHOD]


@pytest.mark.parametrize(("title", "code"), RUN, ids=[title for title, _ in RUN])
def test_snippet_runs(title: str, code: str, tmp_path: Path) -> None:
    if "import d3rlpy" in code:
        pytest.importorskip("d3rlpy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    rows = np.column_stack([x, -(x**2).sum(axis=1)])
    np.savetxt(tmp_path / "my.csv", rows, delimiter=",", header="heat,time,salt,yield", comments="")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = {"An environment in six lines": "1 designs", "Bring your own CSV": "'heat':"}
    assert expected.get(title, "256 designs") in done.stdout


def test_there_is_a_snippet_for_each_kind_of_user() -> None:
    assert len(SNIPPETS) == 4


def test_your_own_method_appears_in_the_report(tmp_path: Path) -> None:
    (code,) = [code for title, code in SNIPPETS if title == OWN_METHOD]
    (tmp_path / "my_package.py").write_text(code)
    (entry_point,) = re.findall(r"^ +(nudge = .+)$", README.read_text(encoding="utf-8"), re.M)
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[mbo_gym.methods]\n{entry_point}\n")
    grid = "--methods top_k,nudge --tasks Branin-Exact-v0 --seeds 0-1 --k 8"
    for command in (
        f"benchmark {grid} --executor serial --output results",
        "report results --markdown report.md",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "mbo_gym", *command.split()],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    rows = [
        line
        for line in (tmp_path / "report.md").read_text().splitlines()
        if line.startswith("| nudge")
    ]
    assert len(rows) == 1
    assert "| 2 |" in rows[0]  # seeds
