"""Options of tasks have types, from Python and from the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import mbo_gym
from mbo_gym.batch.propose import propose
from mbo_gym.cli.app import main
from mbo_gym.errors import InvalidData, UnknownId
from mbo_gym.settings import Limits, format_value
from mbo_gym.tasks.registry import TASKS, read_task_options, task_options
from mbo_gym.tasks.table_file import make_table_task

NUMBERS = "temp,1,yield\n20,0.1,1\n40,0.5,5\n60,0.9,12\n80,0.3,9\n90,0.7,20\n"
WORST, BEST = 1.0, 20.0
FLAGS = {
    True: ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "1", " yes "],
    False: ["false", "False", "no", "No", "off", "Off", "0"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "plain.csv"
    file.write_text(NUMBERS)
    return file


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line as a user does; an error without a sentence of its own escapes."""
    monkeypatch.setattr(sys, "argv", ["mbo-gym", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("flag", "word"), [(flag, word) for flag, words in FLAGS.items() for word in words]
)
def test_a_flag_is_what_its_word_says(path: Path, flag: bool, word: str) -> None:
    read = read_task_options("csv", [f"path={path}", "score_column=yield", f"minimise={word}"])
    assert read["minimise"] is flag
    spoken = mbo_gym.make_task("csv", path=path, score_column="yield", minimise=word)
    assert spoken.options["minimise"] is flag
    assert spoken.dataset.y.max() == (-WORST if flag else BEST)
    direct = make_table_task(path, score_column="yield", minimise=word)  # type: ignore[arg-type]
    np.testing.assert_array_equal(direct.dataset.y, spoken.dataset.y)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, 1, 0])
def test_a_flag_of_python_stays(path: Path, value: Any) -> None:
    task = mbo_gym.make_task("csv", path=path, score_column="yield", minimise=value)
    assert task.options["minimise"] is bool(value)
    assert task.dataset.y.max() == (-WORST if value else BEST)


@pytest.mark.parametrize("word", ["maximise", "n", "y", "nope", "", "none", "2", "0.0", "[false]"])
def test_another_word_is_no_flag(path: Path, word: str) -> None:
    with pytest.raises(InvalidData, match=r"minimise must be true or false .*yes/no.*got"):
        read_task_options("csv", [f"minimise={word}"])
    with pytest.raises(InvalidData, match="minimise must be true or false"):
        make_table_task(path, score_column="yield", minimise=word)  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match="minimise must be true or false"):
        propose(path, "yield", "top_k", minimise=word)  # type: ignore[arg-type]


REFUSED = {
    "csv": [
        *(
            ("percentile", text)
            for text in ("abc", "50%", "true", "0", "101", "NaN", "nan", "none")
        ),
        *(("on_missing", text) for text in ("3", "True", "[1]", "dropp", "")),
        *(("oracle", text) for text in ("forest", "3", "true", "[]")),
        *(
            ("bounds", text)
            for text in ("open", "3", "[0, 1]", '{"temp": 3}', '{"temp": [true, 1]}')
        ),
        ("bounds", '{"temp": ["low", 1]}'),
        ("design_columns", '[["a"], ["b"]]'),
        ("path", ""),
    ],
    "Branin-Exact-v0": [
        *(("seed", text) for text in ("-1", "1.5", "true", "abc", "none", "1e2")),
        *(("noise", text) for text in ("nan", "NaN", "-1", "Infinity", "true", "1e308", "loud")),
        *(("fraction", text) for text in ("0", "1.5", "true", "half", "-0.5", "NaN")),
        *(("max_rows", text) for text in ("true", "0", "-3", "many", "2.5", "[2]")),
    ],
    "Levy-Exact-v0": [
        *(("dim", text) for text in ("true", "1000000000", "1e400", "0", "-3", "x", "2.5", "none")),
        ("dim", "9" * 5000),
        ("dim", "[" * 3000),
    ],
    "UTR-ResNet-v0": [("oracle", "3"), ("folder", "")],
}


