"""What a report shows, by hand on a few records."""

from __future__ import annotations

import json
import math

import pytest

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.model import MEASURES, RANKINGS
from mbo_gym.benchmark.record import Environment
from tests.mbo_gym.benchmark.records import ENVIRONMENT, failed, make_records, record

TFBIND, LEVY = "TFBind8-Exact-v0", "Levy-Exact-v0"
CEILING = {"p100": 1.0, "p50": 0.8, "exact": False, "note": ""}
SEARCH = [
    {"step": 0, "prediction": 0.5, "score": 0.4},
    {"step": 5, "prediction": 0.7, "score": 0.2},
]


def cells(label, p50s, task_id="Toy-v0", **changes):
    """Return a cell a seed, whose best and median scores are the given one, on a task with a
    ceiling of 1 and 0.8."""
    result = {"ceiling": CEILING, **changes.pop("result", {})}
    return [
        record(label, task_id, seed, p100=p50, result=result, **changes)
        for seed, p50 in enumerate(p50s)
    ]


def entry_of(analysis, label, task="Toy-v0"):
    return next(e for e in analysis.entries if (e.label, e.task) == (label, task))


def standing_of(analysis, label):
    return next(s for s in analysis.standings if s.label == label)


def test_scores_are_described_over_seeds():
    parts = {"overall": {"n": 256, "p100": 0.9, "p50": 0.5, "mean": 0.45}, "share_above_best": 0.25}
    parts |= {"distinct": {"n": 9, "p100": 0.9, "p50": 0.4, "mean": 0.3}}
    parts |= {"first": {"n": 128, "p100": 0.8, "p50": 0.6, "mean": 0.5}}
    entry = entry_of(
        analyse([record("a", "Toy-v0", 1, result=parts), record("a", "Toy-v0", 0, p100=0.7)]), "a"
    )
    assert entry.seeds == (0, 1)
    assert tuple(entry.values) == tuple(entry.scores) == MEASURES
    assert {name: values[1] for name, values in entry.values.items()} == {
        "p100": 0.9,
        "p50_distinct": 0.4,
        "p50": 0.5,
        "mean": 0.45,
        "first_p100": 0.8,
        "first_p50": 0.6,
        "share_above_best": 0.25,
    }
    assert (entry.scores["p100"].mean, entry.scores["p100"].standard_error) == pytest.approx(
        (0.8, 0.1)
    )


def test_skill_is_the_way_from_the_best_control_to_the_ceiling():
    records = cells("random", [0.2, 0.4]) + cells("top_k", [0.4, 0.4]) + cells("a", [0.5, 0.7])
    analysis = analyse(records)
    (task,) = analysis.tasks
    assert task.best_control == {"p100": ("top_k", 0.4), "p50_distinct": ("top_k", 0.4)}
    skill = entry_of(analysis, "a").skill
    assert skill["p100"].value == pytest.approx((0.6 - 0.4) / (1 - 0.4))
    assert (
        skill["p50_distinct"].value,
        skill["p50_distinct"].low,
        skill["p50_distinct"].high,
    ) == pytest.approx((0.5, 0.25, 0.75))  # both seeds 0.5, both 0.7
    assert entry_of(analysis, "random").skill["p50_distinct"].value == pytest.approx(
        (0.3 - 0.4) / 0.4
    )
    assert entry_of(analysis, "top_k").skill["p50_distinct"].value == 0


@pytest.mark.parametrize(
    ("p50s", "expected"), [([0.5, 0.7], True), ([0.4, 0.7], False), ([0.1, 0.3], False)]
)
def test_better_than_a_control_needs_an_interval_above_zero(p50s, expected):
    analysis = analyse(cells("top_k", [0.4, 0.4]) + cells("a", p50s))
    assert entry_of(analysis, "a").better_than_control is expected
    assert entry_of(analysis, "top_k").better_than_control is None


