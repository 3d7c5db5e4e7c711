"""Typed values: settings of config dataclasses, arguments of functions, values from text.

By hand, not with pydantic or typer: settings stay plain dataclasses, and a message names the
nearest setting.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mbo_gym.errors import InvalidData, UnknownId

__all__ = [
    "Choice",
    "Limits",
    "absolute_path",
    "arguments_from_text",
    "format_value",
    "from_plain",
    "from_preset",
    "leaf_settings",
    "parse_options",
    "parse_pairs",
    "parse_seeds",
    "parse_value",
    "part_of",
    "require_at_least",
    "typed",
    "typed_arguments",
    "typed_fields",
    "with_settings",
]

Config = TypeVar("Config")
Function = TypeVar("Function", bound=Callable[..., Any])

_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
"""Words for a flag, in any case."""
_KINDS = {
    bool: "true or false (also yes/no, on/off, 1/0)",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "none",
}
_LONGEST_SHOWN = 80


@dataclasses.dataclass(frozen=True)
class Limits:
    """Range of a finite number, as an annotation: ``Annotated[float, Limits(0, 100)]``.

    Args:
        low: Lowest number allowed.
        high: Highest number allowed.
        above: Whether `low` itself is refused.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return bool((self.low < value if self.above else self.low <= value) and value <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        return f"in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"


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
    return _json_or(text, text)


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


def typed_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check keyword arguments against the annotations of a function.

    The values returned can be written to a file, functions excepted. Flags may be words
    (``yes``, ``off``, ..) or 0 and 1, a number stands for a text that is due, a path becomes
    absolute. ``Annotated[float, Limits(0, 1)]`` gives a range, a text in it the words of the
    message. An argument without an annotation that can be resolved is not checked.

    Args:
        function: What the arguments are for.
        values: Arguments by name.

    Raises:
        UnknownId: A word is none of the allowed ones; the message names them.
        InvalidData: A value is not of the annotation's type, or out of range.
    """
    parameters = _parameters(function)
    return {
        name: _typed(value, parameters[name], repr(value)) if name in parameters else _plain(value)
        for name, value in values.items()
    }


def typed(function: Function) -> Function:
    """Let a function check its own arguments as `typed_arguments` does."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(function).bind(*args, **kwargs)
        own = _parameters(function)
        given = {name: value for name, value in bound.arguments.items() if name in own}
        bound.arguments.update(typed_arguments(function, given))
        return function(*bound.args, **bound.kwargs)

    return checked  # type: ignore[return-value]


def arguments_from_text(function: Callable[..., Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Read keyword arguments of a function from texts, as a command line gives them.

    A text that is due is taken as it stands; in quotes (``"none"``) where it would mean something
    else. Lists and mappings are JSON; ``none`` is None.

    Args:
        function: What the arguments are for.
        texts: Texts by name.

    Raises:
        UnknownId: A word is none of the allowed ones; the message names them.
        InvalidData: A text does not spell a value of the annotation's type.
    """
    parameters = _parameters(function)
    read = {}
    for name, text in texts.items():
        if name in parameters:
            value = _value_of(text, parameters[name].annotation)
            read[name] = _typed(value, parameters[name], repr(text))
        else:
            read[name] = parse_value(text)
    return read


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return a path that means the same in every working folder; ``~`` is the home folder."""
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def part_of(config: Any, kind: type[Config]) -> Config:
    """Return the config of class `kind` that has a larger config's values."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def from_preset(
    kind: type[Config], what: str, preset: str | None, fields: Mapping[str, Any]
) -> Config:
    """Return an instance of a preset in `kind.PRESETS`, with further fields.

    Args:
        kind: Class with a table ``PRESETS`` of fields by name.
        what: Name of the class in messages.
        preset: Name of the preset; None for the defaults.
        fields: Fields that count where both are given.

    Raises:
        UnknownId: No preset has that name.
    """
    presets: Mapping[str, Mapping[str, Any]] = kind.PRESETS  # type: ignore[attr-defined]
    if preset is not None and preset not in presets:
        raise UnknownId(f"preset of {what}", preset, presets)
    return kind(**{**(presets[preset] if preset else {}), **fields})


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
    if isinstance(value, float) and not math.isfinite(value):
        allowed = allowed.replace("float", "a finite float")
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
        return _finite(value)
    if option is int and (isinstance(value, bool) or not isinstance(value, int)):
        return False, value
    return isinstance(option, type) and isinstance(value, option), value


def _finite(value: float) -> tuple[bool, float]:
    """Match a number that is neither NaN nor infinite, also as a float."""
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        return False, value
    return math.isfinite(number), number


def _name(option: Any) -> str:
    if get_origin(option) is Literal:
        return " | ".join(repr(a) for a in get_args(option))
    return "None" if option is type(None) else getattr(option, "__name__", str(option))


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a function that have an annotation which can be resolved."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    except (NameError, AttributeError, TypeError, SyntaxError):  # names for type checkers only
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    empty = inspect.Parameter.empty
    return {p.name: p for p in parameters if p.kind in named and p.annotation is not empty}


def _typed(value: Any, parameter: inspect.Parameter, shown: str) -> Any:
    """Return an argument in the type of its parameter, or raise an error that says what is due."""
    hint = parameter.annotation
    name = parameter.name
    if value is None and parameter.default is None:
        return None
    matched, converted = _match_argument(value, hint)
    if matched:
        return converted
    options = _options(hint)
    words = [word for option in options for word in _words_of(option)]
    others = [o for o in options if get_origin(o) is not Literal and o is not type(None)]
    if isinstance(value, str) and words and all(_is_function(option) for option in others):
        raise UnknownId(name, value, words)
    allowed = _kind_in_words(hint)
    remedy = "Pass such a value"
    if parameter.default is None:
        allowed = _kind_in_words(*(o for o in options if o is not type(None)))
        remedy += f", or leave {name} out"
    elif parameter.default is not inspect.Parameter.empty:
        remedy += f", or leave {name} out for {format_value(parameter.default)}"
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}.."
    raise InvalidData(f"{name} must be {allowed}, got {shown}. {remedy}.")


def _match_argument(value: Any, hint: Any) -> tuple[bool, Any]:
    """Return whether a value is of an annotated type, and the value in that type."""
    options = _options(hint)
    if _is_path(options):
        if isinstance(value, (str, os.PathLike)):
            path = os.fspath(value)
            return (True, absolute_path(path)) if path and isinstance(path, str) else (False, value)
        options = tuple(option for option in options if not _is_path((option,)))
    for option in options:
        matched, converted = _match_one(value, option)
        if matched:
            return True, converted
    if isinstance(value, str) and value == "none" and type(None) in options:  # as TOML says it
        return True, None
    return False, value


def _match_one(value: Any, option: Any) -> tuple[bool, Any]:
    origin = get_origin(option)
    if origin is Annotated:
        kind, *limits = get_args(option)
        matched, value = _match_argument(value, kind)
        limits = [limit for limit in limits if isinstance(limit, Limits)]
        return matched and all(value in limit for limit in limits), value
    if option is bool:
        if isinstance(value, str):
            flag = _FLAGS.get(value.strip().lower())
            return flag is not None, flag
        is_flag = isinstance(value, (bool, np.bool_)) or (
            isinstance(value, Integral) and value in (0, 1)
        )
        return is_flag, bool(value) if is_flag else value
    if option in (int, float):
        return _match_number(value, option)
    if option is str:
        if isinstance(value, (str, Integral, Real)) and not isinstance(value, bool):
            return True, str(value)
        return False, value
    if origin is Literal:
        return isinstance(value, (str, bool, int)) and value in get_args(option), value
    if _is_function(option):
        return callable(value), value
    if option is Any or isinstance(option, TypeVar):
        return True, _plain(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _match_mapping(value, get_args(option))
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not tuple:
        return _match_items(value, get_args(option)[0])
    return _match(value, option) if origin in (None, tuple) else (isinstance(value, origin), value)


def _match_number(value: Any, kind: type[Any]) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return False, value
    try:
        return True, kind(value)
    except OverflowError:  # a whole number beyond the largest float
        return False, value


def _match_items(value: Any, inner: Any) -> tuple[bool, Any]:
    """Match a list, or another ordered collection such as an array."""
    if isinstance(value, (str, bytes, Mapping, AbstractSet)) or not hasattr(value, "__iter__"):
        return False, value
    pairs = [_match_argument(item, inner) for item in value]
    return all(matched for matched, _ in pairs), [item for _, item in pairs]


def _match_mapping(value: Any, inner: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, Mapping):
        return False, value
    keys = [_match_argument(key, inner[0]) for key in value]
    items = [_match_argument(item, inner[1]) for item in value.values()]
    typed = {key: item for (_, key), (_, item) in zip(keys, items, strict=True)}
    return all(matched for matched, _ in (*keys, *items)), typed


def _value_of(text: str, hint: Any) -> Any:
    """Return what a text of the command line says, where a value of an annotated type is due."""
    options = _options(hint)
    words = [word for option in options for word in _words_of(option)]
    if text in words:
        return text
    if str not in options:
        return parse_value(text)
    if text.lower() in ("none", "null") and type(None) in options:
        return None
    # Numbers stay as they are spelled: a column may be called 1.50.
    value = _json_or(text, text, parse_int=str, parse_float=str, parse_constant=str)
    takes_list = any(get_origin(option) is Sequence for option in options)
    if isinstance(value, list) and takes_list:
        return [
            json.dumps(item) if item is None or item in (True, False) else item for item in value
        ]
    return value if isinstance(value, str) else text


def _json_or(text: str, otherwise: Any, **readers: Any) -> Any:
    """Return the JSON value that a text spells, or another value."""
    try:
        return json.loads(text, **readers)
    except (ValueError, RecursionError):
        return otherwise


def _plain(value: Any) -> Any:
    """Return a path as absolute text, so that it can be written to a file; others as they are."""
    return absolute_path(value) if isinstance(value, os.PathLike) else value


def _words_of(option: Any) -> tuple[Any, ...]:
    return get_args(option) if get_origin(option) is Literal else ()


def _is_function(option: Any) -> bool:
    return option is Callable or get_origin(option) is Callable


def _is_path(options: tuple[Any, ...]) -> bool:
    return any(option is os.PathLike or get_origin(option) is os.PathLike for option in options)


def _kind_in_words(*hints: Any) -> str:
    """Return what values types have, e.g. ``a number in (0, 1] or none``."""
    options = tuple(option for hint in hints for option in _options(hint))
    if _is_path(options):
        options = tuple(o for o in options if o is not str)
    words = [_one_kind_in_words(option) for option in options]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)


def _one_kind_in_words(option: Any) -> str:
    origin = get_origin(option)
    if origin is Annotated:
        kind, *more = get_args(option)
        own = [words for words in more if isinstance(words, str)]
        limits = [str(limit) for limit in more if isinstance(limit, Limits)]
        return " ".join([*(own or [_kind_in_words(kind)]), *limits])
    if origin is Literal:
        return " or ".join(repr(word) for word in get_args(option))
    if _is_path((option,)):
        return "a path"
    if _is_function(option):
        return "a function"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = get_args(option)
        return f"a mapping of {_kind_in_words(key)} to {_kind_in_words(item)}"
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not tuple:
        return f"a list (each {_kind_in_words(get_args(option)[0])})"
    return _KINDS.get(option, getattr(option, "__name__", str(option)))
