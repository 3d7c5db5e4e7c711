"""The oracle of a list of designs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbo_gym.errors import InvalidData, InvalidDesign
from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.problem.constraints import AllowedDesigns
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Levels, Real

SPACE = MixedSpace((Category("solvent", ("DMF", "water")), Levels("dose", (0.0, 12.0, 24.5))))
X = np.array([[a, b] for a in (0, 1) for b in (0, 12, 24.5)], dtype=np.float32)
Y = np.array([3, -1, 4, 1, -5, 9], dtype=np.float32)


def test_every_design_has_its_own_score():
    oracle = RowsOracle(SPACE, X, Y)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 50))
    np.testing.assert_array_equal(oracle(X[order]), Y[order])
    np.testing.assert_array_equal(oracle.score_tensor(torch.tensor(X)).numpy(), Y)
    np.testing.assert_array_equal(oracle.values(X[:0]), [])


def test_minus_zero_is_zero():
    oracle = RowsOracle(SPACE, X, Y)
    assert oracle(np.array([[-0.0, -0.0]], dtype=np.float32))[0] == 3


def test_many_rows_are_found_by_their_bytes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3)).astype(np.float32)
    x[::7] = np.rint(x[::7])
    x = np.unique(x, axis=0)
    space = MixedSpace(tuple(Real(name, -9, 9) for name in "abc"))
    y = rng.normal(size=len(x)).astype(np.float32)
    order = rng.permutation(len(x))
    np.testing.assert_array_equal(RowsOracle(space, x, y)(x[order]), y[order])


def test_a_design_that_was_not_measured_is_refused():
    oracle = RowsOracle(SPACE, X[:4], Y[:4])
    with pytest.raises(InvalidData, match="row 1 does not stand in the table of 4"):
        oracle(X[[0, 5]])
    cells = tuple(SPACE.values(X[:4]))
    listed = MixedSpace(SPACE.parameters, (AllowedDesigns(cells),))
    with pytest.raises(InvalidDesign, match="row 1 of 2"):
        RowsOracle(listed, X[:4], Y[:4])(X[[0, 5]])


def test_tables_that_make_no_sense_are_refused():
    with pytest.raises(InvalidData, match="stands twice"):
        RowsOracle(SPACE, X[[0, 1, 0]], Y[:3])
    with pytest.raises(InvalidData, match="row 0 of the table is no design"):
        RowsOracle(SPACE, np.array([[0, 5.0]]), Y[:1])
