"""Bars on a terminal, silence elsewhere, metrics for the loggers, designs along the search."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import NullProgress


class Terminal(io.StringIO):
    """An error stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Callable[[], Terminal]:
    """Return what puts a terminal in the place of the error stream (pytest puts its own there after
    the set-up)."""

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
    progress.designs("stage", 0, np.zeros((1, 2)), np.zeros(1))
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


def test_quiet_progress_draws_nothing_on_a_terminal_either(terminal):
    stream = terminal()
    with RichProgress(quiet=True) as progress:
        assert list(progress.track(range(3), "counting")) == [0, 1, 2]
        progress.bar("working", 10)(3)
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
        seen = [
            (i, j)
            for i in progress.track(range(2), "outer")
            for j in progress.track(range(2), "inner")
        ]
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


class Notes:
    """A logger that keeps what it gets."""

    def __init__(self):
        self.seen, self.closed = [], 0

    def log(self, stage, step, values):
        self.seen.append((stage, step, dict(values)))

    def close(self):
        self.closed += 1


def test_every_logger_gets_the_metrics_and_is_closed_at_the_end():
    loggers = [Notes(), Notes()]
    with RichProgress(loggers) as progress:
        progress.metrics("surrogate", 0, loss=1.5)
        progress.metrics("search", 10, prediction=-2.0, action=0.25)
        assert [logger.closed for logger in loggers] == [0, 0]
    for logger in loggers:
        assert logger.seen == [
            ("surrogate", 0, {"loss": 1.5}),
            ("search", 10, {"prediction": -2.0, "action": 0.25}),
        ]
        assert logger.closed == 1


def test_loggers_are_closed_after_an_error_too():
    logger = Notes()
    with pytest.raises(KeyboardInterrupt), RichProgress([logger]):
        raise KeyboardInterrupt
    assert logger.closed == 1


def test_metrics_go_nowhere_without_a_logger():
    with RichProgress() as progress:
        assert progress.metrics("surrogate", 0, loss=1.5) is None


def test_designs_along_the_search_are_kept_as_they_were():
    x, prediction = (
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        np.array([0.5, 0.25], dtype=np.float32),
    )
    with RichProgress() as progress:
        progress.designs("ascent", 0, x, prediction)
        x += 1  # a search that works in place
        prediction += 1
        progress.designs("ascent", 10, x[:1], prediction[:1])
    assert [(point.stage, point.step) for point in progress.trace] == [
        ("ascent", 0),
        ("ascent", 10),
    ]
    assert progress.trace[0].x.dtype == np.int32
    np.testing.assert_array_equal(progress.trace[0].x, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(progress.trace[0].prediction, [0.5, 0.25])
    np.testing.assert_array_equal(progress.trace[1].x, [[2, 3]])
    np.testing.assert_array_equal(progress.trace[1].prediction, [1.5])


def test_each_design_along_the_search_needs_a_prediction():
    with pytest.raises(ValueError, match="2 designs need as many predictions"):
        RichProgress().designs("ascent", 0, np.zeros((2, 3)), np.zeros((2, 1)))


def test_tables_are_kept_and_a_later_one_replaces_its_name():
    progress = RichProgress()
    rows = [{"name": "trend", "r2": 0.5}]
    progress.table("race", rows)
    rows[0]["r2"] = 0.0
    assert progress.tables == {"race": [{"name": "trend", "r2": 0.5}]}
    progress.table("race", [])
    assert progress.tables == {"race": []}
    NullProgress().table("race", rows)
