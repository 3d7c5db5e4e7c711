"""The papers' numbers, compared with rows typed from the papers, and our own numbers beside them,
by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from statistics import median

import pytest

import mbo_gym
from mbo_gym.benchmark.analysis.published import (
    Published,
    parse,
    published,
    published_for,
    reproduce,
)
from mbo_gym.errors import InvalidData

SHORT = {
    "Superconductor-RandomForest-v0": "SC",
    "AntMorphology-Exact-v0": "Ant",
    "DKittyMorphology-Exact-v0": "DKitty",
    "Levy-Exact-v0": "Levy",
    "TFBind8-Exact-v0": "TF8",
    "TFBind10-Exact-v0": "TF10",
    "CIFARNAS-Exact-v0": "NAS",
}
DEMO = "DEMO, arXiv:2405.13964v1"
SOURCES = {  # source: methods, tasks, percentile, K
    f"{DEMO}, Tables 1-2": (16, "SC Ant DKitty Levy TF8 TF10 NAS", 100, 256),
    f"{DEMO}, Tables 4-5": (16, "SC Ant DKitty Levy TF8 TF10 NAS", 50, 256),
    f"{DEMO}, Table 3": (2, "SC Ant DKitty Levy TF8 TF10 NAS", 100, 256),
    "RaM, ICLR 2025, Table 2": (22, "Ant DKitty SC TF8 TF10", 100, 128),
    "RaM, ICLR 2025, Table 7": (6, "Ant DKitty SC TF8 TF10", 50, 128),
    "design-baselines README": (10, "SC Ant DKitty TF8", 100, 128),
}
RANKS = {  # DEMO prints each method's mean and median rank: (Table 2, Table 5)
    "bo_qei": ((11.1, 13), (6.7, 7)),
    "cma_es": ((7.1, 3), (8.9, 6)),
    "reinforce": ((12.1, 16), (11.3, 15)),
    "grad": ((8.9, 10), (7.9, 9)),
    "grad_mean": ((6.4, 5), (6.1, 5)),
    "grad_min": ((8.0, 8), (5.3, 5)),
    "coms": ((11.1, 12), (8.7, 8)),
    "roma": ((5.7, 4), (6.9, 6)),
    "nemo": ((4.6, 5), (8.1, 9)),
    "bdi": ((9.7, 10), (8.3, 8)),
    "iom": ((7.6, 7), (8.0, 7)),
    "cbas": ((9.3, 8), (13.6, 13)),
    "autofocused_cbas": ((12.4, 13), (14.3, 14)),
    "mins": ((12.3, 13), (6.7, 9)),
    "ddom": ((7.3, 7), (9.4, 10)),
    "demo": ((1.7, 1), (4.0, 4)),
}


def cells(source: str, method: str, variant: str = "") -> dict[str, tuple[float, float | None]]:
    """Return mean and spread by the task's short name, in the source's order."""
    rows = [r for r in published() if (r.source, r.method, r.variant) == (source, method, variant)]
    return {SHORT[r.task_id]: (r.mean, r.std) for r in rows}


def pairs(numbers: str) -> list[tuple[float, float | None]]:
    """Read "0.1+-0.2 0.3" as [(0.1, 0.2), (0.3, None)]."""
    split = [number.split("+-") for number in numbers.split()]
    return [(float(n[0]), float(n[1]) if n[1:] else None) for n in split]


@pytest.mark.parametrize(
    ("source", "method", "variant", "numbers"),
    [
        (
            f"{DEMO}, Tables 1-2",
            "demo",
            "",
            "0.520+-0.006 0.971+-0.005 0.957+-0.006 1.005+-0.020 0.980+-0.004 0.762+-0.058 "
            "0.766+-0.017",
        ),
        (
            f"{DEMO}, Tables 1-2",
            "reinforce",
            "",
            "0.481+-0.013 0.266+-0.032 0.562+-0.196 0.564+-0.090 0.948+-0.028 0.663+-0.034 "
            "-1.895+-0",
        ),
        (
            f"{DEMO}, Tables 1-2",
            "grad",
            "",
            "0.489+-0.018 0.927+-0.027 0.949+-0.014 0.948+-0.031 0.898+-0.033 0.638+-0.022 "
            "0.611+-0.052",
        ),
        (
            f"{DEMO}, Tables 4-5",
            "cma_es",
            "",
            "0.379+-0.003 -0.045+-0.004 0.684+-0.016 0.410+-0.009 0.537+-0.014 0.484+-0.014 "
            "0.591+-0.102",
        ),
        (
            f"{DEMO}, Tables 4-5",
            "iom",
            "",
            "0.350+-0.023 0.513+-0.035 0.876+-0.006 0.562+-0.007 0.439+-0 0.477+-0.010 "
            "-0.050+-0.011",
        ),
        (
            f"{DEMO}, Tables 4-5",
            "demo",
            "",
            "0.412+-0.008 0.624+-0.014 0.875+-0.003 0.601+-0.006 0.826+-0.005 0.475+-0.004 "
            "0.541+-0.005",
        ),
        (
            f"{DEMO}, Table 3",
            "demo",
            "without pseudo-target",
            "0.487+-0.012 0.945+-0.016 0.955+-0.005 0.901+-0.029 0.757+-0.063 0.626+-0.009 "
            "0.741+-0.022",
        ),
        (
            f"{DEMO}, Table 3",
            "demo",
            "without editing",
            "0.482+-0.013 0.963+-0.008 0.933+-0.002 0.990+-0.020 0.965+-0.008 0.658+-0.019 "
            "0.668+-0.084",
        ),
        ("RaM, ICLR 2025, Table 2", "grad", "", "0.273 0.853 0.510 0.969 0.646"),
        ("RaM, ICLR 2025, Table 2", "cma_es", "", "1.712+-0.754 0.725 0.463 0.944 0.641"),
        (
            "RaM, ICLR 2025, Table 2",
            "pgs",
            "",
            "0.715+-0.046 0.954+-0.022 0.444+-0.020 0.889+-0.061 0.634+-0.040",
        ),
        (
            "RaM, ICLR 2025, Table 2",
            "gtg",
            "",
            "0.855+-0.044 0.942+-0.017 0.480+-0.055 0.910+-0.040 0.619+-0.029",
        ),
        ("RaM, ICLR 2025, Table 2", "ram_listnet", "", "0.949 0.962 0.517 0.981 0.670"),
        ("RaM, ICLR 2025, Table 7", "pgs", "", "0.190 0.885 0.233 0.503 0.386"),
        ("RaM, ICLR 2025, Table 7", "mins", "", "0.640 0.886 0.332 0.407 0.465"),
        ("design-baselines README", "grad", "", "0.518 0.291 0.874 0.977"),
        ("design-baselines README", "autofocused_cbas", "", "0.421 0.884 0.906 0.910"),
        ("design-baselines README", "cma_es", "", "0.465 1.219 0.724 0.953"),
    ],
)
def test_rows_are_as_printed(source, method, variant, numbers):
    expected = dict(zip(SOURCES[source][1].split(), pairs(numbers), strict=True))
    assert cells(source, method, variant) == expected


@pytest.mark.parametrize(
    ("source", "table"), [(f"{DEMO}, Tables 1-2", 0), (f"{DEMO}, Tables 4-5", 1)]
)
def test_the_scores_give_the_ranks_that_the_paper_prints(source, table):
    scores = {method: [mean for mean, _ in cells(source, method).values()] for method in RANKS}
    ranks = {  # ties share the better rank
        method: [1 + sum(s[i] > own[i] for s in scores.values()) for i in range(7)]
        for method, own in scores.items()
    }
    assert {m: (round(sum(r) / 7, 1), median(r)) for m, r in ranks.items()} == {
        m: r[table] for m, r in RANKS.items()
    }


def test_sources_are_complete():
    assert {row.source for row in published()} == set(SOURCES)
    for source, (n_methods, tasks, percentile, k) in SOURCES.items():
        rows = [row for row in published() if row.source == source]
        assert Counter(SHORT[row.task_id] for row in rows) == dict.fromkeys(
            tasks.split(), n_methods
        )
        assert {(row.percentile, row.k, row.seeds) for row in rows} == {(percentile, k, 8)}
        assert all(row.where for row in rows)


def test_every_row_is_of_a_registered_task_and_stands_once():
    assert {row.task_id for row in published()} <= set(mbo_gym.list_tasks())
    keys = [
        (row.method, row.task_id, row.percentile, row.source, row.variant) for row in published()
    ]
    assert len(set(keys)) == len(keys)


def test_our_methods_with_published_numbers_go_by_our_names():
    assert {"grad", "pgs"} <= {row.method for row in published()} & set(mbo_gym.list_methods())


def test_spreads_and_what_they_are():
    demo = [row for row in published() if row.source.startswith("DEMO")]
    assert all(row.std is not None and row.std >= 0 for row in demo)
    quoted = {row.method for row in demo if row.spread == "unknown"}
    assert quoted == {
        "bo_qei",
        "cma_es",
        "reinforce",
    }  # the paper says that it took these from Design-Bench's
    assert {row.spread for row in demo if row.method not in quoted} == {"standard error"}
    elsewhere = [
        row for row in published() if not row.source.startswith("DEMO") and row.std is not None
    ]
    assert Counter(row.method for row in elsewhere) == {"gtg": 5, "pgs": 5, "cma_es": 1}
    assert {row.spread for row in elsewhere} == {"unknown"}


def test_visible_rows_and_the_best_of_them_are_those_of_our_tasks():
    for task_id in ("TFBind8-Exact-v0", "Levy-Exact-v0"):
        task = mbo_gym.make_task(task_id)
        rows = [row for row in published() if row.task_id == task_id]
        assert {row.n_visible for row in rows} == {task.info.n_visible}
        assert {row.d_best for row in rows} - {None} == {round(task.info.d_best, 3)}
    visible = {
        row.source.split(",")[0]: row.n_visible
        for row in published()
        if SHORT[row.task_id] == "TF10"
    }
    assert visible == {"DEMO": 50_000, "RaM": 10_000}
    assert {row.n_visible for row in published() if SHORT[row.task_id] == "SC"} == {17_010}


def test_notes_belong_to_their_tasks():
    by_task = {task: published_for("mins", task)[0].note for task in SHORT}
    assert {SHORT[task] for task, note in by_task.items() if "copied from another row" in note} == {
        "SC",
        "Ant",
        "DKitty",
    }
    assert {
        note for task, note in by_task.items() if SHORT[task] in ("Levy", "TF8", "TF10", "NAS")
    } == {""}
    (row,) = published_for("grad", "Levy-Exact-v0")
    assert row.source_notes == ()
    assert (
        "random forest"
        in published_for("grad", "Superconductor-RandomForest-v0")[0].source_notes[0]
    )


def test_looking_up():
    rows = published_for("grad", "TFBind8-Exact-v0")
    assert [(row.mean, row.k) for row in rows] == [(0.898, 256), (0.969, 128), (0.977, 128)]
    assert [row.mean for row in published_for("grad", "TFBind8-Exact-v0", 50)] == [0.556]
    assert (
        published_for("grad", "Branin-Exact-v0") == published_for("top_k", "TFBind8-Exact-v0") == []
    )


def test_looking_up_gives_variants_only_when_asked():
    assert [row.mean for row in published_for("demo", "Levy-Exact-v0")] == [1.005]
    assert [
        row.mean for row in published_for("demo", "Levy-Exact-v0", variant="without editing")
    ] == [0.990]
    assert [row.mean for row in published_for("demo", "Levy-Exact-v0", variant=None)] == [
        1.005,
        0.901,
        0.990,
    ]


def test_importing_reads_no_file():
    code = (
        "import mbo_gym.benchmark.analysis.published as p; print(p.published.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert published() is published()


GOOD = """
[tasks]
A = { id = "A-v0", n_visible = 100 }
B = { id = "B-v0", n_visible = 200 }
[[source]]
name = "Made up, Table 9"
where = "nowhere"
k = 4
seeds = 5
percentile = 100
tasks = ["A", "B"]
spread = "standard deviation"
d_best = [0.1, 0.2]
n_visible = { B = 20 }
rows = [
  { method = "m", scores = [0.5, [0.25, 0.125]], notes = { "A B" = "both", B = "second" } },
  { method = "m", variant = "less", scores = [1, [2, 3]], spread = "unknown" },
]
[source.notes]
all = "made up"
"""


def test_a_file_becomes_numbers():
    common = {
        "method": "m",
        "percentile": 100,
        "k": 4,
        "seeds": 5,
        "source": "Made up, Table 9",
        "where": "nowhere",
    }
    a = Published(
        task_id="A-v0",
        mean=0.5,
        std=None,
        note="both",
        source_notes=("made up",),
        n_visible=100,
        d_best=0.1,
        **common,
    )
    b = replace(
        a,
        task_id="B-v0",
        mean=0.25,
        std=0.125,
        note="both; second",
        spread="standard deviation",
        n_visible=20,
    )
    b = replace(b, d_best=0.2)
    less = {"variant": "less", "note": ""}
    assert parse(GOOD) == (
        a,
        b,
        replace(a, mean=1.0, **less),
        replace(b, mean=2.0, std=3.0, spread="unknown", **less),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "scores = [0.5, [0.25, 0.125]]",
            "scores = [0.5]",
            r"Table 9, m: 2 tasks need a list .* got \[0.5\]",
        ),
        ("scores = [0.5, [0.25, 0.125]]", "scores = 0.5", "Table 9, m: 2 tasks need a list"),
        (
            "[0.25, 0.125]",
            "[0.25, 0.125, 1]",
            r"Table 9, m: a score is a mean or \[mean, spread\], got",
        ),
        ("[0.25, 0.125]", "[]", "Table 9, m: a score is"),
        ("[0.25, 0.125]", "[0.25, -0.125]", "Table 9, m: a score is"),
        ("[0.5,", "[nan,", "Table 9, m: a score is"),
        ("[0.5,", "[true,", "Table 9, m: a score is"),
        ("[0.5,", "['0.5',", "Table 9, m: a score is"),
        (
            'variant = "less"',
            'kind = "less"',
            "Table 9, m: kind not known; needed are method, scores, allowed variant",
        ),
        ('{ method = "m", variant', "{ variant", "Table 9, a row without a method: method missing"),
        ('variant = "less", ', "", "Made up, Table 9: m on A-v0 stands twice"),
        ('spread = "unknown"', 'spread = "sd"', "Table 9, m: spread must be one of .* got 'sd'"),
        ('spread = "standard deviation"', "", "Table 9, m: spread must be one of .* got None"),
        ("k = 4", "k = 0", "Made up, Table 9: k must be 1 or more, got 0"),
        ("seeds = 5", "seeds = 5.0", "Made up, Table 9: seeds must be 1 or more, got 5.0"),
        ("seeds = 5", "", "Made up, Table 9: seeds missing"),
        ("seeds = 5", "seeds = 5\nruns = 5", "Made up, Table 9: runs not known"),
        ('name = "Made up, Table 9"', "", "a source without a name: name missing"),
        (
            "percentile = 100",
            "percentile = 99",
            "Made up, Table 9: percentile must be 50 or 100, got 99",
        ),
        (
            'tasks = ["A", "B"]',
            'tasks = ["A", "C"]',
            "Made up, Table 9: tasks names C; known are A, B",
        ),
        ("n_visible = { B = 20 }", "n_visible = { C = 20 }", "Made up, Table 9: n_visible names C"),
        ("d_best = [0.1, 0.2]", "d_best = [0.1]", "Made up, Table 9: d_best must hold 2 numbers"),
        ('"A B" = "both"', '"A D" = "both"', "Table 9, m: notes names D; known are A, B, all"),
        ('all = "made up"', 'every = "made up"', "Table 9.*: notes names every"),
        ("n_visible = 100", "rows = 100", r"\[tasks\], A: n_visible missing"),
    ],
)
def test_a_bad_file_is_refused_by_the_source_s_name(old, new, message):
    assert old in GOOD
    with pytest.raises(InvalidData, match=f"published numbers, .*{message}"):
        parse(GOOD.replace(old, new, 1))


THEIRS = Published(
    "m",
    "A-v0",
    100,
    0.5,
    0.08,
    4,
    4,
    "Made up, Table 9",
    spread="standard deviation",
    n_visible=100,
)
SAME = {
    "label": "m [x]",
    "task": "A-v0",
    "k": 4,
    "scored": 4,
    "preset": "paper",
    "options": {},
    "n_visible": 100,
}
FOUR = (0.6, 0.7, 0.6, 0.7)  # mean 0.65, standard error 0.057735 / 2


def test_a_difference_by_hand():
    result = reproduce(THEIRS, FOUR, **SAME)
    assert (result.published, result.label, result.task, result.k) == (
        THEIRS,
        "m [x]",
        "A-v0",
        4,
    )
    assert (result.ours.n, result.ours.mean) == (4, pytest.approx(0.65))
    assert result.difference == pytest.approx(0.15)
    assert result.standard_errors == pytest.approx(0.15 / (0.01 / 12 + 0.04**2) ** 0.5)  # 3.04
    assert (result.verdict, result.notes) == ("above", ())


def test_a_spread_that_is_a_standard_error_is_not_divided_again():
    theirs = replace(THEIRS, spread="standard error")
    assert (THEIRS.standard_error, theirs.standard_error) == (0.04, 0.08)
    assert replace(THEIRS, std=None).standard_error is None
    result = reproduce(theirs, FOUR, **SAME)
    assert result.standard_errors == pytest.approx(0.15 / (0.01 / 12 + 0.08**2) ** 0.5)  # 1.76
    assert result.verdict == "yes"


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.5, "above"), (0.56, "yes"), (0.65, "yes"), (0.74, "yes"), (0.8, "below")],
)
def test_two_standard_errors_decide(mean, verdict):  # 2 standard errors are 0.0987
    assert reproduce(replace(THEIRS, mean=mean), FOUR, **SAME).verdict == verdict


def test_one_seed_cannot_tell():
    result = reproduce(replace(THEIRS, seeds=1), [0.9], **SAME)
    assert (result.verdict, result.standard_errors, result.difference) == (
        "cannot tell",
        None,
        pytest.approx(0.4),
    )


@pytest.mark.parametrize(
    ("ours", "verdict"), [(0.5004, "yes"), (0.4996, "yes"), (0.5006, "above"), (0.4994, "below")]
)
def test_without_any_spread_the_printed_digits_decide(ours, verdict):
    result = reproduce(replace(THEIRS, std=0.0), [ours] * 4, **SAME)
    assert (result.verdict, result.standard_errors) == (verdict, None)


def test_rounding_in_print_is_no_difference():
    result = reproduce(replace(THEIRS, std=0.0), [0.5003, 0.5003, 0.50031, 0.50031], **SAME)
    assert result.standard_errors > 50
    assert result.verdict == "yes"


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ({}, {"preset": "paper_adam"}, []),
        ({}, {"preset": None}, ["our default settings, not the paper's"]),
        ({}, {"preset": "adam"}, ["our preset adam, not the paper's settings"]),
        ({}, {"k": 8}, ["first 4 of our 8"]),
        ({"k": 3}, {}, ["4 designs, theirs 3"]),
        ({"k": 3}, {"k": 8}, ["first 4 of our 8", "4 designs, theirs 3"]),
        ({"seeds": 8}, {}, ["4 seeds, theirs 8"]),
        ({}, {"options": {"dim": 30, "noise": 0.1}}, ["task options dim=30, noise=0.1"]),
        ({"n_visible": 12345}, {}, ["100 visible rows, theirs 12,345"]),
        ({"n_visible": None}, {}, []),
        ({"std": None}, {}, ["their spread is not known"]),
        (
            {"spread": "unknown"},
            {},
            [
                "their +- may be a standard deviation or a standard error: taken as a standard "
                "deviation"
            ],
        ),
        ({"variant": "without editing"}, {}, ["theirs is the variant without editing"]),
        (
            {"note": "of this row", "source_notes": ("one", "two")},
            {},
            ["of this row", "one", "two"],
        ),
    ],
)
def test_each_difference_of_protocol_is_told(theirs, ours, expected):
    assert list(reproduce(replace(THEIRS, **theirs), FOUR, **{**SAME, **ours}).notes) == expected


def test_one_seed_is_called_a_seed():
    assert reproduce(THEIRS, [0.5], **SAME).notes == ("1 seed, theirs 4",)


def test_all_differences_are_told_together():
    theirs = published_for("cma_es", "TFBind10-Exact-v0")[0]
    ours = {
        **SAME,
        "k": 256,
        "scored": 128,
        "preset": None,
        "options": {"max_rows": 300},
        "n_visible": 300,
    }
    protocol = reproduce(theirs, FOUR, **ours).notes
    assert protocol[:6] == (
        "first 128 of our 256",
        "128 designs, theirs 256",
        "4 seeds, theirs 8",
        "our default settings, not the paper's",
        "task options max_rows=300",
        "300 visible rows, theirs 50,000",
    )
    assert "taken as a standard deviation" in protocol[6]
    assert "quoted by DEMO" in protocol[7]
    assert "50,000" in protocol[8]
    assert len(protocol) == 9
