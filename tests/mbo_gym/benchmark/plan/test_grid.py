"""Which cells a grid has, and when two of them are the same."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.gradient.ascent import AscentConfig, Grad, GradConfig
from mbo_gym.benchmark.plan.grid import (
    Cell,
    Grid,
    MethodChoice,
    TaskChoice,
    cells_of,
    content_key,
    method_choices,
    read_grid,
    read_grids,
)
from mbo_gym.cli import app as cli
from mbo_gym.errors import MboGymError, UnknownId
from mbo_gym.runs.request import RunRequest

TASK = "Branin-Exact-v0"


def cell_of(
    method: str = "grad", *, task: str = TASK, seed: int = 0, k: int = 8, label: str = "", **changes
) -> Cell:
    choice = MethodChoice(method, changes.get("preset"), changes.get("settings", {}), label)
    (cell,) = Grid([choice], [TaskChoice(task, changes.get("options", {}))], [seed], [k]).cells()
    return cell


def test_a_grid_is_every_combination_one_task_after_the_other():
    grid = Grid(
        [MethodChoice("random"), MethodChoice("top_k")],
        [TaskChoice(TASK), TaskChoice("Levy-Exact-v0")],
    )
    cells = replace(grid, seeds=(0, 1), ks=(8, 16)).cells()
    assert [
        (c.request.task_id[:4], c.request.method, c.request.k, c.request.seed) for c in cells
    ] == [
        (task, method, k, seed)
        for task in ("Bran", "Levy")
        for method in ("random", "top_k")
        for k in (8, 16)
        for seed in (0, 1)
    ]
    assert len({c.key for c in cells}) == 16
    assert all(re.fullmatch("[0-9a-f]{16}", c.key) for c in cells)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "pgs"},
        {"task": "Levy-Exact-v0"},
        {"options": {"max_rows": 50}},
        {"seed": 1},
        {"k": 9},
        {"settings": {"ascent.steps": 7}},
        {"preset": "adam"},
    ],
)
def test_everything_that_changes_a_result_changes_the_key(changes):
    assert cell_of(**changes).key != cell_of().key


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "mine"},
        {"preset": "plain"},  # the same config
        {"settings": {"ascent.steps": None, "ascent.bounds": "none"}},  # the defaults
        {"options": {}},
    ],
)
def test_names_and_what_is_the_default_anyway_do_not(changes):
    assert cell_of(**changes).key == cell_of().key


def test_a_preset_and_its_settings_are_one_cell():
    assert cell_of(preset="adam").key == cell_of(settings={"ascent.optimiser": "adam"}).key
    assert (
        cell_of(settings={"ascent.step_size": 1}).key
        == cell_of(settings={"ascent.step_size": 1.0}).key
    )


def test_the_order_of_options_does_not_matter():
    one, other = {"max_rows": 50, "noise": 0.1}, {"noise": 0.1, "max_rows": 50}
    assert cell_of(options=one).key == cell_of(options=other).key


def test_a_default_that_changes_in_the_program_changes_the_key(monkeypatch):
    before = cell_of()
    monkeypatch.setattr(Grad, "SETTINGS", {TASK: GradConfig(ascent=AscentConfig(steps=123))})
    assert cell_of().config["ascent"]["steps"] == 123
    assert cell_of().key != before.key


def test_keys_stay_what_they_are_from_version_to_version():
    request = RunRequest("a", "T-v0", 1, 8, options={"dim": 3})
    cell = Cell(request, "a", {"steps": 5, "rate": 0.5})
    assert (
        cell.key
        == content_key(["T-v0", {"dim": 3}, "a", {"rate": 0.5, "steps": 5}, 1, 8])
        == "8645f8409a512b46"
    )
    assert cell.folder_name == "a-T-v0-k8-seed1-8645f8409a512b46"


def test_a_file_counts_with_its_content(tmp_path, monkeypatch):
    def key(name):
        options = {"path": str(name), "score_column": "y"}
        return Cell(RunRequest("random", "csv", 0, 8, options=options), "random", {}).key

    for name, text in (("a.csv", "x,y\n1,2\n"), ("b.csv", "x,y\n1,2\n"), ("c.csv", "x,y\n1,3\n")):
        (tmp_path / name).write_text(text)
    assert key(tmp_path / "a.csv") == key(tmp_path / "b.csv")
    assert key(tmp_path / "a.csv") != key(tmp_path / "c.csv")
    monkeypatch.chdir(tmp_path)
    assert key("a.csv") == key(tmp_path / "a.csv")
    before = key("a.csv")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    assert key("a.csv") != before
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert key("a.csv") == before


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (MethodChoice("grad"), "grad"),
        (MethodChoice("grad", "adam"), "grad [adam]"),
        (
            MethodChoice("grad", "adam", {"steps": 5, "encoder": "one_hot"}),
            "grad [adam, steps=5, encoder=one_hot]",
        ),
        (MethodChoice("grad", None, {"steps": None}), "grad [steps=null]"),
        (MethodChoice("grad", "adam", {"steps": 5}, "mine"), "mine"),
    ],
)
def test_a_row_is_named_by_its_choice(choice, text):
    assert str(choice) == text


def test_the_command_of_a_cell_repeats_it(monkeypatch):
    options = {
        "path": os.path.abspath("my data.csv"),
        "score_column": "it's",
        "max_rows": 50,
        "noise": 0.5,
        "minimise": False,
    }
    settings = {"ascent.optimiser": "adam", "ascent.steps": 5, "ascent.step_size": None}
    cell = Cell(RunRequest("grad", "csv", 3, 16, "adam", settings, options), "mine", {})
    words = shlex.split(cell.request.command)
    assert words[:3] == ["mbo-gym", "run", "grad"]
    seen = {}
    made = SimpleNamespace(info=SimpleNamespace(notes=()))
    monkeypatch.setattr(
        "mbo_gym.runs.one_run.run", lambda request, *a, **k: seen.update(request=request)
    )
    monkeypatch.setattr(
        "mbo_gym.runs.memory.make_task",
        lambda task_id, **given: seen.update(options=given) or made,
    )
    monkeypatch.setattr(
        "mbo_gym.methods.registry.make_method", lambda name, **given: seen.update(settings=given)
    )
    # a nursery that is forked here would keep the methods patched for the tests that follow
    monkeypatch.setattr("mbo_gym.runs.apart.fork_nursery", lambda **given: None)
    monkeypatch.setattr("mbo_gym.cli.tables.results", lambda *a: None)
    monkeypatch.setattr("mbo_gym.cli.terminal.show", lambda *a, **k: None)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    request = seen["request"]
    assert (request.method, request.task_id, request.seed, request.k) == ("grad", "csv", 3, 16)
    assert (request.preset, request.settings, request.options) == ("adam", settings, options)
    assert seen["options"] == options


CONTROLS = [
    "kernel_crossover",
    "linear_corner",
    "mean_design",
    "pair_ridge",
    "random",
    "random_filtered",
    "random_unseen",
    "top_k",
    "top_k_noise",
    "trend",
]


def methods_of(*choices: str | dict) -> list[str]:
    cells = Grid(method_choices(choices), [TaskChoice(TASK)], [0], [8]).cells()
    return [cell.label for cell in cells]


def test_controls_stand_for_every_method_that_is_one():
    assert methods_of("grad", "controls") == ["grad", *CONTROLS]


def test_a_control_that_is_named_anyway_comes_once():
    named = methods_of(
        "controls", "top_k", {"name": "top_k_noise", "settings": {"noise": 0.5}, "label": "noisy"}
    )
    others = [name for name in CONTROLS if name not in ("top_k", "top_k_noise", "trend")]
    assert named == [*others, "top_k_noise", "trend", "top_k", "noisy"]


def test_a_method_may_run_on_some_tasks_only():
    tasks = [TaskChoice(TASK, {"noise": noise}) for noise in (0.0, 0.1)]
    tasks.append(TaskChoice("Levy-Exact-v0"))
    methods = [MethodChoice("random", tasks=[TASK]), MethodChoice("top_k")]
    cells = Grid(methods, tasks, [0], [8]).cells()
    assert [(c.request.method, c.request.task_id) for c in cells] == [
        ("random", TASK), ("top_k", TASK), ("random", TASK), ("top_k", TASK),
        ("top_k", "Levy-Exact-v0"),
    ]  # fmt: skip
    with pytest.raises(UnknownId, match="no task of this grid, for random, 'Levy-Exact-v1'"):
        Grid([MethodChoice("random", tasks=["Levy-Exact-v1"])], tasks).cells()


def test_nested_and_dotted_settings_are_the_same():
    nested = {"ascent": {"steps": 7}, "surrogate": {"name": "mlp", "hidden": 16}}
    flat = {"ascent.steps": 7, "surrogate": "mlp", "surrogate.hidden": 16}
    assert cell_of(settings=nested).key == cell_of(settings=flat).key
    text = "grad [ascent.steps=7, surrogate.name=mlp, surrogate.hidden=16]"
    assert cell_of(settings=nested).label == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": []}, "a benchmark needs methods, got none"),
        ({"tasks": []}, "a benchmark needs tasks, got none"),
        ({"seeds": []}, "a benchmark needs seeds, got none"),
        ({"ks": [8, 0]}, "k must be at least 1, got 0"),
        (
            {"seeds": [1, 1]},
            rf"random and random on {TASK} are the same run \(seed 1, k 8\): leave one out",
        ),
        (
            {"methods": [MethodChoice("random"), MethodChoice("random", label="r")]},
            "r and random on .* the same run",
        ),
        (
            {"methods": [MethodChoice("grad", settings={"ascent.steps": "many"})]},
            "steps must be int or None, got 'many'",
        ),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(changes, message):
    grid = Grid([MethodChoice("random")], [TaskChoice(TASK)], [0], [8])
    with pytest.raises(ValueError, match=message):
        replace(grid, **changes).cells()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": [MethodChoice("gradd")]}, r"There is no method 'gradd'\. Did you mean grad"),
        (
            {"methods": [MethodChoice("grad", "adm")]},
            r"There is no preset of grad 'adm'\. Did you mean adam",
        ),
        (
            {"methods": [MethodChoice("grad", None, {"ascent.step": 1})]},
            r"no setting of AscentConfig 'step'\. Did you mean steps",
        ),
        (
            {"tasks": [TaskChoice("Brann-Exact-v0")]},
            r"There is no task 'Brann-Exact-v0'\. Did you mean Branin-Exact-v0",
        ),
        (
            {"tasks": [TaskChoice(TASK, {"max_row": 1})]},
            r"There is no task option 'max_row'\. Did you mean max_rows",
        ),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(changes, message):
    grid = Grid([MethodChoice("random")], [TaskChoice(TASK)], [0], [8])
    with pytest.raises(UnknownId, match=message):
        replace(grid, **changes).cells()


def read(tmp_path: Path, text: str) -> Grid:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return read_grid(path)


def test_a_file_says_all_of_it(tmp_path):
    grid = read(
        tmp_path,
        """
        seeds = "0-2,7"
        k = [8, 16]
        tasks = ["Branin-Exact-v0", {id = "Levy-Exact-v0", options = {dim = 3}}]
        methods = ["random", {name = "grad", preset = "adam", label = "mine", settings = {ascent.steps = 5}}]
        """,
    )
    assert grid.methods == [
        MethodChoice("random"),
        MethodChoice("grad", "adam", {"ascent": {"steps": 5}}, "mine"),
    ]
    assert grid.tasks == [TaskChoice(TASK), TaskChoice("Levy-Exact-v0", {"dim": 3})]
    assert (grid.seeds, grid.ks) == ([0, 1, 2, 7], [8, 16])
    assert len(grid.cells()) == 2 * 2 * 4 * 2


def test_tables_may_be_written_one_below_the_other(tmp_path):
    text = '[[methods]]\nname = "random"\n[[methods]]\nname = "grad"\nsettings.steps = 5\n[[tasks]]\nid = "csv"\n'
    grid = read(tmp_path, text)
    assert grid.methods == [MethodChoice("random"), MethodChoice("grad", None, {"steps": 5})]
    assert (grid.tasks, grid.seeds, grid.ks) == ([TaskChoice("csv")], [0], [256])


GOOD = {"methods": '["random"]', "tasks": f'["{TASK}"]', "seeds": "[0]", "k": "8"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": None}, r"needs methods = \[\.\.\] with at least one entry, got None"),
        ({"methods": "[]"}, r"needs methods = \[\.\.\] with at least one entry, got \[\]"),
        ({"tasks": '"csv"'}, r"needs tasks = \[\.\.\] with at least one entry, got 'csv'"),
        ({"methods": "[3]"}, r"expected a name or a table with 'name', got 3"),
        (
            {"methods": '[{preset = "adam"}]'},
            r"expected a name or a table with 'name', got \{'preset': 'adam'\}",
        ),
        ({"tasks": "[{options = {dim = 3}}]"}, r"expected a name or a table with 'id'"),
        ({"methods": '[{name = "grad", preset = 3}]'}, "preset of grad must be str, got 3"),
        (
            {"methods": '[{name = "grad", settings = "adam"}]'},
            "settings of grad must be dict, got 'adam'",
        ),
        ({"seeds": "[0.5]"}, r"seeds must be whole numbers, got \[0\.5\]"),
        ({"seeds": "[true]"}, r"seeds must be whole numbers, got \[True\]"),
        ({"seeds": '"0-x"'}, r"seeds are whole numbers and ranges, e\.g\. 0-7 or 0,3,5; got '0-x'"),
        ({"k": '"8"'}, r"k must be whole numbers, got \['8'\]"),
        ({"k": "= 3"}, "is not a TOML file"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name(tmp_path, changes, message):
    text = "\n".join(
        f"{key} = {value}" for key, value in {**GOOD, **changes}.items() if value is not None
    )
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, text)
    assert str(tmp_path / "grid.toml") in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": '["random"]'},
            r"There is no key in .*grid\.toml 'method'\. Did you mean methods",
        ),
        (
            {"methods": '[{name = "grad", lable = "x"}]'},
            r"no key in .*grid\.toml 'lable'\. Did you mean label",
        ),
        (
            {"tasks": f'[{{id = "{TASK}", option = {{}}}}]'},
            r"no key in .*grid\.toml 'option'\. Did you mean options",
        ),
    ],
)
def test_a_mistyped_key_of_a_file_is_answered_with_the_nearest(tmp_path, changes, message):
    with pytest.raises(UnknownId, match=message):
        read(tmp_path, "\n".join(f"{key} = {value}" for key, value in {**GOOD, **changes}.items()))


def test_a_file_may_hold_several_grids(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(f"""
        seeds = "0-1"
        k = 8
        [[grid]]
        methods = ["random"]
        tasks = ["{TASK}"]
        [[grid]]
        methods = [{{ name = "top_k", tasks = ["Levy-Exact-v0"] }}]
        tasks = ["{TASK}", "Levy-Exact-v0"]
        seeds = [5]
    """)
    first, second = read_grids(path)
    assert first == Grid([MethodChoice("random")], [TaskChoice(TASK)], [0, 1], [8])
    assert (second.seeds, second.ks) == ([5], [8])
    assert second.methods == [MethodChoice("top_k", tasks=["Levy-Exact-v0"])]
    cells = cells_of([first, second])
    assert [(c.label, c.request.seed) for c in cells] == [
        ("random", 0),
        ("random", 1),
        ("top_k", 5),
    ]
    with pytest.raises(ValueError, match=r"random and random on .* are the same run"):
        cells_of([first, first])
    with pytest.raises(ValueError, match=r"holds 2 grids\. Read them with read_grids"):
        read_grid(path)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("grid = 3", ValueError, r"write each grid as a \[\[grid\]\] block, got grid = 3"),
        ("[grid]\nk = 3", ValueError, r"write each grid as a \[\[grid\]\] block"),
        ("[[grids]]", UnknownId, "'grids'. Did you mean grid"),
        ("[[grid]]\nmethod = []", UnknownId, "'method'. Did you mean methods"),
        (
            '[[grid]]\ntasks = ["csv"]\nmethods = [{name = "grad", tasks = "csv"}]',
            ValueError,
            "tasks of grad must be list, got 'csv'",
        ),
    ],
)
def test_grids_that_make_no_sense_are_refused(tmp_path, text, error, message):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(error, match=message):
        read_grids(tmp_path / "grid.toml")


def test_bytes_that_are_no_text_are_no_grid(tmp_path):
    (tmp_path / "grid.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"grid\.toml is not a TOML file"):
        read_grid(tmp_path / "grid.toml")
    assert os.listdir(tmp_path) == ["grid.toml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass path='my.csv' and score_column"),
        ({"score_column": "y"}, "pass path='my.csv' and score_column"),
        ({"path": "nowhere.csv", "score_column": "y"}, "No such file"),
        ({"path": "my.csv"}, "Pass score_column=, one of 'x', 'y'"),
        ({"path": "my.csv", "score_column": "z"}, "no column 'z'"),
        ({"path": "my.csv", "score_column": "y", "design_columns": ["w"]}, "no column 'w'"),
        ({"path": "my.csv", "score_column": "y", "delimiter": "::"}, "one character"),
        ({"path": "my.csv", "score_column": "y", "minimise": "maximise"}, "true or false"),
        ({"path": "my.csv", "score_column": "y", "percentile": 0}, "(0, 100]"),
        ({"path": "my.csv", "score_column": "y", "bound": "none"}, "Did you mean bounds"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_the_plan(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("x,y\n1,2\n2,3\n")
    grid = Grid([MethodChoice("top_k")], [TaskChoice("csv", options)])
    with pytest.raises(MboGymError, match=re.escape(message)):
        grid.cells()


@pytest.mark.parametrize(
    ("task_id", "options"),
    [
        ("Rosenbrock-Exact-v0", {"dim": 1}),
        ("Levy-Exact-v1", {"dim": "x"}),
        ("Branin-Exact-v0", {"seed": -1}),
        ("Branin-Exact-v0", {"noise": float("nan")}),
        ("Branin-Exact-v0", {"fraction": 2}),
    ],
)
def test_an_option_out_of_range_is_refused_in_the_plan(task_id, options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        Grid([MethodChoice("top_k")], [TaskChoice(task_id, options)]).cells()


def test_an_option_means_the_same_in_every_spelling(tmp_path):
    file = tmp_path / "my.csv"
    file.write_text("x,y\n1,2\n2,3\n")
    (tmp_path / "grid.toml").write_text(
        f"""methods = ["top_k"]
[[tasks]]
id = "csv"
options = {{path = '{file}', score_column = "y", minimise = "no", bounds = {{x = [0, "none"]}}}}
"""
    )
    (cell,) = read_grid(tmp_path / "grid.toml").cells()
    assert cell.request.options == {
        "path": str(file),
        "score_column": "y",
        "minimise": False,
        "bounds": {"x": [0.0, None]},
    }
    tasks = [
        TaskChoice("csv", {"path": str(file), "score_column": "y", "minimise": no})
        for no in (False, "no")
    ]
    with pytest.raises(ValueError, match="are the same run"):
        Grid([MethodChoice("top_k")], tasks).cells()


def test_a_file_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "grid.toml").write_text(f"methods = {'[' * 3000}{']' * 3000}")
    with pytest.raises(ValueError, match="nested too deeply"):
        read_grids(tmp_path / "grid.toml")
