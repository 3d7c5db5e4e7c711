"""One run and its folder: there whole, or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.errors import InvalidDesign, UnknownId
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
from mbo_gym.methods.registry import METHODS
from mbo_gym.runs import one_run as runs
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate

TASK = "Branin-Exact-v0"
SURROGATE = "surrogate_of_the_run_tests"
FILES = [
    "checksums.json",
    "config.json",
    "designs.csv",
    "designs.npz",
    "metrics.jsonl",
    "model",
    "result.json",
]


@dataclass(frozen=True)
class OddConfig:
    """Settings of `Odd`.

    Args:
        stop_in: What is interrupted.
        cheat_calls: Designs scored with an oracle of its own while learning.
        outside: Whether to propose designs outside the space.
    """

    stop_in: str = ""
    cheat_calls: int = 0
    outside: bool = False


class Odd(Method):
    """A method that does what it should not."""

    info = MethodInfo("Odd: does what it should not", kind="own")
    Config = OddConfig

    def _stop(self, where):
        if self.config.stop_in == where:
            raise KeyboardInterrupt

    def fit(self, problem, context=Context()):
        self.start(problem, context)
        context.progress.metrics("odd", 0, seed=context.seed)
        if self.config.cheat_calls:
            mbo_gym.make_task(TASK).oracle()(problem.dataset.x[: self.config.cheat_calls])
        self._stop("fit")

    def propose(self, k):
        self._stop("propose")
        x = np.full((k, 2), 1e6 if self.config.outside else 1.0, dtype=np.float32)
        return Proposals(x, np.zeros(k))

    def write_state(self, folder):
        self._stop("save")


def small_mlp() -> MLPSurrogate:
    return MLPSurrogate(MLPConfig(hidden=8, train_steps=20))


@pytest.fixture(scope="module", autouse=True)
def more_names() -> Iterator[None]:
    with (
        SURROGATES.temporarily(SURROGATE, small_mlp),
        METHODS.temporarily("odd", Odd),
    ):
        yield


def grad(**changes) -> RunRequest:
    return RunRequest(
        "grad", TASK, seed=3, k=10, settings={"surrogate": SURROGATE, "ascent.steps": 11}, **changes
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(grad(), tmp_path_factory.mktemp("runs") / "one")


def test_the_folder_holds_everything(done):
    assert sorted(os.listdir(done.folder)) == FILES
    assert sorted(os.listdir(done.folder / "model")) == [
        "checksums.json",
        "config.json",
        "method.json",
        "problem.json",
        "problem.npz",
        "surrogate.safetensors",
    ]
    saved = mbo_gym.load_method(done.folder).propose(10)
    with np.load(done.folder / "designs.npz") as written:
        np.testing.assert_array_equal(saved.x, written["x"])
    assert os.listdir(done.folder.parent) == ["one"]
    assert load_surrogate(done.folder / "model" / "surrogate.safetensors").config.hidden == 8
    # others may read it, unlike a temporary folder
    assert done.folder.stat().st_mode & 0o777 == 0o755


def test_config_json_says_what_was_run(done):
    config = json.loads((done.folder / "config.json").read_text())
    assert config["request"] == {**dataclasses.asdict(done.request), "loggers": []}
    assert config["machine"]["threads"] == torch.get_num_threads()
    assert config["config"]["ascent"]["steps"] == 11
    assert config["config"]["surrogate"]["name"] == SURROGATE
    assert config["versions"]["mbo_gym"] == mbo_gym.__version__
    assert {"python", "torch", "numpy"} <= set(config["versions"])
    assert config["git"] is None or len(config["git"].removesuffix("+changes")) == 40


def test_result_json_has_the_scores_and_no_oracle_call_of_the_search(done):
    result = json.loads((done.folder / "result.json").read_text())
    assert result == json.loads(json.dumps(done.to_dict()))
    assert result.items() >= json.loads(json.dumps(done.evaluation.to_dict())).items()
    assert (result["method"], result["seed"], result["k"]) == ("grad", 3, 10)
    assert result["search_oracle_calls"] == done.search_oracle_calls == 0
    assert result["oracle_calls"] == 10
    assert (result["fit_seconds"], result["propose_seconds"]) == (
        done.fit_seconds,
        done.propose_seconds,
    )
    assert result["fit_seconds"] > 0


def test_the_scores_are_those_of_the_designs(done):
    designs = np.load(done.folder / "designs.npz")
    again = mbo_gym.evaluate(mbo_gym.make_task(TASK), designs["x"])
    assert again == done.evaluation
    np.testing.assert_array_equal(designs["y"], again.scores)
    assert (np.diff(designs["criterion"]) <= 0).all()


def test_metrics_are_json_lines(done):
    lines = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"surrogate", "ascent"}
    assert [line["step"] for line in lines if line["stage"] == "ascent"] == list(range(12))
    assert all(np.isfinite(line["loss"]) for line in lines if line["stage"] == "surrogate")


def test_the_search_is_scored_once_it_is_over(done):
    result = json.loads((done.folder / "result.json").read_text())
    assert result["search"] == done.search
    # before each of the 11 steps and after the last
    assert [point["step"] for point in done.search] == list(range(12))
    assert (result["search_oracle_calls"], result["trace_oracle_calls"]) == (0, 12 * 10)
    best = mbo_gym.make_task(TASK)
    assert done.search[0]["score"] == pytest.approx(
        best.normalise(best.dataset.top(10).y).mean(), rel=1e-5
    )
    assert done.search[-1]["score"] == pytest.approx(done.evaluation.overall.mean, rel=1e-5)
    predictions = [point["prediction"] for point in done.search]
    assert predictions == sorted(predictions)  # gradient ascent believes in more and more
    scale = best.dataset.score_scale
    criterion = np.load(done.folder / "designs.npz")["criterion"]
    assert predictions[-1] == pytest.approx(
        best.normalise(scale.restore(criterion)).mean(), rel=1e-4
    )


def test_a_method_without_a_search_has_none(tmp_path):
    result = run(RunRequest("random", TASK, k=4), tmp_path / "run")
    assert (result.search, result.trace_oracle_calls) == ([], 0)
    assert (result.learned_rollouts, result.learned_gradients) == (0, 0)


def test_the_memory_of_a_run_is_measured(done):
    result = json.loads((done.folder / "result.json").read_text())
    assert result["peak_memory_mb"] == done.peak_memory_mb
    assert done.peak_memory_mb is None or done.peak_memory_mb > 50  # torch alone takes more


def test_more_loggers_write_into_the_runs_folder(tmp_path):
    pytest.importorskip("tensorboard")
    result = run(RunRequest("odd", TASK, k=4, loggers=("tensorboard",)), tmp_path / "run")
    assert sorted(os.listdir(result.folder)) == sorted([*FILES, "tensorboard"])
    assert "events.out.tfevents" in os.listdir(result.folder / "tensorboard")[0]
    assert (
        result.folder / "metrics.jsonl"
    ).read_text() == '{"stage": "odd", "step": 0, "seed": 0}\n'


def test_a_quiet_run_draws_nothing_on_a_terminal(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = {}
    for quiet in (True, False):
        monkeypatch.setattr("sys.stderr", Terminal())
        monkeypatch.setenv("TERM", "xterm")
        run(dataclasses.replace(grad(), seed=4), tmp_path / str(quiet), quiet=quiet)
        shown[quiet] = sys.stderr.getvalue()
    assert shown[True] == ""
    assert shown[False] != ""


def test_designs_csv_reads_back_exactly(done):
    designs = np.load(done.folder / "designs.npz")
    with (done.folder / "designs.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["x0", "x1", "criterion", "oracle_score"]
    table = np.array(rows, dtype=np.float64)
    np.testing.assert_array_equal(table[:, :2].astype(np.float32), designs["x"])
    scale = mbo_gym.make_task(TASK).dataset.score_scale
    np.testing.assert_allclose(table[:, 2], scale.restore(designs["criterion"]), rtol=1e-6)
    np.testing.assert_allclose(table[:, 3], designs["y"], rtol=1e-6)
    # as text they are still inside the space
    assert mbo_gym.make_task(TASK).space.contains(table[:, :2]).all()


def test_designs_csv_of_sequences_reads_back(tmp_path):
    result = run(
        RunRequest("random", "TFBind8-Exact-v0", k=30, options={"max_rows": 100}), tmp_path / "run"
    )
    with (result.folder / "designs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    task = mbo_gym.make_task("TFBind8-Exact-v0")
    x = np.load(result.folder / "designs.npz")["x"]
    np.testing.assert_array_equal(task.space.parse([row["sequence"] for row in rows]), x)
    np.testing.assert_allclose(
        [float(row["oracle_score"]) for row in rows], task.oracle()(x), rtol=1e-6
    )


def test_without_an_oracle_the_designs_are_still_written(tmp_path):
    (tmp_path / "own.csv").write_text("a,b,yield\n1,2,3\n2,3,4\n4,5,2\n")
    options = {"path": str(tmp_path / "own.csv"), "score_column": "yield"}
    result = run(RunRequest("top_k", "csv", k=2, options=options), tmp_path / "run")
    assert (result.folder / "designs.csv").read_text().split() == [
        "a,b,criterion",
        "2,3,4",
        "1,2,3",
    ]
    assert set(np.load(result.folder / "designs.npz").files) == {"x", "criterion"}
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts["overall"] is None
    assert "no oracle" in facts["note"]


@pytest.fixture
def own_table(tmp_path) -> Path:
    """A table whose score is 100 + 3 a - 2 b."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (60, 2)).round(3)
    lines = [f"{a},{b},{100 + 3 * a - 2 * b:.4f}" for a, b in x]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a,b,purity", *lines]))
    return path


