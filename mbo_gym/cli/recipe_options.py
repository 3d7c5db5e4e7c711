"""Options of a command that follow from the fields of `TrajectoryRecipe`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any

import typer

from mbo_gym.cli import completion
from mbo_gym.cli.commands import Command, options_of
from mbo_gym.cli.docstrings import entries, parse, plain

__all__ = ["FIELDS", "RecipeCommand"]

FIELDS = (
    "sampler",
    "n",
    "horizon",
    "p",
    "action_mode",
    "reward",
    "action_scale",
    "outside",
    "surrogate",
    "encoder",
    "seed",
    "gradient",
)
"""Fields of the recipe: the shell completes their options without loading torch."""
_OTHER_NAMES = {"n": "--trajectories"}
"""Further names of options, by field."""
_READERS: dict[str, Any] = {"int": int, "float": float, "float | None": float | None}
"""Type of an option, by the type of its field; text for any other."""
_COMPLETERS = {"surrogate": completion.surrogate, "encoder": completion.encoder}


class RecipeCommand(Command):
    """A command with an option for each field of `TrajectoryRecipe`.

    The recipe made of the options is `ctx.obj`. Options are made when the command is called, so
    that other commands do not wait for torch.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the function and an option for each field."""
        completing = ctx.resilient_parsing
        recipe = _options(FIELDS, {}, {}) if completing else _recipe_options()
        *own, asking_for_help = super().get_params(ctx)
        return [*own, *recipe, asking_for_help]

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
    """Return an option for each field, of its type, with its default and meaning."""
    from mbo_gym.trajectories.recipe import TrajectoryRecipe

    meanings = entries(parse(TrajectoryRecipe.__doc__).sections["Args"])
    meanings["preset"] = f"options given beside it count: {', '.join(TrajectoryRecipe.PRESETS)}."
    described = {field.name: field for field in fields(TrajectoryRecipe)}
    return _options(described, described, meanings)


def _options(
    names: Iterable[str], described: Mapping[str, Any], meanings: Mapping[str, str]
) -> list[Any]:
    """Return an option for each name, as typer makes it of a function's parameter.

    Args:
        names: Names of the fields.
        described: Fields of the dataclass by name, for types and defaults; empty for none.
        meanings: Help texts by name, or none.
    """

    def collect(**fields: Any) -> None: ...

    parameters = [
        _parameter(
            name,
            described[name].default if described else "",
            _READERS.get(str(described[name].type), str) if described else str,
            typer.Option(
                *_names(name),
                help=plain(meanings.get(name, "")),
                autocompletion=_COMPLETERS.get(name),
            ),
        )
        for name in names
    ]
    preset = typer.Option(help=f"Named fields; {meanings.get('preset', '')}")
    parameters.append(_parameter("preset", None, str | None, preset))
    collect.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return options_of(collect)


def _parameter(name: str, default: Any, kind: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _names(field: str) -> list[str]:
    names = [f"--{field.replace('_', '-')}"]
    return [*names, _OTHER_NAMES[field]] if field in _OTHER_NAMES else names
