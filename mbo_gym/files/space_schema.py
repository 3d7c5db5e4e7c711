"""The JSON schema of `space.toml`, made from the dataclasses; editors complete and check by it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

from mbo_gym.files.space_file import DataRules, Goal
from mbo_gym.problem.plain import CONSTRAINT_KINDS, PARAMETER_KINDS, fields_in_files

__all__ = ["SCHEMA_FILE", "schema_text", "space_schema"]

SCHEMA_FILE = Path(__file__).with_name("space.schema.json")
"""The schema as it ships."""

_CELL = {"type": ["string", "number", "boolean"]}
_NAMED: dict[str, dict[str, Any]] = {
    "weights": {"type": "object", "additionalProperties": {"type": "number"}},
    "fixed": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1}},
    "when": {"type": "object"},
    "designs": {"type": "array", "items": {"type": "object"}},
    "letters": {"type": "string", "minLength": 1},
    "values": {"type": "array", "items": _CELL, "minItems": 1, "uniqueItems": True},
    "value": {"type": ["string", "number"]},
}
"""Schemas of fields whose type says too little."""


def space_schema() -> dict[str, Any]:
    """Return the JSON schema (draft-07) of `space.toml`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Design space of a table, for mbo-gym",
        "type": "object",
        "additionalProperties": False,
        "required": ["goal", "parameters"],
        "properties": {
            "goal": _object(Goal),
            "data": _object(DataRules),
            "parameters": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [_object(k, k.kind) for k in PARAMETER_KINDS.values()]},
            },
            "constraints": {
                "type": "array",
                "items": {"oneOf": [_object(k, k.kind) for k in CONSTRAINT_KINDS.values()]},
            },
        },
    }


def schema_text() -> str:
    """Return the schema as the text that ships in `SCHEMA_FILE`."""
    return json.dumps(space_schema(), indent=2) + "\n"


def _object(kind: type[Any], word: str | None = None) -> dict[str, Any]:
    """Return the schema of a dataclass; `word` is the kind that its file entry names."""
    meanings = _meanings(kind)
    hints = get_type_hints(kind)
    properties: dict[str, Any] = {}
    required = []
    if word is not None:
        properties["kind"] = {"const": word}
        required.append("kind")
    for name, field in fields_in_files(kind).items():
        schema = dict(_NAMED.get(field.name) or _of_type(hints[field.name]))
        if field.name in ("weights", "failed") and word is None:
            schema = {"type": "string"}
        schema["description"] = meanings.get(field.name, "")
        no_default = field.default is dataclasses.MISSING
        if no_default and field.default_factory is dataclasses.MISSING:
            required.append(name)
        properties[name] = schema
    first = (kind.__doc__ or "").strip().split("\n")[0]
    return {
        "type": "object",
        "description": first,
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _of_type(hint: Any) -> dict[str, Any]:
    """Return the schema of a type."""
    text = str(hint)
    if text.startswith("typing.Literal"):
        return {"enum": list(hint.__args__)}
    if text.startswith("tuple"):
        return {"type": "array", "items": {"type": "string"}}
    plain = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if hint in plain:
        return {"type": plain[hint]}
    inner = [plain[part] for part in hint.__args__ if part in plain]
    return {"type": inner[0] if len(inner) == 1 else inner}


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Return what each argument of a class means, from its docstring."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    match = re.search(r"\nArgs:\n(.*?)(?:\n\n|\n\S|\Z)", doc, re.DOTALL)
    if match is None:
        return {}
    found = re.split(r"(?m)^ {4}(\w+): ", match[1])[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(found[::2], found[1::2], strict=True)
    }
