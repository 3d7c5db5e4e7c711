"""A method learns in a process apart: what it gets, what it cannot reach, and what is marked."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
from mbo_gym.methods.registry import METHODS
from mbo_gym.problem.task import tasks_made
from mbo_gym.runs import apart
from mbo_gym.runs.apart import CAN_ISOLATE, LearnerLost, MethodFailed
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES
from tests.mbo_gym.runs.cheats import TASK, WAYS, Cheat

pytestmark = pytest.mark.skipif(not CAN_ISOLATE, reason="this system cannot fork")
IMPOSSIBLE = {
    "walks_frames",
    "asks_gc_for_objects",
    "asks_gc_for_referrers",
    "makes_the_task_by_its_id",
    "patches_the_evaluation",
}
FEW = {"max_rows": 200}


class OwnError(Exception):
    """An error that the main process need not know."""


@dataclass(frozen=True)
class OddConfig:
    """Settings: what happens in `fit`."""

    what: str = ""


class Odd(Method):
    """A method that fails, dies, warns or tells where it is."""

    info = MethodInfo("Odd", kind="own")
    Config = OddConfig

    def fit(self, problem, context=Context()):
        import warnings

        self.start(problem, context)
        what = self.config.what
        if what == "own error":
            raise OwnError("of its own")
        if what == "error":
            raise ArithmeticError("seven", 7)
        if what == "unknown":
            mbo_gym.make_method("gradd")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "leave":
            os._exit(3)
        if what == "warn":
            warnings.warn("look out", RuntimeWarning, stacklevel=1)
        if what == "sleep":
            (Path(os.environ["MARKS"]) / "pid").write_text(str(os.getpid()))
            time.sleep(60)
        context.progress.table(
            "told",
            [{"pid": os.getpid(), "id": problem.task_id, "options": sorted(problem.options)}],
        )
        context.progress.metrics("odd", 0, value=1.0)

    def propose(self, k):
        return Proposals(self.problem.dataset.top(k).x, np.arange(k)[::-1])


@pytest.fixture(scope="module", autouse=True)
def more_names() -> Iterator[None]:
    with METHODS.temporarily("odd", Odd), METHODS.temporarily("cheat", Cheat):
        yield


def odd(what: str = "", **options) -> RunRequest:
    return RunRequest("odd", TASK, k=4, settings={"what": what}, options={**FEW, **options})


def told(result) -> dict:
    return result.tables["told"][0]


@pytest.mark.parametrize("way", sorted(WAYS))
def test_hidden_scores_are_out_of_reach_or_the_way_is_marked(way, tmp_path, monkeypatch):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "fitted").mkdir(parents=True)
    (tmp_path / "data" / "fitted" / "forest-1.npz").write_bytes(b"trees")
    (tmp_path / "own.csv").write_text("a,b,y\n1,2,3\n2,3,4\n3,1,5\n4,4,2\n")
    other = tmp_path / "cells" / "other"
    other.mkdir(parents=True)
    np.savez(other / "designs.npz", y=np.ones(3))
    task, options = TASK, FEW
    if way == "reads_the_users_file":
        task, options = "csv", {"path": str(tmp_path / "own.csv"), "score_column": "y"}
    settings = {"way": way, "path": str(tmp_path)}
    result = run(RunRequest("cheat", task, 0, 3, None, settings, options), tmp_path / "run")
    found = result.tables["found"][0]["n"]
    if way in IMPOSSIBLE:
        assert found == 0
    else:
        assert found
        assert result.touched
    assert result.isolated


def test_the_process_gets_neither_id_nor_paths(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("a,b,y\n1,2,3\n2,3,4\n3,1,5\n4,4,2\n")
    options = {"path": str(path), "score_column": "y", "percentile": 50}
    request = RunRequest("odd", "csv", k=2, options=options)
    result = run(request, tmp_path / "run")
    assert told(result)["id"] == "csv"
    assert told(result)["options"] == ["percentile"]
    assert told(result)["pid"] != os.getpid()
    task = mbo_gym.make_task("csv", **options)
    sent = pickle.dumps(task.problem().opaque())
    assert str(tmp_path).encode() not in sent
    assert task.problem().opaque().dataset.lines is None
    saved = mbo_gym.load_method(result.folder)  # what is kept says where the data are from
    assert saved.problem.task_id == "csv"
    assert saved.problem.options["path"] == str(path)


def test_each_run_has_a_process_of_its_own_and_the_same_result(tmp_path):
    first, second = (run(odd(), tmp_path / name) for name in ("one", "two"))
    here = run(odd(), tmp_path / "three", isolated=False)
    assert len({told(result)["pid"] for result in (first, second, here)}) == 3
    assert told(here)["pid"] == os.getpid()
    assert (first.isolated, here.isolated) == (True, False)
    assert first.evaluation == second.evaluation == here.evaluation
    assert (tmp_path / "one" / "metrics.jsonl").read_text() == (
        tmp_path / "three" / "metrics.jsonl"
    ).read_text()


def test_errors_of_the_method_are_those_it_raised(tmp_path):
    with pytest.raises(ArithmeticError) as caught:
        run(odd("error"), tmp_path / "run")
    assert caught.value.args == ("seven", 7)
    assert "in fit" in str(caught.value.__cause__)
    with pytest.raises(mbo_gym.UnknownId, match="Did you mean grad"):
        run(odd("unknown"), tmp_path / "run")
    with pytest.raises(MethodFailed, match="of its own") as own:
        run(odd("own error"), tmp_path / "run")
    assert own.value.name == "OwnError"
    again = pickle.loads(pickle.dumps(own.value))
    assert (again.name, str(again)) == ("OwnError", "of its own")
    assert os.listdir(tmp_path) == []


def test_a_process_that_died_is_said_to_be_lost_and_the_next_run_works(tmp_path):
    with pytest.raises(LearnerLost, match=r"died \(signal 9"):
        run(odd("die"), tmp_path / "run")
    with pytest.raises(LearnerLost, match="exit code 3"):
        run(odd("leave"), tmp_path / "run")
    assert os.listdir(tmp_path) == []
    assert run(odd(), tmp_path / "run").evaluation.n_unique == 4


def test_warnings_come_through(tmp_path):
    with pytest.warns(RuntimeWarning, match="look out") as caught:
        run(odd("warn"), tmp_path / "run")
    assert caught[0].filename == __file__


def test_a_method_of_the_running_program_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Odd, "__module__", "__main__")
    with pytest.raises(TypeError, match="or pass isolated=False"):
        run(odd(), tmp_path / "run")
    assert run(odd(), tmp_path / "run", isolated=False).evaluation.n_unique == 4


def test_an_interrupted_process_is_stopped_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKS", str(tmp_path))
    original = apart._listen

    def interrupted(connection, progress):
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(apart, "_listen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(odd("sleep"), tmp_path / "runs" / "one")
    _wait_for_the_end_of(int((tmp_path / "pid").read_text()))
    assert os.listdir(tmp_path / "runs") == []
    monkeypatch.setattr(apart, "_listen", original)
    assert run(odd(), tmp_path / "runs" / "one").isolated


def test_nothing_goes_on_when_the_main_process_is_killed(tmp_path):
    code = (
        "from tests.mbo_gym.runs.test_apart import *\n"
        "METHODS.register('odd', Odd)\n"
        f"run(odd('sleep'), Path({str(tmp_path / 'run')!r}))\n"
    )
    environment = {**os.environ, "MARKS": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    _wait_for_the_end_of(int((tmp_path / "pid").read_text()))


def _wait_for_the_end_of(pid: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"the process {pid} goes on")


def test_runs_of_several_threads_do_not_mix(tmp_path):
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda i: run(odd(), tmp_path / str(i)), range(3)))
    assert len({told(result)["pid"] for result in results}) == 3
    assert all(result.evaluation == results[0].evaluation for result in results)


def test_a_process_that_has_made_a_task_is_not_forked(monkeypatch):
    mbo_gym.make_task("Branin-Exact-v0")
    assert tasks_made() > 0
    monkeypatch.setattr(apart, "_Nursery", None)  # calling it would be an error
    apart.fork_nursery()


def test_a_full_disk_while_metrics_are_written_is_no_lost_process(tmp_path, monkeypatch):
    def full(self, stage, step, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mbo_gym.progress.loggers.JsonLinesLogger.log", full)
    with pytest.raises(OSError, match="No space left"):
        run(odd(), tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_a_name_that_cannot_be_handed_on_is_told_from_an_unknown_one(tmp_path):
    request = RunRequest("grad", TASK, k=2, settings={"surrogate": "mine"}, options=FEW)
    with (
        SURROGATES.temporarily("mine", lambda: MLPSurrogate(MLPConfig(hidden=8, train_steps=2))),
        pytest.raises(TypeError, match="'mine' is registered here as an object"),
    ):
        run(request, tmp_path / "run")
