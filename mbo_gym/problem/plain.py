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
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameter import Parameter
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real

__all__ = [
    "CONSTRAINT_KINDS",
    "PARAMETER_KINDS",
    "constraint_from_dict",
    "constraint_to_dict",
    "parameter_from_dict",
    "parameter_to_dict",
    "space_from_dict",
    "space_to_dict",
]

PARAMETER_KINDS: Mapping[str, type[Parameter]] = {
    kind.kind: kind for kind in (Real, Integer, Category, Levels, Letters, Constant)
}
"""Every kind of parameter by its name in files."""

CONSTRAINT_KINDS: Mapping[str, type[Constraint]] = {
    kind.kind: kind for kind in (FixedSum, LinearLimit, AtMostNonZero, Forbidden, AllowedDesigns)
}
"""Every kind of constraint by its name in files."""


def parameter_to_dict(parameter: Parameter) -> dict[str, Any]:
    """Return a parameter as plain values for JSON or TOML; defaults are left out."""
    facts: dict[str, Any] = {"kind": parameter.kind}
    for field in dataclasses.fields(parameter):  # type: ignore[arg-type]
        value = getattr(parameter, field.name)
        if field.default is not dataclasses.MISSING and value == field.default:
            continue
        if field.name == "fixed":
            if not value:
                continue
            value = {str(place): letter for place, letter in value.items()}
        if field.name == "letters":
            value = "".join(value)
        facts[field.name] = list(value) if isinstance(value, tuple) else value
    return facts


def parameter_from_dict(facts: Mapping[str, Any]) -> Parameter:
    """Return the parameter that `parameter_to_dict` wrote.

    Raises:
        UnknownId: The kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    facts = dict(facts)
    word = facts.pop("kind", None)
    if word not in PARAMETER_KINDS:
        raise UnknownId("kind of parameter", str(word), tuple(PARAMETER_KINDS))
    kind = PARAMETER_KINDS[word]
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    for name in facts:
        if name not in known:
            raise UnknownId(f"field of a {word} parameter", name, known)
    for field in fields:
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if needed and field.name not in facts:
            raise ValueError(f"a {word} parameter needs {field.name!r}, got {sorted(facts)}")
    return kind(**facts)


def constraint_to_dict(constraint: Constraint) -> dict[str, Any]:
    """Return a constraint as plain values for JSON or TOML; defaults are left out."""
    facts: dict[str, Any] = {"kind": constraint.kind}
    for field in dataclasses.fields(constraint):  # type: ignore[arg-type]
        value = getattr(constraint, field.name)
        if field.default is not dataclasses.MISSING and value == field.default:
            continue
        facts[field.name] = list(value) if isinstance(value, tuple) else value
    return facts


def constraint_from_dict(facts: Mapping[str, Any]) -> Constraint:
    """Return the constraint that `constraint_to_dict` wrote.

    Raises:
        UnknownId: The kind or a field has an unknown name.
        ValueError: A field is missing, or has no sensible value.
    """
    facts = dict(facts)
    word = facts.pop("kind", None)
    if word not in CONSTRAINT_KINDS:
        raise UnknownId("kind of constraint", str(word), tuple(CONSTRAINT_KINDS))
    kind = CONSTRAINT_KINDS[word]
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    for name in facts:
        if name not in known:
            raise UnknownId(f"field of a {word} constraint", name, known)
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in facts:
            raise ValueError(f"a {word} constraint needs {field.name!r}, got {sorted(facts)}")
    return kind(**facts)


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
