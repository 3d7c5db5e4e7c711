"""Charts, by hand: where marks stand, and that labels stay text."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from mbo_gym.benchmark.report.charts import (
    Distribution,
    Dot,
    Point,
    distribution_chart,
    dot_chart,
    scatter_chart,
    search_chart,
)
from mbo_gym.benchmark.report.svg import Axis, Style, shorten, tick_label

STYLE = Style("c0", "circle")
HOSTILE = '"><script>alert(1)</script>&'


def points_of(node: ET.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in node.get("points", "").split()]


def of_class(chart: str, name: str) -> list[ET.Element]:
    return [node for node in ET.fromstring(chart).iter() if name in node.get("class", "").split()]


def test_an_axis_maps_its_ends_and_holds_what_lies_beyond_at_them():
    axis = Axis(0.0, 2.0, 100, 300)
    assert [axis(v) for v in (0.0, 0.5, 2.0, -9.0, 9.0)] == [100, 150, 300, 100, 300]
    up = Axis(1.0, 100.0, 200, 0, log=True)
    assert [up(v) for v in (1.0, 10.0, 100.0)] == pytest.approx([200, 100, 0])


@pytest.mark.parametrize(
    "values", [[], [0.5], [0.3, 0.1 + 0.2], [-1e9, 1e9], [1e-12, 2e-12], [0.1, 0.9], [731.2, 731.4]]
)
@pytest.mark.parametrize("log", [False, True])
def test_every_axis_shows_its_values_and_few_round_ticks(values, log):
    axis = Axis.around(values, 0, 100, log=log)
    assert all(axis.holds(v) for v in values if v > 0 or not log)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(axis.holds(tick) for tick in ticks)
    assert len({tick_label(tick) for tick in ticks}) == len(ticks)


def test_ticks_are_round_numbers():
    assert Axis(0.03, 1.02, 0, 1).ticks() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert Axis(0.8, 70.0, 0, 1, log=True).ticks() == [1, 2, 5, 10, 20, 50]
    assert Axis(0.5, 2e6, 0, 1, log=True).ticks() == [1, 100, 1e4, 1e6]


def test_thirty_methods_look_different_and_controls_are_grey():
    assert len({Style.of(i, control=False) for i in range(30)}) == 30
    assert {Style.of(i, control=True).colour for i in range(5)} == {"cx"}


def test_a_long_label_is_cut_and_a_short_one_kept():
    assert shorten("grad", 100) == "grad"
    assert shorten("a method with a very long name", 64) == "a method …"


def test_every_chart_is_well_formed_and_keeps_hostile_labels_as_text():
    charts = [
        dot_chart([Dot(HOSTILE, STYLE, 1, 0, 2)], label=HOSTILE, references={HOSTILE: 1.0}),
        distribution_chart(
            [Distribution(HOSTILE, STYLE, (0, 1, 2), 1, 2)],
            label=HOSTILE,
            references={HOSTILE: 1.0},
        ),
        scatter_chart([Point(HOSTILE, STYLE, 1, 2, 0)], label=HOSTILE, x_title=HOSTILE, log=True),
        search_chart(
            [(0, 0.1, 0.2)], STYLE, label=HOSTILE, score_range=(0, 1), references={HOSTILE: 0.5}
        ),
    ]
    for chart in charts:
        root = ET.fromstring(chart)
        assert root.get("aria-label") == HOSTILE
        assert "script" not in {node.tag for node in root.iter()}


def test_dots_stand_where_their_values_are_and_rows_carry_their_method():
    chart = dot_chart(
        [Dot("a", STYLE, 2, 1, 3), Dot("b", Style("cx", "circle"), 4, 4, 4)], label="", ends=(0, 5)
    )
    rows = of_class(chart, "mark")
    assert [(row.get("data-method"), row.get("class")) for row in rows] == [
        ("a", "mark"),
        ("b", "mark control"),
    ]
    a, b = (float(row.findall("circle")[-1].get("cx")) for row in rows)
    line = rows[0].find("line[@class='i c0']")
    assert float(line.get("x1")) < a < float(line.get("x2")) < b
    assert a - float(line.get("x1")) == pytest.approx(float(line.get("x2")) - a, abs=0.11)
    assert rows[0].find("title").text == "a: 2.000 [1.000, 3.000]"


def test_a_ribbon_is_thickest_at_the_median_and_thin_at_its_ends():
    quantiles = [0.0, 0.1, 0.4, 0.8, 1.0]
    whole, middle = of_class(
        distribution_chart([Distribution("a", STYLE, quantiles, 0.4, 1.0)], label=""), "d"
    )
    upper = points_of(whole)[:5]
    assert [y for _, y in upper] == [0, -4.5, -9, -4.5, 0]
    assert [x for x, _ in points_of(middle)[:3]] == [x for x, _ in upper[1:4]]


def test_a_score_far_below_is_held_at_the_edge_with_an_arrow():
    broken = Distribution("broken", STYLE, (-50.0, -20.0, -9.0), -20.0, -9.0)
    fine = Distribution("fine", STYLE, (0.0, 0.5, 1.0), 0.5, 1.0)
    chart = distribution_chart([fine, broken], label="")
    rows = of_class(chart, "mark")
    assert ["◂" in "".join(row.itertext()) for row in rows] == [False, True]
    (top,) = (max(x for x, _ in points_of(node)) for node in rows[0].findall("polygon")[:1])
    assert top > 300  # the whole width is left to the fine one


def test_an_exact_control_without_quantiles_is_a_line_from_median_to_best():
    (row,) = of_class(
        distribution_chart([Distribution("random", STYLE, (), 0.4, 0.9)], label=""), "mark"
    )
    line = row.find("line[@class='i c0']")
    assert float(line.get("x1")) < float(line.get("x2"))
    assert not row.findall("polygon")


def test_equal_scores_and_a_single_seed_can_be_drawn():
    ribbon, _ = of_class(
        distribution_chart([Distribution("a", STYLE, (0.5,) * 41, 0.5, 0.5)], label=""), "d"
    )
    assert len({x for x, _ in points_of(ribbon)}) == 1
    chart = scatter_chart([Point("a", STYLE, 3.0, 0.5, math.nan)], label="", x_title="s", log=True)
    (bar,) = of_class(chart, "i")
    assert bar.get("y1") == bar.get("y2")


def test_a_better_and_dearer_method_stands_further_up_and_right():
    marks = [Point("a", STYLE, 1.0, 0.2, 0.0), Point("b", STYLE, 100.0, 0.9, 0.0)]
    a, b = of_class(scatter_chart(marks, label="", x_title="s", log=True), "m")
    assert float(a.get("cx")) < float(b.get("cx"))
    assert float(a.get("cy")) > float(b.get("cy"))


def test_a_search_has_a_dashed_prediction_and_a_solid_score_where_there_is_one():
    steps = [(0, 0.0, 0.0), (5, 1.0, None), (10, 2.0, 0.5)]
    chart = search_chart(steps, STYLE, label="", score_range=(0, 1))
    (predicted,), (scored,) = of_class(chart, "predicted"), of_class(chart, "scored")
    assert [y for _, y in points_of(predicted)] == [
        124,
        0,
        -124,
    ]  # leaves the window, where it is cut
    assert [y for _, y in points_of(scored)] == [124, 62]
