"""Statistics over seeds and tasks, by hand on small numbers, and against scipy and rliable."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from mbo_gym.benchmark.analysis.statistics import (
    Comparison,
    Description,
    Interval,
    describe,
    holm,
    interquartile_mean,
    iqm_interval,
    mean_rank_intervals,
    mean_skill_interval,
    probability_of_improvement,
    ranks,
    skill_interval,
    stratified_bootstrap,
    welch_tests,
)


def point(value: float) -> Interval:
    """Return an interval without width."""
    return Interval(*[pytest.approx(value)] * 3)


def pooled_mean(resampled: list[np.ndarray]) -> np.ndarray:
    """Return the mean over all seeds of all groups in each row."""
    return np.concatenate(resampled, axis=1).mean(axis=1)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_a_description_by_hand():
    # deviations from 4: -3, -2, 0, 5; squares sum to 38
    std = math.sqrt(38 / 3)
    assert describe([1, 2, 4, 9]) == Description(
        4, 4.0, pytest.approx(std), pytest.approx(std / 2), 3.0, 1.0, 9.0
    )


def test_one_seed_has_no_spread():
    got = describe([0.3])
    assert (got.n, got.mean, got.median, got.low, got.high) == (1, 0.3, 0.3, 0.3, 0.3)
    assert math.isnan(got.std)
    assert math.isnan(got.standard_error)


def test_equal_seeds_have_a_spread_of_exactly_zero():
    assert np.std([0.1] * 3) > 0  # what rounding would give
    assert describe([0.1] * 3) == Description(3, 0.1, 0.0, 0.0, 0.1, 0.1, 0.1)


def test_a_description_agrees_with_scipy():
    x = noise(0, 8) * 1e-3 + 50
    got = describe(x)
    assert got.standard_error == pytest.approx(stats.sem(x), rel=1e-9)
    assert got.std == pytest.approx(stats.tstd(x), rel=1e-9)


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean([9, 1, 2, 100]) == 5.5  # 1 and 100 go
    assert interquartile_mean([9, 1, 2, 100, 3]) == pytest.approx(
        14 / 3
    )  # one of five at either end
    assert interquartile_mean([5, 0, 1]) == 2.0  # too few to drop any
    assert interquartile_mean([[9, 1], [2, 100]]) == 5.5
    np.testing.assert_array_equal(
        interquartile_mean([[9, 1, 2, 100], [0, 0, 4, 8]], axis=1), [5.5, 2.0]
    )


@pytest.mark.parametrize("n", range(1, 14))
def test_the_interquartile_mean_is_scipys_trimmed_mean(n):
    x = noise(n, n, 3)
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25, axis=None), abs=1e-12)
    np.testing.assert_allclose(
        interquartile_mean(x, axis=0), stats.trim_mean(x, 0.25, axis=0), atol=1e-12
    )


def test_the_bootstrap_of_two_seeds_by_hand():
    # the mean of a resample of 0, 1 is 0, 1/2, 1 with probability 1/4, 1/2, 1/4
    assert stratified_bootstrap([[0, 1]], pooled_mean) == Interval(0.5, 0.0, 1.0)
    assert stratified_bootstrap([[0, 1]], pooled_mean, confidence=0.4) == Interval(0.5, 0.5, 0.5)


def test_the_bootstrap_of_three_seeds_by_hand():
    # the mean of a resample of 0, 0, 3 is 0, 1, 2, 3 with probability 8, 12, 6, 1 of 27
    assert stratified_bootstrap([[0, 0, 3]], pooled_mean) == Interval(
        1.0, 0.0, 3.0
    )  # above 2: 1/27 > 2.5 %
    assert stratified_bootstrap([[0, 0, 3]], pooled_mean, confidence=0.9) == Interval(1.0, 0.0, 2.0)


def test_seeds_are_resampled_within_their_group_and_independently_of_other_groups():
    seen = []

    def keep(resampled: list[np.ndarray]) -> np.ndarray:
        seen.append(resampled)
        return pooled_mean(resampled)

    stratified_bootstrap([[0, 1], [10, 11], [20, 21, 22]], keep, n_resamples=4000)
    data, resampled = seen
    assert [x.tolist() for x in data] == [[[0, 1]], [[10, 11]], [[20, 21, 22]]]
    assert [x.shape for x in resampled] == [(4000, 2), (4000, 2), (4000, 3)]
    assert [sorted(set(x.flat)) for x in resampled] == [[0, 1], [10, 11], [20, 21, 22]]
    drawn = np.concatenate(resampled, axis=1)
    correlation = np.corrcoef(drawn.T)[np.triu_indices(7, 1)]
    assert (
        np.abs(correlation).max() < 5 / 4000**0.5
    )  # standard error of a correlation of independent columns


def test_groups_of_one_seed_give_a_point():
    assert stratified_bootstrap([[1], [3]], pooled_mean) == Interval(2.0, 2.0, 2.0)
    assert stratified_bootstrap([[1], [0, 4]], pooled_mean) == Interval(
        5 / 3, pytest.approx(1 / 3), 3.0
    )


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly():
    x = noise(0, 8)
    first, again, other = (stratified_bootstrap([x], pooled_mean, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.value == other.value
    assert (first.low, first.high) != (other.low, other.high)
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.05 * x.std())


def test_the_bootstrap_agrees_with_scipys():
    x = noise(1, 10)
    got = stratified_bootstrap([x], pooled_mean)
    ref = stats.bootstrap(
        (x,), np.mean, method="percentile", rng=0, n_resamples=10_000
    ).confidence_interval
    assert (got.low, got.high) == pytest.approx((ref.low, ref.high), abs=0.05 * x.std())


def test_95_percent_intervals_contain_the_truth_about_as_often():
    n, repeats = 20, 200
    data = noise(2, repeats, n)
    intervals = [stratified_bootstrap([x], pooled_mean, n_resamples=2000) for x in data]
    hits = sum(interval.low <= 0 <= interval.high for interval in intervals)
    # the resampled mean varies by std sqrt((n - 1) / n): a known share, somewhat below 95 %
    share = 1 - 2 * stats.t.sf(stats.norm.ppf(0.975) * math.sqrt((n - 1) / n), n - 1)
    assert 0.92 < share < 0.94
    low, high = stats.binom.interval(0.999, repeats, share)
    assert low <= hits <= high


def test_the_iqm_is_over_all_tasks_and_seeds_together():
    interval = iqm_interval([[9, 1], [2, 100]])
    assert interval.value == 5.5
    # the extremes: (1, 1 | 2, 2) leaves 1, 2; (9, 9 | 100, 100) leaves 9, 100; each has probability
    # 1/16 > 2.5 %
    assert (interval.low, interval.high) == (1.5, 54.5)
    assert iqm_interval([[0.5] * 8, [0.7] * 8]) == point(0.6)


def test_the_highest_has_rank_one():
    np.testing.assert_array_equal(ranks([[0.1, 5], [0.3, 4], [0.2, 6]]), [[3, 2], [1, 3], [2, 1]])


def test_ties_share_the_average_rank():
    np.testing.assert_array_equal(ranks([[1], [2], [1], [2], [2]]), [[4.5], [2], [4.5], [2], [2]])


def test_means_of_the_same_numbers_in_another_order_are_tied():
    x, y = (0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3)
    assert x != y
    np.testing.assert_array_equal(ranks([[x], [y]]), [[1.5], [1.5]])


def test_a_missing_score_takes_no_rank():
    got = ranks([[1, np.nan], [np.nan, np.nan], [3, np.nan]])
    np.testing.assert_array_equal(got, [[2, np.nan], [np.nan, np.nan], [1, np.nan]])


def test_the_mean_rank_by_hand():
    # ranks by the means: (1, 2), (2.5, 2), (2.5, 2)
    scores = [[[0.9], [0.5]], [[0.3, 0.3], [0.5]], [[0.3], [0.5]]]
    assert mean_rank_intervals(scores) == [point(1.5), point(2.25), point(2.25)]


def test_the_mean_rank_of_resampled_seeds_by_hand():
    # the first has mean 0, 2, 4 with probability 1/4, 1/2, 1/4 against 1 and 3: rank 3, 2, 1
    got = mean_rank_intervals([[[0, 4]], [[1]], [[3]]])
    assert got == [Interval(2.0, 1.0, 3.0), Interval(3.0, 2.0, 3.0), Interval(1.0, 1.0, 2.0)]


def test_every_group_of_seeds_is_resampled_by_itself():
    # two methods with the same two seeds: were they drawn together, they would always tie
    assert mean_rank_intervals([[[0, 1]], [[0, 1]]]) == [Interval(1.5, 1.0, 2.0)] * 2


def test_mean_ranks_sum_to_what_ranks_do():
    got = mean_rank_intervals(noise(3, 4, 5, 8).tolist())
    assert sum(interval.value for interval in got) == pytest.approx(1 + 2 + 3 + 4)
    assert all(1 <= interval.low <= interval.high <= 4 for interval in got)


def test_mean_ranks_are_the_same_every_time():
    scores = noise(
        17, 12, 40, 3
    ).tolist()  # many methods and tasks: other draws would shift one of the 24 bounds
    assert mean_rank_intervals(scores) == mean_rank_intervals(scores)


def test_the_probability_of_improvement_by_hand():
    # of the six pairs 1 is won (2 > 1), two are tied, three are lost
    assert probability_of_improvement([[1, 2]], [[1, 2, 3]]).value == pytest.approx((1 + 2 / 2) / 6)
    assert probability_of_improvement([[1], [2, 2]], [[0], [3]]) == point(0.5)  # all won, all lost
    assert probability_of_improvement([[1, 1]], [[1]]) == point(0.5)


def test_the_probability_of_improvement_of_resampled_seeds_by_hand():
    # the resamples 0, 0 and 2, 2 against 1 have probability 1/4 each
    assert probability_of_improvement([[0, 2]], [[1]]) == Interval(0.5, 0.0, 1.0)


@pytest.mark.parametrize("decimals", [0, 6])  # with many ties and with none
def test_the_probability_of_improvement_is_mann_whitneys_u(decimals):
    x, y = np.round(noise(4, 3, 7), decimals), np.round(noise(5, 3, 8), decimals)
    expected = np.mean(
        [stats.mannwhitneyu(a, b).statistic / (7 * 8) for a, b in zip(x, y, strict=True)]
    )
    got, back = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert got.value == pytest.approx(expected)
    assert got.value + back.value == pytest.approx(1)
    assert 0 < got.low < got.value < got.high < 1


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04, made monotone
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6, 0.01]), [1, 1, 0.03])
    np.testing.assert_array_equal(holm([0.2]), [0.2])
    np.testing.assert_allclose(holm([0.02, 0.02, 0.02]), [0.06] * 3)


@pytest.mark.parametrize("p", [[], [0.1, np.nan], [1.1], [-0.1]])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match=r"no values|finite|\[0, 1\]"):
        holm(p)


def test_welchs_test_by_hand():
    # means 2 and 5, variances 1 and 4 over 3 and 3: t = -3 / sqrt(5/3), degrees (5/3)^2 / ((1/9 +
    # 16/9) / 2)
    (got,) = welch_tests({"a": [1, 2, 3], "b": [3, 5, 7]})
    t, degrees = -3 / math.sqrt(5 / 3), (25 / 9) / (17 / 18)
    p = 2 * stats.t.sf(-t, degrees)
    assert got == Comparison("a", "b", -3.0, *[pytest.approx(v) for v in (t, degrees, p, p)])


def test_welchs_test_agrees_with_scipy_and_is_corrected_over_the_pairs():
    samples = {"a": noise(6, 8), "b": noise(7, 5) + 1, "c": 3 * noise(8, 2), "d": np.full(3, 0.1)}
    got = welch_tests(samples)
    assert [(c.a, c.b) for c in got] == list(itertools.combinations("abcd", 2))
    for c in got:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scipy's about the constant sample
            ref = stats.ttest_ind(samples[c.a], samples[c.b], equal_var=False)
        assert (c.t, c.degrees, c.p) == pytest.approx((ref.statistic, ref.df, ref.pvalue))
        assert c.difference == pytest.approx(samples[c.a].mean() - samples[c.b].mean())
    np.testing.assert_array_equal([c.p_holm for c in got], holm([c.p for c in got]))


@pytest.mark.filterwarnings("error")
def test_constant_samples_are_equal_or_not():
    got = welch_tests({"low": [0.1] * 3, "same": [0.1] * 8, "high": [0.7] * 2})
    assert [(c.t, c.p, c.p_holm) for c in got] == [(0, 1, 1), (-math.inf, 0, 0), (-math.inf, 0, 0)]
    assert all(math.isnan(c.degrees) for c in got)
    assert welch_tests({"high": [0.7] * 2, "low": [0.1] * 3})[0].t == math.inf


@pytest.mark.filterwarnings("error")
def test_one_constant_sample_is_tested_quietly():
    (got,) = welch_tests({"a": [0.1] * 3, "b": [0.2, 0.3, 0.4]})
    # mean difference -.2, variance .01 / 3 from b alone, with b's 2 degrees of freedom
    assert (got.t, got.degrees) == pytest.approx((-0.2 / math.sqrt(0.01 / 3), 2))


def test_pairs_with_fewer_than_two_seeds_are_left_out():
    got = welch_tests({"a": [1, 2], "one": [3], "b": [2, 4], "none": []})
    assert [(c.a, c.b) for c in got] == [("a", "b")]
    assert got[0].p_holm == got[0].p  # one pair, nothing to correct
    assert welch_tests({"a": [1, 2], "one": [3]}) == []
    assert welch_tests({}) == []


def test_the_skill_by_hand():
    # mean .8, best control .6, ceiling 1: half of the way
    assert skill_interval([0.8], [[0.2], [0.6]], 1.0) == point(0.5)
    assert skill_interval([0.6], [[0.6]], 1.0) == point(0.0)
    assert skill_interval([0.0], [[0.5]], 1.0) == point(-1.0)


def test_the_skills_of_resampled_seeds_by_hand():
    # the method's mean is .6, .8, 1 with probability 1/4, 1/2, 1/4
    got = skill_interval([0.6, 1.0], [[0.2]], 1.0)
    assert (got.value, got.low, got.high) == pytest.approx((0.75, 0.5, 1.0))


def test_the_best_control_is_chosen_anew_in_each_resample():
    # controls of mean .4 and .3; resampled, either can reach .8 or .6: the best is .8, .6, .4, or
    # .3 or less
    got = skill_interval([1.0, 1.0], [[0.0, 0.8], [0.0, 0.6]], 2.0)
    assert got.value == pytest.approx(0.6 / 1.6)
    assert got.low == pytest.approx(0.2 / 1.2)  # .8 with probability 1/4
    assert got.high == pytest.approx(1 / 2)  # both 0 with probability 1/16


def test_choosing_anew_makes_the_interval_lie_low():
    scores, controls = noise(9, 8), noise(10, 5, 8)
    chosen = skill_interval(scores, controls, 10.0)
    best = max(controls, key=np.mean)
    fixed = skill_interval(scores, [best], 10.0)
    assert chosen.value == pytest.approx(fixed.value)
    assert chosen.low < fixed.low
    assert chosen.high < fixed.high


@pytest.mark.parametrize("control", [[1.0, 1.0], [1.2], [1 - 1e-15], [0.999, 1.001]])
def test_a_control_at_the_ceiling_leaves_no_skill(control):
    assert skill_interval([0.5, 0.6], [[0.1], control], 1.0) is None


def test_a_resample_whose_control_reaches_the_ceiling_counts_in_the_way_of_the_data():
    # the control is .8, .9, 1 (1/4, 1/2, 1/4): -.3/.2, -.4/.1, and where no way is left -.5 over
    # the .1 of the data
    got = skill_interval([0.5], [[0.8, 1.0]], 1.0)
    assert (got.value, got.low, got.high) == pytest.approx((-4.0, -5.0, -1.5))
    # a method that reaches it as well is then no better
    got = skill_interval([1.0], [[0.8, 1.0]], 1.0)
    assert (got.value, got.low, got.high) == pytest.approx((1.0, 0.0, 1.0))


def test_the_mean_skill_by_hand():
    tasks = [
        ([0.8], [[0.2], [0.6]], 1.0),  # .5
        ([0.0], [[0.9]], 1.0),  # -9, counted as -1
        ([0.7], [[1.0]], 1.0),  # no way to go: left out
        ([3.0, 3.0], [[1.0]], 3.0),  # 1
    ]
    assert mean_skill_interval(tasks) == point(0.5 / 3)
    assert mean_skill_interval(tasks, floor=-20) == point(-7.5 / 3)
    assert mean_skill_interval(tasks[2:3]) is None
    assert mean_skill_interval([]) is None


def test_the_floor_holds_in_each_resample():
    # the mean is 0, .3, .6 (1/4, 1/2, 1/4), the way from .5 to .6: skill -5, -2, 1; the first two
    # count as -1
    got = mean_skill_interval([([0.0, 0.6], [[0.5]], 0.6)])
    assert (got.value, got.low, got.high) == pytest.approx((-1.0, -1.0, 1.0))


def test_the_mean_skill_of_one_task_is_its_skill():
    scores, controls = noise(11, 8) + 1, noise(12, 3, 6)
    assert mean_skill_interval([(scores, controls, 4.0)]) == skill_interval(scores, controls, 4.0)


def test_the_mean_over_tasks_is_narrower_than_one_task():
    tasks = [(noise(20 + i, 8), noise(40 + i, 2, 8), 5.0) for i in range(9)]
    widths = [(s := skill_interval(*task)).high - s.low for task in tasks]
    mean = mean_skill_interval(tasks)
    assert (mean.high - mean.low) == pytest.approx(
        np.linalg.norm(widths) / 9, rel=0.1
    )  # independent tasks


CALLS = {
    "describe": describe,
    "iqm": interquartile_mean,
    "bootstrap": lambda x: stratified_bootstrap([[1, 2], x], pooled_mean),
    "iqm interval": lambda x: iqm_interval([[1, 2], x]),
    "mean rank": lambda x: mean_rank_intervals([[[1, 2]], [x]]),
    "improvement": lambda x: probability_of_improvement([[1, 2]], [x]),
    "skill": lambda x: skill_interval(x, [[0.1]], 1.0),
    "control": lambda x: skill_interval([0.1], [[0.1], x], 1.0),
    "mean skill": lambda x: mean_skill_interval([(x, [[0.1]], 1.0)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_seeds_are_refused(name):
    with pytest.raises(ValueError, match="there are no values"):
        CALLS[name]([])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", CALLS)
def test_a_seed_without_a_finite_score_is_refused(name, bad):
    with pytest.raises(ValueError, match=f"must be finite, got {bad}"):
        CALLS[name]([0.5, bad])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stratified_bootstrap([], pooled_mean), "no groups"),
        (lambda: stratified_bootstrap([[[1, 2]]], pooled_mean), r"x.shape=\(1, 2\)"),
        (lambda: stratified_bootstrap([[1]], pooled_mean, n_resamples=0), "n_resamples=0"),
        (lambda: stratified_bootstrap([[1]], pooled_mean, confidence=1.0), "confidence=1.0"),
        (lambda: iqm_interval([]), "no groups"),
        (lambda: ranks([]), "x.shape"),
        (lambda: ranks([1, 2]), "x.shape"),
        (lambda: mean_rank_intervals([]), r"got \[\] tasks"),
        (lambda: mean_rank_intervals([[], []]), r"got \[0\] tasks"),
        (lambda: mean_rank_intervals([[[1]], [[1], [2]]]), r"got \[1, 2\] tasks"),
        (lambda: probability_of_improvement([], []), "no groups"),
        (lambda: probability_of_improvement([[1]], []), "got 1 and 0"),
        (lambda: welch_tests({"a": [1, 2], "b": [1, np.nan]}), "finite, got nan"),
        (lambda: skill_interval([1], [], 1.0), "no controls"),
        (lambda: skill_interval([1], [[0]], np.nan), "finite, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Numbers of rliable 1.2.0 (arch 7.2.0, pandas 2.3.3) for the same data. Its intervals need arch, which
# does not import with pandas 3, so it is no dependency. 50,000 and 5,000 resamples.
RLIABLE_IQM = 0.22233703163558746
RLIABLE_IMPROVEMENT = 0.5770833333333334
RLIABLE_IQM_INTERVAL = (-0.25757565059707854, 0.3805798373025146)
RLIABLE_IMPROVEMENT_INTERVAL = (0.35000000000000003, 0.6208333333333335)


def test_point_estimates_agree_with_rliable():
    x, y = noise(13, 8, 6), np.round(noise(14, 5, 6), 1)  # (runs, tasks)
    assert interquartile_mean(x) == pytest.approx(RLIABLE_IQM, abs=1e-12)
    assert iqm_interval(x.T).value == pytest.approx(RLIABLE_IQM, abs=1e-12)
    improvement = probability_of_improvement(np.round(x, 1).T, y.T)
    assert improvement.value == pytest.approx(RLIABLE_IMPROVEMENT)


def test_intervals_agree_with_rliable():
    x, y = noise(15, 8, 6), noise(16, 5, 6)  # (runs, tasks)
    for ours, theirs in (
        (iqm_interval(x.T), RLIABLE_IQM_INTERVAL),
        (probability_of_improvement(x.T, y.T), RLIABLE_IMPROVEMENT_INTERVAL),
    ):
        width = ours.high - ours.low
        assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.05 * width)
