"""Every example is short, and says in its first line how it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
EXPERIMENTS = sorted((EXAMPLES.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", [*SCRIPTS, *EXPERIMENTS], ids=lambda path: path.name)
def test_a_script_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_how_it_is_run(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").splitlines()[0]
