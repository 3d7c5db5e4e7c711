"""Resolved configs are remembered as long as the source they came from stays the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from mbo_gym.benchmark.plan import configs
from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.methods.registry import METHODS

TASK = "Branin-Exact-v0"


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Return the names of the methods that were built to look at their config."""
    names: list[str] = []
    original = configs.make_method

    def note(name, **settings):
        names.append(name)
        return original(name, **settings)

    monkeypatch.setattr(configs, "make_method", note)
    return names


def test_every_field_is_given_as_plain_json():
    config = ConfigIndex().resolve("grad", "adam", TASK, {"ascent.steps": 5})
    assert (config["ascent"]["optimiser"], config["ascent"]["steps"]) == ("adam", 5)
    assert config["surrogate"] == {"name": "mlp", "settings": {}}
    assert json.loads(json.dumps(config)) == config


def test_what_was_asked_once_is_remembered_and_another_question_is_asked(made):
    index = ConfigIndex()
    first = index.resolve("grad", None, TASK, {"ascent.steps": 5})
    assert index.resolve("grad", None, TASK, {"ascent.steps": 5}) == first
    assert made == ["grad"]
    for question in (
        ("grad", "adam", TASK, {"ascent.steps": 5}),
        ("grad", None, "csv", {"ascent.steps": 5}),
        ("pgs", None, TASK, {}),
    ):
        index.resolve(*question)
    assert made == ["grad", "grad", "grad", "pgs"]


def test_a_file_keeps_them_between_commands(tmp_path, made):
    path = tmp_path / "configs.json"
    index = ConfigIndex(path)
    config = index.resolve("grad", None, TASK, {})
    assert not path.exists()
    index.save()
    assert ConfigIndex(path).resolve("grad", None, TASK, {}) == config
    assert made == ["grad"]
    assert os.listdir(tmp_path) == ["configs.json"]


@pytest.mark.parametrize("content", [None, "", "{half", "[1]", "\x00"])
def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path, made, content):
    path = tmp_path / "configs.json"
    if content is not None:
        path.write_text(content)
    index = ConfigIndex(path)
    config = index.resolve("random", None, TASK, {})
    index.save()
    assert ConfigIndex(path).resolve("random", None, TASK, {}) == config
    assert made == ["random"]


def test_a_file_that_was_changed_counts_as_empty(tmp_path, made):
    path = tmp_path / "configs.json"
    index = ConfigIndex(path)
    config = index.resolve("grad", None, TASK, {})
    index.save()
    path.write_text(path.read_text().replace('"step_size": null', '"step_size": 77.0'))
    assert ConfigIndex(path).resolve("grad", None, TASK, {}) == config
    assert made == ["grad", "grad"]


def test_another_source_asks_again(tmp_path, made, monkeypatch):
    path = tmp_path / "configs.json"
    index = ConfigIndex(path)
    index.resolve("grad", None, TASK, {})
    index.save()
    monkeypatch.setattr(configs, "_package_hash", lambda package: "another")
    ConfigIndex(path).resolve("grad", None, TASK, {})
    assert made == ["grad", "grad"]


