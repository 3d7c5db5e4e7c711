"""Docstrings as `mbo-gym show` and the documentation have them."""

from __future__ import annotations

from mbo_gym.cli.docstrings import Docstring, Section, entries, items, parse, plain

TEXT = """COMs: conservative objective
models (Authors, 2021).

Trains a surrogate that is pushed down.

Two paragraphs: even.

Algorithm (Authors, arXiv 2107.06882):
    1. ascend T steps
       from each batch

    2. minimise

T is 50.

Differs from the paper: a smaller
network.

Args:
    config: Settings; `None` for
        the defaults.
    **more: Others.

References:
    Authors 2021, A title,
        arXiv 2107.06882.
"""


def test_a_docstring_is_taken_apart():
    found = parse(TEXT)
    assert found.summary == "COMs: conservative objective models (Authors, 2021)."
    assert found.paragraphs == (
        "Trains a surrogate that is pushed down.",
        "Two paragraphs: even.",
        "T is 50.",
    )
    assert list(found.sections) == ["Algorithm", "Differs from the paper", "Args", "References"]
    algorithm = found.sections["Algorithm"]
    assert algorithm.note == "Authors, arXiv 2107.06882"
    assert algorithm.text == "1. ascend T steps\n   from each batch\n\n2. minimise"
    assert found.sections["Differs from the paper"].text == "a smaller\nnetwork."


def test_sections_hold_entries_or_items():
    sections = parse(TEXT).sections
    meanings = entries(sections["Args"])
    assert meanings == {"config": "Settings; `None` for the defaults.", "more": "Others."}
    assert plain(meanings["config"]) == "Settings; None for the defaults."
    assert items(sections["References"]) == ["Authors 2021, A title, arXiv 2107.06882."]
    assert items(Section("References", "", ("- one", "  more", "", "- two"))) == ["one more", "two"]


def test_no_docstring_is_an_empty_one():
    assert parse(None) == parse("") == Docstring()
    assert entries(None) == {}
    assert items(None) == []
