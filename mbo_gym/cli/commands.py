"""What every command has: --quiet, and examples below its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mbo_gym.cli.docstrings import parse
from mbo_gym.progress.quiet import quiet

__all__ = ["Command", "CommandLine", "Group", "QuietOption", "options_of"]


def _hush(context: typer.Context, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        context.find_root().with_resource(quiet())


QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_hush,
        expose_value=False,
        help="no progress; results, warnings and errors only",
    ),
]


class CommandLine(typer.Typer):
    """Typer app whose commands are of the class `Command`."""

    def command(self, name: str | None = None, **facts: Any) -> Callable[..., Any]:
        """Return a decorator that adds a function as a command.

        Args:
            name: Name of the command; None for that of the function.
            **facts: Arguments of `typer.Typer.command`.
        """
        return super().command(name, **{"cls": Command, **facts})


class Command(TyperCommand):
    """A command with --quiet, whose docstring's section Examples stands below its help.

    Attributes:
        examples: Command lines, one a line.
    """

    def __init__(self, *arguments: Any, **facts: Any) -> None:
        facts["help"], self.examples = _divided(facts.get("help"))
        facts["params"] = [*(facts.get("params") or []), *options_of(_with_quiet)]
        super().__init__(*arguments, **facts)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _write_examples(self.examples, formatter)


class Group(TyperGroup):
    """A group of commands, whose help's section Examples stands below it.

    Attributes:
        examples: Command lines, one a line.
    """

    def __init__(self, *arguments: Any, **facts: Any) -> None:
        facts["help"], self.examples = _divided(facts.get("help"))
        super().__init__(*arguments, **facts)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _write_examples(self.examples, formatter)


def options_of(function: Callable[..., Any]) -> list[Any]:
    """Return the options of a function's parameters, as typer makes them, without --help."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    command: Any = typer.main.get_command(app)
    return list(command.params)


def _with_quiet(quiet: QuietOption = False) -> None: ...


def _divided(text: str | None) -> tuple[str, tuple[str, ...]]:
    """Return a help text without its section Examples, and the lines of the section."""
    text = inspect.cleandoc(text or "")
    section = parse(text).sections.get("Examples")
    return text.partition("\n\nExamples:\n")[0], section.lines if section else ()


def _write_examples(examples: tuple[str, ...], formatter: Any) -> None:
    """Write examples where the help was written: to the formatter, or to the terminal by rich."""
    from rich.console import Console

    if not examples:
        return
    lines = [f"   {line}" for line in examples]
    if formatter.getvalue():
        formatter.write("\n".join(["\nExamples:", *lines, ""]))
        return
    console = Console(highlight=False)
    console.print("\n Examples:", style="bold")
    console.print("\n".join(lines), markup=False, soft_wrap=True)  # a line is copied as a whole
