"""key=value texts and the types of a config's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import pytest

from mbo_gym.errors import UnknownId
from mbo_gym.settings import (
    Choice,
    format_value,
    from_plain,
    parse_options,
    parse_pairs,
    parse_seeds,
    parse_value,
    typed_fields,
    with_settings,
)


@dataclass(frozen=True)
class Config:
    steps: int = 10
    rate: float = 0.1
    on: bool = False
    name: str = "a"
    maybe: int | None = None
    wide: float | str = 1.0
    word: Literal["one", "two"] = "one"
    sizes: tuple[int, ...] = (1, 2)
    shares: tuple[float, ...] = (0.5,)


def test_pairs_are_split_at_the_first_equals_sign():
    assert parse_pairs(["a=1", "b=x=y", "c="], "--set") == {"a": "1", "b": "x=y", "c": ""}
    assert parse_pairs([], "--set") == {}


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_a_pair_without_key_or_value_is_refused(text):
    with pytest.raises(ValueError, match=f"--option takes key=value, got {text!r}"):
        parse_pairs(["b=2", text], "--option")


def test_a_key_is_given_once():
    with pytest.raises(ValueError, match=r"--set a=\.\. is given twice"):
        parse_pairs(["a=1", "a=1"], "--set")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2", -2),
        ("1e-3", 0.001),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("none", None),
        ("None", None),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("mlp_paper", "mlp_paper"),
        ("", ""),
        ("my file.csv", "my file.csv"),
        ("{broken", "{broken"),
    ],
)
def test_a_text_is_read_as_what_it_looks_like(text, value):
    read = parse_value(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ({"steps": 3}, {"steps": 3}),
        ({"rate": 3}, {"rate": 3.0}),
        ({"on": True}, {"on": True}),
        ({"maybe": None}, {"maybe": None}),
        ({"maybe": 3}, {"maybe": 3}),
        ({"wide": 3}, {"wide": 3.0}),
        ({"wide": "x"}, {"wide": "x"}),
        ({"word": "two"}, {"word": "two"}),
        ({"sizes": [1, 2, 3]}, {"sizes": (1, 2, 3)}),
        ({"shares": [1, 0.5]}, {"shares": (1.0, 0.5)}),
        ({"name": "b", "steps": 1}, {"name": "b", "steps": 1}),
    ],
)
def test_values_take_the_type_of_their_field(given, typed):
    result = typed_fields(Config, given)
    assert result == typed
    assert {key: type(value) for key, value in result.items()} == {
        key: type(value) for key, value in typed.items()
    }
    assert all(type(value) is float for value in result.get("shares", ()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 3.5}, "steps must be int, got 3.5"),
        ({"steps": True}, "steps must be int, got True"),
        ({"steps": None}, "steps must be int, got None"),
        ({"rate": False}, "rate must be float, got False"),
        ({"rate": "fast"}, "rate must be float, got 'fast'"),
        ({"on": 1}, "on must be bool, got 1"),
        ({"name": 3}, "name must be str, got 3"),
        ({"maybe": "x"}, "maybe must be int or None, got 'x'"),
        ({"word": "three"}, "word must be 'one' | 'two', got 'three'"),
        ({"word": ["one"]}, "word must be 'one' | 'two'"),
        ({"sizes": [1, 2.5]}, "sizes must be "),
        ({"sizes": 3}, "sizes must be "),
    ],
)
def test_a_value_of_another_type_is_refused(given, message):
    with pytest.raises(ValueError, match="must be") as error:
        typed_fields(Config, given)
    assert message in str(error.value)


def test_a_word_none_among_the_allowed_ones_may_be_typed_as_it_stands():
    @dataclass(frozen=True)
    class Bounded:
        bounds: Literal["none", "data"] = "data"
        folder: str | None = None

    given = parse_options(["bounds=none", "folder=none"], "--set")
    assert typed_fields(Bounded, given) == {"bounds": "none", "folder": None}
    assert typed_fields(Bounded, {"bounds": "none", "folder": "none"}) == {
        "bounds": "none",
        "folder": None,
    }


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(
        UnknownId, match=r"There is no setting of Config 'step'\. Did you mean steps"
    ):
        typed_fields(Config, {"rate": 1.0, "step": 1})


def test_options_are_pairs_with_values():
    assert parse_options(["dim=30", "noise=0.5", "on=true", "path=a b.csv"], "--option") == {
        "dim": 30,
        "noise": 0.5,
        "on": True,
        "path": "a b.csv",
    }
    with pytest.raises(ValueError, match="--option takes key=value, got 'dim'"):
        parse_options(["dim"], "--option")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.5, "0.5"),
        (1e-12, "1e-12"),
        (True, "true"),
        (None, "null"),
        ([1, 2], "[1, 2]"),
        ("mlp", "mlp"),
        ("3", '"3"'),
        ("none", '"none"'),
        ("True", '"True"'),
        ("", ""),
        ("a=b c", "a=b c"),
        ("é", "é"),
        ('"', '"'),
        ("[1", "[1"),
        ("[1]", '"[1]"'),
        ({"a": [1, None]}, '{"a": [1, null]}'),
    ],
)
def test_a_value_is_written_as_it_is_read(value, text):
    assert format_value(value) == text
    read = parse_value(format_value(value))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", [0]),
        ("0-3", [0, 1, 2, 3]),
        ("5,3", [5, 3]),
        ("7,0-2", [7, 0, 1, 2]),
        ("4-4", [4]),
        (" 1 , 2 ", [1, 2]),
    ],
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "1-x", "1,", "0.5", "-1", "1-2-3"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(
        ValueError, match=r"seeds are whole numbers and ranges, e\.g\. 0-7 or 0,3,5; got"
    ):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["3-1", "1--2", "1,1", "0-3,2"])
def test_no_seed_or_one_twice_is_refused(text):
    with pytest.raises(ValueError, match=f"at least one seed and none twice, got '{text}'"):
        parse_seeds(text)


@dataclass(frozen=True)
class WithChoice:
    filter: Choice | None = None


def test_a_saved_choice_is_read_where_the_default_is_none():
    chosen = WithChoice(Choice("mlp", {"hidden": 8}))
    assert from_plain(WithChoice, asdict(chosen)) == chosen
    assert from_plain(WithChoice, {"filter": None}) == WithChoice()
    with pytest.raises(ValueError, match="filter is None and has no settings, got hidden"):
        with_settings(WithChoice(), {"filter.hidden": 8})


@dataclass(frozen=True)
class Part:
    size: int = 1
    model: Choice = Choice("mlp")


@dataclass(frozen=True)
class Whole:
    part: Part = Part()
    other: Choice = Choice("mlp")
    OLD_NAMES: ClassVar[Mapping[str, str]] = {"width": "part.size"}


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({"size": 3}, ["part.size"]),
        ({"width": 3}, ["part.size"]),
        ({"hidden": 3}, ["part.model.hidden", "other.hidden"]),
        ({"hidden": 3, "other": "forest"}, ["part.model.hidden"]),
        ({"hidden": 3, "part.model": "forest", "other.hidden": 4}, ["other.hidden"]),
        ({"depth": 3, "part": {"model": "forest"}}, ["part.model.depth"]),
        ({"part.hidden": 3}, ["part.model.hidden"]),
        ({"depth": 3}, []),
        ({"part.other": 3}, []),
    ],
)
def test_a_flat_name_is_answered_with_the_settings_it_ends(given, places):
    names = {"mlp": ["hidden"], "forest": ["depth"]}
    with pytest.raises(UnknownId) as error:
        with_settings(Whole(), given, lambda choice: names[choice.name])
    assert error.value.moved_to == places
    assert ("It is now" in str(error.value)) == bool(places)
