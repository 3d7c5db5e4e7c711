"""A benchmark as a job array: submitit's local and debug executors, and Slurm's commands as
`fake_slurm` plays them. The records are those of a serial run, to the bit."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from mbo_gym.benchmark.execute.arrays import ARRAYS, read_arrays
from mbo_gym.benchmark.execute.executor import make_executor
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import CHECKPOINTS, run_grid
from mbo_gym.benchmark.execute.slurm import predicted_seconds, run_on_slurm
from mbo_gym.benchmark.execute.worker import GridStopped
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.benchmark.plan.slurm import SlurmOptions
from mbo_gym.cli import main
from mbo_gym.errors import MissingDependency
from mbo_gym.methods.costs import RECORDED_SECONDS
from mbo_gym.nn.checkpoints import CHECKPOINT, SECONDS_VARIABLE
from tests.mbo_gym.benchmark.conftest import TASK, comparable, odd, wait_until
from tests.mbo_gym.benchmark.execute import fake_slurm

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.usefixtures("odd_methods"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]
SHORT = 0.006
"""Minutes of a task that has room for three or four cells of controls."""


def grid(*methods: MethodChoice | str, seeds: int = 2) -> Grid:
    chosen = [MethodChoice(method) if isinstance(method, str) else method for method in methods]
    return Grid(chosen, [TaskChoice(TASK)], seeds=tuple(range(seeds)), ks=(8,))


CONTROLS = grid("random", "top_k", "top_k_noise")


def found(folder: Path) -> dict[str, dict]:
    return {record.key: comparable(record) for record in ResultStore(folder).records()}


def lines(folder: Path) -> list[str]:
    """Return the keys of all lines of all writers."""
    return [
        re.search(r'"key": "(\w+)"', line)[1]
        for path in folder.glob("results*.jsonl")
        for line in path.read_text().splitlines()
    ]


def assert_equal(folder: Path, whole: Path) -> None:
    """Nothing is lost, nothing is doubled, every bit is the same, no lock and no rest is there."""
    assert found(folder) == found(whole)
    assert sorted(lines(folder)) == sorted(lines(whole))
    assert not (folder / ".lock").exists()
    assert list((folder / "cells").glob(".*")) == []
    assert list(folder.glob(f"{CHECKPOINTS}/*")) == []


@pytest.fixture(scope="module")
def serial(odd_methods, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    run_grid(CONTROLS, folder, executor="serial")
    return folder


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """Put Slurm's commands on the PATH, and return their folder."""
    folder = tmp_path / "bin"
    fake_slurm.install(folder)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr("mbo_gym.benchmark.execute.slurm._LOOK", {"slurm": 0.1})
    monkeypatch.setattr("mbo_gym.benchmark.execute.slurm._ASK", {"slurm": 0.3})
    monkeypatch.setattr("mbo_gym.benchmark.execute.slurm._LAG", {"slurm": 0.0})
    return folder


def starts(results: Path) -> int:
    """Return how often the one task of the one array has started."""
    (log,) = (results / ARRAYS).glob("*/*_log.out")
    return log.read_text().count("Starting with JobEnvironment")


@pytest.mark.parametrize("cluster", ["debug", pytest.param("local", marks=pytest.mark.slow)])
def test_the_records_are_those_of_a_serial_run(serial, tmp_path, cluster):
    options = SlurmOptions(cluster=cluster, target_minutes=SHORT)
    records = run_on_slurm(CONTROLS, tmp_path, options)
    assert len(records) == 6
    assert_equal(tmp_path, serial)
    (array,) = read_arrays(tmp_path)
    assert len(array.keys) == len(list(tmp_path.glob("results-slurm-*.jsonl"))) > 1
    again = run_on_slurm(CONTROLS, tmp_path, options)
    assert (len(again), len(read_arrays(tmp_path))) == (6, 1)
    assert ResultStore(tmp_path).join() == len(array.keys)
    assert found(tmp_path) == found(serial)


