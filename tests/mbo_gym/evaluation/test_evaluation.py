"""Scores of proposals, by hand on a table of nine designs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import BudgetExceeded, InvalidDesign
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.evaluation.scoring import QUANTILES, Summary, evaluate
from mbo_gym.evaluation.search import N_SEARCH, score_search
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo
from mbo_gym.progress.protocol import SearchPoint

SPACE = CategoricalSpace(2, 3, ("a", "b", "c"))  # aa, ab, ac, ba, .., cc
ALL = np.array(list(itertools.product(range(3), repeat=2)), dtype=np.int32)
COMMON = {
    "description": "nine designs",
    "licence": "none",
    "references": (),
    "version_history": ("v0",),
}


def table_task(table=range(9), *, y_min=0.0, y_max=10.0, visible=range(5)) -> Task:
    """Return a task on SPACE whose visible designs are some of the table's rows."""
    table = np.asarray(list(table), dtype=np.float32)
    rows = list(visible)
    info = TaskInfo(task_id="Nine-Exact-v0", y_min=y_min, y_max=y_max, oracle="Exact.", **COMMON)
    ceiling = Ceiling(np.sort(table[np.isfinite(table)])[::-1], exact=True, note="the table")
    dataset = OfflineDataset(ALL[rows], table[rows])
    return Task(info, SPACE, dataset, TableOracle(SPACE, table), ceiling).with_options()


def line_task(**changes) -> Task:
    """Return a task on [0, 1]^2 whose score is the sum, visible up to 0.5."""
    x = np.array([[0.0, 0.0], [0.25, 0.25], [0.5, 0.0]], dtype=np.float32)
    space = ContinuousSpace(np.zeros(2), np.ones(2))
    info = TaskInfo(
        task_id="Sum-Exact-v0", y_min=0.0, y_max=2.0, oracle="Exact: the sum.", **COMMON
    )
    parts = {"hidden_oracle": FunctionOracle(space, lambda x: x.sum(axis=1)), **changes}
    return Task(info, space, OfflineDataset(x, x.sum(axis=1)), **parts).with_options()


def test_all_numbers_by_hand():
    result = evaluate(table_task(), np.array([[2, 2], [2, 1], [0, 0], [2, 2]]))  # raw 8, 7, 0, 8
    assert (result.task_id, result.k, result.d_best) == ("Nine-Exact-v0", 4, pytest.approx(0.4))
    assert result.overall == Summary(
        4, pytest.approx(0.8), pytest.approx(0.75), pytest.approx(0.575)
    )
    assert result.distinct == Summary(3, pytest.approx(0.8), pytest.approx(0.7), pytest.approx(0.5))
    assert result.first == result.overall
    assert result.share_above_best == 0.75
    assert (result.n_unique, result.n_in_data, result.n_infeasible, result.oracle_calls) == (
        3,
        1,
        0,
        4,
    )
    np.testing.assert_array_equal(result.scores, [8, 7, 0, 8])
    assert result.note == ""


def test_the_first_128_are_scored_on_their_own():
    x = np.repeat(ALL[[1, 8]], [128, 32], axis=0)  # 128 times 1, then 32 times 8
    result = evaluate(table_task(), x)
    assert result.first == Summary(128, pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
    assert result.overall == Summary(
        160, pytest.approx(0.8), pytest.approx(0.1), pytest.approx(0.24)
    )
    assert result.distinct == Summary(
        2, pytest.approx(0.8), pytest.approx(0.45), pytest.approx(0.45)
    )


def test_above_the_best_means_strictly_above():
    assert evaluate(table_task(), ALL[[4, 4, 5]]).share_above_best == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "bad", [[3, 0], [-1, 0], [0.5, 0.0], [np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf], [1e20, 0.0]]
)
def test_a_row_outside_the_space_counts_as_the_worst(bad):
    result = evaluate(table_task(), np.array([[2, 2], bad, [1, 2]]))  # raw 8, nothing, 5
    assert (result.k, result.n_infeasible, result.oracle_calls, result.n_unique) == (3, 1, 2, 3)
    assert result.overall == Summary(
        3, pytest.approx(0.8), pytest.approx(0.5), pytest.approx(1.3 / 3)
    )
    assert result.share_above_best == pytest.approx(2 / 3)
    np.testing.assert_array_equal(result.scores, [8, np.nan, 5])


