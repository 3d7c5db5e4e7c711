"""The batch card: complete, inert, offline, and at work in a real browser."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from browser import HOSTILE, Page, open_in_browser

import mbo_gym
from mbo_gym.batch.card import to_html
from mbo_gym.batch.result import Batch, Score
from mbo_gym.batch.study import SEEN
from tests.mbo_gym.batch.conftest import KINDS, mixed, noise
from tests.mbo_gym.batch.test_build import batch_of


@pytest.fixture(scope="module")
def batch() -> Batch:
    from mbo_gym.batch import models

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "N_TREES", 30)
        patch.setattr(models, "STEPS_BY_ROOT", 4)
        made = batch_of(mixed(failures=True), k=24, method="top_k_noise")
    return replace(made, score=Score("yield"))


@pytest.fixture(scope="module")
def card(batch: Batch) -> str:
    return to_html(batch)


def test_the_finding_stands_first_and_every_part_is_there(batch, card):
    page = Page(card)
    assert page.text.index(batch.health.measure) < page.text.index("The batch")
    for heading in ("The batch", "Health of the data", "What the intervals cover", "The space"):
        assert heading in page.text
    for seen in SEEN:
        assert seen.case in page.text
        assert f"{seen.covered} %" in page.text
    for words in ("acid + base + water = 1", "acid + 2 base <= 1.2", "in steps of 5", *batch.notes):
        assert words in page.text
    assert batch.feasibility.finding in page.text
    assert card.count('class="chart"') == 4
    for model in batch.health.models:
        assert model.title in page.text


def test_the_table_holds_every_cell(batch, card):
    page = Page(card)
    lines = [facts["data-csv"] for tag, facts in page.tags if "data-csv" in facts]
    read = list(csv.reader(io.StringIO("\n".join(lines))))
    assert read == [batch.header(), *batch.cells()]
    table = card[card.index('<table id="designs"') :]
    rows = re.findall(r"<tr data-csv.*?</tr>", table[: table.index("</table>")], re.S)
    shown = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert [[html.unescape(cell) for cell in row[1:]] for row in shown] == batch.cells()


def test_nothing_is_fetched_and_nothing_from_the_data_is_markup(batch, card):
    page = Page(card)
    for tag, facts in page.tags:
        assert tag not in ("iframe", "object", "embed")
        for name in ("src", "href"):
            assert not (facts.get(name) or "").startswith(("http:", "https:", "//"))
    assert "default-src 'none'" in card
    hostile = to_html(
        replace(batch, score=Score(HOSTILE), notes=(HOSTILE,), method=HOSTILE), HOSTILE
    )
    assert HOSTILE not in hostile
    assert Page(hostile).count("script") == Page(card).count("script") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_space_has_a_card(kind, tmp_path):
    made = batch_of(KINDS[kind](), k=5, method="top_k_noise")
    path = mbo_gym.write_card(made, tmp_path / "card.html", "My batch")
    text = Page(path.read_text(encoding="utf-8")).text
    assert "My batch" in text
    for name in made.header():
        assert name in text


def test_where_nothing_was_learned_the_card_says_so():
    made = batch_of(noise(), k=5)
    page = Page(to_html(made))
    assert "Nothing was learned" in page.text
    assert "Mean chance" not in page.text
    few = replace(noise(), dataset=noise().dataset.take(np.arange(4)))
    page = Page(to_html(batch_of(few, k=5)))
    assert "4 rows are too few" in page.text
    assert "There are no intervals" in page.text


CHECK = """
const rows = (doc) => visible(doc, "#designs tbody tr");
const column = (doc, name) => [...doc.querySelectorAll("#designs thead th")].findIndex((th) => th.dataset.name === name);
const values = (doc, name) => rows(doc).map((r) => Number(r.cells[column(doc, name)].dataset.value));
function check(win) {
  const doc = win.document;
  const out = {};
  const type = (text) => {
    doc.getElementById("search").value = text;
    doc.getElementById("search").dispatchEvent(new win.Event("input"));
  };
  const click = (name) => doc.querySelectorAll("#designs thead th")[column(doc, name)].firstElementChild.click();
  click("distance");
  out.down = values(doc, "distance");
  click("distance");
  out.up = values(doc, "distance");
  out.all = rows(doc).length;
  type("temperature<60");
  out.cool = values(doc, "temperature");
  type("Pd");
  out.words = rows(doc).map((r) => r.cells[column(doc, "catalyst")].textContent);
  doc.getElementById("save").click();
  out.saved = doc.getElementById("save").dataset.saved;
  out.tally = doc.getElementById("tally").textContent;
  type("");
  doc.getElementById("inside").click();
  out.inside = rows(doc).map((r) => r.cells[column(doc, "support")].textContent);
  doc.getElementById("inside").click();
  const colour = () => win.getComputedStyle(doc.body).backgroundColor;
  const before = colour();
  doc.getElementById("theme").click();
  out.colours = [before, colour()];
  return out;
}
"""


@pytest.fixture(scope="module")
def seen(batch: Batch, card: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Open the card in a browser, 1,000 px wide and, with hostile words, 360 px wide."""
    hostile = to_html(replace(batch, score=Score(HOSTILE), method=HOSTILE), "y" * 200)
    pages = ((1000, card), (360, hostile))
    return open_in_browser(pages, CHECK, tmp_path_factory.mktemp("browser"))


def test_a_browser_runs_the_card_without_errors_and_without_injected_scripts(seen):
    assert seen["errors"] == []
    assert seen["ready"] == [True, True]
    assert not seen["hacked"]
    assert seen["console"] == []


def test_no_screen_scrolls_sideways_and_chart_text_is_not_tiny(seen):
    assert max(seen["overflow"]) <= 0
    assert min(seen["text"]) >= 10


def test_a_click_sorts_and_words_filter(seen, batch):
    checks = seen["checks"]
    assert checks["all"] == len(batch)
    assert checks["down"] == sorted(checks["down"], reverse=True)
    assert checks["up"] == sorted(checks["down"])
    assert len(checks["cool"]) == (batch.x[:, 0] < 60).sum()
    assert all(value < 60 for value in checks["cool"])
    assert len(checks["words"]) == (batch.x[:, 1] == 0).sum() > 0
    assert set(checks["words"]) == {"Pd"}
    assert len(checks["inside"]) == batch.facts.inside.sum()


def test_the_download_holds_the_rows_shown(seen, batch):
    rows = list(csv.reader(io.StringIO(seen["checks"]["saved"])))
    assert rows[0] == batch.header()
    assert {row[1] for row in rows[1:]} == {"Pd"}
    assert seen["checks"]["tally"] == f"{len(rows) - 1} of {len(batch)} designs"
    assert sorted(rows[1:]) == sorted(row for row in batch.cells() if row[1] == "Pd")


def test_the_theme_button_turns_the_page(seen):
    before, after = seen["checks"]["colours"]
    assert before != after
