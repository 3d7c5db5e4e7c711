"""mbo-gym benchmark | report | evaluate as a user meets them, in this process and serially."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from table_files import parquet, workbook

import mbo_gym
from mbo_gym.benchmark.execute.live import Live, duration
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import Plan, make_plan
from mbo_gym.cli import app as cli
from tests.mbo_gym.benchmark.conftest import TASK, cells_of
from tests.mbo_gym.benchmark.records import failed, record

pytestmark = pytest.mark.usefixtures("odd_methods")


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def mbo(capsys, monkeypatch, tmp_path):
    """Return what runs `mbo-gym` with arguments, inside this process but through its own main(), in
    `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Outcome(end.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def bench(mbo):
    """Return what runs a serial benchmark of two methods on Branin; more flags as arguments."""

    def call(*arguments: str | Path, methods: str = "random,top_k", tasks: str = TASK) -> Outcome:
        grid = [
            "--methods",
            methods,
            "--tasks",
            tasks,
            "--k",
            "8",
            "--executor",
            "serial",
            "--output",
            "results",
        ]
        return mbo("benchmark", *grid, *arguments)

    return call


def records() -> list[dict]:
    return ResultStore(Path("results")).records()


def test_flags_make_a_grid_and_the_table_is_shown(bench):
    code, out, err = bench("--seeds", "0-1", "--option", "max_rows=60")
    assert code == 0
    assert "4 cells: 0 done, 0 failed, 4 to run" in err
    assert [(r.label, r.request.seed, r.request.k, r.request.options) for r in records()] == [
        (label, seed, 8, {"max_rows": 60}) for label in ("random", "top_k") for seed in (0, 1)
    ]
    assert re.findall(r"^(\d/4) (\w+) on Branin-Exact-v0, seed (\d): 100th", err, re.M) == [
        ("1/4", "random", "0"),
        ("2/4", "random", "1"),
        ("3/4", "top_k", "0"),
        ("4/4", "top_k", "1"),
    ]
    assert "mbo-gym report results --html report.html" in out
    for label in ("random", "top_k"):
        assert re.search(rf"^\W*{label}\s", out, re.M)


def test_the_same_command_again_runs_nothing_and_a_larger_one_what_is_missing(bench):
    bench()
    before = Path("results/results.jsonl").read_bytes()
    code, out, err = bench()
    assert (code, err) == (0, "2 cells: 2 done, 0 failed, 0 to run\n")
    assert re.search(r"^\W*random\s", out, re.M)
    assert Path("results/results.jsonl").read_bytes() == before
    assert "4 cells: 2 done, 0 failed, 2 to run" in bench("--seeds", "0-1").err
    assert Path("results/results.jsonl").read_bytes().startswith(before)


def test_only_the_cells_of_the_command_are_shown(bench):
    bench()
    _, out, err = bench(methods="mean_design")
    assert "1 cells: 0 done" in err
    assert re.search(r"^\W*mean_design\s", out, re.M)
    assert not re.search(r"^\W*random\s", out, re.M)


def test_a_file_makes_a_grid_and_flags_override_its_seeds_and_budgets(mbo, tmp_path):
    (tmp_path / "grid.toml").write_text(
        f'methods = ["controls"]\ntasks = ["{TASK}"]\nseeds = "0-7"\nk = 256\n'
    )
    out = mbo("benchmark", "grid.toml", "--seeds", "3", "--k", "8,4", "--dry-run").out
    for name in ("random", "top_k", "top_k_noise", "mean_design", "random_filtered"):
        rows = re.findall(rf"\b{name}\s.*{TASK}.*?\b([48])\b.*?\b3\b", out)
        assert rows == ["8", "4"], name
    assert "0 done, 0 failed, 20 to run" in out


def test_a_failed_cell_is_shown_and_run_again_on_request_only(mbo, tmp_path):
    (tmp_path / "grid.toml").write_text(
        f'methods = ["top_k", {{name = "odd", preset = "bad"}}]\ntasks = ["{TASK}"]\n'
    )

    def once(*more: str) -> Outcome:
        return mbo(
            "benchmark",
            "grid.toml",
            "--k",
            "8",
            "--executor",
            "serial",
            "--output",
            "results",
            *more,
        )

    code, out, err = once()
    assert code == 3
    assert "1 of 2 cells failed" in err
    assert "failed odd [bad] on Branin-Exact-v0, seed 0: ArithmeticError: seed 0 is no good" in err
    assert "failed: odd [bad] on" in out
    assert "--retry runs failed cells again" in out
    assert "2 cells: 1 done, 1 failed, 0 to run" in once().err
    assert [r.status for r in records()] == ["done", "failed"]
    assert "Traceback" in records()[1].error.traceback
    assert "2 cells: 1 done, 0 failed, 1 to run" in once("--retry").err
    assert len(Path("results/results.jsonl").read_text().splitlines()) == 3


def test_a_dry_run_lists_the_cells_with_the_time_they_take_and_runs_nothing(bench):
    bench()
    folder = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}
    code, out, err = bench(
        "--dry-run", "--seeds", "0-2", "--workers", "2", methods="random,mean_design"
    )
    assert (code, err) == (0, "")
    assert "1 done, 0 failed, 5 to run" in out
    rows = re.findall(
        r"([0-9a-f]{16})\W+(\w+)\W+Branin-Exact-v0\W+8\W+(\d)\W+(done|to run)\s+(.*)", out
    )
    found = [
        (name, seed, state, re.sub(r"\W+", " ", takes).strip())
        for _, name, seed, state, takes in rows
    ]
    assert found[0] == ("random", "0", "done", "")
    assert [f[:3] for f in found[1:3]] == [("random", "1", "to run"), ("random", "2", "to run")]
    assert all(re.fullmatch(r"[\d e-]+ s", f[3]) for f in found[1:3])
    assert found[3:] == [("mean_design", str(seed), "to run", "not known") for seed in range(3)]
    assert re.search(r"about [\d.]+ s on 2 cores, and 3 cells whose time is not known", out)
    assert {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")} == folder


def test_a_dry_run_of_a_new_folder_creates_nothing(bench):
    out = bench("--dry-run").out
    assert "2 to run" in out
    assert "how long they take is not known: none of these methods has run in this folder" in out
    assert os.listdir() == []


def test_tensorboard_files_lie_in_the_cells_folder_only_where_asked_for(bench):
    pytest.importorskip("tensorboard")
    assert bench("--log", "tensorboard", methods="odd").code == 0
    assert bench(methods="odd_wide").code == 0
    (folder,), (without,) = (
        Path("results/cells").glob("odd-*"),
        Path("results/cells").glob("odd_wide-*"),
    )
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) == 1
    assert not (without / "tensorboard").exists()


def test_only_one_benchmark_at_a_time_writes_to_a_folder(bench):
    bench()
    with ResultStore(Path("results")).writing():
        code, _, err = bench("--seeds", "7")
        assert bench("--dry-run").code == 0
    assert (code, err.strip()) == (
        2,
        "another benchmark is writing to results; wait for it, or choose another --output",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a benchmark needs a TOML file, or --methods and --tasks"),
        (["--methods", "random"], "a benchmark needs a TOML file, or --methods and --tasks"),
        (["--methods", ",", "--tasks", TASK], "a benchmark needs methods, got none"),
        (
            ["--methods", "randm", "--tasks", TASK],
            "There is no method 'randm'. Did you mean random",
        ),
        (
            ["--methods", "random", "--tasks", "Brann-Exact-v0"],
            "There is no task 'Brann-Exact-v0'. Did you mean Branin",
        ),
        (
            ["--methods", "random", "--tasks", TASK, "-o", "max_row=3"],
            "no task option 'max_row'. Did you mean max_rows",
        ),
        (
            ["--methods", "random", "--tasks", TASK, "-o", "max_rows"],
            "--option takes key=value, got 'max_rows'",
        ),
        (
            ["--methods", "random", "--tasks", TASK, "--seeds", "x"],
            "seeds are whole numbers and ranges",
        ),
        (["--methods", "random", "--tasks", TASK, "--seeds", "1,1"], "none twice, got '1,1'"),
        (
            ["--methods", "random", "--tasks", TASK, "--k", "eight"],
            "--k takes whole numbers, got 'eight'",
        ),
        (["--methods", "random", "--tasks", TASK, "--k", "0"], "k must be at least 1, got 0"),
        (
            ["--methods", "random,random", "--tasks", TASK],
            "random and random on Branin-Exact-v0 are the same run",
        ),
        (
            ["--methods", "random", "--tasks", TASK, "--log", "tensorbord"],
            "Did you mean tensorboard",
        ),
        (["none.toml"], "none.toml"),
        (
            ["grid.toml", "--tasks", TASK],
            "a grid comes from a file or from --methods and --tasks, not from both",
        ),
        (["grid.toml"], "There is no key in grid.toml 'method'. Did you mean methods"),
    ],
)
def test_a_mistake_is_said_in_one_line_before_anything_runs(mbo, tmp_path, arguments, message):
    (tmp_path / "grid.toml").write_text(f'method = ["random"]\ntasks = ["{TASK}"]\n')
    code, out, err = mbo("benchmark", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert os.listdir() == ["grid.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor", "proces"], "There is no executor 'proces'. Did you mean process"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--address", "auto"], "an address is for the ray executor, got 'auto' with 'serial'"),
        (["--device", ""], "torch cannot use the device '' on this machine"),
        (["--device", "gpu"], "torch cannot use the device 'gpu' on this machine"),
        (["--device", "meta"], "torch cannot use the device 'meta' on this machine"),
        (["--option", "max_row=3"], "There is no task option 'max_row'. Did you mean max_rows?"),
        (["--option", "noise=loud"], "noise must be a number"),
        (["--option", "noise=Infinity"], "noise must be a number in [0, 1000]"),
        (["--log", "tensorbord"], "tensorbord"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_cannot_run_is_refused_before_the_first_cell(bench, arguments, message, dry):
    code, out, err = bench(*arguments, *dry)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ('"grd"', "There is no method 'grd'"),
        ('{name = "grad", preset = "ligt"}', "There is no preset of grad 'ligt'"),
        ('{name = "grad", settings = {stepp = 1}}', "There is no setting of GradConfig 'stepp'"),
        ('{name = "grad", settings = {"ascent.step_size" = "far"}}', "step_size must be float"),
        (
            '{name = "grad", settings = {"ascent.step_size" = inf}}',
            "step_size must be a finite float or None, got inf",
        ),
        ('{name = "grad", settings = {"ascent.step_size" = nan}}', "must be a finite float"),
        ('{name = "grad", settings = {surrogate = "mpl"}}', "There is no surrogate 'mpl'"),
        ('{name = "grad", settings = {"surrogate.hiden" = 4}}', "Did you mean hidden?"),
        ('{name = "grad", settings = {"surrogate.hidden" = "x"}}', "hidden must be int"),
    ],
)
def test_a_wrong_method_in_a_file_stops_before_the_others_run(mbo, method, message):
    Path("grid.toml").write_text(f'methods = ["random", {method}]\ntasks = ["{TASK}"]\n')
    code, out, err = mbo("benchmark", "grid.toml", "--output", "results")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert list(Path().rglob("record.json")) == []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('"Brannin-Exact-v0"', "There is no task 'Brannin-Exact-v0'"),
        ('{id = "Levy-Exact-v1", options = {dim = "x"}}', "dim must be a whole number"),
        ('{id = "csv", options = {path = "none.csv", score_column = "y"}}', "none.csv"),
        ('"CIFARNAS-Exact-v0"', "Design-Bench's data folder is not on this machine"),
        (
            '{id = "UTR-ResNet-v0", options = {folder = "no_such_folder"}}',
            "no_such_folder is no folder",
        ),
    ],
)
def test_a_task_that_cannot_be_made_stops_before_the_others_run(
    mbo, monkeypatch, tmp_path, task, message
):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.delenv("MBO_GYM_DATA", raising=False)
    monkeypatch.delenv("MBO_GYM_DESIGN_BENCH", raising=False)
    Path("grid.toml").write_text(f'methods = ["random"]\ntasks = ["{TASK}", {task}]\n')
    code, out, err = mbo("benchmark", "grid.toml", "--output", "results", "--executor", "serial")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert list(Path().rglob("record.json")) == []


def test_a_report_is_shown_and_written(bench, mbo):
    bench("--seeds", "0-1")
    code, out, _ = mbo("report", "results")
    assert code == 0
    assert re.search(r"^\W*random\s", out, re.M)
    arguments = [
        "--html",
        "out/report.html",
        "--markdown",
        "report.md",
        "--latex",
        "report.tex",
        "--title",
        "My <title>",
    ]
    code, out, _ = mbo("report", "results", *arguments)
    assert code == 0
    assert out.split() == ["out/report.html", "report.md", "report.tex"]
    html = Path("out/report.html").read_text()
    assert "My &lt;title&gt;" in html
    assert "<title>" in html
    assert "top_k" in html
    assert "| *random* |" in Path("report.md").read_text()
    assert r"top\_k" in Path("report.tex").read_text()


def test_reports_of_several_folders_are_put_together(bench, mbo):
    bench(methods="random")
    os.rename("results", "first")
    bench(methods="top_k")
    out = mbo("report", "first", "results").out
    for label in ("random", "top_k"):
        assert re.search(rf"^\W*{label}\s", out, re.M)


def test_a_report_needs_only_the_lines(bench, mbo):
    bench()
    Path("only").mkdir()
    os.rename("results/results.jsonl", "only/results.jsonl")
    assert mbo("report", "only", "--markdown", "report.md").code == 0


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("none", "Run `mbo-gym benchmark .. --output none` first"),
        ("empty", "empty: no cell has ended yet"),
        ("bad", "bad: no cell has ended yet"),
    ],
)
@pytest.mark.filterwarnings("ignore:bad/results.jsonl. line 1 is damaged")
def test_a_folder_without_results_is_named(mbo, folder, message):
    for name, text in (("empty", ""), ("bad", "garbage\n")):
        Path(name).mkdir()
        Path(name, "results.jsonl").write_text(text)
    code, out, err = mbo("report", folder, "--html", "report.html")
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("report.html").exists()


def test_evaluate_shows_the_scores_and_adds_rows_with_counted_seeds(bench, mbo):
    bench("--seeds", "0-1", methods="random")
    files = [
        next(Path("results/cells").glob(f"random-*-seed{seed}-*")) / "designs.csv"
        for seed in (0, 1)
    ]
    code, out, _ = mbo("evaluate", TASK, *files, "--name", "theirs", "--seed", "4")
    assert code == 0
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(file) for file in files]
    assert "8 designs, 100th" in out
    assert len(records()) == 2
    out = mbo(
        "evaluate", TASK, *files, "--name", "theirs", "--seed", "4", "--output", "results"
    ).out
    assert "Added to results as 'theirs'" in out
    theirs = [r for r in records() if r.external]
    assert [(r.label, r.request.seed) for r in theirs] == [("theirs", 4), ("theirs", 5)]
    ours = [r for r in records() if not r.external]
    assert [r.result.overall for r in theirs] == [r.result.overall for r in ours]
    assert re.search(
        r"^\W*theirs\*\s", mbo("report", "results").out, re.M
    )  # no better than the control it came from
    mbo("evaluate", TASK, files[0], "--name", "theirs", "--seed", "4", "--output", "results")
    assert len(records()) == 4


def test_evaluate_makes_a_folder_of_its_own(mbo, tmp_path):
    (tmp_path / "x.csv").write_text("x0,x1\n0,1\n2,3\n")
    assert mbo("evaluate", TASK, "x.csv", "--output", "results").code == 0
    assert [(r.label, r.request.k) for r in records()] == [("mine", 2)]
    assert mbo("report", "results").code == 0


def test_evaluate_takes_tables_of_any_format(mbo, tmp_path):
    columns = {"x0": [0.0, 2.0], "x1": [1.0, 3.0]}
    (tmp_path / "x.csv").write_text("x0,x1\n0,1\n2,3\n")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
    (tmp_path / "x.parquet").write_bytes(parquet(columns))
    (tmp_path / "x.xlsx").write_bytes(workbook([list(columns), [0, 1], [2, 3]]))
    files = ["x.csv", "x.csv.gz", "x.parquet", "x.xlsx"]
    code, out, err = mbo("evaluate", TASK, *files)
    assert (code, err) == (0, "")
    scores = dict(line.split(": ", 1) for line in out.splitlines())
    assert list(scores) == files
    assert len(set(scores.values())) == 1


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("dna", ["ACC", "CAC", "CCC", "AAC", "CAA"]),
        ("criterion", ["ACC", "CAC", "CCC", "AAC", "CAA"]),
        ("criterion,oracle_score", ["1.5,2.25", "2.5,1.75", "3.25,0.5", "0.5,5.75", "4.5,1.25"]),
    ],
)
def test_evaluate_takes_what_run_and_propose_wrote_for_a_table(mbo, tmp_path, header, cells):
    rows = [f"{cell},{y}" for y, cell in enumerate(cells)]
    (tmp_path / "my.csv").write_text("\n".join([f"{header},y", *rows, ""]))
    options = ["-o", "path=my.csv", "-o", "score_column=y", "-o", "oracle=random_forest"]
    batch = mbo_gym.propose("my.csv", "y", "top_k", 2, progress=False)
    assert len(batch) == 2
    batch.to_csv("next.csv")
    batch.to_csv("next.tsv")
    assert mbo("run", "top_k", "csv", "--k", "3", *options).code == 0
    folder = next((tmp_path / "runs").iterdir())
    files = ["next.csv", "next.tsv", folder / "designs.csv", folder / "designs.npz"]
    code, out, err = mbo("evaluate", "csv", *files, *options)
    assert (code, err) == (0, "")
    scores = [line.split(": ", 1)[1] for line in out.splitlines()]
    assert len(scores) == 4
    assert scores[0] == scores[1]
    assert scores[2] == scores[3]


def test_evaluate_takes_the_options_of_the_task(mbo, tmp_path):
    (tmp_path / "x.csv").write_text("x0,x1\n0,1\n2,3\n")
    mbo("evaluate", TASK, "x.csv", "-o", "max_rows=60", "--output", "results")
    assert [(r.request.options, r.result.n_visible) for r in records()] == [({"max_rows": 60}, 60)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [TASK, "x.csv", "--name", "grad"],
            "--name grad is a method of this installation; choose another",
        ),
        ([TASK, "x.csv", "--name", " "], "--name must not be empty"),
        (
            ["Brann-Exact-v0", "x.csv"],
            "There is no task 'Brann-Exact-v0'. Did you mean Branin-Exact-v0",
        ),
        ([TASK, "none.csv"], "none.csv"),
        ([TASK, "x.csv", "none.csv"], "none.csv"),
        ([TASK, "x.txt"], "x.txt has the suffix '.txt'"),
    ],
)
def test_evaluate_says_what_is_wrong_and_adds_nothing(mbo, tmp_path, arguments, message):
    (tmp_path / "x.csv").write_text("x0,x1\n0,1\n2,3\n")
    code, out, err = mbo("evaluate", *arguments, "--output", "results")
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("results").exists()


def test_designs_from_outside_are_left_alone_by_a_benchmark(bench, mbo, tmp_path):
    (tmp_path / "x.csv").write_text("x0,x1\n0,1\n2,3\n")
    mbo("evaluate", TASK, "x.csv", "--output", "results")
    assert "2 cells: 0 done, 0 failed, 2 to run" in bench().err
    assert [r.label for r in records()] == ["mine", "random", "top_k"]
    known = {r.key: r for r in records()}
    assert make_plan(cells_of("random", "top_k"), known, retry=True).to_run == ()
    assert json.loads(Path("results/results.jsonl").read_text().splitlines()[0])["external"] is True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0312, "0.031 s"),
        (3.14, "3.1 s"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7530, "2 h 5 min"),
    ],
)
def test_times_are_written_for_people(seconds, text):
    assert duration(seconds) == text


def test_a_cell_without_an_oracle_and_a_message_without_text_are_shown(capsys):
    with Live() as live:
        live.plan(Plan((), (), tuple(cells_of("random", "top_k"))))
        live.end(record("grad [adam]", "csv", p100=None, seconds=3.0))
        error = {"type": "ValueError", "message": "", "traceback": ""}
        live.end(failed("pgs [a=[1]]", error=error))
    assert capsys.readouterr().err.splitlines() == [
        "2 cells: 0 done, 0 failed, 2 to run",
        "1/2 grad [adam]: not scored, 3 s",
        "2/2 failed pgs [a=[1]]: ValueError: ",
    ]


def test_packed_results_are_reported_and_a_benchmark_goes_on_beside_them(bench, mbo):
    bench()
    code, out, _ = mbo("results", "pack", "results")
    assert (code, out.split()) == (0, ["results/results.jsonl.xz", "results/summary.csv"])
    assert not Path("results/results.jsonl").exists()
    assert re.search(r"^\W*random\s", mbo("report", "results").out, re.M)
    assert "4 cells: 2 done, 0 failed, 2 to run" in bench("--seeds", "0-1").err
    assert len(Path("results/results.jsonl").read_text().splitlines()) == 2
    assert len(records()) == 4


def test_a_folder_without_results_is_not_packed(mbo):
    code, _, err = mbo("results", "pack", "none")
    assert code == 2
    assert "none holds no results.jsonl" in err
    assert not Path("none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "pass path='my.csv' and score_column"),
        (["path=nowhere.csv", "score_column=y"], "No such file"),
        (["path=my.csv", "score_column=y", "minimise=nope"], "minimise must be true or false"),
        (["path=my.csv", "score_column=y", "minimize=no"], "Did you mean minimise"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_task_that_cannot_be_made_is_refused_before_the_first_cell(
    mbo, tmp_path, options, message, dry
):
    (tmp_path / "my.csv").write_text("x,y\n1,2\n2,3\n")
    words = [word for pair in options for word in ("-o", pair)]
    more = ["--dry-run"] if dry else ["--executor", "serial"]
    done = mbo("benchmark", "--methods", "top_k", "--tasks", "csv", *words, *more)
    assert done.code == 2
    assert message in done.err
    assert "to run" not in done.out
    assert not (tmp_path / "benchmark" / "cells").exists()
