"""The study of the learned simulator."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies import gns
from mbo_gym.simulators.fluid.scenes import CONTAIN, LIMIT_RAD

Y = np.linspace(0.0, 1.0, 20)


def test_agreement_of_a_monotone_prediction():
    got = gns.agreement(Y, 0.5 * Y**2)
    assert (got.spearman, got.upper) == pytest.approx((1.0, 1.0))
    assert 0.9 < got.pearson < 1.0
    assert got.prediction < got.score


def test_the_better_half_is_judged_by_itself():
    worse_known = np.where(np.median(Y) > Y, Y, 2.0 - Y)
    got = gns.agreement(Y, worse_known)
    assert got.upper == pytest.approx(-1.0)
    assert got.spearman > 0


def test_missed_floors_are_told():
    good, bad = gns.agreement(Y, Y), gns.agreement(Y, -Y)
    assert gns.floors_missed({("CEM", "gns"): good, ("all", "gns"): good}) == []
    missed = gns.floors_missed({("CEM", "gns"): bad, ("all", "gns"): good})
    assert missed == ["CEM: Pearson -1.000, floor 0.9", "CEM: Spearman -1.000, floor 0.8"]


def test_groups_repeat_and_stay_in_the_space(monkeypatch):
    monkeypatch.setitem(gns.CEM_STEPS, "contain", 2)
    monkeypatch.setattr(gns, "true_scores", lambda scene, x: -np.abs(x).sum(axis=1))
    one, two = dict(gns.groups(CONTAIN, 6)), dict(gns.groups(CONTAIN, 6))
    assert list(one) == ["uniform", "near flat", "CEM"]
    for name, designs in one.items():
        assert designs.shape == (6, 16)
        assert np.abs(designs).max() <= LIMIT_RAD
        assert np.array_equal(designs, two[name])
    assert np.abs(one["near flat"]).mean() < np.abs(one["uniform"]).mean()
