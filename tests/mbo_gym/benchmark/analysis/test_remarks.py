"""Remarks on scores below published ones: read from a results folder, and shown beside the numbers
they are about."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.remarks import FILE_NAME, Remark, read_remarks
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.cli.app import app
from tests.mbo_gym.benchmark.records import record

TFBIND = "TFBind8-Exact-v0"
WHY = "half as wide a network"
BLOCK = (
    f'[[below]]\nmethods = ["grad", "other"]\ntask = "{TFBIND}"\npercentile = 100\nwhy = "{WHY}"\n'
)


def grad_records(p100: float) -> list[dict]:
    first = {"n": 128, "p100": p100, "p50": 0.2, "mean": 0.2}
    return [
        record("grad", TFBIND, seed, p100=p100 + seed / 100, p50=0.2, result={"first": first})
        for seed in range(3)
    ]


def test_a_remark_stands_first_beside_every_lower_score_that_it_is_about():
    remark = Remark(("grad", "other"), TFBIND, 100, WHY)
    plain = analyse(grad_records(0.93)).reproduced
    rows = analyse(grad_records(0.93), remarks=[remark]).reproduced
    about = [row for row in rows if row.notes[0] == f"why below: {WHY}"]
    assert {(row.published.percentile, row.verdict) for row in about} == {(100, "below")}
    assert len(about) == sum(
        row.published.percentile == 100 and row.verdict == "below" for row in plain
    )
    assert {
        row.verdict for row in rows if row not in about and row.published.percentile == 100
    } == {"yes"}
    assert [row.notes[1:] if row in about else row.notes for row in rows] == [
        row.notes for row in plain
    ]


@pytest.mark.parametrize(
    "remark",
    [
        Remark(("bdi",), TFBIND, 100, WHY),
        Remark(("grad",), "Levy-Exact-v0", 100, WHY),
        Remark(("grad",), TFBIND, 5, WHY),
    ],
)
def test_a_remark_on_something_else_changes_nothing(remark):
    assert (
        analyse(grad_records(0.5), remarks=[remark]).reproduced
        == analyse(grad_records(0.5)).reproduced
    )


def test_remarks_are_read_from_the_folder(tmp_path):
    assert read_remarks(tmp_path) == ()
    (tmp_path / FILE_NAME).write_text(BLOCK)
    assert read_remarks(tmp_path) == (Remark(("grad", "other"), TFBIND, 100, WHY),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[below", "is not a TOML file"),
        ("[[above]]", "holds .* blocks only, got above"),
        (BLOCK.replace("[[below]]", "[below]"), "holds .* blocks only, got below = {'methods'"),
        ("below = [3]", r"holds .* blocks only, got below = \[3\]"),
        (
            BLOCK.replace("why", "reason"),
            r"remark 1: a remark has methods \(a list\), .* Fix reason, why",
        ),
        (BLOCK.replace('["grad", "other"]', '"grad"'), "remark 1: .* Fix methods"),
        (BLOCK + BLOCK.replace("100", "99"), "remark 2: .* Fix percentile"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(tmp_path, text, message):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_remarks(tmp_path)


def test_a_report_shows_the_remarks_of_its_folder(tmp_path):
    store = ResultStore(tmp_path)
    with store.writing():
        for one in grad_records(0.5):
            store.add(one)
    (tmp_path / FILE_NAME).write_text(BLOCK)
    pages = {"--html": tmp_path / "report.html", "--markdown": tmp_path / "report.md"}
    done = CliRunner().invoke(
        app, ["report", str(tmp_path), *(str(a) for pair in pages.items() for a in pair)]
    )
    assert done.exit_code == 0, done.output
    for page in pages.values():
        assert f"why below: {WHY}" in page.read_text()
