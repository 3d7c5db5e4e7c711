"""Settings of every method: an old flat name is answered with its dotted ones."""

from __future__ import annotations

from typing import Any

import pytest

import mbo_gym
from mbo_gym.errors import UnknownId
from mbo_gym.methods.registry import make_method, method_class
from mbo_gym.settings import Choice, leaf_settings
from mbo_gym.surrogates.registry import make_surrogate


def names_of(config: Any) -> set[str]:
    """Return every name that ``--set`` takes, those of the chosen surrogates too."""
    names = set()
    for name, value in leaf_settings(config).items():
        names.add(name)
        if isinstance(value, Choice):
            names |= {f"{name}.{own}" for own in leaf_settings(make_surrogate(value).config)}
    return names


@pytest.mark.parametrize("method", mbo_gym.list_methods())
def test_a_flat_name_names_each_setting_that_ends_with_it(method):
    names = names_of(method_class(method).Config())
    top = {name.partition(".")[0] for name in names}
    last_parts = {name.rpartition(".")[2] for name in names} - top
    for last in last_parts:
        with pytest.raises(UnknownId, match=rf"{last}'\. It is now ") as error:
            make_method(method, **{last: 1})
        expected = {name for name in names if name.rpartition(".")[2] == last}
        assert set(error.value.moved_to) == expected
    for old, new in getattr(method_class(method).Config, "OLD_NAMES", {}).items():
        with pytest.raises(UnknownId, match=rf"'{old}'\. It is now {new}"):
            make_method(method, **{old: 1})


def test_the_methods_have_flat_names_to_answer():
    dotted = [
        m for m in mbo_gym.list_methods() if "." in "".join(names_of(method_class(m).Config()))
    ]
    assert len(dotted) > 20
    assert "surrogate.hidden" in names_of(method_class("grad").Config())


def test_the_answer_is_for_the_surrogate_that_is_chosen():
    with pytest.raises(UnknownId, match=r"It is now surrogate\.max_features\."):
        make_method("grad", surrogate="quadratic", max_features=9)
    with pytest.raises(UnknownId, match="Known: ascent") as error:
        make_method("grad", surrogate="quadratic", hidden=64)
    assert error.value.moved_to == []