def test_the_worst_is_below_zero_where_a_feasible_score_is():
    task = table_task(y_min=4.0, y_max=14.0)  # raw 0 is -0.4
    assert evaluate(task, np.array([[0, 0], [9, 9]])).overall == Summary(
        2, *[pytest.approx(-0.4)] * 3
    )
    assert evaluate(task, np.array([[2, 2], [9, 9]])).overall.p50 == pytest.approx(
        0.2
    )  # (0.4 + 0) / 2


def test_a_score_that_is_not_finite_is_infeasible():
    table = [0, 1, 2, 3, 4, np.nan, np.inf, 7, 8]
    result = evaluate(table_task(table), ALL[[5, 6, 7]])
    assert (result.n_infeasible, result.oracle_calls) == (2, 3)
    assert result.overall == Summary(3, pytest.approx(0.7), 0.0, pytest.approx(0.7 / 3))
    np.testing.assert_array_equal(result.scores, [np.nan, np.nan, 7])


def test_nothing_feasible():
    result = evaluate(table_task(), np.array([[3, 3], [7, 7]]))
    assert result.overall == result.distinct == Summary(2, 0.0, 0.0, 0.0)
    assert (
        result.share_above_best,
        result.n_infeasible,
        result.oracle_calls,
        result.n_in_data,
    ) == (0.0, 2, 0, 0)
    assert np.isnan(result.scores).all()


def test_nothing_feasible_on_a_continuous_space():
    result = evaluate(
        line_task(), np.array([[1.5, 0.0], [np.nan, 0.5], [-0.1, 0.0], [-np.inf, 0.0]])
    )
    assert (result.n_infeasible, result.overall.p100, result.oracle_calls) == (4, 0.0, 0)


def test_whole_numbers_typed_as_floats_are_letters():
    for dtype in (np.float64, np.float32, np.int8, np.uint8, np.int64):
        result = evaluate(table_task(), ALL[[8, 0, 1]].astype(dtype))
        assert (result.n_infeasible, result.n_in_data, result.n_unique) == (0, 2, 3)
        np.testing.assert_array_equal(result.scores, [8, 0, 1])


def test_sequences_may_be_written_as_text():
    by_text, by_number = (
        evaluate(table_task(), ["cc", "ab", "cc"]),
        evaluate(table_task(), ALL[[8, 1, 8]]),
    )
    assert by_text == by_number
    assert evaluate(table_task(), np.array(["ca"])).scores[0] == 6
    with pytest.raises(InvalidDesign, match="row 1: 'abc' has 3 letters, this space has 2"):
        evaluate(table_task(), ["ab", "abc"])
    with pytest.raises(InvalidDesign, match=r"row 0: 'ax' holds \['x'\]"):
        evaluate(table_task(), ["ax"])


@pytest.mark.parametrize(
    ("designs", "message"),
    [
        (np.zeros((2, 3)), r"must have shape \(K, 2\), got x.shape=\(2, 3\)"),
        (np.zeros(2), r"must have shape \(K, 2\)"),
        (np.zeros((2, 2, 1)), r"must have shape \(K, 2\)"),
        (np.zeros((0, 2)), "no designs"),
        ([], "no designs"),
        (np.zeros((2, 2), dtype=object), "must be numbers or sequences of letters"),
        (np.zeros((2, 2), dtype=bool), "must be numbers"),
    ],
)
def test_an_array_that_holds_no_designs_is_refused(designs, message):
    with pytest.raises(InvalidDesign, match=message):
        evaluate(table_task(), designs)


def test_text_is_no_design_of_a_continuous_space():
    with pytest.raises(InvalidDesign, match=r"designs must be numbers, got x.dtype"):
        evaluate(line_task(), ["ab", "cd"])