def test_one_seed_does_not_tell_whether_a_method_is_better():
    entry = entry_of(analyse(cells("top_k", [0.4, 0.4]) + cells("a", [0.7])), "a")
    assert (entry.skill["p50_distinct"].value, entry.better_than_control) == (
        pytest.approx(0.75),
        None,
    )


def test_without_ceiling_or_control_there_is_no_skill():
    no_ceiling = analyse(
        cells("random", [0.2, 0.3], result={"ceiling": {}}) + cells("a", [0.5, 0.6])
    )
    no_control = analyse(cells("b", [0.2, 0.3]) + cells("a", [0.5, 0.6]))
    reached = analyse(cells("random", [0.9, 0.9]) + cells("a", [0.5, 0.6]))
    for analysis in (no_ceiling, no_control):
        assert (entry_of(analysis, "a").skill, entry_of(analysis, "a").better_than_control) == (
            {},
            None,
        )
    assert list(entry_of(reached, "a").skill) == [
        "p100"
    ]  # the median's ceiling, 0.8, lies below the control
    assert "The ceiling of Toy-v0 is unknown, and so is the skill." in no_ceiling.notes
    assert (
        "No control was run on Toy-v0: the skill is unknown. Add `controls` to the methods."
        in no_control.notes
    )
    assert (
        "On Toy-v0 the control random reaches the ceiling (0.900): no skill is left to show."
        in reached.notes
    )


def test_exact_controls_stand_beside_the_methods_that_were_run():
    analysis = analyse([record("grad", TFBIND, seed, p50=0.6) for seed in range(2)])
    labels = [(e.label, e.control, e.exact, e.seeds) for e in analysis.entries]
    assert labels == [
        ("grad", False, False, (0, 1)),
        ("random (exact)", True, True, ()),
        ("top_k (exact)", True, True, ()),
    ]
    exact = entry_of(analysis, "random (exact)", TFBIND)
    assert exact.values == {"p100": (0.959,), "p50_distinct": (0.440,), "p50": (0.440,)}
    assert (exact.scores["p100"].n, exact.command, exact.diagnostics["seconds"]) == (1, "", None)
    assert analysis.tasks[0].best_control["p100"] == ("random (exact)", 0.959)
    assert entry_of(analysis, "grad", TFBIND).skill["p50_distinct"].value == pytest.approx(
        0.16 / 0.491
    )
    assert [s.label for s in analysis.standings] == ["grad"]
    assert not any("No control" in note for note in analysis.notes)


def test_a_control_that_was_run_takes_the_place_of_the_exact_one():
    labels = [
        e.label
        for e in analyse([record("random", TFBIND, p50=0.45), record("grad", TFBIND)]).entries
    ]
    assert labels == ["grad", "random", "top_k (exact)"]
    labels = [e.label for e in analyse([failed("random", TFBIND), record("grad", TFBIND)]).entries]
    assert labels == ["grad", "random (exact)", "top_k (exact)", "random"]  # that run failed


def test_a_row_is_a_task_with_its_options_and_a_budget():
    options = [{"dim": 30}, {"dim": 5, "a": 1}, {}]
    records = [record("a", LEVY, options=o) for o in options]
    assert [p.name for p in analyse(records).tasks] == [
        f"{LEVY} [dim=30]",
        f"{LEVY} [a=1, dim=5]",
        LEVY,
    ]
    records.append(record("a", LEVY, options={}, k=128))
    names = [p.name for p in analyse(records).tasks]
    assert names[2:] == [f"{LEVY} [K=256]", f"{LEVY} [K=128]"]
    assert names[0] == f"{LEVY} [dim=30, K=256]"
    (task,) = analyse(records[:1]).tasks
    assert (task.task_id, task.options, task.k) == (LEVY, {"dim": 30}, 256)
    assert (task.d_best, task.n_visible, task.ceiling.p100) == (0.613, 15000, 1.354)


