"""The finding: who wins, and what to trust, in every case that results can be in."""

from __future__ import annotations

import pytest

from mbo_gym.benchmark.analysis.build import analyse
from tests.mbo_gym.benchmark.analysis.test_analysis import CEILING, cells
from tests.mbo_gym.benchmark.records import failed, make_records, record

CONTROL = cells("random", [0.4, 0.4])


def found(*records):
    return analyse([cell for same in records for cell in same]).finding


def both(label, on_a, on_b, **changes):
    return cells(label, on_a, "A-v0", **changes) + cells(label, on_b, "B-v0", **changes)


def test_the_winner_has_the_highest_mean_skill_of_the_methods():
    finding = found(
        both("a", [0.70, 0.72], [0.32, 0.32]),
        both("b", [0.50, 0.54], [0.30, 0.30]),
        both("random", [0.40, 0.40], [0.40, 0.40]),
    )
    assert (finding.winners, finding.measure) == (("a",), "skill")
    assert finding.interval.value == pytest.approx((0.775 - 0.2) / 2)
    assert finding.headline == (
        "a wins: its mean skill on 2 tasks is 0.287 [0.275, 0.300] (95 % interval over seeds)."
    )
    assert finding.sentences == (
        "Skill 0 is the best control of a task, 1 its ceiling, the best that is possible.",
        "a beats the best control on 1 of 2 tasks.",
        "Next is b with 0.025 [0.000, 0.050].",
    )


def test_methods_whose_intervals_overlap_are_all_named_and_others_are_not():
    finding = found(
        cells("a", [0.6, 0.8]), cells("b", [0.5, 0.65]), cells("c", [0.41, 0.42]), CONTROL
    )
    assert finding.winners == ("a", "b")
    assert finding.headline.startswith("a and b cannot be told apart: their intervals overlap.")
    assert "a has the highest mean skill on 1 task, 0.750 [0.500, 1.000]" in finding.headline
    assert not any("Next is" in line for line in finding.sentences)


def test_a_control_wins_nothing():
    finding = found(cells("random", [0.5, 0.5]), cells("a", [0.48, 0.48]), cells("b", [0.4, 0.4]))
    assert finding.winners == ("a",)
    assert finding.headline.startswith("No method beats the best control on average over 1 task.")
    assert "a beats the best control on no task." in finding.sentences
    assert "None of the 2 methods compared beats the best control on any task." in finding.sentences


def test_methods_that_beat_no_control_are_counted():
    finding = found(cells("a", [0.7, 0.7]), cells("b", [0.3, 0.3]), cells("c", [0.2, 0.2]), CONTROL)
    assert "2 of the 3 methods compared beat the best control on no task." in finding.sentences


def test_an_interval_around_zero_is_no_win_over_the_control():
    finding = found(cells("a", [0.35, 0.5]), CONTROL)
    assert "a is not shown to beat the best control on average." in finding.sentences


def test_skill_below_minus_one_is_told_with_the_task():
    finding = found(
        both("a", [0.7, 0.7], [-0.3, -0.3]),
        both("random", [0.4, 0.4], [0.4, 0.4]),
    )
    assert "a is below -1 on B-v0, which counts as -1." in finding.sentences


@pytest.mark.parametrize("lack", ["ceiling", "control"])
def test_without_a_skill_the_median_score_decides(lack):
    result = {"ceiling": {}} if lack == "ceiling" else {}
    records = [cells("a", [0.6, 0.6], result=result), cells("b", [0.5, 0.5], result=result)]
    if lack == "ceiling":
        records.append(cells("random", [0.4, 0.4], result=result))
    finding = found(*records)
    assert (finding.winners, finding.measure, finding.interval.value) == (("a",), "score", 0.6)
    assert "interquartile mean of median scores on 1 task is 0.600" in finding.headline
    assert not any("kill" in line for line in finding.sentences)
    reason = {
        "ceiling": "The ceiling is unknown on Toy-v0, and so is the skill.",
        "control": "No control was run on Toy-v0: the skill is unknown there.",
    }
    assert reason[lack] in finding.trust


def test_one_seed_is_no_win():
    finding = found(cells("a", [0.6]), cells("b", [0.5]), cells("random", [0.4]))
    assert finding.winners == ("a",)
    assert "wins" not in finding.headline
    assert "one seed has no interval: the order may be luck" in finding.headline
    assert finding.trust[0] == (
        "Every method has one seed: no interval, and no test against the controls."
    )


@pytest.mark.parametrize(
    ("records", "headline"),
    [
        ([failed("a")], "No cell has a score: there is nothing to compare."),
        ([record("a", "csv", p100=None)], "No cell has a score: there is nothing to compare."),
        (CONTROL, "Only controls were run: there is no method to compare with them."),
        (
            cells("a", [0.6], "A-v0") + cells("b", [0.6], "B-v0"),
            "No method has scores on every task: none can be compared over tasks.",
        ),
    ],
    ids=["failed", "no oracle", "controls", "incomplete"],
)
def test_where_nothing_can_be_compared_the_finding_says_why(records, headline):
    finding = found(records)
    assert (finding.winners, finding.measure, finding.interval) == ((), "", None)
    assert finding.headline == headline
    assert finding.sentences == ()
    assert not any("order" in line for line in finding.trust)


def test_trust_tells_of_seeds_failures_files_and_oracle_calls():
    finding = found(
        cells("a", [0.6] * 8),
        cells("b", [0.5] * 3, result={"search_oracle_calls": 7}),
        cells("c", [0.5] * 8, external=True),
        [failed("a", "Toy-v0", 9)],
        cells("random", [0.4] * 8),
        [record("a", "csv", p100=None, options={})],
    )
    assert finding.trust == (
        "1 of 4 pairs of method and task have fewer than 8 seeds; the least is 3.",
        "1 of 29 cells failed and count in no number.",
        "The ceiling is not exact on Toy-v0: skill above 0 may be too high there.",
        "Not offline, as the oracle was asked during the search: b.",
        "Scored from a file, so oracle calls are unknown: c.",
        "No scores on csv.",
        "The order holds for this task only.",
    )


def test_trust_tells_where_there_is_little_room_below_the_ceiling():
    exact = {"ceiling": {**CEILING, "exact": True}}
    near = found(cells("random", [0.78] * 8, result=exact), cells("a", [0.79] * 8, result=exact))
    assert near.trust[:3] == (
        "Every method has 8 seeds or more on every task it ran on.",
        "All ceilings are exact.",
        "On Toy-v0 the control random (0.780) is close to the ceiling (0.800): "
        "small differences become large skills.",
    )
    reached = found(cells("random", [0.8] * 8), cells("a", [0.5] * 8))
    assert any("the control random reaches the ceiling" in line for line in reached.trust)
    solved = found(cells("a", [0.8] * 8), cells("b", [0.795] * 8), cells("random", [0.4] * 8))
    line = "On Toy-v0 2 methods are at the ceiling and cannot be told apart."
    assert line in solved.trust


def test_many_equal_winners_are_shortened():
    records = [cells(f"m{i}", [0.6, 0.6]) for i in range(9)]
    finding = found(*records, CONTROL)
    assert len(finding.winners) == 9
    assert finding.headline.startswith("m0, m1, m2, m3, m4, m5 and 3 more cannot be told apart")


def test_a_whole_benchmark_has_a_finding():
    finding = analyse(make_records()).finding
    assert finding.winners == ("pgs", "grad")
    assert "1 of 61 cells failed and count in no number." in finding.trust