def test_slurm_gets_one_throttled_array_with_what_was_asked_for(serial, slurm, tmp_path):
    options = SlurmOptions(
        partition="short",
        time_limit="1:00:00",
        target_minutes=SHORT,
        max_parallel=2,
        memory_gb=3.5,
        setup=("export OWN=1",),
        sbatch=("mail-type=END", "exclusive"),
    )
    submitted = []
    run_on_slurm(CONTROLS, tmp_path / "results", options, submitted=submitted.append)
    assert_equal(tmp_path / "results", serial)
    (array,) = submitted
    assert array.ids == tuple(f"{fake_slurm.JOB}_{i}" for i in range(len(array.keys)))
    (script,) = (tmp_path / "results" / ARRAYS).glob("*/[!.]*submission.sh")
    text = script.read_text()
    for line in (
        f"--array=0-{len(array.keys) - 1}%2",
        *("--partition=short", "--time=60", "--mem=3584MB", "--cpus-per-task=1"),
        *("--signal=USR2@90", "--requeue", "--open-mode=append", "--mail-type=END", "--exclusive"),
    ):
        assert f"#SBATCH {line}\n" in text, line
    assert "\nexport OWN=1\n" in text
    assert "gpus" not in text


def test_a_preempted_task_is_requeued_and_goes_on_with_what_is_left(slurm, tmp_path):
    cells = grid("random", odd("wait", tmp_path), "top_k", seeds=1)
    options = SlurmOptions(target_minutes=60)
    results = tmp_path / "results"
    run_on_slurm(cells, results, options, wait=False)
    mark = tmp_path / "started-0"
    wait_until(lambda: mark.exists() and mark.read_text(), "the second cell has started")
    before = lines(results)
    assert len(before) == 1
    # Slurm tells every process of the task
    fake_slurm.signal_task(slurm, fake_slurm.JOB, signal.SIGCONT)
    fake_slurm.signal_task(slurm, fake_slurm.JOB, signal.SIGUSR2)
    wait_until(lambda: starts(results) == 2, "the task was requeued")
    (tmp_path / "go").touch()
    submitted = []
    run_on_slurm(cells, results, options, submitted=submitted.append)  # watches the same array
    assert [array.job for array in submitted] == [fake_slurm.JOB]
    assert len(read_arrays(results)) == 1
    run_grid(cells, tmp_path / "whole", executor="serial")
    assert_equal(results, tmp_path / "whole")
    assert starts(results) == 2


def test_a_preempted_training_goes_on_from_its_checkpoint(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv(SECONDS_VARIABLE, "0")
    steps = 400
    settings = {"surrogate.train_steps": steps, "ascent.steps": 10}
    cells = grid(MethodChoice("grad", "light", settings), seeds=1)
    results = tmp_path / "results"
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))
    run_on_slurm(cells, results, wait=False)
    wait_until(lambda: list(results.glob(f"{CHECKPOINTS}/*/*/{CHECKPOINT}")), "a checkpoint")
    fake_slurm.signal_task(slurm, fake_slurm.JOB, signal.SIGUSR2)
    wait_until(lambda: starts(results) == 2, "the task was requeued")
    run_on_slurm(cells, results)
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "other_data"))
    run_grid(cells, tmp_path / "whole", executor="serial")
    assert_equal(results, tmp_path / "whole")
    metrics = [
        next(folder.glob("cells/*/metrics.jsonl")).read_bytes()
        for folder in (results, tmp_path / "whole")
    ]
    assert metrics[0] == metrics[1]


def test_a_killed_task_is_submitted_again(slurm, tmp_path):
    cells = grid("random", odd("wait", tmp_path), "top_k", seeds=1)
    results = tmp_path / "results"
    run_on_slurm(cells, results, SlurmOptions(target_minutes=60), wait=False)
    mark = tmp_path / "started-0"
    wait_until(lambda: mark.exists() and mark.read_text(), "the second cell has started")
    fake_slurm.signal_task(slurm, fake_slurm.JOB, signal.SIGKILL)
    (tmp_path / "go").touch()
    wait_until(lambda: not fake_slurm.tasks_of(slurm), "the task is gone")
    run_on_slurm(cells, results)
    assert [len(array.keys) for array in read_arrays(results)] == [1, 1]
    run_grid(cells, tmp_path / "whole", executor="serial")
    assert_equal(results, tmp_path / "whole")


def test_cells_whose_tasks_are_always_lost_fail_after_three_arrays(slurm, tmp_path):
    results = tmp_path / "results"
    cells = grid("random", "top_k", seeds=1)
    records = run_on_slurm(cells, results, SlurmOptions(setup=("exit 1",)))
    assert [record.status for record in records] == ["failed", "failed"]
    assert {record.error.type for record in records} == {"WorkerLost"}
    assert records[0].error.message.endswith(", 3 times")
    assert [len(array.keys) for array in read_arrays(results)] == [1, 2, 2]  # then one a task
    again = run_on_slurm(cells, results, retry=True)
    assert [record.status for record in again] == ["done", "done"]


