"""Every Python snippet of the README runs as it stands, in a fresh process and folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
SECTIONS = [part.partition("\n") for part in README.read_text(encoding="utf-8").split("\n## ")[1:]]
SNIPPETS = [(title, code) for title, _, text in SECTIONS for code in re.findall(r"```python\n(.+?)```", text, re.S)]


@pytest.mark.parametrize(("title", "code"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
def test_snippet_runs(title: str, code: str, tmp_path: Path) -> None:
    if "import d3rlpy" in code:
        pytest.importorskip("d3rlpy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    rows = np.column_stack([x, -(x**2).sum(axis=1)])
    np.savetxt(tmp_path / "my.csv", rows, delimiter=",", header="heat,time,salt,yield", comments="")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = {"An environment in six lines": "1 designs", "Bring your own CSV": "'heat':"}
    assert expected.get(title, "256 designs") in done.stdout


def test_there_is_a_snippet_for_each_kind_of_user() -> None:
    assert len(SNIPPETS) == 3
