"""The report's page: complete, inert, offline, and at work in a real browser."""

from __future__ import annotations

import html
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from browser import HOSTILE, Page, open_in_browser

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.model import Analysis
from mbo_gym.benchmark.record import Environment
from mbo_gym.benchmark.report.html import to_html
from tests.mbo_gym.benchmark.records import failed, make_records, record


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(make_records(), title="All that can occur")


@pytest.fixture(scope="module")
def page(analysis: Analysis) -> str:
    return to_html(analysis)


def row_of(page: str, section: str, label: str) -> str:
    """Return the first row of a method in the part of the page that starts with a heading's id."""
    part = page[page.index(f'id="{section}"') :]
    found = re.search(rf'<tr[^>]*data-method="{re.escape(html.escape(label))}".*?</tr>', part)
    assert found, (section, label)
    return found[0]


def test_the_page_is_balanced_and_asks_the_network_for_nothing(page):
    parsed = Page(page)
    for tag, attributes in parsed.tags:
        links = [
            attributes.get(name) or "" for name in ("src", "href", "srcset", "action", "xlink:href")
        ]
        outside = [link for link in links if link and not link.startswith(("#", "data:,"))]
        assert not outside or tag == "a", (tag, outside)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert "default-src 'none'" in page


def test_the_page_holds_every_method_task_command_failure_and_version(page, analysis):
    text = Page(page).text
    for entry in analysis.entries:
        for part in (entry.label, entry.task, entry.command):
            assert part in text
    for failure in analysis.failures:
        assert failure.error in text
        assert failure.traceback in text
        assert failure.command in text
    for environment in analysis.environments:
        assert environment.git in text
        assert environment.versions["torch"] in text
    for note in analysis.notes:
        assert note in text


def test_numbers_stand_as_they_are_in_the_analysis(page, analysis):
    entry = next(e for e in analysis.entries if e.label == "pgs" and e.task.startswith("Levy"))
    described, skill = entry.scores["p50_distinct"], entry.skill["p50_distinct"]
    row = row_of(page, "task-2", "pgs")
    assert f'data-value="{described.mean:.6g}">{described.mean:.3f}' in row
    assert f"{described.std:.3f} · {described.standard_error:.3f}" in row
    assert f"{skill.value:.2f}<small>[{skill.low:.2f}, {skill.high:.2f}]" in row
    n = len(entry.seeds)
    assert re.search(
        rf'data-value="{n}"><a href="#r\d+">{n}</a><small>{entry.n_failed} failed', row
    )


def test_methods_are_marked_as_what_they_are(page):
    assert "no better than a control" in row_of(page, "task-2", "pgs")
    assert "no better than a control" not in row_of(page, "task-2", "grad")
    assert "control</em>" in row_of(page, "task-2", "random")
    assert "from a file" in row_of(page, "task-1", "my_method")
    assert "[" not in row_of(page, "task-1", "my_method")  # one seed has no interval
    assert "exact" in row_of(page, "task-1", "random (exact)")


def test_published_numbers_stand_with_verdict_and_protocol(page, analysis):
    part = Page(
        page[
            page.index('<section aria-labelledby="published"') : page.index(
                '<section aria-labelledby="failed"'
            )
        ]
    )
    assert analysis.reproduced
    for row in analysis.reproduced:
        assert f"{row.published.mean:.3f}" in part.text
        assert row.published.source in part.text
        assert "; ".join(row.notes) in part.text
        assert row.verdict in part.text


def test_a_method_has_one_colour_and_shape_in_every_chart(page):
    marks = re.findall(r'data-method="grad"[^>]*><title>[^<]*</title>.*?class="m (c\d|cx)"', page)
    assert len(marks) > 5
    assert len(set(marks)) == 1


