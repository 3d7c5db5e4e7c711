"""The studies of models against searches, and of pessimism by spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mbo_gym
from experiments import leaders_table
from experiments.studies import factorial, informed, lcb
from experiments.studies.common import read_rows
from experiments.studies.factorial import Outcome
from mbo_gym.surrogates.base import Surrogate

TASK = "Levy-Exact-v1"


def outcome(family: str, search: str, p50: float, seed: int = 0, **numbers: float) -> Outcome:
    return Outcome(TASK, family, search, seed, p50, p50, 256, numbers)


def test_shares_of_a_table_by_hand():
    # model means 0, 2; search means 0.5, 1.5; no interaction
    table = {("a", "random"): -0.5, ("a", "cem"): 0.5, ("b", "random"): 1.5, ("b", "cem"): 2.5}
    outcomes = [outcome(*key, value) for key, value in table.items()]
    outcomes.append(outcome("trees", "random", 9.0))  # not every search: left out
    shares = factorial.shares(outcomes, TASK)
    assert shares == pytest.approx({"model": 0.8, "search": 0.2, "pair": 0.0})
    crossed = [outcome(f, s, float((f == "a") == (s == "cem"))) for f, s in table]
    assert factorial.shares(crossed, TASK)["pair"] == pytest.approx(1.0)


def test_a_number_that_orders_families_has_no_regret():
    outcomes = [
        outcome(family, search, p50, r2=p50, overlap=-p50)
        for search in ("random", "cem")
        for family, p50 in zip("abcd", (0.1, 0.4, 0.2, 0.3), strict=True)
    ]
    assert factorial.predicts(outcomes, "r2") == {TASK: pytest.approx(1.0)}
    assert factorial.predicts(outcomes, "overlap") == {TASK: pytest.approx(-1.0)}
    assert factorial.regret(outcomes, "r2") == {TASK: 0.0}
    assert factorial.regret(outcomes, "overlap") == {TASK: pytest.approx(0.3)}
    assert factorial.predicts(outcomes, "promise") == {}


def test_the_tables_have_a_row_a_family_and_a_dash_for_no_gradient():
    outcomes = [
        outcome("trend", "random", 0.5),
        outcome("trend", "grad", 0.6),
        outcome("trees", "random", 0.7),
    ]
    text = "\n".join(factorial.summary(outcomes))
    assert "| `trend` | 0.500 | 0.600 |" in text
    assert "| `trees` | 0.700 |  |" in text


def test_one_family_is_run_with_each_search_it_can_climb(tmp_path, monkeypatch):
    names = ("random", "grad", "ascent in the box")
    monkeypatch.setattr(factorial, "SEARCHES", {n: factorial.SEARCHES[n] for n in names})
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=300)
    found = list(factorial.outcomes_of(task, "trend", 0, set()))
    assert [o.search for o in found] == list(names)
    assert set(found[0].numbers) == set(factorial.NUMBERS)
    assert 0 <= found[0].numbers["overlap"] <= 1
    assert found[2].si is not None
    trees = list(factorial.outcomes_of(task, "extra_trees", 0, set()))
    assert [o.search for o in trees] == ["random"]
    assert list(factorial.outcomes_of(task, "trend", 0, {o.key for o in found})) == []


class Fixed(Surrogate):
    def __init__(self, slope: float) -> None:
        self.slope = slope

    def fit(self, z, y, *, seed, progress=None):
        raise NotImplementedError

    def predict(self, z):
        return self.slope * z[:, 0]

    def state(self):
        return {}

    def load_state(self, state):
        pass


def test_pessimism_subtracts_the_spread_of_the_members():
    class Two:
        parts = (Fixed(1.0), Fixed(3.0))

    z = torch.tensor([[1.0], [-2.0]])
    assert lcb.Pessimistic(Two(), 0.5).predict(z).tolist() == [1.5, -5.0]
    assert lcb.Pessimistic(Two(), 0.0).predict(z).tolist() == [2.0, -4.0]


def test_the_table_of_pessimism_has_means_over_seeds():
    rows = [
        {"task": TASK, "seed": str(seed), "weight": "0.5", "p50": str(p50), "p100": "1"}
        for seed, p50 in enumerate((0.4, 0.6))
    ]
    line = next(line for line in lcb.summary(rows) if line.startswith("| 0.5 x"))
    assert line == f"| 0.5 x spread | 0.500 ± {np.std([0.4, 0.6], ddof=1) / 2**0.5:.3f} |"


ROOT = Path(__file__).parents[2]


def test_the_recorded_tables_are_those_of_the_recorded_outcomes():
    outcomes = factorial.read(ROOT / factorial.OUTPUT)
    assert outcomes
    tables = (ROOT / factorial.PAGE).read_text().splitlines()
    assert tables == "\n".join(factorial.summary(outcomes)).splitlines()
    page = (ROOT / "docs/concepts/model_or_search.md").read_text().splitlines()
    assert [line for line in page if line.startswith("|") and line not in tables] == []
    assert sum(line.startswith("|") for line in page) > 20


def test_the_page_of_matched_has_the_recorded_table_of_pessimism():
    page = (ROOT / "docs/concepts/matched.md").read_text()
    assert "\n".join(lcb.summary(read_rows(ROOT / lcb.OUTPUT))) in page


def test_the_page_of_matched_has_the_recorded_leaders_and_limits():
    page = (ROOT / "docs" / "concepts" / "matched.md").read_text()
    found = list(leaders_table.table("matched", [ROOT / "experiments" / "results" / "matched"]))
    assert len(found) > 30
    assert "\n".join(found) in page
    assert "\n".join(informed.summary(read_rows(ROOT / informed.OUTPUT))) in page
