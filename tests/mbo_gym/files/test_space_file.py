"""space.toml: what is written reads back, what a user may write wrongly is named."""

from __future__ import annotations

import json

import pytest

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files.space_file import DataRules, Goal, SpaceFile, read_space_file, space_text
from mbo_gym.files.space_schema import SCHEMA_FILE, schema_text, space_schema
from mbo_gym.problem.constraints import (
    AllowedDesigns,
    AtMostNonZero,
    FixedSum,
    Forbidden,
    LinearLimit,
)
from mbo_gym.problem.dates import Date
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real

PARAMETERS = (
    Real('a "b" [c]', 0.0, 1.0, step=0.25, unit="°C"),
    Real("open", 1e-5, log=True),
    Real("part", 0.0, 1.0),
    Integer("n", 0, 12),
    Category("solvent", ("DMF", "a\\b", "größe")),
    Levels("order", (2, 4.5, 8)),
    Levels("word", ("low", "high")),
    Letters("dna", tuple("ACGT"), 6, shortest=4, fixed={0: "A"}),
    Date("sowing", step=7.0, first="2024-03-01", last="2024-06-30"),
    Date("start", step=0.25, first="2024-03-01 06:00", last="2024-03-09"),
    Constant("lot", "B7"),
)
CONSTRAINTS = (
    FixedSum(('a "b" [c]', "part"), 1.0, 0.02),
    LinearLimit({"n": 1.0, "part": -2.0}, high=10.0),
    AtMostNonZero(("n", "part"), 1),
    Forbidden({"solvent": ["DMF"], "n": {"low": 11}}),
)
SPACE = SpaceFile(
    Goal("y [%]", "minimise", "%"),
    PARAMETERS,
    CONSTRAINTS,
    DataRules("keep", "drop", "bad", ("1", "x"), "sem", "", ("id", "note"), "MKT", "upper"),
)


def test_what_is_written_reads_back(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(space_text(SPACE, "my table.csv", "file:///x", {"id": "row numbers"}))
    assert read_space_file(path) == SPACE
    lines = path.read_text().splitlines()
    assert lines[0] == "#:schema file:///x"
    entries = [line for line in lines if " = " in line and not line.startswith("#")]
    assert all("  # " in line for line in entries)
    assert any('"id",  # row numbers' in line for line in lines)


def test_a_list_of_designs_reads_back(tmp_path):
    designs = AllowedDesigns(({"n": 1, "w": "x"}, {"n": 2, "w": "y"}))
    space = SpaceFile(Goal("y"), (Integer("n", 1, 3), Category("w", ("x", "y"))), (designs,))
    path = tmp_path / "space.toml"
    path.write_text(space_text(space, "t.csv"))
    assert read_space_file(path).constraints[0].designs == designs.designs


GOOD = '[goal]\nscore = "y"\n[[parameters]]\nname = "a"\nkind = "real"\nlow = 0.0\nhigh = 1.0\n'
BAD = {
    "no TOML": ("[goal\n", "is no TOML"),
    "unknown section": (GOOD + "[gaol]\n", "no entry 'gaol'. Did you mean goal"),
    "unknown rule": (GOOD + "[data]\nreplicate = 'mean'\n", "Did you mean replicates"),
    "unknown word": (GOOD + "[data]\nreplicates = 'best'\n", "'mean' or 'keep', got 'best'"),
    "no score": (GOOD.replace('score = "y"', ""), "needs score"),
    "no parameters": ('[goal]\nscore = "y"\n', r"at least one \[\[parameters\]\]"),
    "unknown kind": (GOOD.replace("real", "reel"), r"parameters 1 \('a'\).*'reel'"),
    "unknown field": (GOOD + "steps = 1\n", "no field of a real parameter 'steps'.*step"),
    "bounds": (GOOD.replace("0.0", "2.0"), "low must not exceed high"),
    "a text bound": (GOOD.replace("0.0", "'x'"), r"parameters 1 \('a'\)"),
    "list of text": (GOOD + "[data]\nignore = 'a'\n", "a list of texts, got 'a'"),
    "unknown name": (
        GOOD + '[[constraints]]\nkind = "sum"\nnames = ["a", "b"]\ntotal = 1.0\n',
        "There is no parameter in a constraint 'b'",
    ),
    "no date": (
        GOOD + '[[parameters]]\nname = "d"\nkind = "date"\nlow = "soon"\nhigh = 2024-03-01\n',
        r"parameters 2 \('d'\): d: low must be a date such as 2024-03-31, got 'soon'",
    ),
    "dates in the wrong order": (
        GOOD + '[[parameters]]\nname = "d"\nkind = "date"\nlow = 2024-03-02\nhigh = 2024-03-01\n',
        "low must not be after high, got 2024-03-02 and 2024-03-01",
    ),
    "a sum of dates": (
        GOOD
        + '[[parameters]]\nname = "d"\nkind = "date"\nlow = 2024-03-02\nhigh = 2024-03-09\n'
        + '[[constraints]]\nkind = "sum"\nnames = ["a", "d"]\ntotal = 1.0\n',
        "'d' holds no numbers, so it cannot stand in a sum",
    ),
    "no list": (GOOD + '[constraints]\nkind = "sum"\n', r"\[\[constraints\]\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(tmp_path, case):
    text, message = BAD[case]
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(InvalidData, match=rf"space\.toml.*{message}"):
        read_space_file(path)


def test_a_missing_file_says_how_one_is_made(tmp_path):
    with pytest.raises(MissingData, match="mbo-gym init"):
        read_space_file(tmp_path / "space.toml")


def test_the_schema_that_ships_is_that_of_the_dataclasses():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


def test_the_schema_knows_every_field_and_its_meaning():
    schema = space_schema()
    kinds = {
        entry["properties"]["kind"]["const"]: entry
        for name in ("parameters", "constraints")
        for entry in schema["properties"][name]["items"]["oneOf"]
    }
    assert set(kinds) == {
        *("real", "integer", "category", "levels", "date", "letters", "constant"),
        *("sum", "linear", "at_most_non_zero", "forbidden", "list"),
    }
    assert kinds["real"]["required"] == ["kind", "name"]
    assert kinds["integer"]["properties"]["low"]["type"] == "integer"
    for entry in [*kinds.values(), schema["properties"]["goal"], schema["properties"]["data"]]:
        for name, field in entry["properties"].items():
            assert name == "kind" or field["description"], (entry["description"], name)
    json.dumps(schema)
