"""Typed settings: nested config dataclasses, dotted names, values from text.

By hand, not with pydantic or typer: settings stay plain dataclasses, and a message names the
nearest setting.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mbo_gym.errors import UnknownId

__all__ = [
    "Choice",
    "format_value",
    "from_plain",
    "leaf_settings",
    "parse_options",
    "parse_pairs",
    "parse_seeds",
    "parse_value",
    "part_of",
    "require_at_least",
    "typed_fields",
    "with_settings",
]

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Choice:
    """A registered thing by its name, with settings of its own.

    As a field of a config it is set by its name, and its settings by dotted names:
    ``--set surrogate=mlp --set surrogate.hidden=128``.

    Args:
        name: Registered name.
        settings: Settings that differ from those of the name.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name


def no_settings(choice: Choice) -> Iterable[str]:
    """Return no names, for configs whose choices are not looked up."""
    return ()


def with_settings(
    config: Config,
    values: Mapping[str, Any],
    settings_of: Callable[[Choice], Iterable[str]] = no_settings,
) -> Config:
    """Return a config dataclass with other values, checked against the fields' types.

    Args:
        config: A frozen dataclass whose fields may be frozen dataclasses and `Choice`s.
        values: Values by field; a nested field by its dotted name, or by a mapping of its own.
        settings_of: Names of a choice's settings, for the answer to an old flat name.

    Raises:
        UnknownId: There is no such field; the message names the nearest, or the new place of an old
            flat name.
        ValueError: A value is not of the field's type.
    """
    hints = get_type_hints(type(config))
    unknown = [key for key in values if not _is_known(config, key, hints)]
    if unknown:
        others = {key: value for key, value in values.items() if key not in unknown}
        raise _unknown(with_settings(config, others, settings_of), unknown[0], settings_of)
    inner: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        first, dot, rest = key.partition(".")
        if dot:
            inner.setdefault(first, {})[rest] = value
        elif isinstance(value, Mapping) and _is_nested(getattr(config, first), hints[first]):
            inner.setdefault(first, {}).update(value)
        else:
            flat[first] = _as_type(value, hints[first], first)
    for name, nested in inner.items():
        current = flat.get(name, getattr(config, name))
        if current is None and "name" in nested and Choice in _options(hints[name]):
            current = Choice("")
        if current is None:
            raise ValueError(
                f"{name} is None and has no settings, got {', '.join(nested)}. Set {name} first."
            )
        if isinstance(current, Choice):
            chosen = dict(nested)
            base = (
                Choice(_as_type(chosen.pop("name"), str, f"{name}.name"))
                if "name" in chosen
                else current
            )
            flat[name] = Choice(
                base.name, {**base.settings, **chosen.pop("settings", {}), **chosen}
            )
        else:
            try:
                flat[name] = with_settings(current, nested, settings_of)
            except UnknownId as error:
                error.moved_to = [f"{name}.{place}" for place in error.moved_to]
                raise
    return dataclasses.replace(config, **flat)  # type: ignore[type-var]


def leaf_settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return every setting of a config by its dotted name; a `Choice` counts as one."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, Choice):
            found |= leaf_settings(value, f"{prefix}{item.name}.")
        else:
            found[f"{prefix}{item.name}"] = value
    return found


def from_plain(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return the config dataclass whose `dataclasses.asdict` was written as JSON."""
    return with_settings(kind(), values)


def _is_nested(value: Any, hint: Any) -> bool:
    """Whether a field holds a config of its own, or may."""
    return dataclasses.is_dataclass(value) or any(
        dataclasses.is_dataclass(option) for option in _options(hint)
    )


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types that a field allows."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_known(config: Any, key: str, hints: Mapping[str, Any]) -> bool:
    """Whether a config has a setting, or may have: a nested config judges its own names."""
    first, dot, _ = key.partition(".")
    if first not in {f.name for f in dataclasses.fields(config)}:
        return False
    return not dot or _is_nested(getattr(config, first), hints[first])


def _unknown(config: Any, key: str, settings_of: Callable[[Choice], Iterable[str]]) -> UnknownId:
    """Return the error for a setting that does not exist."""
    leaves = leaf_settings(config)
    known = list(leaves)
    known += [f.name for f in dataclasses.fields(config) if f.name not in known]
    places = list(known)
    for name, value in leaves.items():
        if isinstance(value, Choice):
            places += [f"{name}.{own}" for own in settings_of(value)]
    # OLD_NAMES holds the settings whose last part has changed too
    new = getattr(config, "OLD_NAMES", {}).get(key)
    moved = [name for name in places if name == new or name.rpartition(".")[2] == key]
    return UnknownId(f"setting of {type(config).__name__}", key, known, moved_to=moved)


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
    """Parse a text as JSON where it is JSON, else keep it; ``none`` is null."""
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
        raise ValueError(
            f"seeds are whole numbers and ranges, e.g. 0-7 or 0,3,5; got {text!r}"
        ) from None
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must name at least one seed and none twice, got {text!r}")
    return seeds


def typed_fields(config_type: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against the fields of a config dataclass.

    Whole numbers become floats where a float is due.

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
    """Raise ValueError unless each named field is None or at least `least`.

    NaN is refused.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least:g}, got {value!r}")


def _as_type(value: Any, hint: Any, key: str) -> Any:
    options = _options(hint)
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
        if value is None and "none" in get_args(
            option
        ):  # what a command line's ``none`` was read as
            return True, "none"
        return value in get_args(option), value
    if get_origin(option) is tuple and isinstance(value, (list, tuple)):
        inner = get_args(option)[0]
        return all(_match(v, inner)[0] for v in value), tuple(_match(v, inner)[1] for v in value)
    if option is type(None):
        return value is None, None
    if option is Choice and isinstance(value, str):
        return True, Choice(value)
    if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return True, float(value)
    if option is int and (isinstance(value, bool) or not isinstance(value, int)):
        return False, value
    return isinstance(option, type) and isinstance(value, option), value


def _name(option: Any) -> str:
    if get_origin(option) is Literal:
        return " | ".join(repr(a) for a in get_args(option))
    return "None" if option is type(None) else getattr(option, "__name__", str(option))
