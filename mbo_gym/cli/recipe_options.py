"""Options of a command that follow from the fields of `TrajectoryRecipe`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mbo_gym.cli.docstrings import entries, parse, plain

__all__ = ["RecipeCommand"]

_OTHER_NAMES = {"n": "--trajectories"}
"""Further names of options, by field."""
_READERS: dict[str, Any] = {"int": int, "float": float, "float | None": float | None}
"""Type of an option, by the type of its field; text for any other."""


class RecipeCommand(TyperCommand):
    """A command with an option for each field of `TrajectoryRecipe`.

    The recipe made of the options is `ctx.obj`. Options are made when the command is called, so
    that other commands do not wait for torch.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the function and an option for each field."""
        return [*super().get_params(ctx), *_recipe_options()]

    def invoke(self, ctx: Any) -> Any:
        """Call the function, with the recipe in `ctx.obj`."""
        from mbo_gym.trajectories.recipe import TrajectoryRecipe

        values = {field.name: ctx.params.pop(field.name) for field in fields(TrajectoryRecipe)}
        given = {
            name: value
            for name, value in values.items()
            if ctx.get_parameter_source(name).name != "DEFAULT"
        }
        ctx.obj = TrajectoryRecipe.of(ctx.params.pop("preset"), **given)
        return super().invoke(ctx)


def _recipe_options() -> list[Any]:
    """Return an option for each field, as typer makes it of a function's parameter."""
    from mbo_gym.trajectories.recipe import TrajectoryRecipe

    meanings = entries(parse(TrajectoryRecipe.__doc__).sections["Args"])

    def collect(**fields: Any) -> None: ...

    parameters = [
        _parameter(
            field.name,
            field.default,
            _READERS.get(str(field.type), str),
            typer.Option(*_names(field.name), help=plain(meanings[field.name])),
        )
        for field in fields(TrajectoryRecipe)
    ]
    presets = f"Named fields; options given beside it count: {', '.join(TrajectoryRecipe.PRESETS)}."
    parameters.append(_parameter("preset", None, str | None, typer.Option(help=presets)))
    collect.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(collect)
    command: Any = typer.main.get_command(app)
    return list(command.params)


def _parameter(name: str, default: Any, kind: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _names(field: str) -> list[str]:
    names = [f"--{field.replace('_', '-')}"]
    return [*names, _OTHER_NAMES[field]] if field in _OTHER_NAMES else names
