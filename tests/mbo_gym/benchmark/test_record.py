"""A record keeps everything through JSON, and reads what older versions wrote."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mbo_gym.benchmark.execute.summary import COLUMNS, summary_csv
from mbo_gym.benchmark.plan.grid import Cell
from mbo_gym.benchmark.record import SCHEMA, CellRecord, finite
from tests.mbo_gym.benchmark.records import failed, make_records, record, values


@pytest.mark.parametrize("one", [*make_records()[::7], failed()])
def test_a_record_is_the_same_after_json(one):
    assert CellRecord.from_json(json.loads(one.line())) == one


def test_a_record_without_a_schema_is_read():
    old = {key: value for key, value in values().items() if key != "schema"}
    old["result"] |= {"method": "grad", "seed": 0}  # written twice then
    read = CellRecord.from_json(old)
    assert read.schema == 0
    assert read.to_json()["schema"] == SCHEMA
    assert replace(read, schema=SCHEMA) == record()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": SCHEMA + 1}, rf"schema {SCHEMA + 1}, this version reads up to {SCHEMA}"),
        ({"result": {"k": 3}}, "a record needs 'overall'"),
        ({"result": 3}, "no record"),
        ({"environment": {"gitt": "a"}}, "no record"),
    ],
)
def test_what_is_no_record_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CellRecord.from_json({**values(), **changes})


def test_a_missing_key_is_named():
    made = values()
    del made["label"]
    with pytest.raises(ValueError, match="a record needs 'label'"):
        CellRecord.from_json(made)


def test_numbers_of_a_result_that_are_not_finite_become_none():
    one = record(
        result={"novelty": float("nan"), "search": [{"step": 0, "prediction": 1e999, "score": 0.5}]}
    )
    assert one.result.novelty is None
    assert one.result.search[0].prediction is None
    assert finite({"a": [1.5, -float("inf"), (float("inf"), "x")], "c": {"d": None, "f": 3}}) == {
        "a": [1.5, None, [None, "x"]],
        "c": {"d": None, "f": 3},
    }


def test_a_summary_has_a_row_a_record():
    records = [record(options={"b": 2, "a": 1}), record("x", "csv", p100=None), failed(seed=4)]
    header, *rows = [line.split(",") for line in summary_csv(records).splitlines()]
    assert tuple(header) == COLUMNS
    first, second, third = (dict(zip(header, row, strict=True)) for row in rows)
    assert (first["method"], first["options"], first["p100"]) == ("grad", "a=1;b=2", "0.9")
    assert (second["p100"], second["n_unique"], second["status"]) == ("", "256", "done")
    assert (third["seed"], third["status"], third["p50"]) == ("4", "failed", "")
    assert third["seconds"] == "12.5"


@pytest.mark.parametrize("label", ["=1+1", "+1", "-x", "@sum", "\t=1"])
def test_no_text_of_a_summary_is_a_formula(label):
    row = summary_csv([record(label)]).splitlines()[1]
    assert row.startswith(f"'{label}")


def test_the_folder_of_a_record_is_that_of_its_cell():
    one = record("grad [adam]", "Levy-Exact-v0", 3)
    cell = Cell(one.request, one.label, one.config)
    assert replace(one, key=cell.key).folder_name == cell.folder_name
