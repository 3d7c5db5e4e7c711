"""Tables in wide and narrow terminals, and in files."""

from __future__ import annotations

import pytest
from rich.table import Table

from mbo_gym.cli import terminal


def table(caption: str | None = None) -> Table:
    made = Table("name", "first", "second", "two\nlines", caption=caption)
    made.add_row("a row with a long name", "1" * 10, "2" * 10, "3" * 10)
    return made


@pytest.fixture
def show(monkeypatch, capsys):
    """Return what shows a table in a terminal of a width and returns the text."""

    def call(made: Table, width: int | None, **settings) -> str:
        original = terminal.Console
        fixed = (
            {} if width is None else {"force_terminal": True, "color_system": None, "width": width}
        )
        monkeypatch.setattr(terminal, "Console", lambda **k: original(**{**fixed, **k}))
        monkeypatch.setenv("TERM", "xterm")
        terminal.show(made, **settings)
        monkeypatch.setattr(terminal, "Console", original)
        return capsys.readouterr().out

    return call


def test_a_table_that_fits_keeps_its_columns(show):
    out = show(table(), 120, left_out_first=("first", "second"))
    assert all(text in out for text in ("first", "1" * 10, "2" * 10, "3" * 10))
    assert "Left out" not in out


def test_a_narrow_terminal_goes_without_columns_in_the_order_given(show):
    out = show(table(), 58, left_out_first=("second", "first"))
    assert "1" * 10 in out
    assert "2" * 10 not in out
    assert "Left out for want of width: second; result.json has them." in " ".join(out.split())


def test_more_columns_go_until_it_fits_and_are_named_below_the_caption(show):
    made = table("the caption")
    out = show(
        made, 44, left_out_first=("not there", "two\nlines", "first", "second"), where="--markdown"
    )
    assert not any(text in out for text in ("1" * 10, "3" * 10))
    assert "2" * 10 in out
    words = " ".join(out.split())
    assert words.index("the caption") < words.index(
        "Left out for want of width: two: lines, first; --markdown has them."
    )


def test_a_file_gets_every_column_unbroken(show):
    out = show(table(), None, left_out_first=("first", "second"))
    (row,) = [line for line in out.splitlines() if "a row with a long name" in line]
    assert all(text in row for text in ("1" * 10, "2" * 10, "3" * 10))
    assert "Left out" not in out