def test_hostile_labels_tracebacks_and_options_are_inert():
    names = {"label": HOSTILE, "command": HOSTILE, "options": {"a": HOSTILE}}
    records = [record(seed=s, p100=0.5 + s / 10, **names) for s in range(3)]
    records += [record("random", seed=s, p100=0.4, options={"a": HOSTILE}) for s in range(3)]
    error = dict.fromkeys(("type", "message", "traceback"), HOSTILE)
    broken = failed(seed=9, **names, error=error)
    analysis = analyse([*records, broken], title=HOSTILE)
    analysis = replace(
        analysis,
        notes=(HOSTILE,),
        environments=(Environment({HOSTILE: HOSTILE}, HOSTILE, {}),),
    )
    page = to_html(analysis)
    parsed = Page(page)
    assert parsed.count("script") == 1
    assert parsed.count("img") == 0
    assert parsed.text.count(HOSTILE) > 10
    assert not [
        name for _, attributes in parsed.tags for name in attributes if name.startswith("on")
    ]


@pytest.mark.parametrize(
    ("records", "absent"),
    [
        ([record(seed=s) for s in range(2)], ("overall", "exploitation", "failed")),
        (
            [record(task_id="A-v0"), record(task_id="B-v0", p100=0.3)],
            ("exploitation", "failed", "published"),
        ),
        ([record(task_id="csv", p100=None)], ("overall", "exploitation", "failed", "published")),
        ([failed(), failed(seed=1)], ("overall", "exploitation", "published")),
    ],
    ids=["one task", "no controls", "no oracle", "all failed"],
)
def test_parts_without_content_are_left_out(records, absent):
    parsed = Page(to_html(analyse(records)))
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    assert ids.isdisjoint(absent)
    assert {"task-1", "commands", "versions", "measures"} <= ids
    links = {
        attributes["href"]
        for tag, attributes in parsed.tags
        if tag == "a" and attributes["href"].startswith("#")
    }
    assert {link[1:] for link in links} <= ids
    assert not re.search(r"\bnan\b|\bNone\b", parsed.text.replace("loss is <nan>", ""))


def test_charts_say_where_the_surrogate_fooled_the_method(page, analysis):
    entry = next(e for e in analysis.entries if e.label == "grad" and e.task.startswith("Levy"))
    _, prediction, score = entry.search[-1]
    assert f"At the end predicted {prediction:.3f}, oracle {score:.3f}" in page
    assert "no oracle." in page  # the CSV's search has predictions only


def test_25_methods_on_12_tasks_stay_below_3_mb(analysis):
    template = next(e for e in analysis.entries if e.label == "grad" and e.task.startswith("Levy"))
    steps = tuple((i, i / 10, i / 20) for i in range(41))
    labels = [f"method_{i}" for i in range(25)]
    tasks = [replace(analysis.tasks[1], name=f"Task{t}-Exact-v0") for t in range(12)]
    entries = [replace(template, label=m, task=p.name, search=steps) for p in tasks for m in labels]
    some = analysis.comparisons[template.task][0]
    pairs = tuple(replace(some, a=a, b=b) for a, b in itertools.combinations(labels, 2))
    large = replace(
        analysis,
        tasks=tuple(tasks),
        entries=tuple(entries),
        standings=tuple(replace(analysis.standings[0], label=m) for m in labels),
        comparisons={p.name: pairs for p in tasks},
        reproduced=(),
    )
    page = to_html(large)
    assert len(page.encode()) < 3e6
    assert Page(page).count("tr") > 12 * (25 + 25 + 24)
    # no control here: the best method, against each of the others
    assert "24 of 300 pairs" in page
    assert page.count("with Holm's correction for all") == 12
    few = replace(large, comparisons={p.name: pairs[:100] for p in tasks})
    assert "of all 100 pairs" in to_html(few)


