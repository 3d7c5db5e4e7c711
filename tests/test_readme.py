"""The README is short, and every Python snippet of it runs in a fresh process and folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
SECTIONS = [part.partition("\n") for part in TEXT.split("\n## ")[1:]]
SNIPPETS = [
    (title, code)
    for title, _, text in SECTIONS
    for code in re.findall(r"```python\n(.+?)```", text, re.S)
]
PRINTED = {
    "An environment in six lines": "1 designs",
    "Your own table": "heat",
    "Offline RL with d3rlpy in fifteen lines": "256 designs",
}


@pytest.mark.parametrize(("title", "code"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
def test_a_snippet_runs(title: str, code: str, tmp_path: Path) -> None:
    if "import d3rlpy" in code:
        pytest.importorskip("d3rlpy")
        assert code.count("=500") == 2
        code = code.replace("=500", "=50")  # the snippet's own 500 steps take a minute
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    rows = np.column_stack([x, -(x**2).sum(axis=1)])
    np.savetxt(tmp_path / "my.csv", rows, delimiter=",", header="heat,time,salt,yield", comments="")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert PRINTED[title] in done.stdout


def test_there_is_a_snippet_for_each_kind_of_user() -> None:
    assert [title for title, _ in SNIPPETS] == list(PRINTED)


def test_the_environment_takes_six_lines_and_d3rlpy_fifteen() -> None:
    lines = {
        title: [line for line in code.splitlines() if line.strip()] for title, code in SNIPPETS
    }
    imports = {title: [line for line in code if "import" in line] for title, code in lines.items()}
    assert len(lines["An environment in six lines"]) - 2 <= 6
    assert len(imports["An environment in six lines"]) == 2
    assert len(lines["Offline RL with d3rlpy in fifteen lines"]) <= 16


def test_it_is_at_most_9_kb_and_has_one_small_table() -> None:
    assert len(TEXT.encode()) <= 9000
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]
    assert len(rows) - 2 <= 10
    assert sum(set(row) <= set("|-: ") for row in rows) == 1


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (README.parent / target).exists(), target