def test_minus_zero_is_zero():
    result = evaluate(
        line_task(), np.array([[0.5, -0.0], [0.5, 0.0], [-0.0, -0.0]], dtype=np.float32)
    )
    assert (result.n_unique, result.n_in_data) == (2, 3)


def test_rows_that_only_share_their_first_number_are_not_in_the_data():
    assert evaluate(line_task(), np.array([[0.5, 0.25], [0.25, 0.25]])).n_in_data == 1


def test_without_an_oracle_there_are_counts_and_a_reason():
    task = line_task(hidden_oracle=None)
    result = evaluate(task, np.array([[0.5, 0.0], [0.75, 0.0], [2.0, 0.0], [0.75, 0.0]]))
    assert (
        result.k,
        result.n_unique,
        result.n_in_data,
        result.n_infeasible,
        result.oracle_calls,
    ) == (4, 3, 1, 1, 0)
    assert result.note == "Not scored: this task has no oracle. Exact: the sum."
    assert [
        result.overall,
        result.first,
        result.distinct,
        result.share_above_best,
        result.scores,
    ] == [None] * 5
    assert "4 designs, 3 distinct, 1 in the data. Not scored" in str(result)


def test_the_budget_of_a_given_oracle_holds():
    task = table_task()
    oracle = task.oracle(budget=5)
    assert evaluate(task, ALL[[8, 7, 6]], oracle=oracle).oracle_calls == 3
    with pytest.raises(
        BudgetExceeded, match="3 more designs would make 6 oracle calls, the budget is 5"
    ):
        evaluate(task, ALL[[0, 1, 2]], oracle=oracle)
    assert oracle.calls == 3
    assert (
        evaluate(task, np.array([[0, 0], [1, 1], [5, 5]]), oracle=oracle).oracle_calls == 2
    )  # bad rows cost nothing
    assert oracle.calls == 5


def test_the_text_has_the_numbers():
    text = str(evaluate(table_task(), np.array([[2, 2], [2, 1], [0, 0], [2, 5]])))
    assert (
        "4 designs, 100th 0.800, 50th 0.350 (distinct 0.350), D(best) 0.400, above it 50%" in text
    )
    assert "4 distinct, 1 in the data, 1 infeasible, 3 oracle calls" in text


def test_the_dictionary_is_plain_json():
    result = evaluate(table_task([0, 1, 2, 3, 4, np.nan, 6, 7, 8]), ALL[[8, 5, 0, 8]])
    assert result.controls == {}  # a table with holes says nothing exact
    result = replace(result, controls=evaluate(table_task(), ALL[[8]]).controls)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain == {**result.to_dict(), "quantiles": list(result.quantiles)}
    assert plain["overall"] == {
        "n": 4,
        "p100": result.overall.p100,
        "p50": result.overall.p50,
        "mean": 0.4,
    }
    assert plain["ceiling"]["exact"] is True
    assert "scores" not in plain
    unscored = json.loads(
        json.dumps(evaluate(line_task(hidden_oracle=None), np.zeros((1, 2))).to_dict())
    )
    assert unscored["overall"] is None


def test_evaluating_changes_nothing():
    task, x = table_task(), ALL[[8, 0, 8]].copy()
    x.setflags(write=False)
    before = task.dataset.content_hash(), task.info, task.hidden_oracle.table.tobytes()
    assert evaluate(task, x) == evaluate(task, x)
    assert (task.dataset.content_hash(), task.info, task.hidden_oracle.table.tobytes()) == before
    assert task.oracle().calls == 0


TABLES = (
    [3.0, -1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.5],
    [1.0, 1.0, 1.0, 0.0, 0.0, 7.0, 7.0, 2.0, 2.0],
)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_random_control_is_the_mean_over_all_draws(table, k):
    task = table_task(table)
    draws = np.array(list(itertools.product(task.normalise(np.array(table)), repeat=k)))  # (9^k, k)
    control = known_controls(task, k)["random"]
    assert control["p100"] == pytest.approx(draws.max(axis=1).mean())
    assert control["p50"] == pytest.approx(np.median(draws, axis=1).mean())


