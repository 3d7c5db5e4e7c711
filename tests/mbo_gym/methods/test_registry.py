"""What a method of somebody else's needs, and no more: a Config, fit, propose, save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mbo_gym.errors import UnknownId
from mbo_gym.methods.registry import METHODS, make_method


@dataclass(frozen=True)
class OwnConfig:
    size: int = 3


class Own:
    Config = OwnConfig

    def __init__(self, config: OwnConfig) -> None:
        self.config = config


@pytest.fixture(autouse=True)
def own_methods() -> Iterator[None]:
    with METHODS.temporarily("own", Own), METHODS.temporarily("a_function", lambda: None):
        yield


def test_a_class_without_presets_or_settings_of_tasks_will_do() -> None:
    assert make_method("own", task_id="Branin-Exact-v0", size=5).config == OwnConfig(5)
    with pytest.raises(UnknownId, match="paper"):
        make_method("own", preset="paper")


def test_an_entry_point_that_is_no_method_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match="a class with a Config"):
        make_method("a_function")
