"""The csv task: which files are read, into what, and what is said about the others."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import InvalidData, MboGymError, MissingData, UnknownId
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import Task

NUMBERS = "a,b,score\n0.5,-1.25,3\n1.5,-2.5,1\n2.5,-4.5,2\n"
SEQUENCES = "sequence,score\nGATC,1\nCATG,2\nGGGG,0.5\n"


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))


def make(folder: Path, content: str | bytes, **options: Any) -> Task:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return mbo_gym.make_task("csv", path=str(path), **{"score_column": "score", **options})


def test_numbers_become_a_bounded_continuous_space(tmp_path: Path) -> None:
    task = make(tmp_path, NUMBERS)
    assert isinstance(task.space, ContinuousSpace)
    assert task.space.names == ("a", "b")
    assert task.space.low.tolist() == [0.5, -4.5]
    assert task.space.high.tolist() == [2.5, -1.25]
    assert task.dataset.x.tolist() == [[0.5, -1.25], [1.5, -2.5], [2.5, -4.5]]
    assert task.dataset.x.dtype == task.dataset.y.dtype == np.float32
    assert task.dataset.y.tolist() == [3, 1, 2]
    assert (task.info.task_id, task.info.y_min, task.info.y_max, task.info.d_best) == (
        "csv",
        1,
        3,
        1.0,
    )
    assert task.space.contains(task.dataset.x).all()


def test_one_text_column_becomes_sequences_with_sorted_letters(tmp_path: Path) -> None:
    task = make(tmp_path, SEQUENCES)
    assert isinstance(task.space, CategoricalSpace)
    assert task.space.letters == ("A", "C", "G", "T")
    assert task.space.format(task.dataset.x) == [["GATC"], ["CATG"], ["GGGG"]]
    assert task.dataset.x[0].tolist() == [2, 0, 3, 1]


def test_a_given_alphabet_sets_letters_and_their_order(tmp_path: Path) -> None:
    task = make(tmp_path, SEQUENCES, alphabet="TGCAN")
    assert task.space.letters == ("T", "G", "C", "A", "N")  # type: ignore[union-attr]
    assert task.dataset.x[0].tolist() == [1, 3, 0, 2]


def test_digit_sequences_are_numbers_unless_an_alphabet_is_given(tmp_path: Path) -> None:
    content = "site,score\n0123,1\n3210,2\n"
    assert make(tmp_path, content).dataset.x.tolist() == [[123], [3210]]
    assert make(tmp_path, content, alphabet="0123").dataset.x.tolist() == [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
    ]


def test_peptides_that_spell_numbers_stay_sequences(tmp_path: Path) -> None:
    task = make(tmp_path, "peptide,score\nNAN,1\nINF,2\n")
    assert task.space.format(task.dataset.x) == [["NAN"], ["INF"]]


def test_design_columns_choose_and_order_the_columns(tmp_path: Path) -> None:
    task = make(tmp_path, "id,a,b,score\nu1,1,5,3\nu2,2,4,1\n", design_columns=["b", "a"])
    assert task.space.names == ("b", "a")
    assert task.dataset.x.tolist() == [[5, 1], [4, 2]]
    assert make(tmp_path, NUMBERS, design_columns="b").space.names == ("b",)


def test_minimise_negates_scores_and_says_so(tmp_path: Path) -> None:
    task = make(tmp_path, "a,score\n1,0\n2,4\n3,-2\n", minimise=True)
    assert task.dataset.y.tolist() == [0, -4, 2]
    assert not np.signbit(task.dataset.y[0])
    assert (task.info.y_min, task.info.y_max) == (-4, 2)
    assert task.info.score_name == "minus score (to be minimised)"


def test_percentile_hides_the_best_rows_but_not_from_the_constants(tmp_path: Path) -> None:
    task = make(tmp_path, NUMBERS, percentile=50)
    assert task.dataset.y.tolist() == [1, 2]
    assert (task.info.y_max, task.info.n_full, task.info.n_visible, task.info.d_best) == (
        3,
        3,
        2,
        0.5,
    )


def test_common_options_work_on_a_csv(tmp_path: Path) -> None:
    assert make(tmp_path, NUMBERS, max_rows=2).dataset.y.tolist() == [1, 2]


def test_bounds_name_columns_and_may_be_open(tmp_path: Path) -> None:
    bounds = json.loads('{"a": [0, null]}')
    space = make(tmp_path, NUMBERS, bounds=bounds).space
    assert isinstance(space, ContinuousSpace)
    assert (space.low.tolist(), space.high.tolist()) == ([0, -4.5], [np.inf, -1.25])
    free = make(tmp_path, NUMBERS, bounds="none").space
    assert isinstance(free, ContinuousSpace)
    assert not np.isfinite(free.low).any()
    assert not np.isfinite(free.high).any()


def test_a_constant_column_is_kept_named_and_survives_encoding(tmp_path: Path) -> None:
    task = make(tmp_path, "a,k,score\n1.5,7.25,3\n2,7.25,1\n4,7.25,2\n")
    assert "'k' never varies" in task.info.description
    for name in ("z_score", "min_max"):
        encoder = make_encoder(task.problem(), name)
        z = encoder.encode(task.dataset.x)
        assert (z[:, 1] == 0).all()
        assert (encoder.decode(z + 5)[:, 1] == 7.25).all()


def test_rows_that_repeat_a_design_and_its_score_are_kept(tmp_path: Path) -> None:
    assert len(make(tmp_path, "a,score\n1,2\n1,2\n2,3\n").dataset) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + NUMBERS.encode(),
        NUMBERS.replace("\n", "\r\n").encode(),
        NUMBERS.replace("\n", "\r").encode(),
        (NUMBERS + "\n\n  \n").encode(),
        ("\n" + NUMBERS.replace("\n", "\n\n")).encode(),
        NUMBERS.replace(",", ";").encode(),
        NUMBERS.replace(",", "\t").encode(),
        NUMBERS.replace(",", " , ").encode(),
        NUMBERS.replace("a,b", '"a", "b"').replace("0.5,-1.25", '"0.5","-1.25"').encode(),
        NUMBERS.rstrip().encode(),
    ],
    ids=[
        "bom",
        "crlf",
        "cr",
        "blank end",
        "blank lines",
        "semicolon",
        "tab",
        "spaces",
        "quotes",
        "no last line end",
    ],
)
def test_harmless_variations_read_the_same(tmp_path: Path, content: bytes) -> None:
    plain, varied = make(tmp_path, NUMBERS), make(tmp_path, content)
    assert varied.dataset.content_hash() == plain.dataset.content_hash()
    assert varied.space.names == ("a", "b")


def test_another_delimiter_can_be_given(tmp_path: Path) -> None:
    assert make(tmp_path, NUMBERS.replace(",", "|"), delimiter="|").dataset.y.tolist() == [3, 1, 2]


def test_missing_values_can_be_dropped(tmp_path: Path) -> None:
    task = make(
        tmp_path,
        "a,unused,score\n1,,3\n,,4\n2,,nan\n3,,inf\n4,,NA\n5,,6\n",
        design_columns="a",
        on_missing="drop",
    )
    assert task.dataset.x.tolist() == [[1], [5]]
    assert task.dataset.y.tolist() == [3, 6]
    assert "4 more lack a value" in task.info.description


def test_sequences_without_a_score_can_be_dropped(tmp_path: Path) -> None:
    task = make(tmp_path, SEQUENCES + "TTTT,\n,3\n", on_missing="drop")
    assert task.space.format(task.dataset.x) == [["GATC"], ["CATG"], ["GGGG"]]


BAD: dict[str, tuple[str | bytes, dict[str, Any], list[str]]] = {
    "empty file": ("", {}, ["is empty", "name the columns"]),
    "only a byte order mark": (b"\xef\xbb\xbf\n", {}, ["is empty"]),
    "header only": ("a,score\n", {}, ["only the header", "'a', 'score'"]),
    "duplicate names": ("a,a,score\n1,2,3\n", {}, ["line 1", "called 'a'"]),
    "no header": ("1,2,3\n4,5,6\n", {}, ["no column 'score'", "seems to be data"]),
    "score not named": (
        NUMBERS,
        {"score_column": None},
        ["Pass score_column=", "'a', 'b', 'score'"],
    ),
    "unknown score": (
        NUMBERS,
        {"score_column": "scores"},
        ["no column 'scores'", "Did you mean 'score'?"],
    ),
    "unknown design": (
        "temp,score\n1,2\n",
        {"design_columns": ["tmp"]},
        ["no column 'tmp'", "Did you mean 'temp'?"],
    ),
    "score in designs": (
        NUMBERS,
        {"design_columns": ["a", "score"]},
        ["'score' is also a design column", "leave it out"],
    ),
    "design twice": (NUMBERS, {"design_columns": ["a", "a"]}, ["none twice", "['a', 'a']"]),
    "no designs": (NUMBERS, {"design_columns": []}, ["at least one column"]),
    "one column": ("score\n1\n2\n", {}, ["one column only", "delimiter="]),
    "unnamed column": (",a,score\n5,1,2\n1,2,3\n", {}, ["column 1 has no name", "design_columns="]),
    "too few cells": (
        "a,b,score\n1,2,3\n\n1,2\n",
        {},
        ["line 4", "2 cells are too few", "names 3 columns"],
    ),
    "too many cells": ("a,b,score\n1,2,3\n1,2,3,4\n", {}, ["line 3", "4 cells are too many"]),
    "missing cell": (
        "a,b,score\n1,2,3\n1,,3\n4,5,\n",
        {"on_missing": "error"},
        ["line 3, column 'b'", "2 of 3 rows", "on_missing='drop'"],
    ),
    "NaN": (
        "a,score\n1,2\n1,NaN\n",
        {"on_missing": "error"},
        ["line 3, column 'score'", "'NaN'", "1 of 2"],
    ),
    "infinite": ("a,score\n-inf,2\n1,3\n", {}, ["line 2, column 'a'", "'-inf'"]),
    "nothing left": (
        "a,score\n,2\n1,\n",
        {"on_missing": "drop"},
        ["line 2, column 'a'", "2 of 2 rows", "Fill them in."],
    ),
    "no number": (
        "a,score\n1,2\n2,high\n",
        {},
        ["line 3, column 'score'", "'high' is not a number"],
    ),
    "bad cell in numbers": (
        "a,score\n1,2\n2x,3\n",
        {},
        ["line 3, column 'a'", "'2x' is not a number", "alphabet="],
    ),
    "a word among numbers": (
        "b,a,score\n1,1,2\nu1,1,2\n3,1,2\n",
        {},
        ["line 3, column 'b'", "'u1'", "kinds={'b': 'category'}"],
    ),
    "underscore": ("a,score\n1_000,2\n3,4\n", {}, ["line 2, column 'a'", "'1_000'"]),
    "decimal comma and point": (
        "a;score\n1,5;2\n2.5;3\n3;4\n",
        {},
        ["line 2, column 'a'", "'1,5'", "decimal point"],
    ),
    "constant designs": ("a,b,score\n1,2,3\n1,2,4\n", {}, ["same design", "'a', 'b'"]),
    "constant score": ("a,score\n1,2\n2,2\n", {}, ["'score' is 2 in every row", "score_column="]),
    "constant as float32": (
        "a,score\n1,16777216\n2,16777217\n",
        {},
        ["every row (as float32)", "offset"],
    ),
    "letter outside": (
        SEQUENCES,
        {"alphabet": "ACT"},
        ["line 2, column 'sequence'", "letter 1 of 'GATC' is 'G'", "'ACT'"],
    ),
    "small letter": (
        "s,score\nAC,1\nAc,2\n",
        {"alphabet": "AC"},
        ["line 3", "letter 2", "capital and small"],
    ),
    "one letter": ("s,score\nAA,1\nAA,2\n", {}, ["column 's'", "letters 'A'", "two or more"]),
    "one sequence": ("s,score\nAC,1\nAC,2\n", {}, ["same design", "'s'"]),
    "letter twice": (SEQUENCES, {"alphabet": "ACGTA"}, ["alphabet=", "different"]),
    "alphabet of numbers": (NUMBERS, {"alphabet": "ACGT"}, ["one column of sequences", "'a', 'b'"]),
    "too large": (
        "a,score\n1,2\n4e38,3\n",
        {},
        ["line 3, column 'a'", "4e+38 is too large for float32"],
    ),
    "open quote": ('a,score\n1,2\n"3,4\n5,6\n', {}, ["line 3", "quotes"]),
    "Latin-1": (b"a,score\n1,2\n\xb5,3\n", {}, ["line 3", "0xb5 is not UTF-8", "Save it again"]),
    "binary": (b"a,score\n1,2\n\0,3\n", {}, ["NUL"]),
    "long delimiter": (NUMBERS, {"delimiter": "::"}, ["one character", "'::'"]),
    "unknown bounds": (
        NUMBERS,
        {"bounds": {"aa": (0, 1)}},
        ["no column 'aa'", "Did you mean 'a'?"],
    ),
    "bounds of the score": (
        NUMBERS,
        {"bounds": {"score": (0, 1)}},
        ["'score'", "not a design column"],
    ),
    "data outside bounds": (
        NUMBERS,
        {"bounds": {"a": (0, 2)}},
        ["line 4, column 'a'", "2.5", "[0, 2]", "1 such rows"],
    ),
    "bounds upside down": (NUMBERS, {"bounds": {"a": (3, 0)}}, ["bounds['a']", "low <= high"]),
    "bounds of three": (NUMBERS, {"bounds": {"a": (0, 1, 2)}}, ["bounds['a']", "(low, high)"]),
    "bounds not a mapping": (NUMBERS, {"bounds": "open"}, ["'none'", "'open'"]),
    "bounds of sequences": (SEQUENCES, {"bounds": "none"}, ["numeric columns", "alphabet="]),
    "percentile": (NUMBERS, {"percentile": 0}, ["(0, 100]", "got 0"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_and_options_are_refused_with_place_and_remedy(tmp_path: Path, case: str) -> None:
    content, options, pieces = BAD[case]
    with pytest.raises(InvalidData) as caught:
        make(tmp_path, content, **options)
    missing = [piece for piece in pieces if piece not in str(caught.value)]
    assert not missing, str(caught.value)


def test_line_numbers_count_lines_inside_quoted_cells(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="line 5, column 'a'"):
        make(tmp_path, 'a,note,score\n1,"two\nlines",3\n2,,4\nbad,,5\n', design_columns="a")


def test_a_missing_file_is_missing_data_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"nowhere\.csv.*No such file.*path="):
        mbo_gym.make_task("csv", path=str(tmp_path / "nowhere.csv"), score_column="y")
    with pytest.raises(MissingData, match="Is a directory"):
        mbo_gym.make_task("csv", path=str(tmp_path), score_column="y")


def test_without_a_path_loops_over_all_tasks_can_skip_it() -> None:
    with pytest.raises(MissingData, match="pass path="):
        mbo_gym.make_task("csv")


def test_unknown_words_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownId, match="random_forest"):
        make(tmp_path, NUMBERS, oracle="random_forrest")
    with pytest.raises(UnknownId, match="drop"):
        make(tmp_path, NUMBERS, on_missing="dropp")
    with pytest.raises(UnknownId, match="score_column"):
        make(tmp_path, NUMBERS, score_colum="score")


def test_without_an_oracle_nothing_can_be_scored(tmp_path: Path) -> None:
    task = make(tmp_path, NUMBERS)
    assert not task.has_oracle
    with pytest.raises(MissingData, match="there is none"):
        task.oracle()


@pytest.mark.parametrize("content", [NUMBERS, SEQUENCES])
def test_forest_oracle_is_a_stated_stand_in(tmp_path: Path, content: str) -> None:
    task = make(tmp_path, content, oracle="random_forest", percentile=70, minimise=True)
    whole = make(tmp_path, content, minimise=True)
    assert "stand-in" in task.info.oracle
    y = task.oracle()(whole.dataset.x)
    assert (y >= task.info.y_min).all()
    assert (y <= task.info.y_max).all()
    assert (
        y[np.argmax(whole.dataset.y)] > y[np.argmin(whole.dataset.y)]
    )  # fitted on all rows, in the task's sign
    assert task.problem().options["oracle"] == "random_forest"


def test_forests_of_a_larger_alphabet_are_not_mixed_up_in_the_cache(tmp_path: Path) -> None:
    content = "s,score\nAC,1\nCA,2\nCC,7\nAA,3\n"
    narrow = make(tmp_path, content, oracle="random_forest")
    wide = make(tmp_path, content, oracle="random_forest", alphabet="ACGT")
    assert (narrow.dataset.x == wide.dataset.x).all()
    assert wide.oracle()(wide.dataset.x).argmax() == 2
    features = wide.hidden_oracle._trees.feature  # type: ignore[union-attr]
    assert set(features.tolist()) <= {-1, 0, 1, 4, 5}  # A and C at both sites; G and T never occur


@pytest.mark.parametrize("minimise", [False, True])
def test_callable_oracle_scores_in_the_files_own_sign(tmp_path: Path, minimise: bool) -> None:
    task = make(tmp_path, NUMBERS, oracle=lambda x: x[:, 0] * 10, minimise=minimise)
    oracle = task.oracle()
    assert oracle(task.dataset.x).tolist() == [(-1 if minimise else 1) * v for v in (5, 15, 25)]
    assert oracle.calls == 3


def test_callable_oracle_cannot_be_reached_from_the_problem(tmp_path: Path) -> None:
    problem = make(tmp_path, NUMBERS, oracle=lambda x: x[:, 0]).problem()
    assert "oracle" not in problem.options
    assert not any(callable(value) for value in problem.options.values())


def test_callable_oracle_of_a_wrong_shape_is_refused(tmp_path: Path) -> None:
    task = make(tmp_path, NUMBERS, oracle=lambda x: x)
    with pytest.raises(ValueError, match="one score per design"):
        task.oracle()(task.dataset.x)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), min_size=1, max_size=12
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], np.ndarray]:
    d = draw(st.integers(1, 4))
    names = draw(
        st.lists(
            NAMES.filter(lambda s: s == s.strip()), min_size=d + 1, max_size=d + 1, unique=True
        )
    )
    values = draw(
        hnp.arrays(np.float32, st.tuples(st.integers(2, 8), st.just(d + 1)), elements=FINITE)
    )
    assume(
        np.ptp(values[:, -1].astype(np.float64)) > 0 and (values[:, :-1] != values[0, :-1]).any()
    )
    return names, values


@settings(deadline=None)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
)
def test_any_finite_table_comes_back_bit_for_bit(
    table: tuple[list[str], np.ndarray], delimiter: str, line_end: str, quoting: Any, bom: bool
) -> None:
    names, values = table
    # A bare # before a header is a comment's mark, which the reader takes away.
    assume(quoting == csv.QUOTE_ALL or not names[0].startswith("#"))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([names, *([repr(float(v)) for v in row] for row in values)])
    with tempfile.TemporaryDirectory() as folder:
        content = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
        task = make(
            Path(folder),
            content,
            score_column=names[-1],
            kinds="real",
            design_columns=names[:-1],
            replicates="keep",
        )
    assert task.space.names == tuple(names[:-1])
    np.testing.assert_array_equal(task.dataset.x, values[:, :-1])
    np.testing.assert_array_equal(task.dataset.y, values[:, -1])
    assert task.space.contains(task.dataset.x).all()


@settings(deadline=None)
@given(length=st.integers(1, 6), data=st.data())
def test_any_sequences_come_back_letter_for_letter(length: int, data: st.DataObject) -> None:
    letters = st.text("ACDEFGHIKLMNPQRSTVWYacgt*αβ", min_size=length, max_size=length)
    sequences = data.draw(st.lists(letters, min_size=2, max_size=6))
    assume(len(set(sequences)) > 1 and len(set("".join(sequences))) > 1)
    content = "\n".join(["s,score", *(f"{s},{i}" for i, s in enumerate(sequences))])
    with tempfile.TemporaryDirectory() as folder:
        task = make(
            Path(folder), content, conserved="free", case="keep", replicates="keep", alphabet=None
        )
    assert [row[0] for row in task.space.format(task.dataset.x)] == sequences
    assert task.space.letters == tuple(sorted(set("".join(sequences))))  # type: ignore[union-attr]


@settings(deadline=None, max_examples=300)
@given(body=st.text('a1,;\t"\n\r .-eN_', max_size=40), drop=st.booleans())
def test_any_text_is_read_or_refused_in_words(body: str, drop: bool) -> None:
    refusal, task = "", None
    with tempfile.TemporaryDirectory() as folder:
        try:
            task = make(Path(folder), "a,score\n" + body, on_missing="drop" if drop else "error")
        except MboGymError as error:
            refusal = str(error)
    if task is None:
        assert "table.csv" in refusal
    else:
        assert np.isfinite(task.dataset.y).all()
        assert task.space.contains(task.dataset.x).all()


def test_rows_know_their_lines_in_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,3\n\n2,\n3,1\n4,2\n")
    task = mbo_gym.make_task("csv", path=path, score_column="y", on_missing="drop", percentile=90)
    assert task.dataset.x[:, 0].tolist() == [3, 4]
    assert task.dataset.lines.tolist() == [5, 6]
    assert task.dataset.top(1).lines.tolist() == [6]