CHECK = """
function check(win) {
  const doc = win.document, out = {};
  const type = (id, value, event) => {
    const node = doc.getElementById(id);
    if (node.type === "checkbox") node.checked = value; else node.value = value;
    node.dispatchEvent(new win.Event(event, { bubbles: true }));
  };
  const table = doc.querySelector("#task-2").parentElement.querySelector("table");
  const header = [...table.tHead.rows[0].cells].findIndex((th) => th.textContent.startsWith("Best"));
  const th = table.tHead.rows[0].cells[header], button = th.querySelector("button");
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[header].dataset.value));
  button.click();
  out.first = [th.getAttribute("aria-sort"), values()];
  button.click();
  out.second = [th.getAttribute("aria-sort"), values()];
  const name = table.tHead.rows[0].cells[0];
  name.querySelector("button").click();
  const methods = [...table.tBodies[0].rows].map((row) => row.dataset.method);
  out.names = [name.getAttribute("aria-sort"), th.getAttribute("aria-sort"), methods];
  const chart = doc.querySelector("#task-2").parentElement.querySelector("svg.rows");
  const height = chart.viewBox.baseVal.height;
  type("method", "PGS", "input");
  out.filtered = visible(doc, "main tbody tr[data-method]").map((row) => row.dataset.method);
  out.marks = visible(doc, "g.mark").map((g) => g.dataset.method);
  out.shrunk = chart.viewBox.baseVal.height < height;
  out.shown = doc.getElementById("shown").textContent;
  type("method", "", "input");
  out.restored = chart.viewBox.baseVal.height === height;
  type("controls", true, "change");
  out.controls = visible(doc, ".control").length;
  type("task", doc.querySelector("#task").options[1].value, "change");
  out.sections = visible(doc, "main section[data-task]").map((s) => s.dataset.task);
  const colour = () => win.getComputedStyle(doc.body).backgroundColor;
  const before = colour();
  doc.getElementById("theme").click();
  const after = colour();
  doc.getElementById("theme").click();
  out.colours = [before, after, colour()];
  return out;
}
"""


@pytest.fixture(scope="module")
def seen(page: str, analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Open the page in a browser, 390 px wide and, with hostile labels, 360 px wide; click, type
    and measure."""
    entries = tuple(replace(e, label=e.label + HOSTILE + "x" * 90) for e in analysis.entries)
    hostile = to_html(
        replace(
            analysis, title="y" * 200, entries=entries, standings=(), reproduced=(), failures=()
        )
    )
    pages = ((390, page), (360, hostile))
    return open_in_browser(pages, CHECK, tmp_path_factory.mktemp("browser"))


def test_a_browser_runs_the_page_without_errors_and_without_injected_scripts(seen):
    assert seen["errors"] == []
    assert seen["ready"] == [True, True]
    assert not seen["hacked"]
    assert seen["console"] == []


def test_phones_never_scroll_sideways_and_chart_text_is_not_tiny(seen):
    assert max(seen["overflow"]) <= 0
    assert min(seen["text"]) >= 11


def test_a_click_on_a_header_sorts_and_another_one_turns_the_order(seen):
    order, values = seen["checks"]["first"]
    assert (order, values) == ("descending", sorted(values, reverse=True))
    assert seen["checks"]["second"] == ["ascending", values[::-1]]
    order, before, names = seen["checks"]["names"]
    assert (order, before) == ("ascending", None)
    assert names == sorted(names)


def test_filters_hide_rows_marks_and_tasks(seen):
    checks = seen["checks"]
    assert checks["filtered"]
    assert all("pgs" in label for label in checks["filtered"])
    assert set(checks["marks"]) == {"pgs"}
    assert checks["shrunk"]
    assert checks["restored"]
    assert re.fullmatch(r"\d+ of \d+ rows", checks["shown"])
    assert checks["controls"] == 0
    assert checks["sections"] == ["TFBind8-Exact-v0"]


def test_the_theme_button_turns_dark_and_back(seen):
    before, dark, after = seen["checks"]["colours"]
    assert before == after != dark
    brightness = [
        np.mean([int(c) for c in re.findall(r"\d+", colour)[:3]]) for colour in (before, dark)
    ]
    assert abs(brightness[0] - brightness[1]) > 150