@pytest.mark.parametrize("k", [16, 17])
def test_the_random_control_agrees_with_drawing(k):
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=100)
    table = task.normalise(task.hidden_oracle.table)
    draws = table[np.random.default_rng(0).integers(len(table), size=(40_000, k))]
    control = known_controls(task, k)["random"]
    for got, sample in (
        (control["p100"], draws.max(axis=1)),
        (control["p50"], np.median(draws, axis=1)),
    ):
        assert got == pytest.approx(sample.mean(), abs=5 * sample.std() / len(sample) ** 0.5)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_the_ceiling_is_the_best_of_all_choices_of_distinct_designs(table, k):
    task = table_task(table)
    choices = np.array(list(itertools.combinations(task.normalise(np.array(table)), k)))
    ceiling = evaluate(task, ALL[:k]).ceiling
    assert ceiling["p100"] == pytest.approx(choices.max())
    assert ceiling["p50"] == pytest.approx(np.median(choices, axis=1).max())
    assert ceiling["exact"] is True


def test_the_best_designs_of_a_table_reach_its_ceiling():
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=100)
    best = np.argsort(-task.hidden_oracle.table, kind="stable")[:256]
    x = best[:, None] // 4 ** np.arange(7, -1, -1) % 4
    result = evaluate(task, x)
    assert result.overall.p100 == pytest.approx(result.ceiling["p100"], abs=1e-12)
    assert result.overall.p50 == pytest.approx(result.ceiling["p50"], abs=1e-12)
    assert result.share_above_best == 1.0


@pytest.mark.parametrize("k", [1, 3, 30, 45, 100])  # 30 rows are visible
def test_the_top_k_control_is_what_the_method_scores(k):
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=30, noise=0.3)
    method = mbo_gym.make_method("top_k")
    method.fit(task.problem())
    scored = evaluate(task, method.propose(k)).overall
    assert known_controls(task, k)["top_k"] == {
        "p100": pytest.approx(scored.p100),
        "p50": pytest.approx(scored.p50),
    }


def test_controls_read_the_table_not_the_oracle(monkeypatch):
    task = table_task()
    expected = known_controls(task, 3)
    monkeypatch.setattr(TableOracle, "_score", None)
    monkeypatch.setattr(TableOracle, "_count", None)
    assert known_controls(task, 3) == expected
    np.testing.assert_array_equal(
        task.hidden_oracle.values(task.dataset.x),
        task.hidden_oracle.table[task.dataset.x[:, 0] * 3 + task.dataset.x[:, 1]],
    )


def test_controls_cost_no_oracle_call_and_are_known_for_tables_only():
    task = table_task()
    assert evaluate(task, ALL[:3]).oracle_calls == 3
    assert set(evaluate(task, ALL[:3]).controls) == {"random", "top_k"}
    plain = evaluate(line_task(), np.zeros((2, 2)))
    assert (plain.controls, plain.ceiling) == ({}, {})


def test_diversity_and_novelty_of_sequences_by_hand():
    result = evaluate(
        table_task(), ALL[[8, 7, 0, 8]]
    )  # cc, cb, aa, cc; visible: aa, ab, ac, ba, bb
    assert result.n_visible == 5
    assert result.diversity == pytest.approx((1 / 2 + 1 + 0 + 1 + 1 / 2 + 1) / 6)
    assert result.novelty == pytest.approx(
        (1 / 2 + 1 / 2 + 0 + 1 / 2) / 4
    )  # cc is one letter from ac, cb from ab


def test_diversity_and_novelty_of_numbers_are_in_z_scores():
    result = evaluate(line_task(), np.array([[0.5, 0.0], [1.0, 0.0]]))
    std = np.std([0.0, 0.25, 0.5])  # of the first feature
    assert result.n_visible == 3
    assert result.diversity == pytest.approx(0.5 / std / 2**0.5)
    assert result.novelty == pytest.approx(0.5 / std / 2**0.5 / 2)