def test_an_error_that_is_no_methods_stops_it(slurm, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("the error is a missing GPU")
    with pytest.raises(GridStopped, match=r"torch cannot use the device 'cuda'.*log is .*_0_log"):
        run_on_slurm(CONTROLS, tmp_path / "results", device="cuda")
    assert lines(tmp_path / "results") == []


def test_predictions_come_from_the_folder_then_from_the_recorded_costs(serial):
    records = ResultStore(serial).records()
    methods = grid("top_k", "grad", odd(), seeds=1)
    seconds = predicted_seconds(methods.cells(), records)
    past = [record.seconds for record in records if record.label == "top_k"]
    known = [sum(past) / len(past), RECORDED_SECONDS["grad"]]
    assert seconds == pytest.approx([*known, sum(known) / 2])
    assert predicted_seconds(grid(odd()).cells(), []) == [60.0, 60.0]


def test_what_cannot_work_is_refused(tmp_path, monkeypatch, slurm):
    with pytest.raises(ValueError, match="run_on_slurm"):
        make_executor("slurm", workers=None)
    wide = grid(odd(name="odd_wide"))
    with pytest.raises(ValueError, match="runs on 2 cores, got cpus=1 for a task"):
        run_on_slurm(wide, tmp_path / "a", SlurmOptions(cpus=1))
    with pytest.raises(ValueError, match="with cluster debug the cells run in this process"):
        run_on_slurm(CONTROLS, tmp_path / "b", SlurmOptions(cluster="debug"), wait=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"no sbatch and srun here.*--shard 3/20"):
        run_on_slurm(CONTROLS, tmp_path / "c")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[slurm\]'"):
        run_on_slurm(CONTROLS, tmp_path / "d")
    assert not any((tmp_path / name).exists() for name in "bcd")


def test_the_commands(slurm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = f'methods = ["top_k", "random"]\ntasks = ["{TASK}"]\nk = 8\n[slurm]\npartition = "x"\n'
    Path("grid.toml").write_text(text)

    def mbo(*words: str) -> tuple[int | None, str, str]:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *words])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err

    run = ("benchmark", "grid.toml", "--output", "a", "--executor", "slurm")
    code, out, err = mbo(*run, "--no-wait", "--slurm", 'setup=["sleep 2"]')
    assert (code, out) == (0, "")
    assert f"job {fake_slurm.JOB}: 2 cells in 1 tasks" in err
    assert f"job {fake_slurm.JOB} goes on; `scancel {fake_slurm.JOB}` ends it" in err
    out = mbo("status", "a", "grid.toml")[1]
    assert "0 done, 0 failed, 0 running, 0 lost, 2 of 2 left" in out
    assert re.search(
        r"job 4711: 0 of 2 cells ended, 1 tasks \w+, about 0\.19 s left, `scancel", out
    )
    assert "--partition=x" in next(Path("a", ARRAYS).glob("*/[!.]*submission.sh")).read_text()
    wait_until(lambda: (tmp_path / "bin/tasks/4711.pid").exists(), "the task runs")
    mbo_scancel = os.spawnvp(os.P_WAIT, "scancel", ["scancel", fake_slurm.JOB])
    assert mbo_scancel == 0
    wait_until(lambda: not fake_slurm.tasks_of(slurm), "the task is gone")
    out = mbo("status", "a", "grid.toml")[1]
    assert "2 cells lost with their tasks (the same command runs them again)" in out
    code, out, err = mbo(*run)
    assert code == 0, err
    assert f"job {int(fake_slurm.JOB) + 1}: 2 cells in 1 tasks" in err
    assert "Results in a." in out
    assert (
        mbo("status", "a", "grid.toml")[1] == "2 done, 0 failed, 0 running, 0 lost, 0 of 2 left\n"
    )

    for words, message in (
        (("--shard", "1/2"), "--shard does not go with --executor slurm, got '1/2'"),
        (("--workers", "2"), "--workers does not go with --executor slurm, got 2. Set cpus"),
        (("--slurm", "partiton=x"), "There is no setting of SlurmOptions 'partiton'. Did you mean"),
        (("--slurm", "time_limit=soon"), "time_limit takes minutes above 0 or a text such as"),
        (("--executor", "serial", "--no-wait"), "--slurm and --no-wait are for --executor slurm"),
    ):
        code, _, err = mbo(*run, *words)
        assert (code, message in " ".join(err.split())) == (2, True), err