def test_ranks_and_skill_are_averaged_over_tasks():
    records = [
        *cells("a", [0.7, 0.7], "A-v0"),
        *cells("b", [0.6, 0.6], "A-v0"),
        *cells("random", [0.4, 0.4], "A-v0"),
        *cells("a", [0.3, 0.3], "B-v0"),
        *cells("b", [0.6, 0.6], "B-v0"),
        *cells("random", [0.3, 0.3], "B-v0"),
    ]
    analysis = analyse(records)
    assert [s.label for s in analysis.standings] == ["b", "a", "random"]
    a, b = standing_of(analysis, "a"), standing_of(analysis, "b")
    assert a.tasks == ("A-v0", "B-v0")
    assert a.complete
    for ranking in RANKINGS:
        assert (a.mean_rank[ranking].value, b.mean_rank[ranking].value) == (
            1.75,
            1.5,
        )  # ranks 1, 2.5 and 2, 1
        assert (a.median_rank[ranking], b.median_rank[ranking]) == (1.75, 1.5)
    assert a.skill.value == pytest.approx((0.75 + 0) / 2)
    assert b.skill.value == pytest.approx((0.5 + 0.6) / 2)
    assert (a.improvement.value, b.improvement.value) == (
        0.75,
        1,
    )  # on B-v0 it ties with the control
    assert a.iqm["p100"].value == pytest.approx(0.5)


def test_tasks_without_a_skill_count_for_the_other_rankings_only():
    records = [
        *cells("a", [0.7, 0.7], "A-v0"),
        *cells("b", [0.6, 0.6], "A-v0"),
        *cells("random", [0.4, 0.4], "A-v0"),
        *cells("a", [0.3, 0.3], "B-v0", result={"ceiling": {}}),
        *cells("b", [0.6, 0.6], "B-v0", result={"ceiling": {}}),
        *cells("random", [0.2, 0.2], "B-v0", result={"ceiling": {}}),
    ]
    a = standing_of(analyse(records), "a")
    assert (a.mean_rank["p50_distinct"].value, a.mean_rank["skill"].value) == (1.5, 1)
    assert a.skill.value == pytest.approx(0.75)
    unknown = standing_of(analyse([r for r in records if r.request.task_id == "B-v0"]), "a")
    assert (list(unknown.mean_rank), unknown.skill) == (["p100", "p50_distinct"], None)
    assert unknown.improvement.value == 1


def test_only_methods_with_scores_on_every_task_are_compared_over_tasks():
    records = (
        cells("a", [0.7, 0.7], "A-v0")
        + cells("b", [0.6, 0.6], "A-v0")
        + cells("b", [0.6, 0.6], "B-v0")
    )
    analysis = analyse([*records, failed("a", "B-v0"), record("a", "csv", p100=None)])
    b, a = analysis.standings
    assert (b.label, b.complete, b.mean_rank["p100"].value) == ("b", True, 1)
    assert (a.label, a.complete, a.tasks) == ("a", False, ("A-v0",))
    assert (a.iqm, a.mean_rank, a.median_rank, a.skill, a.improvement) == ({}, {}, {}, None, None)
    assert "Not on every task, so not compared over tasks: a." in analysis.notes


def test_nobody_is_ranked_where_nobody_has_every_task():
    analysis = analyse(cells("a", [0.7, 0.7], "A-v0") + cells("b", [0.6, 0.6], "B-v0"))
    assert [(s.label, s.complete, s.mean_rank) for s in analysis.standings] == [
        ("a", False, {}),
        ("b", False, {}),
    ]


def test_without_an_oracle_there_are_counts_and_no_scores():
    analysis = analyse([record("a", "csv", seed, p100=None) for seed in range(2)])
    (entry,) = analysis.entries
    assert (entry.values, entry.scores, entry.skill, entry.quantiles) == ({}, {}, {}, ())
    assert (entry.seeds, entry.diagnostics["n_unique"], entry.diagnostics["oracle_calls"]) == (
        (0, 1),
        256,
        0,
    )
    assert (analysis.standings, analysis.reproduced, analysis.comparisons[entry.task]) == (
        (),
        (),
        (),
    )
    assert analysis.notes == (f"{entry.task} has no oracle: designs are counted, not scored.",)


