"""Methods that the tests of the benchmark install are not there in the tests after them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
HERE = "tests/mbo_gym/cli"


def test_the_benchmark_may_be_tested_first():
    chosen = [
        f"{HERE}/test_benchmark.py::test_a_dry_run_of_a_new_folder_creates_nothing",
        f"{HERE}/test_app.py::test_list_methods_prints_a_line_each",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
