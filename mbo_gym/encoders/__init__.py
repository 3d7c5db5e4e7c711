"""Encoders: maps between designs and features in R^d, fitted once, then fixed."""

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