def test_a_task_whose_cells_all_failed_is_kept():
    analysis = analyse([failed("a", "Toy-v0", 3)])
    (task,), (entry,), (failure,) = analysis.tasks, analysis.entries, analysis.failures
    assert math.isnan(task.d_best)
    assert (task.n_visible, task.ceiling, task.best_control) == (0, None, {})
    assert (entry.seeds, entry.n_failed, entry.values, entry.diagnostics["seconds"]) == (
        (),
        1,
        {},
        None,
    )
    assert (failure.label, failure.task, failure.seed, failure.error) == (
        "a",
        "Toy-v0",
        3,
        "ValueError: loss is <nan>",
    )
    assert failure.traceback.startswith("Traceback")
    assert analysis.notes == (
        "No cell is done on Toy-v0.",
        "1 of 1 cells failed and count in no number: a on Toy-v0 (seed 3).",
    )


def test_a_command_holds_all_seeds_done_or_not():
    command = "mbo-gym run a Toy-v0 --seeds {} --k 256"
    records = [record("a", "Toy-v0", seed) for seed in (5, 0, 1, 2)] + [failed("a", "Toy-v0", 4)]
    assert entry_of(analyse(records), "a").command == command.format("0-2,4-5")
    assert entry_of(analyse(records[:1]), "a").command == command.format("5")


def test_commands_that_differ_in_more_than_seeds_stay_apart():
    files = [
        record("a", "Toy-v0", s, external=True, command=f"mbo-gym evaluate Toy-v0 {s}.csv")
        for s in range(2)
    ]
    assert (
        entry_of(analyse(files), "a").command
        == "mbo-gym evaluate Toy-v0 0.csv\nmbo-gym evaluate Toy-v0 1.csv"
    )


def test_published_numbers_are_compared_on_as_many_designs():
    first = {"n": 128, "p100": 0.8, "p50": 0.2, "mean": 0.2}
    rows = analyse(
        [record("grad", TFBIND, s, p100=0.9, p50=0.3, result={"first": first}) for s in range(2)]
    ).reproduced
    assert {(row.published.percentile, row.published.k, row.ours.mean) for row in rows} >= {
        (100, 128, 0.8),
        (100, 256, 0.9),
    }
    assert {row.ours.mean for row in rows} <= {0.8, 0.9, 0.2, 0.3}
    assert all((row.label, row.task, row.k, row.ours.n) == ("grad", TFBIND, 256, 2) for row in rows)
    assert analyse(cells("unheard_of", [0.5, 0.6])).reproduced == ()


def test_quantiles_and_facts_are_averaged_over_the_seeds_that_know_them():
    low = {"quantiles": [0.0] * 41, "peak_memory_mb": None, "novelty": None}
    high = {"quantiles": [1.0] * 41, "novelty": None}
    records = [
        record("a", "Toy-v0", 0, result=low),
        record("a", "Toy-v0", 1, result=high, seconds=15.5),
    ]
    entry = entry_of(analyse(records), "a")
    assert entry.quantiles == (0.5,) * 41
    assert (
        entry.diagnostics["seconds"],
        entry.diagnostics["peak_memory_mb"],
        entry.diagnostics["novelty"],
    ) == (
        14,
        512.25,
        None,
    )


def test_a_search_is_averaged_over_the_steps_that_all_searches_have():
    other = [
        {"step": 0, "prediction": 0.7, "score": 0.6},
        {"step": 5, "prediction": 0.9, "score": None},
    ]
    other.append({"step": 10, "prediction": 1.0, "score": 0.1})
    diverged = [*SEARCH, {"step": 15, "prediction": None, "score": None}]
    records = [
        record("a", "Toy-v0", s, result={"search": path})
        for s, path in enumerate([diverged, other, []])
    ]
    expected = ((0, pytest.approx(0.6), pytest.approx(0.5)), (5, pytest.approx(0.8), None))
    assert entry_of(analyse(records), "a").search == expected
    assert entry_of(analyse(records[2:]), "a").search == ()


