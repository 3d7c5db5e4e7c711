"""Tables of a method's settings and presets, made from its config dataclass."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from markup import code, prose, table

from mbo_gym.cli.docstrings import entries, parse
from mbo_gym.settings import Choice

__all__ = ["changes", "flat", "settings_table"]


def settings_table(config_type: type[Any]) -> str:
    """Return a Markdown table of all settings, nested ones with dotted names; may be empty."""
    return table(["setting", "type", "default", "meaning"], _rows(config_type, config_type(), ""))


def _rows(config_type: type[Any], config: Any, prefix: str) -> Iterator[list[str]]:
    meanings = _meanings(config_type)
    hints = get_type_hints(config_type)
    nested = []
    for field in dataclasses.fields(config_type):
        value = getattr(config, field.name)
        if _is_config(value):
            nested.append((value, f"{prefix}{field.name}."))
            continue
        meaning = prose(meanings.get(field.name, ""))
        if isinstance(value, Choice):
            own = code(f"{prefix}{field.name}.NAME")
            meaning += f" {own} sets a setting of it."
            value = value.name
        yield [code(prefix + field.name), _type(hints[field.name]), code(_text(value)), meaning]
    for value, name in nested:
        yield from _rows(type(value), value, name)


def _meanings(config_type: type[Any]) -> dict[str, str]:
    """Return what each field means: the Args of the class and of the classes it inherits from."""
    found: dict[str, str] = {}
    for kind in reversed(config_type.__mro__):
        if dataclasses.is_dataclass(kind):
            found |= entries(parse(kind.__doc__).sections.get("Args"))
    return found


def _type(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(code(value) for value in get_args(hint))
    if hint is type(None):
        return code("none")
    if hint is Choice:
        return "name"
    if get_origin(hint) is tuple:
        return f"list of {_type(get_args(hint)[0])}"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(
        hint, code(_name(hint))
    )


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _text(value: Any) -> str:
    """Return a value as `--set` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_text(part) for part in value)}]"
    return str(value)


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, (type, Choice))


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the settings of a config, or of a mapping of settings, by dotted name."""
    if isinstance(config, Mapping):
        found: dict[str, Any] = {}
        for name, value in config.items():
            if isinstance(value, Choice):
                found |= {prefix + name: value.name} | flat(value.settings, f"{prefix}{name}.")
            elif isinstance(value, Mapping) or _is_config(value):
                found |= flat(value, f"{prefix}{name}.")
            else:
                found[prefix + name] = value
        return found
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return flat(values, prefix)


def changes(config_type: type[Any], preset: Any) -> str:
    """Return what a preset changes of the default settings, as code spans."""
    default = flat(config_type())
    changed = {
        name: value for name, value in flat(preset).items() if default.get(name, _MISSING) != value
    }
    return ", ".join(code(f"{name}={_text(value)}") for name, value in changed.items()) or "nothing"


_MISSING = object()
