"""The report's page at work: links, folding, downloads, hints and values on hover."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import Page, open_in_browser

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.model import Analysis
from mbo_gym.benchmark.analysis.remarks import read_remarks
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.report.html import to_html
from tests.mbo_gym.benchmark.analysis.test_analysis import cells
from tests.mbo_gym.benchmark.records import failed

BASELINES = Path(__file__).parents[4] / "experiments" / "results" / "baselines"
NASTY = '=1+1,"x"'


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    records = []
    for task_id in ("A-v0", "B-v0"):
        for i in range(12):
            records += cells(f"m{i}", [0.30 + i / 100, 0.32 + i / 100], task_id)
        records += cells("m1 [boxed]", [0.2, 0.2], task_id)
        records += cells(NASTY, [0.2, 0.25], task_id)
        records += cells("random", [0.35, 0.36], task_id)
    return analyse([*records, failed("m1", "A-v0", 7)])


@pytest.fixture(scope="module")
def page(analysis: Analysis) -> str:
    return to_html(analysis)


def links_and_ids(page: str) -> tuple[set[str], Counter[str]]:
    parsed = Page(page)
    ids = Counter(facts["id"] for _, facts in parsed.tags if facts.get("id"))
    hrefs = {facts.get("href") or "" for tag, facts in parsed.tags if tag == "a"}
    return {href[1:] for href in hrefs if href.startswith("#")}, ids


def test_every_link_resolves_inside_the_page_and_ids_are_unique(page):
    links, ids = links_and_ids(page)
    assert links <= set(ids)
    assert {link[0] for link in links} >= set("her")  # rows of heat map and tasks, runs
    assert set(ids.values()) == {1}


def test_each_run_stands_with_scores_folder_and_command(page, analysis):
    part = page[page.index('class="runs"') :]
    for number, entry in enumerate(analysis.entries):
        body = part[part.index(f'<tbody id="r{number}"') :].split("</tbody>")[0] + "</tbody>"
        text = Page(body).text
        assert entry.command in text
        assert body.count("<tr>") == len(entry.runs)
        for run in entry.runs:
            assert (run.folder or run.key) in text
            assert run.key in (run.folder or run.key)
            for score in run.scores.values():
                assert f"<td>{score:.4f}</td>" in body


def test_the_first_screen_is_the_finding_and_skill_comes_first(page, analysis):
    text = Page(page).text
    finding = analysis.finding
    positions = [text.index(line) for line in (finding.headline, *finding.sentences)]
    positions += [text.index(line) for line in finding.trust]
    assert max(positions) < text.index("Over all tasks")
    overall = page[page.index('aria-labelledby="overall"') :]
    heads = overall[: overall.index("</thead>")].split("<th ")[1:]
    names = [re.sub(r"<[^>]*>", "", head.partition(">")[2]) for head in heads]
    assert names[:4] == ["Method", "Skill", "Beats the best control probability", "Tasks beaten"]
    ranks = [i for i, name in enumerate(names) if "rank" in name]
    assert min(ranks) > max(i for i, name in enumerate(names) if "IQM" in name)


def test_the_recorded_baselines_make_a_page_below_2_mb():
    records = ResultStore(BASELINES).records()
    page = to_html(analyse(records, remarks=read_remarks(BASELINES)))
    assert len(page.encode()) < 2e6
    links, ids = links_and_ids(page)
    assert links <= set(ids)
    assert set(ids.values()) == {1}


CHECK = """
function check(win) {
  const doc = win.document, out = {};
  const framed = (table) => table.closest(".framed");
  const heat = doc.querySelector("table.heat");
  const overall = doc.getElementById("overall").parentElement.querySelector("table");
  const labels = (table) => [...table.tBodies[0].rows].filter((r) => r.getClientRects().length).map((r) => r.dataset.method);
  out.folded = [labels(heat), labels(overall)];
  for (const table of [heat, overall]) framed(table).querySelector(".fold input").click();
  out.open = [labels(heat), labels(overall)];
  for (const table of [heat, overall]) framed(table).querySelector(".fold input").click();

  const save = (button) => { button.click(); return button.dataset.saved; };
  out.csv = save(framed(overall).querySelector("button.csv"));
  out.scores = save(doc.querySelector('button[data-table="runs"]'));
  out.heat = save(framed(heat).querySelector("button.csv"));
  const task = doc.getElementById("task-1").parentElement.querySelector("table");
  out.task = save(framed(task).querySelector("button.csv"));

  const wide = (table) => [framed(table).classList.contains("wide"), framed(table).querySelector(".hint").getClientRects().length > 0];
  const scroll = task.parentElement;
  out.before = [scroll.scrollWidth > scroll.clientWidth + 1, ...wide(task)];
  scroll.scrollLeft = 200;
  scroll.scrollTop = 100;
  const box = scroll.getBoundingClientRect();
  const head = task.tHead.rows[0].cells[0].getBoundingClientRect();
  const first = task.tBodies[0].rows[5].cells[0].getBoundingClientRect();
  out.sticky = [head.top - box.top, head.left - box.left, first.left - box.left];

  const tip = doc.getElementById("tip");
  const link = heat.querySelector("td a");
  const title = link.title;
  link.dispatchEvent(new win.FocusEvent("focusin", { bubbles: true }));
  out.tip = [tip.hidden, tip.textContent, title, link.getAttribute("aria-describedby")];
  doc.dispatchEvent(new win.KeyboardEvent("keydown", { key: "Escape" }));
  out.gone = [tip.hidden, link.title];
  const cell = overall.tBodies[0].rows[0].cells[1];
  cell.dispatchEvent(new win.MouseEvent("mouseover", { bubbles: true }));
  out.value = tip.textContent;
  out.skill = cell.dataset.value;

  const boxed = [...task.ownerDocument.querySelectorAll('tr[id^="e"]')].find((r) => r.dataset.method === "m1 [boxed]");
  out.hiddenRow = boxed.getClientRects().length;
  doc.getElementById("method").value = "boxed";
  doc.getElementById("method").dispatchEvent(new win.Event("input"));
  out.searched = boxed.getClientRects().length;
  const run = [...doc.querySelectorAll(".runs tbody")].find((body) => body.dataset.method === "m3");
  out.filtered = run.getClientRects().length;
  win.location.hash = run.id;
  win.dispatchEvent(new win.Event("hashchange"));
  out.revealed = run.getClientRects().length;
  return out;
}
"""


@pytest.fixture(scope="module")
def seen(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Open the page 390 px and 1,400 px wide; fold, download, scroll, hover and search."""
    return open_in_browser(((390, page), (1400, page)), CHECK, tmp_path_factory.mktemp("browser"))


