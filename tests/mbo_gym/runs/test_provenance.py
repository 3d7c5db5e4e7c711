"""What stands beside every number: versions, commit, machine, memory."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.machine import peak_memory_mb, reset_peak_memory
from mbo_gym.runs import provenance
from mbo_gym.runs.provenance import environment_facts

PROC = Path("/proc/self/clear_refs")


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """Return a git repository with one commit, from which the package seems to run."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True
        )

    git("init")
    (tmp_path / "mbo_gym" / "runs").mkdir(parents=True)
    (tmp_path / "mbo_gym" / "runs" / "provenance.py").write_text("")
    git("add", ".")
    git("commit", "-m", "one")
    monkeypatch.setattr(
        provenance, "__file__", str(tmp_path / "mbo_gym" / "runs" / "provenance.py")
    )
    return tmp_path


def commit() -> str | None:
    return provenance._git_commit.__wrapped__()


def test_the_facts_name_versions_commit_and_machine():
    facts = environment_facts()
    assert set(facts) == {"versions", "git", "machine"}
    assert facts["versions"]["mbo_gym"] == mbo_gym.__version__
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert {"numpy", "gymnasium", "scikit-learn", "scipy"} <= set(facts["versions"])
    assert facts["machine"] == {"platform": platform.platform(), "threads": torch.get_num_threads()}
    assert json.loads(json.dumps(facts)) == facts


def test_the_facts_of_one_caller_are_not_changed_by_another():
    environment_facts()["versions"]["numpy"] = "changed"
    environment_facts()["machine"]["threads"] = -1
    assert environment_facts()["versions"]["numpy"] == np.__version__
    assert environment_facts()["machine"]["threads"] == torch.get_num_threads()


def test_the_commit_is_that_of_the_source(checkout):
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert commit() == done.stdout.strip()
    (checkout / "notes.txt").write_text("not tracked")
    assert commit() == done.stdout.strip()
    (checkout / "mbo_gym" / "runs" / "provenance.py").write_text("changed")
    assert commit() == f"{done.stdout.strip()}+changes"


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(
        provenance, "__file__", str(tmp_path / "mbo_gym" / "runs" / "provenance.py")
    )
    assert commit() is None


def test_without_git_there_is_no_commit_and_no_error(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert commit() is None


def test_a_repository_without_a_commit_has_none(tmp_path, monkeypatch):
    subprocess.run(["git", "init", str(tmp_path)], check=True, capture_output=True)
    monkeypatch.setattr(
        provenance, "__file__", str(tmp_path / "mbo_gym" / "runs" / "provenance.py")
    )
    assert commit() is None


MEASURE = """
import numpy as np
from mbo_gym.provenance import peak_memory_mb, reset_peak_memory
reset_peak_memory()
before = peak_memory_mb()
size = int(before) + 256  # more than any earlier peak, which not every system forgets
block = np.ones(size << 20, dtype=np.uint8)
with_block = peak_memory_mb()
del block
after = peak_memory_mb()
reset_peak_memory()
print(before, size, with_block, after, peak_memory_mb())
"""


@pytest.mark.skipif(not PROC.exists(), reason="only Linux can measure anew")
def test_memory_is_measured_in_mib_and_anew():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )  # a fresh process
    before, size, with_block, after, anew = map(float, done.stdout.split())
    assert size <= with_block <= before + size + 16
    assert after == pytest.approx(with_block, abs=8)  # the most, not what it is now
    if anew == pytest.approx(after, abs=8):
        pytest.skip("this system does not measure anew: its peak stands since the process began")
    assert anew < after - size + 16


def test_where_it_cannot_be_measured_anew_it_is_measured_since_the_start(monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    reset_peak_memory()
    usage = pytest.importorskip("resource").getrusage
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("sys.platform", "linux")
    most = usage(0).ru_maxrss / 1024
    assert peak_memory_mb() == pytest.approx(most, rel=0.05)