@pytest.mark.parametrize(
    ("task_id", "name", "text"),
    [(task_id, name, text) for task_id, pairs in REFUSED.items() for name, text in pairs],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_value_is_answered_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task_id: str,
    name: str,
    text: str,
) -> None:
    assert run_main(monkeypatch, "show", task_id, "--option", f"{name}={text}") == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert len(said) < 400
    assert name in said
    assert repr(text)[:20] in said
    assert "must be" in said or "Known:" in said or "Did you mean" in said


@pytest.mark.parametrize(
    "given",
    [
        {"percentile": "50"},
        {"percentile": True},
        {"percentile": [50]},
        {"max_rows": "3"},
        {"seed": None},
        {"noise": float("inf")},
        {"fraction": 10**400},
        {"score_column": True},
        {"score_column": ["yield"]},
        {"design_columns": {"temp"}},
        {"design_columns": 2.5j},
        {"on_missing": 3},
        {"oracle": 3},
        {"delimiter": b";"},
        {"path": b"plain.csv"},
        {"bounds": {"temp": None}},
        {"minimise": np.zeros(2)},
    ],
    ids=str,
)
def test_a_wrong_value_of_python_is_answered_in_a_sentence(
    path: Path, given: dict[str, Any]
) -> None:
    (name,) = given
    with pytest.raises(InvalidData, match=f"^{name} must be .*, got .*Pass such a value"):
        mbo_gym.make_task("csv", **{"path": path, "score_column": "yield", **given})


def test_a_text_is_taken_as_it_is_spelled(path: Path) -> None:
    def read(*pairs: str) -> list[Any]:
        return list(read_task_options("csv", pairs).values())

    assert read("score_column=1", "delimiter=;", "alphabet=12") == ["1", ";", "12"]
    assert read("score_column=true", "alphabet=True") == ["true", "True"]
    assert read("score_column=1.50") == ["1.50"]
    assert read("score_column=007", "alphabet=0123456789") == ["007", "0123456789"]
    assert read("score_column=none", 'design_columns="none"') == [None, "none"]
    assert read('score_column="1"', "alphabet=[1]") == ["1", "[1]"]
    assert read("design_columns=1") == ["1"]
    assert read("design_columns=[1, 2.50]") == [["1", "2.50"]]
    assert read('design_columns=["true", true]') == [["true", "true"]]
    assert read('design_columns=["a, width (um)"]') == [["a, width (um)"]]
    task = mbo_gym.make_task(
        "csv", **read_task_options("csv", [f"path={path}", "score_column=yield"]), design_columns=1
    )
    assert task.space.names == ("1",)


def test_an_alphabet_of_digits_reads(tmp_path: Path) -> None:
    file = tmp_path / "digits.csv"
    file.write_text("site,score\n1122,1\n2211,3\n1212,2\n")
    pairs = [f"path={file}", "score_column=score", "alphabet=12"]
    task = mbo_gym.make_task("csv", **read_task_options("csv", pairs))
    assert task.dataset.x.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]]


def test_the_command_line_says_what_python_says(path: Path) -> None:
    options: dict[str, Any] = {
        "path": str(path),
        "design_columns": ["temp", "1"],
        "score_column": "yield",
        "minimise": False,
        "oracle": "random_forest",
        "bounds": {"temp": [0, None]},
        "on_missing": "drop",
        "percentile": 50.0,
        "delimiter": ",",
        "max_rows": 3,
        "noise": 0.5,
        "seed": 3,
        "fraction": 0.9,
    }
    texts = [f"{name}={format_value(value)}" for name, value in options.items()]
    assert read_task_options("csv", texts) == options
    assert task_options("csv", **options) == options
    again = task_options("csv", **json.loads(json.dumps(options)))
    assert again == options


def test_no_bounds_from_the_command_line_and_from_a_file(path: Path) -> None:
    for given in (read_task_options("csv", ["bounds=none"]), {"bounds": "none"}):
        task = mbo_gym.make_task("csv", path=path, score_column="yield", **given)
        assert not task.space.bounded
    open_side = task_options("csv", bounds={"temp": [0, "none"]})  # TOML has no null
    assert open_side["bounds"] == {"temp": [0.0, None]}