def table_rows(table: Path, folder: Path, method: str, **options) -> list[dict[str, str]]:
    options = {"path": str(table), "score_column": "purity", "kinds": "real", **options}
    request = RunRequest(method, "csv", k=6, options=options)
    if method == "cbas":
        request = dataclasses.replace(request, preset="light")
    elif method == "random_filtered":
        surrogate = {"surrogate.name": "mlp", "surrogate.train_steps": 300}
        request = dataclasses.replace(request, settings=surrogate)
    done = run(request, folder / "run")
    with (done.folder / "designs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("minimise", [False, True])
@pytest.mark.parametrize("method", ["random_filtered", "top_k", "cbas"])
def test_scores_are_written_in_the_unit_and_the_sign_of_the_file(
    own_table, tmp_path, method, minimise
):
    options = {"minimise": minimise, "oracle": "random_forest"}
    rows = table_rows(own_table, tmp_path, method, **options)
    told = np.array([float(row["criterion"]) for row in rows])
    truth = np.array([100 + 3 * float(row["a"]) - 2 * float(row["b"]) for row in rows])
    assert "own_criterion" not in rows[0]
    np.testing.assert_allclose(told, truth, atol=1e-4 if method == "top_k" else 2.0)
    assert (np.diff(told) >= 0).all() if minimise else (np.diff(told) <= 0).all()
    asked = np.array([float(row["oracle_score"]) for row in rows])
    np.testing.assert_allclose(asked, truth, atol=2.0)


def test_a_criterion_that_is_no_score_says_so(own_table, tmp_path):
    for method in ("ram_listnet", "random", "top_k_noise"):
        options = {"path": str(own_table), "score_column": "purity"}
        done = run(
            RunRequest(method, "csv", k=3, preset="light", options=options), tmp_path / method
        )
        header = (done.folder / "designs.csv").read_text().splitlines()[0]
        assert header == "a,b,own_criterion"


def test_a_method_that_asks_the_oracle_is_found_out(tmp_path):
    result = run(RunRequest("odd", TASK, k=4, settings={"cheat_calls": 7}), tmp_path / "run")
    facts = json.loads((result.folder / "result.json").read_text())
    assert result.search_oracle_calls == facts["search_oracle_calls"] == 7
    assert facts["oracle_calls"] == 4  # those of the evaluation are not the search's
    assert facts["touched"] == [f"makes the oracle {kind}" for kind in ("FunctionOracle",)] + [
        f"makes the task {TASK}"
    ]
    assert facts["isolated"]


def test_designs_outside_the_space_are_counted_not_hidden(tmp_path):
    result = run(RunRequest("odd", TASK, k=4, settings={"outside": True}), tmp_path / "run")
    assert result.evaluation.n_infeasible == 4
    with (result.folder / "designs.csv").open(newline="") as file:
        assert [row["oracle_score"] for row in csv.DictReader(file)] == ["nan"] * 4


@pytest.mark.parametrize("where", ["fit", "propose", "save"])
def test_ctrl_c_leaves_nothing(tmp_path, where):
    with pytest.raises(KeyboardInterrupt):
        run(RunRequest("odd", TASK, k=4, settings={"stop_in": where}), tmp_path / "runs" / "one")
    assert os.listdir(tmp_path / "runs") == []


@pytest.mark.parametrize("name", ["evaluate", "_write_designs"])
def test_an_error_at_the_end_leaves_nothing(tmp_path, monkeypatch, name):
    def fail(*arguments):
        raise InvalidDesign("at the very end")

    monkeypatch.setattr(runs, name, fail)
    with pytest.raises(InvalidDesign, match="at the very end"):
        run(RunRequest("odd", TASK, k=4), tmp_path / "one")
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_refused_before_any_work(tmp_path):
    run(RunRequest("odd", TASK, k=4), tmp_path / "one")
    with pytest.raises(
        FileExistsError, match=r"one exists already; choose another --output, or pass --overwrite"
    ):
        run(RunRequest("odd", "no such task", k=5), tmp_path / "one")
    assert json.loads((tmp_path / "one" / "result.json").read_text())["k"] == 4


def test_overwriting_replaces_the_whole_folder(tmp_path):
    first = run(grad(), tmp_path / "one")
    (first.folder / "notes.txt").write_text("of the old run")
    run(RunRequest("odd", TASK, k=5), tmp_path / "one", overwrite=True)
    assert sorted(os.listdir(tmp_path / "one")) == FILES
    assert sorted(os.listdir(tmp_path / "one" / "model")) == [
        "checksums.json",
        "config.json",
        "method.json",
        "problem.json",
        "problem.npz",
    ]
    assert json.loads((tmp_path / "one" / "result.json").read_text())["k"] == 5


@pytest.mark.parametrize("where", ["fit", "propose", "save"])
def test_a_finished_run_survives_a_failed_one(tmp_path, where):
    run(RunRequest("odd", TASK, k=4), tmp_path / "one")
    before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        run(
            RunRequest("odd", TASK, k=5, settings={"stop_in": where}),
            tmp_path / "one",
            overwrite=True,
        )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_killed_runs_left_is_swept_and_an_older_run_comes_back(tmp_path):
    run(RunRequest("odd", TASK, k=4), tmp_path / "one")
    gone, mine = 2**22 + 1, os.getpid()  # above the highest number of a process
    (tmp_path / "one").rename(tmp_path / f".one.{gone}-ab.old")  # killed between two renames
    for name in (f".one.{gone}-ab", f".one.{mine}-cd", ".one.notes", f".two.{gone}-ef"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match="one exists already"):
        run(RunRequest("odd", TASK, k=5), tmp_path / "one")
    assert json.loads((tmp_path / "one" / "result.json").read_text())["k"] == 4
    left = {".one.notes", f".one.{mine}-cd", f".two.{gone}-ef", "one"}
    assert set(os.listdir(tmp_path)) == left


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta_device"])
def test_a_device_that_is_not_there_is_named_before_any_work(tmp_path, device):
    with pytest.raises(ValueError, match=f"torch cannot use the device '{device}' on this machine"):
        run(RunRequest("odd", TASK, device=device), tmp_path / "runs" / "one")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest("oddd", TASK),
        RunRequest("odd", "Brain-Exact-v0"),
        RunRequest("odd", TASK, settings={"k": 1}),
    ],
)
def test_mistyped_names_leave_nothing(tmp_path, request_):
    with pytest.raises(UnknownId):
        run(request_, tmp_path / "runs" / "one")
    assert os.listdir(tmp_path) == []


def test_a_task_that_is_made_already_is_used(tmp_path):
    task = mbo_gym.make_task(TASK, max_rows=50)
    result = run(RunRequest("top_k", TASK, k=60), tmp_path / "one", task=task)
    assert result.evaluation.n_unique == 50


def test_relative_folders_lie_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(RunRequest("odd", TASK, k=4), Path("runs/one"))
    assert sorted(os.listdir(tmp_path / "runs" / "one")) == FILES
