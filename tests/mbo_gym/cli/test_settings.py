"""Configs as the pages of `mbo-gym show` have them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from mbo_gym.cli.settings import Setting, changes, settings_of
from mbo_gym.settings import Choice


@dataclass(frozen=True)
class Ascent:
    """Settings of an ascent.

    Args:
        steps: Number of steps; None for the
            recipe's.
        kind: ``plain`` or ``adam``.
    """

    steps: int | None = None
    kind: Literal["plain", "adam"] = "plain"


@dataclass(frozen=True)
class Config:
    """Settings of a method.

    Args:
        surrogate: Surrogate that is climbed.
        ascent: Settings of the ascent.
        rate: Step size.
        sizes: Widths of the layers.
        quiet: Whether nothing is shown.
    """

    surrogate: Choice = Choice("mlp", {"hidden": 8})
    ascent: Ascent = field(default_factory=Ascent)
    rate: float = 1e-3
    sizes: tuple[int, ...] = (4, 8)
    quiet: bool = False


def test_nested_settings_have_dotted_names_types_and_texts():
    assert list(settings_of(Config())) == [
        Setting("surrogate", "name", "mlp(hidden=8)", "Surrogate that is climbed."),
        Setting(
            "ascent.steps", "whole number | none", "none", "Number of steps; None for the recipe's."
        ),
        Setting("ascent.kind", "plain | adam", "plain", "plain or adam."),
        Setting("rate", "number", "0.001", "Step size."),
        Setting("sizes", "list of whole number", "[4, 8]", "Widths of the layers."),
        Setting("quiet", "true | false", "false", "Whether nothing is shown."),
    ]


def test_changes_name_what_differs():
    changed = replace(Config(), rate=0.1, ascent=Ascent(steps=3))
    assert changes(changed, Config()) == "ascent.steps=3, rate=0.1"
    assert changes(Config(), Config()) == ""
