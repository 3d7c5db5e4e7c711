"""Peak memory of a run counts reading its task; in containers the limit counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym import machine
from mbo_gym.machine import memory_gb, own_memory_mb, peak_memory_mb
from mbo_gym.problem.task import Task
from mbo_gym.runs.memory import make_measured
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.tasks.registry import TASKS

BLOCK_MB = 600
LINUX = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells the memory of a process"
)


def hungry_task() -> Task:
    """Make a task whose reading takes much memory, which is free again when it is made."""
    block = np.ones(BLOCK_MB << 20, dtype=np.uint8)
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=int(block[0]) * 40)
    del block
    return task


def read_memory(what: str) -> float:
    (line,) = [s for s in Path("/proc/self/status").read_text().splitlines() if what in s]
    return int(line.split()[1]) / 1024


@LINUX
@pytest.mark.parametrize("isolated", [True, False])
def test_reading_the_task_counts(tmp_path, isolated):
    before = read_memory("VmRSS:")
    with TASKS.temporarily("Hungry-Exact-v0", hungry_task):
        request = RunRequest("top_k", "Hungry-Exact-v0", k=4)
        done = run(request, tmp_path / "run", quiet=True, isolated=isolated)
    assert done.peak_memory_mb > before + 0.9 * BLOCK_MB
    again = make_measured("Branin-Exact-v0", max_rows=40)
    if again.peak_mb > before + 0.9 * BLOCK_MB:
        pytest.skip("this system does not measure anew: its peak stands since the process began")
    plain = RunRequest("top_k", "Branin-Exact-v0", k=4, options={"max_rows": 40})
    small = run(plain, tmp_path / "small", quiet=True, isolated=isolated)
    assert small.peak_memory_mb < done.peak_memory_mb - 0.5 * BLOCK_MB
    told = run(
        plain, tmp_path / "told", task=again.task, quiet=True, isolated=isolated, task_peak_mb=9e9
    )
    assert told.peak_memory_mb == 9e9


@LINUX
def test_a_process_apart_counts_beside_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mbo_gym.runs.one_run.own_memory_mb", lambda: 1e7)
    request = RunRequest("top_k", "Branin-Exact-v0", k=4, options={"max_rows": 40})
    apart = run(request, tmp_path / "apart", quiet=True)
    assert apart.peak_memory_mb > 1e7
    here = run(request, tmp_path / "here", quiet=True, isolated=False)
    assert here.peak_memory_mb < 1e7


@LINUX
def test_own_memory_is_a_part_of_the_peak():
    before = own_memory_mb()
    block = np.ones(64 << 20, dtype=np.uint8)
    grown = own_memory_mb()
    del block
    assert before + 60 < grown < peak_memory_mb() + 1


@pytest.mark.parametrize(("text", "known"), [("2147483648\n", True), ("max\n", False)])
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, text, known):
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", ())
    whole = memory_gb()
    (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (tmp_path / "limit", tmp_path / "none"))
    assert memory_gb() == (min(2.0, whole) if known else whole)