def test_options_are_kept_in_their_types_with_absolute_paths(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    for given in ("plain.csv", Path("plain.csv"), f"..{os.sep}{path.parent.name}{os.sep}plain.csv"):
        task = mbo_gym.make_task(
            "csv", path=given, score_column="yield", max_rows=np.int64(3), noise=0, design_columns=1
        )
        assert task.options == {
            "path": str(path),
            "score_column": "yield",
            "max_rows": 3,
            "noise": 0.0,
            "design_columns": "1",
        }
        assert json.loads(json.dumps(dict(task.options))) == task.options
    monkeypatch.setenv("HOME", str(path.parent))
    assert task_options("csv", path="~/plain.csv") == {"path": str(path)}


def test_an_index_of_columns_is_a_list(path: Path) -> None:
    for columns in (("temp", "1"), np.array(["temp", "1"]), iter(["temp", "1"])):
        task = mbo_gym.make_task("csv", path=path, score_column="yield", design_columns=columns)
        assert task.options["design_columns"] == ["temp", "1"]


def test_the_environment_checks_its_task_options(path: Path) -> None:
    import gymnasium as gym

    options = {"path": str(path), "score_column": "yield", "minimise": "maximise"}
    with pytest.raises(InvalidData, match="minimise must be true or false"):
        gym.make("mbo_gym/csv", task_options=options)


def their_task(
    on: bool,
    share: Annotated[float, Limits(0, 1)] = 0.5,
    anything=None,
    unresolved: NotThere = None,  # type: ignore[name-defined]  # noqa: F821
) -> mbo_gym.Task:
    """A maker whose annotations cannot all be resolved."""
    raise AssertionError


def checked_task(
    on: bool = False,
    sizes: list[int] | None = None,
    words: dict[str, float] | None = None,
    score: Callable[..., Any] | None = None,
    share: Annotated[float, Limits(0, 1)] = 0.5,
    **more: Any,
) -> mbo_gym.Task:
    """A maker of another package."""
    raise AssertionError


def test_the_tasks_of_others_are_checked_too() -> None:
    with TASKS.temporarily("Theirs-Exact-v0", checked_task):
        read = read_task_options("Theirs-Exact-v0", ["on=yes", "sizes=[1,2]", "else=3", "share=1"])
        assert read == {"on": True, "sizes": [1, 2], "else": 3, "share": 1.0}
        assert task_options("Theirs-Exact-v0", words={"a": 1}, score=len, other=Path("x")) == {
            "words": {"a": 1.0},
            "score": len,
            "other": os.path.abspath("x"),
        }
        for pair in ("on=perhaps", "sizes=[1,2.5]", "sizes=3", "words=[1]", "share=2", "noise=-1"):
            with pytest.raises(InvalidData, match="must be"):
                read_task_options("Theirs-Exact-v0", [pair])
    with TASKS.temporarily("Theirs-Exact-v0", their_task):
        assert task_options("Theirs-Exact-v0", on="maybe") == {"on": "maybe"}
        with pytest.raises(UnknownId, match=r"no task option 'of'\. Did you mean on"):
            task_options("Theirs-Exact-v0", of=True)


@pytest.mark.parametrize("name", [3, True, None, ["a"], 2.5, {"a": 1}])
def test_an_unknown_id_may_be_any_value(name: Any) -> None:
    error = UnknownId("thing", name, ["drop", "error"])
    assert str(error) == f"There is no thing {name!r}. Known: drop, error."


def test_too_little_memory_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hungry() -> mbo_gym.Task:
        raise MemoryError("Unable to allocate 224. GiB")

    with TASKS.temporarily("Hungry-Exact-v0", hungry):
        assert run_main(monkeypatch, "show", "Hungry-Exact-v0") == 2
    assert capsys.readouterr().err.startswith("not enough memory (Unable to allocate 224. GiB). ")
