"""Roles of columns, and the designs and scores that they make."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.errors import InvalidData
from mbo_gym.files.design_columns import DesignOptions
from mbo_gym.files.frames import array_table, frame_table
from mbo_gym.files.kinds import number
from mbo_gym.files.measurements import read_measurements
from mbo_gym.files.mixtures import find_sums
from mbo_gym.files.replicates import groups_of_equal_designs, join_replicates
from mbo_gym.files.roles import Roles, assign_roles
from mbo_gym.files.sequences import read_sequences
from mbo_gym.files.table import read_table
from mbo_gym.problem.parameters import Constant, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("dna,temp,pH,yield\nAC,20.5,7,1\nCA,30,,2\nAA,40,7.5,3\n")
    return read_table(path)


def test_roles_of_all_columns_but_the_score(table):
    assert assign_roles(table, None, "yield") == Roles(("dna", "temp", "pH"), "yield")
    others = dict.fromkeys(("temp", "pH"), "not among design_columns")
    assert assign_roles(table, "dna", "yield") == Roles(("dna",), "yield", left_out=others)


def test_numbers_are_measured_designs(table):
    roles = assign_roles(table, ["pH", "temp"], "yield")
    options = DesignOptions(bounds={"temp": (0, None)})
    measured = read_measurements(table, roles, options, on_missing="drop")
    space = measured.space
    assert isinstance(space, ContinuousSpace)
    assert space.names == ("pH", "temp")
    assert (space.low.tolist(), space.high.tolist()) == ([7, 0], [7.5, np.inf])
    assert measured.x.tolist() == [[7, 20.5], [7.5, 40]]
    assert (measured.y.tolist(), measured.n_dropped) == ([1, 3], 1)
    assert measured.words == "Designs of 2 numbers ('pH', 'temp')"


def test_sequences_are_measured_designs(table):
    measured = read_measurements(table, assign_roles(table, "dna", "yield"))
    assert isinstance(measured.space, CategoricalSpace)
    assert measured.x.tolist() == [[0, 1], [1, 0], [0, 0]]
    letters, x = read_sequences(table, "dna", "CA")
    assert (letters, x.tolist()) == (("C", "A"), [[1, 0], [0, 1], [1, 1]])


def test_advice_names_the_option_for_words(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,yield\n1,2.5,1\n2,x,2\n3,3.5,3\n")
    table = read_table(path)
    with pytest.raises(InvalidData, match=r"line 3, column 'b': 'x'.*kinds=\{'b': 'category'\}"):
        read_measurements(table, assign_roles(table, None, "yield"))
    with pytest.raises(InvalidData, match=r"line 3, column 'b': 'x' is not a number.*alphabet="):
        read_measurements(table, assign_roles(table, "b", "yield"))


RULES = {
    "all different reals": (
        [0.13, 0.57, 0.91, 0.32],
        Real("a", np.float32(0.13), np.float32(0.91)),
    ),
    "one value": ([5, 5, 5], Constant("a", 5)),
    "whole numbers": ([20, 40, 60, 80, 90], Integer("a", 20, 90)),
    "counts with few gaps": ([1, 2, 3, 5] * 3, Integer("a", 1, 5)),
    "zero and one": ([0, 1] * 4, Integer("a", 0, 1)),
    "a full grid": ([0, 25, 50, 75, 100, 125, 150, 25, 75], Real("a", 0, 150, step=25.0)),
    "steps of .05": ([0.1, 0.15, 0.2, 0.25] * 2, Real("a", 0.1, 0.25, step=0.05)),
    "powers of two": ([2, 4, 8, 16] * 2, Levels("a", (2, 4, 8, 16))),
    "three levels": ([0.7, 1.05, 1.4] * 2, Levels("a", (0.7, 1.05, 1.4))),
    "uneven levels": ([2, 4, 8, 10, 16] * 2, Levels("a", (2, 4, 8, 10, 16))),
    "too large for whole numbers": (
        [2e8, 3e8, 5e8, 7e8],
        Real("a", 2e8, 3e8 + 4e8),
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_rules_of_numbers(case):
    values, expected = RULES[case]
    assert number("a", np.float32(values)) == expected


def test_a_rounded_column_of_many_rows_has_steps():
    values = np.random.default_rng(0).uniform(0, 1, 500).round(2)
    found = number("a", np.float32(values))
    assert isinstance(found, Real)
    assert found.step == 0.01
    assert found.contains(np.float32(values)[:, None]).all()


@pytest.mark.parametrize("total", [1.0, 100.0])
def test_sums_are_found_wherever_the_parts_stand(total):
    rng = np.random.default_rng(0)
    parts = rng.dirichlet(np.ones(3), 50) * total
    x = np.float32(np.stack([parts[:, 0], rng.random(50), parts[:, 1], parts[:, 2]], axis=1))
    (found,) = find_sums("abcd", x)
    assert (found.names, found.total) == (("a", "c", "d"), total)
    x[7, 0] += 0.1 * total
    assert find_sums("abcd", x) == []


def test_equal_designs_are_found_in_file_order():
    x = np.random.default_rng(0).integers(0, 3, size=(2000, 4)).astype(np.float32)
    first, group, counts = groups_of_equal_designs(x)
    _, rows, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    assert first.tolist() == sorted(rows.tolist())
    assert (first[group] == rows[inverse.ravel()]).all()
    assert counts.sum() == 2000
    assert (np.diff(first) > 0).all()


def test_equal_designs_with_equal_scores_are_no_replicates():
    x = np.float32([[1], [1], [2]])
    assert join_replicates(x, np.float32([5, 5, 6])) is None
    joined = join_replicates(x, np.float32([5, 7, 6]), np.float32([3, 4, 0.5]))
    assert joined.error.tolist() == [2.5, 0.5]


@pytest.mark.parametrize("library", ["polars", "pandas", "mapping"])
def test_frames_are_tables(library):
    columns = {"n": [1, 2, 4], "word": ["b", None, "a"], "flag": [True, False, True]}
    frame = columns if library == "mapping" else pytest.importorskip(library).DataFrame(columns)
    table = frame_table(frame)
    assert table.names == ("n", "word", "flag")
    assert table.numbers(["n"])[:, 0].tolist() == [1, 2, 4]
    assert table.column("word") == ["b", "", "a"]
    words = ["true", "false", "true"] if library == "polars" else ["True", "False", "True"]
    assert table.column("flag") == words
    assert table.place(1, "word") == "frame, row 2, column 'word'"


def test_arrays_are_tables():
    table = array_table(np.float32([[1, 2], [3, 4]]), np.array([0.5, np.nan]), "y")
    assert table.names == ("x0", "x1", "y")
    assert array_table(np.array(["AC", "CA"]), [[1], [2]], "y").column("sequence") == ["AC", "CA"]
    with pytest.raises(InvalidData, match=r"\(N, d\) numbers"):
        array_table(np.zeros((2, 2)), np.zeros(3), "y")
    with pytest.raises(InvalidData, match="must be a polars or pandas"):
        frame_table(np.zeros((2, 2)))
