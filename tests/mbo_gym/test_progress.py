"""Bars on a terminal, silence elsewhere, metrics as JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from mbo_gym.progress import NullProgress, RichProgress


class Terminal(io.StringIO):
    """An error stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Callable[[], Terminal]:
    """Return what puts a terminal in the place of the error stream (pytest puts its own there after the set-up)."""

    def place() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        return stream

    return place


def test_silence_yields_everything_and_nothing_else(capsys):
    progress = NullProgress()
    assert list(progress.track([1, 2, 3], "counting")) == [1, 2, 3]
    progress.bar("working", 10)(3)
    progress.metrics("stage", 0, loss=1.0)
    assert capsys.readouterr() == ("", "")


def test_nothing_is_drawn_where_the_error_stream_is_no_terminal(capsys):
    with RichProgress(prefix="prefix ") as progress:
        assert list(progress.track(range(3), "counting")) == [0, 1, 2]
        progress.bar("working", 10)(3)
    assert capsys.readouterr() == ("", "")


def test_without_the_context_there_are_no_bars(terminal):
    stream = terminal()
    assert list(RichProgress().track(range(3), "counting")) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_a_loop_is_drawn_with_its_length_and_prefix(terminal):
    stream = terminal()
    with RichProgress(prefix="grad: ") as progress:
        items = progress.track(["a", "b", "c"], "counting")
        assert next(items) == "a"
        progress._bars.refresh()
        assert list(items) == ["b", "c"]
        assert progress._bars.tasks == []  # a finished loop leaves its line
    assert "grad: counting" in stream.getvalue()
    assert "0/3" in stream.getvalue()


def test_the_length_of_an_iterator_can_be_given(terminal):
    terminal()
    with RichProgress() as progress:
        items = progress.track(iter("ab"), "counting", total=2)
        next(items)
        assert [task.total for task in progress._bars.tasks] == [2]
        assert list(items) == ["b"]
        open_end = progress.track(iter("ab"), "counting")
        next(open_end)
        assert [task.total for task in progress._bars.tasks] == [None]
        open_end.close()
        assert progress._bars.tasks == []


def test_a_loop_may_end_after_the_bars(terminal):
    terminal()
    with RichProgress() as progress:
        items = progress.track(range(3), "counting")
        next(items)
    items.close()  # as an interrupted loop does, once its traceback is gone
    assert list(items) == []


def test_a_loop_that_fails_leaves_no_bar(terminal):
    terminal()
    with RichProgress() as progress:
        items = progress.track((1 / i for i in (1, 0)), "counting")
        assert next(items) == 1
        assert len(progress._bars.tasks) == 1
        with pytest.raises(ZeroDivisionError):
            next(items)
        assert progress._bars.tasks == []


def test_loops_within_loops(terminal):
    terminal()
    with RichProgress() as progress:
        seen = [(i, j) for i in progress.track(range(2), "outer") for j in progress.track(range(2), "inner")]
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_bar_follows_the_steps_done(terminal):
    terminal()
    with RichProgress(prefix="p ") as progress:
        update = progress.bar("working", 10)
        (task,) = progress._bars.tasks
        update(4)
        assert (task.description, task.completed, task.visible) == ("p working", 4, True)
        update(12)
        assert (task.completed, task.visible) == (10, False)


def test_metrics_are_json_lines_on_disk_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file, RichProgress(file) as progress:
        progress.metrics("surrogate", 0, loss=1.5)
        progress.metrics("search", 10, prediction=-2.0, action=0.25)
        lines = [json.loads(line) for line in path.read_text().splitlines()]  # before the file is closed
    assert lines == [
        {"stage": "surrogate", "step": 0, "loss": 1.5},
        {"stage": "search", "step": 10, "prediction": -2.0, "action": 0.25},
    ]


def test_metrics_go_nowhere_without_a_file():
    with RichProgress() as progress:
        assert progress.metrics("surrogate", 0, loss=1.5) is None
