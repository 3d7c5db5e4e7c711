"""Roles of columns, and the designs and scores that they make."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.errors import InvalidData
from mbo_gym.files.columns import Roles, assign_roles, read_measurements, read_sequences
from mbo_gym.files.table import read_table
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("dna,temp,pH,yield\nAC,20,7,1\nCA,30,,2\nAA,40,7.5,3\n")
    return read_table(path)


def test_roles_of_all_columns_but_the_score(table):
    assert assign_roles(table, None, "yield") == Roles(("dna", "temp", "pH"), "yield", False)
    assert assign_roles(table, "dna", "yield") == Roles(("dna",), "yield", True)
    assert assign_roles(table, ["temp"], "yield", "0234") == Roles(("temp",), "yield", True)


def test_numbers_are_measured_designs(table):
    roles = assign_roles(table, ["pH", "temp"], "yield")
    measured = read_measurements(table, roles, bounds={"temp": (0, None)}, drop=True)
    space = measured.designs.space
    assert isinstance(space, ContinuousSpace)
    assert space.names == ("pH", "temp")
    assert (space.low.tolist(), space.high.tolist()) == ([7, 0], [7.5, np.inf])
    assert measured.designs.x.tolist() == [[7, 20], [7.5, 40]]
    assert (measured.y.tolist(), measured.n_dropped) == ([1, 3], 1)
    assert measured.designs.words == "Designs of 2 numbers ('pH', 'temp')"


def test_sequences_are_measured_designs(table):
    measured = read_measurements(table, assign_roles(table, "dna", "yield"))
    assert isinstance(measured.designs.space, CategoricalSpace)
    assert measured.designs.x.tolist() == [[0, 1], [1, 0], [0, 0]]
    letters, x = read_sequences(table, "dna", "CA")
    assert (letters, x.tolist()) == (("C", "A"), [[1, 0], [0, 1], [1, 1]])


def test_advice_names_the_option_for_sequences(table):
    with pytest.raises(InvalidData, match=r"line 2, column 'dna'.*design_columns='dna'"):
        read_measurements(table, assign_roles(table, None, "yield"))
    with pytest.raises(InvalidData, match=r"line 2, column 'dna': 'AC' is not a number.*column\.$"):
        read_measurements(table, Roles(("temp",), "dna", sequences=False))
