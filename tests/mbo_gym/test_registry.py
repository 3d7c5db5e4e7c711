"""Names: string entry points loaded on use, helpful answers to wrong ones."""

from __future__ import annotations

import pickle
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import gymnasium as gym
import pytest
from gymnasium.envs.registration import find_highest_version

import mbo_gym
from mbo_gym import registry
from mbo_gym.errors import MissingDependency, UnknownId, nearest
from mbo_gym.registry import Registry
from mbo_gym.tasks.registry import NAMESPACE, TASKS


def test_an_entry_point_is_imported_only_when_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "plugin_made_for_this_test.py").write_text(
        "def make(a, b=2, c=3):\n    return a, b, c\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("thing")
    things.register("one", "plugin_made_for_this_test:make", a=1, b=5)
    assert list(things) == ["one"]
    assert "plugin_made_for_this_test" not in sys.modules
    assert things.spec("one").make(b=7) == (1, 7, 3)
    monkeypatch.delitem(sys.modules, "plugin_made_for_this_test")


def test_a_name_is_given_once():
    things = Registry("thing")
    things.register("one", dict)
    with pytest.raises(ValueError, match="the thing 'one' is registered already"):
        things.register("one", dict)


def test_names_are_sorted_and_looked_up():
    things = Registry("thing")
    for name in ("b", "c", "a"):
        things.register(name, dict)
    assert list(things) == ["a", "b", "c"]
    assert "b" in things
    assert "z" not in things


def test_other_packages_announce_names_that_cannot_replace_ours(monkeypatch):
    asked = []

    def entry_points(group):
        asked.append(group)
        return [
            EntryPoint("ours", "theirs:make", group),
            EntryPoint("more", "builtins:dict", group),
        ]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    things = Registry("thing", group="some.group")
    things.register("ours", list)
    assert asked == []
    assert list(things) == ["more", "ours"]
    assert things.spec("ours").make() == []
    assert things.spec("more").make(x=1) == {"x": 1}
    assert asked == ["some.group"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("TFBind8-Exact", "TFBind8-Exact-v0"),
        ("superconductor-randomforest-v0", "Superconductor-RandomForest-v0"),
        ("Levi-Exact-v0", "Levy-Exact-v0"),
    ],
)
def test_a_wrong_task_id_is_answered_with_near_ones(wrong, right):
    with pytest.raises(UnknownId, match="Did you mean") as caught:
        mbo_gym.make_task(wrong)
    assert right in str(caught.value)


def test_a_hopeless_name_is_answered_with_all_of_them():
    with pytest.raises(UnknownId) as caught:
        raise UnknownId("encoder", "qqqq", ["z_score", "logits"])
    assert str(caught.value) == "There is no encoder 'qqqq'. Known: logits, z_score."
    assert "mbo-gym list" in str(UnknownId("task", "qqqq", [f"name{i}" for i in range(31)]))
    assert isinstance(caught.value, KeyError)


def test_a_file_in_place_of_a_task_is_answered_with_the_task_of_files(tmp_path):
    path = tmp_path / "my designs.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UnknownId) as caught:
        mbo_gym.make_task(str(path))
    assert f"the task is csv, and the file its option, `csv -o 'path={path}'`" in str(caught.value)


def test_nearest_ignores_case_and_puts_the_closest_first():
    assert (
        nearest("LEVY-exact-v0", ["Levy-Exact-v1", "Levy-Exact-v0", "Branin-Exact-v0"])[0]
        == "Levy-Exact-v0"
    )


def test_a_wrong_task_option_is_answered_with_near_ones():
    with pytest.raises(UnknownId, match="task option 'frction'") as caught:
        mbo_gym.make_task("Branin-Exact-v0", frction=0.1)
    assert "fraction" in str(caught.value)
    with pytest.raises(UnknownId, match="task option 'version'"):
        mbo_gym.make_task("Levy-Exact-v0", version=1)  # the id says which version


@pytest.mark.parametrize(
    "error", [UnknownId("task", "x", ["y"]), MissingDependency("d3rlpy", "rl")]
)
def test_errors_survive_pickling_between_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_registered_task_becomes_an_environment_at_once():
    name = "MadeForThisTest-Exact-v0"
    try:
        with TASKS.restored():
            mbo_gym.register_task(
                name, "mbo_gym.tasks.synthetic:make_synthetic", function="Levy", dim=3
            )
            assert name in mbo_gym.list_tasks()
            assert mbo_gym.make_task(name, max_rows=10).dataset.x.shape == (10, 3)
            assert gym.spec(f"mbo_gym/{name}").kwargs == {"task": name}
            with pytest.raises(ValueError, match="registered already"):
                mbo_gym.register_task(name, dict)
        assert name not in mbo_gym.list_tasks()
    finally:
        gym.registry.pop(f"mbo_gym/{name}", None)


def test_a_name_registered_for_a_block_gives_way_to_the_one_before():
    things = Registry("thing")
    things.register("one", "builtins:dict")
    with things.temporarily("one", list), things.temporarily("two", dict, b=2):
        assert things.spec("one").make() == []
        assert things.spec("two").make() == {"b": 2}
    assert list(things) == ["one"]
    assert things.spec("one").make() == {}


def test_every_task_has_an_environment():
    assert {f"mbo_gym/{task_id}" for task_id in mbo_gym.list_tasks()} == {
        id for id in gym.registry if id.startswith("mbo_gym/")
    }


def test_a_plugin_announces_names_with_arguments_of_their_own(monkeypatch):
    plugin = SimpleNamespace(THINGS={"one": "builtins:dict", "two": ("builtins:dict", {"b": 2})})
    monkeypatch.setattr(registry, "plugins", lambda: (plugin,))
    things = Registry("thing", table="THINGS")
    assert list(things) == ["one", "two"]
    assert things.spec("one").make(a=1) == {"a": 1}
    assert things.spec("two").make(a=1) == {"a": 1, "b": 2}
    assert things.spec("two").make(b=3) == {"b": 3}


def test_gymnasium_calls_no_version_out_of_date():
    names = [f"{NAMESPACE}/Levy-Exact-v{v}" for v in range(3)]
    assert [gym.registry[name].version for name in names] == [0, None, None]
    assert find_highest_version(NAMESPACE, "Levy-Exact") == 0
