"""What a process touched, and records of different data, in the report."""

from __future__ import annotations

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.benchmark.report.html import to_html
from mbo_gym.benchmark.report.sheets import task_sheet
from mbo_gym.benchmark.report.text import to_markdown
from tests.mbo_gym.benchmark.records import record

MARK = "makes the task <TFBind8-Exact-v0>"


def test_a_method_that_touched_something_is_marked_everywhere():
    analysis = analyse(
        [
            record("grad", seed=0, result={"touched": [MARK]}),
            record("grad", seed=1, result={"touched": [MARK, "starts a process"]}),
            record("demo", seed=0),
            record("random", seed=0),
        ]
    )
    entry = next(e for e in analysis.entries if e.label == "grad")
    assert entry.touched == (MARK, "starts a process")
    sheet = task_sheet(analysis, analysis.tasks[0])
    rows = {row.values[0].text.replace("*", ""): row.values[-1].text for row in sheet.rows}
    assert rows["grad!"] == f"{MARK}; starts a process"
    assert rows["demo"] == "-"
    assert "! the process that learned touched" in sheet.caption
    assert sum("did what a method needs not" in note for note in analysis.notes) == 1
    assert "scores may not be honest (see the notes): grad" in analysis.finding.trust[0]
    page = to_html(analysis)
    assert "touched what a method needs not: makes the task &lt;TFBind8" in page
    assert "!" in to_markdown(analysis)


def test_a_report_of_honest_methods_has_no_mark():
    analysis = analyse([record("grad"), record("random")])
    sheet = task_sheet(analysis, analysis.tasks[0])
    assert "touched" not in [column.header for column in sheet.columns]
    assert "touched" not in to_html(analysis).split("</head>")[1]


def test_records_of_different_data_are_never_averaged():
    records = [
        record("grad", seed=0, p100=0.9, result={"data": "a" * 16}),
        record("grad", seed=1, p100=0.8, result={"data": "a" * 16}),
        record("grad", seed=2, p100=0.1, result={"data": "b" * 16}),
        record("random", seed=0, result={"data": "a" * 16}),
        record("random", seed=1),  # of an older program
    ]
    analysis = analyse(records)
    assert {task.name for task in analysis.tasks} == {
        "TFBind8-Exact-v0 [data aaaaaaaa]",
        "TFBind8-Exact-v0 [data bbbbbbbb]",
        "TFBind8-Exact-v0 [data unknown]",
    }
    seeds = {(e.label, e.task[-9:-1]): e.seeds for e in analysis.entries if not e.exact}
    assert seeds["grad", "aaaaaaaa"] == (0, 1)
    assert seeds["grad", "bbbbbbbb"] == (2,)


def test_one_data_set_beside_records_of_older_programs_is_one_task():
    analysis = analyse([record("grad", result={"data": "a" * 16}), record("random")])
    assert [task.name for task in analysis.tasks] == ["TFBind8-Exact-v0"]


def test_a_record_keeps_marks_and_hash():
    made = record("grad", result={"touched": [MARK], "data": "a" * 16, "isolated": True})
    again = CellRecord.from_json(made.to_json())
    assert again == made
    assert (again.result.touched, again.result.data, again.result.isolated) == (
        (MARK,),
        "a" * 16,
        True,
    )
    assert record("grad").result.isolated is None
