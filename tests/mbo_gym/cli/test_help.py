"""The help of every command has examples, which parse, and the option --quiet."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mbo_gym.cli import app as cli
from mbo_gym.methods.registry import METHODS
from mbo_gym.tasks.registry import TASKS

ROOT: Any = typer.main.get_command(cli.app)


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command and group with the words that call it."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


def parse(line: str) -> str:
    """Parse a command line without running it, and return the words of the command."""
    _, *arguments = shlex.split(line)
    command, context, path = ROOT, None, ()
    while True:
        context = command.make_context(command.name or "mbo-gym", arguments, parent=context)
        if not hasattr(command, "resolve_command"):
            return " ".join(path)
        # older versions of click keep the words for the inner command apart
        left = [*getattr(context, "_protected_args", []), *context.args]
        name, command, arguments = command.resolve_command(context, left)
        path = (*path, name)


def test_all_commands_are_seen():
    assert {"", "run", "data", "data get", "results pack", "export"} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_ends_with_examples(path):
    shown = CliRunner().invoke(cli.app, [*path.split(), "--help"], terminal_width=80)
    assert shown.exit_code == 0
    options, _, examples = shown.output.rpartition("Examples:\n")
    assert "--help" in options
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines == list(COMMANDS[path].examples)
    assert 1 <= len(lines) <= 3
    assert all(len(line) <= 77 for line in lines), "they are indented by 3 in 80 columns"
    assert "Examples" not in options


@pytest.mark.parametrize(
    ("path", "line"), [(path, line) for path, c in COMMANDS.items() for line in c.examples]
)
def test_an_example_parses_and_is_of_its_command(path, line):
    assert shlex.split(line)[0] == "mbo-gym"
    assert parse(line).startswith(path)


def test_examples_name_what_there_is():
    words = [word for c in COMMANDS.values() for line in c.examples for word in line.split()]
    tasks = [word for word in words if re.fullmatch(r"\w+-\w+-v\d+", word)]
    assert len(tasks) > 5
    assert set(tasks) <= set(TASKS)
    lists = [c.examples for name, c in COMMANDS.items() if name == "run"]
    methods = [name for line in lists[0] for name in line.split()[2].split(",")]
    assert set(methods) <= set(METHODS)


@pytest.mark.parametrize("line", ["mbo-gym run grad", "mbo-gym run grad Branin-Exact-v0 --sedes 1"])
def test_the_parser_of_this_test_refuses(line):
    with pytest.raises(Exception, match=r"(?i)missing|no such option"):
        parse(line)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_takes_quiet(path):
    names = [name for option in COMMANDS[path].params for name in option.opts]
    group = hasattr(COMMANDS[path], "commands") and path != ""
    assert ("--quiet" in names) is not group


def test_without_rich_the_examples_are_there_too(monkeypatch):
    monkeypatch.setattr("typer.core.HAS_RICH", False)
    shown = CliRunner().invoke(cli.app, ["run", "--help"]).output
    assert "╭" not in shown
    assert "Examples:\n   mbo-gym run grad Branin-Exact-v0" in shown