def table_of(link: str) -> list[dict[str, str]]:
    start = "data:text/csv;charset=utf-8,"
    assert link.startswith(start)
    return list(csv.DictReader(io.StringIO(unquote(link.removeprefix(start)))))


def test_the_page_works_without_errors_and_never_scrolls_sideways(seen):
    assert seen["errors"] == []
    assert seen["console"] == []
    assert max(seen["overflow"]) <= 0


def test_variants_and_controls_unfold(seen, analysis):
    everyone = [row.label for row in analysis.standings]
    heat, overall = seen["checks"]["folded"]
    assert "m1 [boxed]" not in heat + overall
    assert "random" not in heat
    assert "random" in overall
    assert seen["checks"]["open"] == [everyone, everyone]


def test_a_download_holds_the_numbers_of_the_table(seen, analysis):
    rows = table_of(seen["checks"]["csv"])
    assert len(rows) == len(analysis.standings)
    by_label = {row["Method"]: row for row in rows}
    some = next(s for s in analysis.standings if s.skill)
    row = by_label[some.label]
    assert float(row["Skill"]) == pytest.approx(some.skill.value, rel=1e-5)
    assert float(row["Skill, low"]) == pytest.approx(some.skill.low, abs=6e-4)
    assert float(row["Skill, high"]) == pytest.approx(some.skill.high, abs=6e-4)
    assert f"'{NASTY}" in by_label  # no formula for a spreadsheet
    task = {row["Method"]: row for row in table_of(seen["checks"]["task"])}
    entry = next(e for e in analysis.entries if e.label == "m7")
    described = entry.scores["p50_distinct"]
    assert float(task["m7"]["Median, distinct"]) == pytest.approx(described.mean, rel=1e-5)
    assert float(task["m7"]["Median, distinct, std"]) == pytest.approx(described.std, abs=6e-4)
    heat = {row["Method"]: row for row in table_of(seen["checks"]["heat"])}
    skill = entry.skill["p50_distinct"].value
    assert float(heat["m7"][entry.task]) == pytest.approx(skill, rel=1e-4)


def test_all_scores_download_with_method_task_and_seed(seen, analysis):
    rows = table_of(seen["checks"]["scores"])
    runs = [(e, run) for e in analysis.entries for run in e.runs]
    assert len(rows) == len(runs) == 60
    found = {(r["task"], r["Seed"], r["Folder of the run"][-16:]): r for r in rows}
    for entry, run in runs:
        row = found[entry.task, str(run.seed), run.key]
        assert row["method"] == (f"'{NASTY}" if entry.label == NASTY else entry.label)
        scores = (float(row["Best"]), float(row["Median, distinct"]))
        assert scores == pytest.approx((run.scores["p100"], run.scores["p50_distinct"]), abs=6e-5)


def test_a_wide_table_has_a_hint_and_keeps_header_and_first_column(seen):
    assert seen["checks"]["before"] == [True, True, True]
    top, left, first = seen["checks"]["sticky"]
    assert abs(top) <= 1
    assert abs(left) <= 1
    assert abs(first) <= 1


def test_values_show_on_focus_and_on_hover(seen):
    hidden, text, title, described = seen["checks"]["tip"]
    assert not hidden
    assert text == title != ""
    assert described == "tip"
    assert seen["checks"]["gone"] == [True, title]
    assert f"Skill: {seen['checks']['skill']}" in seen["checks"]["value"]


def test_a_search_unfolds_what_it_looks_for(seen):
    assert seen["checks"]["hiddenRow"] == 0
    assert seen["checks"]["searched"] > 0


def test_a_link_shows_its_run_whatever_is_filtered(seen):
    assert seen["checks"]["filtered"] == 0
    assert seen["checks"]["revealed"] > 0
