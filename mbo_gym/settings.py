"""Turns ``key=value`` texts into typed fields of a config dataclass, and checks values given in Python."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mbo_gym.errors import UnknownId

__all__ = [
    "format_value",
    "parse_options",
    "parse_pairs",
    "parse_seeds",
    "parse_value",
    "part_of",
    "require_at_least",
    "typed_fields",
]

Config = TypeVar("Config")


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """Split ``key=value`` texts.

    Raises:
        ValueError: A text has no ``=``, or a key comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"{flag} takes key=value, got {pair!r}")
        if key in found:
            raise ValueError(f"{flag} {key}=.. is given twice")
        found[key] = value
    return found


def parse_value(text: str) -> Any:
    """Read a text as JSON where it is JSON (numbers, true, null, lists), else as it stands; ``none`` reads as null."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_options(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """Split ``key=value`` texts and read the values."""
    return {key: parse_value(value) for key, value in parse_pairs(pairs, flag).items()}


def format_value(value: Any) -> str:
    """Return the text that `parse_value` reads as `value`."""
    return value if isinstance(value, str) and parse_value(value) == value else json.dumps(value)


def parse_seeds(text: str) -> list[int]:
    """Read seeds, e.g. ``0``, ``0-7`` or ``0,3,5``.

    Raises:
        ValueError: There is none, one comes twice, or a part is no whole number.
    """
    try:
        seeds: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise ValueError(f"seeds are whole numbers and ranges, e.g. 0-7 or 0,3,5; got {text!r}") from None
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must name at least one seed and none twice, got {text!r}")
    return seeds


def typed_fields(config_type: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against the fields of a config dataclass, whole numbers turned into floats where a float is due.

    Raises:
        UnknownId: The dataclass has no such field; the message names the nearest.
        ValueError: A value is not of the field's type.
    """
    hints = get_type_hints(config_type)
    known = {f.name for f in dataclasses.fields(config_type)}
    typed = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownId(f"setting of {config_type.__name__}", key, known)
        typed[key] = _as_type(value, hints[key], key)
    return typed


def part_of(config: Any, kind: type[Config]) -> Config:
    """Return the config of class `kind` that has a larger config's values."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def require_at_least(config: Any, least: float, *names: str) -> None:
    """Raise ValueError unless the named fields of a config are None or at least `least` (NaN is neither)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least:g}, got {value!r}")


def _as_type(value: Any, hint: Any, key: str) -> Any:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value == "none" and type(None) in options:  # TOML has no other way to say it
        value = None
    for option in options:
        matched, converted = _match(value, option)
        if matched:
            return converted
    allowed = " or ".join(_name(option) for option in options)
    raise ValueError(f"{key} must be {allowed}, got {value!r}")


def _match(value: Any, option: Any) -> tuple[bool, Any]:
    if get_origin(option) is Literal:
        if value is None and "none" in get_args(option):  # what a command line's ``none`` was read as
            return True, "none"
        return value in get_args(option), value
    if get_origin(option) is tuple and isinstance(value, (list, tuple)):
        inner = get_args(option)[0]
        return all(_match(v, inner)[0] for v in value), tuple(_match(v, inner)[1] for v in value)
    if option is type(None):
        return value is None, None
    if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return True, float(value)
    if option is int and (isinstance(value, bool) or not isinstance(value, int)):
        return False, value
    return isinstance(option, type) and isinstance(value, option), value


def _name(option: Any) -> str:
    if get_origin(option) is Literal:
        return " | ".join(repr(a) for a in get_args(option))
    return "None" if option is type(None) else getattr(option, "__name__", str(option))
