"""Settings of a config dataclass as text: names as `--set` takes them, types, meanings."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mbo_gym.cli.docstrings import entries, parse, plain
from mbo_gym.settings import Choice, leaf_settings

__all__ = ["Setting", "changes", "in_words", "settings_of"]

_TYPES = {
    bool: "true | false",
    int: "whole number",
    float: "number",
    str: "text",
    Choice: "name",
    type(None): "none",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: Dotted name, as ``--set`` takes it.
        kind: Type, in words.
        default: Default value, as ``--set`` takes it.
        meaning: Text of the field in the docstring of its dataclass.
    """

    name: str
    kind: str
    default: str
    meaning: str


def settings_of(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a config dataclass, those of nested ones with dotted names."""
    kind = type(config)
    hints = get_type_hints(kind)
    meanings = _meanings(kind)
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        name = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, Choice):
            yield from settings_of(value, f"{name}.")
        else:
            meaning = plain(meanings.get(item.name, ""))
            yield Setting(name, _kind(hints[item.name]), in_words(value), meaning)


def changes(config: Any, base: Any) -> str:
    """Return the settings in which a config differs from another, as ``name=value`` texts."""
    before = leaf_settings(base)
    changed = (
        f"{name}={in_words(value)}"
        for name, value in leaf_settings(config).items()
        if name not in before or before[name] != value
    )
    return ", ".join(changed)


def in_words(value: Any) -> str:
    """Return a value as ``--set`` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(in_words, value))}]"
    return str(value)


def _kind(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_kind(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return " | ".join(map(in_words, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"list of {_kind(get_args(hint)[0])}"
    return _TYPES.get(hint, getattr(hint, "__name__", str(hint)))


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Return the text of each field: the Args of the class and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= entries(parse(base.__doc__).sections.get("Args"))
    return found
