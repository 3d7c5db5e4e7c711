"""Learning curves of agents, and what they gain over a constant step, in the report."""

from __future__ import annotations

import pytest

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.over_steps import gains
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.benchmark.report.html import to_html
from tests.mbo_gym.benchmark.records import record


def curve(*scores: float) -> list[dict]:
    return [
        {"step": 100 * i, "prediction": score + 0.5, "score": score}
        for i, score in enumerate(scores)
    ]


def agent(label: str, seed: int, p50: float, *scores: float) -> CellRecord:
    return record(label, seed=seed, p50=p50, result={"learning": curve(*scores)})


RECORDS = [
    record("constant_step", seed=0, p50=0.50),
    record("constant_step", seed=1, p50=0.60),
    record("constant_step", seed=2, p50=0.70),
    agent("d3rlpy_iql", 0, 0.60, 0.4, 0.5, 0.7),
    agent("d3rlpy_iql", 1, 0.71, 0.2, 0.5, 0.9),
    agent("d3rlpy_cql", 0, 0.49, 0.4, 0.3),
    agent("d3rlpy_cql", 1, 0.62, 0.4, 0.3),
    agent("d3rlpy_bc", 0, 0.30, 0.4, 0.3),
    agent("d3rlpy_bc", 1, 0.41, 0.4, 0.3),
    agent("d3rlpy_dt", 2, 0.80, 0.4, 0.3),
]


def test_a_curve_is_the_mean_over_the_seeds():
    entry = next(e for e in analyse(RECORDS).entries if e.label == "d3rlpy_iql")
    assert [step for step, _, _ in entry.learning] == [0, 100, 200]
    assert [score for _, _, score in entry.learning] == pytest.approx([0.3, 0.5, 0.8])


def test_agents_are_compared_with_a_constant_step_seed_by_seed():
    entries = analyse(RECORDS).entries
    found = {gain.label: gain for gain in gains(entries)}
    iql = found["d3rlpy_iql"].difference
    assert (iql.n, iql.mean) == (2, pytest.approx(0.105))
    assert iql.standard_error == pytest.approx(0.005)
    assert {label: gain.verdict for label, gain in found.items()} == {
        "d3rlpy_iql": "helps",
        "d3rlpy_cql": "not told apart",
        "d3rlpy_bc": "hurts",
        "d3rlpy_dt": "one seed",
    }
    assert gains([entry for entry in entries if entry.label != "constant_step"]) == []


def test_the_page_shows_the_curves_and_the_table():
    page = to_html(analyse(RECORDS))
    section = page.split('<h2 id="learning">')[1].split("</section>")[0]
    assert section.count("<figure") == 4
    assert "d3rlpy_iql on TFBind8-Exact-v0. At the end predicted 1.300, oracle 0.800" in section
    verdicts = [cell.split("<")[0] for cell in section.split('<td class="t">')[1:]]
    assert sorted(verdicts) == ["helps", "hurts", "not told apart", "one seed"]
    assert "#learning" in page.split("<main>")[1].split("</nav>")[0]


def test_a_report_without_agents_has_no_such_section():
    assert 'id="learning"' not in to_html(analyse([record("grad"), record("random")]))


def test_a_record_keeps_its_curve():
    made = RECORDS[3]
    assert CellRecord.from_json(made.to_json()) == made
    assert [step.score for step in made.result.learning] == [0.4, 0.5, 0.7]