def test_methods_are_tested_pairwise_and_exact_controls_are_not():
    records = [
        record(label, TFBIND, s, p50=p50 + s / 100)
        for label, p50 in (("a", 0.5), ("b", 0.6))
        for s in range(3)
    ]
    (comparison,) = analyse(records).comparisons[TFBIND]
    assert (comparison.a, comparison.b, comparison.difference) == ("b", "a", pytest.approx(0.1))


def test_environments_are_kept_once():
    changed = {**ENVIRONMENT, "git": "f" * 40 + "+changes"}
    newer = {**ENVIRONMENT, "versions": {**ENVIRONMENT["versions"], "torch": "2.6.0"}}
    records = [
        record("a", "Toy-v0", seed, environment=e)
        for seed, e in enumerate([ENVIRONMENT, changed, newer, changed])
    ]
    analysis = analyse([*records, record("b", "Toy-v0", environment=changed)])
    assert analysis.environments == tuple(Environment(**e) for e in (ENVIRONMENT, changed, newer))
    assert (entry_of(analysis, "a").environments, entry_of(analysis, "b").environments) == (
        (0, 1, 2),
        (1,),
    )
    assert analysis.notes[-3:] == (
        "The records come from 2 states of the code: 0123456789, ffffffffff+changes.",
        "Some records were made with uncommitted changes (+changes): "
        "no commit repeats them for certain.",
        "The records differ in versions: torch 2.5.1, 2.6.0.",
    )


def test_notes_tell_of_few_and_of_unequal_seeds():
    few = analyse(cells("random", [0.2] * 8) + cells("a", [0.5] * 3)).notes
    assert "Fewer than 8 seeds on Toy-v0: a (3)." in few
    unequal = analyse(cells("random", [0.2] * 8) + cells("a", [0.5] * 10)).notes
    assert unequal == ("Unequal numbers of seeds on Toy-v0: a (10), random (8).",)
    assert analyse(cells("random", [0.2] * 8) + cells("a", [0.5] * 8)).notes == ()


def test_notes_tell_what_cannot_be_trusted():
    oracle = cells("greedy", [0.6] * 8, result={"search_oracle_calls": 7})
    notes = analyse(
        cells("random", [0.2] * 8) + cells("mine", [0.5] * 8, external=True) + oracle
    ).notes
    assert notes == (
        "greedy on Toy-v0 asked the oracle while it learned and searched (7 calls a run): "
        "it is not offline.",
        "Scored from a file: mine. Whether the program that made the designs asked the oracle is "
        "not known.",
    )
    twice = analyse(cells("a", [0.5] * 8) + cells("a", [0.6], key="other"))
    assert any("a on Toy-v0 has two cells with one seed" in note for note in twice.notes)


def test_without_records_there_is_nothing_to_analyse():
    with pytest.raises(
        ValueError, match="there are no records to analyse; run `mbo-gym benchmark` first"
    ):
        analyse([])


def test_a_whole_benchmark_is_analysed():
    records = make_records()
    json.dumps([r.to_json() for r in records], allow_nan=False)
    analysis = analyse(records, title="All")
    assert (analysis.title, analysis.n_cells, len(analysis.failures)) == ("All", len(records), 1)
    assert [len([e for e in analysis.entries if e.task == p.name]) for p in analysis.tasks] == [
        6,
        4,
        2,
    ]
    for task in analysis.tasks:
        means = [
            e.scores["p50_distinct"].mean
            for e in analysis.entries
            if e.task == task.name and e.scores
        ]
        assert means == sorted(means, reverse=True)
    assert [(s.label, s.complete) for s in analysis.standings][:2] == [
        ("pgs", True),
        ("grad", True),
    ]
    assert entry_of(analysis, "pgs", f"{LEVY} [dim=30]").better_than_control is False
    assert entry_of(analysis, "pgs", TFBIND).better_than_control is True