def test_the_hash_is_that_of_all_files_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "package_of_the_config_tests"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "method.py").write_text("a = 1")
    (tmp_path / "module_of_the_config_tests.py").write_text("a = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    hashed = configs._package_hash.__wrapped__
    before = {name: hashed(name) for name in (package.name, "module_of_the_config_tests")}
    assert before == {name: hashed(name) for name in before}
    (package / "sub" / "method.py").write_text("a = 2")
    assert hashed(package.name) != before[package.name]
    assert hashed("module_of_the_config_tests") == before["module_of_the_config_tests"]
    (tmp_path / "module_of_the_config_tests.py").write_text("a = 2")
    assert hashed("module_of_the_config_tests") != before["module_of_the_config_tests"]
    assert hashed("no_such_package_anywhere") is None


def test_a_method_registered_by_hand_is_always_asked(made):
    @dataclass(frozen=True)
    class Config:
        size: int = 1

    class Own:
        def __init__(self, config):
            self.config = config

    Own.Config = Config
    with METHODS.temporarily("own", Own):
        index = ConfigIndex()
        assert index.resolve("own", None, TASK, {}) == {"size": 1}
        Own.PRESETS, Own.SETTINGS = {}, {TASK: Config(size=2)}
        assert index.resolve("own", None, TASK, {}) == {"size": 2}
        assert made == ["own", "own"]


@pytest.mark.parametrize(
    ("method", "preset", "settings"),
    [("gradd", None, {}), ("grad", "adm", {}), ("grad", None, {"step": 1})],
)
def test_a_mistake_is_said_each_time_and_not_remembered(tmp_path, method, preset, settings):
    index = ConfigIndex(tmp_path / "configs.json")
    for _ in range(2):
        with pytest.raises(UnknownId, match="Did you mean"):
            index.resolve(method, preset, TASK, settings)
    index.save()
    assert os.listdir(tmp_path) == []


def test_a_remembered_config_is_given_without_torch(tmp_path):
    index = ConfigIndex(tmp_path / "configs.json")
    index.resolve("grad", None, TASK, {})
    index.save()
    program = f"""
import sys
from pathlib import Path
from mbo_gym.benchmark.plan.configs import ConfigIndex
config = ConfigIndex(Path(r"{tmp_path / "configs.json"}")).resolve("grad", None, "{TASK}", {{}})
print(config["surrogate"]["name"], "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["mlp", "False"]


def test_the_controls_are_remembered_and_found_without_torch(tmp_path):
    path = tmp_path / "configs.json"
    index = ConfigIndex(path)
    controls = index.controls()
    assert {"mean_design", "random", "top_k", "trend", "kernel_crossover"} <= set(controls)
    assert controls == sorted(controls)
    assert not {"grad", "matched"} & set(controls)
    index.save()
    program = f"""
import sys
from pathlib import Path
from mbo_gym.benchmark.plan.configs import ConfigIndex
print(*ConfigIndex(Path(r"{path}")).controls(), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [*controls, "False"]


def test_options_are_given_in_their_types_and_checked_once(tmp_path, monkeypatch):
    asked = []
    original = configs.check_task
    monkeypatch.setattr(configs, "check_task", lambda *a, **k: asked.append(a) or original(*a, **k))
    path = tmp_path / "configs.json"
    index = ConfigIndex(path)
    for _ in range(2):
        assert index.task_options(TASK, {"noise": 1}) == {"noise": 1.0}
    index.save()
    assert ConfigIndex(path).task_options(TASK, {"noise": 1}) == {"noise": 1.0}
    assert len(asked) == 1
    for _ in range(2):
        with pytest.raises(InvalidData, match="noise must be a number"):
            ConfigIndex(path).task_options(TASK, {"noise": "1"})


def test_the_file_of_a_task_is_looked_at_whenever_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = ConfigIndex()
    given = {"path": "my.csv", "score_column": "y", "minimise": "no"}
    with pytest.raises(MissingData, match=r"my\.csv.*No such file"):
        index.task_options("csv", given)
    (tmp_path / "my.csv").write_text("x,y\n1,2\n2,3\n")
    typed = {"path": str(tmp_path / "my.csv"), "score_column": "y", "minimise": False}
    assert index.task_options("csv", given) == typed
    (tmp_path / "my.csv").write_text("x,z\n1,2\n2,3\n")
    with pytest.raises(InvalidData, match="has no column 'y'"):
        index.task_options("csv", given)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(MissingData, match=r"other.my\.csv"):
        index.task_options("csv", given)


def test_a_function_is_no_option_of_a_benchmark(tmp_path):
    file = tmp_path / "my.csv"
    file.write_text("x,y\n1,2\n2,3\n")
    with pytest.raises(ValueError, match="must be plain values in a benchmark"):
        ConfigIndex().task_options("csv", {"path": file, "score_column": "y", "oracle": len})
