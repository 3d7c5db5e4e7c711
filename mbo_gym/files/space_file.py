"""`space.toml`: parameters, constraints, goal and rules of a table, for a user to correct."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import Any, Literal

from mbo_gym.errors import InvalidData, MboGymError, MissingData, UnknownId
from mbo_gym.problem.constraints import Constraint
from mbo_gym.problem.dates import Date, read_date
from mbo_gym.problem.mixed import make_space
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.plain import (
    constraint_from_dict,
    constraint_to_dict,
    parameter_from_dict,
    parameter_to_dict,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DataRules", "Goal", "SpaceFile", "read_space_file", "space_text"]


@dataclass(frozen=True)
class Goal:
    """What is to be improved.

    Args:
        score: Column of the score.
        direction: Whether a higher score is better, or a lower one.
        unit: Unit of the score.
    """

    score: str
    direction: Literal["maximise", "minimise"] = "maximise"
    unit: str = ""


@dataclass(frozen=True)
class DataRules:
    """How the rows of the table are read.

    Args:
        replicates: ``mean`` joins equal designs with different scores; ``keep`` keeps the rows.
        on_missing: ``failed`` takes a row without a score as failed; ``error`` refuses it; ``drop``
            leaves it out.
        failed: Column that says which rows failed; empty for none.
        failed_words: Cells of a failed row in that column.
        error: Column of the standard errors of the scores; empty for none.
        weights: Column of the weights of the rows; empty for none.
        ignore: Columns that are left out.
        wild_type: Sequence that a column of mutations refers to; empty for none.
        case: ``upper`` or ``lower`` turns all letters of sequences, ``keep`` none.
    """

    replicates: Literal["mean", "keep"] = "mean"
    on_missing: Literal["failed", "error", "drop"] = "failed"
    failed: str = ""
    failed_words: tuple[str, ...] = ()
    error: str = ""
    weights: str = ""
    ignore: tuple[str, ...] = ()
    wild_type: str = ""
    case: Literal["upper", "lower", "keep"] = "keep"


@dataclass(frozen=True)
class SpaceFile:
    """All that a `space.toml` says.

    Args:
        goal: What is to be improved.
        parameters: Parameters of a design, in the order of the columns.
        constraints: Relations between them.
        data: How the rows are read.
    """

    goal: Goal
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()
    data: DataRules = field(default_factory=DataRules)


def read_space_file(path: str | os.PathLike[str]) -> SpaceFile:
    """Read a `space.toml`.

    Args:
        path: The file.

    Raises:
        MissingData: There is no such file.
        InvalidData: It is no TOML, or says something that makes no sense; the message names the
            entry and what is allowed.
    """
    path = Path(path).expanduser()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise MissingData(
            f"{path} (in {Path.cwd()}): {reason}. Pass space= of a file that `mbo-gym init` wrote."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no TOML: {error}. Fix the line.") from error
    known = {"goal", "data", "parameters", "constraints"}
    for name in content:
        if name not in known:
            raise InvalidData(f"{path}: {UnknownId('entry', name, known)}")
    if not isinstance(content.get("parameters"), list) or not content["parameters"]:
        raise InvalidData(f"{path} needs at least one [[parameters]]. `mbo-gym init` writes them.")
    goal = _section(path, "goal", Goal, content.get("goal", {}))
    data = _section(path, "data", DataRules, content.get("data", {}))
    parameters = _entries(path, "parameters", content["parameters"], parameter_from_dict)
    constraints = _entries(
        path, "constraints", content.get("constraints", []), constraint_from_dict
    )
    try:
        make_space(parameters, constraints)
    except (MboGymError, ValueError) as error:
        raise InvalidData(f"{path}: {error}") from error
    return SpaceFile(goal, tuple(parameters), tuple(constraints), data)


def space_text(
    space: SpaceFile,
    source: str,
    schema: str = "",
    reasons: Mapping[str, str] | None = None,
    dates: Sequence[Date] = (),
) -> str:
    """Return a `space.toml` with a comment on each line.

    Args:
        space: What it says.
        source: Name of the table it was made from.
        schema: Address of the JSON schema, for editors.
        reasons: Why each ignored column is left out.
        dates: Ignored columns of dates, as the parameters that they would be.
    """
    lines = [f"#:schema {schema}"] if schema else []
    lines += [
        f"# Made from {source}. Correct what is wrong, then pass it back:",
        f"#   mbo-gym show table -o path={shlex.quote(source)} --space THIS_FILE",
        "# A column that is no setting of yours, such as another measurement: delete its",
        "# [[parameters]], and name it in `ignore`.",
        *_goal_lines(space.goal),
        *_data_lines(space.data, reasons or {}),
        "",
        "# Kinds: real (low, high, step, log), integer (low, high), category (values),",
        "# levels (values in their order), date (low, high, step in days),",
        "# letters (letters, length, shortest, fixed), constant.",
    ]
    for parameter in space.parameters:
        lines += ["", *_parameter_lines(parameter)]
    for parameter in dates:
        lines += [
            "",
            f"# {json.dumps(parameter.name, ensure_ascii=False)} holds dates. To design by them, "
            "delete the column from `ignore`, and the first # of each line:",
            *(f"# {line}" for line in _parameter_lines(parameter)),
        ]
    if not space.constraints:
        lines += _CONSTRAINT_TO_COPY
    for constraint in space.constraints:
        lines += _constraint_lines(constraint)
    return "\n".join(lines) + "\n"


def _goal_lines(goal: Goal) -> list[str]:
    return [
        "",
        "[goal]",
        _line("score", goal.score, "column of the score"),
        _line("direction", goal.direction, '"maximise": higher is better; or "minimise"'),
        _line("unit", goal.unit, "unit of the score"),
    ]


def _data_lines(data: DataRules, reasons: Mapping[str, str]) -> list[str]:
    lines = [
        "",
        "[data]",
        _line(
            "replicates",
            data.replicates,
            '"mean": equal designs become one with mean and standard error; or "keep"',
        ),
        _line(
            "on_missing",
            data.on_missing,
            'a row without a score has "failed"; or "error" to refuse it, "drop" to leave it out',
        ),
        _line("failed", data.failed, 'column that says which rows failed; "" for none'),
        _line("failed_words", data.failed_words, "cells of a failed row in that column"),
        _line("error", data.error, 'column of the standard errors of the score; "" for none'),
        _line("weights", data.weights, 'column of the weights of the rows; "" for none'),
        *_ignored(data.ignore, reasons),
    ]
    if data.wild_type:
        lines.append(_line("wild_type", data.wild_type, "sequence that the mutations refer to"))
    if data.case != "keep":
        lines.append(_line("case", data.case, "case that letters of sequences are turned into"))
    return lines


def _parameter_lines(parameter: Parameter) -> list[str]:
    facts = parameter_to_dict(parameter)
    facts.setdefault("unit", "")
    meanings = _MEANINGS
    if isinstance(parameter, Date):
        ends = {"low": read_date(parameter.first), "high": read_date(parameter.last)}
        facts |= ends | {"step": parameter.step}
        meanings = {**_MEANINGS, **_OF_DATES}
    lines = ["[[parameters]]", _line("name", facts.pop("name"), "column of the table")]
    lines += [_line("kind", facts.pop("kind"), parameter.allowed()[:80])]
    lines += [_line(key, value, meanings.get(key, "")) for key, value in facts.items()]
    if parameter.kind == "real":
        lines += [
            f"# {key} = {value}  # {_MEANINGS[key]}"
            for key, value in (("step", 0.5), ("log", "true"))
            if key not in facts
        ]
    return lines


def _constraint_lines(constraint: Constraint) -> list[str]:
    facts = constraint_to_dict(constraint)
    lines = ["", "[[constraints]]"]
    lines += [_line("kind", facts.pop("kind"), constraint.in_words()[:80])]
    lines += [_line(key, value, _MEANINGS.get(key, "")) for key, value in facts.items()]
    return lines


_CONSTRAINT_TO_COPY = (
    "",
    "# No constraint was found. One looks like this:",
    "# [[constraints]]",
    '# kind = "linear"',
    '# weights = {"a" = 1.0, "b" = 2.0}  # low <= a + 2 b <= high',
    "# high = 10.0",
)
"""Lines of a file without constraints, which show how one is written."""
_OF_DATES = {"low": "earliest date", "high": "latest date", "step": "days between dates"}
"""What the fields of dates mean."""

_MEANINGS = {
    "low": "smallest value",
    "high": "largest value",
    "step": "distance of neighbouring values, counted from low",
    "log": "whether it varies by factors",
    "unit": "unit, for tables and plots",
    "values": "allowed values",
    "letters": "letters, in the order of their numbers",
    "length": "number of letters, or the largest",
    "shortest": "smallest number of letters",
    "gap": "character of an empty place",
    "fixed": "letters that never change, by their place from 0",
    "value": "the only value",
    "names": "parameters that count",
    "total": "what they add up to",
    "tolerance": "difference up to which measured designs count",
    "weights": "weight of each parameter",
    "most": "largest number of them that differ from 0",
    "when": "values that must not occur together",
    "designs": "the allowed designs",
}
"""What each field of a parameter or constraint means, in a few words."""


def _ignored(names: Sequence[str], reasons: Mapping[str, str]) -> list[str]:
    if not names:
        return [_line("ignore", [], "columns that are left out")]
    lines = ["ignore = [  # columns that are left out, and why"]
    lines += [f"    {_toml(name)},  # {reasons.get(name, 'as told')}" for name in names]
    return [*lines, "]"]


def _line(key: str, value: Any, meaning: str) -> str:
    comment = " ".join(meaning.split())
    return f"{key} = {_toml(value)}" + (f"  # {comment}" if comment else "")


def _toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return (value.date() if value.time() == time() else value).isoformat()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)  # 1e-05, inf and nan are TOML too
    return str(value)


def _section(path: Path, name: str, kind: type[Any], values: Any) -> Any:
    """Return a section as its dataclass."""
    if not isinstance(values, Mapping):
        raise InvalidData(f"{path}: {name} must be a section [{name}], got {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise InvalidData(f"{path}: {UnknownId(f'entry of [{name}]', key, fields)}")
    made: dict[str, Any] = {}
    for key, value in values.items():
        annotation = str(fields[key].type)
        if annotation.startswith("tuple"):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            allowed = "a list of texts"
            value = tuple(value) if good else value
        elif annotation.startswith("Literal"):
            words = _words(annotation)
            good = value in words
            allowed = " or ".join(map(repr, words))
        else:
            good = isinstance(value, str)
            allowed = "a text"
        if not good:
            raise InvalidData(f"{path}: {key} in [{name}] must be {allowed}, got {value!r}.")
        made[key] = value
    missing = [
        key for key, f in fields.items() if f.default is dataclasses.MISSING and key not in made
    ]
    if missing:
        raise InvalidData(f"{path}: [{name}] needs {', '.join(missing)}.")
    return kind(**made)


def _words(annotation: str) -> list[str]:
    """Return the words of a literal type that is written out."""
    inner = annotation[annotation.index("[") + 1 : annotation.rindex("]")]
    return [word.strip().strip("'\"") for word in inner.split(",")]


def _entries(path: Path, name: str, entries: Any, make: Any) -> list[Any]:
    """Return the entries of a list of tables, each made by a function of its facts."""
    if not isinstance(entries, list):
        raise InvalidData(f"{path}: write each of the {name} as [[{name}]].")
    made = []
    for i, facts in enumerate(entries):
        if not isinstance(facts, Mapping):
            raise InvalidData(f"{path}: write each of the {name} as [[{name}]], got {facts!r}.")
        called = f" ({facts['name']!r})" if "name" in facts else ""
        try:
            made.append(make(facts))
        except (MboGymError, ValueError, TypeError) as error:
            raise InvalidData(f"{path}, {name} {i + 1}{called}: {error}") from error
    return made
