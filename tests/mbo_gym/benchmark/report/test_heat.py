"""The heat map of skill, the folded rows, and the tables that methods recorded."""

from __future__ import annotations

import re

import pytest
from browser import HOSTILE, Page

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.report.heat import MOST_ROWS, heat_map, variants
from mbo_gym.benchmark.report.html import to_html
from mbo_gym.benchmark.report.recorded import recorded_tables
from tests.mbo_gym.benchmark.analysis.test_analysis import cells, entry_of
from tests.mbo_gym.benchmark.records import make_records, record

RACE = [
    {
        "name": "ridge",
        "kind": "isotropic",
        "r2": 0.81234,
        "judged": "leave-one-out",
        "n": 1500,
        "weight": 0.75,
        "seconds": 0.5,
        "obstacle": "",
    },
    {
        "name": "trees",
        "kind": "",
        "r2": None,
        "judged": "folds",
        "n": 1500,
        "weight": 0.0,
        "seconds": 12.25,
        "obstacle": "too few <rows>",
    },
]


def many(*extra):
    """Return an analysis of so many methods that some rows are folded."""
    labels = [f"m{i}" for i in range(MOST_ROWS)]
    records = [c for i, label in enumerate(labels) for c in cells(label, [0.3 + i / 100] * 2)]
    for label, score in extra:
        records += cells(label, [score] * 2)
    return analyse(records + cells("random", [0.35, 0.36]))


def test_a_cell_has_value_colour_interval_seeds_and_a_link_to_its_row():
    analysis = analyse(make_records())
    heat = heat_map(analysis)
    names = [task.name for task in heat.tasks]
    assert names == ["TFBind8-Exact-v0", "Levy-Exact-v0 [dim=30]"]  # the CSV has no skill
    assert [row.label for row in heat.rows] == [s.label for s in analysis.standings]
    pgs = next(row for row in heat.rows if row.label == "pgs")
    entry = entry_of(analysis, "pgs", names[0])
    skill = entry.skill["p50_distinct"]
    cell = pgs.cells[0]
    assert (cell.skill, cell.shade, cell.better) == (skill, skill.value, True)
    assert analysis.entries[cell.number] is entry
    assert cell.title == (
        f"pgs on {names[0]}: skill {skill.value:.3f} [{skill.low:.3f}, {skill.high:.3f}] (8 seeds)"
    )
    page = to_html(analysis)
    assert re.search(
        rf'style="--v:{skill.value:.2f}" data-value="{skill.value:.5g}">'
        rf'<a href="#e{cell.number}" title="[^"]*" class="better">{skill.value:.2f}</a>',
        page,
    )
    row = page[page.index(f'id="e{cell.number}"') :].split("</tr>")[0]
    assert 'data-method="pgs"' in row
    assert f'<a href="#r{cell.number}">8</a>' in row


def test_colours_end_at_minus_one_and_numbers_do_not():
    analysis = analyse(cells("a", [-3.0, -3.0]) + cells("random", [0.4, 0.4]))
    cell = next(r for r in heat_map(analysis).rows if r.label == "a").cells[0]
    assert cell.shade == -1
    assert (cell.skill.value, cell.text) == (pytest.approx(-8.5), "-8.50")
    assert '<td class="low" style="--v:1.00" data-value="-8.5">' in to_html(analysis)


def test_a_skill_of_almost_nothing_has_no_sign_and_a_large_one_no_decimals():
    records = cells("a", [0.3999] * 2) + cells("b", [-30.0] * 2)
    heat = heat_map(analyse([*records, *cells("random", [0.4, 0.4])]))
    assert {row.label: row.cells[0].text for row in heat.rows} == {
        "a": "0.00",
        "b": "-76",
        "random": "0.00",
    }


def test_where_no_skill_is_known_there_is_no_heat_map():
    analysis = analyse(cells("a", [0.5, 0.6]) + cells("b", [0.5, 0.6]))
    assert heat_map(analysis) is None
    page = to_html(analysis)
    assert 'class="heatmap"' not in page
    assert 'id="finding"' in page


def test_variants_are_folded_where_the_method_itself_stands_in_a_large_table():
    folded = {"m1 [boxed]", "m1 on coms", "m2 without noise", "m3, constant step"}
    others = ("alone [paper]", "m1b", "random at heart")
    analysis = many(*((label, 0.2) for label in (*sorted(folded), *others)))
    assert variants(analysis) == folded | {"random at heart"}
    heat = heat_map(analysis)
    assert (heat.n_variants, heat.n_controls) == (5, 1)
    page = to_html(analysis)
    assert "Show 5 variants and 1 control too" in page
    assert "Show 5 variants too" in page
    row = re.search(r'<tr id="e\d+" data-method="m1 \[boxed\]"[^>]*>', page)
    assert 'class=" variant"' in row[0]


def test_a_winner_is_never_folded():
    assert variants(many(("m1 [boxed]", 0.7), ("m2 [boxed]", 0.2))) == {"m2 [boxed]"}


def test_small_tables_fold_nothing():
    analysis = analyse(cells("m", [0.5] * 2) + cells("m [x]", [0.4] * 2) + cells("random", [0.3]))
    assert variants(analysis) == set()
    assert 'class="fold"' not in to_html(analysis)


def test_a_recorded_race_is_shown_for_the_first_seed_and_the_others_unfold():
    records = [
        record("matched", "Toy-v0", seed, result={"tables": {"race": RACE}}) for seed in (2, 0, 1)
    ]
    analysis = analyse([*records, record("random", "Toy-v0")])
    ((first, *others),) = recorded_tables(analysis.entries)
    assert (first.title, first.label, first.seed) == ("Which model was chosen", "matched", 0)
    assert [table.seed for table in others] == [1, 2]
    assert first.columns == (
        ("Family", False),
        ("Kind", False),
        ("Held-out R2", True),
        ("How judged", False),
        ("Rows", True),
        ("Weight taken", True),
        ("Seconds", True),
        ("Could not be fitted", False),
    )
    (ridge, taken), (trees, left) = first.rows
    assert (taken, left) == (True, False)
    assert [cell.text for cell in ridge] == [
        *("ridge", "isotropic", "0.812", "leave-one-out", "1,500", "0.750", "0.500", "—")
    ]
    assert [cell.text for cell in trees][2:8:5] == ["—", "too few <rows>"]
    page = to_html(analysis)
    part = page[page.index("<h3>Which model was chosen: matched</h3>") :]
    shown, folded = part.split("<details>", 1)
    assert 'class="taken"' in shown
    assert "seed 0" in shown
    assert "seed 1" not in shown
    assert "The other 2 seeds" in folded
    assert "too few &lt;rows&gt;" in shown


def test_tables_of_other_names_are_shown_with_their_own_columns_and_inert():
    rows = [{"a_b": 1, "ok": True}, {"a_b": 2.5, HOSTILE: HOSTILE}]
    records = [record("x", "Toy-v0", result={"tables": {"my_table": rows, "empty": []}})]
    analysis = analyse(records)
    ((table,),) = recorded_tables(analysis.entries)
    assert table.title == "My table"
    assert table.columns == (("a b", True), ("ok", False), (HOSTILE, False))
    assert [cell.text for cell in table.rows[0][0]] == ["1", "yes", "—"]
    page = to_html(analysis)
    assert Page(page).count("script") == 1
    assert HOSTILE in Page(page).text


def test_without_recorded_tables_nothing_is_shown():
    analysis = analyse(make_records())
    assert recorded_tables(analysis.entries) == []
    assert 'class="recorded"' not in to_html(analysis)