def test_infeasible_designs_count_for_neither():
    clean, dirty = ALL[[8, 0]], np.array([[2, 2], [3, 3], [0, 0]])
    for name in ("diversity", "novelty", "n_visible"):
        assert getattr(evaluate(table_task(), dirty), name) == getattr(
            evaluate(table_task(), clean), name
        )
    nothing = evaluate(table_task(), np.array([[3, 3]]))
    assert (nothing.diversity, nothing.novelty) == (None, None)
    assert evaluate(table_task(), ALL[[8]]).diversity == 0.0


def test_without_an_oracle_the_designs_are_still_compared():
    result = evaluate(line_task(hidden_oracle=None), np.array([[0.5, 0.0], [1.0, 0.0]]))
    assert result.quantiles == ()
    assert (result.n_visible, result.diversity > 0, result.novelty > 0) == (3, True, True)


def test_quantiles_are_those_of_all_scores():
    result = evaluate(table_task(), ALL[[8, 7, 0, 8, 0, 4]])
    np.testing.assert_allclose(result.quantiles, np.quantile([0.8, 0.7, 0, 0.8, 0, 0.4], QUANTILES))
    assert len(result.quantiles) == len(QUANTILES) == 41
    assert result.quantiles[-1] == result.overall.p100
    assert result.quantiles[20] == pytest.approx(result.overall.p50)
    assert list(result.quantiles) == sorted(result.quantiles)
    with_bad = evaluate(table_task(), np.array([[2, 2], [3, 3]]))  # the worst is 0
    assert (with_bad.quantiles[0], with_bad.quantiles[-1]) == (0.0, pytest.approx(0.8))


def point(step, x, prediction) -> SearchPoint:
    return SearchPoint("search", step, np.asarray(x), np.asarray(prediction, dtype=float))


def test_a_search_is_scored_by_hand():
    trace = [point(0, ALL[[4, 3]], [5, 6]), point(7, ALL[[8, 7]], [20, 10])]
    points, calls = score_search(table_task(), trace)
    assert points == [
        {"step": 0, "prediction": pytest.approx(0.55), "score": pytest.approx(0.35)},
        {"step": 7, "prediction": pytest.approx(1.5), "score": pytest.approx(0.75)},
    ]
    assert calls == 4
    json.dumps(points, allow_nan=False)


def test_a_search_scores_the_same_64_rows_of_each_point():
    x = np.repeat(ALL[[0, 8]], [500, 500], axis=0)
    prediction = np.arange(1000.0)
    (first, second), calls = score_search(
        table_task(), [point(0, x, prediction), point(1, x, prediction)]
    )
    assert calls == 2 * N_SEARCH == 128
    assert first == {**second, "step": 0}
    assert first["score"] == pytest.approx(0.4)
    assert first["prediction"] == pytest.approx(
        49.95
    )  # evenly spaced, the first and the last among them


def test_what_a_search_cannot_score_is_left_out():
    table = [0, 1, 2, 3, 4, np.nan, 6, 7, 8]
    trace = [
        point(0, ALL[[8, 5]], [1, 3]),
        point(1, ALL[[5]], [4]),
        point(2, [[7, 7], [2, 1]], [5, 6]),
    ]
    points, calls = score_search(table_task(table), [*trace, point(3, [[7, 7]], [8])])
    assert points == [
        {"step": 0, "prediction": pytest.approx(0.2), "score": pytest.approx(0.8)},
        {"step": 1, "prediction": pytest.approx(0.4), "score": None},
        {"step": 2, "prediction": pytest.approx(0.6), "score": pytest.approx(0.7)},
        {"step": 3, "prediction": None, "score": None},
    ]
    assert calls == 4


def test_without_an_oracle_a_search_has_its_predictions():
    points, calls = score_search(line_task(hidden_oracle=None), [point(0, [[0.5, 0.5]], [1.0])])
    assert (points, calls) == ([{"step": 0, "prediction": 0.5, "score": None}], 0)


def test_no_search_costs_nothing():
    assert score_search(table_task(), []) == ([], 0)
