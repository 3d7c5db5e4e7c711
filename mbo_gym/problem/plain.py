"""Parameters, constraints and mixed spaces as plain values for JSON and TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mbo_gym.errors import UnknownId
from mbo_gym.problem.constraints import (
    AllowedDesigns,
    AtMostNonZero,
    Constraint,
    FixedSum,
    Forbidden,
    LinearLimit,
)
from mbo_gym.problem.dates import Date
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real

__all__ = [
    "CONSTRAINT_KINDS",
    "PARAMETER_KINDS",
    "constraint_from_dict",
    "constraint_to_dict",
    "fields_in_files",
    "parameter_from_dict",
    "parameter_to_dict",
    "space_from_dict",
    "space_to_dict",
]

PARAMETER_KINDS: Mapping[str, type[Parameter]] = {
    kind.kind: kind for kind in (Real, Integer, Category, Levels, Date, Letters, Constant)
}
"""Every kind of parameter by its name in files."""

CONSTRAINT_KINDS: Mapping[str, type[Constraint]] = {
    kind.kind: kind for kind in (FixedSum, LinearLimit, AtMostNonZero, Forbidden, AllowedDesigns)
}
"""Every kind of constraint by its name in files."""


def parameter_to_dict(parameter: Parameter) -> dict[str, Any]:
    """Return a parameter as plain values for JSON or TOML; defaults are left out."""
    facts = _to_dict(parameter)
    if "letters" in facts:
        facts["letters"] = "".join(facts["letters"])
    if "fixed" in facts:
        facts["fixed"] = {str(place): letter for place, letter in facts["fixed"].items()}
    return facts


def parameter_from_dict(facts: Mapping[str, Any]) -> Parameter:
    """Return the parameter that `parameter_to_dict` wrote.

    Raises:
        UnknownId: The kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    made: Parameter = _from_dict(facts, PARAMETER_KINDS, "parameter")
    return made


def constraint_to_dict(constraint: Constraint) -> dict[str, Any]:
    """Return a constraint as plain values for JSON or TOML; defaults are left out."""
    return _to_dict(constraint)


def constraint_from_dict(facts: Mapping[str, Any]) -> Constraint:
    """Return the constraint that `constraint_to_dict` wrote.

    Raises:
        UnknownId: The kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    made: Constraint = _from_dict(facts, CONSTRAINT_KINDS, "constraint")
    return made


def space_to_dict(space: MixedSpace) -> dict[str, Any]:
    """Return a mixed space as plain values for JSON or TOML."""
    return {
        "parameters": [parameter_to_dict(parameter) for parameter in space.parameters],
        "constraints": [constraint_to_dict(constraint) for constraint in space.constraints],
    }


def space_from_dict(facts: Mapping[str, Any]) -> MixedSpace:
    """Return the space that `space_to_dict` wrote.

    Raises:
        UnknownId: A kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    return MixedSpace(
        tuple(map(parameter_from_dict, facts["parameters"])),
        tuple(map(constraint_from_dict, facts.get("constraints", ()))),
    )


def _to_dict(part: Any) -> dict[str, Any]:
    """Return a part of a space with its kind, without fields at their default."""
    facts: dict[str, Any] = {"kind": part.kind}
    for name, field in fields_in_files(type(part)).items():
        value = getattr(part, field.name)
        if value != _default(field):
            facts[name] = list(value) if isinstance(value, tuple) else value
    return facts


def fields_in_files(kind: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a kind of parameter or constraint by their names in files."""
    renamed = getattr(kind, "in_files", {})
    return {renamed.get(f.name, f.name): f for f in dataclasses.fields(kind) if f.init}


def _from_dict(facts: Mapping[str, Any], kinds: Mapping[str, Any], noun: str) -> Any:
    """Return the part of a space that `_to_dict` wrote."""
    facts = dict(facts)
    word = facts.pop("kind", None)
    if word not in kinds:
        raise UnknownId(f"kind of {noun}", str(word), tuple(kinds))
    fields = fields_in_files(kinds[word])
    for name in facts:
        if name not in fields:
            raise UnknownId(f"field of a {word} {noun}", name, list(fields))
    for name, field in fields.items():
        if _default(field) is dataclasses.MISSING and name not in facts:
            raise ValueError(f"a {word} {noun} needs {name!r}, got {sorted(facts)}")
    return kinds[word](**{fields[name].name: value for name, value in facts.items()})


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field, MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
