"""Encoders: maps between designs and features in R^d, fitted once, then fixed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbo_gym.encoders.base import Encoded, Encoder, encoded
    from mbo_gym.encoders.registry import ENCODERS, list_encoders, make_encoder, register_encoder

__all__ = [
    "ENCODERS",
    "Encoded",
    "Encoder",
    "encoded",
    "list_encoders",
    "make_encoder",
    "register_encoder",
]

_MODULES = {
    "ENCODERS": "mbo_gym.encoders.registry",
    "Encoded": "mbo_gym.encoders.base",
    "Encoder": "mbo_gym.encoders.base",
    "encoded": "mbo_gym.encoders.base",
    "list_encoders": "mbo_gym.encoders.registry",
    "make_encoder": "mbo_gym.encoders.registry",
    "register_encoder": "mbo_gym.encoders.registry",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # they load torch, which listing names does without
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
