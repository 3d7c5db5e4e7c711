"""What was known without an oracle, in the text report and on the page."""

from __future__ import annotations

import re

import pytest

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.report.html import to_html
from mbo_gym.benchmark.report.sheets import offline_sheet
from mbo_gym.benchmark.report.text import to_markdown
from tests.mbo_gym.benchmark.records import record

KNOWN = {"r2": 0.5, "rank_correlation": 0.75, "coverage_data": 0.9, "coverage_proposals": 0.25}
SEARCH = [{"step": 0, "prediction": 0.5, "score": 0.639}, {"step": 1, "prediction": 2, "score": 0}]


def records(**second):
    yield record("grad", seed=0, result={"offline": KNOWN, "search": SEARCH})
    yield record("grad", seed=1, result={"offline": {**KNOWN, **second}})
    yield record("random", seed=0)


def test_numbers_are_means_over_the_seeds_that_have_them():
    analysis = analyse(list(records(r2=0.7, coverage_proposals=None)))
    entry = next(e for e in analysis.entries if e.label == "grad")
    assert entry.offline["r2"] == pytest.approx(0.6)
    assert entry.offline["coverage_proposals"] == 0.25
    # D(best) 0.439, best 0.639: the curve 0.2, 0.4, -0.239 has area 0.3 + 0.0805
    assert entry.offline["stability"] == pytest.approx(0.3805 / 0.8)
    assert entry.offline["optimality"] == pytest.approx(0.3805 / 0.4)


def test_the_text_report_has_them_for_methods_that_have_any():
    analysis = analyse(list(records()))
    sheet = offline_sheet(analysis, analysis.tasks[0])
    assert [row.values[0].text for row in sheet.rows] == ["grad"]
    assert [v.text for v in sheet.rows[0].values[2:]] == [
        "0.50",
        "0.75",
        "0.90",
        "0.25",
        "0.48",
        "0.95",
    ]
    assert "Known without an oracle: TFBind8-Exact-v0" in to_markdown(analysis)
    nothing = analyse([record("grad"), record("random")])
    assert offline_sheet(nothing, nothing.tasks[0]) is None
    assert "Known without an oracle" not in to_markdown(nothing)


def test_the_page_has_them():
    page = to_html(analyse(list(records())))
    table = re.search(r"Known without an oracle on TFBind8.*?</table>", page, re.DOTALL)[0]
    row = re.search(r'<tr[^>]*data-method="grad".*?</tr>', table, re.DOTALL)[0]
    assert re.findall(r">(0\.\d\d)<", row) == ["0.50", "0.75", "0.90", "0.25", "0.48", "0.95"]
    assert 'data-method="random"' not in table
    assert "Known without an oracle" not in to_html(analyse([record("grad"), record("random")]))
